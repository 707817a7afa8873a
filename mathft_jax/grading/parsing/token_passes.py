"""Passes over the tokens of an answer: primes, ordinals, angles in words, and dimensions.

f ^ { ' ' } -> f ' '    5 ^ { th } -> 5    63 degrees 45 minutes -> 63 ° 45 '
10 ft x 18 ft -> 10 ft by 18 ft
"""

from collections.abc import Sequence

from mathft_jax.grading.parsing import english_words
from mathft_jax.grading.parsing.lexer import Token

_PRIME = Token('operator', "'", False)
_DEGREE = Token('operator', '°', False)
_DEGREE_WORDS = ('degree', 'degrees', 'deg')
# Units of single letters that are rarely a product of variables.
_UNIT_LETTERS = (
  ('g',),
  ('m', '/', 's'),
  ('m', '/', 's', '^', '2'),
  ('m', '/', 's', '^', '{', '2', '}'),
)
_SEPARATORS = (',', ';', 'and', 'or', '≈', '=')
_MINUTE_WORDS = ('minute', 'minutes', 'min', 'mins')
_SECOND_WORDS = ('second', 'seconds', 'sec', 'secs')


def simplify_scripts(tokens: list[Token]) -> list[Token]:
  """Replaces raised primes by primes, and removes the raised letters of an ordinal."""
  result: list[Token] = []
  index = 0
  while index < len(tokens):
    if _is_point_of_integer(tokens, index):
      index += 1
      continue
    texts, length = ([], 0)
    if tokens[index].text == '^' and index:
      texts, length = _script(tokens, index + 1)
    if texts and all(text == "'" for text in texts):
      result += [_PRIME] * len(texts)
      index += length + 1
    elif texts and _is_ordinal_suffix(''.join(texts), tokens[index - 1]):
      index += length + 1
    else:
      result.append(tokens[index])
      index += 1
  return _angle_words_to_signs(result)


def _is_point_of_integer(tokens: Sequence[Token], index: int) -> bool:
  """Returns True at the point of `12. cm`."""
  if tokens[index].text != '.' or not index or index + 1 == len(tokens):
    return False
  before, after = tokens[index - 1], tokens[index + 1]
  is_integer = (
    before.kind == 'number' and before.text.isdigit() and not tokens[index].gap
  )
  if after.text == '(':  # 12. (units), but 0.(3) is a repeating decimal
    return (
      is_integer
      and tokens[index + 2 : index + 3] != []
      and tokens[index + 2].kind == 'word'
    )
  return is_integer and (after.kind == 'word' or after.text in ('^', '°'))


def _script(tokens: Sequence[Token], start: int) -> tuple[list[str], int]:
  """Returns the texts of a script without its braces, and how many tokens it takes."""
  if start >= len(tokens):
    return [], 0
  if tokens[start].text != '{':
    end = start + 1
    while (
      tokens[start].text == "'" and end < len(tokens) and tokens[end] == _PRIME
    ):
      end += 1
    return [token.text for token in tokens[start:end]], end - start
  texts = []
  for token in tokens[start + 1 :]:
    if token.text == '}':
      return texts, len(texts) + 2
    texts.append(token.text)
  return [], 0


def _is_ordinal_suffix(text: str, before: Token) -> bool:
  if before.kind == 'name':
    return text == 'th'
  return before.kind == 'number' and text in english_words.ORDINAL_SUFFIXES


def _angle_words_to_signs(tokens: list[Token]) -> list[Token]:
  """Replaces `63 degrees 45 minutes` by `63 ° 45 '`."""
  for index in range(len(tokens) - 2):
    degrees, number, minutes = tokens[index : index + 3]
    is_angle = (
      number.kind == 'number'
      and (degrees.text in _DEGREE_WORDS or degrees.text in ('°', '∘', '}'))
      and minutes.text in _MINUTE_WORDS
    )
    if not is_angle:
      continue
    if degrees.kind == 'word':
      tokens[index] = _DEGREE
    tokens[index + 2] = _PRIME
    seconds = tokens[index + 3 : index + 5]
    if len(seconds) == 2 and seconds[0].kind == 'number':
      if seconds[1].text in _SECOND_WORDS:
        tokens[index + 4 : index + 5] = [_PRIME, _PRIME]
    break
  return tokens


def mark_dimensions(tokens: list[Token]) -> list[Token]:
  """Replaces the sign of multiplication between quantities with units by the word `by`."""
  for index in range(1, len(tokens) - 1):
    token, before, after = tokens[index], tokens[index - 1], tokens[index + 1]
    is_sign = token.text in ('*', 'x') and token.kind in ('operator', 'name')
    has_unit = before.kind == 'word' and len(before.text) > 1
    if is_sign and has_unit and after.kind == 'number':
      tokens[index] = Token('word', 'by', True)
  return tokens


def remove_unit_letters(tokens: list[Token]) -> list[Token]:
  """Removes units of one letter behind a number: `48 g`, `9.8 m/s^2`."""
  result: list[Token] = []
  index = 0
  while index < len(tokens):
    length = _length_of_unit_letters(tokens, index)
    if length and index and tokens[index - 1].kind == 'number':
      index += length
    else:
      result.append(tokens[index])
      index += 1
  return result


def _length_of_unit_letters(tokens: Sequence[Token], index: int) -> int:
  """Returns the number of tokens of `g`, `m/s` or `m/s^2` before a separator or the end."""
  if tokens[index].kind != 'name':
    return 0
  texts = [token.text for token in tokens[index : index + 8]]
  for unit in _UNIT_LETTERS:
    end = index + len(unit)
    if texts[: len(unit)] != list(unit):
      continue
    if end == len(tokens) or tokens[end].text in _SEPARATORS:
      return len(unit)
  return 0
