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

from mathft_jax.grading import scalar_keys
from mathft_jax.grading import special
from mathft_jax.grading import trees

Key = Callable[[trees.Tree], Hashable]

_FLIPPED = {'<': '>', '>': '<', '≤': '≥', '≥': '≤', '=': '=', '≠': '≠'}
_SOLVED_FOR = {frozenset('xy'): ('y', 'x'), frozenset('xyz'): ('z',)}
_FIGURES = ('angle', 'triangle', 'Delta', 'm')
_PIECEWISE = ('abs', 'floor', 'ceil', 'max', 'min', 'mod', 'sgn')  # straight lines up to a point
_NAMED_BY = ('abs', 're', 'im', 'arg', 'det', 'gcd', 'lcm', 'max', 'min', 'sin', 'cos', 'tan', 'cot',
             'sec', 'csc')  # functions of names that a definition may have on its left


def key(relation: trees.Relation, key_of: Key) -> Hashable:
  """The key of a relation."""
  if set(relation.operators) == {'='}:
    return _equation_key(relation.sides, key_of)
  if relation.operators == ('∈',):
    return key_of(relation.sides[1])
  solutions = solution_set(relation)
  if solutions is not None:
    return key_of(solutions)
  return _conditions_key(relation, key_of)


def _equation_key(sides: tuple[trees.Tree, ...], key_of: Key) -> Hashable:
  if len(sides) > 2:
    return key_of(sides[-1])
  left, right = sides
  if _names_figure(left) and _names_figure(right):  # AB = CD
    return ('equation', *scalar_keys.ratios(trees.Sum((left, trees.negative(right)))))
  if _is_value_of_names(left) and not trees.variables(right):
    return key_of(right)
  if _is_defined(left) and not (isinstance(left, trees.Symbol) and (
      left.name in trees.variables(right) or _is_defined(right))):
    return key_of(right)
  if _is_defined(right) and not _is_defined(left) and (
      not trees.variables(right) & trees.variables(left)):
    return key_of(left)
  if not _is_scalar(left) or not _is_scalar(right):
    return ('equation', frozenset((key_of(left), key_of(right))))
  difference = trees.Sum((left, trees.negative(right)))
  names = trees.variables(difference)
  if not names:
    return key_of(right)
  solution = _solved(difference, names)
  return key_of(solution) if solution else ('equation', *scalar_keys.ratios(difference))


def coordinates(group: trees.Group) -> list[trees.Tree] | None:
  """1 and 2 of `x = 1, y = 2`; None where the names are not neighbours in the alphabet."""
  values = {}
  for item in group.items:
    if not isinstance(item, trees.Relation) or item.operators != ('=',) or not isinstance(
        item.sides[0], trees.Symbol) or not _is_scalar(item.sides[1]):
      return None
    values[item.sides[0].name] = item.sides[1]
  names = sorted(values)
  if not 1 < len(names) == len(group.items) or ''.join(names) not in string.ascii_lowercase:
    return None
  return [values[name] for name in names]


def _is_defined(tree: trees.Tree) -> bool:
  """True for what a definition has on its left: x, f(x), (x, y), AB, x:y, words."""
  if isinstance(tree, trees.Symbol):
    return tree.name[0].isalpha()
  if isinstance(tree, trees.Call) and tree.function not in (*special.FUNCTIONS, 'det'):
    return True
  if isinstance(tree, trees.Group):
    return bool(tree.items) and all(isinstance(item, trees.Symbol) for item in tree.items)
  if isinstance(tree, trees.Tagged):
    return tree.tag in ('text', 'ratio')
  if isinstance(tree, trees.Call):
    return _names_figure(tree)
  return isinstance(tree, trees.Product) and (
      all(map(_names_figure, tree.factors)) or _is_applied(tree.factors[0]) or _is_derivative(tree))


def _names_figure(tree: trees.Tree) -> bool:
  """True for A, AB, |AB|, angle ABC: the names of points and figures, no variables."""
  if isinstance(tree, trees.Call) and tree.function in ('abs', 'conj'):
    return all(map(_names_figure, tree.arguments))
  if isinstance(tree, trees.Product):
    return all(map(_names_figure, tree.factors))
  if isinstance(tree, trees.Power):  # AB / CD
    return tree.exponent == trees.MINUS_ONE and _names_figure(tree.base)
  return isinstance(tree, trees.Symbol) and (tree.name[0].isupper() or tree.name in _FIGURES)


def _is_value_of_names(tree: trees.Tree) -> bool:
  """True for cos(theta), |z|, gcd(a, b)."""
  return isinstance(tree, trees.Call) and tree.function in _NAMED_BY and all(
      isinstance(argument, trees.Symbol) for argument in tree.arguments)


def _is_applied(tree: trees.Tree) -> bool:
  """True for what stands before (x) in f^{-1}(x) and (f o g)(x), which read as products."""
  if isinstance(tree, trees.Product):
    return all(map(_is_applied, tree.factors))
  if isinstance(tree, (trees.Power, trees.Degree)):
    tree = tree.base if isinstance(tree, trees.Power) else tree.value
  return isinstance(tree, trees.Symbol) and tree.name in ('f', 'g', 'h')


def _is_derivative(tree: trees.Product) -> bool:
  """True for dy / dx."""
  parts = [factor.base if isinstance(factor, trees.Power) else factor for factor in tree.factors]
  return len(parts) == 2 and all(
      isinstance(part, trees.Product) and len(part.factors) == 2
      and part.factors[0] == trees.Symbol('d') for part in parts)


def _is_scalar(tree: trees.Tree) -> bool:
  return isinstance(tree, trees.SCALARS) and not trees.contains(tree, (trees.Matrix, trees.Group))


