"""Token ids as readable text, with the names of special tokens.

text = ids_to_text(vocabulary, ids)     'Problem:\\n1 + 1 ...<eos>'
line = printable(text)                  one line without control characters
"""

from collections.abc import Iterable

from mathft_jax.data.prompt_templates import Vocabulary


def special_names(vocabulary: Vocabulary) -> dict[int, str]:
  """Returns the names of special tokens by id; EOS, BOS and PAD always have one."""
  names = {}
  for name, index in vocabulary.special_ids.items():
    names[index] = name
  names.setdefault(vocabulary.eos_id, '<eos>')
  names.setdefault(vocabulary.pad_id, '<pad>')
  if vocabulary.bos_id is not None:
    names.setdefault(vocabulary.bos_id, '<bos>')
  return names


def token_name(vocabulary: Vocabulary, index: int | None) -> str:
  """Returns `<eos> (1)`, or 'none'."""
  if index is None:
    return 'none'
  return f'{special_names(vocabulary).get(index, "token")} ({index})'


def ids_to_text(vocabulary: Vocabulary, ids: Iterable[int]) -> str:
  """Returns the text of all ids. `Vocabulary.decode` stops at EOS; this function does not."""
  names = special_names(vocabulary)
  text, plain = '', []
  for index in map(int, ids):
    if index in names:
      text += vocabulary.decode(plain) + names[index]
      plain = []
    elif 0 <= index < vocabulary.vocab_size:
      plain.append(index)
    else:
      text += vocabulary.decode(plain) + f'<id {index}>'
      plain = []
  return text + vocabulary.decode(plain)


def printable(text: str, limit: int | None = None) -> str:
  """Returns text as one line: control characters are escaped, the middle of long texts is cut."""
  if limit is not None and len(text) > limit:
    half = limit // 2
    text = f'{text[:half]} ... {text[-half:]}'
  shown = []
  for letter in text:
    if letter == '\n':
      letter = '\\n'
    elif not letter.isprintable():
      letter = letter.encode('unicode_escape').decode('ascii')
    shown.append(letter)
  return ''.join(shown)


def quote(text: str, limit: int | None = None) -> str:
  """Returns `printable` text in quotation marks."""
  return f"'{printable(text, limit)}'"


def first_difference(
  vocabulary: Vocabulary, left: list[int], right: list[int]
) -> str:
  """Returns `position 5: ' a' against ' b'` for the first ids that differ."""
  shortest = min(len(left), len(right))
  index = 0
  while index < shortest and left[index] == right[index]:
    index += 1
  shown = []
  for ids in (left, right):
    text = ids_to_text(vocabulary, ids[index : index + 12])
    shown.append(quote(text))
  return f'position {index}: {shown[0]} against {shown[1]}'
