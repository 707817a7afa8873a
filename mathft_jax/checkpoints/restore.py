"""Restores checkpoints: finds the step of a path, reads its metadata and its parameters."""

from collections.abc import Mapping
import functools
from typing import Any

from etils import epath
import jax
from jax.typing import DTypeLike
import numpy as np

from mathft_jax.checkpoints import (
  checksums,
  gguf_files,
  huggingface,
  lazy_params,
  orbax_items,
  restore_sharded,
  safetensors_format,
  t5x_format,
)
from mathft_jax.checkpoints.lazy_params import ArrayTree
from mathft_jax.storage import digests, local_and_remote_paths

# Orbax writes this file last into a step's folder in a bucket.
COMMIT_MARKER = 'commit_success.txt'
SINGLE_FILE_SUFFIXES = ('.safetensors', gguf_files.SUFFIX)


def load_params(
  path: epath.PathLike,
  abstract_params: ArrayTree,
  shardings: ArrayTree | None = None,
) -> ArrayTree:
  """Returns the parameters of a checkpoint, read directly into the given shardings.

  Args:
    path: the folder of a step, a folder of steps or a workdir (its last step), a safetensors or
      GGUF file, or a Hugging Face folder.
    abstract_params: nested dict of ShapeDtypeStructs: names, shapes and dtypes to return.
    shardings: the sharding of each of them. Default: all on the first device.

  Raises:
    ValueError: there is no checkpoint, or it has other parameters.
  """
  if shardings is None:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = jax.tree.map(lambda _: device, abstract_params)
  wanted = jax.tree.map(_with_sharding, abstract_params, shardings)
  path = resolve_checkpoint(path)

  if not _is_step(path):
    source = _fit_vocab(_open_files(path), wanted)
    found = lazy_params.unflatten_params(source.shapes)
    check_param_shapes(wanted, found, where=str(path))
    return restore_sharded.create_sharded_arrays(source, wanted)

  check_param_shapes(wanted, load_abstract_params(path), where=str(path))
  return _restore_params(path, wanted)


def resolve_checkpoint(
  path: epath.PathLike,
  macros: str = 'INITIAL_CHECKPOINT_PATH or CHECKPOINT_PATH',
) -> epath.Path:
  """Returns the safetensors file, Hugging Face folder, step or t5x checkpoint that a path names.

  Args:
    path: of the checkpoint.
    macros: what sets the path, for the error.

  Raises:
    ValueError: there is no checkpoint.
  """
  path = epath.Path(path)
  if path.suffix in SINGLE_FILE_SUFFIXES and path.is_file():
    return path
  if _is_step(path):
    return local_and_remote_paths.absolute_path(path)
  if huggingface.is_huggingface_folder(path):
    return path
  for folder in (path, path / 'checkpoints'):
    steps = complete_steps(folder)
    if steps:
      return resolve_checkpoint(folder / str(steps[-1]))
  t5x_checkpoint = t5x_format.find_t5x_checkpoint(path)
  if t5x_checkpoint is not None:
    return t5x_checkpoint

  problem = 'contains no checkpoint' if path.exists() else 'does not exist'
  if local_and_remote_paths.is_remote(path) and path.exists():
    problem += (
      f' (a step without {COMMIT_MARKER} is not complete; run the same command again '
      'to write it again)'
    )
  raise ValueError(
    f'Checkpoint {path} {problem}. It must be a folder <workdir>/checkpoints/<step>, a workdir, a '
    '.safetensors or .gguf file, a Hugging Face folder with config.json, or a checkpoint_<step> of '
    f't5x ({macros}).{local_and_remote_paths.missing_path_hint(path)}'
  )


def is_huggingface_checkpoint(path: epath.PathLike) -> bool:
  """Whether a path names a Hugging Face folder."""
  return huggingface.is_huggingface_folder(resolve_checkpoint(path))


def is_t5x_checkpoint(path: epath.PathLike) -> bool:
  """Whether a path names a checkpoint of t5x."""
  path = resolve_checkpoint(path)
  return not _is_step(path) and t5x_format.is_t5x_checkpoint(path)


