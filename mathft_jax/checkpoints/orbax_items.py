"""Reads items of orbax checkpoints, such as `<step>/params`: shapes, and one array at a time."""

from typing import Any

from etils import epath
import jax
import numpy as np
from orbax import checkpoint as ocp

from mathft_jax.checkpoints import lazy_params
from mathft_jax.checkpoints.lazy_params import ArrayTree


def read_shapes(folder: epath.Path) -> ArrayTree | None:
  """Returns what has the shapes and dtypes of an item; None if they are missing."""
  with standard_checkpointer() as checkpointer:
    metadata = checkpointer.metadata(folder).item_metadata
  return getattr(metadata, 'tree', metadata)


def read_array(
  folder: epath.Path, name: str, shape: jax.ShapeDtypeStruct
) -> np.ndarray:
  """Reads one array of an item into host memory; `name` is its flat name."""
  as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
  return _read_one(folder, name, shape, as_numpy)


def read_sharded_array(
  folder: epath.Path, name: str, shape: jax.ShapeDtypeStruct
) -> jax.Array:
  """Reads one array of an item onto the devices of its sharding."""
  as_sharded = ocp.ArrayRestoreArgs(
    sharding=shape.sharding, global_shape=shape.shape, dtype=shape.dtype
  )
  return _read_one(folder, name, shape, as_sharded)


def standard_checkpointer() -> ocp.StandardCheckpointer:
  """Returns a checkpointer that reads in this process and waits for no other."""
  return ocp.StandardCheckpointer(multiprocessing_options=_this_process_only())


def _this_process_only() -> ocp.options.MultiprocessingOptions:
  index = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=index, active_processes={index}
  )


def _read_one(
  folder: epath.Path,
  name: str,
  shape: jax.ShapeDtypeStruct,
  restore_args: ocp.RestoreArgs,
) -> Any:
  item = lazy_params.unflatten_params({name: shape})
  args = ocp.args.PyTreeRestore(
    item=item,
    partial_restore=True,
    restore_args=jax.tree.map(lambda _: restore_args, item),
  )
  options = _this_process_only()
  handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
  with ocp.Checkpointer(
    handler, multiprocessing_options=options
  ) as checkpointer:
    restored = checkpointer.restore(folder, args=args)
  return lazy_params.flatten_params(restored)[name]
