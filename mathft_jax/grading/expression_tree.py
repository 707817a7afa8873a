"""What an answer is once it is read: a small tree. Scalars first, then what is made of them."""

from collections.abc import Callable
import dataclasses
import fractions
from typing import Union


def _node(cls):
  return dataclasses.dataclass(frozen=True, slots=True)(cls)


@_node
class Number:
  """An exact rational: literals, decimals and repeating decimals included."""

  value: fractions.Fraction


@_node
class Symbol:
  """A variable, a constant whose name means nothing here, or a numeral in a written base."""

  name: str


@_node
class Constant:
  """`pi`, `e` or `i`."""

  name: str


@_node
class Sum:
  terms: tuple['Scalar', ...]


@_node
class Product:
  factors: tuple['Scalar', ...]


@_node
class Power:
  base: 'Scalar'
  exponent: 'Scalar'


@_node
class Call:
  """A function of scalars; `f` and the like are functions of which nothing is known."""

  function: str
  arguments: tuple['Tree', ...]


@_node
class PlusMinus:
  """The factor +1 or -1 of a `\\pm`; equal `occurrence` means equal choice, `flipped` is `\\mp`."""

  occurrence: int
  flipped: bool = False


@_node
class Degrees:
  """A number of degrees: the number itself, except under a trigonometric function."""

  value: 'Scalar'


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


@_node
class Collection:
  """`list` (bare), `set` (braces) or `tuple` (round or angle brackets)."""

  kind: str
  items: tuple['Tree', ...]


@_node
class Interval:
  """Two ends between brackets of which at least one is square."""

  low: Scalar
  high: Scalar
  low_closed: bool
  high_closed: bool


@_node
class SetOperation:
  """`∪`, `∩` or `∖` of two sets."""

  operator: str
  left: 'Tree'
  right: 'Tree'


@_node
class Matrix:
  rows: tuple[tuple[Scalar, ...], ...]


@_node
class Relation:
  """`sides[0] operators[0] sides[1] operators[1] ...` with operators of `= < ≤ > ≥ ≠ ∈`."""

  sides: tuple['Tree', ...]
  operators: tuple[str, ...]


@_node
class TaggedValue:
  """A kind of value of its own: `ratio`, `time`, `mod`, `text`."""

  tag: str
  items: tuple[Union['Tree', str], ...]


Tree = Union[
  Scalar, Collection, Interval, SetOperation, Matrix, Relation, TaggedValue
]

MINUS_ONE = Number(fractions.Fraction(-1))
INFINITY = Symbol('∞')
ELLIPSIS = Symbol('…')
REAL_LINE = Interval(Product((MINUS_ONE, INFINITY)), INFINITY, False, False)


def integer(value: int) -> Number:
  return Number(fractions.Fraction(value))


def negate(tree: Scalar) -> Scalar:
  return (
    Number(-tree.value)
    if isinstance(tree, Number)
    else Product((MINUS_ONE, tree))
  )


def reciprocal(tree: Scalar) -> Scalar:
  return Power(tree, MINUS_ONE)


def quotient(numerator: Scalar, denominator: Scalar) -> Scalar:
  return Product((numerator, reciprocal(denominator)))


def as_set(tree: Tree) -> Tree:
  """The tree as an operand of an operation on sets: `{3}` reads as the number 3, and is a set there."""
  return (
    Collection('set', (tree,))
    if isinstance(tree, SCALAR_TYPES) and not isinstance(tree, Symbol)
    else tree
  )


def children(tree: Tree) -> tuple[Tree, ...]:
  """The trees directly below; texts and names are none."""
  kind = type(tree)
  if kind in _LEAVES:
    return ()
  if kind is Sum:
    return tree.terms
  if kind is Product:
    return tree.factors
  if kind is Matrix:
    return tuple(entry for row in tree.rows for entry in row)
  below = []
  for name in _FIELDS[kind]:
    value = getattr(tree, name)
    below += value if isinstance(value, tuple) else (value,)
  return tuple(item for item in below if type(item) in _FIELDS)


_FIELDS = {
  kind: tuple(field.name for field in dataclasses.fields(kind))
  for kind in Tree.__args__
}
_LEAVES = frozenset({Number, Symbol, Constant, PlusMinus})


def variable_names(tree: Tree) -> set[str]:
  """The names in a tree that stand for variables: no infinity, dots, or numerals in a base."""
  if isinstance(tree, Symbol):
    return {tree.name} if tree.name[0].isalpha() else set()
  return set().union(*map(variable_names, children(tree)))


def contains_type(tree: Tree, kinds: tuple[type, ...]) -> bool:
  """True when the tree is or holds a node of these kinds."""
  return isinstance(tree, kinds) or any(
    contains_type(child, kinds) for child in children(tree)
  )


def replace_nodes(tree: Tree, replace: Callable[[Tree], Tree | None]) -> Tree:
  """The tree with every node for which `replace` gives another one replaced by it."""
  other = replace(tree)
  if other is not None:
    return other
  changes = {
    field.name: _replaced_within(getattr(tree, field.name), replace)
    for field in dataclasses.fields(tree)
  }
  return dataclasses.replace(tree, **changes)


def _replaced_within(
  value: object, replace: Callable[[Tree], Tree | None]
) -> object:
  if isinstance(value, tuple):
    return tuple(_replaced_within(item, replace) for item in value)
  return (
    replace_nodes(value, replace) if dataclasses.is_dataclass(value) else value
  )
