"""seqio tasks with the accuracy of this package's grader, for `t5x.train`, `t5x.eval` and seqio.

  from mathft_jax import tasks                     # in a gin file of t5x

  MIXTURE_OR_TASK_NAME = @tasks.registered_task()
  tasks.registered_task:
    name = 'math_scr_margin'
    config = @seqio_tasks.TaskConfig()
  seqio_tasks.TaskConfig:
    vocabulary = %VOCABULARY
    template = %TEMPLATE
    candidates = 'runs/graded/graded.jsonl'

Importing this module registers the tasks of `data.seqio_tasks` with the byte vocabulary, the
default template and `Accuracy`. `python -m mathft_jax.prepare_data` prepares their data sets.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np
import seqio

from mathft_jax.data import schema, seqio_sources, seqio_tasks
from mathft_jax.grading import candidate_grading


@dataclasses.dataclass(frozen=True)
class Accuracy(seqio.metrics.Metric):
  """Share of predictions that the grader accepts, equal to Pass@1 of `mathft_jax.evaluate`.

  A prediction without EOS was cut at the length limit; only an announced answer of it counts, as in
  `mathft_jax.grade`. The reference is the `answer` of the element, else that of its solution.

  Attributes:
    model_output_type: predictions, as token ids.
    graded: the graded predictions; empty before `from_model_output`.
    targets_and_inferences: reference solutions, predicted texts and their final answers, for the
      loggers of seqio.
  """

  model_output_type: seqio.metrics.ModelOutputType = (
    seqio.metrics.ModelOutputType.PREDICTION
  )
  graded: tuple[schema.CandidateSet, ...] = ()
  targets_and_inferences: Mapping[str, list] = dataclasses.field(
    default_factory=dict
  )

  @classmethod
  def from_model_output(
    cls,
    inputs: Sequence[Mapping[str, np.ndarray]],
    model_output: np.ndarray,
    features: Mapping[str, seqio.utils.Feature],
    target_field_name: str = 'targets',
    mask: np.ndarray | None = None,
    indices_2d: np.ndarray | None = None,
  ) -> 'Accuracy':
    """Returns the metric of predictions.

    Args:
      inputs: elements of the task.
      model_output: token ids [examples, tokens], or [examples, candidates, tokens].
      features: features of the task.
      target_field_name: the feature that is predicted.
      mask: unused; `seqio.Evaluator` passes none.
      indices_2d: unused, likewise.
    """
    del mask, indices_2d
    vocabulary = features[target_field_name].vocabulary
    sets = []
    for index, (element, output) in enumerate(zip(inputs, model_output)):
      problem = _problem(element, index, target_field_name, vocabulary)
      candidates = []
      for tokens in np.atleast_2d(output).tolist():
        candidates.append(
          schema.Candidate(
            vocabulary.decode(tokens), finished=vocabulary.eos_id in tokens
          )
        )
      sets.append(schema.CandidateSet(problem, tuple(candidates)))

    graded, _ = candidate_grading.grade_candidate_sets(sets, None, 0.0)
    shown = {'targets': [], 'output': [], 'prediction': []}
    for unit in graded:
      first = unit.candidates[0]
      shown['targets'].append(unit.problem.solution)
      shown['output'].append(first.solution)
      shown['prediction'].append(first.answer or '')
    return cls(graded=tuple(graded), targets_and_inferences=shown)

  def compute(self) -> dict[str, float]:
    """Returns the shares of correct, answerless and cut predictions."""
    correct, without_answer, cut = [], [], []
    for unit in self.graded:
      for candidate in unit.candidates:
        correct.append(bool(candidate.is_correct))
        without_answer.append(candidate.answer is None)
        cut.append(not candidate.finished)
    return {
      'accuracy': float(np.mean(correct)),
      'without_answer': float(np.mean(without_answer)),
      'cut_at_limit': float(np.mean(cut)),
    }


def register_all_tasks(
  config: seqio_tasks.TaskConfig = seqio_tasks.TaskConfig(),
) -> None:
  """Registers all tasks and mixtures; the `_ssft` tasks have the metric `Accuracy`.

  Args:
    config: vocabulary, template, candidates and folders; its `metric_objs` are kept if it has any.
  """
  if not config.metric_objs:
    config = dataclasses.replace(config, metric_objs=(Accuracy(),))
  seqio_tasks.register_all_tasks(config)


def registered_task(
  name: str, config: seqio_tasks.TaskConfig = seqio_tasks.TaskConfig()
) -> str:
  """Registers all tasks with a configuration and returns `name`, for gin files of t5x.

  Args:
    name: a task or mixture, such as 'math_ssft'.
    config: vocabulary, template, candidates and folders.

  Raises:
    ValueError: there is no such task.
  """
  register_all_tasks(config)
  seqio_sources.find_mixture_or_task(name)
  return name


def _problem(
  element: Mapping[str, np.ndarray],
  index: int,
  target_field_name: str,
  vocabulary: seqio.Vocabulary,
) -> schema.Problem:
  """Returns the problem of an element of a task."""
  solution = _text(element, f'{target_field_name}_pretokenized')
  if not solution:
    solution = vocabulary.decode(
      np.asarray(element[target_field_name]).tolist()
    )
  return schema.Problem(
    _text(element, 'id') or str(index),
    _text(element, 'inputs_pretokenized'),
    solution,
    answer=_text(element, 'answer') or None,
  )


def _text(element: Mapping[str, np.ndarray], name: str) -> str:
  value = element.get(name, b'')
  return np.asarray(value, object).item().decode('utf-8')


register_all_tasks()
