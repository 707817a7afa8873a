"""LaTeX commands with arguments of their own: fractions, roots, sums, integrals, limits.

Every reader gets the cursor behind the command, `argument`, which reads one argument of a command, and
`operand`, which reads one power.
"""

from collections.abc import Callable

from mathft_jax.grading import expression_tree
from mathft_jax.grading.parsing import function_calls
from mathft_jax.grading.parsing.token_cursor import (
  TokenCursor,
  AnswerSyntaxError,
)

Read = Callable[[TokenCursor], expression_tree.Scalar]
Reader = Callable[[TokenCursor, Read, Read], expression_tree.Tree]


def _fraction(
  cursor: TokenCursor, argument: Read, operand: Read
) -> expression_tree.Scalar:
  numerator = argument(cursor)
  return expression_tree.quotient(numerator, argument(cursor))


def _root(
  cursor: TokenCursor, argument: Read, operand: Read
) -> expression_tree.Scalar:
  degree = (
    cursor.enclosed(cursor, '[')
    if cursor.accept('[')
    else expression_tree.integer(2)
  )
  if not isinstance(degree, expression_tree.SCALAR_TYPES):
    raise AnswerSyntaxError('a root of no degree.')
  return expression_tree.Power(
    argument(cursor), expression_tree.reciprocal(degree)
  )


def _binomial(
  cursor: TokenCursor, argument: Read, operand: Read
) -> expression_tree.Scalar:
  top = argument(cursor)
  return expression_tree.Call('binomial', (top, argument(cursor)))


def _conjugate(
  cursor: TokenCursor, argument: Read, operand: Read
) -> expression_tree.Scalar:
  return expression_tree.Call('conj', (argument(cursor),))


def _blackboard(
  cursor: TokenCursor, argument: Read, operand: Read
) -> expression_tree.Tree:
  letter = argument(cursor)
  if letter == expression_tree.Symbol('R'):
    return expression_tree.REAL_LINE
  if not isinstance(letter, expression_tree.Symbol):
    raise AnswerSyntaxError('a blackboard letter that is none.')
  return expression_tree.Symbol(f'set {letter.name}')


def _series(name: str) -> Reader:
  """`\\sum_{k=1}^{n} body`: a call of body, index, low and high."""

  def read(
    cursor: TokenCursor, argument: Read, operand: Read
  ) -> expression_tree.Call:
    cursor.expect('_')
    cursor.expect('{')
    index, low = _sides(cursor.enclosed(cursor, '{'), '=')
    cursor.expect('^')
    high = function_calls.parse_script(cursor, operand)
    return expression_tree.Call(
      name, (_body(cursor, operand), index, low, high)
    )

  return read


def _limit(
  cursor: TokenCursor, argument: Read, operand: Read
) -> expression_tree.Call:
  """`\\lim_{x \\to 0} body`: a call of body, variable and point."""
  cursor.expect('_')
  cursor.expect('{')
  variable, point = _sides(cursor.enclosed(cursor, '{'), '→')
  return expression_tree.Call(
    'limit', (_body(cursor, operand), variable, point)
  )


def _integral(
  cursor: TokenCursor, argument: Read, operand: Read
) -> expression_tree.Call:
  """`\\int_a^b body dx`: a call of body, variable and ends, if there are any."""
  ends = {}
  while mark := cursor.accept('_', '^'):
    ends[mark] = function_calls.parse_script(cursor, operand)
  cursor.integrals += 1
  factors = []
  while not cursor.at_differential():
    cursor.accept('*')
    factors.append(operand(cursor))
  cursor.integrals -= 1
  cursor.take()
  variable = expression_tree.Symbol(cursor.take().text)
  body = (
    expression_tree.Product(tuple(factors))
    if factors
    else expression_tree.integer(1)
  )
  limits = (ends['_'], ends['^']) if len(ends) == 2 else ()
  return expression_tree.Call('integral', (body, variable, *limits))


def _sides(
  relation: expression_tree.Tree, operator: str
) -> tuple[expression_tree.Tree, expression_tree.Tree]:
  if (
    not isinstance(relation, expression_tree.Relation)
    or relation.operators != (operator,)
    or not isinstance(
      relation.sides[0], (expression_tree.Symbol, expression_tree.Constant)
    )
  ):
    raise AnswerSyntaxError(f'an index without {operator!r}.')
  return relation.sides


def _body(cursor: TokenCursor, operand: Read) -> expression_tree.Scalar:
  """The factors behind a sum, product or limit, up to the next sign."""
  factors = [operand(cursor)]
  while (
    cursor.accept('*')
    or cursor.kind in ('name', 'number', 'function')
    or (cursor.text in ('frac', 'sqrt', 'binom', '(', '{'))
  ):
    factors.append(operand(cursor))
  return (
    factors[0] if len(factors) == 1 else expression_tree.Product(tuple(factors))
  )


STRUCTURE_PARSERS: dict[str, Reader] = {
  'frac': _fraction,
  'sqrt': _root,
  'binom': _binomial,
  'overline': _conjugate,
  'bar': _conjugate,
  'mathbb': _blackboard,
  'Bbb': _blackboard,
  'sum': _series('sum'),
  'prod': _series('product'),
  'lim': _limit,
  'int': _integral,
}
