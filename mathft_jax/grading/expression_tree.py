"""Nodes of the expression tree of a parsed answer, and functions that traverse it.

The parser creates the tree; `canonical/` computes its key. For `x^2 + 1` the tree is

  Sum((Power(Symbol('x'), Number(2)), Number(1)))

A scalar node may have operands that are no scalars: `2 (1, 3)` is a `Product` of a number and a
vector. All nodes are immutable and hashable.
"""

from collections.abc import Callable, Iterator
import dataclasses
import fractions
from typing import (
  Literal,
  TypeGuard,
  TypeVar,
  Union,
  dataclass_transform,
  get_args,
)

_Class = TypeVar('_Class')


@dataclass_transform(frozen_default=True)
def _node(cls: type[_Class]) -> type[_Class]:
  return dataclasses.dataclass(frozen=True, slots=True)(cls)


@_node
class Number:
  """An exact rational number: an integer, a decimal or a repeating decimal."""

  value: fractions.Fraction


@_node
class Symbol:
  """A variable, a constant without a known value, or a numeral with a stated base."""

  name: str


@_node
class Constant:
  """`pi`, `e` or `i`."""

  name: str


@_node
class Sum:
  """A sum of terms."""

  terms: tuple['Tree', ...]


@_node
class Product:
  """A product of factors."""

  factors: tuple['Tree', ...]


@_node
class Power:
  """A power; a quotient has the exponent -1."""

  base: 'Tree'
  exponent: 'Tree'


@_node
class Call:
  """A function call. Functions without a known definition, such as `f`, are allowed."""

  function: str
  arguments: tuple['Tree', ...]


@_node
class PlusMinus:
  """The factor +1 or -1 of `\\pm`, or of `\\mp` if `flipped`.

  Nodes with the same `occurrence` have the same sign.
  """

  occurrence: int
  flipped: bool = False


@_node
class Degrees:
  """An angle in degrees. Outside trigonometric functions it equals the number."""

  value: 'Tree'


Scalar = Union[
  Number, Symbol, Constant, Sum, Product, Power, Call, PlusMinus, Degrees
]
SCALAR_TYPES = (
  Number,
  Symbol,
  Constant,
  Sum,
  Product,
  Power,
  Call,
  PlusMinus,
  Degrees,
)

CollectionKind = Literal['list', 'set', 'tuple']


@_node
class Collection:
  """A `list` (no brackets), a `set` (braces) or a `tuple` (round or angle brackets)."""

  kind: CollectionKind
  items: tuple['Tree', ...]


@_node
class Interval:
  """An interval of real numbers, written with at least one square bracket."""

  low: 'Tree'
  high: 'Tree'
  low_closed: bool
  high_closed: bool


@_node
class SetOperation:
  """The `∪`, `∩` or `∖` of two sets."""

  operator: str
  left: 'Tree'
  right: 'Tree'


@_node
class Matrix:
  """A matrix or a column vector, by rows."""

  rows: tuple[tuple['Tree', ...], ...]


@_node
class Relation:
  """`sides[0] operators[0] sides[1] operators[1] ...`; operators are `= < ≤ > ≥ ≠ ∈`."""

  sides: tuple['Tree', ...]
  operators: tuple[str, ...]


@_node
class TaggedValue:
  """A value that equals only values with the same tag, such as a ratio or a time of day."""

  tag: Literal[
    'ratio',
    'time',
    'mod',
    'text',
    'builder',
    'cases',
    'piece',
    'dimensions',
    'logic',
    'property',
    'choice',
    'about',
  ]
  items: tuple[Union['Tree', str], ...]


Tree = Union[
  Scalar, Collection, Interval, SetOperation, Matrix, Relation, TaggedValue
]
TreeMap = Callable[[Tree], Tree | None]

_MAX_PLACES = 30  # of a decimal
MINUS_ONE = Number(fractions.Fraction(-1))
INFINITY = Symbol('∞')
MINUS_INFINITY = Product((MINUS_ONE, INFINITY))
ELLIPSIS = Symbol('…')
REAL_LINE = Interval(MINUS_INFINITY, INFINITY, False, False)


