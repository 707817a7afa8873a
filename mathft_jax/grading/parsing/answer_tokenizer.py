r"""Tokenizer of answers: the lexer, followed by passes over the whole sequence of tokens.

  tokenize_answer(r'the answer **2\frac13**')
  tokenize_answer('twenty-one')                 # the number 21

The passes remove what encloses an answer (bold, quotation marks, an article, "option"), replace
numbers in words by digits, and join the digits of a numeral with a stated base.
"""

from collections.abc import Sequence

from mathft_jax.grading.parsing import (
  conditions,
  english_words,
  lexer,
  token_passes,
  word_phrases,
)
from mathft_jax.grading.parsing.lexer import Token

_FINAL_PUNCTUATION = ('\\\\', '\\', '.', ',', ';', ':')
# Bold and italics of Markdown (the lexer replaces ** by ^) and quotation marks.
_PAIRED_MARKS = ('^', '*', '_', "'")
_OPERATORS = ('+', '-', '*', '/', '=', '<', '>', '≤', '≥', ':', '±')


def tokenize_answer(text: str) -> list[Token]:
  """Returns the tokens of an answer.

  Raises:
    lexer.AnswerTooLong: more than MAX_LENGTH characters or MAX_DEPTH open brackets.
  """
  tokens = _remove_enclosing(lexer.tokenize_text(text))
  texts = {token.text for token in tokens}
  has_words = any(token.kind == 'word' for token in tokens)
  if '{' in texts:
    tokens = _remove_braces_of_operators(tokens)
  if not texts.isdisjoint(('[', ']', '<')):
    tokens = _replace_angle_brackets(tokens)
    tokens = _replace_outward_brackets(tokens)
  if '^' in texts or has_words:
    tokens = token_passes.simplify_scripts(tokens)
  if has_words:
    tokens = word_phrases.replace_words(tokens)
    tokens = token_passes.mark_dimensions(tokens)
  if 'g' in texts or 'm' in texts:
    tokens = token_passes.remove_unit_letters(tokens)
  if has_words or '∈' in texts:
    tokens = conditions.remove_integer_conditions(tokens)
  if '_' not in texts:
    return tokens
  return _join_based_numerals(tokens)


def _remove_braces_of_operators(tokens: list[Token]) -> list[Token]:
  """Replaces `{-}7` by `-7`: TeX authors use braces around an operator for its spacing."""
  dropped: set[int] = set()
  for index in range(1, len(tokens)):
    if _is_empty_group(tokens, index):
      dropped |= {index - 1, index}
  for index in range(1, len(tokens) - 1):
    if (
      tokens[index - 1].text == '{'
      and tokens[index].text in _OPERATORS
      and tokens[index + 1].text == '}'
      and tokens[max(index - 2, 0)].text not in ('^', '_')
    ):
      dropped |= {index - 1, index + 1}
  return [token for index, token in enumerate(tokens) if index not in dropped]


def _is_empty_group(tokens: Sequence[Token], index: int) -> bool:
  """Returns True at the second brace of `{}` that is no argument and has no scripts."""
  if tokens[index - 1].text != '{' or tokens[index].text != '}':
    return False
  if index + 1 < len(tokens) and tokens[index + 1].text in ('_', '^'):
    return False
  if index < 2:
    return len(tokens) > 2
  return (
    tokens[index - 2].kind in ('number', 'name')
    or tokens[index - 2].text == ')'
  )


def _remove_enclosing(tokens: list[Token]) -> list[Token]:
  """Removes bold, quotation marks, full stops, the bracket of `B)`, an article and "option"."""
  while tokens:
    first, last = tokens[0].text, tokens[-1].text
    if len(tokens) > 2 and first == last and first in _PAIRED_MARKS:
      tokens = tokens[1:-1]
    elif last in _FINAL_PUNCTUATION:
      tokens = tokens[:-1]
    else:
      break
  if len(tokens) < 2:
    return tokens

  first, second = tokens[0].text.lower(), tokens[1]
  if len(tokens) == 2 and tokens[0].kind == 'name' and second.text == ')':
    return tokens[:1]
  is_the_x = first == 'the' and second.kind == 'name'  # the x-axis
  if is_the_x or first in english_words.ARTICLES and second.kind == 'word':
    if second.text.lower() not in english_words.FRACTION_OR_SCALE_WORDS:
      return _remove_enclosing(tokens[1:])
  if first in english_words.CHOICE_WORDS and len(tokens) in (2, 4):
    is_letter = tokens[len(tokens) // 2].kind == 'name'  # option B, option (B)
    return tokens[1:] if is_letter else tokens
  return tokens


def _replace_angle_brackets(tokens: list[Token]) -> list[Token]:
  """Replaces `<1, 2>` by a vector: no inequality starts and ends with a sign of order."""
  if len(tokens) > 2 and tokens[0].text == '<' and tokens[-1].text == '>':
    opening = tokens[0]._replace(text='⟨')
    closing = tokens[-1]._replace(text='⟩')
    return [opening, *tokens[1:-1], closing]
  return tokens


def _replace_outward_brackets(tokens: list[Token]) -> list[Token]:
  """Replaces `]1, 2[` by `(1, 2)` if the brackets do not match otherwise."""
  if _brackets_match(tokens):
    return tokens
  result: list[Token] = []
  is_open = False
  for token in tokens:
    if token.text in ('[', ']'):
      if token.text == ']' and not is_open:
        token = token._replace(text='(')
      elif token.text == '[' and is_open:
        token = token._replace(text=')')
      is_open = not is_open
    result.append(token)
  return tokens if is_open else result


def _brackets_match(tokens: Sequence[Token]) -> bool:
  depth = 0
  for token in tokens:
    if token.text in ('(', '['):
      depth += 1
    elif token.text in (')', ']'):
      depth -= 1
    if depth < 0:
      return False
  return depth == 0


def _join_based_numerals(tokens: list[Token]) -> list[Token]:
  """Joins the digits before a base: 2, B, _, 16 becomes the number 2B, _, 16."""
  for index in range(len(tokens) - 2, 0, -1):
    if index + 1 >= len(tokens) or tokens[index].text != '_':
      continue
    has_brace = tokens[index + 1].text == '{' and index + 2 < len(tokens)
    base = tokens[index + 2 if has_brace else index + 1]
    if base.kind != 'number' or not base.text.isdigit():
      continue
    start = _start_of_numeral(tokens, index, int(base.text))
    digits = ''.join(token.text for token in tokens[start:index])
    is_word = start < index and tokens[start].kind == 'word'
    may_be_numeral = (
      is_word or int(base.text) > 10 or any(map(str.isdigit, digits))
    )
    if may_be_numeral and (index - start > 1 or is_word):
      tokens[start:index] = [Token('number', digits, tokens[start].gap)]
  return tokens


def _start_of_numeral(tokens: Sequence[Token], end: int, base: int) -> int:
  """Returns the index of the first of the adjacent tokens before `end` that are digits."""
  start = end
  while start and _are_digits(tokens[start - 1].text, base):
    is_apart = tokens[start].gap and tokens[start].kind != 'word'
    if start < end and is_apart:
      break
    start -= 1
  return start


def _are_digits(text: str, base: int) -> bool:
  """Returns True for digits and capital letters below the base."""
  if not text.isalnum() or not text.isascii() or text != text.upper():
    return False
  return all(int(digit, 36) < base for digit in text)