def load_abstract_params(
  path: epath.PathLike, dtype: DTypeLike | None = None
) -> ArrayTree:
  """Returns the ShapeDtypeStructs of a checkpoint's parameters, with `dtype` if given."""
  path = resolve_checkpoint(path)
  if not _is_step(path):
    shapes = lazy_params.cast_shapes(_open_files(path).shapes, dtype)
    return lazy_params.unflatten_params(shapes)

  with checksums.reading(path):
    shapes = orbax_items.read_shapes(path / 'params')
  if shapes is None:  # orbax only logs why
    raise checksums.damaged(path, 'the shapes of its parameters are missing')

  def cast(array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, dtype or array.dtype)

  return jax.tree.map(cast, shapes, is_leaf=lambda leaf: hasattr(leaf, 'shape'))


def open_lazy_params(path: epath.PathLike) -> lazy_params.LazyParams:
  """Returns the parameters of a checkpoint, to be read one at a time on this host.

  All layers of a parameter in an orbax step are read at once, and kept until another is read.
  """
  path = resolve_checkpoint(path)
  if not _is_step(path):
    return _open_files(path)
  shapes = lazy_params.flatten_params(load_abstract_params(path))
  metadata = read_metadata(path)
  saved = saved_checksums(metadata, 'params')
  latest: dict[str, np.ndarray] = {}

  def read_array(name: str, layer: int | None) -> np.ndarray:
    if name not in latest:
      latest.clear()
      with checksums.reading(path):
        latest[name] = orbax_items.read_array(
          path / 'params', name, shapes[name]
        )
      checksums.check_arrays(path, {name: latest[name]}, saved)
    return latest[name] if layer is None else latest[name][layer]

  return lazy_params.LazyParams(shapes, metadata, read_array)


def read_metadata(path: epath.PathLike) -> dict[str, Any]:
  """Returns the metadata of a checkpoint: `model`, `fingerprint`, `step`, `metrics`, ...

  Raises:
    DamagedCheckpointError: the metadata are missing or damaged.
  """
  path = resolve_checkpoint(path)
  if _is_step(path):
    with checksums.reading(path):
      text = (path / 'metadata' / 'metadata').read_text()
    return checksums.parse_metadata(path, text)
  return dict(_open_files(path).metadata)


def describe_weights(path: epath.PathLike) -> dict[str, object]:
  """Returns `checkpoint_step` and `checkpoint_weights`, a digest of the parameters of a checkpoint.

  They identify the weights: the path of a workdir stands for its last step, which changes.
  {} for formats without checksums, and if the checkpoint cannot be read.
  """
  try:
    path = resolve_checkpoint(path)
    if not _is_step(path):
      return {}
    metadata = read_metadata(path)
  except ValueError:
    return {}
  described: dict[str, object] = {'checkpoint_step': metadata.get('step')}
  checksums_of_params = metadata.get('checksums', {}).get('params')
  if checksums_of_params:
    described['checkpoint_weights'] = digests.content_digest(
      sorted(checksums_of_params.items())
    )
  return described


def restore_item(path: epath.Path, item: str, wanted: ArrayTree) -> ArrayTree:
  """Returns an item of a step, `params` or `optimizer`, read by this process alone.

  Args:
    wanted: ShapeDtypeStructs with shardings.

  Raises:
    DamagedCheckpointError: it cannot be read.
  """
  with (
    checksums.reading(path),
    orbax_items.standard_checkpointer() as checkpointer,
  ):
    return checkpointer.restore(path / item, wanted)


def saved_checksums(
  metadata: Mapping[str, Any], item: str
) -> Mapping[str, int] | None:
  """Returns the checksums of an item of a step; None if it was saved without them."""
  return metadata.get('checksums', {}).get(item)


def complete_steps(folder: epath.Path) -> list[int]:
  """Returns the steps in a folder of checkpoints, in order, without those of unfinished saves."""
  if not folder.is_dir():
    return []
  steps = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
  if local_and_remote_paths.is_remote(folder):
    steps = [step for step in steps if _is_step(folder / str(step))]
  return sorted(steps)