def integer(value: int) -> Number:
  """Returns the node of an integer."""
  return Number(fractions.Fraction(value))


def negate(tree: Tree) -> Number | Product:
  """Returns `-tree`."""
  if isinstance(tree, Number):
    return Number(-tree.value)
  return Product((MINUS_ONE, tree))


def difference(left: Tree, right: Tree) -> Sum:
  """Returns `left - right`."""
  return Sum((left, negate(right)))


def reciprocal(tree: Tree) -> Power:
  """Returns `tree ** -1`."""
  return Power(tree, MINUS_ONE)


def quotient(numerator: Tree, denominator: Tree) -> Product:
  """Returns `numerator / denominator`."""
  return Product((numerator, reciprocal(denominator)))


def is_literal(tree: Tree) -> bool:
  """Returns True for a number as it is written: 7.07, -3, 6.02 * 10^23."""
  match tree:
    case Number(value):
      return 10**_MAX_PLACES % value.denominator == 0
    case Product((first, Power(Number(base), Number()))):
      return base == 10 and is_literal(first)
    case Product(factors):
      return (
        len(factors) == 2 and factors[0] == MINUS_ONE and is_literal(factors[1])
      )
    case Degrees(value):
      return is_literal(value)
  return False


def as_set(tree: Tree) -> Tree:
  """Returns the tree as an operand of a set operation: a scalar `3` becomes the set `{3}`.

  The parser reduces the set `{3}` to the number 3; this function restores the set. A symbol is
  returned unchanged because it may name a set.
  """
  if isinstance(tree, SCALAR_TYPES) and not isinstance(tree, Symbol):
    return Collection('set', (tree,))
  return tree


_FIELD_NAMES: dict[type, list[str]] = {}
for _type in get_args(Tree):
  _FIELD_NAMES[_type] = [field.name for field in dataclasses.fields(_type)]


def _is_tree(value: object) -> TypeGuard[Tree]:
  return type(value) in _FIELD_NAMES


def children(tree: Tree) -> Iterator[Tree]:
  """Yields the direct operands of a node. Texts and names are not operands."""
  for name in _FIELD_NAMES[type(tree)]:
    yield from _trees_in(getattr(tree, name))


def _trees_in(value: object) -> Iterator[Tree]:
  if isinstance(value, tuple):
    for item in value:
      yield from _trees_in(item)
  elif _is_tree(value):
    yield value


def variable_names(tree: Tree) -> set[str]:
  """Returns the variables in a tree, without `∞`, `…` and numerals with a base."""
  if isinstance(tree, Symbol):
    return {tree.name} if tree.name[0].isalpha() else set()
  return set().union(*map(variable_names, children(tree)))


def contains_type(tree: Tree, types: tuple[type, ...]) -> bool:
  """Returns True if the tree or one of its descendants is an instance of `types`."""
  if isinstance(tree, types):
    return True
  return any(contains_type(child, types) for child in children(tree))


def is_scalar(tree: Tree) -> bool:
  """Returns True if the tree is a scalar without matrices and collections inside."""
  if not isinstance(tree, SCALAR_TYPES):
    return False
  return not contains_type(tree, (Matrix, Collection))


def replace_topmost_nodes(tree: Tree, replace: TreeMap) -> Tree:
  """Returns the tree with nodes replaced, from the root down.

  Args:
    tree: the tree; it is not changed.
    replace: returns the replacement of a node, or None to keep the node and continue with its
      children.
  """
  replacement = replace(tree)
  if replacement is not None:
    return replacement

  changes = {}
  for name in _FIELD_NAMES[type(tree)]:
    changes[name] = _replace_in_field(getattr(tree, name), replace)
  return dataclasses.replace(tree, **changes)


def _replace_in_field(value: object, replace: TreeMap) -> object:
  if isinstance(value, tuple):
    return tuple(_replace_in_field(item, replace) for item in value)
  if _is_tree(value):
    return replace_topmost_nodes(value, replace)
  return value
