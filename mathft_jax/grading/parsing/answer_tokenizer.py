"""The tokens of an answer: those of the text (lexer.py), after passes over the row as a whole.

The passes take off what is wrapped around an answer (bold, quotes, an article, "option"), write
numbers in words as numbers, and join the digits of a numeral in a written base.
"""

from collections.abc import Sequence

from mathft_jax.grading.parsing import english_words, lexer
from mathft_jax.grading.parsing.lexer import (
  MAX_DEPTH,
  MAX_LENGTH,
  Token,
  AnswerTooLong,
)

__all__ = [
  'MAX_DEPTH',
  'MAX_LENGTH',
  'Token',
  'AnswerTooLong',
  'tokenize_answer',
]

_ENDS = ('\\\\', '\\', '.', ',', ';', ':')
_PAIRS = (
  '^',
  '*',
  '_',
  "'",
)  # Markdown's bold and italics (** is read as ^), quotation marks
_SIGNS = ('+', '-', '*', '/', '=', '<', '>', '≤', '≥', ':', '±')


def tokenize_answer(text: str) -> list[Token]:
  """The tokens of an answer; raises TooLong beyond MAX_LENGTH and MAX_DEPTH."""
  tokens = _without_lone_braces(lexer.tokenize_text(text))
  tokens = _turned_brackets(_angle_brackets(_without_wrapping(tokens)))
  return _with_numerals(_with_number_words(tokens))


def _without_lone_braces(tokens: list[Token]) -> list[Token]:
  """With `{-}7` as `-7`: braces around one sign are there for the spacing of TeX."""
  lone = [
    index
    for index in range(1, len(tokens) - 1)
    if tokens[index - 1].text == '{'
    and tokens[index + 1].text == '}'
    and tokens[index].text in _SIGNS
    and tokens[max(index - 2, 0)].text not in ('^', '_')
  ]
  if not lone:
    return tokens
  dropped = {index + side for index in lone for side in (-1, 1)}
  return [token for index, token in enumerate(tokens) if index not in dropped]


