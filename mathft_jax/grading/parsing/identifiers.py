"""Parser of names and words: constants, variables, unknown functions, points and texts."""

from mathft_jax.grading.expression_tree import (
  INFINITY,
  MINUS_ONE,
  REAL_LINE,
  Call,
  Collection,
  Constant,
  Product,
  Sum,
  Symbol,
  TaggedValue,
  Tree,
)
from mathft_jax.grading.parsing import english_words, function_calls
from mathft_jax.grading.parsing.token_cursor import Cursor

_FUNCTION_LETTERS = frozenset('fghFGH')


def parse_name(cursor: Cursor, name: str) -> Tree:
  """Parses what follows a name: `A(1, 2)` is a point, `C(5, 2)` a binomial, `f(x)` a call."""
  if name in ('pi', 'e', 'i'):
    return Constant(name)
  if name == '∅':
    return Collection('set', ())
  if name == 'C':
    binomial = function_calls.parse_binomial_arguments(cursor)
    binomial = binomial or function_calls.parse_binomial_scripts(cursor)
    if binomial:
      return binomial
  if name.isupper() and cursor.text == '(' and _at_coordinates(cursor):
    cursor.take()
    return cursor.parse_enclosed('(')
  if name == 'Gamma' and cursor.accept('('):
    argument = cursor.parse_enclosed('(')
    return Call('factorial', (Sum((argument, MINUS_ONE)),))
  symbol = INFINITY if name == '∞' else Symbol(name)
  return parse_call_of_symbol(cursor, symbol) or symbol


def _at_coordinates(cursor: Cursor) -> bool:
  """Returns True before brackets that contain a list.

  The function counts brackets. Parsing them and going back would take exponential time.
  """
  depth = 0
  for token in cursor.tokens[cursor.position :]:
    if token.text in ('(', '[', '{', '\\{'):
      depth += 1
    elif token.text in (')', ']', '}', '\\}'):
      depth -= 1
    if depth == 0:
      return False
    if depth == 1 and token.text in (',', ';'):
      return True
  return False


def parse_call_of_symbol(cursor: Cursor, symbol: Symbol) -> Call | None:
  """Parses the argument of a function such as `f(x)`.

  Returns:
    The call, or None if the symbol is a factor. The letters f, g and h are functions; another
    letter is a function only where it is defined, as in `P(x) = x + 1`.
  """
  if cursor.text != '(' or cursor.kind != 'operator':
    return None
  if symbol.name[0] not in _FUNCTION_LETTERS and not _at_definition(cursor):
    return None
  cursor.take()
  inside = cursor.parse_enclosed('(')
  return Call(symbol.name, function_calls.items_of(inside))


def _at_definition(cursor: Cursor) -> bool:
  """Returns True after the name of `P(x) = ...` at the start of a statement."""
  if cursor.position - 1 != cursor.statement_start:
    return False
  depth = 0
  for index in range(cursor.position, len(cursor.tokens) - 1):
    text = cursor.tokens[index].text
    if text == '(':
      depth += 1
    elif text == ')':
      depth -= 1
    if depth == 0:
      return cursor.tokens[index + 1].text == '='
  return False


def parse_words(cursor: Cursor, word: str) -> Tree:
  """Parses consecutive words as one text; one letter is a symbol, and `Var(X)` is a call."""
  if len(word) == 1 and cursor.kind != 'word':
    return parse_name(cursor, word)
  if cursor.text == '(' and (not cursor.peek().gap or _at_definition(cursor)):
    cursor.take()
    return Call(word, (cursor.parse_enclosed('('),))

  if english_words.is_product_of_letters(word) and cursor.kind != 'word':
    return Product((Symbol(word[0]), Symbol(word[1])))
  words = [word.lower()]
  while cursor.kind == 'word':
    words.append(cursor.take().text.lower())
  phrase = tuple(words)
  if phrase in english_words.EMPTY_SET_PHRASES:
    return Collection('set', ())
  if phrase in english_words.ALL_REALS_PHRASES:
    return REAL_LINE
  return TaggedValue('text', phrase)
