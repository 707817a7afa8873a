"""Model features of the seqio tasks: the arrays of `data.batching`, one row at a time."""

from collections.abc import Mapping

from absl import logging
import numpy as np
import seqio
import tensorflow as tf

from mathft_jax.data import batching, prompt_templates, seqio_tasks
from mathft_jax.distributed import partitioning

# Array of batches whose tasks have two rows for each element: 0 correct, 1 incorrect.
PAIR_MEMBERS = 'pair_members'
DTYPES = {'is_correct': np.float32, 'verdict_weights': np.float32}


class MathFeatureConverter(seqio.FeatureConverter):
  """Converts elements of any task of `seqio_tasks`; the two rows of a pair are neighbours.

  Rows start with BOS and have positions and segment ids, as in `mathft_jax.train`. seqio's own
  converters put a 0 before BOS, which shifts all positions, and take the token 0 for padding.
  """

  TASK_FEATURES = {
    name: seqio.FeatureConverter.FeatureSpec(
      dtype=tf.int32, rank=0 if name == 'is_correct' else 1
    )
    for name in sorted(set().union(*seqio_tasks.FEATURES.values()))
  }
  MODEL_FEATURES = {
    'decoder_input_tokens': seqio.FeatureConverter.FeatureSpec(dtype=tf.int32),
    'decoder_target_tokens': seqio.FeatureConverter.FeatureSpec(dtype=tf.int32),
    'decoder_loss_weights': seqio.FeatureConverter.FeatureSpec(
      dtype=tf.float32
    ),
    'decoder_positions': seqio.FeatureConverter.FeatureSpec(dtype=tf.int32),
    'decoder_segment_ids': seqio.FeatureConverter.FeatureSpec(dtype=tf.int32),
  }
  PACKING_FEATURE_DTYPES: Mapping[str, tf.DType] = {}

  def __init__(
    self,
    pack: bool = False,
    use_custom_packing_ops: bool = False,
    *,
    vocabulary: prompt_templates.Vocabulary,
    template: prompt_templates.Template,
  ):
    if pack:
      raise ValueError(
        'DatasetConfig.pack is True; this converter does not pack. Bind pack = False, or train '
        'with t5x/same_batches.gin, which packs as mathft_jax.train does (PACK).'
      )
    super().__init__(pack=False, use_custom_packing_ops=use_custom_packing_ops)
    self._vocabulary, self._template = vocabulary, template

  def __call__(
    self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
  ) -> tf.data.Dataset:
    """Returns a data set of rows.

    Args:
      ds: elements of a task.
      task_feature_lengths: most tokens of each feature; `is_correct` needs none.
    """
    kind = _task_kind(ds.element_spec)
    layout = self._layout(kind, task_feature_lengths)
    is_pair = kind in ('scr_margin', 'contrast')
    features = seqio_tasks.FEATURES[kind]
    row = self._convert(
      kind, layout, task_feature_lengths, _dummy_element(features)
    )
    dtypes = [array.dtype for array in row.values()]

    def convert(*arrays: np.ndarray) -> list[np.ndarray]:
      element = dict(zip(features, arrays))
      rows = self._convert(kind, layout, task_feature_lengths, element)
      return list(rows.values())

    def convert_tf(element: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      inputs = [element[name] for name in features]
      outputs = tf.numpy_function(convert, inputs, dtypes)
      rows = {}
      for (name, like), tensor in zip(row.items(), outputs):
        tensor = tf.ensure_shape(tensor, like.shape)
        rows[name] = tensor if is_pair else tensor[0]
      return rows

    rows = ds.map(convert_tf, num_parallel_calls=tf.data.AUTOTUNE)
    return rows.unbatch() if is_pair else rows

  def get_model_feature_lengths(
    self, task_feature_lengths: Mapping[str, int]
  ) -> dict[str, int]:
    """Returns the length of a row for each model feature."""
    kind = _task_kind(task_feature_lengths)
    length = self._layout(kind, task_feature_lengths).max_length
    return dict.fromkeys(self.MODEL_FEATURES, length)

  def _convert_features(self, ds, task_feature_lengths):
    return self(ds, task_feature_lengths)

  def _layout(
    self, kind: str, lengths: Mapping[str, int]
  ) -> batching.BatchLayout:
    """Returns the layout of the rows of one element."""
    words = None
    if kind == 'ssft':
      length = lengths['inputs'] + lengths['targets']
    elif kind == 'contrast':
      targets = lengths['correct_targets'], lengths['incorrect_targets']
      length = lengths['inputs'] + max(targets)
    else:
      words = prompt_templates.make_label_words(
        self._template, self._vocabulary
      )
      prompts = [
        length for name, length in lengths.items() if name.endswith('inputs')
      ]
      length = max(prompts) + len(words.branch_tokens)
    return batching.BatchLayout(
      batch_size=1,
      max_length=length,
      label_words=words,
      pad_id=self._vocabulary.pad_id,
    )

  def _convert(
    self,
    kind: str,
    layout: batching.BatchLayout,
    lengths: Mapping[str, int],
    element: Mapping[str, np.ndarray],
  ) -> dict[str, np.ndarray]:
    """Returns the arrays of the rows of one element."""
    for name, ids in element.items():
      if name.endswith('inputs') and len(ids) == lengths[name]:
        self._check_not_trimmed(kind, name, ids)
    examples = seqio_tasks.examples_of(element)
    batch = batching.group_arrays(examples, layout)
    for name in partitioning.REPLICATED_BATCH_ARRAYS & batch.keys():
      del batch[name]
    if len(examples) == 2:
      batch[PAIR_MEMBERS] = np.arange(2, dtype=np.int32)
    return batch

  def _check_not_trimmed(self, kind: str, name: str, ids: np.ndarray):
    """ValueError if a prompt as long as the limit does not end as the template's prompts do."""
    tail = _text_of_tail(self._template, kind.startswith('scr'))
    if not tail:
      logging.warning(
        'A prompt is as long as TASK_FEATURE_LENGTHS[%r]. The prompts of TEMPLATE end with the '
        'question itself, so it is not known whether seqio has trimmed this one.',
        name,
      )
    elif not self._vocabulary.decode(ids).rstrip().endswith(tail):
      raise ValueError(
        f'A prompt of {len(ids)} tokens is as long as TASK_FEATURE_LENGTHS[{name!r}] and does not '
        f'end with {tail!r} as the prompts of TEMPLATE do: seqio has trimmed it. Use a larger '
        'length.'
      )


def _task_kind(features: Mapping[str, object]) -> str:
  """Returns the kind of task (a key of `seqio_tasks.FEATURES`) with these features."""
  for kind, names in sorted(seqio_tasks.FEATURES.items()):
    lengths = [name for name in names if name != 'is_correct']
    others = {'targets', 'is_correct', 'correct_targets'} - set(names)
    if set(lengths) <= features.keys() and not others & features.keys():
      return kind
  raise ValueError(
    f'The task has the features {sorted(features)}; wanted those of a task of seqio_tasks: '
    f'{seqio_tasks.FEATURES}.'
  )


def _dummy_element(features: tuple[str, ...]) -> dict[str, np.ndarray]:
  """Returns an element that has the dtypes and shapes of the rows of all others."""
  element = {}
  for name in features:
    is_scalar = name == 'is_correct'
    element[name] = (
      np.zeros((), np.int32) if is_scalar else np.ones(1, np.int32)
    )
  return element


def _text_of_tail(template: prompt_templates.Template, is_verdict: bool) -> str:
  """Returns the text with which every prompt ends, after its last special token."""
  tail = template.solve.partition('{question}')[2]
  if is_verdict:
    tail = template.verify_solution.partition('{solution}')[2]
  for name in template.special_tokens:
    tail = tail.rpartition(name)[2]
  return tail.strip()
