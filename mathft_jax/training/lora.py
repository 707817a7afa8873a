"""LoRA adapters (arXiv 2106.09685): trains A and B in W + (alpha / rank) A B; W is frozen.

Frozen weights have no gradients and no optimizer state. A checkpoint contains merged weights, like
that of full fine-tuning. B is initialized to zero, so training starts from the given model.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import functools
import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.models.lora import NUM_INPUT_AXES, LoraWeight

# {'layers': {'attention': {'query': {'a': ..., 'b': ...}}}}, of arrays or shapes
Adapters = dict[str, dict]
# Parameters of the model: arrays, shapes or axis names.
Tree = Mapping[str, Any]
BASE_DTYPES = ('float32', 'bfloat16')


class LoraParams(NamedTuple):
  """Frozen parameters of the model and trainable adapters."""

  base: Tree
  adapters: Adapters


@dataclasses.dataclass(frozen=True)
class Lora:
  """Size and position of the adapters.

  Attributes:
    rank: of A B.
    alpha: A B is scaled by alpha / rank.
    matrices: regular expression that matches whole names: attention/query, attention/key,
      attention/value, attention/out, mlp/gate, mlp/up, mlp/down. Layers of all stacks have them.
    base_dtype: dtype of the frozen weights on the devices.
  """

  rank: int = 16
  alpha: float = 32.0
  matrices: str = 'attention/.*|mlp/.*'
  base_dtype: str = 'float32'

  def __post_init__(self):
    if self.rank < 1 or self.alpha <= 0 or self.base_dtype not in BASE_DTYPES:
      raise ValueError(
        f'{self}: rank must be >= 1, alpha > 0 and base_dtype one of {BASE_DTYPES}.'
      )

  def abstract_params(self, params: Tree) -> LoraParams:
    """Returns shapes and dtypes of the frozen parameters and the adapters.

    Args:
      params: arrays or shapes of the model's parameters.
    """

    def adapter_shapes(weight, num_inputs):
      num_layers, *shape = weight.shape
      a_shape = (num_layers, *shape[:num_inputs], self.rank)
      b_shape = (num_layers, self.rank, *shape[num_inputs:])
      return {
        'a': jax.ShapeDtypeStruct(a_shape, jnp.float32),
        'b': jax.ShapeDtypeStruct(b_shape, jnp.float32),
      }

    base = jax.tree.map(
      lambda array: jax.ShapeDtypeStruct(array.shape, self.base_dtype), params
    )
    return LoraParams(base, self._map_matrices(adapter_shapes, params))

  def logical_axes(self, axes: Tree) -> LoraParams:
    """Returns the logical axes of all parameters; the rank axis has no name."""

    def adapter_axes(names, num_inputs):
      layers, *rest = names
      return {
        'a': (layers, *rest[:num_inputs], None),
        'b': (layers, None, *rest[num_inputs:]),
      }

    return LoraParams(axes, self._map_matrices(adapter_axes, axes))

  def init_adapters(self, params: Tree, key: jax.Array) -> Adapters:
    """Returns new adapters: A is normal with variance 1 / inputs, B is zero."""
    shapes = self.abstract_params(params).adapters
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)

    adapters = []
    for number, (path, leaf) in enumerate(leaves):
      if path[-1].key == 'b':
        adapters.append(jnp.zeros(leaf.shape))
        continue
      num_inputs = math.prod(leaf.shape[1:-1])
      normal = jax.random.normal(jax.random.fold_in(key, number), leaf.shape)
      adapters.append(normal / math.sqrt(num_inputs))

    return jax.tree.unflatten(structure, adapters)

  def attach(self, params: LoraParams) -> Tree:
    """Returns parameters for `hidden_states`, in which adapted matrices are `LoraWeight`s."""

    def with_adapter(weight, adapter):
      return LoraWeight(weight, adapter['a'], adapter['b'] * self._scale)

    return _map_adapted(with_adapter, params.base, params.adapters)

  def merge(self, params: LoraParams) -> Tree:
    """Returns float32 parameters of the model: W + (alpha / rank) A B, summed in float32.

    If this process has all arrays, they are merged layer by layer and moved to the host, so that a
    device needs memory for one merged layer. Arrays of several processes stay on the devices with
    their shardings; this needs memory for a second model in float32.
    """

    def merge_matrix(weight, adapter):
      if not weight.is_fully_addressable:
        return _make_merge(weight.sharding)(weight, adapter, self._scale)
      merged = np.empty(weight.shape, np.float32)
      for layer in range(len(merged)):
        merged[layer] = _merge_layer(weight, adapter, layer, self._scale)
      return merged

    merged = _map_adapted(merge_matrix, params.base, params.adapters)
    return jax.tree.map(_to_host, merged)

  def check_merged(
    self,
    params: LoraParams,
    read: Callable[[str, int | None], np.ndarray],
    *,
    where: str,
  ) -> None:
    """Checks that saved parameters are these frozen parameters merged with these adapters.

    Compares all layers of the first adapted matrix; each process compares its own shards.

    Args:
      params: frozen parameters and restored adapters.
      read: `read(name, None)` returns a saved array.
      where: start of the error message.

    Raises:
      ValueError: the frozen parameters are not those that the run started with.
    """
    path, adapter = next(_iter_leaves(params.adapters))
    weight = dict(_iter_leaves(params.base))[path]
    name = '/'.join(path)
    saved = read(name, None)

    is_equal, largest_error = True, 0.0
    for layer in range(len(saved)):
      merged = _merge_layer(weight, adapter, layer, self._scale)
      for index, shard in _local_shards(merged):
        expected = saved[layer][index]
        is_equal &= np.allclose(shard, expected, rtol=1e-4, atol=1e-6)
        error = np.max(np.abs(shard - expected))
        largest_error = np.maximum(largest_error, error)

    if not is_equal:
      raise ValueError(
        f'{where}: {name} differs from the saved parameters by up to '
        f'{largest_error:.2g}. A LoRA run can only resume on the weights that it started from. '
        'Restore them, or use another MODEL_DIR.'
      )

  @property
  def _scale(self) -> float:
    return self.alpha / self.rank

  def _map_matrices(
    self, function: Callable[..., dict], params: Tree
  ) -> Adapters:
    """Returns nested dicts of `function(leaf, number of input axes)` for the adapted matrices."""
    adapters, known = {}, {}
    leaves = dict(_iter_leaves({'layers': params['layers']}))
    for path, leaf in leaves.items():
      *branches, name = path
      if name not in NUM_INPUT_AXES:
        continue
      matrix = f'{branches[-1]}/{name}'
      known[matrix] = None
      if re.fullmatch(self.matrices, matrix):
        if (*branches, 'router') in leaves:
          raise ValueError(
            f'Lora.matrices = {self.matrices!r} (LORA_MATRICES) matches {matrix}; matrices of '
            "experts cannot have adapters. Use 'attention/.*'."
          )
        node = adapters
        for branch in branches:
          node = node.setdefault(branch, {})
        node[name] = function(leaf, NUM_INPUT_AXES[name])

    if not adapters:
      raise ValueError(
        f'Lora.matrices = {self.matrices!r} matches no matrix. The model has '
        f'{", ".join(known)}.'
      )
    return adapters


def _is_adapter(tree: Any) -> bool:
  return isinstance(tree, Mapping) and set(tree) == {'a', 'b'}


def _iter_leaves(
  tree: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
  """Yields (path, leaf) of nested dicts; an adapter is a leaf."""
  if not isinstance(tree, Mapping) or _is_adapter(tree):
    yield path, tree
    return
  for name, branch in tree.items():
    yield from _iter_leaves(branch, (*path, name))


def _map_adapted(
  function: Callable[..., Any], params: Tree, adapters: Tree
) -> Any:
  """Returns the parameters with `function(weight, adapter)` for each adapted matrix."""
  if _is_adapter(adapters):
    return function(params, adapters)
  mapped = dict(params)
  for name, branch in adapters.items():
    mapped[name] = _map_adapted(function, params[name], branch)
  return mapped


def _merge(weight: jax.Array, adapter: Mapping[str, jax.Array], scale):
  change = jnp.tensordot(
    adapter['a'], adapter['b'], axes=1, precision='highest'
  )
  return weight.astype(jnp.float32) + scale * change


@jax.jit
def _merge_layer(weight, adapter, layer, scale):
  """Merges one layer; `layer` is traced, so that all layers share one compilation."""
  weight, adapter = jax.tree.map(lambda stack: stack[layer], (weight, adapter))
  return _merge(weight, adapter, scale)


@functools.lru_cache(maxsize=64)
def _make_merge(sharding):
  """Returns the jitted merge of all layers of a matrix, with the sharding of the matrix."""
  return jax.jit(jax.vmap(_merge, in_axes=(0, 0, None)), out_shardings=sharding)


def _local_shards(
  array: jax.Array,
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
  """Yields (index, values) of the distinct shards on this process's devices."""
  shards = {str(shard.index): shard for shard in array.addressable_shards}
  for shard in shards.values():
    yield shard.index, np.asarray(shard.data)


def _to_host(array: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
  if isinstance(array, jax.Array) and not array.is_fully_addressable:
    return array.astype(jnp.float32)
  return np.asarray(array).astype(np.float32)
