"""Folders of Hugging Face `transformers`: config.json and safetensors files, read and written.

Everything about a folder is checked from its json and the headers of its files, before any number
is read: names, shapes, dtypes, and that each file is as long as it says.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import json
import math
import re
from typing import Any

from etils import epath
import jax
import numpy as np

from mathft_jax.checkpoints import lazy_params, safetensors_format
from mathft_jax.models import config as config_lib
from mathft_jax.models import transformer
from mathft_jax.models.huggingface import config_json, tensor_names
from mathft_jax.storage import remote_paths

CONFIG, INDEX, SINGLE = (
  'config.json',
  'model.safetensors.index.json',
  'model.safetensors',
)
SHARD_BYTES = (
  5 * 10**9
)  # of an exported file; the size that transformers writes
# Where the language model's tensors lie in a model that also sees; and what does not belong to it.
INSIDE = (
  ('language_model.model.', 'model.'),
  ('language_model.lm_head.', 'lm_head.'),
  ('model.language_model.', 'model.'),
)
BESIDE = (
  'vision_tower.',
  'multi_modal_projector.',
  'model.vision_tower.',
  'model.multi_modal_projector.',
)
COMPUTED = (
  '.rotary_emb.inv_freq'  # old folders store what follows from config.json
)
VOCABULARY_FILES = (
  'tokenizer.json',
  'tokenizer.model',
  'vocab.json',
)  # no tokenizer without one
TOKENIZER_FILES = (
  *VOCABULARY_FILES,
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
)


def is_huggingface_folder(path: epath.Path) -> bool:
  """Whether a path is such a folder."""
  return (path / CONFIG).is_file()


def open_huggingface_folder(path: epath.PathLike) -> lazy_params.LazyParams:
  """The parameters of a folder; ValueError, with names and shapes, where anything is wrong."""
  path = epath.Path(path)
  published = json.loads((path / CONFIG).read_text())
  family, config = config_json.from_config_json(
    published, where=str(path / CONFIG)
  )
  entries = _entries(path)
  shapes = {
    name: array.shape
    for name, array in lazy_params.flatten_params(
      transformer.abstract_params(config)
    ).items()
  }
  rows = {
    row.ours: row for row in tensor_names.select_mappings(family.table, shapes)
  }
  _check(path, entries, rows.values(), shapes, config)

  def read(name: str, layer: int | None) -> np.ndarray:
    row, shape = rows[name], shapes[name] if layer is None else shapes[name][1:]
    return row.to_ours(entries[row.their_name(layer)].read(), shape)

  first = {
    name: entries[row.their_name(0 if row.is_stacked else None)]
    for name, row in rows.items()
  }
  return lazy_params.LazyParams(
    {
      name: jax.ShapeDtypeStruct(shapes[name], entry.dtype)
      for name, entry in first.items()
    },
    {'model': dataclasses.asdict(config), 'published': published},
    read,
  )


def export_huggingface(
  path: epath.PathLike,
  source: lazy_params.LazyParams,
  config: config_lib.TransformerConfig,
  *,
  dtype: Any = None,
  shard_bytes: int = SHARD_BYTES,
) -> epath.Path:
  """The path of a folder that `transformers` loads; it appears whole or not at all.

  In a bucket it has its config.json last, without which it is no such folder.

  Args:
    source: parameters; padding of the vocabulary is left out.
    config: the model; ValueError when no family of `transformers` has it.
    dtype: of the exported numbers; None keeps each parameter's own.
    shard_bytes: of a file at most, unless one tensor alone is larger.
  """
  path = epath.Path(path)
  if path.exists() and not _is_free(path):
    raise ValueError(
      f'{path} is there already and not empty; wanted a new folder for the export.'
    )
  source = lazy_params.resize_vocab(source, config.vocab_size)
  family, keys = config_json.to_config_json(
    config, source.metadata.get('published')
  )
  shapes = _their_shapes(family, source, dtype)
  keys['torch_dtype'] = str(np.dtype(next(iter(shapes.values())).dtype))
  partial = (
    path
    if remote_paths.is_remote(path)
    else path.parent / f'{path.name}.partial'
  )
  if partial.exists():
    partial.rmtree()
  partial.mkdir(parents=True)
  parts = _their_parts(family, source)
  _write_shards(partial, shapes, parts, shard_bytes)
  (partial / CONFIG).write_text(
    json.dumps(keys, indent=2, sort_keys=True) + '\n'
  )
  if partial == path:
    return path
  if path.exists():
    path.rmdir()
  return partial.rename(path)


def _is_free(path: epath.Path) -> bool:
  """Whether a folder may be written: empty, or in a bucket what a stopped export has left."""
  names = [child.name for child in path.iterdir()]
  begun = remote_paths.is_remote(path) and CONFIG not in names
  return (
    not names
    or begun
    and all(
      name == INDEX or re.fullmatch(r'model.*\.safetensors(\.partial)?', name)
      for name in names
    )
  )


def find_tokenizer_files(folder: epath.PathLike) -> list[str]:
  """The names of a folder's tokenizer files; ValueError where it has no tokenizer."""
  folder = epath.Path(folder)
  if not folder.is_dir():
    raise ValueError(
      f'tokenizer {folder} is no folder; wanted one with a tokenizer in it '
      f'({", ".join(VOCABULARY_FILES)}), as published models have.'
    )
  found = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
  if not set(found) & set(VOCABULARY_FILES):
    raise ValueError(
      f'tokenizer {folder} has none of {", ".join(VOCABULARY_FILES)}; wanted the '
      'folder of a tokenizer, as published models have.'
    )
  return found


