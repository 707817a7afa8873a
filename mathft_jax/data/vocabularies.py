"""Text to token ids and back, without TensorFlow.

A vocabulary is anything with these attributes; the rest of the code asks for no more:

  encode(text) -> list[int]    no BOS, no EOS
  decode(ids) -> str           stops at the first EOS, drops PAD and BOS
  vocab_size                   ids are below it
  pad_id, eos_id, bos_id       bos_id may be None; pad_id is not eos_id, or no model learns to stop
  fingerprint() -> str         equal for vocabularies that give the same ids to every text
"""

from collections.abc import Iterable, Sequence
import dataclasses
import functools
import hashlib

from etils import epath

PAD_ID, EOS_ID, BOS_ID = 0, 1, 2
FIRST_ID = 3  # ids below are special


@dataclasses.dataclass(frozen=True)
class ByteVocabulary:
  """UTF-8 bytes: byte b is id b + 3. Any text makes the round trip."""

  pad_id = PAD_ID
  eos_id = EOS_ID
  bos_id = BOS_ID
  vocab_size = FIRST_ID + 256

  def encode(self, text: str) -> list[int]:
    return [byte + FIRST_ID for byte in text.encode('utf-8')]

  def decode(self, ids: Iterable[int]) -> str:
    """The text; bytes that are no UTF-8 (a cut or sampled sequence) become U+FFFD."""
    kept = _until_eos(ids, self)
    return bytes(index - FIRST_ID for index in kept).decode('utf-8', errors='replace')

  def fingerprint(self) -> str:
    return 'bytes, pad 0, eos 1, bos 2, byte + 3'


@dataclasses.dataclass(frozen=True)
class WordVocabulary:
  """Whitespace-separated words out of a fixed list: word i of `words` is id i + 3."""

  words: tuple[str, ...]
  pad_id = PAD_ID
  eos_id = EOS_ID
  bos_id = BOS_ID

  def __post_init__(self):
    object.__setattr__(self, 'words', tuple(self.words))
    if len(set(self.words)) != len(self.words) or any(w.split() != [w] for w in self.words):
      raise ValueError('WordVocabulary: words must be distinct and without white space, got '
                       f'{self.words}.')

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    return {word: index for index, word in enumerate(self.words, start=FIRST_ID)}

  @property
  def vocab_size(self) -> int:
    return FIRST_ID + len(self.words)

  def encode(self, text: str) -> list[int]:
    """The ids of the words of `text`; ValueError for a word that is not in the list."""
    try:
      return [self._ids[word] for word in text.split()]
    except KeyError as error:
      raise ValueError(f'WordVocabulary: unknown word {error} in {text[:80]!r}; it knows '
                       f'{len(self.words)} words: add it to `words`.') from error

  def decode(self, ids: Iterable[int]) -> str:
    return ' '.join(self.words[index - FIRST_ID] for index in _until_eos(ids, self))

  def fingerprint(self) -> str:
    digest = hashlib.sha256('\n'.join(self.words).encode('utf-8')).hexdigest()[:16]
    return f'{len(self.words)} words, pad 0, eos 1, bos 2, sha256 {digest}'


@dataclasses.dataclass(frozen=True)
class TokenizerVocabulary:
  """A published model's tokenizer, from its `tokenizer.json`; needs the package `tokenizers`.

  Special tokens are named as the file names them. Where a model has no padding token any other that
  never occurs in a text will do, but not EOS. A prompt is tokenised piece by piece, so a tokenizer
  that begins every piece with a space of its own (Llama 2's) is refused.
  """

  path: str
  eos: str
  pad: str
  bos: str | None = None

  def __post_init__(self):
    if self.pad == self.eos:
      raise ValueError(f'{self.path}: pad and eos are both {self.eos!r}; bind another pad token, '
                       'or the model never learns to stop.')
    pieces = self.encode('1') + self.encode('+1')
    if (text := self._tokenizer.decode(pieces, skip_special_tokens=False)) != '1+1':
      raise ValueError(f'{self.path}: the pieces "1" and "+1" come back as {text!r}; wanted a '
                       'tokenizer that adds no space to a piece.')

  @functools.cached_property
  def _tokenizer(self):
    try:
      import tokenizers
    except ImportError as error:
      raise ImportError('TokenizerVocabulary needs the package tokenizers; install '
                        'mathft_jax[data].') from error
    return tokenizers.Tokenizer.from_str(epath.Path(self.path).read_text())

  def _id(self, token: str) -> int:
    index = self._tokenizer.token_to_id(token)
    if index is None:
      raise ValueError(f'{self.path}: no token {token!r}; wanted one of its special tokens.')
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
    return self._tokenizer.get_vocab_size(with_added_tokens=True)

  def encode(self, text: str) -> list[int]:
    return self._tokenizer.encode(text, add_special_tokens=False).ids

  def decode(self, ids: Iterable[int]) -> str:
    return self._tokenizer.decode(_until_eos(ids, self), skip_special_tokens=False)

  def fingerprint(self) -> str:
    digest = hashlib.sha256(self._tokenizer.to_str().encode('utf-8')).hexdigest()[:16]
    return f'tokenizer, pad {self.pad}, eos {self.eos}, bos {self.bos}, sha256 {digest}'


def _until_eos(ids: Iterable[int], vocabulary) -> Sequence[int]:
  """The ids before the first EOS, without PAD and BOS; ValueError for ids out of range."""
  kept = []
  for index in map(int, ids):
    if index == vocabulary.eos_id:
      break
    if not 0 <= index < vocabulary.vocab_size:
      raise ValueError(f'id {index} in a text to decode; wanted 0 to {vocabulary.vocab_size - 1}.')
    if index not in (vocabulary.pad_id, vocabulary.bos_id):
      kept.append(index)
  return kept
