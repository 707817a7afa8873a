"""Canonical keys of sets of real numbers: unions, intersections and differences of intervals.

The sorted endpoints e_0 < e_1 < ... of all intervals divide the real line into pieces: piece
2 i + 1 is the endpoint e_i, and piece 2 i is the open gap before it. The key of a set lists its
maximal runs of consecutive pieces, which are points and intervals.
"""

from collections.abc import Hashable, Iterator
from fractions import Fraction

from mathft_jax.grading.canonical import linear_solutions, scalar_keys
from mathft_jax.grading.canonical.relation_keys import KeyFunction
from mathft_jax.grading.expression_tree import (
  INFINITY,
  MINUS_INFINITY,
  Collection,
  Interval,
  Relation,
  SetOperation,
  Tree,
  is_scalar,
  replace_topmost_nodes,
  variable_names,
)

EMPTY_SET_KEY = ('set', frozenset())
_MAX_CONDITIONS = 60  # nesting depth of the intersection
_COMBINE = {
  '∪': frozenset.union,
  '∩': frozenset.intersection,
  '∖': frozenset.difference,
}

Endpoint = tuple[Fraction, Hashable]  # value and key


def set_key(tree: Tree, key_of: KeyFunction) -> Hashable:
  """Returns the key of an interval or of a set operation.

  Args:
    tree: the set; conditions on one variable, as `x < 3`, are replaced by their solutions.
    key_of: returns the key of any tree.

  Raises:
    ArithmeticError: conditions are on several variables or cannot be solved.
  """
  tree = _replace_conditions(tree)
  if isinstance(tree, Interval):
    return _interval_key(tree, key_of)
  endpoints = _sorted_endpoints(tree)
  if endpoints is None:
    return _symbolic_set_key(tree, key_of)
  endpoint_keys = [key for _, key in endpoints]
  index_of = {key: index for index, key in enumerate(endpoint_keys)}
  return _pieces_key(_pieces(tree, index_of), endpoint_keys, key_of)


def set_from_conditions(collection: Collection) -> Tree | None:
  """Returns the set that a list of conditions on one variable describes.

  It is the intersection of the conditions or, if that is empty, their union. None if an item is no
  such condition.
  """
  if not 0 < len(collection.items) <= _MAX_CONDITIONS:
    return None
  names = set()
  conditions = []
  for item in collection.items:
    if not isinstance(item, Relation) or '=' in item.operators:
      return None
    item_names = variable_names(item.sides[0])
    if '∈' not in item.operators:
      item_names |= variable_names(item)
    names = names or item_names
    if len(item_names) != 1 or item_names != names:
      return None
    conditions.append(item)

  sets = []
  for condition in conditions:
    solutions = _solutions_of(condition)
    if solutions is None:
      return None
    sets.append(solutions)

  intersection, union = sets[0], sets[0]
  for other in sets[1:]:
    intersection = SetOperation('∩', intersection, other)
    union = SetOperation('∪', union, other)
  is_empty = set_key(intersection, lambda tree: tree) == EMPTY_SET_KEY
  return union if is_empty else intersection


def _solutions_of(relation: Relation) -> Tree | None:
  if relation.operators == ('∈',):
    return relation.sides[1]
  return linear_solutions.solution_set(relation)


def _replace_conditions(tree: Tree) -> Tree:
  """Returns the tree with inequalities and equations of one variable replaced by sets."""
  names = set()

  def solve(node: Tree) -> Tree | None:
    if not isinstance(node, Relation):
      return None
    left_names = variable_names(node.sides[0])
    names.update(left_names or variable_names(node.sides[-1]))
    solutions = _solutions_of(node)
    if node.operators == ('∈',):
      return solutions
    if solutions is None or len(names) > 1:
      raise ArithmeticError('Conditions on several variables.')
    return _replace_conditions(solutions)

  return replace_topmost_nodes(tree, solve)


def _interval_key(tree: Interval, key_of: KeyFunction) -> Hashable:
  """An open interval has the key of a tuple, because `(1, 2)` may also be a point."""
  low, high = key_of(tree.low), key_of(tree.high)
  if tree.low_closed and tree.high_closed and low == high:
    return low
  if tree.low_closed or tree.high_closed:
    return ('interval', low, high, tree.low_closed, tree.high_closed)
  return ('tuple', low, high)


def _operands(tree: Tree) -> Iterator[Tree]:
  """Yields the sets that the operations of a tree combine."""
  if isinstance(tree, SetOperation):
    yield from _operands(tree.left)
    yield from _operands(tree.right)
  else:
    yield tree


def _is_finite_set(tree: Tree) -> bool:
  return isinstance(tree, Collection) and tree.kind != 'tuple'


def _bounds(operand: Tree) -> tuple[Tree, ...] | None:
  """Returns the ends of an interval or the points of a finite set; None for anything else."""
  if isinstance(operand, Collection):
    is_interval = operand.kind == 'tuple' and len(operand.items) == 2
    return operand.items if is_interval or _is_finite_set(operand) else None
  if not isinstance(operand, Interval):
    return None
  includes_minus_infinity = operand.low_closed and operand.low == MINUS_INFINITY
  includes_infinity = operand.high_closed and operand.high == INFINITY
  if includes_minus_infinity or includes_infinity:
    return None
  return operand.low, operand.high


