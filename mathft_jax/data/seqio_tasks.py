"""seqio tasks and mixtures, registered by name when this module is imported, and their examples.

  math_ssft  prm800k_ssft  gsm8k_ssft  math_prm800k_ssft    solutions
  math_scr_margin  math_scr_xent  math_contrast             graded candidates (gsm8k_... as well)

`seqio.get_mixture_or_task(name)` finds them, with the byte vocabulary and the default template.
`register` repeats the registration with another vocabulary, template, folder or candidate file, and
`TaskExamples` does so with its own fields. Features are token ids, made by the functions that make
them everywhere else (`prompts.py`); EOS is the last target:

  *_ssft        inputs, targets
  *_scr_xent    inputs, is_correct
  *_scr_margin  correct_inputs, incorrect_inputs       one element is one pair, so that no shuffle
  *_contrast    inputs, correct_targets, incorrect_targets        tears it apart
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import functools
import itertools
import logging
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from mathft_jax.data import candidate_selection as selection_lib
from mathft_jax.data import (
  prompt_templates,
  schema,
  vocabularies,
)
from mathft_jax.data import examples as examples_lib
from mathft_jax.data.tfds import (
  mixture_rates,
  prepared_datasets,
  seqio_vocabulary,
)

TfdsProblems = prepared_datasets.TfdsProblems
Example = examples_lib.Example
Element = Mapping[str, np.ndarray]

FEATURES = {
  'ssft': ('inputs', 'targets'),
  'scr_xent': ('inputs', 'is_correct'),
  'scr_margin': ('correct_inputs', 'incorrect_inputs'),
  'contrast': ('inputs', 'correct_targets', 'incorrect_targets'),
}
MIXTURES = {'math_prm800k_ssft': ('math_ssft', 'prm800k_ssft')}
SPLITS = ('train', 'validation', 'test')
_JSONL: dict[
  str, Callable[[str], Sequence[schema.Problem]]
] = {}  # added by add_jsonl_task


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig(prepared_datasets.TfdsConfig):
  """What the tasks are made with; see `register`."""

  vocabulary: Any = vocabularies.ByteVocabulary()
  template: prompt_templates.Template = prompt_templates.Template()
  candidates: str | None = None
  candidate_selection: selection_lib.CandidateSelection = (
    selection_lib.CandidateSelection()
  )


def register_all_tasks(registration: TaskConfig = TaskConfig()):
  """Registers every task and mixture of this module, in the place of earlier ones.

  `registration.candidates` is the graded file of the evaluator and contrast tasks; without it they
  are registered and say so when their data is asked for.
  """
  for name in prepared_datasets.BUILDERS:
    _add(
      f'{name}_ssft',
      _source(name, registration),
      'ssft',
      registration,
      [
        functools.partial(_encode_problems, registration=registration),
        seqio.CacheDatasetPlaceholder(),
      ],
    )
    for kind in ('scr_margin', 'scr_xent', 'contrast'):
      elements = functools.partial(
        _candidate_elements, f'{name}_{kind}', kind, registration
      )
      _add(
        f'{name}_{kind}',
        _elements_source(elements, kind),
        kind,
        registration,
        [],
      )
  for name, problems in _JSONL.items():
    _add_problems(name, problems, registration)
  for name, members in MIXTURES.items():
    seqio.MixtureRegistry.remove(name)
    seqio.MixtureRegistry.add(
      name, list(members), default_rate=seqio.mixing_rate_num_examples
    )


def add_jsonl_task(
  name: str,
  problems: Callable[[str], Sequence[schema.Problem]],
  registration: TaskConfig = TaskConfig(),
):
  """Registers an SSFT task over the user's own problems, say `sources.JsonlProblems(path)`."""
  _JSONL[name] = problems
  _add_problems(name, problems, registration)


def _add_problems(
  name: str,
  problems: Callable[[str], Sequence[schema.Problem]],
  registration: TaskConfig,
):
  def elements(split: str) -> Iterator[Element]:
    for problem in problems(split):
      example = examples_lib.make_solution_example(
        registration.template, registration.vocabulary, problem
      )
      yield {name: example[name] for name in FEATURES['ssft']}

  _add(name, _elements_source(elements, 'ssft'), 'ssft', registration, [])


def _add(
  name: str,
  source: seqio.DataSource,
  kind: str,
  registration: TaskConfig,
  preprocessors: list,
):
  vocabulary = seqio_vocabulary.SeqioVocabulary(registration.vocabulary)
  features = {
    feature: seqio.Feature(
      vocabulary,
      add_eos=feature.endswith('targets'),
      rank=0 if feature == 'is_correct' else 1,
    )
    for feature in FEATURES[kind]
  }
  seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add(
    name, source=source, output_features=features, preprocessors=preprocessors
  )


