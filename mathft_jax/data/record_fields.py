"""Checks of the fields of jsonl records: type and range, with file, line and field in the error.

  fields = known_fields(record, CANDIDATE_FIELDS, 'c.jsonl:3: candidate', 0)

An absent field and `null` are the same: the field is not known.
"""

import array
from collections.abc import Callable, Mapping
import math
import operator
import reprlib
from typing import Any, TypeGuard

MAX_LOG_PROB = 1e-3  # rounding errors of a probability of 1
_MAX_INTEGER = 2**53
_SHORT = reprlib.Repr()
_SHORT.maxstring = 60

Check = Callable[[object], str]  # returns '', or what is wanted


def is_text(value: object) -> str:
  """Wants text."""
  return '' if type(value) is str else 'text'


def is_text_or_number(value: object) -> str:
  """Wants text, or a number that is read as text."""
  if type(value) is str or _is_number(value):
    return ''
  return 'text or a number'


def is_boolean(value: object) -> str:
  """Wants true or false."""
  return '' if type(value) is bool else 'true or false, without quotation marks'


def is_index(value: object) -> str:
  """Wants an integer from 0."""
  if type(value) is int and 0 <= value <= _MAX_INTEGER:
    return ''
  return 'an integer from 0'


def is_log_prob(value: object) -> str:
  """Wants a natural log-probability; a probability of 0 (-inf) is none."""
  if _is_number(value) and value <= MAX_LOG_PROB:
    return ''
  return 'a finite natural log-probability, at most 0'


def is_score(value: object) -> str:
  """Wants a number; one outside [0, 1], as of a reward model, is noted in the report."""
  return '' if _is_number(value) else 'a finite number'


def is_log_odds(value: object) -> str:
  """Wants natural log-odds of any sign."""
  return '' if _is_number(value) else 'finite natural log-odds'


def is_token_ids(value: object) -> str:
  """Wants a list of token ids."""
  # Loops in C: a file has more token ids than anything else. An array accepts booleans.
  if type(value) is list and operator.countOf(map(type, value), int) == len(
    value
  ):
    try:
      array.array('I', value)  # from 0 to 2**32 - 1
      return ''
    except OverflowError:
      pass
  return 'a list of token ids, integers from 0'


def _is_number(value: object) -> TypeGuard[int | float]:
  if type(value) is int:
    return abs(value) <= _MAX_INTEGER
  return type(value) is float and math.isfinite(value)


PROBLEM_FIELDS: Mapping[str, Check] = {
  'id': is_text,
  'question': is_text,
  'solution': is_text,
  'answer': is_text,
  'subject': is_text,
  'level': is_text_or_number,
  'split': is_text,
}
# Problem files that others have published have numbers as ids, answers and levels.
PUBLISHED_PROBLEM_FIELDS: Mapping[str, Check] = {
  'id': is_text_or_number,
  'unique_id': is_text_or_number,
  'solution': is_text,
  'answer': is_text_or_number,
  'subject': is_text_or_number,
  'type': is_text_or_number,
  'level': is_text_or_number,
  'split': is_text,
}
CANDIDATE_FIELDS: Mapping[str, Check] = {
  'solution': is_text,
  'token_ids': is_token_ids,
  'log_prob': is_log_prob,
  'finished': is_boolean,
  'answer': is_text,
  'how': is_text,
  'is_correct': is_boolean,
  'cluster': is_index,
  'score': is_score,
  'log_odds': is_log_odds,
}


def check_fields(
  record: Mapping[str, object], checks: Mapping[str, Check], where: str
) -> None:
  """Raises ValueError with place, field, value seen and value wanted for the first wrong field."""
  known_fields(record, checks, where)


def known_fields(
  record: Mapping[str, object],
  checks: Mapping[str, Check],
  where: str,
  index: int | None = None,
) -> dict[str, Any]:
  """Returns the fields that have a check and are not null; other fields are dropped.

  Args:
    record: from json.
    checks: by field.
    where: the place for errors.
    index: follows the place; a separate argument because most records need no text for it.

  Raises:
    ValueError: place, field, value seen and value wanted of a wrong field.
  """
  known = {}
  for name, value in record.items():
    if value is None or name not in checks:
      continue
    wanted = checks[name](value)
    if wanted:
      place = where if index is None else f'{where} {index}'
      raise wrong_field(place, name, value, wanted)
    known[name] = value
  return known


def wrong_field(
  where: str, name: str, value: object, wanted: str
) -> ValueError:
  """Returns the error of a field."""
  return ValueError(
    f'{where}: field "{name}" is {describe_value(value)}; wanted {wanted}.'
  )


def describe_value(value: object) -> str:
  """Returns a value as short text without control characters."""
  if type(value) is int and abs(value) > _MAX_INTEGER:
    return f'an integer of {value.bit_length()} bits'
  names = {dict: 'an object', list: 'a list'}
  kind = names.get(type(value), type(value).__name__)
  if value is None or isinstance(value, bool):
    return {None: 'null', True: 'true', False: 'false'}[value]
  return f'{_SHORT.repr(value).encode("ascii", "backslashreplace").decode()} ({kind})'
