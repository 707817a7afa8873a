"""Canonical keys of equations and inequalities.

- A definition `x = 5` has the key of its value; a chain has the key of its last value.
- An equation that defines nothing is solved for its only variable, for y or x if it has both, for z
  if it has x, y and z. If it is linear in that variable, it has the key of the solution:
  `2x - y + 1 = 0`, `y = 2x + 1` and `2x + 1` are equal.
- An inequality of one variable has the key of its solution set.
- An identity, such as `x^2 - 1 = (x - 1)(x + 1)`, has the key of its two equal sides.
- A series or integral that is equated with its closed form has the key of the closed form.
- Of `exact ≈ decimal` the exact part counts.
- Any other relation between scalars is `E = 0` or `E < 0`. The ratios of the sample values of E are
  its key, so terms may be moved and both sides may be multiplied by a number (a positive one for
  `<`).
- Other one-way relations keep their order; `A ⊃ B` is `B ⊂ A`.
"""

from collections.abc import Callable, Hashable
import string

from mathft_jax.grading.canonical import linear_solutions, scalar_keys
from mathft_jax.grading.canonical.definition_patterns import (
  is_definable,
  is_figure_name,
  is_function_of_names,
)
from mathft_jax.grading.canonical.sympy_closed_forms import SYMBOLIC_OPERATORS
from mathft_jax.grading.expression_tree import (
  ELLIPSIS,
  Call,
  Collection,
  Relation,
  Sum,
  Symbol,
  TaggedValue,
  Tree,
  difference,
  is_literal,
  is_scalar,
  variable_names,
)

KeyFunction = Callable[[Tree], Hashable]

# Relation -> the same relation read from right to left.
_MIRRORED = dict(zip('>≥∋←≫⊃⊇≻⪰≳⊳', '<≤∈→≪⊂⊆≺⪯≲⊲'))
_SYMMETRIC = frozenset('≠⇔∝∼≅∥⊥≢∦≁≇')

_SOLVED_FOR = {frozenset('xy'): ('y', 'x'), frozenset('xyz'): ('z',)}


def relation_key(relation: Relation, key_of: KeyFunction) -> Hashable:
  """Returns the key of a relation.

  Args:
    relation: an equation, an inequality, a membership or a chain of them.
    key_of: returns the key of any tree.
  """
  if '≈' in relation.operators:
    return key_of(_exact_part(relation))
  if relation.operators == ('↦',):
    return _map_key(relation.sides[0], relation.sides[1], key_of)
  if set(relation.operators) == {'='}:
    *others, last = relation.sides
    if len(others) > 1:
      return key_of(last)
    return _equation_key(others[0], last, key_of)
  if relation.operators == ('∈',):
    return key_of(relation.sides[1])
  solutions = linear_solutions.solution_set(relation)
  if solutions is not None:
    return key_of(solutions)
  return _conditions_key(relation, key_of)


def _equation_key(left: Tree, right: Tree, key_of: KeyFunction) -> Hashable:
  expression = difference(left, right)
  if is_figure_name(left) and is_figure_name(right):  # AB = CD
    if scalar_keys.is_zero(expression):
      return key_of(right)
    return ('equation', *scalar_keys.ratios_to_first_nonzero(expression))

  left_names = variable_names(left)
  right_names = variable_names(right)
  if is_function_of_names(left) and not right_names:
    return key_of(right)
  if isinstance(right, TaggedValue) and right.tag == 'cases':
    return key_of(right)
  if is_definable(left):
    is_symbol = isinstance(left, Symbol)
    is_circular = is_symbol and left.name in right_names
    if not is_circular and not (is_symbol and is_definable(right)):
      return key_of(right)
  elif is_definable(right) and left_names.isdisjoint(right_names):
    return key_of(left)

  if _is_series_of(left, right_names):
    return key_of(right)
  if _is_series_of(right, left_names):
    return key_of(left)
  if not is_scalar(left) or not is_scalar(right):
    return ('equation', frozenset((key_of(left), key_of(right))))
  names = left_names | right_names
  if not names:
    return key_of(right)
  if scalar_keys.is_zero(expression):  # an identity has the key of its sides
    return key_of(right)
  solution = _solve_for_default_variable(expression, names)
  if solution:
    return key_of(solution)
  return ('equation', *scalar_keys.ratios_to_first_nonzero(expression))