def _source(name: str, registration: TaskConfig) -> seqio.DataSource:
  """The TFDS source; one with another PRM800K selection than the default is known by its folder."""
  splits = {split: split for split in SPLITS}
  if (
    name == 'prm800k'
    and registration.prm800k_selection
    != prepared_datasets.TfdsConfig().prm800k_selection
  ):
    folder = prepared_datasets.make_builder(name, registration).data_path
    return seqio.TfdsDataSource(
      tfds_data_dir=str(folder), splits=splits, read_only=True
    )
  return seqio.TfdsDataSource(
    prepared_datasets.TFDS_NAMES[name],
    tfds_data_dir=registration.tfds_data_dir,
    splits=splits,
  )


def _elements_source(
  elements: Callable[[str], Iterator[Element]], kind: str
) -> seqio.FunctionDataSource:
  signature = {
    feature: tf.TensorSpec([] if feature == 'is_correct' else [None], tf.int32)
    for feature in FEATURES[kind]
  }

  def dataset(
    split: str, shuffle_files: bool, seed: int | None = None
  ) -> tf.data.Dataset:
    del shuffle_files, seed  # the caller shuffles elements
    made = list(
      elements(split)
    )  # here: inside the generator an error would lose its type
    return tf.data.Dataset.from_generator(
      lambda: made, output_signature=signature
    )

  return seqio.FunctionDataSource(dataset, splits=SPLITS)


