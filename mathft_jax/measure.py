"""Measures a checkpoint on problems: samples, grades and reports, without any training.

  python -m mathft_jax.measure --gin_file=programs/measure.gin --gin_file=models/<one>.gin \
      --gin_file=data/<one>.gin --gin.CHECKPOINT_PATH=runs/ssft --gin.EVAL_OUTPUT_DIR=runs/measured

Use it for the few-shot baseline of a pre-trained model, or for a generator with another number of
candidates, temperature or prompt. If it is stopped, the same command resumes.
"""

from collections.abc import Sequence

from etils import epath

from mathft_jax.config.bound_program import BoundProgram
from mathft_jax.data import problem_sources
from mathft_jax.data.schema import Problem

Problems = problem_sources.ProblemSource | Sequence[Problem]


def measure(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  problems: Problems,
  sample: BoundProgram,
  sample_greedy: BoundProgram | None,
  grade: BoundProgram,
  evaluate: BoundProgram,
  seed: int = 0,
) -> epath.Path:
  """Returns the path of `<workdir>/report/report.json`.

  Args:
    workdir: each program writes to its own folder here.
    checkpoint: the generator.
    problems: the problems for `sample`: a list, or a source of problems.
    sample: the program `sample`, for N candidates of each problem.
    sample_greedy: the same for one greedy solution of each problem (Pass@1); None omits that row.
    grade: the program `grade`.
    evaluate: the program `evaluate`.
    seed: of the samples.
  """
  workdir = epath.Path(workdir)
  graded, graded_greedy = sample_and_grade(
    workdir,
    checkpoint,
    problems,
    sample=sample,
    sample_greedy=sample_greedy,
    grade=grade,
    seed=seed,
  )
  return evaluate(
    workdir / 'report', candidates=graded, greedy_candidates=graded_greedy
  )


def sample_and_grade(
  workdir: epath.Path,
  checkpoint: epath.PathLike,
  problems: Problems,
  *,
  sample: BoundProgram,
  sample_greedy: BoundProgram | None,
  grade: BoundProgram,
  seed: int,
) -> tuple[epath.Path, epath.Path | None]:
  """Returns the graded candidates of a generator and its graded greedy solutions (or None)."""
  inputs = {'checkpoint': checkpoint, 'problems': problems, 'seed': seed}
  greedy = None
  if sample_greedy is not None:
    greedy = sample_greedy(workdir / 'greedy', **inputs)
  candidates = sample(workdir / 'candidates', **inputs)

  graded = grade(workdir / 'graded', candidates=candidates)
  if greedy is None:
    return graded, None
  return graded, grade(workdir / 'graded_greedy', candidates=greedy)


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(measure)
