"""Patterns of trees that an equation can define, such as `x`, `f(x)`, `(x, y)`, `AB` or `dy/dx`."""

from mathft_jax.grading.canonical.function_evaluation import FUNCTION_EVALUATORS
from mathft_jax.grading.expression_tree import (
  MINUS_ONE,
  Call,
  Collection,
  Power,
  Product,
  Symbol,
  TaggedValue,
  Tree,
)

_FUNCTION_LETTERS = ('f', 'g', 'h')
_FIGURE_WORDS = ('angle', 'triangle', 'Delta', 'm')
# Functions of variables that may be the left side of a definition, as in |z| = 2.
_FUNCTIONS_OF_NAMES = (
  'abs re im arg det gcd lcm max min sin cos tan cot sec csc'.split()
)


def is_definable(tree: Tree) -> bool:
  """Returns True for the left side of a definition: x, f(x), (x, y), AB, x:y, words."""
  if isinstance(tree, Symbol):
    return tree.name[0].isalpha()
  if isinstance(tree, Call):
    return is_unknown_function(tree) or is_figure_name(tree)
  if isinstance(tree, Collection):
    return bool(tree.items) and _are_symbols(tree.items)
  if isinstance(tree, TaggedValue):
    return tree.tag in ('text', 'ratio')
  if not isinstance(tree, Product):
    return False
  return (
    is_figure_name(tree)
    or _is_function_prefix(tree.factors[0])
    or _is_derivative(tree)
  )


def is_unknown_function(tree: Call) -> bool:
  """Returns True for a call of a function without a known definition."""
  return tree.function != 'det' and tree.function not in FUNCTION_EVALUATORS


def is_figure_name(tree: Tree) -> bool:
  """Returns True for names of points and figures: A, AB, |AB|, AB / CD, angle ABC."""
  if isinstance(tree, Call):
    is_length = tree.function in ('abs', 'conj')
    return is_length and all(map(is_figure_name, tree.arguments))
  if isinstance(tree, Product):
    return all(map(is_figure_name, tree.factors))
  if isinstance(tree, Power):
    return tree.exponent == MINUS_ONE and is_figure_name(tree.base)
  if isinstance(tree, Symbol):
    return tree.name[0].isupper() or tree.name in _FIGURE_WORDS
  return False


def is_function_of_names(tree: Tree) -> bool:
  """Returns True for cos(theta), |z|, gcd(a, b)."""
  if not isinstance(tree, Call):
    return False
  return tree.function in _FUNCTIONS_OF_NAMES and _are_symbols(tree.arguments)


def _are_symbols(operands: tuple[Tree, ...]) -> bool:
  return all(isinstance(operand, Symbol) for operand in operands)


def _is_function_prefix(tree: Tree) -> bool:
  """Returns True for f^{-1} and f ∘ g; f^{-1}(x) and (f ∘ g)(x) are parsed as products."""
  if isinstance(tree, Product):
    return all(map(_is_function_prefix, tree.factors))
  if isinstance(tree, Call) and tree.function == '∘':
    return all(map(_is_function_prefix, tree.arguments))
  if isinstance(tree, Power):
    tree = tree.base
  return isinstance(tree, Symbol) and tree.name in _FUNCTION_LETTERS


def _is_derivative(tree: Product) -> bool:
  """Returns True for dy / dx."""
  if len(tree.factors) != 2:
    return False
  for factor in tree.factors:
    if isinstance(factor, Power):
      factor = factor.base
    if not isinstance(factor, Product) or len(factor.factors) != 2:
      return False
    if factor.factors[0] != Symbol('d'):
      return False
  return True
