"""How the fields of a record become a `Problem`: names, filters and the form of the answer.

mapping = ProblemMapping(question='Body + Question', answer='Answer', id='ID')
problem = to_problem({'Body': ..., 'Question': ..., 'Answer': 19.0}, mapping, 'svamp.jsonl:1')
"""

import collections
from collections.abc import Iterator, Mapping
import dataclasses
import re

from mathft_jax.data import boxed_answers, field_paths, record_fields
from mathft_jax.data.field_paths import Name
from mathft_jax.data.schema import Problem

ANSWER_FORMS = ('auto', 'as_is', 'boxed', 'number')
REPEATS = ('refuse', 'skip')

_NUMBER = re.compile(r'-?\d[\d,]*(?:\.\d+)?(?:/\d+)?')
_HASHES = '####'


@dataclasses.dataclass(frozen=True)
class ProblemMapping:
  """Names of the fields of a record, and which records are used.

  A name is a path, joined paths, a template or a tuple of alternatives (`field_paths`).

  Attributes:
    question: the question; required in each record.
    solution: the reference solution; None: there is none.
    answer: the reference answer, a text or a number; None: the box of the solution.
    id: text or number; a record without one gets the name of its file and its number.
    subject: text or number.
    level: text or number.
    split: 'train', 'validation' or 'test', if a file has several.
    answer_form: how the answer is read from its field. 'auto': as it is, but of a text with
      `#### 72` it is 72, and the text is the solution if there is no other. 'as_is'; 'boxed': the
      last box of the text; 'number': the first number, as in '9 (apples)'.
    answer_after: text before the answer, as in 'The answer is: 72'; its last occurrence counts.
      '' reads the whole field.
    keep: name -> accepted value, or a list of them; other records are left out.
    drop: name -> value, or a list of them; records with one of them are left out.
    remove: texts that are removed from the start and the end of the question.
    repeats: 'refuse' two records with one id, or 'skip' all but the first.
  """

  question: Name = ('question', 'problem')
  solution: Name | None = 'solution'
  answer: Name | None = 'answer'
  id: Name | None = ('id', 'unique_id')
  subject: Name | None = ('subject', 'type')
  level: Name | None = 'level'
  split: Name | None = 'split'
  answer_form: str = 'auto'
  answer_after: str = ''
  keep: Mapping[str, object] = dataclasses.field(default_factory=dict)
  drop: Mapping[str, object] = dataclasses.field(default_factory=dict)
  remove: tuple[str, ...] = ()
  repeats: str = 'refuse'

  def __post_init__(self):
    if self.answer_form not in ANSWER_FORMS:
      raise ValueError(
        f'answer_form is {self.answer_form!r}; it must be one of {ANSWER_FORMS} (ANSWER_FORM).'
      )
    if self.repeats not in REPEATS:
      raise ValueError(
        f'repeats is {self.repeats!r}; it must be one of {REPEATS} (REPEATS).'
      )
    for name in ('keep', 'drop'):
      if not isinstance(getattr(self, name), Mapping):
        raise ValueError(
          f'{name} is {getattr(self, name)!r}; it must be a dictionary such as '
          f"{{'problem_is_valid': 'Yes'}} ({name.upper()}_ROWS)."
        )

  def columns(self) -> list[str]:
    """Returns the fields at the top of a record that are read."""
    columns = set()
    for name in (*self._names().values(), *self.keep, *self.drop):
      columns |= field_paths.columns_of(name)
    return sorted(columns)

  def chosen_names(self) -> dict[str, Name]:
    """Returns by macro the names that some record must have: single ones and those of filters.

    Alternatives and default names may be absent from all records.
    """
    chosen: dict[str, Name] = {}
    for field, name in self._names().items():
      if name != _DEFAULT_NAMES[field] and isinstance(name, str):
        chosen[f'{field.upper()}_FIELD'] = name
    for macro, names in (('KEEP_ROWS', self.keep), ('DROP_ROWS', self.drop)):
      for name in names:
        chosen[f'{macro}: {name}'] = name
    return chosen

  def _names(self) -> dict[str, Name]:
    names = {}
    for field in _NAME_FIELDS:
      name = getattr(self, field)
      if name is not None:
        names[field] = name
    return names


