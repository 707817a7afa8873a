"""Published tokenizers as they lie on disk: a `tokenizer.json`, or a SentencePiece model.

Both are read so that a text is nothing but its tokens: no BOS or EOS, no padding, no cut at some
length, no space before the first letter. Some tokenizers (Llama 2's, Mistral's) begin every text
with a space, also every piece of one; that is told apart as `adds_space`, so that the first piece of
a prompt can have it and the others not.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any

from etils import epath

FILE_NAMES = (
  'tokenizer.json',
  'tokenizer.model',
)  # in a folder, the first that is there
# `normalizer_spec { add_dummy_prefix: false }` on the wire; protobuf merges what is appended.
NO_DUMMY_PREFIX = b'\x1a\x02\x18\x00'


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
  """One tokenizer, whatever its format.

  Attributes:
    encode: the ids of a text; names of special tokens in it may become these.
    decode: the text of ids.
    token_id: the id of a token by its name; None for an unknown name.
    token: the name of an id.
    special_ids: {name: id} of the tokens that the file calls special; the unknown token is not
      among them, as texts may need it.
    size: ids are below it.
    adds_space: as published it begins a text with a space.
    digest: equal for files that give the same ids to every text, wherever they lie.
  """

  encode: Callable[[str], list[int]]
  decode: Callable[[Sequence[int]], str]
  token_id: Callable[[str], int | None]
  token: Callable[[int], str]
  special_ids: Mapping[str, int]
  size: int
  adds_space: bool
  digest: str


def load_tokenizer(path: epath.PathLike) -> Tokenizer:
  """The tokenizer of a file, or of a folder with one; ValueError when there is none."""
  path = epath.Path(path)
  found = (
    [path / name for name in FILE_NAMES if (path / name).is_file()]
    if path.is_dir()
    else [path]
  )
  if not found or not found[0].is_file():
    raise ValueError(
      f'{path}: no tokenizer; wanted a tokenizer.json, a SentencePiece model, or a '
      f'folder that has {" or ".join(FILE_NAMES)} (TOKENIZER_PATH).'
    )
  content = found[0].read_bytes()
  if content.startswith(b'version https://git-lfs'):
    raise ValueError(
      f'{found[0]} is a git lfs pointer; fetch the file that it stands for.'
    )
  make = _from_json if found[0].suffix == '.json' else _from_sentence_pieces
  try:
    return make(content)
  except (ValueError, KeyError, RuntimeError) as error:
    raise ValueError(
      f'{found[0]} is no tokenizer that can be read: {error}'
    ) from error


def _from_json(content: bytes) -> Tokenizer:
  tokenizers = _library('tokenizers')
  published = json.loads(content)
  plain = {
    **published,
    'truncation': None,
    'padding': None,
    **{
      part: _without_space(published.get(part))
      for part in ('normalizer', 'pre_tokenizer', 'decoder')
    },
  }
  library = _json_tokenizer(tokenizers, plain)
  adds_space = plain != published and (
    _json_tokenizer(tokenizers, published)
    .encode('1', add_special_tokens=False)
    .ids
    != library.encode('1', add_special_tokens=False).ids
  )
  unknown = getattr(library.model, 'unk_token', None)
  special = {
    token['content']: token['id']
    for token in published.get('added_tokens', ())
    if token['special'] and token['content'] != unknown
  }
  return Tokenizer(
    encode=lambda text: library.encode(text, add_special_tokens=False).ids,
    decode=lambda ids: library.decode(ids, skip_special_tokens=False),
    token_id=library.token_to_id,
    token=library.id_to_token,
    special_ids=special,
    size=max(library.get_vocab(with_added_tokens=True).values()) + 1,
    adds_space=adds_space,
    digest=_json_digest(published),
  )


def _json_tokenizer(tokenizers: Any, content: Mapping[str, Any]) -> Any:
  """The library's tokenizer; its errors are of no type of their own."""
  try:
    return tokenizers.Tokenizer.from_str(json.dumps(content))
  except Exception as error:  # noqa: BLE001 (tokenizers raises plain Exception)
    raise ValueError(str(error)) from error


def _without_space(part: Any) -> Any:
  """A normalizer, pre-tokenizer or decoder without what puts a space first or takes it off."""
  if (
    part is None
    or part['type'] == 'Prepend'
    or (part['type'] == 'Strip' and part.get('content') == ' ')
  ):
    return None
  if part['type'] == 'Metaspace':
    return {**part, 'prepend_scheme': 'never', 'add_prefix_space': False}
  if part['type'] == 'ByteLevel':
    return {**part, 'add_prefix_space': False}
  if part['type'] != 'Sequence':
    return part
  [members] = part.keys() - {'type'}
  kept = [
    inner for inner in map(_without_space, part[members]) if inner is not None
  ]
  return {**part, members: kept} if kept else None


def _json_digest(published: Mapping[str, Any]) -> str:
  """Of what makes ids: not of padding, length, post-processor or the way the json is written."""
  model = dict(published['model'])
  if 'merges' in model:  # older files have "a b", newer ones ["a", "b"]
    model['merges'] = [
      pair if isinstance(pair, str) else ' '.join(pair)
      for pair in model['merges']
    ]
  parts = {
    name: published.get(name)
    for name in ('added_tokens', 'normalizer', 'pre_tokenizer')
  }
  return _sha256(
    json.dumps({**parts, 'model': model}, sort_keys=True).encode('utf-8')
  )


def _from_sentence_pieces(content: bytes) -> Tokenizer:
  sentencepiece = _library('sentencepiece')
  published = sentencepiece.SentencePieceProcessor(model_proto=content)
  plain = sentencepiece.SentencePieceProcessor(
    model_proto=content + NO_DUMMY_PREFIX
  )

  def token_id(name: str) -> int | None:
    index = plain.piece_to_id(name)
    return index if plain.id_to_piece(index) == name else None

  return Tokenizer(
    encode=plain.encode,
    decode=lambda ids: plain.decode(list(ids)),
    token_id=token_id,
    token=plain.id_to_piece,
    special_ids={
      plain.id_to_piece(index): index
      for index in range(plain.get_piece_size())
      if plain.is_control(index)
    },
    size=plain.get_piece_size(),
    adds_space=published.encode('1') != plain.encode('1'),
    digest=_sha256(content),
  )


def _library(name: str) -> Any:
  """A tokenizer library, imported when a file asks for it."""
  try:
    return __import__(name)
  except ImportError as error:
    raise ImportError(
      f'This tokenizer needs the package {name}; install mathft_jax[data].'
    ) from error


def _sha256(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()[:16]
