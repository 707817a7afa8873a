"""Numbers as they are written: literals, repeating decimals, mixed numbers."""

from fractions import Fraction
import re

from mathft_jax.grading import expression_tree
from mathft_jax.grading.parsing.token_cursor import (
  TokenCursor,
  AnswerSyntaxError,
)

_MAX_EXPONENT = (
  1000  # of a literal in scientific notation; beyond it stays a power of ten
)
_LITERAL = re.compile(r'(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?', re.ASCII)
_MARKS = ('overline', 'bar', 'dot')


def parse_number(cursor: TokenCursor, text: str) -> expression_tree.Scalar:
  """The number that begins with the literal `text`, which is taken."""
  if not text.replace('.', '').isdigit():
    return (
      expression_tree.Symbol(text)
      if cursor.text == '_'
      else literal_value(text)
    )
  if '.' in text and (
    cursor.text in _MARKS or not cursor.peek().gap and _repeats(cursor, 0)
  ):
    return parse_repeating_decimal(cursor, text)
  if cursor.text == '.' and text.isdigit() and _repeats(cursor, 1):
    cursor.take()
    return parse_repeating_decimal(cursor, text + '.')
  if cursor.text == '…' and '.' in text:
    return _with_ellipsis(cursor, text)
  return (
    _mixed(cursor, literal_value(text))
    if text.isdigit()
    else literal_value(text)
  )


def literal_value(text: str) -> expression_tree.Scalar:
  """The exact value of a decimal literal; huge powers of ten stay powers."""
  if text.isdigit():
    return expression_tree.Number(Fraction(int(text)))
  if not _LITERAL.fullmatch(text):
    raise AnswerSyntaxError(f'{text!r} is no number.')
  mantissa, _, exponent = text.lower().partition('e')
  if len(exponent) < 9 and abs(int(exponent or 0)) <= _MAX_EXPONENT:
    return expression_tree.Number(Fraction(text))
  return expression_tree.Product(
    (
      expression_tree.Number(Fraction(mantissa)),
      expression_tree.Power(
        expression_tree.integer(10), expression_tree.integer(int(exponent))
      ),
    )
  )


def parse_first_digit(cursor: TokenCursor) -> expression_tree.Scalar:
  """The first digit of the next number, as LaTeX reads it: `\\frac12` is 1/2."""
  token = cursor.take()
  if not token.text.isdigit() or len(token.text) == 1:
    return literal_value(token.text)
  rest = token._replace(text=token.text[1:], gap=False)
  cursor.position -= 1
  cursor.tokens = [
    *cursor.tokens[: cursor.position],
    rest,
    *cursor.tokens[cursor.position + 1 :],
  ]
  return literal_value(token.text[0])


def parse_repeating_decimal(
  cursor: TokenCursor, text: str
) -> expression_tree.Number:
  r"""`0.1\overline{6}` = 0.1 + 6/90; the cursor stands before the mark of repetition."""
  digits = _marked(cursor, cursor.take().text)
  while (
    cursor.text == 'dot'
    or cursor.kind == 'number'
    and cursor.peek(1).text == 'dot'
  ):
    if (
      cursor.kind == 'number'
    ):  # between the dots above the first and the last digit
      digits += cursor.take().text
    digits += _marked(cursor, cursor.take().text)
  return _recurring(text, digits)


def _marked(cursor: TokenCursor, mark: str) -> str:
  """The digits behind a mark of repetition, which is taken."""
  opening = mark if mark == '(' else cursor.accept('{')
  digits = cursor.take().text
  if (
    not digits.isdigit()
    or opening
    and not cursor.accept(')' if opening == '(' else '}')
  ):
    raise AnswerSyntaxError(f'{digits!r} are no repeating digits.')
  return digits


def _repeats(cursor: TokenCursor, ahead: int) -> bool:
  if cursor.peek(ahead).text in _MARKS:
    return True
  texts = [cursor.peek(ahead + n).text for n in range(3)]
  return texts[0] == '(' and texts[1].isdigit() and texts[2] == ')'


def _recurring(text: str, digits: str) -> expression_tree.Number:
  """The value of the decimal `text` followed by `digits` for ever."""
  places = len(text.partition('.')[2])
  return expression_tree.Number(
    Fraction(text + '0')
    + Fraction(int(digits), (10 ** len(digits) - 1) * 10**places)
  )


def _with_ellipsis(cursor: TokenCursor, text: str) -> expression_tree.Number:
  """`0.1666...`: the shortest end that stands there twice (three times for one digit) recurs."""
  decimals = text.partition('.')[2]
  for length in range(1, len(decimals) // 2 + 1):
    times = 3 if length == 1 else 2
    if decimals.endswith(decimals[-length:] * times):
      cursor.take()
      return _recurring(text, decimals[-length:])
  raise AnswerSyntaxError(f'{text}... does not show what recurs.')


def _mixed(
  cursor: TokenCursor, whole: expression_tree.Number
) -> expression_tree.Number:
  r"""`3\frac12` and `3 1/2`: a whole number and a proper fraction; else the whole number."""
  start = cursor.position
  if cursor.accept('frac'):
    numerator, denominator = (
      _integer_argument(cursor),
      _integer_argument(cursor),
    )
  else:
    numerator = _integer(cursor)
    denominator = _integer(cursor) if numerator and cursor.accept('/') else None
  if numerator and denominator and 0 < numerator < denominator:
    return expression_tree.Number(
      whole.value + Fraction(numerator, denominator)
    )
  cursor.position = start
  return whole


def _integer_argument(cursor: TokenCursor) -> int | None:
  if cursor.accept('{'):
    value = _integer(cursor)
    return value if cursor.accept('}') else None
  if cursor.kind == 'number' and cursor.text.isdigit():
    return int(parse_first_digit(cursor).value)
  return None


def _integer(cursor: TokenCursor) -> int | None:
  if cursor.kind == 'number' and cursor.text.isdigit():
    return int(cursor.take().text)
  return None
