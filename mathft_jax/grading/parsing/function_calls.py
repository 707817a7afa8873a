r"""Parser of function calls: `\sin^2 x`, `\log_2 8`, `max(1, 2)`, and binomial coefficients.

Each function is called after the name of the function was taken.
"""

from collections.abc import Sequence

from mathft_jax.grading.expression_tree import (
  MINUS_ONE,
  Call,
  Collection,
  Constant,
  Degrees,
  Number,
  Power,
  Product,
  Sum,
  Symbol,
  Tree,
  integer,
  negate,
  reciprocal,
)
from mathft_jax.grading.parsing import notation
from mathft_jax.grading.parsing.token_cursor import (
  Cursor,
  ParseError,
)

_INVERTIBLE = frozenset('sin cos tan cot sec csc sinh cosh tanh'.split())
_ROOT_DEGREES = {'sqrt': 2, 'cbrt': 3}


def parse_function_call(cursor: Cursor, name: str) -> Tree:
  """Parses the scripts and the arguments of the function `name`."""
  base, exponent = None, None
  for _ in range(2):
    if cursor.accept('_'):
      base = parse_script(cursor)
    elif cursor.accept('^'):
      exponent = parse_script(cursor)
  if exponent == MINUS_ONE and name in _INVERTIBLE:
    name, exponent = f'a{name}', None

  cursor.enter()
  arguments = _parse_arguments(cursor, name)
  cursor.leave()
  if name in notation.TRIGONOMETRIC_FUNCTIONS or name == 'cis':
    arguments = tuple(map(_degrees_to_radians, arguments))
  if base is not None:
    arguments = (*arguments, base)
  value = _apply_function(name, arguments)
  return value if exponent is None else Power(value, exponent)


def _apply_function(name: str, arguments: tuple[Tree, ...]) -> Tree:
  if len(arguments) != 1:
    return Call(name, arguments)
  argument = arguments[0]
  if name in _ROOT_DEGREES:
    return Power(argument, reciprocal(integer(_ROOT_DEGREES[name])))
  if name == 'exp':
    return Power(Constant('e'), argument)
  if name == 'cis':
    return Power(Constant('e'), Product((Constant('i'), argument)))
  if name == 'log':
    return Call(name, (argument, integer(10)))
  return Call(name, arguments)


def parse_script(cursor: Cursor) -> Tree:
  """Parses a subscript or superscript: a group, or one digit or letter with its sign."""
  if cursor.accept('{'):
    return cursor.parse_enclosed('{')
  if cursor.accept('-'):
    return negate(parse_script(cursor))
  token = cursor.take()
  if token.kind == 'number' and token.text.isdigit():
    return integer(int(token.text))
  if token.kind == 'name':
    is_constant = token.text in ('e', 'pi', 'i')
    return Constant(token.text) if is_constant else Symbol(token.text)
  raise ParseError(
    f'Found {token.text!r} as a script; expected a number or a letter.'
  )


def _parse_arguments(cursor: Cursor, name: str) -> tuple[Tree, ...]:
  """Parses arguments with or without brackets; `√3 x` is `(√3) x`, but `sin 3 x` is `sin(3 x)`."""
  opening = cursor.accept('(', '{', '\\{', '[')
  if opening:
    return items_of(cursor.parse_enclosed(opening))
  if name in _ROOT_DEGREES:
    return (cursor.parse_operand(),)
  return (_parse_implicit_argument(cursor),)


def items_of(tree: Tree) -> tuple[Tree, ...]:
  """Returns the items of a collection, or the tree alone."""
  return tree.items if isinstance(tree, Collection) else (tree,)


def _parse_implicit_argument(cursor: Cursor) -> Tree:
  r"""Parses factors up to the next sign, function or bracket; `\cos\pi/4` is cos(pi/4)."""
  if cursor.kind == 'function':
    return cursor.parse_operand()
  factors = [cursor.parse_operand()]
  while _at_implicit_factor(cursor, factors):
    factors.append(cursor.parse_operand())

  if (
    Constant('pi') in factors
    and cursor.text == '/'
    and cursor.peek(1).kind == 'number'
  ):
    cursor.take()
    factors.append(reciprocal(cursor.parse_operand()))
  return product_of(factors)


def _at_implicit_factor(cursor: Cursor, factors: Sequence[Tree]) -> bool:
  """Returns True if the next token continues an argument without brackets."""
  if cursor.text == '|' and cursor.open_bars or cursor.at_differential():
    return False
  if cursor.kind == 'number':
    return cursor.peek(-1).kind != 'number'
  if cursor.text == '(':
    following = cursor.peek(1)
    if following.kind == 'word' or following.text == '≈':
      return False  # a unit or a rounded value
    return all(isinstance(factor, (Number, Constant)) for factor in factors)
  return cursor.kind == 'name' or cursor.text in ('frac', 'sqrt', '{', '|')


def product_of(factors: Sequence[Tree]) -> Tree:
  """Returns the product of factors; a single factor is returned unchanged."""
  return factors[0] if len(factors) == 1 else Product(tuple(factors))


def parse_infix_binomial(cursor: Cursor, n: str) -> Tree | None:
  """Parses the rest of `5C2`, `_5C_2` or `_5P_2` after the number `n`; None for anything else."""
  name, lower = cursor.peek(), cursor.peek(1)
  if name.text not in ('C', 'P') or name.gap or not n.isdigit():
    return None
  ahead = 2 if lower.text == '_' else 1
  k = cursor.peek(ahead)
  if k.gap or k.kind != 'number' or not k.text.isdigit():
    return None
  cursor.position += ahead + 1

  combinations = _binomial(int(n), int(k.text))
  if name.text == 'C':
    return combinations
  return Product((combinations, Call('factorial', (integer(int(k.text)),))))


def _binomial(n: int, k: int) -> Call:
  return Call('binomial', (integer(n), integer(k)))


def parse_binomial_arguments(cursor: Cursor) -> Call | None:
  """Parses the `(5, 2)` of `C(5, 2)`; None for anything else."""
  opening, n, comma, k, closing = [cursor.peek(i).text for i in range(5)]
  if (opening, comma, closing) != ('(', ',', ')'):
    return None
  if not n.isdigit() or not k.isdigit():
    return None
  cursor.position += 5
  return _binomial(int(n), int(k))


def parse_binomial_scripts(cursor: Cursor) -> Call | None:
  """Parses the scripts of `C_5^2` or `C^2_5`, both "5 choose 2"; None for anything else."""
  start = cursor.position
  scripts: dict[str, int | None] = {}
  while mark := cursor.accept('_', '^'):
    has_brace = cursor.accept('{')
    text = cursor.take().text
    is_number = text.isdigit() and (not has_brace or cursor.accept('}'))
    scripts[mark] = int(text) if is_number else None

  n, k = scripts.get('_'), scripts.get('^')
  if n is None or k is None or k > n:
    cursor.position = start
    return None
  return _binomial(n, k)


def _degrees_to_radians(tree: Tree) -> Tree:
  """Replaces degrees by multiples of pi / 180."""
  if isinstance(tree, Degrees):
    return Product((tree.value, Constant('pi'), reciprocal(integer(180))))
  if isinstance(tree, Sum):
    return Sum(tuple(map(_degrees_to_radians, tree.terms)))
  if isinstance(tree, Product):
    return Product(tuple(map(_degrees_to_radians, tree.factors)))
  return tree
