"""Arithmetic with matrices and vectors, carried out on trees."""

from fractions import Fraction
import functools

from mathft_jax.grading import expression_tree

MAX_MATRIX_ENTRIES = 100
_MAX_EXPONENT = 10


def evaluate_matrix_expression(
  tree: expression_tree.Tree,
) -> expression_tree.Tree:
  """The matrix, vector or scalar that a tree of them stands for; ArithmeticError when none."""
  if isinstance(tree, expression_tree.Sum):
    return functools.reduce(_added, map(evaluate_matrix_expression, tree.terms))
  if isinstance(tree, expression_tree.Product):
    return functools.reduce(
      _multiplied, map(evaluate_matrix_expression, tree.factors)
    )
  if isinstance(tree, expression_tree.Power):
    base = evaluate_matrix_expression(tree.base)
    return (
      expression_tree.Power(base, tree.exponent)
      if _rows(base) is None
      else _raised(base, tree.exponent)
    )
  return tree


def _added(
  left: expression_tree.Tree, right: expression_tree.Tree
) -> expression_tree.Tree:
  rows, others = _rows(left), _rows(right)
  if rows is None and others is None:
    return expression_tree.Sum((left, right))
  if type(left) is not type(right) or list(map(len, rows)) != list(
    map(len, others)
  ):
    raise ArithmeticError('a sum of matrices of different shapes.')
  return _like(
    left,
    [
      [expression_tree.Sum(pair) for pair in zip(row, other)]
      for row, other in zip(rows, others)
    ],
  )


def _multiplied(
  left: expression_tree.Tree, right: expression_tree.Tree
) -> expression_tree.Tree:
  rows, others = _rows(left), _rows(right)
  if rows is None and others is None:
    return expression_tree.Product((left, right))
  if rows is None or others is None:
    scalar, matrix = (left, right) if rows is None else (right, left)
    return _like(
      matrix,
      [
        [expression_tree.Product((scalar, entry)) for entry in row]
        for row in (rows or others)
      ],
    )
  if (
    not isinstance(left, expression_tree.Matrix)
    or not isinstance(right, expression_tree.Matrix)
    or (len(rows[0]) != len(others))
  ):
    raise ArithmeticError('a product of matrices that do not fit.')
  return _like(
    left,
    [
      [
        expression_tree.Sum(
          tuple(map(expression_tree.Product, zip(row, column)))
        )
        for column in zip(*others)
      ]
      for row in rows
    ],
  )


def _raised(
  matrix: expression_tree.Tree, exponent: expression_tree.Scalar
) -> expression_tree.Tree:
  rows = _rows(matrix)
  if exponent == expression_tree.Symbol('T'):
    return _like(matrix, list(map(list, zip(*rows))))
  whole = (
    exponent.value
    if isinstance(exponent, expression_tree.Number)
    else Fraction(1, 2)
  )
  if (
    whole.denominator != 1
    or not 1 <= abs(whole) <= _MAX_EXPONENT
    or (len(rows) != len(rows[0]) or len(rows) > 4)
  ):
    raise ArithmeticError('a power of a matrix that is not worked out.')
  base = _inverse(rows) if whole < 0 else matrix
  return functools.reduce(_multiplied, [base] * abs(whole.numerator))


def _inverse(
  rows: list[list[expression_tree.Scalar]],
) -> expression_tree.Matrix:
  """The matrix of cofactors, transposed, over the determinant."""
  size = range(len(rows))
  determinant = expression_tree.Call('det', (_like(None, rows),))

  def cofactor(row: int, column: int) -> expression_tree.Scalar:
    minor = [
      [rows[i][j] for j in size if j != column] for i in size if i != row
    ]
    value = (
      expression_tree.Call('det', (_like(None, minor),))
      if minor
      else expression_tree.integer(1)
    )
    return expression_tree.Product(
      (
        expression_tree.integer((-1) ** (row + column)),
        expression_tree.quotient(value, determinant),
      )
    )

  return _like(
    None, [[cofactor(column, row) for column in size] for row in size]
  )


def _rows(
  tree: expression_tree.Tree,
) -> list[list[expression_tree.Scalar]] | None:
  """The rows of a matrix or of a vector written (a, b, ...); None for a scalar."""
  if isinstance(tree, expression_tree.Matrix):
    rows = list(map(list, tree.rows))
  elif isinstance(tree, expression_tree.Collection) and tree.kind == 'tuple':
    rows = [list(tree.items)]
  elif isinstance(tree, expression_tree.Collection):
    raise ArithmeticError(f'arithmetic with a {tree.kind}.')
  else:
    return None
  if sum(map(len, rows)) > MAX_MATRIX_ENTRIES:
    raise ArithmeticError(f'more than {MAX_MATRIX_ENTRIES} entries.')
  return rows


def _like(
  tree: expression_tree.Tree | None, rows: list[list[expression_tree.Scalar]]
) -> expression_tree.Tree:
  if isinstance(tree, expression_tree.Collection):
    return expression_tree.Collection('tuple', tuple(rows[0]))
  return expression_tree.Matrix(tuple(map(tuple, rows)))
