"""Reads and writes Hugging Face folders: config.json and safetensors files.

A folder is checked from its JSON files and the headers of its safetensors files before values are
read: names, shapes, dtypes and the length of each file.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import json
import math
import re
from typing import TypeGuard

from etils import epath
import jax
from jax.typing import DTypeLike
import numpy as np

from mathft_jax.checkpoints import lazy_params, safetensors_format
from mathft_jax.models import config as config_lib
from mathft_jax.models import layer_stacks, transformer
from mathft_jax.models.huggingface import config_json, tensor_names
from mathft_jax.storage import json_files, local_and_remote_paths

CONFIG_FILE = 'config.json'
INDEX_FILE = 'model.safetensors.index.json'
SINGLE_FILE = 'model.safetensors'
# Largest file of an export in bytes; the default of transformers.
SHARD_BYTES = 5 * 10**9
# Prefix in a multimodal model -> prefix in a folder of its language model alone.
MULTIMODAL_PREFIXES = {
  'language_model.model.': 'model.',
  'language_model.lm_head.': 'lm_head.',
  'model.language_model.': 'model.',
}
# Prefixes of tensors of images and sound, which are not part of the language model.
VISION_PREFIXES = (
  'vision_tower.',
  'multi_modal_projector.',
  'model.vision_tower.',
  'model.multi_modal_projector.',
  'model.embed_vision.',
  'model.vision_embedder.',
  'model.audio_tower.',
  'model.embed_audio.',
)
# Old folders contain this tensor, which config.json determines.
COMPUTED_TENSOR = '.rotary_emb.inv_freq'
UNUSED_KEY_TENSOR = re.compile(
  r'model\.layers\.(\d+)\.self_attn\.(?:[kv]_proj|[kv]_norm)\.weight'
)

Shapes = dict[str, jax.ShapeDtypeStruct]


def is_huggingface_folder(path: epath.Path) -> bool:
  """Whether a path is a folder with a config.json."""
  return (path / CONFIG_FILE).is_file()


def weight_files(path: epath.Path) -> list[epath.Path]:
  """Returns the files of a folder that `open_huggingface_folder` reads, sorted."""
  names = CONFIG_FILE, INDEX_FILE
  files = []
  for file in path.iterdir():
    if file.name in names or file.suffix == '.safetensors':
      files.append(file)
  return sorted(files)


def open_huggingface_folder(path: epath.PathLike) -> lazy_params.LazyParams:
  """Returns the parameters of a folder.

  Raises:
    ValueError: config.json is not supported, or tensors do not fit it.
  """
  path = epath.Path(path)
  published = json_files.read_json_object(path / CONFIG_FILE)
  family, config = config_json.family_and_model_config(
    published, where=str(path / CONFIG_FILE)
  )
  entries = _find_tensors(path)

  params = lazy_params.flatten_params(transformer.abstract_params(config))
  mappings = {}
  for mapping in tensor_names.select_mappings(family.tensors, params):
    mappings[mapping.param_name] = mapping
  _check_tensors(path, entries, mappings, params, config)

  layer_shapes = _layer_shapes(params)

  def read_array(name: str, layer: int | None) -> np.ndarray:
    mapping, shape = mappings[name], layer_shapes[name]
    layers = layer_stacks.layers_of_param(config, name)
    arrays = []
    for tensor_name in mapping.tensor_names(layers[layer or 0], shape):
      tensor = entries[tensor_name].read()
      tensor = mapping.select_outputs(tensor, layer_shapes)
      arrays.append(mapping.to_param(tensor, shape))
    return mapping.join_experts(arrays)

  shapes = {}
  for name, mapping in mappings.items():
    first_layer = layer_stacks.layers_of_param(config, name)[0]
    dtype = entries[mapping.tensor_name(first_layer)].dtype
    shapes[name] = jax.ShapeDtypeStruct(params[name].shape, dtype)
  metadata = {'model': dataclasses.asdict(config), 'published': published}
  return lazy_params.LazyParams(shapes, metadata, read_array)


def export_huggingface(
  path: epath.PathLike,
  source: lazy_params.LazyParams,
  config: config_lib.TransformerConfig,
  *,
  dtype: DTypeLike | None = None,
  shard_bytes: int = SHARD_BYTES,
) -> epath.Path:
  """Writes a folder that `transformers` can load, atomically, and returns its path.

  In a bucket config.json is written last; a folder without it is not a Hugging Face folder.

  Args:
    source: parameters. Padding of the vocabulary is left out.
    config: the model.
    dtype: of the exported tensors. None: of each parameter.
    shard_bytes: largest size of a file, unless one tensor alone is larger.

  Raises:
    ValueError: the folder exists and is not empty, or no family of `transformers` has the model.
  """
  path = epath.Path(path)
  if path.exists() and not _can_be_overwritten(path):
    raise ValueError(
      f'{path} exists and is not empty; the export needs a new folder.'
    )
  source = lazy_params.resize_vocab(source, config.vocab_size)
  family, keys = config_json.family_and_config_json(
    config, source.metadata.get('published')
  )
  shapes = _tensor_shapes(family, config, source, dtype)
  keys['torch_dtype'] = str(np.dtype(next(iter(shapes.values())).dtype))

  partial = path
  if not local_and_remote_paths.is_remote(path):
    partial = path.parent / f'{path.name}.partial'
  if partial.exists():
    partial.rmtree()
  partial.mkdir(parents=True)
  _write_shards(partial, shapes, _iter_tensors(family, source), shard_bytes)
  config_text = json.dumps(keys, indent=2, sort_keys=True)
  (partial / CONFIG_FILE).write_text(config_text + '\n')

  if partial == path:
    return path
  if path.exists():
    path.rmdir()
  return partial.rename(path)


def _can_be_overwritten(path: epath.Path) -> bool:
  """Whether a folder is empty or contains an incomplete export to a bucket."""
  names = [child.name for child in path.iterdir()]
  if not names:
    return True
  if not local_and_remote_paths.is_remote(path) or CONFIG_FILE in names:
    return False
  for name in names:
    is_shard = re.fullmatch(r'model.*\.safetensors(\.partial)?', name)
    if name != INDEX_FILE and not is_shard:
      return False
  return True


def _is_weight_map(value: object) -> TypeGuard[dict[str, str]]:
  """Returns whether a value has the names of files by the names of tensors."""
  return isinstance(value, dict) and set(map(type, value.values())) == {str}


def _find_tensors(
  path: epath.Path,
) -> dict[str, safetensors_format.TensorEntry]:
  """Returns the language model's tensors by the names of a folder without other parts."""
  if (path / INDEX_FILE).is_file():
    index = json_files.read_json_object(path / INDEX_FILE)
    file_by_name = index.get('weight_map')
    if not _is_weight_map(file_by_name):
      raise ValueError(
        f'{path / INDEX_FILE} has no weight_map; it must have the file of each tensor. Copy it '
        'again from the published model.'
      )
  elif (path / SINGLE_FILE).is_file():
    header, _ = safetensors_format.read_header(path / SINGLE_FILE)
    return {_language_model_name(name): header[name] for name in header}
  else:
    raise ValueError(
      f'{path} has neither {SINGLE_FILE} nor {INDEX_FILE}; the weights must be safetensors '
      'files. Older formats (pytorch_model.bin) are not supported.'
    )

  names_by_file: dict[str, list[str]] = {}
  for name in sorted(file_by_name):
    names_by_file.setdefault(file_by_name[name], []).append(name)
  entries = {}
  for file, names in sorted(names_by_file.items()):
    if not (path / file).is_file():
      raise ValueError(
        f'{path / file} is missing; {INDEX_FILE} lists {len(names)} tensors in it '
        f'({names[0]}, ...). Copy it again.'
      )
    header, _ = safetensors_format.read_header(path / file)
    missing = [name for name in names if name not in header]
    if missing:
      raise ValueError(
        f'{path / file} lacks {missing[0]} ({len(missing)} tensors), which {INDEX_FILE} lists.'
      )
    for name in names:
      entries[_language_model_name(name)] = header[name]
  return entries


