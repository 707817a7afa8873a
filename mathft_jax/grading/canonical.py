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

from mathft_jax.grading import matrices
from mathft_jax.grading import real_sets
from mathft_jax.grading import relations
from mathft_jax.grading import scalar_keys
from mathft_jax.grading import trees

_MAX_SIGNS = 3  # independent choices of one answer


def key(tree: trees.Tree) -> Hashable:
  """The key of an answer; raises ArithmeticError when a part of it has no value."""
  readings = _readings(tree)
  if len(readings) > 1:
    return collection_key(map(_key, readings))
  return _key(readings[0])


def _key(tree: trees.Tree) -> Hashable:
  return _KEYS.get(type(tree), _scalar_key)(tree)


def _scalar_key(tree: trees.Scalar) -> Hashable:
  if trees.contains(tree, (trees.Matrix, trees.Group)):
    tree = matrices.evaluated(tree)
    if isinstance(tree, (trees.Matrix, trees.Group)):
      return _key(tree)
  return scalar_keys.scalar_key(tree)


def collection_key(keys: Iterable[Hashable]) -> Hashable:
  """The key of an unordered collection; that of its element when it has just one."""
  elements = frozenset(keys)
  if len(elements) != 1:
    return ('set', elements)
  element, = elements
  return ('set', elements) if element == _EMPTY else element


_EMPTY = ('set', frozenset())


def _group_key(tree: trees.Group) -> Hashable:
  if tree.kind == 'tuple':
    return ('tuple', *map(key, tree.items))
  if trees.DOTS in tree.items:
    return ('sequence', *map(key, tree.items))
  point = relations.coordinates(tree)
  if point:
    return ('tuple', *map(_key, point))
  conditions = real_sets.from_conditions(tree)
  if conditions is not None:
    return real_sets.key(conditions, _key)
  return collection_key(_key(reading) for item in tree.items for reading in _readings(item))


def _readings(tree: trees.Tree) -> list[trees.Tree]:
  """The trees that a tree with `\\pm` stands for: all signs are free, unless there is a `\\mp`."""
  if isinstance(tree, trees.Group) and tree.kind != 'tuple':
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
      if not isinstance(node, trees.Sign):
        return None
      sign = chosen[0 if together else node.occurrence]
      return trees.integer(-sign if node.flipped else sign)
    readings.append(trees.replaced(tree, number))
  return readings


def _signs(tree: trees.Tree) -> Iterable[trees.Sign]:
  if isinstance(tree, trees.Sign):
    yield tree
  for child in trees.children(tree):
    yield from _signs(child)


def _matrix_key(tree: trees.Matrix) -> Hashable:
  rows = tuple(tuple(map(key, row)) for row in tree.rows)
  return ('matrix', rows)


def _tagged_key(tree: trees.Tagged) -> Hashable:
  if tree.tag == 'ratio':
    first, *rest = tree.items
    return ('ratio', *(scalar_keys.scalar_key(trees.quotient(part, first)) for part in rest))
  if tree.tag == 'mod':
    value, modulus = tree.items
    remainder = trees.Call('mod', (value, modulus))
    return ('mod', scalar_keys.scalar_key(remainder), scalar_keys.scalar_key(modulus))
  if tree.tag == 'text':
    return ('text', ''.join(tree.items))
  return (tree.tag, *(item if isinstance(item, str) else key(item) for item in tree.items))


def _set_key(tree: trees.Tree) -> Hashable:
  return real_sets.key(tree, _key)


def _relation_key(tree: trees.Relation) -> Hashable:
  return relations.key(tree, _key)


_KEYS = {trees.Group: _group_key, trees.Matrix: _matrix_key, trees.Tagged: _tagged_key,
         trees.Interval: _set_key, trees.SetOperation: _set_key, trees.Relation: _relation_key}
