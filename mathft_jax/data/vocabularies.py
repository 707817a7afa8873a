"""Vocabularies: text to token ids and back, without TensorFlow.

  vocabulary = TokenizerVocabulary('models/gemma-2-2b', eos='<eos>', pad='<pad>', bos='<bos>')
  assert vocabulary.decode(vocabulary.encode('2 + 2')) == '2 + 2'

All implement `prompt_templates.Vocabulary`.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import re
import types

from mathft_jax.data import prompt_templates, tokenizer_files

PAD_ID, EOS_ID, BOS_ID = 0, 1, 2
FIRST_TEXT_ID = 3  # ids below are special
NO_SPECIAL_IDS: Mapping[str, int] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class ByteVocabulary:
  """UTF-8 bytes: byte b has id b + 3. Decoding restores every text."""

  pad_id = PAD_ID
  eos_id = EOS_ID
  end_ids = (EOS_ID,)
  bos_id = BOS_ID
  special_ids = NO_SPECIAL_IDS
  text_prefix = ''
  vocab_size = FIRST_TEXT_ID + 256

  def encode(self, text: str) -> list[int]:
    return [byte + FIRST_TEXT_ID for byte in text.encode('utf-8')]

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text; bytes that are not UTF-8 (in a cut sequence) become U+FFFD."""
    kept = [index - FIRST_TEXT_ID for index in _ids_before_eos(ids, self)]
    return bytes(kept).decode('utf-8', errors='replace')

  def fingerprint(self) -> str:
    return 'bytes, pad 0, eos 1, bos 2, byte + 3'


@dataclasses.dataclass(frozen=True)
class WordVocabulary:
  """Words of a fixed list, separated by white space: word i of `words` has id i + 3."""

  words: tuple[str, ...]
  pad_id = PAD_ID
  eos_id = EOS_ID
  end_ids = (EOS_ID,)
  bos_id = BOS_ID
  special_ids = NO_SPECIAL_IDS
  text_prefix = ''

  def __post_init__(self):
    object.__setattr__(self, 'words', tuple(self.words))
    has_space = any(word.split() != [word] for word in self.words)
    if has_space or len(set(self.words)) != len(self.words):
      raise ValueError(
        f'WordVocabulary: words must be distinct and without white space, got {self.words}.'
      )

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    return dict(zip(self.words, range(FIRST_TEXT_ID, self.vocab_size)))

  @property
  def vocab_size(self) -> int:
    return FIRST_TEXT_ID + len(self.words)

  def encode(self, text: str) -> list[int]:
    """Returns the ids of the words of `text`; ValueError for a word that is not in the list."""
    try:
      return [self._ids[word] for word in text.split()]
    except KeyError as error:
      raise ValueError(
        f'WordVocabulary: unknown word {error} in {text[:80]!r}; add it to `words`, which has '
        f'{len(self.words)}.'
      ) from error

  def decode(self, ids: Iterable[int]) -> str:
    kept = _ids_before_eos(ids, self)
    return ' '.join([self.words[index - FIRST_TEXT_ID] for index in kept])

  def fingerprint(self) -> str:
    text = '\n'.join(self.words)
    digest = hashlib.sha256(text.encode('utf-8')).hexdigest()[:16]
    return f'{len(self.words)} words, pad 0, eos 1, bos 2, sha256 {digest}'


