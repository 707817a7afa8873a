"""Equations and inequalities: what they define, what solves them, or what they are up to a factor.

Of `x = 5` the value counts, of a chain the last one. An equation that defines nothing is solved for
its only variable, for y (or x) in x and y, for z in x, y and z, if it is linear in it, and counts as
that definition: `2x - y + 1 = 0` is `y = 2x + 1`, and so is the right side. What is left is
`E = 0` or `E < 0`, known by the values of E at the points up to a factor (a positive one for an
inequality): terms may move, both sides may be multiplied by a number.
"""

from collections.abc import Callable, Hashable
from fractions import Fraction
import string

from mathft_jax.grading import expression_tree
from mathft_jax.grading.canonical import function_evaluation, scalar_keys

Key = Callable[[expression_tree.Tree], Hashable]

_FLIPPED = {'<': '>', '>': '<', '≤': '≥', '≥': '≤', '=': '=', '≠': '≠'}
_SOLVED_FOR = {frozenset('xy'): ('y', 'x'), frozenset('xyz'): ('z',)}
_FIGURES = ('angle', 'triangle', 'Delta', 'm')
_PIECEWISE = (
  'abs',
  'floor',
  'ceil',
  'max',
  'min',
  'mod',
  'sgn',
)  # straight lines up to a point
_NAMED_BY = (
  'abs',
  're',
  'im',
  'arg',
  'det',
  'gcd',
  'lcm',
  'max',
  'min',
  'sin',
  'cos',
  'tan',
  'cot',
  'sec',
  'csc',
)  # functions of names that a definition may have on its left


def relation_key(relation: expression_tree.Relation, key_of: Key) -> Hashable:
  """The key of a relation."""
  if set(relation.operators) == {'='}:
    return _equation_key(relation.sides, key_of)
  if relation.operators == ('∈',):
    return key_of(relation.sides[1])
  solutions = solution_set(relation)
  if solutions is not None:
    return key_of(solutions)
  return _conditions_key(relation, key_of)


def _equation_key(
  sides: tuple[expression_tree.Tree, ...], key_of: Key
) -> Hashable:
  if len(sides) > 2:
    return key_of(sides[-1])
  left, right = sides
  if _names_figure(left) and _names_figure(right):  # AB = CD
    return (
      'equation',
      *scalar_keys.ratios_to_first_nonzero(
        expression_tree.Sum((left, expression_tree.negate(right)))
      ),
    )
  if _is_value_of_names(left) and not expression_tree.variable_names(right):
    return key_of(right)
  if _is_defined(left) and not (
    isinstance(left, expression_tree.Symbol)
    and (
      left.name in expression_tree.variable_names(right) or _is_defined(right)
    )
  ):
    return key_of(right)
  if (
    _is_defined(right)
    and not _is_defined(left)
    and (
      not expression_tree.variable_names(right)
      & expression_tree.variable_names(left)
    )
  ):
    return key_of(left)
  if not _is_scalar(left) or not _is_scalar(right):
    return ('equation', frozenset((key_of(left), key_of(right))))
  difference = expression_tree.Sum((left, expression_tree.negate(right)))
  names = expression_tree.variable_names(difference)
  if not names:
    return key_of(right)
  solution = _solved(difference, names)
  return (
    key_of(solution)
    if solution
    else ('equation', *scalar_keys.ratios_to_first_nonzero(difference))
  )


def point_from_equations(
  group: expression_tree.Collection,
) -> list[expression_tree.Tree] | None:
  """1 and 2 of `x = 1, y = 2`; None where the names are not neighbours in the alphabet."""
  values = {}
  for item in group.items:
    if (
      not isinstance(item, expression_tree.Relation)
      or item.operators != ('=',)
      or not isinstance(item.sides[0], expression_tree.Symbol)
      or not _is_scalar(item.sides[1])
    ):
      return None
    values[item.sides[0].name] = item.sides[1]
  names = sorted(values)
  if (
    not 1 < len(names) == len(group.items)
    or ''.join(names) not in string.ascii_lowercase
  ):
    return None
  return [values[name] for name in names]


def _is_defined(tree: expression_tree.Tree) -> bool:
  """True for what a definition has on its left: x, f(x), (x, y), AB, x:y, words."""
  if isinstance(tree, expression_tree.Symbol):
    return tree.name[0].isalpha()
  if isinstance(tree, expression_tree.Call) and tree.function not in (
    *function_evaluation.FUNCTION_EVALUATORS,
    'det',
  ):
    return True
  if isinstance(tree, expression_tree.Collection):
    return bool(tree.items) and all(
      isinstance(item, expression_tree.Symbol) for item in tree.items
    )
  if isinstance(tree, expression_tree.TaggedValue):
    return tree.tag in ('text', 'ratio')
  if isinstance(tree, expression_tree.Call):
    return _names_figure(tree)
  return isinstance(tree, expression_tree.Product) and (
    all(map(_names_figure, tree.factors))
    or _is_applied(tree.factors[0])
    or _is_derivative(tree)
  )


