"""Checkpoints of t5x: reads the parameters, and writes a checkpoint that t5x restores.

  <model_dir>/checkpoint_<step>/state/           orbax (t5x with `use_orbax`, its default)
  <model_dir>/checkpoint_<step>/checkpoint       legacy: a msgpack file with small arrays and the
                                target.<name>/   places of the others, which are zarr folders

The parameters of `t5x_bridge.math_model.MathModel` have the names and shapes of this package's own
checkpoints. t5x stores no model config, vocabulary or template.
"""

from collections.abc import Mapping
import functools
import re
from typing import Any

from etils import epath
import jax
import numpy as np
from orbax import checkpoint as ocp
from orbax.checkpoint import msgpack_utils
import tensorstore

from mathft_jax.checkpoints import lazy_params, orbax_items
from mathft_jax.checkpoints.lazy_params import ArrayTree
from mathft_jax.storage import local_and_remote_paths

STATE_FOLDER = 'state'
INDEX_FILE = 'checkpoint'  # of a legacy checkpoint
TARGET = 'target/'
STEP_FOLDER = re.compile(r'checkpoint_(\d+)')


def find_t5x_checkpoint(path: epath.Path) -> epath.Path | None:
  """Returns the t5x checkpoint that a path names, or the last one in a model_dir."""
  if is_t5x_checkpoint(path):
    return path
  if not path.is_dir():
    return None
  steps = []
  for folder in path.iterdir():
    step = step_in_name(folder)
    if step is not None and is_t5x_checkpoint(folder):
      steps.append((step, folder))
  return max(steps)[1] if steps else None


def is_t5x_checkpoint(path: epath.Path) -> bool:
  """Whether a folder is a t5x checkpoint."""
  return (path / STATE_FOLDER).is_dir() or (path / INDEX_FILE).is_file()


def step_in_name(path: epath.PathLike) -> int | None:
  """Returns 5 for the name `checkpoint_5`, and None for other names."""
  match = STEP_FOLDER.fullmatch(epath.Path(path).name)
  return None if match is None else int(match[1])


def index_file(path: epath.Path) -> epath.Path:
  """Returns a file that is written once, with the checkpoint."""
  if (path / STATE_FOLDER).is_dir():
    return path / STATE_FOLDER / '_METADATA'
  return path / INDEX_FILE


def open_t5x(path: epath.PathLike) -> lazy_params.LazyParams:
  """Returns the parameters of a t5x checkpoint; the optimizer state is not read.

  Raises:
    ValueError: the folder has no parameters of a decoder-only model in either format.
  """
  path = local_and_remote_paths.absolute_path(path)
  if (path / STATE_FOLDER).is_dir():
    return _open_orbax(path / STATE_FOLDER)
  return _open_legacy(path)


def save_t5x_checkpoint(
  path: epath.PathLike, params: ArrayTree, step: int
) -> epath.Path:
  """Writes parameters as an orbax checkpoint of t5x, without optimizer state."""
  path = local_and_remote_paths.absolute_path(path)
  state = {'target': params, 'state': {'step': np.int32(step)}}
  args = ocp.args.Composite(state=ocp.args.PyTreeSave(state))
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    checkpointer.save(path, args=args)
  return path


def _open_orbax(folder: epath.Path) -> lazy_params.LazyParams:
  tree = orbax_items.read_shapes(folder)
  if tree is None or 'target' not in tree:
    raise ValueError(f'{folder} has no item `target` with the parameters.')
  shapes = {}
  for name, array in _flatten(tree['target']).items():
    shapes[name] = jax.ShapeDtypeStruct(array.shape, array.dtype)

  @functools.lru_cache(maxsize=1)
  def read_whole(name: str) -> np.ndarray:
    return orbax_items.read_array(folder, TARGET + name, shapes[name])

  def read_array(name: str, layer: int | None) -> np.ndarray:
    array = read_whole(name)
    return array if layer is None else array[layer]

  return lazy_params.LazyParams(shapes, {}, read_array)


def _open_legacy(folder: epath.Path) -> lazy_params.LazyParams:
  try:
    contents = msgpack_utils.msgpack_restore((folder / INDEX_FILE).read_bytes())
    target = contents['optimizer']['target']
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'{folder / INDEX_FILE} is not the msgpack file of a t5x checkpoint ({error!r}). '
      'Checkpoints of TensorFlow have a file of this name too; let t5x convert them first.'
    ) from error

  arrays = {}
  for name, value in _flatten(target).items():
    is_stored = isinstance(value, Mapping)
    arrays[name] = _open_zarr(folder, value) if is_stored else value
  shapes = {}
  for name, array in arrays.items():
    dtype = getattr(array.dtype, 'numpy_dtype', array.dtype)
    shapes[name] = jax.ShapeDtypeStruct(tuple(array.shape), dtype)

  def read_array(name: str, layer: int | None) -> np.ndarray:
    array = arrays[name] if layer is None else arrays[name][layer]
    return array if isinstance(array, np.ndarray) else array.read().result()

  return lazy_params.LazyParams(shapes, {}, read_array)


def _open_zarr(
  folder: epath.Path, spec: Mapping[str, Any]
) -> tensorstore.TensorStore:
  """Opens an array of a legacy checkpoint; its place is relative to the folder."""
  name = spec['kvstore']['path'].rstrip('/').rpartition('/')[2]
  place = str(folder / name) + '/'
  kvstore: Any = {'driver': 'file', 'path': place}
  if local_and_remote_paths.is_remote(folder):
    kvstore = place  # tensorstore reads gs:// URLs
  return tensorstore.open(
    {'driver': 'zarr', 'kvstore': kvstore}, open=True, read=True
  ).result()


def _flatten(tree: Any, prefix: str = '') -> dict[str, Any]:
  """Returns arrays, shapes or the places of arrays by flat names."""
  if not isinstance(tree, Mapping) or 'kvstore' in tree:
    return {prefix: tree}
  flat = {}
  for name, branch in tree.items():
    path = f'{prefix}/{name}' if prefix else str(name)
    flat.update(_flatten(branch, path))
  return flat
