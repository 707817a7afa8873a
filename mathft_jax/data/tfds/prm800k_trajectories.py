"""PRM800K's labelled trajectories, as files hold them, and the solutions chosen from them."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import logging

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
FILES = {  # release file -> what stands in for it
  'phase1_train': ('phase1_train_trajectories', 'phase1_train_solutions'),
  'phase1_test': ('phase1_test_trajectories', 'phase1_test_solutions'),
  'phase2_train': ('phase2_sample100',),
  'phase2_test': (),
}
FOLDERS = ('prm800k', 'prm800k/prm800k/data', 'prm800k/data', '.')
ANSWER_MARK = '# Answer'


@dataclasses.dataclass(frozen=True)
class Step:
  """The step that a labeller went on with; one of their own writing counts as rated 1."""

  text: str
  rating: int | None
  human: bool = False


@dataclasses.dataclass(frozen=True)
class Trajectory:
  """One labelled solution: the chosen steps, and why labelling ended.

  `answer` is the solution's, `reference` the problem's. `finish` is PRM800K's: 'solution' (a step
  concluded in the correct answer), 'found_error', 'bad_problem', 'give_up'.
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
  """Which trajectories become solutions. The defaults are ours.

  Attributes:
    phases: of PRM800K: 1 (steps chosen by people, GPT-4 writing), 2 (whole GPT-4 solutions).
    finish: why labelling ended.
    last_ratings: ratings of the last step, the one with the answer.
    step_ratings: ratings of the steps before it.
    human_steps: whether steps that labellers wrote themselves may occur.
    quality_control: whether to use the few solutions that every labeller was shown.
    same_answer: only where solution and problem have the same answer, white space aside (the
      labellers have judged that already, and a comparison of texts loses a quarter of phase 1).
    per_problem: so many solutions of a problem at most, the first ones; None for all.
  """

  phases: tuple[int, ...] = (1, 2)
  finish: tuple[str, ...] = ('solution',)
  last_ratings: tuple[int | None, ...] = (1,)
  step_ratings: tuple[int | None, ...] = (0, 1)
  human_steps: bool = True
  quality_control: bool = True
  same_answer: bool = False
  per_problem: int | None = None

  def __post_init__(self):
    for name in ('phases', 'finish', 'last_ratings', 'step_ratings'):
      object.__setattr__(self, name, tuple(getattr(self, name)))


def read_selected_solutions(
  folder: epath.PathLike, selection: Selection
) -> list[schema.Problem]:
  """The selected solutions of the manual folder: steps a line, the answer in a box at the end.

  The split is the problem's; a solution of one of the 500 test problems is 'test' whatever file it
  stands in. ValueError when no file is there.
  """
  counts, chosen, seen = Counter(), [], Counter()
  for trajectory in _read(epath.Path(folder), selection.phases):
    solution = _solution(trajectory)
    reason = rejection_reason(trajectory, selection)
    if not reason and seen[solution.question, solution.solution]:
      reason = 'repeated'
    if (
      not reason
      and selection.per_problem
      and seen[solution.question] >= selection.per_problem
    ):
      reason = f'beyond {selection.per_problem} of its problem'
    counts[reason or f'chosen, {solution.split}'] += 1
    if not reason:
      chosen.append(solution)
      seen.update([solution.question, (solution.question, solution.solution)])
  logging.info('%s: PRM800K trajectories: %s', folder, dict(counts))
  return chosen


def rejection_reason(trajectory: Trajectory, selection: Selection) -> str:
  """Why a trajectory is not chosen; empty when it is."""
  steps = trajectory.steps
  same = (trajectory.answer or '').split() == (
    trajectory.reference or ''
  ).split()
  reasons = {
    'ended otherwise': trajectory.finish not in selection.finish,
    'without an answer': not trajectory.answer or not steps,
    'last step rated otherwise': bool(steps)
    and steps[-1].rating not in selection.last_ratings,
    'earlier step rated otherwise': any(
      s.rating not in selection.step_ratings for s in steps[:-1]
    ),
    'with human steps': not selection.human_steps
    and any(step.human for step in steps),
    'quality control': not selection.quality_control
    and trajectory.quality_control,
    'another answer than the reference': selection.same_answer and not same,
  }
  return next((reason for reason, holds in reasons.items() if holds), '')


