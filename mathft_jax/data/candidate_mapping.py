"""How records of other programs become candidate sets: names of fields, formats by name.

  mapping = format_mapping('openai')
  sets = read_mapped_candidates('out/*.jsonl', mapping, lookup=problems)

A record has one candidate or several of one problem. Records of the same problem (the same id, or
without an id the same question) become one candidate set, in the order of the files.
"""

import collections
from collections.abc import Callable, Iterable, Mapping
import dataclasses
import logging
import math

from etils import epath

from mathft_jax.data import (
  field_paths,
  problem_mapping,
  record_fields,
  record_files,
)
from mathft_jax.data.field_paths import Name
from mathft_jax.data.problem_mapping import ProblemMapping
from mathft_jax.data.schema import (
  Candidate,
  CandidateSet,
  JsonObject,
  Problem,
)

_COLUMNS = (
  'thoughts',
  'answer',
  'is_correct',
  'log_prob',
  'score',
  'finished',
)
FINISHED = ('stop', 'eos', 'end_turn', True)
CUT = ('length', 'max_tokens', False)


def unchanged(record: JsonObject) -> JsonObject:
  """Returns the record."""
  return record


@dataclasses.dataclass(frozen=True)
class CandidateMapping:
  """Names of the fields of candidates and of their problem.

  The fields of candidates are values, or lists with one item for each solution. A name is a path or
  a tuple of alternatives (`field_paths`).

  Attributes:
    solutions: the texts.
    problem: names of the fields of the problem; its filters choose the records. With `repeats =
      'skip'` a file has one record for each problem, and others repeat it.
    thoughts: thoughts that the engine took out of the texts; they are put before them, in marks.
    answer: the final answer that the other program found; `grade` replaces it.
    is_correct: true, false, 1 or 0, or a text of `labels`.
    labels: text -> label.
    log_prob: natural log-probability, or a list of those of the tokens, which are added.
    score: a number, such as a reward.
    logit_scores: True if the score is a logit; then its logistic function is stored.
    finished: true, or why the text ended: 'stop' or 'length'.
    id_until: an id ends before the last occurrence of this text: 'p1' of 'p1#3' with '#'.
    prompt: what the engine was given; used only to find a problem whose question it is, because
      most prompts have more text than the question.
    prepare: called with each record first.
  """

  solutions: Name = ('solution', 'text', 'completion', 'generation', 'response')
  problem: ProblemMapping = ProblemMapping(solution=None)
  thoughts: Name | None = None
  answer: Name | None = None
  is_correct: Name | None = None
  labels: Mapping[str, bool] = dataclasses.field(default_factory=dict)
  log_prob: Name | None = None
  score: Name | None = None
  logit_scores: bool = False
  finished: Name | None = None
  id_until: str = ''
  prompt: Name | None = 'prompt'
  prepare: Callable[[JsonObject], JsonObject] = unchanged

  def columns(self) -> list[str] | None:
    """Returns the fields at the top of a record that are read; None if they are not known."""
    if self.prepare is not unchanged:
      return None
    columns = set(self.problem.columns())
    columns |= field_paths.columns_of(self.solutions)
    if self.prompt is not None:
      columns |= field_paths.columns_of(self.prompt)
    for field in _COLUMNS:
      name = getattr(self, field)
      if name is not None:
        columns |= field_paths.columns_of(name)
    return sorted(columns)


class ProblemLookup:
  """Finds problems by id or by question."""

  def __init__(self, problems: Iterable[Problem] = ()):
    self._by_id: dict[str, Problem] = {}
    self._by_question: dict[str, Problem] = {}
    for problem in problems:
      self._by_id[problem.id] = problem
      self._by_question.setdefault(problem.question.strip(), problem)

  def __len__(self) -> int:
    return len(self._by_id)

  def first_ids(self) -> str:
    """Returns two ids as text, for errors."""
    ids = list(self._by_id)
    more = ', ...' if len(ids) > 2 else ''
    return ', '.join(map(repr, ids[:2])) + more

  def find(self, problem_id: str | None, question: object) -> Problem | None:
    """Returns the problem; None if neither the id nor the question is known.

    If the id and the question name two problems with other questions, it is that of the question:
    numbers of requests may be equal to ids of other problems.
    """
    by_id = None if problem_id is None else self._by_id.get(problem_id)
    if not isinstance(question, str):
      return by_id
    text = question.strip()
    if by_id is not None and by_id.question.strip() == text:
      return by_id
    return self._by_question.get(text, by_id)


