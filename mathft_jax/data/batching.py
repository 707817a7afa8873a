"""Shuffled training batches and one-pass evaluation batches of numpy arrays.

  layout = BatchLayout(batch_size=32, max_length=512)
  for batch in train_batches(examples, layout, seed=0): ...

A batch is a pure function of (seed, step): a run that resumes at step k gets the batches of an
uninterrupted run. Every process creates the same whole batch; `partitioning.shard_batch` uploads
the rows of the process's own devices.

  decoder_input_tokens   int32   [B, T]     sequence[:-1] where sequence = inputs + targets
  decoder_target_tokens  int32   [B, T]     sequence[1:]
  decoder_loss_weights   float32 [B, T]     weight of each target token, 0 on inputs and padding
  decoder_positions      int32   [B, T]     restart at 0 in every packed segment
  decoder_segment_ids    int32   [B, T]     1, 2, ... per example in the row; 0 is padding

If some example is a `VerdictExample` or a `ContrastExample`:

  is_correct             float32 [B]
  verdict_weights        float32 [B]        1 where `is_correct` counts, else 0

If some example is a `PreferenceExample`:

  reference_log_probs    float32 [B]        log p of the candidate under the reference model

If some example is a `VerdictExample` (its row is the evaluator prompt and the label-word branches):

  word_positions         int32   [B, W, M]  row index whose hidden state predicts token m of word w
  decoder_branch_ids     int32   [B, T]     only if a label word has several tokens
  label_words            int32   [W, M]     the same in every batch, no batch axis
  label_word_mask        bool    [W, M]     the same in every batch, no batch axis
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import itertools
import logging
import math

import numpy as np

from mathft_jax.data import batch_arrays, example_types, first_fit_packing
from mathft_jax.data.batch_arrays import Batch, Segment
from mathft_jax.data.example_types import (
  Example,
  PreferenceExample,
  SolutionExample,
  VerdictExample,
)
from mathft_jax.data.label_word_branches import LabelWords

Row = tuple[Segment, ...]
# A larger share of examples that do not fit is a warning.
MAX_SHORTENED = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchLayout:
  """Shape of the batches.

  Attributes:
    batch_size: B, rows of a batch; a multiple of group_size.
    max_length: T, tokens of a row.
    group_size: so many neighbouring examples stay neighbours.
    label_words: from `prompt_templates.make_label_words`; needed for verdict examples.
    too_long: 'truncate' cuts targets that do not fit; 'drop' drops the example. Verdict and
      contrast examples that do not fit are always dropped, with their whole group.
    pad_id: token id of empty positions.
  """

  batch_size: int
  max_length: int
  group_size: int = 1
  label_words: LabelWords | None = None
  too_long: str = 'truncate'
  pad_id: int = 0

  def __post_init__(self):
    if self.batch_size <= 0 or self.batch_size % self.group_size:
      raise ValueError(
        f'batch_size is {self.batch_size}; it must be a positive multiple of the group size, '
        f'{self.group_size} examples.'
      )
    if self.too_long not in ('truncate', 'drop'):
      raise ValueError(
        f"too_long is {self.too_long!r}; wanted 'truncate' or 'drop'."
      )


def train_batches(
  examples: Sequence[Example],
  layout: BatchLayout,
  *,
  seed: int,
  start_step: int = 0,
  pack: bool = False,
  shuffle: bool = True,
) -> Iterator[Batch]:
  """Returns endless batches from `start_step` on.

  Args:
    examples: a finite list.
    layout: shape of the batches.
    seed: seed of the order. Every epoch is another permutation of all groups.
    start_step: step of the first batch returned.
    pack: put several whole examples into a row, isolated by segment ids.
    shuffle: False keeps the order of the examples in every epoch.

  Raises:
    ValueError: the layout does not fit the examples, or no example has anything to learn.
  """
  segments = _make_segments(examples, layout)
  kinds = frozenset(map(type, examples))
  if pack and (layout.group_size > 1 or kinds - {SolutionExample}):
    raise ValueError(
      'pack=True with pairs, verdict or contrast examples; these need one example per row. '
      'Bind pack=False.'
    )

  def epoch_rows(epoch: int) -> list[Row]:
    order_seed = [seed, epoch] if shuffle else None
    return _epoch_rows(segments, layout, order_seed, pack)

  num_rows = None if pack else len(segments)
  return _endless_batches(epoch_rows, num_rows, layout, kinds, start_step)


def eval_batches(
  examples: Sequence[Example], layout: BatchLayout
) -> Iterator[Batch]:
  """Returns every example once and in order; rows of weight 0 fill the last batch."""
  rows = [(segment,) for segment in _make_segments(examples, layout)]
  return _make_batches(rows, layout, frozenset(map(type, examples)))


def group_arrays(examples: Sequence[Example], layout: BatchLayout) -> Batch:
  """Returns the arrays of one group of examples, for pipelines that batch by themselves.

  There is one row for each example. If one does not fit, all rows of its group are empty and have
  weight 0: the number of rows does not depend on the data.
  """
  layout = dataclasses.replace(layout, batch_size=len(examples))
  rows = []
  for index, example in enumerate(examples):
    segment = batch_arrays.make_segment(example, index, layout.label_words)
    fitted = fit_segment(segment, layout)
    rows.append(None if fitted is None else (fitted,))

  if None in rows:
    rows = []
  kinds = frozenset(map(type, examples))
  return _make_batch(rows, layout, kinds)


def _make_segments(
  examples: Sequence[Example], layout: BatchLayout
) -> list[Segment]:
  """Returns the segments of the examples that fit, in whole groups."""
  if len(examples) % layout.group_size:
    raise ValueError(
      f'{len(examples)} examples; wanted a multiple of the group size, {layout.group_size}.'
    )

  kept = []
  lengths = []
  num_truncated = 0
  for start in range(0, len(examples), layout.group_size):
    group = []
    group_truncated = 0
    for index in range(start, start + layout.group_size):
      segment = batch_arrays.make_segment(
        examples[index], index, layout.label_words
      )
      lengths.append(segment.length)
      fitted = fit_segment(segment, layout)
      if fitted is not None:
        group.append(fitted)
        group_truncated += fitted is not segment
    if len(group) == layout.group_size:
      kept.extend(group)
      num_truncated += group_truncated

  _log_kept(kept, examples, lengths, num_truncated, layout.max_length)
  return kept


def fit_segment(segment: Segment, layout: BatchLayout) -> Segment | None:
  """Returns the segment in at most `max_length` tokens; None if it must be dropped."""
  if segment.length <= layout.max_length:
    return segment
  if layout.too_long == 'drop' or segment.is_correct is not None:
    return None
  shorter = batch_arrays.truncate_segment(segment, layout.max_length)
  return shorter if shorter.num_trained > 0 else None


def _log_kept(
  kept: list[Segment],
  examples: Sequence[Example],
  lengths: list[int],
  num_truncated: int,
  max_length: int,
):
  """Logs what was truncated and dropped; ValueError if nothing is left to learn."""
  num_trained = sum(segment.num_trained for segment in kept)
  num_labels = sum(segment.is_correct is not None for segment in kept)
  num_dropped = len(examples) - len(kept)
  if not num_trained and not num_labels:
    shortest = min(map(example_types.num_tokens, examples), default=0)
    raise ValueError(
      f'Nothing to learn from: {num_dropped} of {len(examples)} examples do not fit into '
      f'max_length={max_length} (the shortest has {shortest} tokens), and no other has a target '
      'token or a label. Use a larger max_length or other examples.'
    )
  logging.info(
    '%d examples: %d kept, %d of them truncated, %d dropped as longer than %d tokens; '
    '%d supervised tokens, %d labels',
    len(examples),
    len(kept),
    num_truncated,
    num_dropped,
    max_length,
    num_trained,
    num_labels,
  )
  num_shortened = num_truncated + num_dropped
  if num_shortened > MAX_SHORTENED * len(examples):
    logging.warning(
      '%d of %d examples (%.0f%%) are longer than %d tokens and are truncated or dropped. '
      'max_length=%d (MAX_LENGTH, or the sum of TASK_FEATURE_LENGTHS) keeps 99%%.',
      num_shortened,
      len(examples),
      100 * num_shortened / len(examples),
      max_length,
      sorted(lengths)[math.ceil(0.99 * len(lengths)) - 1],
    )


def _endless_batches(
  epoch_rows: Callable[[int], list[Row]],
  num_rows: int | None,
  layout: BatchLayout,
  kinds: frozenset[type],
  start_step: int,
) -> Iterator[Batch]:
  """Yields batches of epoch 0, epoch 1, ...; a batch may span two epochs.

  Args:
    epoch_rows: the rows of an epoch in their order.
    num_rows: rows of each epoch if all have the same number, else None.
    layout: shape of the batches.
    kinds: of the examples.
    start_step: step of the first batch.
  """
  rows_to_skip = start_step * layout.batch_size
  first_epoch = 0
  if num_rows is not None:
    first_epoch, rows_to_skip = divmod(rows_to_skip, num_rows)

  step = start_step
  pending = []
  for epoch in itertools.count(first_epoch):
    rows = epoch_rows(epoch)
    if rows_to_skip >= len(rows):
      rows_to_skip -= len(rows)
      continue

    # Epochs 0, 1, 2, 4, 8, ...: a small data set has many.
    if epoch & (epoch - 1) == 0 or epoch == first_epoch:
      _log_epoch(epoch, step, rows, layout)

    pending += rows[rows_to_skip:]
    rows_to_skip = 0
    num_whole = len(pending) - len(pending) % layout.batch_size
    for batch in _make_batches(pending[:num_whole], layout, kinds):
      yield batch
      step += 1
    pending = pending[num_whole:]


def _epoch_rows(
  segments: list[Segment],
  layout: BatchLayout,
  order_seed: list[int] | None,
  pack: bool,
) -> list[Row]:
  """Returns the rows of one epoch in their order.

  Args:
    segments: of all examples.
    layout: shape of the batches.
    order_seed: (seed, epoch); None keeps the order of the examples.
    pack: put several segments into a row.
  """
  rng = None if order_seed is None else np.random.default_rng(order_seed)
  num_groups = len(segments) // layout.group_size
  groups = np.arange(num_groups) if rng is None else rng.permutation(num_groups)
  members = groups[:, None] * layout.group_size + np.arange(layout.group_size)
  ordered = [segments[index] for index in members.reshape(-1)]
  if not pack:
    return [(segment,) for segment in ordered]

  lengths = [segment.length for segment in ordered]
  packed = first_fit_packing.pack_first_fit(lengths, layout.max_length)
  order = range(len(packed)) if rng is None else rng.permutation(len(packed))
  rows = []
  for row in order:
    rows.append(tuple(ordered[index] for index in packed[row]))
  return rows


def _log_epoch(epoch: int, step: int, rows: list[Row], layout: BatchLayout):
  num_used = 0
  for row in rows:
    num_used += sum(segment.length for segment in row)
  padding = 1 - num_used / (len(rows) * layout.max_length)
  logging.info(
    'epoch %d starts at step %d: %d rows (%.2f steps), %.1f%% padding',
    epoch,
    step,
    len(rows),
    len(rows) / layout.batch_size,
    100 * padding,
  )


def _make_batches(
  rows: list[Row], layout: BatchLayout, kinds: frozenset[type]
) -> Iterator[Batch]:
  """Yields the rows as arrays."""
  for start in range(0, len(rows), layout.batch_size):
    yield _make_batch(rows[start : start + layout.batch_size], layout, kinds)


def _make_batch(
  rows: Sequence[Row], layout: BatchLayout, kinds: frozenset[type]
) -> Batch:
  """Returns a batch; `kinds` of examples decide which arrays it has."""
  shape = (layout.batch_size, layout.max_length)
  batch = batch_arrays.make_token_arrays(rows, shape, layout.pad_id)
  # Rows with labels have one segment.
  segments = [row[0] for row in rows]
  if kinds - {SolutionExample}:
    batch |= batch_arrays.make_label_arrays(segments, layout.batch_size)
  if PreferenceExample in kinds:
    batch['reference_log_probs'] = batch_arrays.make_reference_array(
      segments, layout.batch_size
    )
  if VerdictExample in kinds:
    assert layout.label_words is not None  # `make_segment` checks it
    batch_arrays.write_evaluator_prompts(batch, segments, layout.label_words)
  return batch
