"""Restores checkpoints: finds the step of a path, reads its metadata and its parameters."""

import functools
import json
from typing import Any

from etils import epath
import jax
from jax.typing import DTypeLike
import numpy as np
from orbax import checkpoint as ocp

from mathft_jax.checkpoints import (
  huggingface,
  lazy_params,
  restore_sharded,
  safetensors_format,
)
from mathft_jax.checkpoints.lazy_params import ArrayTree
from mathft_jax.storage import local_and_remote_paths

# Orbax writes this file last into a step's folder in a bucket.
COMMIT_MARKER = 'commit_success.txt'


def load_params(
  path: epath.PathLike,
  abstract_params: ArrayTree,
  shardings: ArrayTree | None = None,
) -> ArrayTree:
  """Returns the parameters of a checkpoint, read directly into the given shardings.

  Args:
    path: the folder of a step, a folder of steps or a workdir (its last step), a safetensors file,
      or a Hugging Face folder.
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
  with _standard_checkpointer() as checkpointer:
    return checkpointer.restore(path / 'params', wanted)


def resolve_checkpoint(path: epath.PathLike) -> epath.Path:
  """Returns the safetensors file, the Hugging Face folder or the step that a path names.

  Raises:
    ValueError: there is no checkpoint.
  """
  path = epath.Path(path)
  if path.suffix == '.safetensors' and path.is_file():
    return path
  if _is_step(path):
    return local_and_remote_paths.absolute_path(path)
  if huggingface.is_huggingface_folder(path):
    return path
  for folder in (path, path / 'checkpoints'):
    steps = _complete_steps(folder)
    if steps:
      return resolve_checkpoint(folder / str(max(steps)))

  problem = 'contains no checkpoint' if path.exists() else 'does not exist'
  if local_and_remote_paths.is_remote(path) and path.exists():
    problem += (
      f' (a step without {COMMIT_MARKER} is not complete; run the same command again '
      'to write it again)'
    )
  raise ValueError(
    f'Checkpoint {path} {problem}. It must be a folder <workdir>/checkpoints/<step>, a workdir, a '
    '.safetensors file, or a Hugging Face folder with config.json (INITIAL_CHECKPOINT_PATH or '
    'CHECKPOINT_PATH).'
  )


def is_huggingface_checkpoint(path: epath.PathLike) -> bool:
  """Whether a path names a Hugging Face folder."""
  path = resolve_checkpoint(path)
  return path.suffix != '.safetensors' and not _is_step(path)


def load_abstract_params(
  path: epath.PathLike, dtype: DTypeLike | None = None
) -> ArrayTree:
  """Returns the ShapeDtypeStructs of a checkpoint's parameters, with `dtype` if given."""
  path = resolve_checkpoint(path)
  if not _is_step(path):
    shapes = lazy_params.cast_shapes(_open_files(path).shapes, dtype)
    return lazy_params.unflatten_params(shapes)

  with _standard_checkpointer() as checkpointer:
    metadata = checkpointer.metadata(path / 'params').item_metadata

  def cast(array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, dtype or array.dtype)

  return jax.tree.map(
    cast,
    getattr(metadata, 'tree', metadata),
    is_leaf=lambda leaf: hasattr(leaf, 'shape'),
  )


def open_lazy_params(path: epath.PathLike) -> lazy_params.LazyParams:
  """Returns the parameters of a checkpoint, to be read one at a time on this host.

  All layers of a parameter in an orbax step are read at once, and kept until another is read.
  """
  path = resolve_checkpoint(path)
  if not _is_step(path):
    return _open_files(path)
  shapes = lazy_params.flatten_params(load_abstract_params(path))
  latest: dict[str, np.ndarray] = {}

  def read_array(name: str, layer: int | None) -> np.ndarray:
    if name not in latest:
      latest.clear()
      latest[name] = _read_parameter(path, name, shapes[name])
    return latest[name] if layer is None else latest[name][layer]

  return lazy_params.LazyParams(shapes, read_metadata(path), read_array)


def read_metadata(path: epath.PathLike) -> dict[str, Any]:
  """Returns the metadata of a checkpoint: `model`, `fingerprint`, `step`, `metrics`, ..."""
  path = resolve_checkpoint(path)
  if _is_step(path):
    return json.loads((path / 'metadata' / 'metadata').read_text())
  return dict(_open_files(path).metadata)


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


def _this_process_only() -> ocp.options.MultiprocessingOptions:
  """Returns options with which orbax reads in this process and waits for no other."""
  index = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=index, active_processes={index}
  )


def _standard_checkpointer() -> ocp.StandardCheckpointer:
  return ocp.StandardCheckpointer(multiprocessing_options=_this_process_only())


def _complete_steps(folder: epath.Path) -> list[int]:
  if not folder.is_dir():
    return []
  steps = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
  if local_and_remote_paths.is_remote(folder):
    steps = [step for step in steps if _is_step(folder / str(step))]
  return steps


def _is_step(path: epath.Path) -> bool:
  """Whether this is the folder of a complete step. Incomplete local steps have other names."""
  if (
    local_and_remote_paths.is_remote(path)
    and not (path / COMMIT_MARKER).exists()
  ):
    return False
  return (path / 'params').is_dir()


def _open_files(path: epath.Path) -> lazy_params.LazyParams:
  """Opens a safetensors file or a Hugging Face folder; the last one is kept open.

  A program asks for the model, the shapes, the metadata and the parameters of one folder. Its
  headers are read once, unless a file has changed.
  """
  files = [path]
  if path.suffix != '.safetensors':
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


def _read_parameter(
  path: epath.Path, name: str, shape: jax.ShapeDtypeStruct
) -> np.ndarray:
  """Reads one parameter of an orbax step into host memory."""
  item = lazy_params.unflatten_params({name: shape})
  as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
  args = ocp.args.PyTreeRestore(
    item=item,
    partial_restore=True,
    restore_args=jax.tree.map(lambda _: as_numpy, item),
  )
  options = _this_process_only()
  handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
  with ocp.Checkpointer(
    handler, multiprocessing_options=options
  ) as checkpointer:
    restored = checkpointer.restore(path / 'params', args=args)
  return lazy_params.flatten_params(restored)[name]