def parse_trajectory(row: dict, where: str, name: str) -> Trajectory:
  """A trajectory from a json row of any of the accepted forms; ValueError with file and line."""
  trajectory_id = f'prm800k/{name}/{where.rpartition(":")[2]}'
  try:
    if 'label' in row:
      return _released(row, trajectory_id)
    if row['steps'] and isinstance(row['steps'][0], dict):
      return _session(row, trajectory_id)
    return _joined(row, trajectory_id)
  except (KeyError, TypeError, IndexError) as error:
    raise ValueError(
      f'{where}: no PRM800K row ({type(error).__name__}: {error}).\n{INSTRUCTIONS}'
    ) from error


def _released(row: dict, trajectory_id: str) -> Trajectory:
  """A row of the release: question{problem, ...}, label{steps[{completions, ...}], ...}."""
  steps = []
  for step in row['label']['steps']:
    if step['chosen_completion'] is not None:
      completion = step['completions'][step['chosen_completion']]
      steps.append(Step(completion['text'], completion['rating']))
    elif step['human_completion'] is not None:
      steps.append(Step(step['human_completion']['text'], 1, human=True))
  quality_control = (
    row['is_quality_control_question'] or row['is_initial_screening_question']
  )
  return _ended(
    trajectory_id,
    row['question']['problem'],
    row['question']['ground_truth_answer'],
    steps,
    row['label']['finish_reason'],
    quality_control,
  )


def _session(row: dict, trajectory_id: str) -> Trajectory:
  """A labelling session: steps[{completions[{text, rating, human, chosen, answer}]}]."""
  chosen = [
    next((c for c in step['completions'] if c['chosen']), None)
    for step in row['steps']
  ]
  chosen = [completion for completion in chosen if completion]
  steps = [
    Step(c['text'], 1 if c['human'] else c['rating'], c['human'])
    for c in chosen
  ]
  answer = chosen[-1]['answer'] if chosen else None
  return Trajectory(
    trajectory_id,
    row['problem'],
    row['answer'],
    tuple(steps),
    answer,
    'solution' if answer else 'give_up',
  )


def _joined(row: dict, trajectory_id: str) -> Trajectory:
  """A solution as a list of texts, every step accepted up to `first_error_step`, 1-based."""
  error = row.get('first_error_step')
  steps = [
    Step(text, -1 if number == error else 1)
    for number, text in enumerate(row['steps'], 1)
  ]
  trajectory = _ended(
    trajectory_id,
    row['problem'],
    row['answer'],
    steps,
    row.get('finish_reason', 'solution'),
  )
  return dataclasses.replace(
    trajectory, answer=trajectory.answer or row.get('pred_answer')
  )


def _ended(
  trajectory_id: str,
  question: str,
  reference: str | None,
  steps: list[Step],
  finish: str,
  quality_control: bool = False,
) -> Trajectory:
  """The trajectory, its answer taken out of the last step, where it stands after `# Answer`."""
  answer = None
  if steps and ANSWER_MARK in steps[-1].text:
    text, _, answer = steps[-1].text.rpartition(ANSWER_MARK)
    steps = [*steps[:-1], dataclasses.replace(steps[-1], text=text.strip())]
  answer = (answer or '').strip() or None
  return Trajectory(
    trajectory_id,
    question,
    reference,
    tuple(steps),
    answer,
    finish,
    quality_control,
  )


def _solution(trajectory: Trajectory) -> schema.Problem:
  lines = [step.text.strip() for step in trajectory.steps if step.text.strip()]
  lines.append(f'The final answer is $\\boxed{{{trajectory.answer}}}$.')
  question = trajectory.question.strip()
  return schema.Problem(
    id=trajectory.id,
    question=question,
    solution='\n'.join(lines),
    answer=trajectory.reference or trajectory.answer,
    split=splits.assign_math_split(question),
  )


def _read(folder: epath.Path, phases: tuple[int, ...]) -> Iterator[Trajectory]:
  found = 0
  for release, others in FILES.items():
    paths = [
      manual_dir.find_jsonl(folder, FOLDERS, name)
      for name in (release, *others)
    ]
    path = next(filter(None, paths), None)
    if path is not None and int(release[len('phase')]) in phases:
      found += 1
      manual_dir.check_published_sha256(path, SHA256)
      name = path.name.split('.')[0]
      yield from (
        parse_trajectory(row, where, name)
        for where, row in schema.read_jsonl(path)
      )
  if not found:
    raise ValueError(
      f'{folder}: no PRM800K file of phases {phases} in it.\n{INSTRUCTIONS}'
    )
