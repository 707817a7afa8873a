"""LoRA (2106.09685): matrices W become W + (alpha / rank) A B; only the small A and B are trained.

The rest of the model is frozen: it has no gradients and no optimizer state. What a stage hands over
are merged weights, an ordinary checkpoint. B begins at zero, so a stage begins with the model that
it was given.
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

Adapters = dict[
  str, Any
]  # {'layers': {'attention': {'query': {'a': ..., 'b': ...}}}}
BASE_DTYPES = ('float32', 'bfloat16')


class LoraParams(NamedTuple):
  """The parameters of a LoRA stage: `base` as it was given, `adapters` as they are trained."""

  base: Any
  adapters: Adapters


@dataclasses.dataclass(frozen=True)
class Lora:
  """Which matrices have adapters, and of what size.

  Attributes:
    rank: of A B.
    alpha: A B is scaled by alpha / rank.
    matrices: a regular expression for whole names: attention/query, attention/key, attention/value,
      attention/out, mlp/gate, mlp/up, mlp/down.
    base_dtype: in which the frozen weights are held; published weights are bfloat16 themselves.
  """

  rank: int = 16
  alpha: float = 32.0
  matrices: str = 'attention/.*|mlp/.*'
  base_dtype: str = 'float32'

  def __post_init__(self):
    if self.rank < 1 or self.alpha <= 0 or self.base_dtype not in BASE_DTYPES:
      raise ValueError(
        f'{self}: wanted rank >= 1, alpha > 0, base_dtype one of {BASE_DTYPES}.'
      )

  def shapes(self, params: Any) -> LoraParams:
    """The shapes of a stage's parameters, from those of the model."""

    def one(weight, inputs):
      stack, shape = weight.shape[:1], weight.shape[1:]
      return {
        'a': jax.ShapeDtypeStruct(
          (*stack, *shape[:inputs], self.rank), jnp.float32
        ),
        'b': jax.ShapeDtypeStruct(
          (*stack, self.rank, *shape[inputs:]), jnp.float32
        ),
      }

    base = jax.tree.map(
      lambda array: jax.ShapeDtypeStruct(array.shape, self.base_dtype), params
    )
    return LoraParams(base, self._of_matrices(params, one))

  def axes(self, axes: Any) -> LoraParams:
    """The logical axes of a stage's parameters: those of the matrices; the rank's has no name."""

    def one(names, inputs):
      return {
        'a': (*names[: 1 + inputs], None),
        'b': (names[0], None, *names[1 + inputs :]),
      }

    return LoraParams(axes, self._of_matrices(axes, one))

  def init(self, params: Any, key: jax.Array) -> Adapters:
    """Fresh adapters: A normal with variance 1 / inputs (ours), B zero."""
    shapes = self.shapes(params).adapters
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    made = []
    for number, (path, shape) in enumerate(leaves):
      inputs = math.prod(shape.shape[1:-1])
      drawn = jax.random.normal(
        jax.random.fold_in(key, number), shape.shape
      ) / math.sqrt(inputs)
      made.append(drawn if path[-1].key == 'a' else jnp.zeros(shape.shape))
    return jax.tree.unflatten(structure, made)

  def attach(self, params: LoraParams) -> Any:
    """The model's parameters with the changes beside their matrices, for `hidden_states`."""

    def one(weight, adapter):
      return LoraWeight(
        weight, adapter['a'], adapter['b'] * (self.alpha / self.rank)
      )

    return _replaced(params.base, params.adapters, one)

  def merged(self, params: LoraParams) -> Any:
    """Ordinary float32 parameters: W + (alpha / rank) A B, summed in float32.

    Where one process has the arrays they are made one layer at a time and moved to the host, so
    that a device holds one layer's matrix besides. Arrays of several processes stay on their
    devices, laid out as they were: a second model, in float32.
    """

    def one(weight, adapter):
      if not weight.is_fully_addressable:
        return _merge_stack(weight.sharding)(
          weight, adapter, self.alpha / self.rank
        )
      merged = np.empty(weight.shape, np.float32)
      for layer in range(len(merged)):
        merged[layer] = _merge_layer(
          weight, adapter, layer, self.alpha / self.rank
        )
      return merged

    return jax.tree.map(_to_host, _replaced(params.base, params.adapters, one))

  def check_merged(
    self,
    params: LoraParams,
    read: Callable[[str, int | None], np.ndarray],
    *,
    where: str,
  ) -> None:
    """ValueError unless a matrix that was saved is this base with these adapters.

    Looks at all layers of the first matrix that has an adapter, each process at what its own
    devices hold of it; `read(name, None)` gives what was saved.
    """
    group, members = next(iter(params.adapters['layers'].items()))
    name, adapter = next(iter(members.items()))
    weight, saved = (
      params.base['layers'][group][name],
      read(f'layers/{group}/{name}', None),
    )
    same, away = True, 0.0
    for layer in range(len(saved)):
      for index, part in _own_parts(
        _merge_layer(weight, adapter, layer, self.alpha / self.rank)
      ):
        wanted = saved[layer][index]
        same = same and np.allclose(part, wanted, rtol=1e-4, atol=1e-6)
        away = np.maximum(away, np.max(np.abs(part - wanted)))
    if not same:
      raise ValueError(
        f'{where}: layers/{group}/{name} is not what was saved, up to {away:.2g} '
        'away. A LoRA stage goes on from the weights that it began with: put them '
        'back, or use another MODEL_DIR.'
      )

  def _of_matrices(
    self, tree: Any, make: Callable[[Any, int], Any]
  ) -> Adapters:
    """Nested dicts of `make(leaf, input axes)` for the matrices that are meant."""
    found = {
      group: {
        name: make(leaf, NUM_INPUT_AXES[name])
        for name, leaf in members.items()
        if name in NUM_INPUT_AXES
        and re.fullmatch(self.matrices, f'{group}/{name}')
      }
      for group, members in tree['layers'].items()
      if isinstance(members, Mapping)
    }
    if not any(found.values()):
      known = [
        f'{group}/{name}'
        for group, members in tree['layers'].items()
        if isinstance(members, Mapping)
        for name in members
        if name in NUM_INPUT_AXES
      ]
      raise ValueError(
        f'Lora.matrices = {self.matrices!r} is the name of no matrix; the model has '
        f'{", ".join(known)}.'
      )
    return {
      'layers': {group: members for group, members in found.items() if members}
    }


