"""Sets of real numbers: unions, intersections and differences of intervals and points.

The ends of all intervals cut the line into pieces, ends and the open stretches between them. A set is
a set of pieces; its runs of neighbouring pieces are its canonical form.
"""

from collections.abc import Callable, Hashable, Iterable
from fractions import Fraction

from mathft_jax.grading import expression_tree
from mathft_jax.grading.canonical import relation_keys, scalar_keys

Key = Callable[[expression_tree.Tree], Hashable]
Pieces = frozenset[int]  # 2 i + 1 is the i-th end, 2 i the stretch before it

_COMBINE = {
  '∪': frozenset.union,
  '∩': frozenset.intersection,
  '∖': frozenset.difference,
}
_MINUS_INFINITY = expression_tree.negate(expression_tree.INFINITY)


def set_key(tree: expression_tree.Tree, key_of: Key) -> Hashable:
  """The key of an interval or of an operation on sets."""
  tree = _with_solutions(tree)
  if isinstance(tree, expression_tree.Interval):
    return _interval_key(tree, key_of)
  ends = _ends(tree, key_of)
  if ends is None:
    return _symbolic_key(tree, key_of)
  members = _members(
    tree, {end_key: index for index, (_, end_key) in enumerate(ends)}, key_of
  )
  return _runs_key(members, [end_key for _, end_key in ends], key_of)


def set_from_conditions(
  group: expression_tree.Collection,
) -> expression_tree.Tree | None:
  """The set that a list of conditions on one variable describes: where all hold, else where any."""
  conditions = [
    item
    for item in group.items
    if isinstance(item, expression_tree.Relation) and '=' not in item.operators
  ]
  names = [
    expression_tree.variable_names(item.sides[0])
    | (set() if '∈' in item.operators else expression_tree.variable_names(item))
    for item in conditions
  ]
  if (
    not 0 < len(conditions) <= _MAX_CONDITIONS
    or len(conditions) < len(group.items)
    or any(len(name) != 1 or name != names[0] for name in names)
  ):
    return None
  sets = [
    condition.sides[1]
    if condition.operators == ('∈',)
    else relation_keys.solution_set(condition)
    for condition in conditions
  ]
  if None in sets:
    return None
  everywhere, anywhere = sets[0], sets[0]
  for other in sets[1:]:
    everywhere = expression_tree.SetOperation('∩', everywhere, other)
    anywhere = expression_tree.SetOperation('∪', anywhere, other)
  is_empty = set_key(everywhere, lambda tree: tree) == _EMPTY
  return anywhere if is_empty else everywhere


_MAX_CONDITIONS = 60  # they nest
_EMPTY = ('set', frozenset())


def _with_solutions(tree: expression_tree.Tree) -> expression_tree.Tree:
  """The tree with inequalities and equations as sets, if they are of one variable."""
  names: set[str] = set()

  def solve(node: expression_tree.Tree) -> expression_tree.Tree | None:
    if not isinstance(node, expression_tree.Relation):
      return None
    names.update(
      expression_tree.variable_names(node.sides[0])
      or expression_tree.variable_names(node.sides[-1])
    )
    if node.operators == ('∈',):
      return node.sides[1]
    solutions = relation_keys.solution_set(node)
    if solutions is None or len(names) > 1:
      raise ArithmeticError('conditions on several variables.')
    return _with_solutions(solutions)

  return expression_tree.replace_nodes(tree, solve)


def _interval_key(tree: expression_tree.Interval, key_of: Key) -> Hashable:
  """A tuple of its ends when both are open: `(1, 2)` is written for the point as well."""
  ends, closed = (
    (key_of(tree.low), key_of(tree.high)),
    (tree.low_closed, tree.high_closed),
  )
  if all(closed) and ends[0] == ends[1]:
    return ends[0]
  return ('interval', *ends, *closed) if any(closed) else ('tuple', *ends)


def _leaves(tree: expression_tree.Tree) -> Iterable[expression_tree.Tree]:
  if isinstance(tree, expression_tree.SetOperation):
    yield from _leaves(tree.left)
    yield from _leaves(tree.right)
  else:
    yield tree


def _bounds(
  leaf: expression_tree.Tree,
) -> tuple[expression_tree.Tree, ...] | None:
  """The ends of an interval or the points of a finite set; None for anything else."""
  if isinstance(leaf, expression_tree.Interval):
    includes_infinity = (
      leaf.low_closed
      and leaf.low == _MINUS_INFINITY
      or leaf.high_closed
      and leaf.high == expression_tree.INFINITY
    )
    return None if includes_infinity else (leaf.low, leaf.high)
  if isinstance(leaf, expression_tree.Collection) and (
    leaf.kind != 'tuple' or len(leaf.items) == 2
  ):
    return leaf.items
  return None