def copy_tokenizer_files(
  source: epath.PathLike, target: epath.PathLike
) -> list[str]:
  """The names of the tokenizer files that were copied from one folder to another."""
  names = find_tokenizer_files(source)
  for name in names:
    (epath.Path(source) / name).copy(epath.Path(target) / name)
  return names


def _entries(path: epath.Path) -> dict[str, safetensors_format.TensorEntry]:
  """The language model's tensors by the names that a folder of it alone would have."""
  if (path / INDEX).is_file():
    where = json.loads((path / INDEX).read_text())['weight_map']
  elif (path / SINGLE).is_file():
    where = {
      name: SINGLE for name in safetensors_format.read_header(path / SINGLE)[0]
    }
  else:
    raise ValueError(
      f'{path} has neither {SINGLE} nor {INDEX}; wanted weights as safetensors '
      'files. Older formats (pytorch_model.bin) are not read.'
    )
  found = {}
  for file in sorted(set(where.values())):
    names = sorted(name for name, each in where.items() if each == file)
    if not (path / file).is_file():
      raise ValueError(
        f'{path / file} is missing, which {INDEX} names for {len(names)} tensors '
        f'({names[0]}, ...). Copy it again.'
      )
    header, _ = safetensors_format.read_header(path / file)
    if absent := [name for name in names if name not in header]:
      raise ValueError(
        f'{path / file} lacks {absent[0]} ({len(absent)} tensors), which {INDEX} says is in it.'
      )
    found.update({_plain_name(name): header[name] for name in names})
  return found


def _plain_name(name: str) -> str:
  for inside, alone in INSIDE:
    if name.startswith(inside):
      return alone + name.removeprefix(inside)
  return name


def _check(
  path: epath.Path,
  entries: Mapping[str, safetensors_format.TensorEntry],
  rows: Sequence[tensor_names.TensorMapping],
  shapes: Mapping[str, Sequence[int]],
  config: config_lib.TransformerConfig,
) -> None:
  """ValueError for tensors that are missing, that are too many, or of a wrong shape."""
  wanted = {}
  for row in rows:
    shape = shapes[row.ours][1:] if row.is_stacked else shapes[row.ours]
    for layer in range(config.num_layers) if row.is_stacked else (None,):
      wanted[row.their_name(layer)] = row.their_shape(shape)
  wrong = [
    f'{name}: shape {entries[name].shape}, wanted {shape}'
    for name, shape in wanted.items()
    if name in entries and entries[name].shape != shape
  ]
  wrong += [
    f'{name}: missing, wanted shape {shape}'
    for name, shape in wanted.items()
    if name not in entries
  ]
  wrong += [
    f'{name}: shape {entries[name].shape}, the model of config.json has no such tensor'
    for name in sorted(set(entries) - set(wanted))
    if not _may_be_there(name, config)
  ]
  wrong += [
    f'{name}: {entries[name].dtype}, wanted floating point'
    for name in wanted
    if name in entries and entries[name].dtype.kind == 'i'
  ]
  if wrong:
    more = f'\n  and {len(wrong) - 10} more' if len(wrong) > 10 else ''
    raise ValueError(
      f'{path}: {len(wrong)} tensors do not fit its config.json:\n  '
      + '\n  '.join(wrong[:10])
      + more
    )


def _may_be_there(name: str, config: config_lib.TransformerConfig) -> bool:
  """Whether a tensor that we do not read does no harm."""
  tied = config.tied_embeddings and name == 'lm_head.weight'
  return tied or name.startswith(BESIDE) or name.endswith(COMPUTED)


def _their_shapes(
  family: config_json.ModelFamily, source: lazy_params.LazyParams, dtype: Any
) -> dict[str, jax.ShapeDtypeStruct]:
  """By name the shapes of the tensors to write, in the order of `_their_parts`."""
  shapes = {}
  for row in tensor_names.select_mappings(
    family.table, {name: each.shape for name, each in source.shapes.items()}
  ):
    each = source.shapes[row.ours]
    ours = each.shape[1:] if row.is_stacked else each.shape
    for layer in range(each.shape[0]) if row.is_stacked else (None,):
      shapes[row.their_name(layer)] = jax.ShapeDtypeStruct(
        row.their_shape(ours), dtype or each.dtype
      )
  return shapes


def _their_parts(
  family: config_json.ModelFamily, source: lazy_params.LazyParams
) -> Iterator[np.ndarray]:
  """The tensors, parameter by parameter, so that a source may read all layers of one at once."""
  for row in tensor_names.select_mappings(
    family.table, {name: each.shape for name, each in source.shapes.items()}
  ):
    yield from map(row.to_theirs, source.parts(row.ours))


def _write_shards(
  folder: epath.Path,
  shapes: Mapping[str, jax.ShapeDtypeStruct],
  parts: Iterator[np.ndarray],
  shard_bytes: int,
) -> None:
  """One file, or several and an index."""
  shards: list[dict[str, jax.ShapeDtypeStruct]] = [{}]
  size = lambda shard: sum(
    math.prod(each.shape) * each.dtype.itemsize for each in shard.values()
  )
  for name, each in shapes.items():
    if shards[-1] and size(shards[-1]) + size({name: each}) > shard_bytes:
      shards.append({})
    shards[-1][name] = each
  where = {}
  for number, shard in enumerate(shards, 1):
    file = (
      f'model-{number:05}-of-{len(shards):05}.safetensors'
      if len(shards) > 1
      else SINGLE
    )
    safetensors_format.write_safetensors(
      folder / file, shard, parts, {'format': 'pt'}
    )
    where.update(dict.fromkeys(shard, file))
  if len(shards) > 1:
    index = {
      'metadata': {'total_size': size(shapes)},
      'weight_map': dict(sorted(where.items())),
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + '\n')