def _sorted_endpoints(tree: Tree) -> list[Endpoint] | None:
  """Returns the finite endpoints in order; None if one of them is no real number."""
  values = {}
  for operand in _operands(tree):
    bounds = _bounds(operand)
    if bounds is None:
      return None
    for index, bound in enumerate(bounds):
      infinity = INFINITY if index else MINUS_INFINITY
      if bound == infinity and not _is_finite_set(operand):
        continue
      value = scalar_keys.real_value(bound) if is_scalar(bound) else None
      if value is None:
        return None
      values[scalar_keys.scalar_key(bound)] = value
  endpoints = [(value, key) for key, value in values.items()]
  return sorted(endpoints, key=lambda endpoint: endpoint[0])


def _pieces(tree: Tree, index_of: dict[Hashable, int]) -> frozenset[int]:
  """Returns the pieces of the real line that a set consists of."""
  if isinstance(tree, SetOperation):
    left = _pieces(tree.left, index_of)
    right = _pieces(tree.right, index_of)
    return _COMBINE[tree.operator](left, right)

  bounds = _bounds(tree)
  assert bounds is not None  # _sorted_endpoints has checked it
  if _is_finite_set(tree):
    points = []
    for bound in bounds:
      points.append(2 * index_of[scalar_keys.scalar_key(bound)] + 1)
    return frozenset(points)

  low, high = bounds
  first, last = 0, 2 * len(index_of)
  is_interval = isinstance(tree, Interval)
  if low != MINUS_INFINITY:
    first = 2 * index_of[scalar_keys.scalar_key(low)] + 1
    if not (is_interval and tree.low_closed):
      first += 1
  if high != INFINITY:
    last = 2 * index_of[scalar_keys.scalar_key(high)] + 1
    if not (is_interval and tree.high_closed):
      last -= 1
  return frozenset(range(first, last + 1))


def _pieces_key(
  pieces: frozenset[int], endpoint_keys: list[Hashable], key_of: KeyFunction
) -> Hashable:
  """Returns the key of a set of pieces: its points and maximal intervals."""
  points, intervals = [], []
  for first in sorted(pieces):
    if first - 1 in pieces:
      continue  # inside of a run
    last = first
    while last + 1 in pieces:
      last += 1
    low_closed, high_closed = bool(first % 2), bool(last % 2)
    if first == last and low_closed:
      points.append(endpoint_keys[first // 2])
      continue

    if first:
      low = endpoint_keys[(first - 1) // 2]
    else:
      low = key_of(MINUS_INFINITY)
    if last < 2 * len(endpoint_keys):
      high = endpoint_keys[last // 2]
    else:
      high = key_of(INFINITY)
    if low_closed or high_closed:
      intervals.append(('interval', low, high, low_closed, high_closed))
    else:
      intervals.append(('tuple', low, high))

  if not intervals:
    return points[0] if len(points) == 1 else ('set', frozenset(points))
  parts = frozenset((*points, *intervals))
  return intervals[0] if len(parts) == 1 else ('union', parts)


def _symbolic_set_key(tree: Tree, key_of: KeyFunction) -> Hashable:
  """Returns the key of an operation on finite sets of any elements; else of what is written."""
  if not isinstance(tree, SetOperation):
    return key_of(tree)
  operands = list(_operands(tree))
  if tree.operator == '∪' and all(map(_is_interval, operands)):
    return ('union', frozenset(map(key_of, operands)))
  elements = _finite_elements(tree, key_of)
  if elements is not None:
    return next(iter(elements)) if len(elements) == 1 else ('set', elements)
  if tree.operator == '∖':
    return (tree.operator, key_of(tree.left), key_of(tree.right))
  return (tree.operator, frozenset(_operand_keys(tree, tree.operator, key_of)))


def _operand_keys(
  tree: Tree, operator: str, key_of: KeyFunction
) -> Iterator[Hashable]:
  """Yields the keys of the operands of nested unions, or of nested intersections."""
  if isinstance(tree, SetOperation) and tree.operator == operator:
    yield from _operand_keys(tree.left, operator, key_of)
    yield from _operand_keys(tree.right, operator, key_of)
  else:
    yield key_of(tree)


def _is_interval(tree: Tree) -> bool:
  types = (Interval, Collection)
  return isinstance(tree, types) and not _is_finite_set(tree)


def _finite_elements(
  tree: Tree, key_of: KeyFunction
) -> frozenset[Hashable] | None:
  """Returns the keys of the elements of a finite set; None for any other set."""
  if isinstance(tree, SetOperation):
    left = _finite_elements(tree.left, key_of)
    right = _finite_elements(tree.right, key_of)
    if left is None or right is None:
      return None
    return _COMBINE[tree.operator](left, right)
  if isinstance(tree, Collection) and tree.kind != 'tuple':
    return frozenset(map(key_of, tree.items))
  return None