def _ends(
  tree: expression_tree.Tree, key_of: Key
) -> list[tuple[Fraction, Hashable]] | None:
  """Values and keys of all finite ends in order; None when one is no real number."""
  ends: dict[Hashable, Fraction] = {}
  for leaf in _leaves(tree):
    bounds = _bounds(leaf)
    if bounds is None:
      return None
    for side, bound in enumerate(bounds):
      if (
        not isinstance(leaf, expression_tree.Collection) or leaf.kind == 'tuple'
      ):
        if bound == (expression_tree.INFINITY if side else _MINUS_INFINITY):
          continue
      if not isinstance(
        bound, expression_tree.SCALAR_TYPES
      ) or expression_tree.contains_type(
        bound, (expression_tree.Matrix, expression_tree.Collection)
      ):
        return None
      value = scalar_keys.real_value(bound)
      if value is None:
        return None
      ends[scalar_keys.scalar_key(bound)] = value
  return sorted(
    ((value, end_key) for end_key, value in ends.items()),
    key=lambda end: end[0],
  )


def _members(
  tree: expression_tree.Tree, order: dict[Hashable, int], key_of: Key
) -> Pieces:
  if isinstance(tree, expression_tree.SetOperation):
    left, right = (
      _members(side, order, key_of) for side in (tree.left, tree.right)
    )
    return _COMBINE[tree.operator](left, right)
  if isinstance(tree, expression_tree.Collection) and tree.kind != 'tuple':
    return frozenset(
      2 * order[scalar_keys.scalar_key(item)] + 1 for item in tree.items
    )
  low, high = _bounds(tree)
  start = (
    0 if low == _MINUS_INFINITY else 2 * order[scalar_keys.scalar_key(low)] + 1
  )
  stop = (
    2 * len(order)
    if high == expression_tree.INFINITY
    else 2 * order[scalar_keys.scalar_key(high)] + 1
  )
  closed = (
    (tree.low_closed, tree.high_closed)
    if isinstance(tree, expression_tree.Interval)
    else (False, False)
  )
  start += start % 2 and not closed[0]
  stop -= stop % 2 and not closed[1]
  return frozenset(range(start, stop + 1))


def _runs_key(members: Pieces, ends: list[Hashable], key_of: Key) -> Hashable:
  """The key of a set of pieces: its points and maximal intervals."""
  points, intervals = [], []
  for start in sorted(piece for piece in members if piece - 1 not in members):
    stop = start
    while stop + 1 in members:
      stop += 1
    if start == stop and start % 2:
      points.append(ends[start // 2])
      continue
    low = ends[(start - 1) // 2] if start else key_of(_MINUS_INFINITY)
    high = (
      ends[stop // 2]
      if stop < 2 * len(ends)
      else key_of(expression_tree.INFINITY)
    )
    closed = bool(start % 2), bool(stop % 2)
    intervals.append(
      ('interval', low, high, *closed) if any(closed) else ('tuple', low, high)
    )
  if not intervals:
    return points[0] if len(points) == 1 else ('set', frozenset(points))
  parts = frozenset((*points, *intervals))
  return intervals[0] if len(parts) == 1 else ('union', parts)


def _symbolic_key(tree: expression_tree.Tree, key_of: Key) -> Hashable:
  """Operations on finite sets of any elements; otherwise what is written."""
  if not isinstance(tree, expression_tree.SetOperation):
    return key_of(tree)
  if tree.operator == '∪':
    leaves = list(_leaves(tree))
    if all(
      isinstance(leaf, (expression_tree.Interval, expression_tree.Collection))
      for leaf in leaves
    ) and not any(
      isinstance(leaf, expression_tree.Collection) and leaf.kind != 'tuple'
      for leaf in leaves
    ):
      return ('union', frozenset(map(key_of, leaves)))
  sides = [_elements(side, key_of) for side in (tree.left, tree.right)]
  if None not in sides:
    elements = _COMBINE[tree.operator](*sides)
    return next(iter(elements)) if len(elements) == 1 else ('set', elements)
  return (tree.operator, key_of(tree.left), key_of(tree.right))


def _elements(
  tree: expression_tree.Tree, key_of: Key
) -> frozenset[Hashable] | None:
  if isinstance(tree, expression_tree.Collection) and tree.kind != 'tuple':
    return frozenset(map(key_of, tree.items))
  if isinstance(tree, expression_tree.SetOperation):
    sides = [_elements(side, key_of) for side in (tree.left, tree.right)]
    return None if None in sides else _COMBINE[tree.operator](*sides)
  return None
