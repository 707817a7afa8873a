"""Problems and candidates, and the jsonl files that store them.

A file has one record per line. It is local or remote (`gs://`), and gzipped if its name ends in
`.gz`. The record that programs exchange is one problem with all its candidates, so no program has
to join two files:

  {"problem": {"id": "test/algebra/1.json", "question": "...", "answer": "4", ...},
   "candidates": [{"solution": "... \\boxed{4}", "log_prob": -3.2, "answer": "4",
                   "is_correct": true, "cluster": 0, "score": 0.93}, ...]}

`problem.id`, `problem.question` and each `solution` are required, also in samples of other tools.
Fields that are not known yet are absent.
"""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import dataclasses
import gzip
import json
from typing import Any, TypeVar

from etils import epath

from mathft_jax.storage import atomic_files

Cluster = tuple[int, ...]  # indices of candidates, in sampling order
JsonObject = dict[str, Any]
Record = TypeVar('Record')


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
  """One sampled solution and the results of the programs that read it.

  Attributes:
    solution: the text.
    token_ids: sampled token ids, without EOS.
    log_prob: natural log-probability under the generator, EOS included.
    finished: False if the solution was cut at the length limit before EOS.
    answer: extracted answer; written by grade.
    how: method that found the answer (`box`, `phrase`, `final_sentence`, ...); written by grade.
    is_correct: written by grade.
    cluster: index of the cluster of equivalent answers, in order of first appearance; None without
      an answer. Written by grade.
    score: S_cls in [0, 1]; written by score, None if not scored.
    log_odds: log S_cls - log(1 - S_cls), natural log; written by score beside S_cls. It orders
      candidates whose S_cls is 1 or 0 in the precision of a float.
  """

  solution: str
  token_ids: tuple[int, ...] | None = None
  log_prob: float | None = None
  finished: bool | None = None
  answer: str | None = None
  how: str | None = None
  is_correct: bool | None = None
  cluster: int | None = None
  score: float | None = None
  log_odds: float | None = None


@dataclasses.dataclass(frozen=True)
class CandidateSet:
  """One problem with its candidates, in sampling order.

  Attributes:
    problem: the problem.
    candidates: its candidates.
    grader: name and version of the grader; written by grade.
  """

  problem: Problem
  candidates: tuple[Candidate, ...]
  grader: str | None = None

  def clusters(self) -> list[Cluster]:
    """Returns candidate indices by cluster, largest first; ties in order of first appearance."""
    members: dict[int, list[int]] = {}
    for index, candidate in enumerate(self.candidates):
      if candidate.cluster is not None:
        members.setdefault(candidate.cluster, []).append(index)
    return sorted(
      map(tuple, members.values()),
      key=lambda cluster: (-len(cluster), cluster[0]),
    )


def read_candidate_sets(path: epath.PathLike) -> list[CandidateSet]:
  """Returns the candidate sets of a file; ValueError with file and line for a bad record."""
  return [_to_candidate_set(*located) for located in read_jsonl(path)]


def read_problems(path: epath.PathLike) -> list[Problem]:
  """Returns the problems of a file with `{"id": ..., "question": ...}` a line."""
  return [
    _to_dataclass(Problem, record, where) for where, record in read_jsonl(path)
  ]


def read_jsonl(path: epath.PathLike) -> Iterator[tuple[str, JsonObject]]:
  """Yields (`file:line`, json object) of a jsonl file; ValueError for a line that is no object."""
  path = epath.Path(path)
  # The stream has bytes: remote files lack some methods that a text wrapper needs.
  with path.open('rb') as binary:
    stream = gzip.open(binary) if path.suffix == '.gz' else binary
    for number, line in enumerate(stream, start=1):
      if line.strip():
        where = f'{path}:{number}'
        yield where, _parse_json_object(line, where)


def write_jsonl(path: epath.PathLike, records: Iterable[Any]) -> epath.Path:
  """Writes dataclasses or dicts as jsonl, atomically; returns the path."""
  path = epath.Path(path)
  with (
    atomic_files.open_atomically(path) as binary,
    contextlib.ExitStack() as stack,
  ):
    stream = binary
    if path.suffix == '.gz':
      stream = stack.enter_context(gzip.GzipFile(fileobj=binary, mode='wb'))
    for record in records:
      stream.write(f'{to_json_line(record)}\n'.encode())
  return path


def to_json_line(record: Any) -> str:
  """Returns the json of a record without the fields that have their default."""
  return json.dumps(_without_defaults(record), ensure_ascii=False)


def _without_defaults(value: Any) -> Any:
  """Returns dataclasses as dicts without the fields that have their default."""
  if dataclasses.is_dataclass(value):
    known = {}
    for field in dataclasses.fields(value):
      field_value = getattr(value, field.name)
      if field_value != field.default:
        known[field.name] = _without_defaults(field_value)
    return known
  if isinstance(value, (tuple, list)):
    return list(map(_without_defaults, value))
  return value


def _parse_json_object(line: bytes, where: str) -> JsonObject:
  try:
    record = json.loads(line.decode('utf-8'))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(
      f'{where}: not json ({error}); wanted one json object per line.'
    ) from error
  if not isinstance(record, dict):
    raise ValueError(
      f'{where}: a {type(record).__name__}; wanted one json object per line.'
    )
  return record


def _to_candidate_set(where: str, record: JsonObject) -> CandidateSet:
  problem, candidates = record.get('problem'), record.get('candidates')
  if not isinstance(problem, dict) or not isinstance(candidates, list):
    raise ValueError(
      f'{where}: fields {sorted(record)}; wanted "problem" (an object) and "candidates" (a list).'
    )
  return CandidateSet(
    _to_dataclass(Problem, problem, f'{where}: problem'),
    tuple(
      _to_dataclass(Candidate, candidate, f'{where}: candidate {index}')
      for index, candidate in enumerate(candidates)
    ),
    record.get('grader'),
  )


def _to_dataclass(
  kind: type[Record], value: Mapping[str, Any], where: str
) -> Record:
  """Returns a dataclass from a json object; unknown fields are dropped.

  Raises:
    ValueError: a required field is missing; names it.
  """
  known: JsonObject = {}
  required, missing = [], []
  for field in dataclasses.fields(kind):  # pyright: ignore[reportArgumentType]
    found = value.get(field.name) if isinstance(value, Mapping) else None
    if field.default is dataclasses.MISSING:
      required.append(field.name)
      if found is None:
        missing.append(field.name)
    if found is not None:
      known[field.name] = found
  if missing:
    raise ValueError(
      f'{where}: no {", ".join(missing)}; a {kind.__name__} needs {required}.'
    )
  if isinstance(known.get('token_ids'), list):
    known['token_ids'] = tuple(known['token_ids'])
  return kind(**known)
