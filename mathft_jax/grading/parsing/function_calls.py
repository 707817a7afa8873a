"""How functions are written: their powers, bases, and where an argument without brackets ends."""

from collections.abc import Callable

from mathft_jax.grading import expression_tree
from mathft_jax.grading.parsing import notation
from mathft_jax.grading.parsing.token_cursor import (
  TokenCursor,
  AnswerSyntaxError,
)

ParseOperand = Callable[
  [TokenCursor], expression_tree.Scalar
]  # reads one power

_INVERSES = {
  name: f'a{name}'
  for name in ('sin', 'cos', 'tan', 'cot', 'sec', 'csc', 'sinh', 'cosh', 'tanh')
}


def parse_function_call(
  cursor: TokenCursor, name: str, operand: ParseOperand
) -> expression_tree.Scalar:
  """`\\sin^2 x`, `\\log_2 8`, `max(1, 2)`; the name of the function is taken."""
  base, exponent = None, None
  for _ in range(2):
    if cursor.accept('_'):
      base = parse_script(cursor, operand)
    elif cursor.accept('^'):
      exponent = parse_script(cursor, operand)
  if exponent == expression_tree.MINUS_ONE and name in _INVERSES:
    name, exponent = _INVERSES[name], None
  cursor.deeper()
  arguments = _arguments(cursor, operand, single=name in ('sqrt', 'cbrt'))
  cursor.shallower()
  if name in notation.TRIGONOMETRIC_FUNCTIONS or name == 'cis':
    arguments = tuple(_in_radians(argument) for argument in arguments)
  value = _application(name, arguments if base is None else (*arguments, base))
  return value if exponent is None else expression_tree.Power(value, exponent)


def _application(
  name: str, arguments: tuple[expression_tree.Tree, ...]
) -> expression_tree.Scalar:
  if name in ('sqrt', 'cbrt') and len(arguments) == 1:
    return expression_tree.Power(
      arguments[0],
      expression_tree.reciprocal(
        expression_tree.integer(2 if name == 'sqrt' else 3)
      ),
    )
  if name == 'exp' and len(arguments) == 1:
    return expression_tree.Power(expression_tree.Constant('e'), arguments[0])
  if name == 'cis' and len(arguments) == 1:
    return expression_tree.Power(
      expression_tree.Constant('e'),
      expression_tree.Product((expression_tree.Constant('i'), arguments[0])),
    )
  if name == 'log' and len(arguments) == 1:
    arguments = (*arguments, expression_tree.integer(10))
  return expression_tree.Call(name, arguments)


def parse_script(
  cursor: TokenCursor, operand: ParseOperand
) -> expression_tree.Scalar:
  """The exponent or base behind a function's name: a group, or one digit or letter."""
  if cursor.accept('{'):
    return cursor.enclosed(cursor, '{')
  if cursor.accept('-'):
    return expression_tree.negate(parse_script(cursor, operand))
  token = cursor.take()
  if token.kind == 'number' and token.text.isdigit():
    return expression_tree.integer(int(token.text))
  if token.kind == 'name':
    return (
      expression_tree.Constant(token.text)
      if token.text in ('e', 'pi', 'i')
      else expression_tree.Symbol(token.text)
    )
  raise AnswerSyntaxError(f'{token.text!r} behind the name of a function.')


def _arguments(
  cursor: TokenCursor, operand: ParseOperand, single: bool
) -> tuple[expression_tree.Tree, ...]:
  """What stands in brackets; without them a `single` operand, √3 x is (√3) x, or several factors."""
  opening = cursor.accept('(', '{', '\\{', '[')
  if not opening:
    return (operand(cursor) if single else _implicit(cursor, operand),)
  inside = cursor.enclosed(cursor, opening)
  return (
    inside.items
    if isinstance(inside, expression_tree.Collection)
    else (inside,)
  )


