"""Graded candidates as records for other programs: pairs for TRL, one row per candidate, parquet.

write_records('pairs.jsonl', preference_pairs(selected))
write_records('candidates.parquet', candidate_rows(sets))
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from etils import epath

from mathft_jax.data import candidate_selection, compressed_files, schema
from mathft_jax.data.candidate_selection import LabelledCandidate
from mathft_jax.data.schema import Candidate, CandidateSet, JsonObject
from mathft_jax.storage import atomic_files

CANDIDATE_COLUMNS = {  # type of each column in pyarrow
  'problem_id': 'string',
  'question': 'string',
  'reference': 'string',
  'subject': 'string',
  'level': 'string',
  'split': 'string',
  'index': 'int64',
  'solution': 'string',
  'answer': 'string',
  'is_correct': 'bool_',
  'cluster': 'int64',
  'score': 'float64',
  'log_prob': 'float64',
  'finished': 'bool_',
}


def preference_pairs(
  selected: Sequence[LabelledCandidate], conversational: bool = False
) -> Iterator[JsonObject]:
  """Yields `{"prompt", "chosen", "rejected"}`, the preference format of TRL.

  Args:
    selected: pairs, the correct candidate first (`candidate_selection.select_candidates`).
    conversational: messages with roles, to which TRL applies the chat template; else texts.
  """
  for correct, incorrect in zip(selected[0::2], selected[1::2], strict=True):
    prompt = correct.problem.question
    chosen = correct.candidate.solution
    rejected = incorrect.candidate.solution
    if conversational:
      yield {
        'prompt': [{'role': 'user', 'content': prompt}],
        'chosen': [{'role': 'assistant', 'content': chosen}],
        'rejected': [{'role': 'assistant', 'content': rejected}],
      }
    else:
      yield {'prompt': prompt, 'chosen': chosen, 'rejected': rejected}


def pairs_by_score(
  path: str, split: str, margin: float = 0.0
) -> list[LabelledCandidate]:
  """Returns the candidates of highest and of lowest score of each problem, as pairs.

  Args:
    path: a scored candidate file.
    split: problems of this split; all problems if none has a split.
    margin: problems whose two scores do not differ by more are left out.

  Raises:
    ValueError: no problem has two candidates whose scores differ enough.
  """
  selected = []
  num_sets = 0
  for candidate_set in candidate_selection.candidate_sets_of_split(path, split):
    num_sets += 1
    scored = []
    for candidate in candidate_set.candidates:
      if candidate.score is not None:
        scored.append((candidate.score, candidate))
    scored.sort(key=_score_of)
    if scored and scored[-1][0] - scored[0][0] > margin:
      problem = candidate_set.problem
      selected.append(LabelledCandidate(problem, scored[-1][1], 1))
      selected.append(LabelledCandidate(problem, scored[0][1], 0))
  if not selected:
    raise ValueError(
      f'{path}, split {split!r}: none of {num_sets} problems has candidates whose scores differ '
      f'by more than {margin}; wanted a scored file (run score), or PAIRS_BY = "label".'
    )
  return selected


def _score_of(scored: tuple[float, Candidate]) -> float:
  return scored[0]


def candidate_rows(sets: Iterable[CandidateSet]) -> Iterator[JsonObject]:
  """Yields one flat row per candidate: fields of its problem, then its own; unknown ones null."""
  for candidate_set in sets:
    problem = candidate_set.problem
    for index, candidate in enumerate(candidate_set.candidates):
      yield {
        'problem_id': problem.id,
        'question': problem.question,
        'reference': problem.answer,
        'subject': problem.subject or None,
        'level': problem.level or None,
        'split': problem.split or None,
        'index': index,
        'solution': candidate.solution,
        'answer': candidate.answer,
        'is_correct': candidate.is_correct,
        'cluster': candidate.cluster,
        'score': candidate.score,
        'log_prob': candidate.log_prob,
        'finished': candidate.finished,
      }


def write_records(
  path: epath.PathLike,
  records: Iterable[JsonObject],
  columns: Mapping[str, str] | None = None,
) -> epath.Path:
  """Writes records to a `.parquet` file, or as jsonl to any other; returns the path.

  Args:
    path: the file; an existing one is replaced.
    records: the records; parquet files hold all of them in memory once.
    columns: type of each parquet column by name; None takes the types of the values.
  """
  path = epath.Path(path)
  if path.suffix != '.parquet':
    return schema.write_jsonl(path, records)
  pyarrow = compressed_files.require_pyarrow(path)
  from pyarrow import parquet

  types = None
  if columns is not None:
    pairs = []
    for name, kind in columns.items():
      pairs.append((name, getattr(pyarrow, kind)()))
    types = pyarrow.schema(pairs)
  table = pyarrow.Table.from_pylist(list(records), types)
  with atomic_files.open_atomically(path) as stream:
    parquet.write_table(table, stream)
  return path