def _names_figure(tree: expression_tree.Tree) -> bool:
  """True for A, AB, |AB|, angle ABC: the names of points and figures, no variables."""
  if isinstance(tree, expression_tree.Call) and tree.function in (
    'abs',
    'conj',
  ):
    return all(map(_names_figure, tree.arguments))
  if isinstance(tree, expression_tree.Product):
    return all(map(_names_figure, tree.factors))
  if isinstance(tree, expression_tree.Power):  # AB / CD
    return tree.exponent == expression_tree.MINUS_ONE and _names_figure(
      tree.base
    )
  return isinstance(tree, expression_tree.Symbol) and (
    tree.name[0].isupper() or tree.name in _FIGURES
  )


def _is_value_of_names(tree: expression_tree.Tree) -> bool:
  """True for cos(theta), |z|, gcd(a, b)."""
  return (
    isinstance(tree, expression_tree.Call)
    and tree.function in _NAMED_BY
    and all(
      isinstance(argument, expression_tree.Symbol)
      for argument in tree.arguments
    )
  )


def _is_applied(tree: expression_tree.Tree) -> bool:
  """True for what stands before (x) in f^{-1}(x) and (f o g)(x), which read as products."""
  if isinstance(tree, expression_tree.Product):
    return all(map(_is_applied, tree.factors))
  if isinstance(tree, (expression_tree.Power, expression_tree.Degrees)):
    tree = tree.base if isinstance(tree, expression_tree.Power) else tree.value
  return isinstance(tree, expression_tree.Symbol) and tree.name in (
    'f',
    'g',
    'h',
  )


def _is_derivative(tree: expression_tree.Product) -> bool:
  """True for dy / dx."""
  parts = [
    factor.base if isinstance(factor, expression_tree.Power) else factor
    for factor in tree.factors
  ]
  return len(parts) == 2 and all(
    isinstance(part, expression_tree.Product)
    and len(part.factors) == 2
    and part.factors[0] == expression_tree.Symbol('d')
    for part in parts
  )


def _is_scalar(tree: expression_tree.Tree) -> bool:
  return isinstance(
    tree, expression_tree.SCALAR_TYPES
  ) and not expression_tree.contains_type(
    tree, (expression_tree.Matrix, expression_tree.Collection)
  )


def _solved(
  difference: expression_tree.Scalar, names: set[str]
) -> expression_tree.Scalar | None:
  """What the equation difference = 0 says of its variable, of y beside x, or of z beside both."""
  for name in _SOLVED_FOR.get(
    frozenset(names), tuple(names) if len(names) == 1 else ()
  ):
    solution = solve_linear(difference, name)
    if solution:
      return solution
  return None


def solve_linear(
  tree: expression_tree.Scalar, name: str
) -> expression_tree.Scalar | None:
  """-b / a for a tree a * name + b with a number a; None for any other tree."""
  if expression_tree.contains_type(
    tree, (expression_tree.Call,)
  ) and _has_corner(tree, name):
    return None

  def at(value: Fraction) -> expression_tree.Scalar:
    return expression_tree.replace_nodes(tree, _put(name, value))

  at_zero = at(Fraction(0))
  slope = expression_tree.Sum(
    (at(Fraction(1)), expression_tree.negate(at_zero))
  )
  try:
    for value in (
      Fraction(3),
      Fraction(-7, 3),
    ):  # off the line that 0 and 1 show?
      bend = expression_tree.Sum(
        (
          at(value),
          expression_tree.negate(at_zero),
          expression_tree.Product((expression_tree.Number(-value), slope)),
        )
      )
      if scalar_keys.scalar_key(bend) != 0:
        return None
    if not scalar_keys.is_nonzero_number(slope):
      return None
  except ArithmeticError:
    return None
  return expression_tree.negate(expression_tree.quotient(at_zero, slope))


def _has_corner(tree: expression_tree.Tree, name: str) -> bool:
  if isinstance(tree, expression_tree.Call) and tree.function in _PIECEWISE:
    return name in expression_tree.variable_names(tree)
  return any(
    _has_corner(child, name) for child in expression_tree.children(tree)
  )