def _implicit(
  cursor: TokenCursor, operand: ParseOperand
) -> expression_tree.Scalar:
  """The factors up to the next sign, function or bracket; `\\cos\\pi/4` takes its denominator too."""
  if cursor.kind == 'function':
    return operand(cursor)
  factors = [operand(cursor)]
  while (
    cursor.kind in ('name', 'number')
    or cursor.text in ('frac', 'sqrt', '{', '|')
    or (
      cursor.text == '('
      and all(
        isinstance(f, (expression_tree.Number, expression_tree.Constant))
        for f in factors
      )
    )
  ):
    if (
      cursor.text == '|'
      and cursor.bars
      or cursor.at_differential()
      or (cursor.kind == cursor.peek(-1).kind == 'number')
    ):
      break
    factors.append(operand(cursor))
  if (
    expression_tree.Constant('pi') in factors
    and cursor.text == '/'
    and cursor.peek(1).kind == 'number'
  ):
    cursor.take()
    factors.append(expression_tree.reciprocal(operand(cursor)))
  return (
    factors[0] if len(factors) == 1 else expression_tree.Product(tuple(factors))
  )


def parse_infix_binomial(
  cursor: TokenCursor, top: str
) -> expression_tree.Call | None:
  """`5C2`, `_5C_2`, `_5P_2`: choices and arrangements, of which the upper number is taken."""
  name, lower = cursor.peek(), cursor.peek(1)
  if name.text not in ('C', 'P') or name.gap or not top.isdigit():
    return None
  skipped = 2 if lower.text == '_' else 1
  bottom = cursor.peek(skipped)
  if bottom.gap or bottom.kind != 'number' or not bottom.text.isdigit():
    return None
  cursor.position += skipped + 1
  n, k = (
    expression_tree.integer(int(top)),
    expression_tree.integer(int(bottom.text)),
  )
  choice = expression_tree.Call('binomial', (n, k))
  return (
    choice
    if name.text == 'C'
    else expression_tree.Product(
      (choice, expression_tree.Call('factorial', (k,)))
    )
  )


def parse_binomial_arguments(
  cursor: TokenCursor,
) -> expression_tree.Call | None:
  """The rest of `C(5, 2)`."""
  texts = [cursor.peek(ahead).text for ahead in range(5)]
  if (
    texts[0] != '('
    or texts[2] != ','
    or texts[4] != ')'
    or not (texts[1].isdigit() and texts[3].isdigit())
  ):
    return None
  cursor.position += 5
  return expression_tree.Call(
    'binomial',
    (
      expression_tree.integer(int(texts[1])),
      expression_tree.integer(int(texts[3])),
    ),
  )


def parse_binomial_scripts(cursor: TokenCursor) -> expression_tree.Call | None:
  """The rest of `C_5^2` and `C^2_5`: the number below is that of which the upper number is taken."""
  start, scripts = cursor.position, {}
  while mark := cursor.accept('_', '^'):
    braced = cursor.accept('{')
    text = cursor.take().text
    scripts[mark] = (
      int(text)
      if text.isdigit() and (not braced or cursor.accept('}'))
      else None
    )
  n, k = scripts.get('_'), scripts.get('^')
  if n is None or k is None or k > n:
    cursor.position = start
    return None
  return expression_tree.Call(
    'binomial', (expression_tree.integer(n), expression_tree.integer(k))
  )


def _in_radians(tree: expression_tree.Tree) -> expression_tree.Tree:
  """The tree with degrees as multiples of pi / 180."""
  if isinstance(tree, expression_tree.Degrees):
    return expression_tree.Product(
      (
        tree.value,
        expression_tree.Constant('pi'),
        expression_tree.reciprocal(expression_tree.integer(180)),
      )
    )
  if isinstance(tree, expression_tree.Sum):
    return expression_tree.Sum(tuple(map(_in_radians, tree.terms)))
  if isinstance(tree, expression_tree.Product):
    return expression_tree.Product(tuple(map(_in_radians, tree.factors)))
  return tree