def _language_model_name(name: str) -> str:
  for prefix, replacement in MULTIMODAL_PREFIXES.items():
    if name.startswith(prefix):
      return replacement + name.removeprefix(prefix)
  return name


def _check_tensors(
  path: epath.Path,
  entries: Mapping[str, safetensors_format.TensorEntry],
  mappings: Mapping[str, tensor_names.TensorMapping],
  params: Mapping[str, jax.ShapeDtypeStruct],
  config: config_lib.TransformerConfig,
) -> None:
  """Checks that each tensor of the model exists with its shape, and no other."""
  wanted = {}
  layer_shapes = _layer_shapes(params)
  for mapping in mappings.values():
    shape = mapping.joined_shape(layer_shapes)
    param_shape = layer_shapes[mapping.param_name]
    for layer in layer_stacks.layers_of_param(config, mapping.param_name):
      wanted.update(
        dict.fromkeys(mapping.tensor_names(layer, param_shape), shape)
      )

  wrong_shapes, missing, unknown, wrong_dtypes = [], [], [], []
  for name, shape in wanted.items():
    entry = entries.get(name)
    if entry is None:
      missing.append(f'{name}: missing, must have shape {shape}')
      continue
    if entry.shape != shape:
      wrong_shapes.append(f'{name}: shape {entry.shape}, must be {shape}')
    if entry.dtype.kind == 'i':
      wrong_dtypes.append(f'{name}: {entry.dtype}, must be floating point')
  for name in sorted(set(entries) - set(wanted)):
    if not _is_ignored(name, config):
      unknown.append(
        f'{name}: shape {entries[name].shape}, not in the model of config.json'
      )

  errors = wrong_shapes + missing + unknown + wrong_dtypes
  if errors:
    message = '\n  '.join(errors[:10])
    if len(errors) > 10:
      message += f'\n  and {len(errors) - 10} more'
    raise ValueError(
      f'{path}: {len(errors)} tensors do not fit its config.json:\n  {message}'
    )


