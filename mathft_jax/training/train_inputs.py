"""Batches of a training run: from example sources to training and evaluation batches.

inputs = TrainInputs(examples, data_config)
batches = inputs.train_batches(seed=0, start_step=0)
"""

from collections.abc import Iterator, Sequence
import itertools

import numpy as np

from mathft_jax.config import vocabulary_size
from mathft_jax.data import (
  batching,
  example_types,
  packed_row_counts,
  prompt_templates,
  streamed_batches,
)
from mathft_jax.data import examples as examples_lib
from mathft_jax.distributed import partitioning
from mathft_jax.storage import digests
from mathft_jax.training import train_config
from mathft_jax.training import train_step as step_lib

NUM_CHECKED = 1_000  # streamed examples that the self-checks read


class TrainInputs:
  """The training examples of a run and the batches made from them."""

  def __init__(
    self, source: examples_lib.ExampleSource, data: train_config.DataConfig
  ):
    self._source, self._data = source, data
    self._examples = source('train')

  @property
  def checked_examples(self) -> Sequence[example_types.Example]:
    """The examples for the self-checks: all, or the first ones of those that are streamed."""
    if isinstance(self._examples, examples_lib.StreamedSolutions):
      return self._examples[:NUM_CHECKED]
    return self._examples

  def digest(self) -> str:
    """Returns a digest of the training examples, for checkpoint metadata."""
    if isinstance(self._examples, examples_lib.StreamedSolutions):
      return self._examples.digest
    return digests.content_digest(self._fields())

  def _fields(self) -> Iterator[tuple[str, object]]:
    """Yields the fields of all examples; a list of them would take more than the examples."""
    for example in self._examples:
      for name, values in sorted(example_types.as_dict(example).items()):
        yield name, np.asarray(values).tolist()

  def train_batches(
    self, *, seed: int, start_step: int
  ) -> Iterator[batching.Batch]:
    """Returns endless shuffled batches from `start_step` on."""
    examples = self._examples
    layout = self._layout(self._source, examples)
    pack, shuffle = self._data.pack, self._data.shuffle
    if not isinstance(examples, examples_lib.StreamedSolutions):
      return batching.train_batches(
        examples,
        layout,
        seed=seed,
        start_step=start_step,
        pack=pack,
        shuffle=shuffle,
      )
    window = streamed_batches.PACK_WINDOW
    path = examples.path_beside(layout, seed, shuffle, window, suffix='.rows')
    return streamed_batches.train_batches(
      examples,
      layout,
      seed=seed,
      start_step=start_step,
      pack=pack,
      shuffle=shuffle,
      row_counts=packed_row_counts.PackedRowCounts(path) if pack else None,
    )

  def eval_batches(self, num_batches: int | None) -> list[batching.Batch]:
    """Returns at most `num_batches` batches of the validation split; None: all."""
    source = self._data.eval_examples or self._source
    examples = source('validation')
    layout = self._layout(source, examples)
    if isinstance(examples, examples_lib.StreamedSolutions):
      batches = streamed_batches.eval_batches(examples, layout)
    else:
      batches = batching.eval_batches(examples, layout)
    return list(itertools.islice(batches, num_batches))

  def _layout(
    self,
    source: examples_lib.ExampleSource,
    examples: Sequence[example_types.Example],
  ) -> batching.BatchLayout:
    """Returns the shape of the batches of these examples."""
    data = self._data
    has_verdicts = not isinstance(
      examples, examples_lib.StreamedSolutions
    ) and any(
      isinstance(example, example_types.VerdictExample) for example in examples
    )
    label_words = None
    if has_verdicts:
      label_words = prompt_templates.make_label_words(
        data.template, data.vocabulary
      )
    return batching.BatchLayout(
      batch_size=data.batch_size,
      max_length=data.sequence_length,
      label_words=label_words,
      group_size=source.group_size,
      too_long=data.too_long,
      pad_id=data.vocabulary.pad_id,
    )


def check_batch_size(
  config: step_lib.TrainStepConfig,
  source: examples_lib.ExampleSource,
  data: train_config.DataConfig,
) -> None:
  """Checks batch size and vocabulary size before any work is done.

  Raises:
    ValueError: the batch size does not divide, or the vocabulary is larger than the model's.
  """
  unit = source.group_size * config.num_microbatches
  if data.batch_size % unit:
    raise ValueError(
      f'batch_size is {data.batch_size}; it must be a multiple of {unit} ({source.group_size} '
      f'examples of a group x {config.num_microbatches} microbatches). Change BATCH_SIZE or '
      'NUM_MICROBATCHES.'
    )
  partitioning.check_batch_divisible(
    data.batch_size // config.num_microbatches,
    config.mesh,
    knob='batch_size / num_microbatches',
  )
  vocabulary_size.check_vocabulary_size(data.vocabulary, config.model)
