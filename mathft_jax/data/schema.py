"""Problems and their candidates, and how they lie on disk.

A file of records is jsonl, one record a line, local or remote (`gs://`), gzipped when its name ends
in `.gz`. The unit that flows between programs is one problem with all its candidates, so that no
program ever joins two files:

  {"problem": {"id": "test/algebra/1.json", "question": "...", "answer": "4", ...},
   "candidates": [{"solution": "... \\boxed{4}", "log_prob": -3.2, "answer": "4",
                   "is_correct": true, "cluster": 0, "score": 0.93}, ...]}

Only `problem.id`, `problem.question` and each `solution` are needed; samples made elsewhere need
no more. Fields that are not known yet are absent.
"""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import gzip
import json
from typing import Any

from etils import epath

from mathft_jax.storage import atomic_files

Cluster = tuple[int, ...]  # indices of candidates, in sampling order


@dataclasses.dataclass(frozen=True)
class Problem:
  """One problem; `solution` and `answer` are the reference."""

  id: str
  question: str
  solution: str = ''
  answer: str | None = None
  subject: str = ''
  level: str = ''
  split: str = ''


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One sampled solution and what each program has found out about it."""

  solution: str
  token_ids: tuple[int, ...] | None = None  # as sampled, without EOS
  log_prob: float | None = None  # natural log, EOS included, of the generator
  finished: bool | None = None  # False: cut at the length limit before EOS
  answer: str | None = None  # written by grade, as are the next two
  is_correct: bool | None = None
  cluster: int | None = (
    None  # label in order of first appearance; None without an answer
  )
  score: float | None = (
    None  # S_cls in [0, 1], written by score; None where not scored
  )


@dataclasses.dataclass(frozen=True)
class CandidateSet:
  """One problem with its candidates, in sampling order."""

  problem: Problem
  candidates: tuple[Candidate, ...]
  grader: str | None = (
    None  # name and version of what graded them, written by grade
  )

  def clusters(self) -> list[Cluster]:
    """Candidate indices by cluster: largest cluster first, the first sampled wins ties."""
    members: dict[int, list[int]] = {}
    for index, candidate in enumerate(self.candidates):
      if candidate.cluster is not None:
        members.setdefault(candidate.cluster, []).append(index)
    return sorted(
      map(tuple, members.values()),
      key=lambda cluster: (-len(cluster), cluster[0]),
    )


def read_candidate_sets(path: epath.PathLike) -> list[CandidateSet]:
  """The candidate sets of a file; bad records are errors that name file and line."""
  return [_candidate_set(row, where) for where, row in read_jsonl(path)]


def read_problems(path: epath.PathLike) -> list[Problem]:
  """The problems of a file of problems, `{"id": ..., "question": ...}` a line."""
  return [_build(Problem, row, where) for where, row in read_jsonl(path)]


def read_jsonl(path: epath.PathLike) -> Iterator[tuple[str, dict[str, Any]]]:
  """Pairs of (`file:line`, json object) of a jsonl file; ValueError for a line that is none."""
  path = epath.Path(path)
  with path.open('rb') as binary:
    stream = gzip.open(binary) if path.suffix == '.gz' else binary
    # Lines of bytes: remote files need not have all that a text wrapper asks of a file.
    for number, line in enumerate(stream, start=1):
      if line.strip():
        yield f'{path}:{number}', _json_object(line, f'{path}:{number}')


def write_jsonl(path: epath.PathLike, rows: Iterable[Any]) -> epath.Path:
  """Writes dataclasses or dicts as jsonl; the file appears whole or not at all."""
  path = epath.Path(path)
  with (
    atomic_files.open_atomically(path) as binary,
    contextlib.ExitStack() as stack,
  ):
    stream = binary
    if path.suffix == '.gz':
      stream = stack.enter_context(gzip.GzipFile(fileobj=binary, mode='wb'))
    for row in rows:
      stream.write(f'{to_json_line(row)}\n'.encode())
  return path


def to_json_line(record: Any) -> str:
  """One line of json for a record, without the fields that have their default."""
  return json.dumps(_known(record), ensure_ascii=False)


def _known(record: Any) -> Any:
  if dataclasses.is_dataclass(record):
    values = ((f, getattr(record, f.name)) for f in dataclasses.fields(record))
    return {f.name: _known(value) for f, value in values if value != f.default}
  if isinstance(record, (tuple, list)):
    return [_known(value) for value in record]
  return record


def _json_object(line: bytes, where: str) -> dict[str, Any]:
  try:
    row = json.loads(line.decode('utf-8'))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(
      f'{where}: not json ({error}); wanted one json object a line.'
    ) from error
  if not isinstance(row, dict):
    raise ValueError(
      f'{where}: a {type(row).__name__}; wanted one json object a line.'
    )
  return row


def _candidate_set(row: dict[str, Any], where: str) -> CandidateSet:
  if not isinstance(row.get('problem'), dict) or not isinstance(
    row.get('candidates'), list
  ):
    raise ValueError(
      f'{where}: fields {sorted(row)}; wanted "problem" (an object) and "candidates" (a list).'
    )
  problem = _build(Problem, row['problem'], f'{where}: problem')
  candidates = [
    _build(Candidate, candidate, f'{where}: candidate {index}')
    for index, candidate in enumerate(row['candidates'])
  ]
  return CandidateSet(problem, tuple(candidates), row.get('grader'))


def _build(kind: type, row: Any, where: str) -> Any:
  """A dataclass from a json object; unknown fields are dropped, missing ones named."""
  fields = dataclasses.fields(kind)
  required: Sequence[str] = [
    f.name for f in fields if f.default is dataclasses.MISSING
  ]
  missing = [
    name
    for name in required
    if not isinstance(row, dict) or row.get(name) is None
  ]
  if missing:
    raise ValueError(
      f'{where}: no {", ".join(missing)}; a {kind.__name__} needs {list(required)}.'
    )
  known = {f.name: row[f.name] for f in fields if row.get(f.name) is not None}
  if isinstance(known.get('token_ids'), list):
    known['token_ids'] = tuple(known['token_ids'])
  return kind(**known)
