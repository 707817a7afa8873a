"""Parameters from files onto a mesh, without a second copy of them on the host."""

from collections.abc import Callable
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, Sharding
import numpy as np

from mathft_jax.checkpoints import lazy_params
from mathft_jax.models.huggingface import tensor_names

# A stacked parameter above this goes to the devices layer by layer, so that the host never holds
# more than one layer of it; below, in one piece, which is faster. In bytes.
STREAM_BYTES = 1 << 28


def create_sharded_arrays(source: lazy_params.LazyParams, wanted: Any) -> Any:
  """The tree of arrays that `wanted` (ShapeDtypeStructs with shardings) describes.

  Each process reads what its own devices hold. The host holds one tensor of the files at a time, or
  STREAM_BYTES of stacked ones.
  """

  def one(keys, array):
    name = '/'.join(key.key for key in keys)
    layer = _layer_sharding(array.sharding)
    if not name.startswith(tensor_names.LAYERS_PREFIX):
      made = _make(
        array.shape,
        array.dtype,
        array.sharding,
        lambda: source.read(name, None),
      )
    elif (
      layer is None
      or math.prod(array.shape) * array.dtype.itemsize <= STREAM_BYTES
    ):
      made = _make_stacked(source, name, array)
    else:
      made = _stream(source, name, array, layer)
    return jax.block_until_ready(made)

  return jax.tree_util.tree_map_with_path(one, wanted)


def _make(
  shape: tuple[int, ...],
  dtype: Any,
  sharding: Sharding,
  read: Callable[[], np.ndarray],
) -> jax.Array:
  """An array of what `read` gives, each distinct shard copied once."""
  numbers = read()

  @functools.cache
  def shard(*bounds: tuple[int, int]) -> np.ndarray:
    return np.array(
      numbers[tuple(slice(*each) for each in bounds)], dtype=dtype, order='C'
    )

  return jax.make_array_from_callback(
    shape, sharding, lambda index: shard(*_bounds(index, shape))
  )


def _make_stacked(
  source: lazy_params.LazyParams, name: str, array: jax.ShapeDtypeStruct
) -> jax.Array:
  """A stacked parameter, all layers at once."""

  @functools.cache
  def shard(layers: tuple[int, int], *bounds: tuple[int, int]) -> np.ndarray:
    part = tuple(slice(*each) for each in bounds)
    out = np.empty(
      (layers[1] - layers[0], *(end - start for start, end in bounds)),
      array.dtype,
    )
    for i, layer in enumerate(range(*layers)):
      out[i] = source.read(name, layer)[part]
    return out

  return jax.make_array_from_callback(
    array.shape,
    array.sharding,
    lambda index: shard(*_bounds(index, array.shape)),
  )


def _stream(
  source: lazy_params.LazyParams,
  name: str,
  array: jax.ShapeDtypeStruct,
  layer_sharding: Sharding,
) -> jax.Array:
  """A stacked parameter, one layer after the other written into an array on the devices."""
  stack = jnp.zeros(array.shape, array.dtype, device=array.sharding)
  write = jax.jit(_with_layer, donate_argnums=0, out_shardings=array.sharding)
  for layer in range(array.shape[0]):
    part = _make(
      array.shape[1:],
      array.dtype,
      layer_sharding,
      functools.partial(source.read, name, layer),
    )
    stack = jax.block_until_ready(write(stack, part, layer))
  return stack


def _with_layer(stack, part, layer):
  return jax.lax.dynamic_update_index_in_dim(stack, part, layer, 0)


def _layer_sharding(sharding: Sharding) -> Sharding | None:
  """The sharding of one layer of a stack; None where the layers themselves are spread."""
  if not isinstance(sharding, NamedSharding):
    return sharding if len(sharding.device_set) == 1 else None
  first, *rest = (*sharding.spec, None)
  return (
    NamedSharding(sharding.mesh, PartitionSpec(*rest))
    if first is None
    else None
  )


def _bounds(
  index: tuple[slice, ...], shape: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
  return tuple(each.indices(size)[:2] for each, size in zip(index, shape))