def _encode_problems(
  dataset: tf.data.Dataset, registration: TaskConfig
) -> tf.data.Dataset:
  """TFDS examples as token ids, with their text beside for seqio's inspection tools."""

  def encode(question: bytes, solution: bytes) -> list[np.ndarray]:
    problem = schema.Problem(
      '', *map(seqio_vocabulary.decode_tf_string, (question, solution))
    )
    example = examples_lib.make_solution_example(
      registration.template, registration.vocabulary, problem
    )
    return [example['inputs'], example['targets']]

  def encode_tf(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    ids = tf.numpy_function(
      encode, [example['question'], example['solution']], [tf.int32, tf.int32]
    )
    return {
      'id': example['id'],
      'inputs_pretokenized': example['question'],
      'targets_pretokenized': example['solution'],
      'inputs': tf.ensure_shape(ids[0], [None]),
      'targets': tf.ensure_shape(ids[1], [None]),
    }

  return dataset.map(encode_tf, num_parallel_calls=tf.data.AUTOTUNE)


def _candidate_elements(
  task: str, kind: str, registration: TaskConfig, split: str
) -> Iterator[Element]:
  if registration.candidates is None:
    raise ValueError(
      f'{task} is made from graded candidates and has none: call tasks.register(tasks.'
      "Registration(candidates='graded.jsonl')), or bind TaskExamples.candidates."
    )
  make = (
    examples_lib.ContrastExamples
    if kind == 'contrast'
    else examples_lib.VerdictExamples
  )
  draw = dataclasses.asdict(registration.candidate_selection) | {
    'paired': kind != 'scr_xent'
  }
  rows = make(
    candidates=registration.candidates,
    template=registration.template,
    vocabulary=registration.vocabulary,
    **draw,
  )(split)
  if kind == 'scr_xent':
    yield from (
      {'inputs': row['inputs'], 'is_correct': row['is_correct']} for row in rows
    )
  for correct, incorrect in (
    zip(rows[0::2], rows[1::2]) if kind != 'scr_xent' else ()
  ):
    if kind == 'scr_margin':
      yield {
        'correct_inputs': correct['inputs'],
        'incorrect_inputs': incorrect['inputs'],
      }
    else:
      yield {
        'inputs': correct['inputs'],
        'correct_targets': correct['targets'],
        'incorrect_targets': incorrect['targets'],
      }


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskExamples(TaskConfig):
  """The examples of a seqio task or mixture, all of a split in memory.

  A mixture's tasks are taken at their rates: the task that takes longest gives each of its elements
  once, the others repeat theirs as often as the rates say. A rate by number of examples counts
  those of the split after `limit`. Tasks of this module are registered
  anew with the fields given here; one registered elsewhere must have the vocabulary given here.

  Attributes:
    mixture_or_task_name: as `seqio.get_mixture_or_task` knows it.
    limit: at most so many elements of each task, the first ones.
    use_cached: read what `seqio_cache_tasks` has written into `cache_dirs`.
  """

  mixture_or_task_name: str
  limit: int | None = None
  use_cached: bool = False
  cache_dirs: tuple[str, ...] = ()

  @property
  def group_size(self) -> int:
    return (
      2
      if any(
        name.startswith('incorrect_')
        for name in self._provider().output_features
      )
      else 1
    )

  def __call__(self, split: str) -> list[Example]:
    provider = self._provider()
    if self.use_cached:
      seqio.set_global_cache_dirs(list(self.cache_dirs))
    leaves = self._leaves(provider)
    elements = [self._elements(task, split) for task in leaves]
    if isinstance(provider, seqio.Mixture):
      elements = mixture_rates.oversample_to_rates(provider, elements)
    rows = [
      row for element in itertools.chain(*elements) for row in _rows(element)
    ]
    logging.info(
      '%s, split %s: %s elements, %d examples',
      self.mixture_or_task_name,
      split,
      ' + '.join(str(len(part)) for part in elements),
      len(rows),
    )
    return rows

  def _provider(self) -> seqio.Task | seqio.Mixture:
    register_all_tasks(
      TaskConfig(
        **{
          field.name: getattr(self, field.name)
          for field in dataclasses.fields(TaskConfig)
        }
      )
    )
    return seqio.get_mixture_or_task(self.mixture_or_task_name)

  def _leaves(self, provider: seqio.Task | seqio.Mixture) -> list[seqio.Task]:
    """The tasks as they are registered now: a mixture keeps those of the time it was made."""
    leaves = [provider]
    if isinstance(provider, seqio.Mixture):
      leaves = [seqio.TaskRegistry.get(task.name) for task in provider.tasks]
    for task in leaves:
      for name, feature in task.output_features.items():
        if not seqio_vocabulary.encodes_same_ids(
          feature.vocabulary, self.vocabulary
        ):
          raise ValueError(
            f'{task.name}: feature {name} has the vocabulary {feature.vocabulary}; '
            f'wanted {self.vocabulary}, which VOCABULARY names.'
          )
    return leaves

  def _elements(self, task: seqio.Task, split: str) -> list[Element]:
    name = task.name.removesuffix('_ssft')
    if name in prepared_datasets.BUILDERS and not self.use_cached:
      prepared_datasets.prepare_dataset(name, self)
    dataset = task.get_dataset(
      sequence_length=None,
      split=split,
      shuffle=False,
      use_cached=self.use_cached,
      try_in_mem_cache=False,
    )
    elements = list(
      dataset.take(-1 if self.limit is None else self.limit).as_numpy_iterator()
    )
    if not elements:
      raise ValueError(f'{task.name}: no element of split {split!r}.')
    if self.use_cached:
      self._check_cached(task.name, elements[0])
    return elements

  def _check_cached(self, task: str, element: Element):
    """ValueError when cached ids were made with another vocabulary or template than ours."""
    if not {'inputs_pretokenized', 'targets_pretokenized'} <= element.keys():
      return
    texts = [
      seqio_vocabulary.decode_tf_string(element[f'{name}_pretokenized'])
      for name in ('inputs', 'targets')
    ]
    ours = examples_lib.make_solution_example(
      self.template, self.vocabulary, schema.Problem('', *texts)
    )
    if not all(
      np.array_equal(element[name], ours[name])
      for name in ('inputs', 'targets')
    ):
      raise ValueError(
        f'{task}: the cached token ids are not those of {self.vocabulary} and '
        f'{self.template}; cache the task again or bind use_cached=False.'
      )


def _rows(element: Element) -> list[Example]:
  """An element as examples: one, or the two of a pair, the correct one first."""
  none = np.zeros(0, np.int32)
  if 'correct_inputs' in element:
    return [
      {
        'inputs': element[f'{kind}_inputs'],
        'targets': none,
        'is_correct': label,
      }
      for kind, label in (('correct', 1), ('incorrect', 0))
    ]
  if 'correct_targets' in element:
    return [
      {
        'inputs': element['inputs'],
        'targets': element[f'{kind}_targets'],
        'is_correct': label,
      }
      for kind, label in (('correct', 1), ('incorrect', 0))
    ]
  if 'is_correct' in element:
    return [
      {
        'inputs': element['inputs'],
        'targets': none,
        'is_correct': int(element['is_correct']),
      }
    ]
  return [{'inputs': element['inputs'], 'targets': element['targets']}]


register_all_tasks()
