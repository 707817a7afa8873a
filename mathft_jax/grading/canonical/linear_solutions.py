"""Solutions of linear equations and inequalities in one variable.

solve_linear(2 x - 6, 'x')  ->  the tree of 3
solution_set(x < 3)         ->  the tree of the interval (-infinity, 3)
"""

from fractions import Fraction

from mathft_jax.grading.canonical import definition_patterns, scalar_keys
from mathft_jax.grading.expression_tree import (
  INFINITY,
  MINUS_INFINITY,
  REAL_LINE,
  Call,
  Collection,
  Interval,
  Number,
  Product,
  Relation,
  SetOperation,
  Sum,
  Symbol,
  Tree,
  children,
  difference,
  is_scalar,
  negate,
  quotient,
  replace_topmost_nodes,
  variable_names,
)

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


def solve_linear(tree: Tree, name: str) -> Tree | None:
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
  slope = difference(_substitute(tree, name, Fraction(1)), at_zero)
  try:
    for value in _TEST_VALUES:
      at_value = _substitute(tree, name, value)
      line = Product((Number(-value), slope))
      deviation = Sum((at_value, negate(at_zero), line))
      if scalar_keys.scalar_key(deviation) != 0:
        return None
    if not scalar_keys.is_nonzero_number(slope):
      return None
  except ArithmeticError:
    return None
  return negate(quotient(at_zero, slope))


def _substitute(tree: Tree, name: str, value: Fraction) -> Tree:
  symbol, number = Symbol(name), Number(value)
  return replace_topmost_nodes(
    tree, lambda node: number if node == symbol else None
  )


def _has_piecewise_function(tree: Tree, name: str) -> bool:
  """Returns True if the tree has a piecewise linear function of the variable."""
  if isinstance(tree, Call) and tree.function in _PIECEWISE_LINEAR:
    return name in variable_names(tree)
  for child in children(tree):
    if _has_piecewise_function(child, name):
      return True
  return False


def solution_set(relation: Relation) -> Tree | None:
  """Returns the set of solutions of a chain of linear inequalities of one variable.

  Returns:
    An interval or a set operation on intervals and points; None for any other relation.
  """
  sides = list(relation.sides)
  for index, side in enumerate(sides):
    if isinstance(side, Call) and definition_patterns.is_definable(side):
      sides[index] = Symbol(side.function)
  if not all(map(is_scalar, sides)):
    return None
  if not set(relation.operators) <= FLIPPED_OPERATOR.keys():
    return None
  between = _interval_between(sides, relation.operators)
  if between:
    return between

  names = set().union(*map(variable_names, sides))
  if len(names) != 1:
    return None
  (name,) = names
  solutions = None
  for left, operator, right in zip(sides, relation.operators, sides[1:]):
    part = _absolute_value_solutions(left, operator, right, name)
    if part is None:
      part = _half_line(difference(left, right), operator, name)
    if part is None:
      return None
    if solutions is None:
      solutions = part
    else:
      solutions = SetOperation('∩', solutions, part)
  return solutions


def _interval_between(
  sides: list[Tree], operators: tuple[str, ...]
) -> Interval | None:
  """Returns the interval of `a < x <= b`; the ends may have other variables."""
  if len(sides) != 3:
    return None
  low, variable, high = sides
  low_operator, high_operator = operators
  if not isinstance(variable, Symbol):
    return None
  if variable.name in variable_names(low) | variable_names(high):
    return None
  if set(operators) <= {'>', '≥'}:
    low, high = high, low
    low_operator, high_operator = high_operator, low_operator
  elif not set(operators) <= {'<', '≤'}:
    return None
  return Interval(low, high, low_operator in '≤≥', high_operator in '≤≥')


def _absolute_value_solutions(
  left: Tree, operator: str, right: Tree, name: str
) -> Tree | None:
  """Returns the solutions of inequalities like |E| < c with a constant c; else None."""
  if isinstance(right, Call):
    left, operator, right = right, FLIPPED_OPERATOR[operator], left
  if not isinstance(left, Call) or left.function != 'abs':
    return None
  if variable_names(right) or operator in '=≠':
    return None

  parts = []
  for side in (left.arguments[0], negate(left.arguments[0])):
    part = _half_line(difference(side, right), operator, name)
    if part is None:
      return None
    parts.append(part)
  return SetOperation('∩' if operator in '<≤' else '∪', *parts)


def _half_line(expression: Tree, operator: str, name: str) -> Tree | None:
  """Returns the solutions of `expression <operator> 0`; None if it is not linear."""
  end = solve_linear(expression, name)
  if end is None:
    return None
  if operator in '=≠':
    point = Collection('set', (end,))
    if operator == '=':
      return point
    return SetOperation('∖', REAL_LINE, point)

  at_zero = _substitute(expression, name, Fraction(0))
  at_one = _substitute(expression, name, Fraction(1))
  increases = scalar_keys.is_positive(difference(at_one, at_zero))
  if increases is None:
    return None
  closed = operator in '≤≥'
  if (operator in '<≤') == increases:
    return Interval(MINUS_INFINITY, end, False, closed)
  return Interval(end, INFINITY, closed, False)
