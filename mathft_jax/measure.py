"""A checkpoint and problems in, a report of what it solves out: sample, grade, evaluate.

  python -m mathft_jax.measure --gin_file=programs/measure.gin --gin_file=models/<one>.gin \
      --gin_file=data/<one>.gin --gin.CHECKPOINT_PATH=runs/ssft --gin.EVAL_OUTPUT_DIR=runs/measured

Without a training: the few-shot baseline of a pre-trained model, or any generator under another N,
temperature or prompt. Running the same command again goes on where it stopped.
"""

from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

BoundProgram = Callable[
  ..., epath.Path
]  # a program with all bound but what is handed over


def measure(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  problems: Any,
  sample: BoundProgram,
  sample_greedy: BoundProgram | None,
  grade: BoundProgram,
  evaluate: BoundProgram,
  seed: int = 0,
) -> epath.Path:
  """The path of `<workdir>/report/report.json`.

  Args:
    workdir: one folder per stage goes here.
    checkpoint: the generator.
    problems: what `sample` takes: a list, or a source of problems.
    sample: N candidates of each problem.
    sample_greedy: one greedy solution of each problem, for Pass@1; None leaves that row out.
    grade, evaluate: as in the recipe.
    seed: of the samples.
  """
  graded, graded_greedy = sample_and_grade(
    epath.Path(workdir),
    checkpoint,
    problems,
    sample=sample,
    sample_greedy=sample_greedy,
    grade=grade,
    seed=seed,
  )
  return evaluate(
    epath.Path(workdir) / 'report',
    candidates=graded,
    greedy_candidates=graded_greedy,
  )


def sample_and_grade(
  folder: epath.Path,
  checkpoint: epath.PathLike,
  problems: Sequence[Any] | Any,
  *,
  sample: BoundProgram,
  sample_greedy: BoundProgram | None,
  grade: BoundProgram,
  seed: int,
) -> tuple[epath.Path, epath.Path | None]:
  """(graded candidates, graded greedy solutions) of a generator."""
  given = {'checkpoint': checkpoint, 'problems': problems, 'seed': seed}
  one = sample_greedy and sample_greedy(folder / 'greedy', **given)
  many = sample(folder / 'candidates', **given)
  return (
    grade(folder / 'graded', candidates=many),
    one and grade(folder / 'graded_greedy', candidates=one),
  )


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(measure)
