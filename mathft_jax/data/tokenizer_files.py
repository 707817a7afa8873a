"""Loads published tokenizers: a `tokenizer.json`, or a SentencePiece model.

  tokenizer = load_tokenizer('models/gemma-2-2b')
  ids = tokenizer.encode('2 + 2')

A text becomes exactly its own tokens: no BOS or EOS, no padding, no truncation, no space before the
first letter. Some tokenizers (Llama 2, Mistral) put a space before every text, also before every
part of one. `Tokenizer.adds_space` says so; the first part of a prompt then gets the space, and the
others do not.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import importlib
import json
from types import ModuleType
from typing import Any

from etils import epath

from mathft_jax.storage import json_files, local_and_remote_paths

Json = dict[str, Any]

# Of a folder, the first that exists.
FILE_NAMES = ('tokenizer.json', 'tokenizer.model')
GENERATION_FILE = 'generation_config.json'
# `normalizer_spec { add_dummy_prefix: false }` as a serialized protobuf; protobuf merges appended
# bytes into the message.
NO_DUMMY_PREFIX = b'\x1a\x02\x18\x00'
GIT_LFS_HEADER = b'version https://git-lfs'
GGUF_HEADER = b'GGUF'


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
  """A tokenizer of either format.

  Attributes:
    encode: text to ids; names of special tokens in the text may become special ids.
    decode: ids to text.
    token_id: name of a token to its id; None for an unknown name.
    token: id to the name of the token.
    special_ids: {name: id} of the special tokens of the file, without the unknown token, which
      texts may need.
    added_ids: {name: id} of all tokens that the file adds to those of its model.
    size: all ids are below it.
    adds_space: the published tokenizer puts a space before every text.
    first_id: id that the published tokenizer puts before every text, usually BOS; None without one
      or if the file does not contain it (SentencePiece).
    digest: equal for files that give the same ids to every text, wherever they are stored.
  """

  encode: Callable[[str], list[int]]
  decode: Callable[[Sequence[int]], str]
  token_id: Callable[[str], int | None]
  token: Callable[[int], str]
  special_ids: Mapping[str, int]
  added_ids: Mapping[str, int]
  size: int
  adds_space: bool
  digest: str
  first_id: int | None = None


def load_tokenizer(path: epath.PathLike) -> Tokenizer:
  """Returns the tokenizer of a file, or of a folder that contains one.

  Raises:
    ValueError: there is no tokenizer, or it cannot be read.
  """
  path = epath.Path(path)
  files = [path]
  if path.is_dir():
    files = [path / name for name in FILE_NAMES]
  existing = [file for file in files if file.is_file()]
  if not existing:
    missing = '' if path.exists() else ' does not exist'
    raise ValueError(
      f'{path}{missing}: no tokenizer; wanted a tokenizer.json, a SentencePiece model, or a '
      f'folder with {" or ".join(FILE_NAMES)} (TOKENIZER_PATH).'
      f'{local_and_remote_paths.missing_path_hint(path)}'
    )

  file = existing[0]
  stat = file.stat()
  return _load_file(str(file), stat.length, stat.mtime)


@functools.lru_cache(maxsize=8)
def _load_file(name: str, length: int, mtime: float) -> Tokenizer:
  """Returns the tokenizer of a file; a configuration has many equal vocabularies.

  Args:
    name: path of the file.
    length, mtime: of the file; a file that changes is read again.
  """
  del length, mtime
  file = epath.Path(name)
  with file.open('rb') as stream:
    if stream.read(len(GGUF_HEADER)) == GGUF_HEADER:
      raise ValueError(
        f'{file} is a GGUF file, which has weights and tokenizer in one. Run `python -m '
        f'mathft_jax.convert --checkpoint={file} --output=FOLDER` first, and set '
        '--gin.TOKENIZER_PATH=FOLDER.'
      )
  content = file.read_bytes()
  if content.startswith(GIT_LFS_HEADER):
    raise ValueError(
      f'{file} is a git lfs pointer, not the file; run `git lfs pull` in its repository.'
    )
  load = _load_json if file.suffix == '.json' else _load_sentencepiece
  try:
    return load(content)
  except (
    ValueError,
    KeyError,
    RuntimeError,
    TypeError,
    AttributeError,
  ) as error:
    raise ValueError(
      f'{file} is not a tokenizer that can be read: {error}'
    ) from error


def read_end_token_ids(path: epath.PathLike) -> list[int]:
  """Returns `eos_token_id` of the generation_config.json beside a tokenizer; [] without one.

  Raises:
    ValueError: the file is not valid.
  """
  path = epath.Path(path)
  folder = path if path.is_dir() else path.parent
  file = folder / GENERATION_FILE
  if not file.is_file():
    return []
  value = json_files.read_json_object(file).get('eos_token_id')
  ids = value if isinstance(value, list) else [value]
  return [index for index in ids if isinstance(index, int)]


def _load_json(content: bytes) -> Tokenizer:
  """Returns the tokenizer of a `tokenizer.json`."""
  published = json.loads(content)
  published = {**published, 'truncation': None, 'padding': None}
  plain = dict(published)
  for part in ('normalizer', 'pre_tokenizer', 'decoder'):
    plain[part] = _remove_prefix_space(published.get(part))

  library = _make_json_tokenizer(plain)
  original = library
  if plain != published:
    original = _make_json_tokenizer(published)
  adds_space = _encode_plain(original, '1') != _encode_plain(library, '1')
  with_first = original.encode('1').ids
  first_id = None
  if with_first != _encode_plain(original, '1'):
    first_id = with_first[0]

  unknown = getattr(library.model, 'unk_token', None)
  special_ids, added_ids = {}, {}
  for token in published.get('added_tokens', ()):
    added_ids[token['content']] = token['id']
    if token['special'] and token['content'] != unknown:
      special_ids[token['content']] = token['id']
  return Tokenizer(
    encode=lambda text: _encode_plain(library, text),
    decode=lambda ids: library.decode(ids, skip_special_tokens=False),
    token_id=library.token_to_id,
    token=library.id_to_token,
    special_ids=special_ids,
    added_ids=added_ids,
    size=max(library.get_vocab(with_added_tokens=True).values()) + 1,
    adds_space=adds_space,
    digest=_digest_json(published),
    first_id=first_id,
  )


def _make_json_tokenizer(content: Json):
  """Returns a `tokenizers.Tokenizer`; ValueError for a content that it does not accept."""
  tokenizers = _import_library('tokenizers')
  try:
    return tokenizers.Tokenizer.from_str(json.dumps(content))
  except Exception as error:  # noqa: BLE001 (tokenizers raises plain Exception)
    raise ValueError(str(error)) from error


def _encode_plain(library, text: str) -> list[int]:
  return library.encode(text, add_special_tokens=False).ids


def _remove_prefix_space(part: Json | None) -> Json | None:
  """Returns a normalizer, pre-tokenizer or decoder that neither adds nor strips a first space."""
  if part is None:
    return None
  kind = part['type']
  if kind == 'Prepend' or (kind == 'Strip' and part.get('content') == ' '):
    return None
  if kind == 'Metaspace':
    return {**part, 'prepend_scheme': 'never', 'add_prefix_space': False}
  if kind == 'ByteLevel':
    return {**part, 'add_prefix_space': False}
  if kind != 'Sequence':
    return part
  [members] = part.keys() - {'type'}
  kept = list(filter(None, map(_remove_prefix_space, part[members])))
  return {**part, members: kept} if kept else None


def _digest_json(published: Json) -> str:
  """Returns a digest of what determines ids.

  Padding, truncation, post-processor and the format of the json do not count.
  """
  model = dict(published['model'])
  if 'merges' in model:  # older files have "a b", newer ones ["a", "b"]
    model['merges'] = [
      pair if isinstance(pair, str) else ' '.join(pair)
      for pair in model['merges']
    ]
  parts: Json = {'model': model}
  for name in ('added_tokens', 'normalizer', 'pre_tokenizer'):
    parts[name] = published.get(name)
  return _sha256(json.dumps(parts, sort_keys=True).encode('utf-8'))


def _load_sentencepiece(content: bytes) -> Tokenizer:
  """Returns the tokenizer of a SentencePiece model."""
  sentencepiece = _import_library('sentencepiece')
  published = sentencepiece.SentencePieceProcessor(model_proto=content)
  plain = sentencepiece.SentencePieceProcessor(
    model_proto=content + NO_DUMMY_PREFIX
  )

  def token_id(name: str) -> int | None:
    index = plain.piece_to_id(name)
    return index if plain.id_to_piece(index) == name else None

  size = plain.get_piece_size()
  control_ids = filter(plain.is_control, range(size))
  return Tokenizer(
    encode=plain.encode,
    decode=lambda ids: plain.decode(list(ids)),
    token_id=token_id,
    token=plain.id_to_piece,
    special_ids={plain.id_to_piece(index): index for index in control_ids},
    added_ids={},
    size=size,
    adds_space=published.encode('1') != plain.encode('1'),
    digest=_sha256(content),
  )


def _import_library(name: str) -> ModuleType:
  """Imports a tokenizer library when a file needs it."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(
      f'This tokenizer needs the package {name}; install mathft_jax[data].'
    ) from error


def _sha256(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()[:16]
