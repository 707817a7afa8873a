"""How functions are written: their powers, bases, and where an argument without brackets ends."""

from collections.abc import Callable

from mathft_jax.grading import notation
from mathft_jax.grading import trees
from mathft_jax.grading.cursor import Cursor, NotMath

Operand = Callable[[Cursor], trees.Scalar]  # reads one power

_INVERSES = {name: f'a{name}' for name in ('sin', 'cos', 'tan', 'cot', 'sec', 'csc', 'sinh', 'cosh',
                                           'tanh')}


def call(cursor: Cursor, name: str, operand: Operand) -> trees.Scalar:
  """`\\sin^2 x`, `\\log_2 8`, `max(1, 2)`; the name of the function is taken."""
  base, exponent = None, None
  for _ in range(2):
    if cursor.accept('_'):
      base = script(cursor, operand)
    elif cursor.accept('^'):
      exponent = script(cursor, operand)
  if exponent == trees.MINUS_ONE and name in _INVERSES:
    name, exponent = _INVERSES[name], None
  cursor.deeper()
  arguments = _arguments(cursor, operand, single=name in ('sqrt', 'cbrt'))
  cursor.shallower()
  if name in notation.TRIGONOMETRIC or name == 'cis':
    arguments = tuple(_in_radians(argument) for argument in arguments)
  value = _application(name, arguments if base is None else (*arguments, base))
  return value if exponent is None else trees.Power(value, exponent)


def _application(name: str, arguments: tuple[trees.Tree, ...]) -> trees.Scalar:
  if name in ('sqrt', 'cbrt') and len(arguments) == 1:
    return trees.Power(arguments[0], trees.inverse(trees.integer(2 if name == 'sqrt' else 3)))
  if name == 'exp' and len(arguments) == 1:
    return trees.Power(trees.Constant('e'), arguments[0])
  if name == 'cis' and len(arguments) == 1:
    return trees.Power(trees.Constant('e'), trees.Product((trees.Constant('i'), arguments[0])))
  if name == 'log' and len(arguments) == 1:
    arguments = (*arguments, trees.integer(10))
  return trees.Call(name, arguments)


def script(cursor: Cursor, operand: Operand) -> trees.Scalar:
  """The exponent or base behind a function's name: a group, or one digit or letter."""
  if cursor.accept('{'):
    return cursor.enclosed(cursor, '{')
  if cursor.accept('-'):
    return trees.negative(script(cursor, operand))
  token = cursor.take()
  if token.kind == 'number' and token.text.isdigit():
    return trees.integer(int(token.text))
  if token.kind == 'name':
    return trees.Constant(token.text) if token.text in ('e', 'pi', 'i') else trees.Symbol(token.text)
  raise NotMath(f'{token.text!r} behind the name of a function.')


def _arguments(cursor: Cursor, operand: Operand, single: bool) -> tuple[trees.Tree, ...]:
  """What stands in brackets; without them a `single` operand, √3 x is (√3) x, or several factors."""
  opening = cursor.accept('(', '{', '\\{', '[')
  if not opening:
    return (operand(cursor) if single else _implicit(cursor, operand),)
  inside = cursor.enclosed(cursor, opening)
  return inside.items if isinstance(inside, trees.Group) else (inside,)


def _implicit(cursor: Cursor, operand: Operand) -> trees.Scalar:
  """The factors up to the next sign, function or bracket; `\\cos\\pi/4` takes its denominator too."""
  if cursor.kind == 'function':
    return operand(cursor)
  factors = [operand(cursor)]
  while cursor.kind in ('name', 'number') or cursor.text in ('frac', 'sqrt', '{', '|') or (
      cursor.text == '(' and all(isinstance(f, (trees.Number, trees.Constant)) for f in factors)):
    if cursor.text == '|' and cursor.bars or cursor.at_differential() or (
        cursor.kind == cursor.peek(-1).kind == 'number'):
      break
    factors.append(operand(cursor))
  if trees.Constant('pi') in factors and cursor.text == '/' and cursor.peek(1).kind == 'number':
    cursor.take()
    factors.append(trees.inverse(operand(cursor)))
  return factors[0] if len(factors) == 1 else trees.Product(tuple(factors))


def chosen(cursor: Cursor, top: str) -> trees.Call | None:
  """`5C2`, `_5C_2`, `_5P_2`: choices and arrangements, of which the upper number is taken."""
  name, lower = cursor.peek(), cursor.peek(1)
  if name.text not in ('C', 'P') or name.gap or not top.isdigit():
    return None
  skipped = 2 if lower.text == '_' else 1
  bottom = cursor.peek(skipped)
  if bottom.gap or bottom.kind != 'number' or not bottom.text.isdigit():
    return None
  cursor.position += skipped + 1
  n, k = trees.integer(int(top)), trees.integer(int(bottom.text))
  choice = trees.Call('binomial', (n, k))
  return choice if name.text == 'C' else trees.Product((choice, trees.Call('factorial', (k,))))


def choice_of_pair(cursor: Cursor) -> trees.Call | None:
  """The rest of `C(5, 2)`."""
  texts = [cursor.peek(ahead).text for ahead in range(5)]
  if texts[0] != '(' or texts[2] != ',' or texts[4] != ')' or not (
      texts[1].isdigit() and texts[3].isdigit()):
    return None
  cursor.position += 5
  return trees.Call('binomial', (trees.integer(int(texts[1])), trees.integer(int(texts[3]))))


def choice_of_scripts(cursor: Cursor) -> trees.Call | None:
  """The rest of `C_5^2` and `C^2_5`: the number below is that of which the upper number is taken."""
  start, scripts = cursor.position, {}
  while mark := cursor.accept('_', '^'):
    braced = cursor.accept('{')
    text = cursor.take().text
    scripts[mark] = int(text) if text.isdigit() and (not braced or cursor.accept('}')) else None
  n, k = scripts.get('_'), scripts.get('^')
  if n is None or k is None or k > n:
    cursor.position = start
    return None
  return trees.Call('binomial', (trees.integer(n), trees.integer(k)))


def _in_radians(tree: trees.Tree) -> trees.Tree:
  """The tree with degrees as multiples of pi / 180."""
  if isinstance(tree, trees.Degree):
    return trees.Product((tree.value, trees.Constant('pi'), trees.inverse(trees.integer(180))))
  if isinstance(tree, trees.Sum):
    return trees.Sum(tuple(map(_in_radians, tree.terms)))
  if isinstance(tree, trees.Product):
    return trees.Product(tuple(map(_in_radians, tree.factors)))
  return tree
