"""An evaluator by itself: candidates made earlier are scored, re-ranked and reported on.

  python -m mathft_jax.rerank --gin_file=programs/rerank.gin --gin_file=models/<evaluator's>.gin \
      --gin.CHECKPOINT_PATH=runs/scr_margin --gin.TEST_CANDIDATES=runs/other/graded/graded.jsonl \
      --gin.EVAL_OUTPUT_DIR=runs/reranked

The candidates may be another model's. With `train` the evaluator is trained first, on graded
candidates made earlier: so one generation serves every question about evaluators. Running the same
command again goes on where it stopped.
"""

from collections.abc import Callable, Mapping

from etils import epath

BoundProgram = Callable[
  ..., epath.Path
]  # a program with all bound but what is handed over
Paths = epath.PathLike | Mapping[str, epath.PathLike]


def rerank(
  workdir: epath.PathLike,
  *,
  checkpoint: epath.PathLike,
  candidates: Paths,
  score: BoundProgram,
  evaluate: BoundProgram,
  train: BoundProgram | None = None,
  greedy_candidates: Paths | None = None,
) -> epath.Path:
  """The path of `<workdir>/report/report.json`.

  Args:
    workdir: one folder per stage goes here.
    checkpoint: the evaluator; with `train`, the weights that its training starts from.
    candidates: a graded file of test candidates, or several by name.
    score, evaluate: as in the recipe.
    train: trains the evaluator, examples included; None when `checkpoint` is one.
    greedy_candidates: a graded file of one greedy solution for each problem, or several by the same names.
  """
  workdir = epath.Path(workdir)
  evaluator = (
    checkpoint
    if train is None
    else train(workdir / 'scr', init_from=checkpoint)
  )
  if isinstance(candidates, Mapping):
    scored = {
      name: score(
        workdir / f'scored_{name}', checkpoint=evaluator, candidates=path
      )
      for name, path in candidates.items()
    }
  else:
    scored = score(
      workdir / 'scored', checkpoint=evaluator, candidates=candidates
    )
  return evaluate(
    workdir / 'report', candidates=scored, greedy_candidates=greedy_candidates
  )


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(rerank)