def read_mapped_candidates(
  path: epath.PathLike,
  mapping: CandidateMapping,
  lookup: ProblemLookup = ProblemLookup(),
) -> list[CandidateSet]:
  """Returns the candidate sets of files of another program.

  Args:
    path: a file, a glob or a folder (`record_files`).
    mapping: names of the fields.
    lookup: problems, for records that have only an id.

  Raises:
    ValueError: names file, row and field of the first bad record, or says that there are none.
  """
  problems: dict[str, Problem] = {}
  candidates: dict[str, list[Candidate]] = collections.defaultdict(list)
  ids_by_question: dict[str, str] = {}
  read_before: set[tuple[str, str]] = set()
  num_records = num_empty = 0
  fields: list[str] = []
  for where, raw in record_files.read_records(path, mapping.columns()):
    record = mapping.prepare(raw)
    if not problem_mapping.is_kept(record, mapping.problem):
      continue
    num_records += 1
    fields = fields or sorted(raw)
    found = to_candidates(record, mapping, where)
    if not found:
      num_empty += 1
      continue
    problem = _find_problem(record, mapping, lookup, where)
    key = problem.id
    if not _has_own_id(record, mapping):
      key = ids_by_question.setdefault(problem.question.strip(), problem.id)
    file = where.rpartition(':')[0]
    if mapping.problem.repeats == 'skip' and (file, key) in read_before:
      continue
    read_before.add((file, key))
    problems.setdefault(key, problem)
    candidates[key] += found

  if not problems:
    raise ValueError(
      f'{path}: {num_records} records, none with a solution; wanted texts in '
      f'{mapping.solutions!r}. The records have the fields {fields} (CANDIDATE_FORMAT, '
      'SOLUTIONS_FIELD).'
    )
  if num_empty:
    logging.warning(
      '%s: %d of %d records have no solution (failed requests) and were left out',
      path,
      num_empty,
      num_records,
    )
  return [
    CandidateSet(problem, tuple(candidates[key]))
    for key, problem in problems.items()
  ]


def to_candidates(
  record: Mapping[str, object], mapping: CandidateMapping, where: str
) -> list[Candidate]:
  """Returns the candidates of a record; none if it has no solution.

  Raises:
    ValueError: a field has a wrong type, or another number of items than there are solutions.
  """
  solutions = field_paths.read_value(record, mapping.solutions)
  if solutions is None and mapping.thoughts is not None:
    thoughts = field_paths.read_value(record, mapping.thoughts)
    if isinstance(thoughts, list):
      solutions = [None] * len(thoughts)  # all were cut in their thoughts
  if solutions is None:
    return []
  is_list = isinstance(solutions, list)
  texts = solutions if is_list else [solutions]
  columns = {}
  for field in _COLUMNS:
    columns[field] = _read_column(
      record, getattr(mapping, field), field, where, len(texts), is_list
    )
  candidates = []
  for index, text in enumerate(texts):
    place = f'{where}: candidate {index}'
    values = {field: column[index] for field, column in columns.items()}
    text = _with_thoughts('' if text is None else text, values.pop('thoughts'))
    values['is_correct'] = _read_label(
      values['is_correct'], mapping.labels, place
    )
    values['log_prob'] = _add_log_probs(values['log_prob'], place)
    values['finished'] = _read_finished(values['finished'])
    values['answer'] = field_paths.to_text(values['answer']) or None
    if mapping.logit_scores and isinstance(values['score'], (int, float)):
      values['score'] = 1 / (1 + math.exp(-values['score']))
    known = record_fields.known_fields(
      {'solution': text, **values}, record_fields.CANDIDATE_FIELDS, place
    )
    candidates.append(Candidate(**known))
  return candidates


def _read_column(
  record: Mapping[str, object],
  name: Name | None,
  field: str,
  where: str,
  count: int,
  is_list: bool,
) -> list[object]:
  """Returns one value for each solution; None where it is not known."""
  value = None if name is None else field_paths.read_value(record, name)
  if value is None:
    return [None] * count
  if not is_list:
    return [value]
  if not isinstance(value, list) or len(value) != count:
    raise record_fields.wrong_field(
      where, str(name), value, f'a list of {count} items, one for each solution'
    )
  return value


