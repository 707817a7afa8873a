"""LaTeX commands with arguments of their own: fractions, roots, sums, integrals, limits.

Every reader gets the cursor behind the command, `argument`, which reads one argument of a command, and
`operand`, which reads one power.
"""

from collections.abc import Callable

from mathft_jax.grading import functions
from mathft_jax.grading import trees
from mathft_jax.grading.cursor import Cursor, NotMath

Read = Callable[[Cursor], trees.Scalar]
Reader = Callable[[Cursor, Read, Read], trees.Tree]


def _fraction(cursor: Cursor, argument: Read, operand: Read) -> trees.Scalar:
  numerator = argument(cursor)
  return trees.quotient(numerator, argument(cursor))


def _root(cursor: Cursor, argument: Read, operand: Read) -> trees.Scalar:
  degree = cursor.enclosed(cursor, '[') if cursor.accept('[') else trees.integer(2)
  if not isinstance(degree, trees.SCALARS):
    raise NotMath('a root of no degree.')
  return trees.Power(argument(cursor), trees.inverse(degree))


def _binomial(cursor: Cursor, argument: Read, operand: Read) -> trees.Scalar:
  top = argument(cursor)
  return trees.Call('binomial', (top, argument(cursor)))


def _conjugate(cursor: Cursor, argument: Read, operand: Read) -> trees.Scalar:
  return trees.Call('conj', (argument(cursor),))


def _blackboard(cursor: Cursor, argument: Read, operand: Read) -> trees.Tree:
  letter = argument(cursor)
  if letter == trees.Symbol('R'):
    return trees.REALS
  if not isinstance(letter, trees.Symbol):
    raise NotMath('a blackboard letter that is none.')
  return trees.Symbol(f'set {letter.name}')


def _series(name: str) -> Reader:
  """`\\sum_{k=1}^{n} body`: a call of body, index, low and high."""

  def read(cursor: Cursor, argument: Read, operand: Read) -> trees.Call:
    cursor.expect('_')
    cursor.expect('{')
    index, low = _sides(cursor.enclosed(cursor, '{'), '=')
    cursor.expect('^')
    high = functions.script(cursor, operand)
    return trees.Call(name, (_body(cursor, operand), index, low, high))

  return read


def _limit(cursor: Cursor, argument: Read, operand: Read) -> trees.Call:
  """`\\lim_{x \\to 0} body`: a call of body, variable and point."""
  cursor.expect('_')
  cursor.expect('{')
  variable, point = _sides(cursor.enclosed(cursor, '{'), '→')
  return trees.Call('limit', (_body(cursor, operand), variable, point))


def _integral(cursor: Cursor, argument: Read, operand: Read) -> trees.Call:
  """`\\int_a^b body dx`: a call of body, variable and ends, if there are any."""
  ends = {}
  while mark := cursor.accept('_', '^'):
    ends[mark] = functions.script(cursor, operand)
  cursor.integrals += 1
  factors = []
  while not cursor.at_differential():
    cursor.accept('*')
    factors.append(operand(cursor))
  cursor.integrals -= 1
  cursor.take()
  variable = trees.Symbol(cursor.take().text)
  body = trees.Product(tuple(factors)) if factors else trees.integer(1)
  limits = (ends['_'], ends['^']) if len(ends) == 2 else ()
  return trees.Call('integral', (body, variable, *limits))


def _sides(relation: trees.Tree, operator: str) -> tuple[trees.Tree, trees.Tree]:
  if not isinstance(relation, trees.Relation) or relation.operators != (operator,) or not isinstance(
      relation.sides[0], (trees.Symbol, trees.Constant)):
    raise NotMath(f'an index without {operator!r}.')
  return relation.sides


def _body(cursor: Cursor, operand: Read) -> trees.Scalar:
  """The factors behind a sum, product or limit, up to the next sign."""
  factors = [operand(cursor)]
  while cursor.accept('*') or cursor.kind in ('name', 'number', 'function') or (
      cursor.text in ('frac', 'sqrt', 'binom', '(', '{')):
    factors.append(operand(cursor))
  return factors[0] if len(factors) == 1 else trees.Product(tuple(factors))


READ: dict[str, Reader] = {
    'frac': _fraction, 'sqrt': _root, 'binom': _binomial, 'overline': _conjugate,
    'bar': _conjugate, 'mathbb': _blackboard, 'Bbb': _blackboard, 'sum': _series('sum'),
    'prod': _series('product'), 'lim': _limit, 'int': _integral,
}
