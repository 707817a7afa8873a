"""Scores and re-ranks given candidates with an evaluator, and writes a report.

  python -m mathft_jax.rerank --gin_file=programs/rerank.gin --gin_file=models/<evaluator's>.gin \
      --gin.CHECKPOINT_PATH=runs/scr_margin --gin.TEST_CANDIDATES=runs/other/graded/graded.jsonl \
      --gin.EVAL_OUTPUT_DIR=runs/reranked

The candidates may come from another model. With `train`, the evaluator is trained first on graded
candidates, so that one set of candidates serves all experiments with evaluators. If it is stopped,
the same command resumes.
"""

from collections.abc import Mapping

from etils import epath

from mathft_jax.config.bound_program import BoundProgram

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
  """Returns the path of `<workdir>/report/report.json`.

  Args:
    workdir: each program writes to its own folder here.
    checkpoint: the evaluator; with `train`, the initial weights of its training run.
    candidates: a graded file of test candidates, or several files by name.
    score: the program `score`.
    evaluate: the program `evaluate`.
    train: the program `train` for the evaluator, with its examples; None if `checkpoint` is one.
    greedy_candidates: a graded file with one greedy solution of each problem, or several by name.
  """
  workdir = epath.Path(workdir)
  evaluator = checkpoint
  if train is not None:
    evaluator = train(workdir / 'scr', init_from=checkpoint)

  if isinstance(candidates, Mapping):
    scored = {}
    for name, path in candidates.items():
      scored[name] = score(
        workdir / f'scored_{name}', checkpoint=evaluator, candidates=path
      )
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
