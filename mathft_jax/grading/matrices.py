"""Arithmetic with matrices and vectors, carried out on trees."""

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
  if isinstance(tree, trees.Power) and trees.contains(tree.base, (trees.Matrix,)):
    return _raised(evaluated(tree.base), tree.exponent)
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
  if not isinstance(exponent, trees.Number) or not 1 <= exponent.value <= _MAX_EXPONENT or (
      exponent.value.denominator != 1 or len(rows) != len(rows[0]) or len(rows) > 4):
    raise ArithmeticError('a power of a matrix that is not worked out.')
  return functools.reduce(_multiplied, [matrix] * exponent.value.numerator)


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


def _like(tree: trees.Tree, rows: list[list[trees.Scalar]]) -> trees.Tree:
  if isinstance(tree, trees.Group):
    return trees.Group('tuple', tuple(rows[0]))
  return trees.Matrix(tuple(map(tuple, rows)))
