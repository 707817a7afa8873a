"""Keys and values of earlier tokens, as an explicit pytree.

A cache has two parts: what the copies of a row share (`prefix`, the prompt, held once per problem)
and what each row wrote itself (`own`). `rows of own = copies x rows of prefix`, the copies of one
prefix row being neighbours. Attention reads the prefix once for all its copies, so decoding C
candidates of a problem neither computes nor stores its prompt C times.

  prefill      cache = new_cache(config, rows=P, slots=S); hidden_states(..., cache=cache)
  decode       cache = shared(cache, config, copies=C, slots=U); then one token a row and step
  score        cache = shared(cache, config, copies=C, slots=0); then whole rows at once
"""

import dataclasses

import jax
import jax.numpy as jnp

from mathft_jax.models import config as config_lib

LayerArrays = (
  jax.Array | tuple[jax.Array, ...]
)  # [L, B, K, S, H], or for each layer [B, K, S, H]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeyValues:
  """Keys and values of all layers; a slot whose position is negative holds nothing."""

  key: LayerArrays
  value: LayerArrays
  position_BS: jax.Array  # int32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
  """What a forward pass may look back at; `length` own slots are written, in every row alike."""

  suffix: KeyValues | None
  prefix: KeyValues | None
  length: (
    jax.Array | int
  )  # int32, scalar; the number 0 where it is known that nothing is written


def allocate_cache(
  config: config_lib.TransformerConfig,
  *,
  batch_size: int,
  max_length: int,
  stacked: bool = True,
) -> KVCache:
  """A cache of `rows` rows with room for `slots` tokens each, nothing written.

  `stacked` must be False for parameters of `transformer.unstack_layers`, and only for them.
  """
  return KVCache(
    _empty_slots(config, batch_size, max_length, stacked), prefix=None, length=0
  )


def share_prefix(
  cache: KVCache,
  config: config_lib.TransformerConfig,
  *,
  copies: int,
  max_length: int,
) -> KVCache:
  """The cache of `copies` rows per row of `cache`, which becomes their common prefix.

  `slots` is the room each copy gets for tokens of its own; 0 where whole rows are passed at once.
  """
  if cache.prefix is not None or cache.suffix is None:
    raise ValueError(
      'shared() wants a cache without a prefix: prefill with new_cache(...).'
    )
  rows = copies * cache.suffix.position_BS.shape[0]
  stacked = not isinstance(cache.suffix.key, tuple)
  own = _empty_slots(config, rows, max_length, stacked) if max_length else None
  return KVCache(suffix=own, prefix=cache.suffix, length=jnp.int32(0))


def is_empty(cache: KVCache) -> bool:
  """Whether the cache has come from `new_cache` in the same program, so that nothing is in it."""
  return cache.prefix is None and isinstance(cache.length, int)


def grow_key_values(slots: KeyValues, more: int) -> KeyValues:
  """The same with room for `more` tokens."""

  def wider(array):
    return jnp.pad(array, ((0, 0),) * (array.ndim - 2) + ((0, more), (0, 0)))

  position_BS = jnp.pad(
    slots.position_BS, ((0, 0), (0, more)), constant_values=-1
  )
  return KeyValues(*jax.tree.map(wider, (slots.key, slots.value)), position_BS)


def _empty_slots(
  config: config_lib.TransformerConfig, rows: int, slots: int, stacked: bool
) -> KeyValues:
  shape = (rows, config.kv_heads, slots, config.head_size)

  def zeros():
    if stacked:
      return jnp.zeros((config.num_layers, *shape), config.dtype)
    return tuple(
      jnp.zeros(shape, config.dtype) for _ in range(config.num_layers)
    )

  return KeyValues(zeros(), zeros(), jnp.full((rows, slots), -1, jnp.int32))
