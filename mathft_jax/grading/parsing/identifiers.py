"""What a name or a word stands for: a constant, a variable, a function, a point, a text."""

from mathft_jax.grading import expression_tree
from mathft_jax.grading.parsing import english_words, function_calls
from mathft_jax.grading.parsing.token_cursor import TokenCursor

_FUNCTION_NAMES = frozenset('fghFGH')


def parse_name(cursor: TokenCursor, text: str) -> expression_tree.Tree:
  """The constant, variable, point `A(1, 2)`, choice `C(5, 2)` or function `f(x)` of that name."""
  if text in ('pi', 'e', 'i'):
    return expression_tree.Constant(text)
  if text == '∅':
    return expression_tree.Collection('set', ())
  if text == 'C' and (
    choice := function_calls.parse_binomial_arguments(cursor)
    or function_calls.parse_binomial_scripts(cursor)
  ):
    return choice
  if text.isupper() and cursor.text == '(' and _has_coordinates(cursor):
    cursor.take()
    return cursor.enclosed(cursor, '(')
  symbol = (
    expression_tree.INFINITY if text == '∞' else expression_tree.Symbol(text)
  )
  return parse_call_of_symbol(cursor, symbol) or symbol


def _has_coordinates(cursor: TokenCursor) -> bool:
  """True before brackets that hold a list. (To read them and go back would be exponential.)"""
  depth = 0
  for token in cursor.tokens[cursor.position :]:
    depth += (token.text in ('(', '[', '{', '\\{')) - (
      token.text in (')', ']', '}', '\\}')
    )
    if depth == 0 or depth == 1 and token.text in (',', ';'):
      return depth == 1
  return False


def parse_call_of_symbol(
  cursor: TokenCursor, symbol: expression_tree.Symbol
) -> expression_tree.Call | None:
  """`f(x)`; any other letter before brackets is a factor, unless the whole is being defined."""
  if cursor.text != '(' or cursor.kind != 'operator':
    return None
  if symbol.name[0] not in _FUNCTION_NAMES and not _is_defined(cursor):
    return None
  cursor.take()
  inside = cursor.enclosed(cursor, '(')
  items = (
    inside.items
    if isinstance(inside, expression_tree.Collection)
    else (inside,)
  )
  return expression_tree.Call(symbol.name, items)


def _is_defined(cursor: TokenCursor) -> bool:
  """True for the name of `P(x) = ...` at the start of a statement."""
  if cursor.position - 1 != cursor.statement_start:
    return False
  depth = 0
  for index in range(cursor.position, len(cursor.tokens) - 1):
    depth += {'(': 1, ')': -1}.get(cursor.tokens[index].text, 0)
    if not depth:
      return cursor.tokens[index + 1].text == '='
  return False


def parse_words(cursor: TokenCursor, word: str) -> expression_tree.Tree:
  """Consecutive words as one text; a single letter is a symbol, and `Var(X)` is a function."""
  if len(word) == 1 and cursor.kind != 'word':
    return parse_name(cursor, word)
  if cursor.text == '(' and (not cursor.peek().gap or _is_defined(cursor)):
    cursor.take()
    return expression_tree.Call(word, (cursor.enclosed(cursor, '('),))
  parts = [word.lower()]
  while cursor.kind == 'word':
    parts.append(cursor.take().text.lower())
  if tuple(parts) in english_words.EMPTY_SET_PHRASES:
    return expression_tree.Collection('set', ())
  return (
    expression_tree.REAL_LINE
    if tuple(parts) in english_words.ALL_REALS_PHRASES
    else expression_tree.TaggedValue('text', tuple(parts))
  )
