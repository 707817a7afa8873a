"""Exports graded candidates: pairs for preference training, or one row per candidate.

  python -m mathft_jax.export_candidates --gin_file=programs/export_candidates.gin \
      --gin.CANDIDATES=runs/graded/graded.jsonl --gin.OUTPUT=pairs.jsonl

A pair is `{"prompt", "chosen", "rejected"}`, as TRL's DPO and reward trainers read it: a correct
and an incorrect candidate of one problem. With `EXPORT = 'candidates'` each candidate is one flat
row with its score. The format is parquet if the name of the output ends in .parquet, else jsonl.
"""

from etils import epath

from mathft_jax.data import candidate_export, candidate_selection, schema
from mathft_jax.distributed import processes

EXPORTS = ('pairs', 'candidates')
PAIRS_BY = ('label', 'score')


def export_candidates(
  *,
  candidates: epath.PathLike,
  output: epath.PathLike,
  export: str = 'pairs',
  selection: candidate_selection.CandidateSelection = (
    candidate_selection.CandidateSelection()
  ),
  pairs_by: str = 'label',
  min_score_difference: float = 0.0,
  conversational: bool = False,
  split: str = 'train',
) -> epath.Path:
  """Writes the output and returns its path; an existing file is replaced.

  Args:
    candidates: a graded or scored candidate file.
    output: a .parquet, .jsonl or .jsonl.gz file.
    export: 'pairs' or 'candidates'.
    selection: which candidates become pairs by label.
    pairs_by: 'label': correct and incorrect candidates; 'score': for each problem the candidates of
      highest and of lowest score, whatever their labels.
    min_score_difference: pairs by score whose scores do not differ by more are left out.
    conversational: pairs as messages instead of texts; then TRL applies the chat template.
    split: pairs of the problems of this split; of all problems if none has a split.

  Raises:
    ValueError: the file is not graded or no pair can be built.
  """
  _check_choice('export', export, EXPORTS)
  _check_choice('pairs_by', pairs_by, PAIRS_BY)
  if export == 'pairs' and not selection.paired:
    raise ValueError(
      "export is 'pairs' and selection.paired is False; bind paired=True."
    )

  def work() -> None:
    if export == 'candidates':
      sets = schema.iterate_candidate_sets(candidates)
      candidate_export.write_records(
        output,
        candidate_export.candidate_rows(sets),
        candidate_export.CANDIDATE_COLUMNS,
      )
      return
    if pairs_by == 'score':
      selected = candidate_export.pairs_by_score(
        str(candidates), split, min_score_difference
      )
    else:
      selected = candidate_selection.select_candidates(
        selection, str(candidates), split
      )
    pairs = candidate_export.preference_pairs(selected, conversational)
    candidate_export.write_records(output, pairs)

  processes.run_on_primary('export_candidates', work)
  return epath.Path(output)


def _check_choice(name: str, value: str, accepted: tuple[str, ...]) -> None:
  if value not in accepted:
    raise ValueError(
      f'{name} is {value!r}; it must be one of {accepted} ({name.upper()}).'
    )


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(export_candidates)
