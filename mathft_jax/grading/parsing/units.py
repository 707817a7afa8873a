"""Units and remarks after a number. They have no value: `5 cm^2`, `97 (push-ups)`, `7 (≈ 7.07)`."""

from mathft_jax.grading.parsing import english_words
from mathft_jax.grading.parsing.token_cursor import Cursor, ParseError

# Words after which something with a value follows.
_STOP_WORDS = (
  english_words.CONDITION_WORDS
  | english_words.OTHERWISE_WORDS
  | frozenset(english_words.HALF_DAYS)
  | {'by'}
)


def skip_unit(cursor: Cursor) -> None:
  """Skips units and their exponents: `cm^2`, `miles per hour`, `km/h`, `-inch`, `(push-ups)`."""
  if cursor.kind == 'word' and _states_property(cursor):
    return
  if cursor.text == '-' and cursor.peek(1).kind == 'word':
    if cursor.peek(1).text.lower() in english_words.UNIT_WORDS:
      cursor.take()
  while cursor.kind == 'word' and cursor.text.lower() not in _STOP_WORDS:
    if english_words.changes_number(cursor.text):
      raise ParseError(f'{cursor.text!r} changes the number before it.')
    is_square = cursor.take().text.lower() in ('sq', 'cu', 'square', 'cubic')
    if is_square and cursor.kind == 'name':
      cursor.take()  # sq. m
    _skip_unit_exponent(cursor)
    if cursor.text in ('/', '*', '-') and cursor.peek(1).kind == 'word':
      cursor.take()
    elif cursor.text == '/' and cursor.peek(1).kind == 'name':
      cursor.position += 2
      _skip_unit_exponent(cursor)
  if cursor.text == '(':
    _skip_remark(cursor)


def _states_property(cursor: Cursor) -> bool:
  """Returns True before `is even` behind a variable; `5 positive integers` is a number."""
  is_property = cursor.text.lower() in english_words.PROPERTY_WORDS
  return is_property and cursor.peek(-1).kind != 'number'


def _skip_unit_exponent(cursor: Cursor) -> None:
  if cursor.text == '^' and cursor.kind == 'operator':
    cursor.take()
    cursor.parse_script()


def _skip_remark(cursor: Cursor) -> None:
  """Skips `(square units)`, `(white t-shirts)` and `(≈ 3.16)`."""
  first = cursor.peek(1)
  is_rounded = first.text in ('≈', '∼')
  if first.kind == 'word':
    is_rounded = first.text.lower() in english_words.HEDGE_WORDS
  elif not is_rounded:
    return
  cursor.take()
  is_hedge_only = is_rounded and cursor.peek(1).text == ')'
  if is_rounded and not is_hedge_only:
    cursor.parse_list()
  else:
    skip_unit(cursor)
  cursor.expect(')')
  _skip_unit_exponent(cursor)
