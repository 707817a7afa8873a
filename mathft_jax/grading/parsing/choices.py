"""Choice letters with a value, such as `(C) 28`, and parts with labels, such as `(a) 3 (b) 4`."""

from collections.abc import Sequence

from mathft_jax.grading.parsing.lexer import Token

_LETTERS = frozenset('ABCDEFGHIJ')
_LABELS = ('a b c d e f'.split(), '1 2 3 4 5 6'.split(), 'i ii iii iv'.split())
_CHOICE_WORDS = ('option', 'choice')
_OPERATORS = frozenset('+*/=^<>≤≥≠≈_!|:,;')


def split_choice(
  tokens: Sequence[Token],
) -> tuple[str, Sequence[Token]] | None:
  """Returns the letter and the tokens of its value; None for any other answer.

  The letter stands in brackets, or before `)`, `.` or `:`. Without a space, `(C)28` is read so, but
  `(C)x` is a product.
  """
  texts = [token.text for token in tokens[:5]]
  if texts and texts[0].lower() in _CHOICE_WORDS:
    tokens, texts = tokens[1:], texts[1:]
  start = 0
  if len(texts) > 3 and texts[0] == '(' and texts[2] == ')':
    start = 3
    letter = texts[1]
  elif len(texts) > 2 and texts[1] in (')', '.', ':'):
    start = 2
    letter = texts[0]
    if texts[1] == ':' and not _may_follow_colon(tokens[start:]):
      return None
  else:
    return _split_trailing_choice(tokens)
  value = tokens[start:]
  if letter not in _LETTERS or not _is_value(value):
    return None
  return letter, value


def _split_trailing_choice(
  tokens: Sequence[Token],
) -> tuple[str, Sequence[Token]] | None:
  """Splits `28 (C)`, a number and a letter in brackets."""
  if len(tokens) < 4 or tokens[-4].kind != 'number':
    return None
  opening, letter, closing = tokens[-3:]
  if (opening.text, closing.text) != ('(', ')') or not opening.gap:
    return None
  return (letter.text, tokens[:-3]) if letter.text in _LETTERS else None


def _may_follow_colon(value: Sequence[Token]) -> bool:
  texts = {token.text for token in value}
  return value[0].gap and texts.isdisjoint({':', '=', '→', '↦'})


def _is_value(value: Sequence[Token]) -> bool:
  first = value[0]
  if first.text == '-':
    return len(value) > 1 and first.gap and not value[1].gap
  if first.text in _OPERATORS:
    return False
  return first.gap or first.kind == 'number'


def split_labelled_parts(
  tokens: Sequence[Token],
) -> list[Sequence[Token]] | None:
  """Returns the tokens of each part of `(a) 3 (b) 4`; None for any other answer."""
  is_labelled = len(tokens) > 3 and (
    tokens[0].text == '(' or tokens[1].text == ')'
  )
  if not is_labelled:
    return None
  for labels in _LABELS:
    starts, parts = [], []
    for index in range(len(tokens)):
      length = _label_length(
        tokens, index, labels[min(len(starts), len(labels) - 1)]
      )
      if length and (index == 0) == (not starts):
        starts.append((index, index + length))
    if len(starts) < 2:
      continue
    ends = [start for start, _ in starts[1:]] + [len(tokens)]
    for (_, start), end in zip(starts, ends):
      part = list(tokens[start:end])
      while part and part[-1].text in (',', ';', 'and', '.'):
        part.pop()
      parts.append(part)
    return parts if all(parts) else None
  return None


def _label_length(tokens: Sequence[Token], index: int, label: str) -> int:
  """Returns the number of tokens of `(a)` or `a)` at `index`; 0 for no label."""
  opening = tokens[index].text == '('
  end = index + opening + len(label)
  if end + 1 >= len(tokens) or tokens[end].text != ')':
    return 0
  text = ''.join(token.text for token in tokens[index + opening : end])
  # After the label something new starts: `(a) 3`, but not `f(a)+1`.
  is_apart = tokens[index].gap or index == 0
  return (
    end + 1 - index if text == label and is_apart and tokens[end + 1].gap else 0
  )
