"""Arrays on a mesh from parameters in files, without a second copy on the host."""

from collections.abc import Callable
import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, Sharding
import numpy as np

from mathft_jax.checkpoints import lazy_params
from mathft_jax.checkpoints.lazy_params import ArrayTree
from mathft_jax.models.huggingface import tensor_names

# Stacked parameters of more bytes are copied to the devices layer by layer: the host holds one
# layer. Smaller ones are copied at once, which is faster.
STREAM_BYTES = 1 << 28

Bounds = tuple[int, int]  # start and stop of a shard on one axis


def create_sharded_arrays(
  source: lazy_params.LazyParams, wanted: ArrayTree
) -> ArrayTree:
  """Returns the arrays that `wanted` (ShapeDtypeStructs with shardings) describes.

  Each process reads the shards of its devices. The host holds one tensor of the files at a time, or
  STREAM_BYTES of stacked ones.
  """

  def create(keys: tuple, array: jax.ShapeDtypeStruct):
    name = '/'.join(key.key for key in keys)
    return jax.block_until_ready(_create_array(source, name, array))

  return jax.tree_util.tree_map_with_path(create, wanted)


def _create_array(
  source: lazy_params.LazyParams, name: str, array: jax.ShapeDtypeStruct
) -> jax.Array:
  if not name.startswith(tensor_names.LAYERS_PREFIX):
    read = functools.partial(source.read_array, name, None)
    return _create_from_host(array, array.sharding, read)

  layer_sharding = _layer_sharding(array.sharding)
  num_bytes = math.prod(array.shape) * array.dtype.itemsize
  if layer_sharding is None or num_bytes <= STREAM_BYTES:
    return _create_stack(source, name, array)
  return _stream_stack(source, name, array, layer_sharding)


def _create_from_host(
  array: jax.ShapeDtypeStruct,
  sharding: Sharding,
  read: Callable[[], np.ndarray],
) -> jax.Array:
  """Returns an array with the values of `read()`; each distinct shard is copied once."""
  values = read()

  @functools.cache
  def copy_shard(*bounds: Bounds) -> np.ndarray:
    return np.array(values[_slices(bounds)], dtype=array.dtype, order='C')

  return jax.make_array_from_callback(
    array.shape,
    sharding,
    lambda index: copy_shard(*_bounds(index, array.shape)),
  )


def _create_stack(
  source: lazy_params.LazyParams, name: str, array: jax.ShapeDtypeStruct
) -> jax.Array:
  """Returns a stacked parameter; all layers of a shard are copied at once."""

  @functools.cache
  def read_shard(layer_bounds: Bounds, *bounds: Bounds) -> np.ndarray:
    layers = range(*layer_bounds)
    shape = [stop - start for start, stop in bounds]
    out = np.empty((len(layers), *shape), array.dtype)
    for index, layer in enumerate(layers):
      out[index] = source.read_array(name, layer)[_slices(bounds)]
    return out

  return jax.make_array_from_callback(
    array.shape,
    array.sharding,
    lambda index: read_shard(*_bounds(index, array.shape)),
  )


def _stream_stack(
  source: lazy_params.LazyParams,
  name: str,
  array: jax.ShapeDtypeStruct,
  layer_sharding: Sharding,
) -> jax.Array:
  """Returns a stacked parameter; layers are written one by one to an array on the devices."""
  stack = jnp.zeros(array.shape, array.dtype, device=array.sharding)
  write = jax.jit(_write_layer, donate_argnums=0, out_shardings=array.sharding)
  layer_shape = jax.ShapeDtypeStruct(array.shape[1:], array.dtype)

  for layer in range(array.shape[0]):
    read = functools.partial(source.read_array, name, layer)
    layer_array = _create_from_host(layer_shape, layer_sharding, read)
    stack = jax.block_until_ready(write(stack, layer_array, layer))
  return stack


def _write_layer(
  stack: jax.Array, layer_array: jax.Array, layer: int
) -> jax.Array:
  return jax.lax.dynamic_update_index_in_dim(stack, layer_array, layer, 0)


def _layer_sharding(sharding: Sharding) -> Sharding | None:
  """Returns the sharding of one layer of a stack; None if the axis of layers is sharded."""
  if not isinstance(sharding, NamedSharding):
    return sharding if len(sharding.device_set) == 1 else None
  layers_axis, *axes = *sharding.spec, None
  if layers_axis is not None:
    return None
  return NamedSharding(sharding.mesh, PartitionSpec(*axes))


def _bounds(
  index: tuple[slice, ...] | None, shape: tuple[int, ...]
) -> tuple[Bounds, ...]:
  """Returns (start, stop) of each axis, which unlike slices can be keys of a cache."""
  assert index is not None
  bounds = []
  for axis_slice, size in zip(index, shape):
    start, stop, _ = axis_slice.indices(size)
    bounds.append((start, stop))
  return tuple(bounds)


def _slices(bounds: tuple[Bounds, ...]) -> tuple[slice, ...]:
  return tuple(slice(start, stop) for start, stop in bounds)