def _with_thoughts(text: object, thoughts: object) -> object:
  if isinstance(thoughts, str) and thoughts and isinstance(text, str):
    return f'<think>{thoughts}</think>{text}'
  return text


def _read_label(
  value: object, labels: Mapping[str, bool], where: str
) -> bool | None:
  if value is None or isinstance(value, bool):
    return value
  if isinstance(value, str) and value in labels:
    return labels[value]
  if type(value) in (int, float) and value in (0, 1):
    return bool(value)
  raise record_fields.wrong_field(
    where, 'is_correct', value, f'true, false, 1, 0 or one of {list(labels)}'
  )


def _add_log_probs(value: object, where: str) -> object:
  """Returns the sum of the log-probabilities of tokens; another value unchanged."""
  if not isinstance(value, list):
    return value
  total = 0.0
  for each in value:
    if each is None:
      continue  # the first token of some engines
    wanted = record_fields.is_log_prob(each)
    if wanted:
      raise record_fields.wrong_field(where, 'log_prob', each, wanted)
    total += float(each)
  return total if value else None


def _read_finished(value: object) -> bool | None:
  if value in FINISHED:
    return True
  return False if value in CUT else None


def _has_own_id(
  record: Mapping[str, object], mapping: CandidateMapping
) -> bool:
  name = mapping.problem.id
  return name is not None and field_paths.read_value(record, name) is not None


def _find_problem(
  record: Mapping[str, object],
  mapping: CandidateMapping,
  lookup: ProblemLookup,
  where: str,
) -> Problem:
  """Returns the problem of a record: of the lookup if it is there, else of the record itself."""
  names = mapping.problem
  question = field_paths.read_value(record, names.question)
  problem_id = None
  if names.id is not None:
    value = field_paths.read_value(record, names.id)
    problem_id = field_paths.to_text(value)
    if problem_id and mapping.id_until:
      before, found, _ = problem_id.rpartition(mapping.id_until)
      problem_id = before if found else problem_id
  text = question
  if text is None and mapping.prompt is not None:
    text = field_paths.read_value(record, mapping.prompt)
  known = lookup.find(problem_id, text)
  if known is not None:
    return known
  if question is None or len(lookup):
    raise ValueError(
      f'{where}: {_unknown_problem(record, mapping, lookup, problem_id)}'
    )
  name = epath.Path(where.rpartition(':')[0]).name
  problem = problem_mapping.to_problem(record, names, where, name, '')
  return dataclasses.replace(problem, id=problem_id or problem.id)


def _unknown_problem(
  record: Mapping[str, object],
  mapping: CandidateMapping,
  lookup: ProblemLookup,
  problem_id: str | None,
) -> str:
  """Returns the text of an error: what was found, what is accepted, what to do."""
  names = mapping.problem
  found = 'the record has no id'
  if problem_id is not None:
    found = f'the record has the id {problem_id!r}'
  accepted = f'question: {_quoted(names.question)}'
  if names.id is not None:
    accepted = f'id: {_quoted(names.id)}; {accepted}'
  fields = f'The record has the fields {sorted(record)}; read are {accepted}'
  if not len(lookup):
    return (
      f'{found} and no question. {fields}. Add the question to the records, or name a file with '
      'the problems: --gin_file=data/jsonl.gin --gin.DATA_PATH=FILE '
      '--gin.LOOKUP_PROBLEMS=%PROBLEMS.'
    )
  if mapping.prompt is not None:
    fields += f', else {_quoted(mapping.prompt)}, if it is only the question'
  return (
    f'{found}; none of the {len(lookup)} problems of LOOKUP_PROBLEMS has this id or the question '
    f'of the record; their ids: {lookup.first_ids()}. {fields}. Add the id of the problem to the '
    'records, or check DATA_PATH and SPLIT; if the ids of the problems have a field of their own, '
    'set ID_FIELD.'
  )


def _quoted(name: Name) -> str:
  """Returns the alternatives of a name as text."""
  return ' or '.join(f'"{each}"' for each in field_paths.alternatives(name))
