"""seqio tasks and mixtures, registered when this module is imported, and examples from them.

  math_ssft  prm800k_ssft  gsm8k_ssft  math_prm800k_ssft    solutions
  math_scr_margin  math_scr_xent  math_contrast             graded candidates (also gsm8k_...)

`seqio.get_mixture_or_task(name)` returns them, with the byte vocabulary and the default template.
`register_all_tasks` registers them with another vocabulary, template, folder or candidate file;
`TaskExamples` does so with its own fields. The features are token ids from `prompt_templates`, as
everywhere else; EOS is the last target:

  *_ssft        inputs, targets
  *_scr_xent    inputs, is_correct
  *_scr_margin  correct_inputs, incorrect_inputs      one element is one pair, so a shuffle keeps
  *_contrast    inputs, correct_targets, incorrect_targets          the pair together
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
import itertools
import logging

import numpy as np
import seqio
import tensorflow as tf

from mathft_jax.data import candidate_selection as selection_lib
from mathft_jax.data import examples as examples_lib
from mathft_jax.data import (
  problem_sources,
  prompt_templates,
  schema,
  seqio_sources,
  vocabularies,
)
from mathft_jax.data.example_types import (
  ContrastExample,
  Example,
  SolutionExample,
  VerdictExample,
)
from mathft_jax.data.tfds import (
  mixture_rates,
  prepared_datasets,
  seqio_vocabulary,
)

TfdsProblems = prepared_datasets.TfdsProblems
Element = Mapping[str, np.ndarray]  # of a seqio data set

FEATURES = {
  'ssft': ('inputs', 'targets'),
  'scr_xent': ('inputs', 'is_correct'),
  'scr_margin': ('correct_inputs', 'incorrect_inputs'),
  'contrast': ('inputs', 'correct_targets', 'incorrect_targets'),
}
MIXTURES = {'math_prm800k_ssft': ('math_ssft', 'prm800k_ssft')}
_JSONL_TASKS: dict[str, problem_sources.ProblemSource] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig(prepared_datasets.TfdsConfig):
  """What the tasks are registered with.

  Attributes:
    vocabulary: encodes all texts.
    template: the prompts.
    candidates: jsonl file of graded candidates for the evaluator and contrast tasks. Without it
      these tasks are registered, and raise an error when their data is read.
    candidate_selection: which candidates become examples; `paired` is set by the task.
    metric_objs: metrics of the `_ssft` tasks for `seqio.Evaluator` and `t5x.eval`.
  """

  vocabulary: prompt_templates.Vocabulary = vocabularies.ByteVocabulary()
  template: prompt_templates.Template = prompt_templates.Template()
  candidates: str | None = None
  candidate_selection: selection_lib.CandidateSelection = (
    selection_lib.CandidateSelection()
  )
  metric_objs: Sequence[seqio.metrics.Metric] = ()


def register_all_tasks(config: TaskConfig = TaskConfig()):
  """Registers every task and mixture of this module; replaces earlier registrations."""
  for name in prepared_datasets.BUILDERS:
    encode = functools.partial(_encode_problems, config=config)
    preprocessors = [encode, seqio.CacheDatasetPlaceholder()]
    source = seqio_sources.PreparedTfdsSource(name, config)
    _register_task(f'{name}_ssft', source, 'ssft', config, preprocessors)
    for kind in ('scr_margin', 'scr_xent', 'contrast'):
      task = f'{name}_{kind}'
      elements = functools.partial(_candidate_elements, task, kind, config)
      source = seqio_sources.make_function_source(elements, FEATURES[kind])
      _register_task(task, source, kind, config, [])

  for name, problems in _JSONL_TASKS.items():
    _register_jsonl_task(name, problems, config)
  for name, members in MIXTURES.items():
    seqio.MixtureRegistry.remove(name)
    seqio.MixtureRegistry.add(
      name, list(members), default_rate=seqio.mixing_rate_num_examples
    )


def add_jsonl_task(
  name: str,
  problems: problem_sources.ProblemSource,
  config: TaskConfig = TaskConfig(),
):
  """Registers an SSFT task over the user's own problems.

  Args:
    name: name of the task.
    problems: for example `problem_sources.JsonlProblems(path)`.
    config: vocabulary and template.
  """
  _JSONL_TASKS[name] = problems
  _register_jsonl_task(name, problems, config)


def _register_jsonl_task(
  name: str, problems: problem_sources.ProblemSource, config: TaskConfig
):
  def elements(split: str) -> Iterator[seqio_sources.Element]:
    for problem in problems(split):
      example = examples_lib.make_solution_example(
        config.template, config.vocabulary, problem
      )
      yield {
        'id': problem.id,
        'inputs_pretokenized': problem.question,
        'targets_pretokenized': problem.solution,
        'answer': problem.answer or '',
        'inputs': example.inputs,
        'targets': example.targets,
      }

  source = seqio_sources.make_function_source(
    elements, (*seqio_sources.TEXTS, *FEATURES['ssft'])
  )
  _register_task(name, source, 'ssft', config, [])


def _register_task(
  name: str,
  source: seqio.DataSource,
  kind: str,
  config: TaskConfig,
  preprocessors: list,
):
  vocabulary = seqio_vocabulary.SeqioVocabulary(config.vocabulary)
  features = {}
  for feature in FEATURES[kind]:
    features[feature] = seqio.Feature(
      vocabulary,
      add_eos=feature.endswith('targets'),
      rank=0 if feature == 'is_correct' else 1,
    )
  seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add(
    name,
    source=source,  # pyright: ignore[reportArgumentType]
    output_features=features,
    preprocessors=preprocessors,
    metric_objs=config.metric_objs if kind == 'ssft' else (),
  )


def _encode_texts(
  question: bytes | np.ndarray, solution: bytes | np.ndarray, config: TaskConfig
) -> SolutionExample:
  """Returns the example of two TensorFlow strings."""
  texts = map(seqio_vocabulary.decode_tf_string, (question, solution))
  return examples_lib.make_solution_example(
    config.template, config.vocabulary, schema.Problem('', *texts)
  )


def _encode_problems(
  dataset: tf.data.Dataset, config: TaskConfig
) -> tf.data.Dataset:
  """Returns TFDS examples as token ids, with the texts for seqio's inspection tools."""

  def encode(question: bytes, solution: bytes) -> list[np.ndarray]:
    example = _encode_texts(question, solution, config)
    return [example.inputs, example.targets]

  def encode_tf(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    question, solution = example['question'], example['solution']
    inputs, targets = tf.numpy_function(
      encode, [question, solution], [tf.int32, tf.int32]
    )
    return {
      'id': example['id'],
      'inputs_pretokenized': question,
      'targets_pretokenized': solution,
      'answer': example['answer'],
      'inputs': tf.ensure_shape(inputs, [None]),
      'targets': tf.ensure_shape(targets, [None]),
    }

  return dataset.map(encode_tf, num_parallel_calls=tf.data.AUTOTUNE)


def _candidate_elements(
  task: str, kind: str, config: TaskConfig, split: str
) -> Iterator[Element]:
  """Yields the elements of an evaluator or contrast task."""
  if config.candidates is None:
    raise ValueError(
      f'{task} needs graded candidates, and candidates is None: call seqio_tasks.'
      "register_all_tasks(seqio_tasks.TaskConfig(candidates='graded.jsonl')), or bind "
      'TaskExamples.candidates.'
    )
  options = dataclasses.asdict(config.candidate_selection)
  options |= {
    'paired': kind != 'scr_xent',
    'candidates': config.candidates,
    'template': config.template,
    'vocabulary': config.vocabulary,
  }
  if kind == 'contrast':
    contrast = examples_lib.ContrastExamples(**options)(split)
    for correct, incorrect in zip(contrast[0::2], contrast[1::2]):
      yield {
        'inputs': correct.inputs,
        'correct_targets': correct.targets,
        'incorrect_targets': incorrect.targets,
      }
    return

  verdicts = examples_lib.VerdictExamples(**options)(split)
  if kind == 'scr_xent':
    for verdict in verdicts:
      yield {
        'inputs': verdict.inputs,
        'is_correct': np.asarray(verdict.is_correct),
      }
    return
  for correct, incorrect in zip(verdicts[0::2], verdicts[1::2]):
    yield {
      'correct_inputs': correct.inputs,
      'incorrect_inputs': incorrect.inputs,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskExamples(TaskConfig):
  """The examples of a seqio task or mixture; all examples of a split are in memory.

  The tasks of a mixture are taken at their rates: the task that takes longest gives each of its
  elements once, the others repeat theirs. A rate by number of examples counts the examples of the
  split after `limit`. Tasks of this module are registered again with the fields given here; a task
  that was registered elsewhere must have the same vocabulary.

  Attributes:
    mixture_or_task_name: argument of `seqio.get_mixture_or_task`.
    module: name of the module that registers it; None: it is registered already.
    limit: maximum number of elements of each task, the first ones; None means all.
    use_cached: read what `seqio_cache_tasks` has written into `cache_dirs`.
    cache_dirs: folders of cached tasks.
  """

  mixture_or_task_name: str
  module: str | None = None
  limit: int | None = None
  use_cached: bool = False
  cache_dirs: tuple[str, ...] = ()

  @property
  def group_size(self) -> int:
    """2 if one element is a pair."""
    features = set(self._get_mixture_or_task().output_features)
    pairs = {'incorrect_inputs', 'incorrect_targets'}
    return 2 if features & pairs else 1

  def __call__(self, split: str) -> list[Example]:
    mixture_or_task = self._get_mixture_or_task()
    if self.use_cached:
      seqio.set_global_cache_dirs(list(self.cache_dirs))
    tasks = self._tasks(mixture_or_task)
    elements = [self._read_elements(task, split) for task in tasks]
    if isinstance(mixture_or_task, seqio.Mixture):
      elements = mixture_rates.oversample_to_rates(mixture_or_task, elements)

    examples = []
    for element in itertools.chain(*elements):
      examples.extend(examples_of(element))
    logging.info(
      '%s, split %s: %s elements, %d examples',
      self.mixture_or_task_name,
      split,
      ' + '.join(str(len(part)) for part in elements),
      len(examples),
    )
    return examples

  def _get_mixture_or_task(self) -> seqio.Task | seqio.Mixture:
    fields = dataclasses.fields(TaskConfig)
    values = {field.name: getattr(self, field.name) for field in fields}
    register_all_tasks(TaskConfig(**values))
    if self.module:
      seqio_sources.import_task_module(self.module)
    return seqio_sources.find_mixture_or_task(self.mixture_or_task_name)

  def _tasks(
    self, mixture_or_task: seqio.Task | seqio.Mixture
  ) -> list[seqio.Task]:
    """Returns the tasks as registered now; a mixture keeps those of its own registration."""
    tasks: list = [mixture_or_task]
    if isinstance(mixture_or_task, seqio.Mixture):
      names = [task.name for task in mixture_or_task.tasks]
      tasks = list(map(seqio.TaskRegistry.get, names))
    for task in tasks:
      for name, feature in task.output_features.items():
        if not seqio_vocabulary.encodes_same_ids(
          feature.vocabulary, self.vocabulary
        ):
          raise ValueError(
            f'{task.name}: feature {name} has the vocabulary {feature.vocabulary}; '
            f'wanted {self.vocabulary} (VOCABULARY).'
          )
    return tasks

  def _read_elements(self, task: seqio.Task, split: str) -> list[Element]:
    dataset_name = task.name.removesuffix('_ssft')
    if dataset_name in prepared_datasets.BUILDERS and not self.use_cached:
      prepared_datasets.prepare_dataset(dataset_name, self)
    dataset = task.get_dataset(
      sequence_length=None,
      split=split,
      shuffle=False,
      use_cached=self.use_cached,
      try_in_mem_cache=False,
    )
    count = -1 if self.limit is None else self.limit
    elements = list(dataset.take(count).as_numpy_iterator())
    if not elements:
      raise ValueError(f'{task.name}: no element of split {split!r}.')
    if self.use_cached:
      self._check_cached(task.name, elements[0])
    return elements

  def _check_cached(self, task: str, element: Element):
    """ValueError if cached ids have another vocabulary or template than this object."""
    if not {'inputs_pretokenized', 'targets_pretokenized'} <= element.keys():
      return
    wanted = _encode_texts(
      element['inputs_pretokenized'], element['targets_pretokenized'], self
    )
    same_inputs = np.array_equal(element['inputs'], wanted.inputs)
    same_targets = np.array_equal(element['targets'], wanted.targets)
    if not (same_inputs and same_targets):
      raise ValueError(
        f'{task}: the cached token ids are not those of {self.vocabulary} and '
        f'{self.template}; cache the task again or bind use_cached=False.'
      )


def examples_of(element: Element) -> list[Example]:
  """Returns an element as one example, or as the two of a pair, the correct one first."""
  if 'correct_inputs' in element:
    return [
      VerdictExample(element['correct_inputs'], 1),
      VerdictExample(element['incorrect_inputs'], 0),
    ]
  inputs = element['inputs']
  if 'correct_targets' in element:
    return [
      ContrastExample(inputs, element['correct_targets'], 1),
      ContrastExample(inputs, element['incorrect_targets'], 0),
    ]
  if 'is_correct' in element:
    return [VerdictExample(inputs, int(element['is_correct']))]
  return [SolutionExample(inputs, element['targets'])]


register_all_tasks()
