"""Text to token ids and back, without TensorFlow.

A vocabulary is anything with these attributes; the rest of the code asks for no more:

  encode(text) -> list[int]    no BOS, no EOS, no other special token
  decode(ids) -> str           stops at the first EOS, drops PAD and BOS
  vocab_size                   ids are below it
  pad_id, eos_id, bos_id       bos_id may be None; pad_id is not eos_id, or no model learns to stop
  special_ids                  {name: id} of tokens that templates may use and no text becomes
  text_prefix                  what a text begins with, unseen: '' or Llama 2's ' '
  fingerprint() -> str         equal for vocabularies that give the same ids to every text
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import re
import types

from mathft_jax.data import tokenizer_files

PAD_ID, EOS_ID, BOS_ID = 0, 1, 2
FIRST_TEXT_ID = 3  # ids below are special
NONE_SPECIAL: Mapping[str, int] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class ByteVocabulary:
  """UTF-8 bytes: byte b is id b + 3. Any text makes the round trip."""

  pad_id = PAD_ID
  eos_id = EOS_ID
  bos_id = BOS_ID
  special_ids = NONE_SPECIAL
  text_prefix = ''
  vocab_size = FIRST_TEXT_ID + 256

  def encode(self, text: str) -> list[int]:
    return [byte + FIRST_TEXT_ID for byte in text.encode('utf-8')]

  def decode(self, ids: Iterable[int]) -> str:
    """The text; bytes that are no UTF-8 (a cut or sampled sequence) become U+FFFD."""
    kept = _until_eos(ids, self)
    return bytes(index - FIRST_TEXT_ID for index in kept).decode(
      'utf-8', errors='replace'
    )

  def fingerprint(self) -> str:
    return 'bytes, pad 0, eos 1, bos 2, byte + 3'


@dataclasses.dataclass(frozen=True)
class WordVocabulary:
  """Whitespace-separated words out of a fixed list: word i of `words` is id i + 3."""

  words: tuple[str, ...]
  pad_id = PAD_ID
  eos_id = EOS_ID
  bos_id = BOS_ID
  special_ids = NONE_SPECIAL
  text_prefix = ''

  def __post_init__(self):
    object.__setattr__(self, 'words', tuple(self.words))
    if len(set(self.words)) != len(self.words) or any(
      w.split() != [w] for w in self.words
    ):
      raise ValueError(
        f'WordVocabulary: words must be distinct and without white space, got {self.words}.'
      )

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    return {
      word: index for index, word in enumerate(self.words, start=FIRST_TEXT_ID)
    }

  @property
  def vocab_size(self) -> int:
    return FIRST_TEXT_ID + len(self.words)

  def encode(self, text: str) -> list[int]:
    """The ids of the words of `text`; ValueError for a word that is not in the list."""
    try:
      return [self._ids[word] for word in text.split()]
    except KeyError as error:
      raise ValueError(
        f'WordVocabulary: unknown word {error} in {text[:80]!r}; it knows '
        f'{len(self.words)} words: add it to `words`.'
      ) from error

  def decode(self, ids: Iterable[int]) -> str:
    return ' '.join(
      self.words[index - FIRST_TEXT_ID] for index in _until_eos(ids, self)
    )

  def fingerprint(self) -> str:
    digest = hashlib.sha256('\n'.join(self.words).encode('utf-8')).hexdigest()[
      :16
    ]
    return f'{len(self.words)} words, pad 0, eos 1, bos 2, sha256 {digest}'


@dataclasses.dataclass(frozen=True)
class TokenizerVocabulary:
  """A published model's tokenizer: a `tokenizer.json`, or a SentencePiece model.

  A text never becomes a special token, even if it has the name of one in it: such a name is read as
  the letters that it is. Special tokens come from templates, EOS and BOS alone. Every other text
  has the ids that the published tokenizer gives it; one that begins texts with a space (Llama 2's)
  has that space as `text_prefix`, and later pieces of a text go without it.

  Attributes:
    path: the file, or a folder with a tokenizer.json or tokenizer.model.
    eos, pad, bos: names or ids. Where a model has no padding token any other that no text needs
      will do, but not EOS.
    additional_special_tokens: names of further tokens that texts must not become and templates may use, besides those
      that the file calls special.
    max_vocab_size: at most so many ids, where the file has more than the model; None: the file's.
  """

  path: str
  eos: str | int
  pad: str | int
  bos: str | int | None = None
  additional_special_tokens: tuple[str, ...] = ()
  max_vocab_size: int | None = None

  def __post_init__(self):
    object.__setattr__(
      self, 'additional_special_tokens', tuple(self.additional_special_tokens)
    )
    if self.pad_id == self.eos_id:
      raise ValueError(
        f'{self.path}: pad and eos are both {self.eos!r}; bind another pad token, '
        'or the model never learns to stop.'
      )
    pieces = ('1\n', '  +1')
    if (text := self.decode(sum(map(self.encode, pieces), []))) != ''.join(
      pieces
    ):
      raise ValueError(
        f'{self.path}: the pieces {pieces} come back as {text!r}; wanted a '
        'tokenizer that keeps white space as it is.'
      )

  @functools.cached_property
  def _tokenizer(self) -> tokenizer_files.Tokenizer:
    return tokenizer_files.load_tokenizer(self.path)

  def _id(self, token: str | int) -> int:
    index = token if isinstance(token, int) else self._tokenizer.token_id(token)
    if index is None or not 0 <= index < self.vocab_size:
      raise ValueError(
        f'{self.path}: no token {token!r}; wanted one of its special tokens, say '
        f'{", ".join(list(self._tokenizer.special_ids)[:12]) or "by its id"}, or an id below '
        f'{self.vocab_size}.'
      )
    return index

  @functools.cached_property
  def eos_id(self) -> int:
    return self._id(self.eos)

  @functools.cached_property
  def pad_id(self) -> int:
    return self._id(self.pad)

  @functools.cached_property
  def bos_id(self) -> int | None:
    return None if self.bos is None else self._id(self.bos)

  @property
  def vocab_size(self) -> int:
    return min(
      self._tokenizer.size, self.max_vocab_size or self._tokenizer.size
    )

  @property
  def text_prefix(self) -> str:
    return ' ' if self._tokenizer.adds_space else ''

  @functools.cached_property
  def special_ids(self) -> dict[str, int]:
    bound = [
      self.eos_id,
      self.pad_id,
      *([] if self.bos_id is None else [self.bos_id]),
    ]
    known = {
      name: index
      for name, index in self._tokenizer.special_ids.items()
      if index < self.vocab_size
    }
    return {
      **known,
      **{name: self._id(name) for name in self.additional_special_tokens},
      **{self._tokenizer.token(index): index for index in bound},
    }

  @functools.cached_property
  def _never_text(self) -> dict[str, int]:
    return {**self._tokenizer.special_ids, **self.special_ids}

  @functools.cached_property
  def _inside_name(self) -> re.Pattern:
    """Matches after the first letter of each special token's name."""
    return re.compile(
      '|'.join(
        f'(?<={re.escape(name[0])})(?={re.escape(name[1:])})'
        for name in self._never_text
        if len(name) > 1
      )
    )

  def encode(self, text: str) -> list[int]:
    """The ids of `text`; ValueError for a letter that no token but a special one stands for."""
    never, ids = (
      frozenset(self._never_text.values()),
      self._tokenizer.encode(text),
    )
    for split in (
      self._inside_name.split,
      list,
    ):  # single letters: names that normalisation makes
      if never.isdisjoint(ids):
        break
      ids = [
        index
        for piece in split(text)
        for index in self._tokenizer.encode(piece)
      ]
    if not never.isdisjoint(ids) or max(ids, default=0) >= self.vocab_size:
      raise ValueError(
        f'{self.path}: {text[:80]!r} has a letter that becomes a special token (an unknown one '
        f'may: pad is {self.pad!r}) or an id beyond {self.vocab_size - 1}; bind another pad or '
        'size.'
      )
    return ids

  def decode(self, ids: Iterable[int]) -> str:
    return self._tokenizer.decode(_until_eos(ids, self))

  def fingerprint(self) -> str:
    names = {
      name: None
      if index is None
      else f'{self._tokenizer.token(index)} ({index})'
      for name, index in (
        ('pad', self.pad_id),
        ('eos', self.eos_id),
        ('bos', self.bos_id),
      )
    }
    special = (
      f', special {" ".join(sorted(self.additional_special_tokens))}'
      if self.additional_special_tokens
      else ''
    )
    return (
      f'tokenizer, {", ".join(f"{name} {token}" for name, token in names.items())}{special}, '
      f'sha256 {self._tokenizer.digest}'
    )


def _until_eos(ids: Iterable[int], vocabulary) -> Sequence[int]:
  """The ids before the first EOS, without PAD and BOS; ValueError for ids out of range."""
  kept = []
  for index in map(int, ids):
    if index == vocabulary.eos_id:
      break
    if not 0 <= index < vocabulary.vocab_size:
      raise ValueError(
        f'id {index} in a text to decode; wanted 0 to {vocabulary.vocab_size - 1}.'
      )
    if index not in (vocabulary.pad_id, vocabulary.bos_id):
      kept.append(index)
  return kept
