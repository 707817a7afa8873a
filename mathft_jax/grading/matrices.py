"""Arithmetic with matrices and vectors, carried out on trees."""

from fractions import Fraction
import functools

from mathft_jax.grading import trees

MAX_ENTRIES = 100
_MAX_EXPONENT = 10


def evaluated(tree: trees.Tree) -> trees.Tree:
  """The matrix, vector or scalar that a tree of them stands for; ArithmeticError when none."""
  if isinstance(tree, trees.Sum):
    return functools.reduce(_added, map(evaluated, tree.terms))
  if isinstance(tree, trees.Product):
    return functools.reduce(_multiplied, map(evaluated, tree.factors))
  if isinstance(tree, trees.Power):
    base = evaluated(tree.base)
    return trees.Power(base, tree.exponent) if _rows(base) is None else _raised(base, tree.exponent)
  return tree


def _added(left: trees.Tree, right: trees.Tree) -> trees.Tree:
  rows, others = _rows(left), _rows(right)
  if rows is None and others is None:
    return trees.Sum((left, right))
  if type(left) is not type(right) or list(map(len, rows)) != list(map(len, others)):
    raise ArithmeticError('a sum of matrices of different shapes.')
  return _like(left, [[trees.Sum(pair) for pair in zip(row, other)]
                      for row, other in zip(rows, others)])


def _multiplied(left: trees.Tree, right: trees.Tree) -> trees.Tree:
  rows, others = _rows(left), _rows(right)
  if rows is None and others is None:
    return trees.Product((left, right))
  if rows is None or others is None:
    scalar, matrix = (left, right) if rows is None else (right, left)
    return _like(matrix, [[trees.Product((scalar, entry)) for entry in row]
                          for row in (rows or others)])
  if not isinstance(left, trees.Matrix) or not isinstance(right, trees.Matrix) or (
      len(rows[0]) != len(others)):
    raise ArithmeticError('a product of matrices that do not fit.')
  return _like(left, [[trees.Sum(tuple(map(trees.Product, zip(row, column))))
                       for column in zip(*others)] for row in rows])


def _raised(matrix: trees.Tree, exponent: trees.Scalar) -> trees.Tree:
  rows = _rows(matrix)
  if exponent == trees.Symbol('T'):
    return _like(matrix, list(map(list, zip(*rows))))
  whole = exponent.value if isinstance(exponent, trees.Number) else Fraction(1, 2)
  if whole.denominator != 1 or not 1 <= abs(whole) <= _MAX_EXPONENT or (
      len(rows) != len(rows[0]) or len(rows) > 4):
    raise ArithmeticError('a power of a matrix that is not worked out.')
  base = _inverse(rows) if whole < 0 else matrix
  return functools.reduce(_multiplied, [base] * abs(whole.numerator))


def _inverse(rows: list[list[trees.Scalar]]) -> trees.Matrix:
  """The matrix of cofactors, transposed, over the determinant."""
  size = range(len(rows))
  determinant = trees.Call('det', (_like(None, rows),))
  def cofactor(row: int, column: int) -> trees.Scalar:
    minor = [[rows[i][j] for j in size if j != column] for i in size if i != row]
    value = trees.Call('det', (_like(None, minor),)) if minor else trees.integer(1)
    return trees.Product((trees.integer((-1)**(row + column)), trees.quotient(value, determinant)))
  return _like(None, [[cofactor(column, row) for column in size] for row in size])


def _rows(tree: trees.Tree) -> list[list[trees.Scalar]] | None:
  """The rows of a matrix or of a vector written (a, b, ...); None for a scalar."""
  if isinstance(tree, trees.Matrix):
    rows = list(map(list, tree.rows))
  elif isinstance(tree, trees.Group) and tree.kind == 'tuple':
    rows = [list(tree.items)]
  elif isinstance(tree, trees.Group):
    raise ArithmeticError(f'arithmetic with a {tree.kind}.')
  else:
    return None
  if sum(map(len, rows)) > MAX_ENTRIES:
    raise ArithmeticError(f'more than {MAX_ENTRIES} entries.')
  return rows


def _like(tree: trees.Tree | None, rows: list[list[trees.Scalar]]) -> trees.Tree:
  if isinstance(tree, trees.Group):
    return trees.Group('tuple', tuple(rows[0]))
  return trees.Matrix(tuple(map(tuple, rows)))
