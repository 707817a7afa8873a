"""Imports candidates that another program has sampled: vLLM, an API, an evaluation harness.

  python -m mathft_jax.import_candidates --gin_file=programs/import_candidates.gin \
      --gin.CANDIDATES='out/*.jsonl' --gin.CANDIDATE_FORMAT=openai \
      --gin_file=data/jsonl.gin --gin.DATA_PATH=problems.jsonl --gin.LOOKUP_PROBLEMS=%PROBLEMS \
      --gin.INFER_OUTPUT_DIR=runs/imported

Writes `<workdir>/candidates.jsonl`, the candidate file of all programs (docs/report.md). The
formats are in docs/data.md; other files need names of fields (programs/import_mapped.gin). Labels,
scores and log-probabilities are kept where the file has them; `grade` compares its labels with
them.
"""

from etils import epath

from mathft_jax.data import candidate_mapping, problem_sources, schema
from mathft_jax.distributed import processes


def import_candidates(
  workdir: epath.PathLike,
  *,
  candidates: str,
  mapping: candidate_mapping.CandidateMapping,
  problems: problem_sources.ProblemSource | None = None,
  split: str = 'test',
) -> epath.Path:
  """Returns the path of `<workdir>/candidates.jsonl`.

  Args:
    workdir: output directory.
    candidates: a file, a glob or a folder in any format of `data.record_files`.
    mapping: names of the fields.
    problems: the problems, for records that contain only an id or only the question. None: each
      record contains its problem.
    split: the split of `problems`.

  Raises:
    ValueError: names file, row and field of the first record that cannot be read.
  """
  output = epath.Path(workdir) / 'candidates.jsonl'

  def work() -> None:
    known = [] if problems is None else problems(split)
    lookup = candidate_mapping.ProblemLookup(known)
    sets = candidate_mapping.read_mapped_candidates(candidates, mapping, lookup)
    schema.write_jsonl(output, sets)
    counts = [len(each.candidates) for each in sets]
    print(
      f'{len(sets)} problems, {sum(counts)} candidates ({min(counts)} to {max(counts)} a problem)'
    )

  processes.run_on_primary('import_candidates', work)
  return output


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(import_candidates)