def solution_set(
  relation: expression_tree.Relation,
) -> expression_tree.Tree | None:
  """The interval or other set that inequalities of one variable describe; None for others."""
  sides = tuple(
    expression_tree.Symbol(side.function)
    if isinstance(side, expression_tree.Call) and _is_defined(side)
    else side
    for side in relation.sides
  )
  if (
    not all(map(_is_scalar, sides))
    or not set(relation.operators) <= _FLIPPED.keys()
  ):
    return None
  between = _between(sides, relation.operators)
  if between:
    return between
  names = set().union(*map(expression_tree.variable_names, sides))
  if len(names) != 1:
    return None
  solutions = None
  for left, operator, right in zip(sides, relation.operators, sides[1:]):
    part = _around(left, operator, right, *names) or _half_line(
      expression_tree.Sum((left, expression_tree.negate(right))),
      operator,
      *names,
    )
    if part is None:
      return None
    solutions = (
      part
      if solutions is None
      else expression_tree.SetOperation('∩', solutions, part)
    )
  return solutions


def _between(
  sides: tuple[expression_tree.Tree, ...], operators: tuple[str, ...]
) -> expression_tree.Interval | None:
  """The interval of `a < x <= b` with ends that may hold other variables."""
  if len(sides) != 3 or not isinstance(sides[1], expression_tree.Symbol):
    return None
  if sides[1].name in expression_tree.variable_names(
    sides[0]
  ) | expression_tree.variable_names(sides[2]):
    return None
  if set(operators) <= {'<', '≤'}:
    return expression_tree.Interval(
      sides[0], sides[2], operators[0] == '≤', operators[1] == '≤'
    )
  if set(operators) <= {'>', '≥'}:
    return expression_tree.Interval(
      sides[2], sides[0], operators[1] == '≥', operators[0] == '≥'
    )
  return None


def _around(
  left: expression_tree.Scalar,
  operator: str,
  right: expression_tree.Scalar,
  name: str,
) -> expression_tree.Tree | None:
  """The solutions of |E| < c and the like, c without variables; None for any other inequality."""
  if isinstance(right, expression_tree.Call):
    left, operator, right = right, _FLIPPED[operator], left
  if (
    not isinstance(left, expression_tree.Call)
    or left.function != 'abs'
    or expression_tree.variable_names(right)
    or (operator in ('=', '≠'))
  ):
    return None
  inside = left.arguments[0]
  parts = [
    _half_line(
      expression_tree.Sum((side, expression_tree.negate(right))),
      operator,
      name,
    )
    for side in (inside, expression_tree.negate(inside))
  ]
  return (
    None
    if None in parts
    else expression_tree.SetOperation('∩' if operator in '<≤' else '∪', *parts)
  )


def _half_line(
  difference: expression_tree.Scalar, operator: str, name: str
) -> expression_tree.Tree | None:
  """The solutions of difference <operator> 0 for a linear difference."""
  end = solve_linear(difference, name)
  if end is None:
    return None
  if operator in ('=', '≠'):
    point = expression_tree.Collection('set', (end,))
    return (
      point
      if operator == '='
      else expression_tree.SetOperation('∖', expression_tree.REAL_LINE, point)
    )
  at_zero, at_one = (
    expression_tree.replace_nodes(difference, _put(name, Fraction(value)))
    for value in (0, 1)
  )
  rising = scalar_keys.is_positive(
    expression_tree.Sum((at_one, expression_tree.negate(at_zero)))
  )
  if rising is None:
    return None
  if (operator in '<≤') == rising:
    return expression_tree.Interval(
      expression_tree.negate(expression_tree.INFINITY),
      end,
      False,
      operator in '≤≥',
    )
  return expression_tree.Interval(
    end, expression_tree.INFINITY, operator in '≤≥', False
  )


def _put(
  name: str, value: Fraction
) -> Callable[[expression_tree.Tree], expression_tree.Tree | None]:
  return lambda node: (
    expression_tree.Number(value)
    if node == expression_tree.Symbol(name)
    else None
  )


def _conditions_key(
  relation: expression_tree.Relation, key_of: Key
) -> Hashable:
  """The set of conditions between neighbouring sides, each up to a positive factor."""
  conditions = []
  for left, operator, right in zip(
    relation.sides, relation.operators, relation.sides[1:]
  ):
    if operator in '>≥':
      left, operator, right = right, _FLIPPED[operator], left
    if not (
      _is_scalar(left)
      and _is_scalar(right)
      and operator in _FLIPPED
      and expression_tree.variable_names(left)
      | expression_tree.variable_names(right)
    ):
      conditions.append((operator, key_of(left), key_of(right)))
      continue
    difference = expression_tree.Sum((left, expression_tree.negate(right)))
    conditions.append(
      (
        operator,
        *scalar_keys.ratios_to_first_nonzero(
          difference, signed=operator in '<≤'
        ),
      )
    )
  return ('conditions', frozenset(conditions))