def _is_series_of(tree: Tree, names: set[str]) -> bool:
  """Returns True for a series or integral of these variables, whose closed form is the answer."""
  if isinstance(tree, Call):
    is_series = tree.function in SYMBOLIC_OPERATORS
  else:
    is_series = isinstance(tree, Sum) and ELLIPSIS in tree.terms
  return is_series and bool(names) and names <= variable_names(tree)


def _exact_part(relation: Relation) -> Tree:
  """Returns the part of a chain with `≈` that counts: the exact value, not the rounded decimal.

  A decimal counts if the other parts are a name (`x ≈ 3.14`) or have variables.
  """
  parts = _parts_between_approximations(relation)
  values = [_value_of_part(part) for part in parts]
  exact, literals = [], []
  for part, value in zip(parts, values):
    (literals if is_literal(value) else exact).append(part)
  definition = exact[0] if exact and exact[0] is parts[0] else None
  if definition is not None and not isinstance(definition, Relation):
    names_value = is_definable(definition) or is_function_of_names(definition)
    if names_value and len(parts) > 1:
      rest = exact[1:] or literals
      return Relation((definition, rest[0]), ('=',))
  for part in exact:
    if not literals or not variable_names(_value_of_part(part)):
      return part
  return (literals or exact)[0]


def _parts_between_approximations(relation: Relation) -> list[Tree]:
  parts: list[Tree] = []
  sides, operators = [relation.sides[0]], []
  for operator, side in zip(
    (*relation.operators, '≈'), (*relation.sides[1:], None)
  ):
    if operator == '≈':
      is_single = len(sides) == 1
      part = Relation(tuple(sides), tuple(operators))
      parts.append(sides[0] if is_single else part)
      sides, operators = [], []
    else:
      operators.append(operator)
    if side is not None:
      sides.append(side)
  return parts


def _value_of_part(part: Tree) -> Tree:
  return part.sides[-1] if isinstance(part, Relation) else part


def _map_key(left: Tree, right: Tree, key_of: KeyFunction) -> Hashable:
  """Returns the key of `x ↦ x^2` or `f: x ↦ x^2`: the expression, if it has the variable."""
  variable = left
  if isinstance(left, TaggedValue) and left.tag == 'ratio':
    variable = left.items[-1]
  if isinstance(variable, Symbol) and variable.name in variable_names(right):
    return key_of(right)
  return ('↦', key_of(left), key_of(right))


def _solve_for_default_variable(
  expression: Tree, names: set[str]
) -> Tree | None:
  candidates = names if len(names) == 1 else ()
  for name in _SOLVED_FOR.get(frozenset(names), candidates):
    solution = linear_solutions.solve_linear(expression, name)
    if solution:
      return solution
  return None


def coordinates_from_equations(
  collection: Collection,
) -> list[Tree] | None:
  """Returns the coordinates 1 and 2 of `x = 1, y = 2`.

  None if an item is no such equation, or if the names are not consecutive letters.
  """
  values = values_of_names(collection)
  if not values:
    return None
  names = sorted(values)
  if ''.join(names) not in string.ascii_lowercase:
    return None
  return [values[name] for name in names]


def values_of_names(collection: Collection) -> dict[str, Tree] | None:
  """Returns the values of `M = 13, m = -3` by name; None if an item is no such equation."""
  values: dict[str, Tree] = {}
  for item in collection.items:
    if not isinstance(item, Relation) or item.operators != ('=',):
      return None
    variable, value = item.sides
    if not isinstance(variable, Symbol) or not is_scalar(value):
      return None
    values[variable.name] = value
  return values if 1 < len(values) == len(collection.items) else None


def _conditions_key(relation: Relation, key_of: KeyFunction) -> Hashable:
  """Returns the set of conditions between adjacent sides, each up to a positive factor."""
  conditions = set()
  sides = relation.sides
  for left, operator, right in zip(sides, relation.operators, sides[1:]):
    if operator in _MIRRORED:
      operator = _MIRRORED[operator]
      left, right = right, left
    expression = difference(left, right)
    if (
      operator in linear_solutions.FLIPPED_OPERATOR
      and is_scalar(left)
      and is_scalar(right)
      and variable_names(expression)
    ):
      ratios = scalar_keys.ratios_to_first_nonzero(
        expression, signed=operator in '<≤'
      )
      conditions.add((operator, *ratios))
    elif operator in _SYMMETRIC:
      conditions.add((operator, frozenset((key_of(left), key_of(right)))))
    else:
      conditions.add((operator, key_of(left), key_of(right)))
  return ('conditions', frozenset(conditions))
