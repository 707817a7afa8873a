r"""Parser of numbers: decimals, scientific notation, repeating decimals and mixed numbers.

`parse_number` is called after the first literal of the number was taken, for example `3` of
`3\frac{1}{2}` or `0.1` of `0.1\overline{6}`.
"""

from fractions import Fraction
import re

from mathft_jax.grading.expression_tree import (
  Number,
  Power,
  Product,
  Symbol,
  Tree,
  integer,
)
from mathft_jax.grading.parsing.token_cursor import (
  Cursor,
  ParseError,
)

_MAX_EXPONENT = 1000  # a literal with a larger exponent becomes a power of 10
_LITERAL = re.compile(r'(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?', re.ASCII)
_REPEAT_MARKS = ('overline', 'bar', 'dot')


def parse_number(cursor: Cursor, text: str) -> Tree:
  """Returns the number that starts with the literal `text`, which is already taken."""
  if not text.replace('.', '').isdigit():
    return Symbol(text) if cursor.text == '_' else literal_value(text)

  if '.' in text:
    if cursor.text in _REPEAT_MARKS:
      return parse_repeating_decimal(cursor, text)
    if not cursor.peek().gap and _at_repeating_digits(cursor, 0):
      return parse_repeating_decimal(cursor, text)
    if cursor.text == '…':
      return _parse_ellipsis(cursor, text)
  if cursor.text == '.' and text.isdigit() and _at_repeating_digits(cursor, 1):
    cursor.take()
    return parse_repeating_decimal(cursor, text + '.')
  return (
    _parse_mixed(cursor, int(text)) if text.isdigit() else literal_value(text)
  )


def literal_value(text: str) -> Number | Product:
  """Returns the exact value of a literal; very large powers of ten remain powers."""
  if text.isdigit():
    return integer(int(text))
  if not _LITERAL.fullmatch(text):
    raise ParseError(f'{text!r} is not a number.')
  mantissa, _, exponent = text.lower().partition('e')
  if len(exponent) < 9 and abs(int(exponent or 0)) <= _MAX_EXPONENT:
    return Number(Fraction(text))
  scale = Power(integer(10), integer(int(exponent)))
  return Product((Number(Fraction(mantissa)), scale))


def parse_first_digit(cursor: Cursor) -> Number | Product:
  r"""Takes the first digit of the next number, as LaTeX does: `\frac12` is 1/2."""
  token = cursor.take()
  if not token.text.isdigit() or len(token.text) == 1:
    return literal_value(token.text)

  cursor.position -= 1
  rest = token._replace(text=token.text[1:], gap=False)
  before = cursor.tokens[: cursor.position]
  cursor.tokens = [*before, rest, *cursor.tokens[cursor.position + 1 :]]
  return literal_value(token.text[0])


def parse_repeating_decimal(cursor: Cursor, text: str) -> Number:
  r"""Returns the value of a repeating decimal: `0.1\overline{6}` is 0.1 + 6/90.

  Args:
    cursor: at the mark of repetition, such as `overline`.
    text: the decimal before the mark.
  """
  digits = _parse_marked_digits(cursor)
  while cursor.text == 'dot' or (
    cursor.kind == 'number' and cursor.peek(1).text == 'dot'
  ):
    # Digits between the dots over the first and the last repeating digit.
    if cursor.kind == 'number':
      digits += cursor.take().text
    digits += _parse_marked_digits(cursor)
  return _repeating_value(text, digits)


def _parse_marked_digits(cursor: Cursor) -> str:
  """Takes a mark of repetition and returns its digits."""
  mark = cursor.take().text
  opening = mark if mark == '(' else cursor.accept('{')
  digits = cursor.take().text
  closing = ')' if opening == '(' else '}'
  if not digits.isdigit() or (opening and not cursor.accept(closing)):
    raise ParseError(f'{digits!r} are not repeating digits.')
  return digits


def _at_repeating_digits(cursor: Cursor, ahead: int) -> bool:
  """Returns True before a mark of repetition or before digits in brackets: `0.1(6)`."""
  if cursor.peek(ahead).text in _REPEAT_MARKS:
    return True
  return (
    cursor.peek(ahead).text == '('
    and cursor.peek(ahead + 1).text.isdigit()
    and cursor.peek(ahead + 2).text == ')'
  )


def _repeating_value(text: str, digits: str) -> Number:
  """Returns the value of the decimal `text` followed by `digits` repeated forever."""
  places = len(text.partition('.')[2])
  period = (10 ** len(digits) - 1) * 10**places
  return Number(Fraction(text + '0') + Fraction(int(digits), period))


def _parse_ellipsis(cursor: Cursor, text: str) -> Number:
  """Returns the value of `0.1666...`.

  The shortest ending that is written twice repeats; a single digit must be written three times.
  """
  decimals = text.partition('.')[2]
  for length in range(1, len(decimals) // 2 + 1):
    times = 3 if length == 1 else 2
    if decimals.endswith(decimals[-length:] * times):
      cursor.take()
      return _repeating_value(text, decimals[-length:])
  raise ParseError(f'{text}... has no repeating digits.')


def _parse_mixed(cursor: Cursor, whole: int) -> Number:
  r"""Returns the value of `3\frac12` or `3 1/2`; of the whole number if no fraction follows."""
  start = cursor.position
  denominator = None
  if cursor.accept('frac'):
    numerator = _parse_integer_argument(cursor)
    denominator = _parse_integer_argument(cursor)
  else:
    numerator = _parse_integer(cursor)
    if numerator and cursor.accept('/'):
      denominator = _parse_integer(cursor)

  if numerator and denominator and 0 < numerator < denominator:
    return Number(whole + Fraction(numerator, denominator))
  cursor.position = start
  return integer(whole)


def _parse_integer_argument(cursor: Cursor) -> int | None:
  if cursor.accept('{'):
    value = _parse_integer(cursor)
    return value if cursor.accept('}') else None
  if cursor.kind == 'number' and cursor.text.isdigit():
    digit = parse_first_digit(cursor)
    return int(digit.value) if isinstance(digit, Number) else None
  return None


def _parse_integer(cursor: Cursor) -> int | None:
  if cursor.kind == 'number' and cursor.text.isdigit():
    return int(cursor.take().text)
  return None
