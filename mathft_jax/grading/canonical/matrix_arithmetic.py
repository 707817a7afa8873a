"""Arithmetic with matrices and vectors on expression trees.

evaluate_matrix_expression(2 * Matrix(((a, b),)))  ->  Matrix(((2 * a, 2 * b),))
"""

from collections.abc import Sequence
import functools

from mathft_jax.grading import expression_tree as trees

MAX_MATRIX_ENTRIES = 100
_MAX_EXPONENT = 10
_MAX_POWER_ROWS = 4  # of a matrix that is raised to a power

Rows = Sequence[Sequence[trees.Tree]]


def evaluate_matrix_expression(tree: trees.Tree) -> trees.Tree:
  """Returns the matrix, vector or scalar that the tree is equal to.

  Raises:
    ArithmeticError: the shapes do not match, or the computation is too large.
  """
  if isinstance(tree, trees.Sum):
    return functools.reduce(_add, map(evaluate_matrix_expression, tree.terms))
  if isinstance(tree, trees.Product):
    factors = map(evaluate_matrix_expression, tree.factors)
    return functools.reduce(_multiply, factors)
  if isinstance(tree, trees.Power):
    base = evaluate_matrix_expression(tree.base)
    rows = _rows_of(base)
    if rows is None:
      return trees.Power(base, tree.exponent)
    return _raise_to_power(base, rows, tree.exponent)
  return tree


def _add(left: trees.Tree, right: trees.Tree) -> trees.Tree:
  left_rows, right_rows = _rows_of(left), _rows_of(right)
  if left_rows is None and right_rows is None:
    return trees.Sum((left, right))
  if left_rows is None or right_rows is None or type(left) is not type(right):
    raise ArithmeticError('Sum of a matrix and something else.')
  if list(map(len, left_rows)) != list(map(len, right_rows)):
    raise ArithmeticError('Sum of matrices with different shapes.')

  rows = []
  for left_row, right_row in zip(left_rows, right_rows):
    rows.append(list(map(trees.Sum, zip(left_row, right_row))))
  return _from_rows(left, rows)


def _multiply(left: trees.Tree, right: trees.Tree) -> trees.Tree:
  left_rows, right_rows = _rows_of(left), _rows_of(right)
  if left_rows is None:
    if right_rows is None:
      return trees.Product((left, right))
    return _scale(left, right, right_rows)
  if right_rows is None:
    return _scale(right, left, left_rows)

  are_matrices = isinstance(left, trees.Matrix) and isinstance(
    right, trees.Matrix
  )
  if not are_matrices or len(left_rows[0]) != len(right_rows):
    raise ArithmeticError('Product of matrices with incompatible shapes.')
  columns = list(zip(*right_rows))
  rows = []
  for row in left_rows:
    rows.append([_dot_product(row, column) for column in columns])
  return _from_rows(left, rows)


def _scale(scalar: trees.Tree, matrix: trees.Tree, rows: Rows) -> trees.Tree:
  scaled_rows = []
  for row in rows:
    scaled_rows.append([trees.Product((scalar, entry)) for entry in row])
  return _from_rows(matrix, scaled_rows)


def _dot_product(
  row: Sequence[trees.Tree], column: Sequence[trees.Tree]
) -> trees.Tree:
  return trees.Sum(tuple(map(trees.Product, zip(row, column))))


def _raise_to_power(
  matrix: trees.Tree, rows: Rows, exponent: trees.Tree
) -> trees.Tree:
  if exponent == trees.Symbol('T'):
    return _from_rows(matrix, list(zip(*rows)))
  if not isinstance(exponent, trees.Number) or exponent.value.denominator != 1:
    raise ArithmeticError('Power of a matrix with an exponent of no integer.')
  power = exponent.value.numerator
  is_square = len(rows) == len(rows[0])
  if not 1 <= abs(power) <= _MAX_EXPONENT:
    raise ArithmeticError(f'Power {power} of a matrix.')
  if not is_square or len(rows) > _MAX_POWER_ROWS:
    raise ArithmeticError(f'Power of a matrix of {len(rows)} rows.')
  base = _inverse(rows) if power < 0 else matrix
  return functools.reduce(_multiply, [base] * abs(power))


def _inverse(rows: Rows) -> trees.Matrix:
  """Returns the transposed matrix of cofactors, divided by the determinant."""
  size = range(len(rows))
  determinant = _determinant(rows)

  def divided_cofactor(row: int, column: int) -> trees.Tree:
    minor = []
    for i in size:
      if i != row:
        minor.append([rows[i][j] for j in size if j != column])
    value = _determinant(minor) if minor else trees.integer(1)
    sign = trees.integer((-1) ** (row + column))
    return trees.Product((sign, trees.quotient(value, determinant)))

  inverse_rows = []
  for row in size:
    inverse_rows.append([divided_cofactor(column, row) for column in size])
  return _matrix(inverse_rows)


def _determinant(rows: Rows) -> trees.Call:
  return trees.Call('det', (_matrix(rows),))


def _rows_of(tree: trees.Tree) -> Rows | None:
  """Returns the rows of a matrix or of a vector (a, b, ...); None for a scalar."""
  if isinstance(tree, trees.Matrix):
    rows = tree.rows
  elif isinstance(tree, trees.Collection):
    if tree.kind != 'tuple':
      raise ArithmeticError(f'Arithmetic with a {tree.kind}.')
    rows = (tree.items,)
  else:
    return None
  if sum(map(len, rows)) > MAX_MATRIX_ENTRIES:
    raise ArithmeticError(f'More than {MAX_MATRIX_ENTRIES} matrix entries.')
  return rows


def _from_rows(like: trees.Tree, rows: Rows) -> trees.Tree:
  """Returns a vector if `like` is a vector, else a matrix."""
  if isinstance(like, trees.Collection):
    return trees.Collection('tuple', tuple(rows[0]))
  return _matrix(rows)


def _matrix(rows: Rows) -> trees.Matrix:
  return trees.Matrix(tuple(map(tuple, rows)))