def _solved(difference: trees.Scalar, names: set[str]) -> trees.Scalar | None:
  """What the equation difference = 0 says of its variable, of y beside x, or of z beside both."""
  for name in _SOLVED_FOR.get(frozenset(names), tuple(names) if len(names) == 1 else ()):
    solution = root(difference, name)
    if solution:
      return solution
  return None


def root(tree: trees.Scalar, name: str) -> trees.Scalar | None:
  """-b / a for a tree a * name + b with a number a; None for any other tree."""
  if trees.contains(tree, (trees.Call,)) and _has_corner(tree, name):
    return None
  def at(value: Fraction) -> trees.Scalar:
    return trees.replaced(tree, _put(name, value))
  at_zero = at(Fraction(0))
  slope = trees.Sum((at(Fraction(1)), trees.negative(at_zero)))
  try:
    for value in (Fraction(3), Fraction(-7, 3)):  # off the line that 0 and 1 show?
      bend = trees.Sum((at(value), trees.negative(at_zero), trees.Product((trees.Number(-value), slope))))
      if scalar_keys.scalar_key(bend) != 0:
        return None
    if not scalar_keys.is_nonzero_number(slope):
      return None
  except ArithmeticError:
    return None
  return trees.negative(trees.quotient(at_zero, slope))


def _has_corner(tree: trees.Tree, name: str) -> bool:
  if isinstance(tree, trees.Call) and tree.function in _PIECEWISE:
    return name in trees.variables(tree)
  return any(_has_corner(child, name) for child in trees.children(tree))


def solution_set(relation: trees.Relation) -> trees.Tree | None:
  """The interval or other set that inequalities of one variable describe; None for others."""
  sides = tuple(trees.Symbol(side.function) if isinstance(side, trees.Call) and _is_defined(side)
                else side for side in relation.sides)
  if not all(map(_is_scalar, sides)) or not set(relation.operators) <= _FLIPPED.keys():
    return None
  between = _between(sides, relation.operators)
  if between:
    return between
  names = set().union(*map(trees.variables, sides))
  if len(names) != 1:
    return None
  solutions = None
  for left, operator, right in zip(sides, relation.operators, sides[1:]):
    part = _around(left, operator, right, *names) or _half_line(
        trees.Sum((left, trees.negative(right))), operator, *names)
    if part is None:
      return None
    solutions = part if solutions is None else trees.SetOperation('∩', solutions, part)
  return solutions


def _between(sides: tuple[trees.Tree, ...], operators: tuple[str, ...]) -> trees.Interval | None:
  """The interval of `a < x <= b` with ends that may hold other variables."""
  if len(sides) != 3 or not isinstance(sides[1], trees.Symbol):
    return None
  if sides[1].name in trees.variables(sides[0]) | trees.variables(sides[2]):
    return None
  if set(operators) <= {'<', '≤'}:
    return trees.Interval(sides[0], sides[2], operators[0] == '≤', operators[1] == '≤')
  if set(operators) <= {'>', '≥'}:
    return trees.Interval(sides[2], sides[0], operators[1] == '≥', operators[0] == '≥')
  return None


def _around(left: trees.Scalar, operator: str, right: trees.Scalar, name: str) -> trees.Tree | None:
  """The solutions of |E| < c and the like, c without variables; None for any other inequality."""
  if isinstance(right, trees.Call):
    left, operator, right = right, _FLIPPED[operator], left
  if not isinstance(left, trees.Call) or left.function != 'abs' or trees.variables(right) or (
      operator in ('=', '≠')):
    return None
  inside = left.arguments[0]
  parts = [_half_line(trees.Sum((side, trees.negative(right))), operator, name)
           for side in (inside, trees.negative(inside))]
  return None if None in parts else trees.SetOperation('∩' if operator in '<≤' else '∪', *parts)


def _half_line(difference: trees.Scalar, operator: str, name: str) -> trees.Tree | None:
  """The solutions of difference <operator> 0 for a linear difference."""
  end = root(difference, name)
  if end is None:
    return None
  if operator in ('=', '≠'):
    point = trees.Group('set', (end,))
    return point if operator == '=' else trees.SetOperation('∖', trees.REALS, point)
  at_zero, at_one = (trees.replaced(difference, _put(name, Fraction(value))) for value in (0, 1))
  rising = scalar_keys.is_positive(trees.Sum((at_one, trees.negative(at_zero))))
  if rising is None:
    return None
  if (operator in '<≤') == rising:
    return trees.Interval(trees.negative(trees.INFINITY), end, False, operator in '≤≥')
  return trees.Interval(end, trees.INFINITY, operator in '≤≥', False)


def _put(name: str, value: Fraction) -> Callable[[trees.Tree], trees.Tree | None]:
  return lambda node: trees.Number(value) if node == trees.Symbol(name) else None


def _conditions_key(relation: trees.Relation, key_of: Key) -> Hashable:
  """The set of conditions between neighbouring sides, each up to a positive factor."""
  conditions = []
  for left, operator, right in zip(relation.sides, relation.operators, relation.sides[1:]):
    if operator in '>≥':
      left, operator, right = right, _FLIPPED[operator], left
    if not (_is_scalar(left) and _is_scalar(right) and operator in _FLIPPED
            and trees.variables(left) | trees.variables(right)):
      conditions.append((operator, key_of(left), key_of(right)))
      continue
    difference = trees.Sum((left, trees.negative(right)))
    conditions.append((operator, *scalar_keys.ratios(difference, signed=operator in '<≤')))
  return ('conditions', frozenset(conditions))
