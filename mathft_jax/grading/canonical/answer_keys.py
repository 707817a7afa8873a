"""Canonical keys of parsed answers: two answers are equal if their keys are equal.

  tree_key(parse_answer(tokens))  ->  a hashable key

Different kinds of answers have equal keys only in these cases:

| answer | equal to |
|---|---|
| a list or set of one element | the element |
| a list | the set of its elements, in any order |
| x = 5, f(x) = 5, x in S | the right side |
| x = 1, y = 2 | the point (1, 2) |
| x^2 - 1 = (x - 1)(x + 1) | its two equal sides |
| 5 sqrt 2 ≈ 7.07 | the exact part |
| x < 3, 2 < x, x != 1 | the set of solutions, if it is an interval or a union of intervals |
| (1, 2) | both the point and the open interval |
| \\pm 2 | the list of its readings, 2 and -2 |
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
import itertools

from mathft_jax.grading.canonical import (
  interval_sets,
  matrix_arithmetic,
  relation_keys,
  scalar_keys,
)
from mathft_jax.grading.expression_tree import (
  ELLIPSIS,
  REAL_LINE,
  Call,
  Collection,
  Interval,
  Matrix,
  PlusMinus,
  Relation,
  SetOperation,
  TaggedValue,
  Tree,
  children,
  integer,
  is_scalar,
  quotient,
  replace_topmost_nodes,
)

_OTHERWISE = TaggedValue('text', ('otherwise',))
_MAX_SIGNS = 3  # independent signs of one answer
_MAX_READING_NODES = 1_500  # of all readings of one answer together


def tree_key(tree: Tree) -> Hashable:
  """Returns the key of an answer.

  Raises:
    ArithmeticError: a part of the answer has no value.
  """
  readings = _readings(tree)
  if len(readings) > 1:
    return collection_key(map(_reading_key, readings))
  return _reading_key(readings[0])


def point_key(tree: Tree) -> Hashable | None:
  """Returns the key of the point that has the items of a list without brackets; else None."""
  if not isinstance(tree, Collection) or tree.kind != 'list':
    return None
  if any(_signs(tree)) or not all(map(is_scalar, tree.items)):
    return None
  return _reading_key(Collection('tuple', tree.items))


def named_keys(tree: Tree) -> dict[str, Hashable] | None:
  """Returns the keys of the values of `M = 13, m = -3` by name; None for other answers."""
  if not isinstance(tree, Collection) or any(_signs(tree)):
    return None
  values = relation_keys.values_of_names(tree)
  if values is None:
    return None
  return {name: _reading_key(value) for name, value in values.items()}


def collection_key(keys: Iterable[Hashable]) -> Hashable:
  """Returns the key of an unordered collection; the key of its element if it has just one."""
  elements = frozenset(keys)
  if len(elements) == 1:
    (element,) = elements
    if element != interval_sets.EMPTY_SET_KEY:
      return element
  return ('set', elements)


def _reading_key(tree: Tree) -> Hashable:
  """Returns the key of a tree without free signs."""
  match tree:
    case Collection():
      return _collection_key(tree)
    case Matrix(rows):
      return ('matrix', tuple(tuple(map(tree_key, row)) for row in rows))
    case TaggedValue():
      return _tagged_key(tree)
    case Interval() | SetOperation():
      return interval_sets.set_key(tree, _reading_key)
    case Relation():
      return relation_keys.relation_key(tree, _reading_key)
  if is_scalar(tree):
    return scalar_keys.scalar_key(tree)
  result = matrix_arithmetic.evaluate_matrix_expression(tree)
  if isinstance(result, (Matrix, Collection)):
    return _reading_key(result)
  return scalar_keys.scalar_key(result)


def _collection_key(tree: Collection) -> Hashable:
  if tree.kind == 'tuple':
    return ('tuple', *map(tree_key, tree.items))
  if ELLIPSIS in tree.items:
    return ('sequence', *map(tree_key, tree.items))
  point = relation_keys.coordinates_from_equations(tree)
  if point:
    return ('tuple', *map(_reading_key, point))
  condition_set = interval_sets.set_from_conditions(tree)
  if condition_set is not None:
    return interval_sets.set_key(condition_set, _reading_key)

  keys = []
  for item in tree.items:
    keys.extend(map(_reading_key, _readings(item)))
  return collection_key(keys)


def _tagged_key(tree: TaggedValue) -> Hashable:
  operands = _trees(tree)
  if tree.tag == 'ratio':
    first, *rest = operands
    quotients = [quotient(operand, first) for operand in rest]
    return ('ratio', *map(scalar_keys.scalar_key, quotients))
  if tree.tag == 'mod':
    value, modulus = operands
    remainder = Call('mod', (value, modulus))
    return ('mod', *map(scalar_keys.scalar_key, (remainder, modulus)))
  if tree.tag in ('cases', 'piece'):
    return _cases_key(tree)
  if tree.tag == 'logic':
    operator = tree.items[0]
    operand_keys = frozenset(_formula_operand_keys(tree, operator))
    return ('logic', str(operator), operand_keys)
  if tree.tag == 'text':
    return ('text', ''.join(map(str, tree.items)))
  keys: list[Hashable] = [tree.tag]
  for item in tree.items:
    keys.append(item if isinstance(item, str) else tree_key(item))
  return tuple(keys)


def _formula_operand_keys(
  tree: Tree | str, operator: Tree | str
) -> Iterator[Hashable]:
  """Yields the keys of the operands of nested formulas with one operator."""
  if isinstance(tree, TaggedValue) and tree.items[0] == operator:
    for operand in tree.items[1:]:
      yield from _formula_operand_keys(operand, operator)
  elif not isinstance(tree, str):
    yield tree_key(tree)


def _cases_key(tree: TaggedValue) -> Hashable:
  """Returns the key of a value by cases: the set of values with their conditions."""
  pieces = [tree] if tree.tag == 'piece' else _trees(tree)
  values: list[Tree] = []
  conditions: list[Tree] = []
  for piece in pieces:
    if isinstance(piece, TaggedValue):
      value, condition = _trees(piece)
      values.append(value)
      conditions.append(condition)
  stated = [condition for condition in conditions if condition != _OTHERWISE]
  keys = set()
  for value, condition in zip(values, conditions):
    if condition == _OTHERWISE:
      condition_key = _complement_key(stated)
    else:
      condition_key = _condition_key(condition)
    keys.add((tree_key(value), condition_key))
  return ('cases', frozenset(keys))


def _trees(tree: TaggedValue) -> list[Tree]:
  return [item for item in tree.items if not isinstance(item, str)]


def _condition_key(condition: Tree) -> Hashable:
  if isinstance(condition, Relation):
    try:
      return interval_sets.set_key(condition, _reading_key)
    except ArithmeticError:
      return _reading_key(condition)
  return tree_key(condition)


def _complement_key(conditions: list[Tree]) -> Hashable:
  """Returns the key of all real numbers without those of the conditions, if it is known."""
  if not conditions or not all(isinstance(c, Relation) for c in conditions):
    return tree_key(_OTHERWISE)
  rest: Tree = REAL_LINE
  for condition in conditions:
    rest = SetOperation('∖', rest, condition)
  try:
    return interval_sets.set_key(rest, _reading_key)
  except ArithmeticError:
    return tree_key(_OTHERWISE)


def _readings(tree: Tree) -> list[Tree]:
  """Returns the trees that a tree with `\\pm` stands for.

  All signs are independent; if there is a `\\mp`, all signs have one choice.
  """
  if isinstance(tree, Collection) and tree.kind != 'tuple':
    return [tree]  # the items have readings, not the collection
  signs = set(_signs(tree))
  if not signs:
    return [tree]
  is_shared = any(sign.flipped for sign in signs)
  occurrences = [0]
  if not is_shared:
    occurrences = sorted({sign.occurrence for sign in signs})
  if len(occurrences) > _MAX_SIGNS:
    raise ArithmeticError(
      f'The answer has {len(occurrences)} independent signs; at most {_MAX_SIGNS} are supported.'
    )

  num_nodes = _count_nodes(tree) << len(occurrences)
  if num_nodes > _MAX_READING_NODES:
    raise ArithmeticError(
      f'The readings of the answer have {num_nodes} nodes; at most {_MAX_READING_NODES} are '
      'supported.'
    )

  readings = []
  for values in itertools.product((1, -1), repeat=len(occurrences)):
    sign_of = dict(zip(occurrences, values))
    readings.append(_with_signs(tree, sign_of, is_shared))
  return readings


def _with_signs(
  tree: Tree, sign_of: Mapping[int, int], is_shared: bool
) -> Tree:
  def replace(node: Tree) -> Tree | None:
    if not isinstance(node, PlusMinus):
      return None
    sign = sign_of[0 if is_shared else node.occurrence]
    return integer(-sign if node.flipped else sign)

  return replace_topmost_nodes(tree, replace)


def _count_nodes(tree: Tree) -> int:
  return 1 + sum(map(_count_nodes, children(tree)))


def _signs(tree: Tree) -> Iterator[PlusMinus]:
  if isinstance(tree, PlusMinus):
    yield tree
  for child in children(tree):
    yield from _signs(child)
