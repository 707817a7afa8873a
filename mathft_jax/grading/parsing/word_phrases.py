"""Passes over the tokens of an answer that replace words by numbers, operators and functions.

twenty-one -> 21    two thirds -> 2 / 3    2.5 million -> 2.5 * 1000000    5 dozen -> 5 * 12
x squared -> x ^ 2    3 to 2 -> 3 : 2    seven divided by two -> 7 / 2    1 in 5 -> 1 / 5
"""

from collections.abc import Sequence

from mathft_jax.grading.parsing import english_words
from mathft_jax.grading.parsing.lexer import Token

_OPENING = ('(', '[', '{', '\\{', '-')
_CLOSING = (')', ']', '}', '\\}', '°', '!')
_TENS_STEP = 10


def replace_words(tokens: list[Token]) -> list[Token]:
  """Returns the tokens with words that are numbers, operators and functions replaced."""
  if all(token.kind != 'word' for token in tokens):
    return tokens
  result: list[Token] = []
  index = 0
  while index < len(tokens):
    length = _replace_at(tokens, index, result)
    if not length:
      _add_token_of_word(result, tokens[index], tokens[index + 1 :])
    index += max(length, 1)
  return result


def _replace_at(
  tokens: Sequence[Token], index: int, result: list[Token]
) -> int:
  """Appends what the words at `index` mean; returns how many tokens they are, 0 for no words."""
  gap = tokens[index].gap
  window = tokens[index : index + english_words.MAX_NUMBER_TOKENS]
  texts = [token.text.lower() for token in window[:2]]
  if texts[0] == 'a' and len(texts) > 1:
    factor = english_words.MULTIPLE_WORDS.get(texts[1])
    if factor:  # a dozen, half a dozen
      _add_multiple(result, factor)
      return 2
  if texts[0] == 'and' and _is_rest_of_multiple(tokens, index, result):
    result.append(Token('operator', '+', gap))
    return 1
  value, length = _parse_ordinal(window, result, is_alone=len(tokens) < 2)
  if not length:
    value, length = _parse_number(window)
  if length:
    result.append(Token('number', str(value), gap))
    return length

  phrase, length = _match_phrase(window, english_words.PREFIX_PHRASES)
  if length and index + length < len(tokens):
    result.append(Token('function', phrase, gap))
    return length
  phrase, length = _match_phrase(window, english_words.INFIX_PHRASES)
  if length and _ends_operand(result):
    if _starts_operand(tokens[index + length :]):
      result.append(Token('operator', phrase, gap))
      return length
  return 0


def _is_rest_of_multiple(
  tokens: Sequence[Token], index: int, before: Sequence[Token]
) -> bool:
  """Returns True at the `and` of `four score and seven`; not in `2 dozen and 3 dozen`."""
  if not before or before[-1].kind != 'number':
    return False
  if tokens[index - 1].text.lower() not in english_words.MULTIPLE_WORDS:
    return False
  window = tokens[index + 1 : index + 1 + english_words.MAX_NUMBER_TOKENS]
  if not window:
    return False
  length = 1 if window[0].kind == 'number' else _parse_number(window)[1]
  following = tokens[index + 1 + length : index + 2 + length]
  if following and following[0].text.lower() in english_words.MULTIPLE_WORDS:
    return False
  return length > 0


def _match_phrase(
  window: Sequence[Token], phrases: Sequence[tuple[tuple[str, ...], str]]
) -> tuple[str, int]:
  """Returns the meaning of the phrase at the start and its length, or ('', 0)."""
  if window[0].kind != 'word':
    return '', 0
  texts = tuple(token.text.lower() for token in window[:5])
  for words, meaning in phrases:
    if texts[: len(words)] == words:
      return meaning, len(words)
  return '', 0


def _ends_operand(before: Sequence[Token]) -> bool:
  if not before:
    return False
  return before[-1].kind in ('number', 'name') or before[-1].text in _CLOSING


def _starts_operand(after: Sequence[Token]) -> bool:
  if not after:
    return False
  token = after[0]
  if token.kind == 'word':
    word = token.text.lower()
    return (
      word in english_words.NUMBER_WORDS
      or word == 'negative'
      or bool(_match_phrase(after, english_words.PREFIX_PHRASES)[1])
    )
  is_operand = token.kind in ('number', 'name', 'function', 'structure')
  return is_operand or token.text in _OPENING


