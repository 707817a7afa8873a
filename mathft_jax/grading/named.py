"""What a name or a word stands for: a constant, a variable, a function, a point, a text."""

from mathft_jax.grading import functions
from mathft_jax.grading import trees
from mathft_jax.grading import words
from mathft_jax.grading.cursor import Cursor

_FUNCTION_NAMES = frozenset('fghFGH')


def name(cursor: Cursor, text: str) -> trees.Tree:
  """The constant, variable, point `A(1, 2)`, choice `C(5, 2)` or function `f(x)` of that name."""
  if text in ('pi', 'e', 'i'):
    return trees.Constant(text)
  if text == '∅':
    return trees.Group('set', ())
  if text == 'C' and (choice := functions.choice_of_pair(cursor) or functions.choice_of_scripts(cursor)):
    return choice
  if text.isupper() and cursor.text == '(' and _has_coordinates(cursor):
    cursor.take()
    return cursor.enclosed(cursor, '(')
  symbol = trees.INFINITY if text == '∞' else trees.Symbol(text)
  return call(cursor, symbol) or symbol


def _has_coordinates(cursor: Cursor) -> bool:
  """True before brackets that hold a list. (To read them and go back would be exponential.)"""
  depth = 0
  for token in cursor.tokens[cursor.position:]:
    depth += (token.text in ('(', '[', '{', '\\{')) - (token.text in (')', ']', '}', '\\}'))
    if depth == 0 or depth == 1 and token.text in (',', ';'):
      return depth == 1
  return False


def call(cursor: Cursor, symbol: trees.Symbol) -> trees.Call | None:
  """`f(x)`; any other letter before brackets is a factor, unless the whole is being defined."""
  if cursor.text != '(' or cursor.kind != 'operator':
    return None
  if symbol.name[0] not in _FUNCTION_NAMES and not _is_defined(cursor):
    return None
  cursor.take()
  inside = cursor.enclosed(cursor, '(')
  items = inside.items if isinstance(inside, trees.Group) else (inside,)
  return trees.Call(symbol.name, items)


def _is_defined(cursor: Cursor) -> bool:
  """True for the name of `P(x) = ...` at the start of a statement."""
  if cursor.position - 1 != cursor.statement_start:
    return False
  depth = 0
  for index in range(cursor.position, len(cursor.tokens) - 1):
    depth += {'(': 1, ')': -1}.get(cursor.tokens[index].text, 0)
    if not depth:
      return cursor.tokens[index + 1].text == '='
  return False


def prose(cursor: Cursor, word: str) -> trees.Tree:
  """Consecutive words as one text; a single letter is a symbol, and `Var(X)` is a function."""
  if len(word) == 1 and cursor.kind != 'word':
    return name(cursor, word)
  if cursor.text == '(' and (not cursor.peek().gap or _is_defined(cursor)):
    cursor.take()
    return trees.Call(word, (cursor.enclosed(cursor, '('),))
  parts = [word.lower()]
  while cursor.kind == 'word':
    parts.append(cursor.take().text.lower())
  if tuple(parts) in words.EMPTY_SETS:
    return trees.Group('set', ())
  return trees.REALS if tuple(parts) in words.ALL_REALS else trees.Tagged('text', tuple(parts))