_NAME_FIELDS = (
  'question',
  'solution',
  'answer',
  'id',
  'subject',
  'level',
  'split',
)
_DEFAULT_NAMES = {
  field.name: field.default
  for field in dataclasses.fields(ProblemMapping)
  if field.name in _NAME_FIELDS
}
DEFAULT_MAPPING = ProblemMapping()


class MappedRecords:
  """Applies a mapping to the records of files, and counts what it left out.

  records = MappedRecords(mapping)
  for where, problem in records.problems(located_records, split='train'): ...
  records.check_names('a.parquet')

  Attributes:
    counts: numbers of records: 'read', 'filtered', 'repeated'.
  """

  def __init__(self, mapping: ProblemMapping):
    self.mapping = mapping
    self.counts: collections.Counter[str] = collections.Counter()
    self._unseen = dict(mapping.chosen_names())
    self._fields: list[str] = []

  def problems(
    self, records: Iterator[tuple[str, dict]], name: str, split: str
  ) -> Iterator[tuple[str, Problem]]:
    """Yields (place, problem) of each record that the filters keep.

    Args:
      records: (place, record).
      name: name of the file, for ids.
      split: split of a record without one.
    """
    for where, record in records:
      self.counts['read'] += 1
      self._look_for_names(record)
      if not is_kept(record, self.mapping):
        self.counts['filtered'] += 1
        continue
      yield where, to_problem(record, self.mapping, where, name, split)

  def check_names(self, path: str) -> None:
    """Raises ValueError if no record has a name that was chosen, or the filters left out all."""
    if not self.counts['read']:
      return
    for field, name in self._unseen.items():
      raise ValueError(
        f'{path}: no record has {name!r} ({field}); the records have the fields {self._fields}. '
        'Set this macro to the name of an existing field.'
      )
    if self.counts['read'] and self.counts['read'] == self.counts['filtered']:
      raise ValueError(
        f'{path}: the filters keep {dict(self.mapping.keep)} and drop {dict(self.mapping.drop)}; '
        f'none of {self.counts["read"]} records is left. Change KEEP_ROWS or DROP_ROWS.'
      )

  def _look_for_names(self, record: Mapping[str, object]) -> None:
    if not self._unseen:
      return
    self._fields = sorted(record)
    for field, name in list(self._unseen.items()):
      if field_paths.read_value(record, name) is not None:
        del self._unseen[field]


def is_kept(record: Mapping[str, object], mapping: ProblemMapping) -> bool:
  """Returns whether the filters of a mapping keep a record."""
  for name, accepted in mapping.keep.items():
    if not _is_one_of(field_paths.read_value(record, name), accepted):
      return False
  for name, refused in mapping.drop.items():
    if _is_one_of(field_paths.read_value(record, name), refused):
      return False
  return True


def _is_one_of(value: object, accepted: object) -> bool:
  """Returns whether a value is the accepted one, or in the list of them; 1 is not true."""
  values = accepted if isinstance(accepted, (list, tuple)) else [accepted]
  for each in values:
    if each == value and isinstance(each, bool) == isinstance(value, bool):
      return True
  return False


def to_problem(
  record: Mapping[str, object],
  mapping: ProblemMapping,
  where: str,
  name: str,
  split: str,
) -> Problem:
  """Returns the problem of a record.

  Args:
    record: from a file.
    mapping: names of its fields.
    where: `file:number`, for errors and for a missing id.
    name: name of the file, for a missing id.
    split: split of a record without one.

  Raises:
    ValueError: the record has no question, or a field has a wrong type.
  """
  question = _read_question(record, mapping, where)
  solution = _read_text(record, mapping.solution, 'solution', where) or ''
  answer = _read_scalar(record, mapping.answer, 'answer', where)
  if answer is None:
    answer = boxed_answers.last_boxed_answer(solution)
  else:
    _check_known(answer, where)
    if not solution and mapping.answer_form == 'auto' and _HASHES in answer:
      solution = answer
    answer = _read_answer(answer, mapping)
  number = where.rpartition(':')[2]
  return Problem(
    id=_read_scalar(record, mapping.id, 'id', where) or f'{name}:{number}',
    question=question,
    solution=solution,
    answer=answer,
    subject=_read_scalar(record, mapping.subject, 'subject', where) or '',
    level=_read_scalar(record, mapping.level, 'level', where) or '',
    split=_read_text(record, mapping.split, 'split', where) or split,
  )