def _add_token_of_word(
  result: list[Token], token: Token, following: Sequence[Token]
) -> None:
  """Appends a token to `result`; a scale, fraction or operator in words becomes operators."""
  word = token.text.lower() if token.kind == 'word' else ''
  after_number = bool(result) and (
    result[-1].kind == 'number' or result[-1].text == '}'
  )
  if word in english_words.SCALE_WORDS and after_number:
    _add_operation(result, '*', english_words.SCALE_WORDS[word])
  elif word in english_words.MULTIPLE_WORDS and _is_counted(word, result):
    _add_multiple(result, english_words.MULTIPLE_WORDS[word])
  elif word in english_words.POWER_WORDS and _ends_operand(result):
    _add_operation(result, '^', english_words.POWER_WORDS[word])
  elif word in english_words.FRACTION_WORDS:
    _add_denominator(result, english_words.FRACTION_WORDS[word])
  elif word == 'in' and _is_between_numbers(result, following):
    result.append(Token('operator', '/', token.gap))  # 1 in 5
  elif (
    word == 'of' and _is_after_fraction(result) and _starts_operand(following)
  ):
    result.append(Token('operator', '*', token.gap))  # half of 10
  elif word in english_words.OPERATOR_WORDS and (
    word != 'to' or _is_between_numbers(result, following)
  ):
    operator = english_words.OPERATOR_WORDS[word]
    result.append(Token('operator', operator, token.gap))
  else:
    result.append(token)


def _add_operation(result: list[Token], operator: str, operand: int) -> None:
  result.append(Token('operator', operator, False))
  result.append(Token('number', str(operand), False))


def _is_counted(word: str, before: Sequence[Token]) -> bool:
  """Returns True before the dozen of `5 dozen`, `a dozen`, `half a dozen` or `half-dozen`."""
  if not before:
    return word == 'dozen'
  last = before[-1]
  if last.text == '-':
    return len(before) > 1 and before[-2].kind == 'number'
  return last.kind == 'number' or last.text in ('}', 'of')


def _add_multiple(result: list[Token], factor: int) -> None:
  while result and result[-1].text in ('of', '-'):
    result.pop()
  if result and (result[-1].kind == 'number' or result[-1].text == '}'):
    _add_operation(result, '*', factor)
  else:
    result.append(Token('number', str(factor), False))


def _parse_ordinal(
  tokens: Sequence[Token], before: Sequence[Token], is_alone: bool
) -> tuple[int, int]:
  """Returns the value of `twenty-first` or `twelfth` and its number of tokens, or (0, 0)."""
  ordinals = english_words.ORDINALS
  texts = [token.text.lower() for token in tokens[:3]]
  after_number = bool(before) and before[-1].kind == 'number'
  if tokens[0].kind != 'word' or after_number:
    return 0, 0
  if is_alone and texts[0] in ordinals:
    is_fraction = texts[0] in english_words.FRACTION_WORDS
    if not is_fraction or ordinals[texts[0]] > _TENS_STEP:
      return ordinals[texts[0]], 1

  tens = english_words.number_words_value(texts[:1])
  if not tens or tens < 2 * _TENS_STEP or tens > 9 * _TENS_STEP:
    return 0, 0
  length = 3 if len(texts) > 1 and texts[1] == '-' else 2
  if len(texts) < length:
    return 0, 0
  ones = ordinals.get(texts[length - 1], 0)
  return (tens + ones, length) if 0 < ones < _TENS_STEP else (0, 0)


def _parse_number(tokens: Sequence[Token]) -> tuple[int, int]:
  """Returns the value of the number words at the start and how many tokens they are, or (0, 0)."""
  texts = [token.text.lower() for token in tokens]
  starts_with_article = (
    texts[0] == 'a'
    and len(texts) > 1
    and texts[1] in english_words.FRACTION_OR_SCALE_WORDS
  )
  if starts_with_article:
    texts[0] = 'one'
  elif tokens[0].kind != 'word':
    return 0, 0
  return english_words.parse_number_words(texts)


def _add_denominator(result: list[Token], denominator: int) -> None:
  """Appends `/ denominator`; `2 and 1` before it is a mixed number."""
  if result and result[-1].text == '-':  # one-third
    result.pop()
  if not result or result[-1].kind != 'number':
    result.append(Token('number', '1', False))
  if (
    len(result) > 2 and result[-2].text == 'and' and result[-3].kind == 'number'
  ):
    del result[-2]
  _add_operation(result, '/', denominator)


def _is_between_numbers(
  before: Sequence[Token], after: Sequence[Token]
) -> bool:
  if not before or not after or before[-1].kind != 'number':
    return False
  next_word = after[0].text.lower()
  return after[0].kind == 'number' or next_word in english_words.NUMBER_WORDS


def _is_after_fraction(before: Sequence[Token]) -> bool:
  """Returns True after `1/2` or `\\frac12`."""
  if len(before) < 2:
    return False
  return before[-1].text == '}' or before[-2].text == '/'