def check_param_shapes(
  wanted: ArrayTree, found: ArrayTree, *, where: str
) -> None:
  """Checks that two nested dicts have the same names and shapes.

  Raises:
    ValueError: they differ; the message lists both.
  """
  wanted_shapes = _shapes_by_name(wanted)
  found_shapes = _shapes_by_name(found)
  wanted_only, found_only = {}, {}
  for name in sorted(wanted_shapes.keys() | found_shapes.keys()):
    if wanted_shapes.get(name) != found_shapes.get(name):
      wanted_only[name] = wanted_shapes.get(name)
      found_only[name] = found_shapes.get(name)

  if wanted_only:
    raise ValueError(
      f'{where}: the parameters do not fit the model (name: shape; None: absent):'
      f'\n  checkpoint: {found_only}'
      f'\n  model:      {wanted_only}'
    )


def _shapes_by_name(tree: ArrayTree) -> dict[str, list[int]]:
  flat = lazy_params.flatten_params(tree)
  return {name: list(array.shape) for name, array in flat.items()}


def _with_sharding(
  array: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding
) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def _restore_params(path: epath.Path, wanted: ArrayTree) -> ArrayTree:
  """Returns the verified parameters of a step.

  Checksums are those of the saved dtypes. If other dtypes are wanted, one array at a time is read
  in its saved dtype, verified and cast.
  """
  saved = saved_checksums(read_metadata(path), 'params')
  shapes = lazy_params.flatten_params(load_abstract_params(path))
  flat = lazy_params.flatten_params(wanted)
  is_cast = any(flat[name].dtype != shapes[name].dtype for name in flat)
  if not is_cast or saved is None:
    params = restore_item(path, 'params', wanted)
    checksums.check_arrays(path, params, saved if not is_cast else None)
    return params

  params = {}
  for name, array in flat.items():
    as_saved = jax.ShapeDtypeStruct(
      array.shape, shapes[name].dtype, sharding=array.sharding
    )
    with checksums.reading(path):
      params[name] = orbax_items.read_sharded_array(
        path / 'params', name, as_saved
      )
    checksums.check_arrays(path, {name: params[name]}, saved)
    params[name] = params[name].astype(array.dtype)
  return lazy_params.unflatten_params(params)


def _is_step(path: epath.Path) -> bool:
  """Whether this is the folder of a complete step. Incomplete local steps have other names."""
  if (
    local_and_remote_paths.is_remote(path)
    and not (path / COMMIT_MARKER).exists()
  ):
    return False
  return (path / 'params').is_dir()


def _open_files(path: epath.Path) -> lazy_params.LazyParams:
  """Opens a file, a Hugging Face folder or a t5x checkpoint; the last one is kept open.

  A program asks for the model, the shapes, the metadata and the parameters of one folder. Its
  headers are read once, unless a file has changed.
  """
  files = [path]
  if t5x_format.is_t5x_checkpoint(path):
    files = [t5x_format.index_file(path)]
  elif path.suffix not in SINGLE_FILE_SUFFIXES:
    files = huggingface.weight_files(path)
  versions = []
  for file in files:
    stat = file.stat()
    versions.append((file.name, stat.length, stat.mtime))
  return _open_version(str(path), tuple(versions))


@functools.lru_cache(maxsize=1)
def _open_version(
  path: str, versions: tuple[tuple[str, int, float], ...]
) -> lazy_params.LazyParams:
  """Opens files of these (name, size in bytes, modification time)."""
  del versions
  if path.endswith('.safetensors'):
    return safetensors_format.open_safetensors(path)
  if path.endswith(gguf_files.SUFFIX):
    return gguf_files.open_gguf(path)
  if t5x_format.is_t5x_checkpoint(epath.Path(path)):
    return t5x_format.open_t5x(path)
  return huggingface.open_huggingface_folder(path)


def _fit_vocab(
  source: lazy_params.LazyParams, wanted: ArrayTree
) -> lazy_params.LazyParams:
  """Returns the source with as many embedding rows as wanted, if only the padding differs."""
  vocab_size = source.metadata.get('model', {}).get('vocab_size')
  num_rows = 0
  if 'embedding' in wanted:
    num_rows = wanted['embedding'].shape[0]
  if vocab_size and num_rows >= vocab_size:
    return lazy_params.resize_vocab(source, num_rows)
  return source