@dataclasses.dataclass(frozen=True)
class TokenizerVocabulary:
  """The tokenizer of a published model: a `tokenizer.json`, or a SentencePiece model.

  A text never becomes a special token, even if it contains the name of one: the name is encoded as
  plain letters. Only templates, EOS and BOS add special tokens. Every other text has the ids that
  the published tokenizer gives it. If that puts a space before texts (Llama 2), the space is
  `text_prefix`, and later parts of a text are encoded without it.

  Attributes:
    path: the file, or a folder with a tokenizer.json or tokenizer.model.
    eos, pad, bos: names or ids. If a model has no padding token, use another token that no text
      needs, but not EOS.
    end_tokens: names or ids that end a sampled text, in addition to `eos`. None: those of
      generation_config.json beside the tokenizer, if it exists.
    additional_special_tokens: names of tokens that texts must not become and that templates may
      use, in addition to the special tokens of the file.
    max_vocab_size: upper limit of the vocabulary size, if the file has more ids than the model;
      None means no limit.
  """

  path: str
  eos: str | int
  pad: str | int
  bos: str | int | None = None
  additional_special_tokens: tuple[str, ...] = ()
  max_vocab_size: int | None = None
  end_tokens: tuple[str | int, ...] | None = None

  def __post_init__(self):
    names = tuple(self.additional_special_tokens)
    object.__setattr__(self, 'additional_special_tokens', names)
    if self.end_tokens is not None:
      object.__setattr__(self, 'end_tokens', tuple(self.end_tokens))
    if self.pad_id == self.eos_id:
      raise ValueError(
        f'{self.path}: pad and eos are both {self.eos!r}; bind another pad token. With padding '
        'as EOS the model never learns to stop.'
      )
    first, second = '1\n', '  +1'
    decoded = self.decode(self.encode(first) + self.encode(second))
    if decoded != first + second:
      raise ValueError(
        f'{self.path}: the texts {(first, second)} are decoded as {decoded!r}; wanted a tokenizer '
        'that keeps white space.'
      )

  @functools.cached_property
  def _tokenizer(self) -> tokenizer_files.Tokenizer:
    return tokenizer_files.load_tokenizer(self.path)

  def _id_of(self, token: str | int) -> int:
    index = token if isinstance(token, int) else self._tokenizer.token_id(token)
    if index is None or not 0 <= index < self.vocab_size:
      known = ', '.join(list(self._tokenizer.special_ids)[:12])
      raise ValueError(
        f'{self.path}: no token {token!r}; wanted one of its special tokens '
        f'({known or "the file has none"}), or an id below {self.vocab_size}.'
      )
    return index

  @property
  def eos_id(self) -> int:
    return self._id_of(self.eos)

  @property
  def pad_id(self) -> int:
    return self._id_of(self.pad)

  @property
  def end_ids(self) -> tuple[int, ...]:
    tokens = self.end_tokens
    if tokens is None:
      published = tokenizer_files.read_end_token_ids(self.path)
      tokens = [index for index in published if index < self.vocab_size]
    ids = dict.fromkeys([self.eos_id, *map(self._id_of, tokens)])
    return tuple(ids)

  @property
  def bos_id(self) -> int | None:
    return None if self.bos is None else self._id_of(self.bos)

  @property
  def vocab_size(self) -> int:
    size = self._tokenizer.size
    return min(size, self.max_vocab_size or size)

  @property
  def text_prefix(self) -> str:
    return ' ' if self._tokenizer.adds_space else ''

  @property
  def special_ids(self) -> dict[str, int]:
    special_ids = {}
    for name, index in self._tokenizer.special_ids.items():
      if index < self.vocab_size:
        special_ids[name] = index
    for name in self.additional_special_tokens:
      special_ids[name] = self._id_of(name)
    for index in (self.eos_id, self.pad_id, self.bos_id):
      if index is not None:
        special_ids[self._tokenizer.token(index)] = index
    return special_ids

  @functools.cached_property
  def _forbidden_ids(self) -> dict[str, int]:
    """Ids that no text may become, by name; also those at or above `vocab_size`."""
    return {**self._tokenizer.special_ids, **self.special_ids}

  @functools.cached_property
  def _inside_name(self) -> re.Pattern:
    """Matches after the first letter of the name of each special token."""
    alternatives = []
    for name in self._forbidden_ids:
      if len(name) > 1:
        first, rest = re.escape(name[0]), re.escape(name[1:])
        alternatives.append(f'(?<={first})(?={rest})')
    return re.compile('|'.join(alternatives))

  def encode(self, text: str) -> list[int]:
    """Returns the ids of `text`; ValueError for a letter that only a special token encodes."""
    forbidden = frozenset(self._forbidden_ids.values())
    ids = self._tokenizer.encode(text)
    # Cuts the names of special tokens in two; then, for names that normalization creates, cuts
    # the text into single letters.
    for split in (self._inside_name.split, list):
      if forbidden.isdisjoint(ids):
        break
      ids = []
      for part in split(text):
        ids += self._tokenizer.encode(part)

    if not forbidden.isdisjoint(ids) or max(ids, default=0) >= self.vocab_size:
      raise ValueError(
        f'{self.path}: {text[:80]!r} has a letter that becomes a special token (possibly the '
        f'unknown token; pad is {self.pad!r}) or an id above {self.vocab_size - 1}; bind another '
        'pad or max_vocab_size.'
      )
    return ids

  def decode(self, ids: Iterable[int]) -> str:
    return self._tokenizer.decode(_ids_before_eos(ids, self))

  def fingerprint(self) -> str:
    parts = ['tokenizer']
    ids = {'pad': self.pad_id, 'eos': self.eos_id, 'bos': self.bos_id}
    for name, index in ids.items():
      token = None
      if index is not None:
        token = f'{self._tokenizer.token(index)} ({index})'
      parts.append(f'{name} {token}')
    if self.additional_special_tokens:
      parts.append(
        f'special {" ".join(sorted(self.additional_special_tokens))}'
      )
    parts.append(f'sha256 {self._tokenizer.digest}')
    return ', '.join(parts)


def _ids_before_eos(
  ids: Iterable[int], vocabulary: prompt_templates.Vocabulary
) -> Sequence[int]:
  """Returns the ids before the first EOS, without PAD and BOS; ValueError for ids out of range."""
  eos_id, size = vocabulary.eos_id, vocabulary.vocab_size
  dropped = (vocabulary.pad_id, vocabulary.bos_id)
  kept = []
  for index in map(int, ids):
    if index == eos_id:
      break
    if not 0 <= index < size:
      raise ValueError(f'id {index} cannot be decoded; wanted 0 to {size - 1}.')
    if index not in dropped:
      kept.append(index)
  return kept
