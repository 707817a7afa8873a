r"""Parsers of LaTeX commands with arguments: fractions, roots, sums, integrals and limits.

STRUCTURE_PARSERS maps the text of a token to its parser, which is called after the token was taken:

  STRUCTURE_PARSERS['frac'](cursor)
"""

import functools

from mathft_jax.grading.expression_tree import (
  REAL_LINE,
  SCALAR_TYPES,
  Call,
  Constant,
  Power,
  Relation,
  Symbol,
  Tree,
  integer,
  quotient,
  reciprocal,
)
from mathft_jax.grading.parsing.function_calls import (
  parse_script,
  product_of,
)
from mathft_jax.grading.parsing.token_cursor import (
  Cursor,
  Parse,
  ParseError,
)


def _parse_fraction(cursor: Cursor) -> Tree:
  numerator = cursor.parse_argument()
  return quotient(numerator, cursor.parse_argument())


def _parse_root(cursor: Cursor) -> Tree:
  degree = integer(2)
  if cursor.accept('['):
    degree = cursor.parse_enclosed('[')
  if not isinstance(degree, SCALAR_TYPES):
    raise ParseError('The degree of a root is not a number.')
  return Power(cursor.parse_argument(), reciprocal(degree))


def _parse_binomial(cursor: Cursor) -> Tree:
  top = cursor.parse_argument()
  return Call('binomial', (top, cursor.parse_argument()))


def _parse_conjugate(cursor: Cursor) -> Tree:
  return Call('conj', (cursor.parse_argument(),))


def _parse_accent(cursor: Cursor, accent: str) -> Tree:
  r"""Parses the argument of `\\dot`, a derivative by time."""
  argument = cursor.parse_argument()
  if isinstance(argument, Symbol):
    return Symbol(f'{argument.name} {accent}')
  return Call(accent, (argument,))


def _parse_blackboard_letter(cursor: Cursor) -> Tree:
  letter = cursor.parse_argument()
  if letter == Symbol('R'):
    return REAL_LINE
  if not isinstance(letter, Symbol):
    raise ParseError('The argument of mathbb is not a letter.')
  return Symbol(f'set {letter.name}')


def _parse_series(cursor: Cursor, function: str) -> Tree:
  r"""Parses `\sum_{k=1}^{n} body` to a call with arguments body, index, low, high."""
  index, low = _parse_index(cursor, '=')
  cursor.expect('^')
  high = parse_script(cursor)
  return Call(function, (_parse_body(cursor), index, low, high))


def _parse_limit(cursor: Cursor) -> Tree:
  r"""Parses `\lim_{x \to 0} body` to a call with arguments body, variable, point."""
  variable, point = _parse_index(cursor, '→')
  return Call('limit', (_parse_body(cursor), variable, point))


def _parse_integral(cursor: Cursor) -> Tree:
  r"""Parses `\int_a^b body dx` to a call with arguments body, variable and, if given, limits."""
  limits: dict[str, Tree] = {}
  while mark := cursor.accept('_', '^'):
    limits[mark] = parse_script(cursor)

  cursor.open_integrals += 1
  factors: list[Tree] = []
  while not cursor.at_differential():
    cursor.accept('*')
    factors.append(cursor.parse_operand())
  cursor.open_integrals -= 1
  cursor.take()
  variable = Symbol(cursor.take().text)

  body = product_of(factors or [integer(1)])
  if len(limits) < 2:
    return Call('integral', (body, variable))
  return Call('integral', (body, variable, limits['_'], limits['^']))


def _parse_index(cursor: Cursor, operator: str) -> tuple[Tree, Tree]:
  """Parses the subscript `_{k=1}` or `_{x → 0}` and returns its two sides."""
  cursor.expect('_')
  cursor.expect('{')
  subscript = cursor.parse_enclosed('{')
  if isinstance(subscript, Relation) and subscript.operators == (operator,):
    variable, value = subscript.sides
    if isinstance(variable, (Symbol, Constant)):
      return variable, value
  raise ParseError(
    f'The subscript is not a variable, {operator!r} and a value.'
  )


def _parse_body(cursor: Cursor) -> Tree:
  """Parses the factors after a sum, product or limit, up to the next sign."""
  factors = [cursor.parse_operand()]
  while (
    cursor.accept('*')
    or cursor.kind in ('name', 'number', 'function')
    or cursor.text in ('frac', 'sqrt', 'binom', '(', '{')
  ):
    factors.append(cursor.parse_operand())
  return product_of(factors)


STRUCTURE_PARSERS: dict[str, Parse] = {
  'frac': _parse_fraction,
  'sqrt': _parse_root,
  'binom': _parse_binomial,
  'overline': _parse_conjugate,
  'bar': _parse_conjugate,
  **{
    accent: functools.partial(_parse_accent, accent=accent)
    for accent in ('dot', 'ddot', 'dddot')
  },
  'mathbb': _parse_blackboard_letter,
  'Bbb': _parse_blackboard_letter,
  'sum': functools.partial(_parse_series, function='sum'),
  'prod': functools.partial(_parse_series, function='product'),
  'lim': _parse_limit,
  'int': _parse_integral,
}