def _replaced(
  base: Any, adapters: Adapters, one: Callable[[Any, Any], Any]
) -> Any:
  """The base with `one(weight, adapter)` for each weight that has an adapter."""
  if isinstance(adapters, Mapping) and set(adapters) == {'a', 'b'}:
    return one(base, adapters)
  return {
    name: _replaced(branch, adapters[name], one) if name in adapters else branch
    for name, branch in base.items()
  }


def _merge(weight, adapter, alpha_by_rank):
  change = jnp.tensordot(
    adapter['a'], adapter['b'], axes=1, precision='highest'
  )
  return weight.astype(jnp.float32) + alpha_by_rank * change


@jax.jit
def _merge_layer(weight, adapter, layer, alpha_by_rank):
  """One layer's matrix of a stack; the number is traced, so that all layers are one program."""
  weight, adapter = jax.tree.map(lambda stack: stack[layer], (weight, adapter))
  return _merge(weight, adapter, alpha_by_rank)


@functools.lru_cache(maxsize=64)
def _merge_stack(sharding):
  """Compiled (all layers of a matrix, adapter, scale) -> merged, laid out like the matrix."""
  return jax.jit(jax.vmap(_merge, in_axes=(0, 0, None)), out_shardings=sharding)


def _own_parts(
  array: jax.Array,
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
  """(where it lies, numbers) of each different part that this process's devices hold."""
  parts = {str(shard.index): shard for shard in array.addressable_shards}
  return ((shard.index, np.asarray(shard.data)) for shard in parts.values())


def _to_host(array: Any) -> jax.Array | np.ndarray:
  if isinstance(array, jax.Array) and not array.is_fully_addressable:
    return array.astype(jnp.float32)
  return np.asarray(array).astype(np.float32)
