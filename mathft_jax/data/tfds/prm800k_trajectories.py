"""Reads labelled trajectories of PRM800K and selects those that become solutions."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import logging
import math

from etils import epath

from mathft_jax.data import schema
from mathft_jax.data.tfds import manual_dir, splits

INSTRUCTIONS = """\
Put PRM800K's label files into the manual folder as prm800k/{phase1,phase2}_{train,test}.jsonl (or
.jsonl.gz): the files prm800k/data/*.jsonl of the GitHub repository openai/prm800k, which keeps them
with git lfs (477 MB; without `git lfs pull` they are pointers of three lines). One file is enough.
Also read, where a release file is missing: phase1_{train,test}_trajectories.jsonl (its labelling
sessions without the metadata), phase1_{train,test}_solutions.jsonl and phase2_sample100.jsonl
(solutions already joined)."""

SHA256 = {
  'phase1_train.jsonl': 'e9da6a73f827ffb9a8c0dc644c541d34ed76b3d4d1e4896ff5f7b37ddf5ae34d',
  'phase1_test.jsonl': 'f4b3bc5b095e45c816453dc4d748b755c680d61d55f9895d929a335b487c727d',
  'phase2_train.jsonl': '1110237feeb51d1bc200cb37b8f965cfdc1036eac7d506094049366fe7dc1089',
  'phase2_test.jsonl': '6b172efa884ac8341a946dd82e06947c135b7254109fb3f7aa907c715d98aaad',
}
FILES = {  # release file -> accepted substitutes
  'phase1_train': ('phase1_train_trajectories', 'phase1_train_solutions'),
  'phase1_test': ('phase1_test_trajectories', 'phase1_test_solutions'),
  'phase2_train': ('phase2_sample100',),
  'phase2_test': (),
}
FOLDERS = ('prm800k', 'prm800k/prm800k/data', 'prm800k/data', '.')
ANSWER_MARK = '# Answer'


@dataclasses.dataclass(frozen=True)
class Step:
  """The step that a labeller chose; a step that they wrote themselves counts as rated 1."""

  text: str
  rating: int | None
  human: bool = False


@dataclasses.dataclass(frozen=True)
class Trajectory:
  """One labelled solution: the chosen steps, and why labelling ended.

  Attributes:
    id: `prm800k/<file>/<line>`.
    question: the problem.
    reference: answer of the problem.
    steps: the chosen steps.
    answer: answer of the solution.
    finish: reason of PRM800K: 'solution' (a step concluded in the correct answer), 'found_error',
      'bad_problem' or 'give_up'.
    quality_control: every labeller was given this solution.
  """

  id: str
  question: str
  reference: str | None
  steps: tuple[Step, ...]
  answer: str | None
  finish: str
  quality_control: bool = False


@dataclasses.dataclass(frozen=True)
class Selection:
  """Which trajectories become solutions. The defaults are not from the paper.

  Attributes:
    phases: of PRM800K: 1 (steps chosen by people, written by GPT-4), 2 (whole GPT-4 solutions).
    finish: accepted reasons why labelling ended.
    last_ratings: accepted ratings of the last step, the one with the answer.
    step_ratings: accepted ratings of the steps before it.
    human_steps: accept steps that labellers wrote themselves.
    quality_control: accept the few solutions that every labeller was given.
    same_answer: accept only solutions with the answer of the problem, white space aside. The
      labellers have judged this already, and a comparison of texts loses a quarter of phase 1.
    per_problem: maximum number of solutions of a problem, the first ones; None means all.
  """

  phases: tuple[int, ...] = (1, 2)
  finish: tuple[str, ...] = ('solution',)
  last_ratings: tuple[int | None, ...] = (1,)
  step_ratings: tuple[int | None, ...] = (0, 1)
  human_steps: bool = True
  quality_control: bool = True
  same_answer: bool = False
  per_problem: int | None = None

  # The name of this class and of its fields are in the names of prepared data sets.
  def __post_init__(self):
    for name in ('phases', 'finish', 'last_ratings', 'step_ratings'):
      object.__setattr__(self, name, tuple(getattr(self, name)))


def read_selected_solutions(
  folder: epath.PathLike, selection: Selection
) -> list[schema.Problem]:
  """Returns the selected solutions of the manual folder: one step per line, then a boxed answer.

  The split is that of the problem; a solution of one of the 500 test problems is 'test', whatever
  file it is in.

  Raises:
    ValueError: the folder has no file of PRM800K.
  """
  counts = Counter()
  num_chosen_by_question = Counter()
  seen: set[tuple[str, str]] = set()
  chosen: list[schema.Problem] = []

  for trajectory in _read_trajectories(epath.Path(folder), selection.phases):
    problem = _to_problem(trajectory)
    texts = (problem.question, problem.solution)
    num_chosen = num_chosen_by_question[problem.question]
    reason = rejection_reason(trajectory, selection)
    if not reason and texts in seen:
      reason = 'repeated'
    elif not reason and num_chosen >= (selection.per_problem or math.inf):
      reason = f'beyond {selection.per_problem} of its problem'

    counts[reason or f'chosen, {problem.split}'] += 1
    if not reason:
      chosen.append(problem)
      seen.add(texts)
      num_chosen_by_question[problem.question] += 1
  logging.info('%s: PRM800K trajectories: %s', folder, dict(counts))
  return chosen


def rejection_reason(trajectory: Trajectory, selection: Selection) -> str:
  """Returns why a trajectory is not selected; '' if it is selected."""
  steps, answer = trajectory.steps, trajectory.answer or ''
  reference = trajectory.reference or ''
  ratings = [step.rating for step in steps]
  if trajectory.finish not in selection.finish:
    return 'ended otherwise'
  if not answer or not steps:
    return 'without an answer'
  if ratings[-1] not in selection.last_ratings:
    return 'last step rated otherwise'
  if not set(ratings[:-1]) <= set(selection.step_ratings):
    return 'earlier step rated otherwise'
  if not selection.human_steps and any(step.human for step in steps):
    return 'with human steps'
  if not selection.quality_control and trajectory.quality_control:
    return 'quality control'
  if selection.same_answer and answer.split() != reference.split():
    return 'another answer than the reference'
  return ''


def parse_trajectory(
  record: schema.JsonObject, where: str, name: str
) -> Trajectory:
  """Returns the trajectory of a json object in any of the accepted forms.

  Args:
    record: the json object.
    where: `file:line`.
    name: name of the file without suffixes, for the id.

  Raises:
    ValueError: the object has none of the forms; names file and line.
  """
  line = where.rpartition(':')[2]
  trajectory_id = f'prm800k/{name}/{line}'
  try:
    if 'label' in record:
      return _parse_release(record, trajectory_id)
    if record['steps'] and isinstance(record['steps'][0], dict):
      return _parse_session(record, trajectory_id)
    return _parse_joined(record, trajectory_id)
  except (KeyError, TypeError, IndexError) as error:
    raise ValueError(
      f'{where}: not a PRM800K record ({type(error).__name__}: {error}).\n{INSTRUCTIONS}'
    ) from error


def _parse_release(record: schema.JsonObject, trajectory_id: str) -> Trajectory:
  """Parses a release record: question{problem, ...}, label{steps[{completions, ...}], ...}."""
  steps: list[Step] = []
  for step in record['label']['steps']:
    if step['chosen_completion'] is not None:
      completion = step['completions'][step['chosen_completion']]
      steps.append(Step(completion['text'], completion['rating']))
    elif step['human_completion'] is not None:
      steps.append(Step(step['human_completion']['text'], 1, human=True))

  screening = record['is_initial_screening_question']
  return _split_off_answer(
    Trajectory(
      id=trajectory_id,
      question=record['question']['problem'],
      reference=record['question']['ground_truth_answer'],
      steps=tuple(steps),
      answer=None,
      finish=record['label']['finish_reason'],
      quality_control=record['is_quality_control_question'] or screening,
    )
  )


def _parse_session(record: schema.JsonObject, trajectory_id: str) -> Trajectory:
  """Parses a labelling session: steps[{completions[{text, rating, human, chosen, answer}]}]."""
  steps: list[Step] = []
  answer = None
  for step in record['steps']:
    chosen = [each for each in step['completions'] if each['chosen']]
    if chosen:
      completion = chosen[0]
      human = completion['human']
      rating = 1 if human else completion['rating']
      steps.append(Step(completion['text'], rating, human))
      answer = completion['answer']
  return Trajectory(
    id=trajectory_id,
    question=record['problem'],
    reference=record['answer'],
    steps=tuple(steps),
    answer=answer,
    finish='solution' if answer else 'give_up',
  )


def _parse_joined(record: schema.JsonObject, trajectory_id: str) -> Trajectory:
  """Parses a solution as a list of texts; only step `first_error_step`, from 1, is rejected."""
  first_error = record.get('first_error_step')
  steps: list[Step] = []
  for number, text in enumerate(record['steps'], start=1):
    steps.append(Step(text, -1 if number == first_error else 1))
  trajectory = _split_off_answer(
    Trajectory(
      id=trajectory_id,
      question=record['problem'],
      reference=record['answer'],
      steps=tuple(steps),
      answer=None,
      finish=record.get('finish_reason', 'solution'),
    )
  )
  answer = trajectory.answer or record.get('pred_answer')
  return dataclasses.replace(trajectory, answer=answer)


def _split_off_answer(trajectory: Trajectory) -> Trajectory:
  """Returns the trajectory with the text after `# Answer` of its last step as the answer."""
  steps = trajectory.steps
  if not steps or ANSWER_MARK not in steps[-1].text:
    return trajectory
  text, _, answer = steps[-1].text.rpartition(ANSWER_MARK)
  last = dataclasses.replace(steps[-1], text=text.strip())
  return dataclasses.replace(
    trajectory, steps=(*steps[:-1], last), answer=answer.strip() or None
  )


def _to_problem(trajectory: Trajectory) -> schema.Problem:
  texts = [step.text.strip() for step in trajectory.steps]
  lines = list(filter(None, texts))
  lines.append(f'The final answer is $\\boxed{{{trajectory.answer}}}$.')
  question = trajectory.question.strip()
  return schema.Problem(
    id=trajectory.id,
    question=question,
    solution='\n'.join(lines),
    answer=trajectory.reference or trajectory.answer,
    split=splits.assign_math_split(question),
  )


def _read_trajectories(
  folder: epath.Path, phases: tuple[int, ...]
) -> Iterator[Trajectory]:
  """Yields the trajectories of each release file of these phases, or of its substitute."""
  found = False
  for release, substitutes in FILES.items():
    if int(release[len('phase')]) not in phases:
      continue
    names = (release, *substitutes)
    paths = [manual_dir.find_jsonl(folder, FOLDERS, name) for name in names]
    path = next(filter(None, paths), None)
    if path is not None:
      found = True
      manual_dir.check_published_sha256(path, SHA256)
      name = path.name.split('.')[0]
      for where, record in schema.read_jsonl(path):
        yield parse_trajectory(record, where, name)
  if not found:
    raise ValueError(
      f'{folder}: no PRM800K file of phases {phases} in this folder.\n{INSTRUCTIONS}'
    )
