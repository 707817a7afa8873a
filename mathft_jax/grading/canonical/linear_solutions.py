"""Solutions of linear equations and inequalities in one variable.

solve_linear(2 x - 6, 'x')  ->  the tree of 3
solution_set(x < 3)         ->  the tree of the interval (-infinity, 3)
"""

from fractions import Fraction

from mathft_jax.grading import expression_tree as trees
from mathft_jax.grading.canonical import definition_patterns, scalar_keys

FLIPPED_OPERATOR = {
  '<': '>',
  '>': '<',
  '≤': '≥',
  '≥': '≤',
  '=': '=',
  '≠': '≠',
}
_PIECEWISE_LINEAR = ('abs', 'floor', 'ceil', 'max', 'min', 'mod', 'sgn')
_TEST_VALUES = (Fraction(3), Fraction(-7, 3))  # of linearity, with 0 and 1


def solve_linear(tree: trees.Tree, name: str) -> trees.Tree | None:
  """Returns the solution -b / a of `tree = 0`.

  Args:
    tree: a scalar.
    name: the variable.

  Returns:
    The solution if the tree is a * name + b with a number a that is not 0; else None.
  """
  if _has_piecewise_function(tree, name):
    return None
  at_zero = _substitute(tree, name, Fraction(0))
  slope = trees.difference(_substitute(tree, name, Fraction(1)), at_zero)
  try:
    for value in _TEST_VALUES:
      at_value = _substitute(tree, name, value)
      line = trees.Product((trees.Number(-value), slope))
      deviation = trees.Sum((at_value, trees.negate(at_zero), line))
      if scalar_keys.scalar_key(deviation) != 0:
        return None
    if not scalar_keys.is_nonzero_number(slope):
      return None
  except ArithmeticError:
    return None
  return trees.negate(trees.quotient(at_zero, slope))


def _substitute(tree: trees.Tree, name: str, value: Fraction) -> trees.Tree:
  symbol, number = trees.Symbol(name), trees.Number(value)
  return trees.replace_nodes(
    tree, lambda node: number if node == symbol else None
  )


def _has_piecewise_function(tree: trees.Tree, name: str) -> bool:
  """Returns True if the tree has a piecewise linear function of the variable."""
  if isinstance(tree, trees.Call) and tree.function in _PIECEWISE_LINEAR:
    return name in trees.variable_names(tree)
  for child in trees.children(tree):
    if _has_piecewise_function(child, name):
      return True
  return False


def solution_set(relation: trees.Relation) -> trees.Tree | None:
  """Returns the set of solutions of a chain of linear inequalities of one variable.

  Returns:
    An interval or a set operation on intervals and points; None for any other relation.
  """
  sides = list(relation.sides)
  for index, side in enumerate(sides):
    if isinstance(side, trees.Call) and definition_patterns.is_definable(side):
      sides[index] = trees.Symbol(side.function)
  if not all(map(trees.is_scalar, sides)):
    return None
  if not set(relation.operators) <= FLIPPED_OPERATOR.keys():
    return None
  between = _interval_between(sides, relation.operators)
  if between:
    return between

  names = set().union(*map(trees.variable_names, sides))
  if len(names) != 1:
    return None
  (name,) = names
  solutions = None
  for left, operator, right in zip(sides, relation.operators, sides[1:]):
    part = _absolute_value_solutions(left, operator, right, name)
    if part is None:
      part = _half_line(trees.difference(left, right), operator, name)
    if part is None:
      return None
    if solutions is None:
      solutions = part
    else:
      solutions = trees.SetOperation('∩', solutions, part)
  return solutions


def _interval_between(
  sides: list[trees.Tree], operators: tuple[str, ...]
) -> trees.Interval | None:
  """Returns the interval of `a < x <= b`; the ends may have other variables."""
  if len(sides) != 3:
    return None
  low, variable, high = sides
  low_operator, high_operator = operators
  if not isinstance(variable, trees.Symbol):
    return None
  if variable.name in trees.variable_names(low) | trees.variable_names(high):
    return None
  if set(operators) <= {'>', '≥'}:
    low, high = high, low
    low_operator, high_operator = high_operator, low_operator
  elif not set(operators) <= {'<', '≤'}:
    return None
  return trees.Interval(low, high, low_operator in '≤≥', high_operator in '≤≥')


def _absolute_value_solutions(
  left: trees.Tree, operator: str, right: trees.Tree, name: str
) -> trees.Tree | None:
  """Returns the solutions of inequalities like |E| < c with a constant c; else None."""
  if isinstance(right, trees.Call):
    left, operator, right = right, FLIPPED_OPERATOR[operator], left
  if not isinstance(left, trees.Call) or left.function != 'abs':
    return None
  if trees.variable_names(right) or operator in '=≠':
    return None

  parts = []
  for side in (left.arguments[0], trees.negate(left.arguments[0])):
    part = _half_line(trees.difference(side, right), operator, name)
    if part is None:
      return None
    parts.append(part)
  return trees.SetOperation('∩' if operator in '<≤' else '∪', *parts)


def _half_line(
  difference: trees.Tree, operator: str, name: str
) -> trees.Tree | None:
  """Returns the solutions of `difference <operator> 0`; None if it is not linear."""
  end = solve_linear(difference, name)
  if end is None:
    return None
  if operator in '=≠':
    point = trees.Collection('set', (end,))
    if operator == '=':
      return point
    return trees.SetOperation('∖', trees.REAL_LINE, point)

  at_zero = _substitute(difference, name, Fraction(0))
  at_one = _substitute(difference, name, Fraction(1))
  increases = scalar_keys.is_positive(trees.difference(at_one, at_zero))
  if increases is None:
    return None
  closed = operator in '≤≥'
  if (operator in '<≤') == increases:
    return trees.Interval(trees.MINUS_INFINITY, end, False, closed)
  return trees.Interval(end, trees.INFINITY, closed, False)