def _read_question(
  record: Mapping[str, object], mapping: ProblemMapping, where: str
) -> str:
  value = field_paths.read_value(record, mapping.question)
  names = field_paths.alternatives(mapping.question)
  if not isinstance(value, str) or not value.strip():
    labels = ' or '.join(f'"{each}"' for each in sorted(names))
    found = f'field {labels} is {record_fields.describe_value(value)}'
    if value is None and not set(names) & set(record):
      found = f'no field {labels}'
    raise ValueError(
      f'{where}: {found}; wanted text. The record has the fields {sorted(record)}. If the '
      'question has another name, set QUESTION_FIELD; from Python: '
      "mapping=mf.ProblemMapping(question='NAME')."
    )
  for text in mapping.remove:
    value = value.removeprefix(text).removesuffix(text)
  return value


def _read_text(
  record: Mapping[str, object], name: Name | None, field: str, where: str
) -> str | None:
  """Returns a text; texts of a list path are joined by lines."""
  if name is None:
    return None
  value = field_paths.read_value(record, name)
  if isinstance(value, list) and field_paths.is_list_path(name):
    value = '\n'.join(map(str, value))
  if value is None or isinstance(value, str):
    return value
  raise _wrong_value(where, field, name, value, 'text')


def _read_scalar(
  record: Mapping[str, object], name: Name | None, field: str, where: str
) -> str | None:
  """Returns a text or a number as text; the items of a list path are joined by commas."""
  if name is None:
    return None
  value = field_paths.read_value(record, name)
  if isinstance(value, list) and field_paths.is_list_path(name):
    texts = list(map(field_paths.to_text, value))
    if None not in texts:
      return ', '.join(map(str, texts))
  if value is None:
    return None
  wanted = record_fields.is_text_or_number(value)
  if wanted:
    raise _wrong_value(where, field, name, value, wanted)
  return field_paths.to_text(value)


def _wrong_value(
  where: str, field: str, name: Name, value: object, wanted: str
) -> ValueError:
  if isinstance(value, list):
    first = field_paths.alternatives(name)[0]
    wanted = (
      f"{wanted}; a list has items: set {field.upper()}_FIELD = '{first}.0' for the first one, "
      f"'{first}.*' for all"
    )
  else:
    wanted = f'{wanted}; {field.upper()}_FIELD is {name!r}'
  return record_fields.wrong_field(where, field, value, wanted)


def _check_known(answer: str, where: str) -> None:
  """ValueError for the text that pandas writes for a missing value."""
  if answer.strip().lower() == 'nan':
    raise record_fields.wrong_field(
      where,
      'answer',
      answer,
      "an answer; to leave out these rows set DROP_ROWS = {'answer': "
      f'{answer!r}}} with the name of your field',
    )


def _read_answer(text: str, mapping: ProblemMapping) -> str | None:
  """Returns the answer in the text of its field; None if the text does not have the form."""
  marker = mapping.answer_after
  if mapping.answer_form == 'auto' and not marker and _HASHES in text:
    marker = _HASHES
  if marker:
    before, found, text = text.rpartition(marker)
    if not found:
      return None
  if mapping.answer_form == 'boxed':
    return boxed_answers.last_boxed_answer(text)
  if mapping.answer_form == 'number':
    number = _NUMBER.search(text)
    return number.group().rstrip(',') if number else None
  return text.strip() or None
