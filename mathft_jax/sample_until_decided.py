"""Samples each problem until its majority vote is decided, or it has N candidates.

  python -m mathft_jax.sample_until_decided --gin_file=programs/sample_until_decided.gin \
      --gin_file=models/<one>.gin --gin_file=data/<one>.gin --gin.CHECKPOINT_PATH=runs/ssft \
      --gin.INFER_OUTPUT_DIR=runs/adaptive

It works in rounds. Each round samples further candidates of the undecided problems, grades them,
and asks a stopping rule (`evaluation.stopping_rules`). The rule reads answers, not labels. The
candidates of a problem are the first of those that `sample` gives with the same seed. If the
program is stopped, the same command resumes.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from absl import logging
from etils import epath

from mathft_jax.config.bound_program import BoundProgram
from mathft_jax.data import schema
from mathft_jax.data.problem_sources import ProblemSource
from mathft_jax.data.schema import CandidateSet, Problem
from mathft_jax.distributed import processes
from mathft_jax.evaluation import stopping_rules
from mathft_jax.monitoring import stage_cost


def sample_until_decided(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  problems: ProblemSource | Sequence[Problem],
  sample: BoundProgram,
  grade: BoundProgram,
  rule: stopping_rules.StoppingRule,
  split: str = 'test',
  max_candidates: int = 64,
  first_candidates: int = 4,
  seed: int = 0,
) -> epath.Path:
  """Returns the path of `<workdir>/graded/graded.jsonl`; problems differ in their candidates.

  Args:
    workdir: each round, and the whole, has its own folders here.
    checkpoint: the generator.
    problems: a list, or a source that is called with `split`.
    sample: the program `sample`.
    grade: the program `grade`.
    rule: decides from the sizes of a problem's clusters, the largest first, whether to stop.
    split: 'train', 'validation' or 'test'.
    max_candidates: of each problem, N.
    first_candidates: of each problem in the first round. The rule is asked when a problem has this
      number, twice as many, four times as many, ... candidates.
    seed: of the samples.

  Raises:
    ValueError: first_candidates is not between 1 and max_candidates.
  """
  _check_numbers(first_candidates, max_candidates)
  workdir = epath.Path(workdir)
  found = list(problems(split) if callable(problems) else problems)
  candidates: dict[str, CandidateSet] = {}
  undecided = found
  rounds = []
  start, end = 0, first_candidates
  while undecided and start < max_candidates:
    folder = workdir / f'round_{end:04d}'
    sampled = sample(
      folder / 'candidates',
      checkpoint=checkpoint,
      problems=undecided,
      num_decodes=end - start,
      first_sample=start,
      seed=seed,
    )
    rounds.append(folder / 'candidates')
    _extend(candidates, sampled)
    undecided = _find_undecided(folder, undecided, candidates, grade, rule)
    start, end = end, min(2 * end, max_candidates)

  output = _write(workdir / 'candidates', found, candidates)
  processes.run_on_primary(
    'sample_until_decided: cost',
    lambda: stage_cost.write_sum(output.parent, rounds),
  )
  return grade(workdir / 'graded', candidates=output)


def _check_numbers(first_candidates: int, max_candidates: int) -> None:
  if not 1 <= first_candidates <= max_candidates:
    raise ValueError(
      f'first_candidates is {first_candidates} (FIRST_CANDIDATES); it must be between 1 and '
      f'max_candidates ({max_candidates}, NUM_DECODES).'
    )


def _extend(
  candidates: dict[str, CandidateSet], sampled: epath.PathLike
) -> None:
  """Adds the candidates of a file to those of the same problems."""
  for new in schema.read_candidate_sets(sampled):
    earlier = candidates.get(new.problem.id)
    if earlier is not None:
      joined = (*earlier.candidates, *new.candidates)
      new = dataclasses.replace(earlier, candidates=joined)
    candidates[new.problem.id] = new


def _find_undecided(
  folder: epath.Path,
  problems: Sequence[Problem],
  candidates: Mapping[str, CandidateSet],
  grade: BoundProgram,
  rule: stopping_rules.StoppingRule,
) -> list[Problem]:
  """Grades all candidates of the problems and returns those at which the rule does not stop."""
  joined = _write(folder / 'joined', problems, candidates)
  undecided = []
  for graded in schema.read_candidate_sets(
    grade(folder / 'graded', candidates=joined)
  ):
    sizes = list(map(len, graded.clusters()))
    if not rule(sizes):
      undecided.append(graded.problem)
  logging.info(
    'sample_until_decided: %s: %d of %d problems are undecided',
    folder.name,
    len(undecided),
    len(problems),
  )
  return undecided


def _write(
  folder: epath.Path,
  problems: Sequence[Problem],
  candidates: Mapping[str, CandidateSet],
) -> epath.Path:
  """Writes the candidates of the problems on the primary process, and returns the path."""
  path = folder / 'candidates.jsonl'
  sets = [candidates[problem.id] for problem in problems]

  def write() -> None:
    folder.mkdir(parents=True, exist_ok=True)
    schema.write_jsonl(path, sets)

  processes.run_on_primary(f'{path} written', write)
  return path


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(sample_until_decided)