def _layer_shapes(
  params: Mapping[str, jax.ShapeDtypeStruct],
) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of parameters, of one layer if they are stacked."""
  shapes = {}
  for name, param in params.items():
    is_stacked = name.startswith(tensor_names.LAYERS_PREFIX)
    shapes[name] = param.shape[1:] if is_stacked else param.shape
  return shapes


def _is_ignored(name: str, config: config_lib.TransformerConfig) -> bool:
  """Whether a tensor is not needed.

  The head of tied embeddings, vision, computed tables, and keys and values of layers that use those
  of lower layers (Gemma 4 E2B and E4B).
  """
  key = UNUSED_KEY_TENSOR.fullmatch(name)
  if key and int(key[1]) >= config.num_layers_with_keys:
    return True
  if config.tied_embeddings and name == 'lm_head.weight':
    return True
  return name.startswith(VISION_PREFIXES) or name.endswith(COMPUTED_TENSOR)


def _tensor_shapes(
  family: config_json.ModelFamily,
  config: config_lib.TransformerConfig,
  source: lazy_params.LazyParams,
  dtype: DTypeLike | None,
) -> Shapes:
  """Returns shapes and dtypes of the exported tensors, in the order of `_iter_tensors`."""
  params = lazy_params.cast_shapes(source.shapes, dtype)
  shapes = {}
  layer_shapes = _layer_shapes(params)
  for mapping in tensor_names.select_mappings(family.tensors, params):
    param = params[mapping.param_name]
    shape = mapping.joined_shape(layer_shapes)
    tensor = jax.ShapeDtypeStruct(shape, param.dtype)
    param_shape = layer_shapes[mapping.param_name]
    for layer in layer_stacks.layers_of_param(config, mapping.param_name):
      names = mapping.tensor_names(layer, param_shape)
      shapes.update(dict.fromkeys(names, tensor))
  return shapes


def _iter_tensors(
  family: config_json.ModelFamily, source: lazy_params.LazyParams
) -> Iterator[np.ndarray]:
  """Yields the tensors parameter by parameter: a source may read all layers of one at once."""
  for mapping in tensor_names.select_mappings(family.tensors, source.shapes):
    names = mapping.joined or (mapping.param_name,)
    if mapping.param_name != names[0]:
      continue  # its tensor is written with the first parameter
    layers = [source.iter_layers(name) for name in names]
    for params in zip(*layers, strict=True):
      parts = [mapping.split_experts(param) for param in params]
      for arrays in zip(*parts, strict=True):
        tensors = [mapping.to_tensor(array) for array in arrays]
        yield tensors[0] if len(tensors) == 1 else np.concatenate(tensors)


def _write_shards(
  folder: epath.Path,
  shapes: Shapes,
  tensors: Iterator[np.ndarray],
  shard_bytes: int,
) -> None:
  """Writes one file, or several files and an index."""
  shards: list[Shapes] = [{}]
  used_bytes = 0
  for name, shape in shapes.items():
    num_bytes = _num_bytes({name: shape})
    if shards[-1] and used_bytes + num_bytes > shard_bytes:
      shards.append({})
      used_bytes = 0
    shards[-1][name] = shape
    used_bytes += num_bytes

  file_by_name = {}
  for number, shard in enumerate(shards, 1):
    file = SINGLE_FILE
    if len(shards) > 1:
      file = f'model-{number:05}-of-{len(shards):05}.safetensors'
    safetensors_format.write_safetensors(
      folder / file, shard, tensors, {'format': 'pt'}
    )
    file_by_name.update(dict.fromkeys(shard, file))

  if len(shards) > 1:
    index = {
      'metadata': {'total_size': _num_bytes(shapes)},
      'weight_map': dict(sorted(file_by_name.items())),
    }
    index_text = json.dumps(index, indent=2)
    (folder / INDEX_FILE).write_text(index_text + '\n')


def _num_bytes(shapes: Shapes) -> int:
  total = 0
  for shape in shapes.values():
    total += math.prod(shape.shape) * shape.dtype.itemsize
  return total
