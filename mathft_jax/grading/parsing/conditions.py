"""Conditions behind an answer in words or signs: `2k, k an integer`, `2^k for all k >= 0`.

A condition that a variable of the answer is an integer is removed: answers with and without it are
the same. Before any other condition, `for all` becomes a comma.
"""

from collections.abc import Sequence

from mathft_jax.grading.parsing import english_words
from mathft_jax.grading.parsing.lexer import Token

_ORDER = ('<', '>', '≤', '≥', '≠')
_SEPARATORS = (',', ';', '(', 'and')
_INTEGER_SETS = ('Z', 'N')
_INTEGER_WORDS = frozenset(
  'integer integers natural whole number numbers positive negative nonnegative '
  'non-negative arbitrary is are a an be any all some every each for where with'.split()
)


def remove_integer_conditions(tokens: list[Token]) -> list[Token]:
  """Returns the tokens without conditions that a variable of the answer is an integer."""
  for start in range(1, len(tokens)):
    if not _may_start_condition(tokens, start):
      continue
    end = _end_of_integer_condition(tokens, start)
    if end:
      return [*tokens[:start], *remove_integer_conditions(tokens[end:])]
  return _replace_quantifiers(tokens)


def _may_start_condition(tokens: Sequence[Token], start: int) -> bool:
  token = tokens[start]
  if token.text in _SEPARATORS:
    return True
  return token.kind == 'word' and token.text in english_words.CONDITION_WORDS


def _end_of_integer_condition(tokens: Sequence[Token], start: int) -> int:
  """Returns the index after the condition that starts at `start`; 0 if there is none."""
  index = start
  has_bracket = False
  while index < len(tokens) and tokens[index].text in _SEPARATORS:
    has_bracket |= tokens[index].text == '('
    index += 1
  index, says_integer = _skip_words(tokens, index)

  names: set[str] = set()
  while index < len(tokens) and tokens[index].kind == 'name':
    names.add(tokens[index].text)
    index += 1
    if index + 1 < len(tokens) and tokens[index].text == ',':
      index += tokens[index + 1].kind == 'name'
  after_set = _end_of_integer_set(tokens, index)
  if after_set:
    index, says_integer = after_set, True
  else:
    index, says_so = _skip_words(tokens, index)
    says_integer |= says_so

  if has_bracket and index < len(tokens) and tokens[index].text == ')':
    index += 1
    has_bracket = False
  is_end = index >= len(tokens) or tokens[index].text in (',', ';', '.')
  if not says_integer or not names or has_bracket or not is_end:
    return 0
  before = tokens[:start]
  if any(token.text in _ORDER for token in before):
    return 0
  used = {token.text for token in before if token.kind == 'name'}
  return index if names <= used and len(before) > len(names) else 0


def _skip_words(tokens: Sequence[Token], index: int) -> tuple[int, bool]:
  """Skips words of such a condition; returns the next index and whether one is `integer`."""
  says_integer = False
  while index < len(tokens):
    word = tokens[index].text.lower()
    is_article = tokens[index].kind == 'name' and word == 'a'
    if tokens[index].kind != 'word' and not is_article:
      break
    if word not in _INTEGER_WORDS:
      break
    says_integer |= word in ('integer', 'integers', 'natural', 'whole')
    index += 1
  return index, says_integer


def _end_of_integer_set(tokens: Sequence[Token], index: int) -> int:
  r"""Returns the index after `\in \mathbb{Z}` with its scripts; 0 for anything else."""
  texts = [token.text for token in tokens[index : index + 5]]
  if len(texts) < 2 or texts[0] != '∈':
    return 0
  if texts[1] in _INTEGER_SETS:
    index += 2
  elif (
    texts[1:3] == ['mathbb', '{'] and texts[3:4] and texts[3] in _INTEGER_SETS
  ):
    index += 5
  elif texts[1] == 'mathbb' and texts[2:3] and texts[2] in _INTEGER_SETS:
    index += 3
  else:
    return 0
  while index + 1 < len(tokens) and tokens[index].text in ('^', '_'):
    index += 1
    if tokens[index].text == '{':
      while index < len(tokens) and tokens[index].text != '}':
        index += 1
    index += 1
  return min(index, len(tokens))


def _replace_quantifiers(tokens: list[Token]) -> list[Token]:
  """Replaces `for all` and `where` before a formula by a comma."""
  result: list[Token] = []
  index = 0
  while index < len(tokens):
    end = index
    if result and tokens[index].text in ('for', 'where', 'with'):
      end = index + 1
      while end < len(tokens) and tokens[end].text in english_words.QUANTIFIERS:
        end += 1
    has_quantifier = end > index + 1 or tokens[index].text != 'for'
    if end > index and has_quantifier and tokens[index].kind == 'word':
      if end < len(tokens) and tokens[end].kind != 'word':
        result.append(Token('operator', ',', False))
        index = end
        continue
    result.append(tokens[index])
    index += 1
  return result
