"""The key of a tree: equal keys are what equal answers means.

Kinds meet only here and only so:

  a list, a set              an unordered collection; of one element: the element
  x = 5, f(x) = 5, x in S    what stands on the right
  x = 1, y = 2               the point (1, 2)
  x < 3, 2 < x, x != 1       the set of solutions, where it is an interval or a union
  (1, 2)                     at once the point and the open interval
  \\pm                        the list of its readings
"""

from collections.abc import Hashable, Iterable
import itertools

from mathft_jax.grading import expression_tree
from mathft_jax.grading.canonical import (
  interval_sets,
  matrix_arithmetic,
  relation_keys,
  scalar_keys,
)

_MAX_SIGNS = 3  # independent choices of one answer


def tree_key(tree: expression_tree.Tree) -> Hashable:
  """The key of an answer; raises ArithmeticError when a part of it has no value."""
  readings = _readings(tree)
  if len(readings) > 1:
    return collection_key(map(_key, readings))
  return _key(readings[0])


def _key(tree: expression_tree.Tree) -> Hashable:
  return _KEYS.get(type(tree), _scalar_key)(tree)


def _scalar_key(tree: expression_tree.Scalar) -> Hashable:
  if expression_tree.contains_type(
    tree, (expression_tree.Matrix, expression_tree.Collection)
  ):
    tree = matrix_arithmetic.evaluate_matrix_expression(tree)
    if isinstance(tree, (expression_tree.Matrix, expression_tree.Collection)):
      return _key(tree)
  return scalar_keys.scalar_key(tree)


def collection_key(keys: Iterable[Hashable]) -> Hashable:
  """The key of an unordered collection; that of its element when it has just one."""
  elements = frozenset(keys)
  if len(elements) != 1:
    return ('set', elements)
  (element,) = elements
  return ('set', elements) if element == _EMPTY else element


_EMPTY = ('set', frozenset())


def _group_key(tree: expression_tree.Collection) -> Hashable:
  if tree.kind == 'tuple':
    return ('tuple', *map(tree_key, tree.items))
  if expression_tree.ELLIPSIS in tree.items:
    return ('sequence', *map(tree_key, tree.items))
  point = relation_keys.point_from_equations(tree)
  if point:
    return ('tuple', *map(_key, point))
  conditions = interval_sets.set_from_conditions(tree)
  if conditions is not None:
    return interval_sets.set_key(conditions, _key)
  return collection_key(
    _key(reading) for item in tree.items for reading in _readings(item)
  )


def _readings(tree: expression_tree.Tree) -> list[expression_tree.Tree]:
  """The trees that a tree with `\\pm` stands for: all signs are free, unless there is a `\\mp`."""
  if isinstance(tree, expression_tree.Collection) and tree.kind != 'tuple':
    return [tree]  # each item has its own
  signs = set(_signs(tree))
  if not signs:
    return [tree]
  together = any(sign.flipped for sign in signs)
  occurrences = sorted({0 if together else sign.occurrence for sign in signs})
  if len(occurrences) > _MAX_SIGNS:
    raise ArithmeticError(f'{len(occurrences)} choices of signs.')
  readings = []
  for choice in itertools.product((1, -1), repeat=len(occurrences)):
    chosen = dict(zip(occurrences, choice))

    def number(node, chosen=chosen):
      if not isinstance(node, expression_tree.PlusMinus):
        return None
      sign = chosen[0 if together else node.occurrence]
      return expression_tree.integer(-sign if node.flipped else sign)

    readings.append(expression_tree.replace_nodes(tree, number))
  return readings


def _signs(tree: expression_tree.Tree) -> Iterable[expression_tree.PlusMinus]:
  if isinstance(tree, expression_tree.PlusMinus):
    yield tree
  for child in expression_tree.children(tree):
    yield from _signs(child)


def _matrix_key(tree: expression_tree.Matrix) -> Hashable:
  rows = tuple(tuple(map(tree_key, row)) for row in tree.rows)
  return ('matrix', rows)


def _tagged_key(tree: expression_tree.TaggedValue) -> Hashable:
  if tree.tag == 'ratio':
    first, *rest = tree.items
    return (
      'ratio',
      *(
        scalar_keys.scalar_key(expression_tree.quotient(part, first))
        for part in rest
      ),
    )
  if tree.tag == 'mod':
    value, modulus = tree.items
    remainder = expression_tree.Call('mod', (value, modulus))
    return (
      'mod',
      scalar_keys.scalar_key(remainder),
      scalar_keys.scalar_key(modulus),
    )
  if tree.tag == 'text':
    return ('text', ''.join(tree.items))
  return (
    tree.tag,
    *(item if isinstance(item, str) else tree_key(item) for item in tree.items),
  )


def _set_key(tree: expression_tree.Tree) -> Hashable:
  return interval_sets.set_key(tree, _key)


def _relation_key(tree: expression_tree.Relation) -> Hashable:
  return relation_keys.relation_key(tree, _key)


_KEYS = {
  expression_tree.Collection: _group_key,
  expression_tree.Matrix: _matrix_key,
  expression_tree.TaggedValue: _tagged_key,
  expression_tree.Interval: _set_key,
  expression_tree.SetOperation: _set_key,
  expression_tree.Relation: _relation_key,
}
