"""Problems and candidates, and the jsonl files that store them.

A file has one record per line. It is local or remote (`gs://`), and compressed if its name ends in
`.gz` or `.zst`. The record that programs exchange is one problem with all its candidates, so no
program has to join two files:

  {"problem": {"id": "test/algebra/1.json", "question": "...", "answer": "4", ...},
   "candidates": [{"solution": "... \\boxed{4}", "log_prob": -3.2, "answer": "4",
                   "is_correct": true, "cluster": 0, "score": 0.93}, ...]}

`problem.id`, `problem.question` and each `solution` are required, also in samples of other tools.
Fields that are not known yet are absent.
"""

import codecs
from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import gzip
import json
from typing import Any

from etils import epath

from mathft_jax.data import compressed_files, record_fields
from mathft_jax.storage import atomic_files

# Candidate files that programs write, the most complete first.
OUTPUT_NAMES = ('scored.jsonl', 'graded.jsonl', 'candidates.jsonl')
Cluster = tuple[int, ...]  # indices of candidates, in sampling order
JsonObject = dict[str, Any]


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


def read_candidate_sets(
  path: epath.PathLike, allow_empty: bool = False
) -> list[CandidateSet]:
  """Returns the candidate sets of a file; see `iterate_candidate_sets`."""
  return list(iterate_candidate_sets(path, allow_empty))


def iterate_candidate_sets(
  path: epath.PathLike, allow_empty: bool = False
) -> Iterator[CandidateSet]:
  """Yields the candidate sets of a file; only one is in memory at a time.

  Args:
    path: a jsonl file.
    allow_empty: whether the file may have no records.

  Raises:
    ValueError: names file, line, field, value seen and value wanted of the first bad record.
  """
  for where, record in _read_records(path, allow_empty, 'problem.id'):
    yield _to_candidate_set(where, record)


def read_problems(path: epath.PathLike) -> list[Problem]:
  """Returns the problems of a file with `{"id": ..., "question": ...}` a line."""
  problems = []
  for where, record in _read_records(path, False, 'id'):
    problems.append(_to_problem(record, where))
  return problems


def _read_records(
  path: epath.PathLike, allow_empty: bool, id_field: str
) -> Iterator[tuple[str, JsonObject]]:
  """Yields the records of a file; ValueError if it is empty or two records have the same id."""
  first_line_of_id: dict[object, str] = {}
  for where, record in read_jsonl(path):
    owner = record.get('problem') if id_field == 'problem.id' else record
    if isinstance(owner, dict) and isinstance(owner.get('id'), str):
      earlier = first_line_of_id.setdefault(owner['id'], where)
      if earlier != where:
        raise record_fields.wrong_field(
          where, id_field, owner['id'], f'another id: {earlier} has this one'
        )
    yield where, record
  if not first_line_of_id and not allow_empty:
    raise ValueError(f'{path}: no records; wanted one json object per line.')


def read_bytes(path: epath.PathLike) -> bytes:
  """Returns the content of a record file, for a digest; ValueError for a folder."""
  path = epath.Path(path)
  _check_is_file(path)
  return path.read_bytes()


def _check_is_file(path: epath.Path) -> None:
  if path.is_dir():
    found = [path / name for name in OUTPUT_NAMES if (path / name).is_file()]
    hint = f' It contains {", ".join(map(str, found))}.' if found else ''
    raise ValueError(f'{path} is a folder; wanted a jsonl file.{hint}')


def read_jsonl(path: epath.PathLike) -> Iterator[tuple[str, JsonObject]]:
  """Yields (`file:line`, json object) of a jsonl file; ValueError for a line that is no object."""
  path = epath.Path(path)
  _check_is_file(path)
  # The stream has bytes: remote files lack some methods that a text wrapper needs.
  with path.open('rb') as binary:
    stream = compressed_files.decompress(binary, path)
    number = 0
    try:
      for number, line in enumerate(stream, start=1):
        if line.strip():
          where = f'{path}:{number}'
          yield where, _parse_json_object(line, where)
    except Exception as error:
      if not compressed_files.is_damage(error):
        raise
      raise compressed_files.damaged_file(
        path, error, f':{number + 1}'
      ) from error


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
  if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    raise ValueError(f'{where}: not json but UTF-16; wanted UTF-8 text.')
  try:
    record = JSON_DECODER.decode(
      line.removeprefix(codecs.BOM_UTF8).decode('utf-8')
    )
  except (ValueError, RecursionError) as error:
    # UnicodeDecodeError, JSONDecodeError, integers with thousands of digits, NaN, deep nesting.
    reason = str(error) or type(error).__name__
    if line.startswith(b'\x1f\x8b'):
      reason = 'the file is gzipped; its name must end in .gz'
    raise ValueError(
      f'{where}: not json ({reason}); wanted one json object per line, in UTF-8.'
    ) from error
  if not isinstance(record, dict):
    raise ValueError(
      f'{where}: {record_fields.describe_value(record)}; wanted one json object per line.'
    )
  if b'\\ud' in line or b'\\uD' in line:
    check_surrogates(record, where)
  return record


def _reject_constant(name: str) -> float:
  raise ValueError(f'{name} is no json number')


JSON_DECODER = json.JSONDecoder(parse_constant=_reject_constant)


def check_surrogates(record: JsonObject, where: str) -> None:
  """ValueError for half of a surrogate pair, which no file can contain as UTF-8."""
  try:
    json.dumps(record, ensure_ascii=False).encode('utf-8')
  except UnicodeEncodeError as error:
    text = str(error.object)[max(0, error.start - 20) : error.end]
    raise ValueError(
      f'{where}: the text {ascii(text)} ends in half of a surrogate pair; wanted whole characters.'
    ) from error


def _to_candidate_set(where: str, record: JsonObject) -> CandidateSet:
  problem, candidates = record.get('problem'), record.get('candidates')
  if not isinstance(problem, dict) or not isinstance(candidates, list):
    raise ValueError(
      f'{where}: fields {sorted(record)}; wanted "problem" (an object) and "candidates" (a list).'
    )
  grader = record.get('grader')
  if grader is not None and not isinstance(grader, str):
    raise record_fields.wrong_field(where, 'grader', grader, 'text')
  own_candidates = []
  for index, candidate in enumerate(candidates):
    own_candidates.append(
      _to_candidate(candidate, f'{where}: candidate', index)
    )
  return CandidateSet(
    _to_problem(problem, f'{where}: problem'), tuple(own_candidates), grader
  )


def _to_problem(record: JsonObject, where: str) -> Problem:
  known = record_fields.known_fields(
    record, record_fields.PROBLEM_FIELDS, where
  )
  for name in ('id', 'question'):
    if not known.get(name, '').strip():
      wanted = 'text; a Problem needs ["id", "question"]'
      raise record_fields.wrong_field(where, name, record.get(name), wanted)
  return Problem(**known)


def _to_candidate(record: object, where: str, index: int) -> Candidate:
  if not isinstance(record, dict):
    raise record_fields.wrong_field(where, str(index), record, 'an object')
  known = record_fields.known_fields(
    record, record_fields.CANDIDATE_FIELDS, where, index
  )
  if 'solution' not in known:
    raise record_fields.wrong_field(
      f'{where} {index}', 'solution', None, 'text; a Candidate needs it'
    )
  if 'token_ids' in known:
    known['token_ids'] = tuple(known['token_ids'])
  return Candidate(**known)
