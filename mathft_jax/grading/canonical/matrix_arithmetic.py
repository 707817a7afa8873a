"""Arithmetic with matrices and vectors on expression trees.

evaluate_matrix_expression(2 * Matrix(((a, b),)))  ->  Matrix(((2 * a, 2 * b),))
"""

from collections.abc import Sequence
import functools

from mathft_jax.grading.expression_tree import (
  Call,
  Collection,
  Matrix,
  Number,
  Power,
  Product,
  Sum,
  Symbol,
  Tree,
  integer,
  quotient,
)

MAX_MATRIX_ENTRIES = 100
_MAX_EXPONENT = 10
_MAX_POWER_ROWS = 4  # of a matrix that is raised to a power

Rows = Sequence[Sequence[Tree]]


def evaluate_matrix_expression(tree: Tree) -> Tree:
  """Returns the matrix, vector or scalar that the tree is equal to.

  Raises:
    ArithmeticError: the shapes do not match, or the computation is too large.
  """
  if isinstance(tree, Sum):
    return functools.reduce(_add, map(evaluate_matrix_expression, tree.terms))
  if isinstance(tree, Product):
    factors = map(evaluate_matrix_expression, tree.factors)
    return functools.reduce(_multiply, factors)
  if isinstance(tree, Power):
    base = evaluate_matrix_expression(tree.base)
    rows = _rows_of(base)
    if rows is None:
      return Power(base, tree.exponent)
    return _raise_to_power(base, rows, tree.exponent)
  return tree


def _add(left: Tree, right: Tree) -> Tree:
  left_rows, right_rows = _rows_of(left), _rows_of(right)
  if left_rows is None and right_rows is None:
    return Sum((left, right))
  if left_rows is None or right_rows is None or type(left) is not type(right):
    raise ArithmeticError('Sum of a matrix and something else.')
  if list(map(len, left_rows)) != list(map(len, right_rows)):
    raise ArithmeticError('Sum of matrices with different shapes.')

  rows = []
  for left_row, right_row in zip(left_rows, right_rows):
    rows.append(list(map(Sum, zip(left_row, right_row))))
  return _from_rows(left, rows)


def _multiply(left: Tree, right: Tree) -> Tree:
  left_rows, right_rows = _rows_of(left), _rows_of(right)
  if left_rows is None:
    if right_rows is None:
      return Product((left, right))
    return _scale(left, right, right_rows)
  if right_rows is None:
    return _scale(right, left, left_rows)

  are_matrices = isinstance(left, Matrix) and isinstance(right, Matrix)
  if not are_matrices or len(left_rows[0]) != len(right_rows):
    raise ArithmeticError('Product of matrices with incompatible shapes.')
  columns = list(zip(*right_rows))
  rows = []
  for row in left_rows:
    rows.append([_dot_product(row, column) for column in columns])
  return _from_rows(left, rows)


def _scale(scalar: Tree, matrix: Tree, rows: Rows) -> Tree:
  scaled_rows = []
  for row in rows:
    scaled_rows.append([Product((scalar, entry)) for entry in row])
  return _from_rows(matrix, scaled_rows)


def _dot_product(row: Sequence[Tree], column: Sequence[Tree]) -> Tree:
  return Sum(tuple(map(Product, zip(row, column))))


def _raise_to_power(matrix: Tree, rows: Rows, exponent: Tree) -> Tree:
  if exponent == Symbol('T'):
    return _from_rows(matrix, list(zip(*rows)))
  if not isinstance(exponent, Number) or exponent.value.denominator != 1:
    raise ArithmeticError('Power of a matrix with an exponent of no integer.')
  power = exponent.value.numerator
  is_square = len(rows) == len(rows[0])
  if not 1 <= abs(power) <= _MAX_EXPONENT:
    raise ArithmeticError(f'Power {power} of a matrix.')
  if not is_square or len(rows) > _MAX_POWER_ROWS:
    raise ArithmeticError(f'Power of a matrix of {len(rows)} rows.')
  base = _inverse(rows) if power < 0 else matrix
  return functools.reduce(_multiply, [base] * abs(power))


def _inverse(rows: Rows) -> Matrix:
  """Returns the transposed matrix of cofactors, divided by the determinant."""
  size = range(len(rows))
  determinant = _determinant(rows)

  def divided_cofactor(row: int, column: int) -> Tree:
    minor = []
    for i in size:
      if i != row:
        minor.append([rows[i][j] for j in size if j != column])
    value = _determinant(minor) if minor else integer(1)
    sign = integer((-1) ** (row + column))
    return Product((sign, quotient(value, determinant)))

  inverse_rows = []
  for row in size:
    inverse_rows.append([divided_cofactor(column, row) for column in size])
  return _matrix(inverse_rows)


def _determinant(rows: Rows) -> Call:
  return Call('det', (_matrix(rows),))


def _rows_of(tree: Tree) -> Rows | None:
  """Returns the rows of a matrix or of a vector (a, b, ...); None for a scalar."""
  if isinstance(tree, Matrix):
    rows = tree.rows
  elif isinstance(tree, Collection):
    if tree.kind != 'tuple':
      raise ArithmeticError(f'Arithmetic with a {tree.kind}.')
    rows = (tree.items,)
  else:
    return None
  if sum(map(len, rows)) > MAX_MATRIX_ENTRIES:
    raise ArithmeticError(f'More than {MAX_MATRIX_ENTRIES} matrix entries.')
  return rows


def _from_rows(like: Tree, rows: Rows) -> Tree:
  """Returns a vector if `like` is a vector, else a matrix."""
  if isinstance(like, Collection):
    return Collection('tuple', tuple(rows[0]))
  return _matrix(rows)


def _matrix(rows: Rows) -> Matrix:
  return Matrix(tuple(map(tuple, rows)))