def _without_wrapping(tokens: list[Token]) -> list[Token]:
  """Without bold, quotation marks, full stops, the bracket of `B)`, an article, "option"."""
  while tokens:
    paired = (
      len(tokens) > 2
      and tokens[0].text == tokens[-1].text
      and tokens[0].text in _PAIRS
    )
    if not paired and tokens[-1].text not in _ENDS:
      break
    tokens = tokens[1:-1] if paired else tokens[:-1]
  if len(tokens) == 2 and tokens[0].kind == 'name' and tokens[1].text == ')':
    return tokens[:1]
  if (
    len(tokens) > 1
    and tokens[0].text.lower() in english_words.ARTICLES
    and tokens[1].kind == 'word'
    and (tokens[1].text.lower() not in english_words.FRACTION_OR_SCALE_WORDS)
  ):
    return _without_wrapping(tokens[1:])
  if (
    len(tokens) in (2, 4)
    and tokens[0].text.lower() in english_words.CHOICE_WORDS
    and (tokens[len(tokens) // 2].kind == 'name')
  ):
    return tokens[1:]
  return tokens


def _angle_brackets(tokens: list[Token]) -> list[Token]:
  """With `<1, 2>` as a vector: no condition begins and ends with a sign of order."""
  if len(tokens) > 2 and (tokens[0].text, tokens[-1].text) == ('<', '>'):
    return [
      tokens[0]._replace(text='⟨'),
      *tokens[1:-1],
      tokens[-1]._replace(text='⟩'),
    ]
  return tokens


def _turned_brackets(tokens: list[Token]) -> list[Token]:
  """With `]1, 2[` as `(1, 2)`, where brackets read in the usual way do not match."""
  depth, matches = 0, True
  for token in tokens:
    depth += (token.text in ('(', '[')) - (token.text in (')', ']'))
    matches = matches and depth >= 0
  if matches and not depth:
    return tokens
  result, opens = [], True
  for token in tokens:
    if token.text in ('[', ']'):
      if (token.text == ']') == opens:
        token = token._replace(text='(' if opens else ')')
      opens = not opens
    result.append(token)
  return result if opens else tokens


def _with_number_words(tokens: list[Token]) -> list[Token]:
  """With `twenty-one`, `two thirds`, `2.5 million`, `3 to 2` and the like in digits and signs."""
  if not any(token.kind == 'word' for token in tokens):
    return tokens
  result: list[Token] = []
  index = 0
  while index < len(tokens):
    token = tokens[index]
    lower = token.text.lower() if token.kind == 'word' else ''
    value, length = _number(
      tokens[index : index + english_words.MAX_NUMBER_TOKENS]
    )
    if length:
      result.append(Token('number', str(value), token.gap))
    elif (
      lower in english_words.SCALE_WORDS
      and result
      and (result[-1].kind == 'number' or result[-1].text == '}')
    ):
      result += [
        Token('operator', '*', False),
        Token('number', str(english_words.SCALE_WORDS[lower]), False),
      ]
    elif lower in english_words.FRACTION_WORDS:
      _add_part(result, english_words.FRACTION_WORDS[lower])
    elif lower in english_words.OPERATOR_WORDS and (
      lower != 'to' or _between_numbers(result, tokens[index + 1 :])
    ):
      result.append(
        Token('operator', english_words.OPERATOR_WORDS[lower], token.gap)
      )
    else:
      result.append(token)
    index += max(length, 1)
  return result


def _number(tokens: Sequence[Token]) -> tuple[int, int]:
  """The value of the number words that begin here, and how many tokens they are; 0 for none."""
  texts = [token.text.lower() for token in tokens]
  if (
    texts[0] == 'a'
    and texts[1:2]
    and texts[1] in english_words.FRACTION_OR_SCALE_WORDS
  ):
    texts[0] = 'one'
  elif tokens[0].kind != 'word':
    return 0, 0
  return english_words.parse_number_words(texts)


def _add_part(result: list[Token], part: int) -> None:
  """Adds `/ part` to `one` or `two`; what stands before that and an `and` is the whole number."""
  if result and result[-1].text == '-':  # one-third
    result.pop()
  if not result or result[-1].kind != 'number':
    result.append(Token('number', '1', False))
  if (
    len(result) > 2 and result[-2].text == 'and' and result[-3].kind == 'number'
  ):
    del result[-2]
  result += [Token('operator', '/', False), Token('number', str(part), False)]


def _between_numbers(before: Sequence[Token], after: Sequence[Token]) -> bool:
  return (
    bool(before and after)
    and before[-1].kind == 'number'
    and (
      after[0].kind == 'number'
      or after[0].text.lower() in english_words.NUMBER_WORDS
    )
  )


def _with_numerals(tokens: list[Token]) -> list[Token]:
  """With the digits before a base joined: 2, B, _, 16 becomes the number 2B, _, 16."""
  for index in range(len(tokens) - 2, 0, -1):
    if index + 1 >= len(tokens) or tokens[index].text != '_':
      continue
    base = tokens[
      index + 2
      if tokens[index + 1].text == '{' and index + 2 < len(tokens)
      else index + 1
    ]
    if base.kind != 'number' or not base.text.isdigit():
      continue
    start = index
    while (
      start
      and _are_digits(tokens[start - 1].text, int(base.text))
      and (
        start == index or not tokens[start].gap or tokens[start].kind == 'word'
      )
    ):
      start -= 1
    digits = ''.join(token.text for token in tokens[start:index])
    lettered = (
      tokens[start].kind == 'word'
      or int(base.text) > 10
      or any(map(str.isdigit, digits))
    )
    if lettered and (
      index - start > 1 or tokens[start:index] and tokens[start].kind == 'word'
    ):
      tokens[start:index] = [Token('number', digits, tokens[start].gap)]
  return tokens


def _are_digits(text: str, base: int) -> bool:
  return (
    text.isalnum()
    and text.isascii()
    and (text == text.upper())
    and all(int(digit, 36) < base for digit in text)
  )
