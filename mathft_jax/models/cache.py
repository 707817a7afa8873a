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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Slots:
  """Keys and values of all layers; a slot whose position is negative holds nothing."""

  key_LBKSH: jax.Array
  value_LBKSH: jax.Array
  position_BS: jax.Array  # int32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
  """What a forward pass may look back at; `length` own slots are written, in every row alike."""

  own: Slots | None
  prefix: Slots | None
  length: jax.Array  # int32, scalar


def new_cache(config: config_lib.TransformerConfig, *, rows: int, slots: int) -> Cache:
  """A cache of `rows` rows with room for `slots` tokens each, nothing written."""
  return Cache(own=_empty_slots(config, rows, slots), prefix=None, length=jnp.int32(0))


def shared(cache: Cache, config: config_lib.TransformerConfig, *, copies: int, slots: int) -> Cache:
  """The cache of `copies` rows per row of `cache`, which becomes their common prefix.

  `slots` is the room each copy gets for tokens of its own; 0 where whole rows are passed at once.
  """
  if cache.prefix is not None or cache.own is None:
    raise ValueError('shared() wants a cache without a prefix: prefill with new_cache(...).')
  rows = copies * cache.own.position_BS.shape[0]
  own = _empty_slots(config, rows, slots) if slots else None
  return Cache(own=own, prefix=cache.own, length=jnp.int32(0))


def _empty_slots(config: config_lib.TransformerConfig, rows: int, slots: int) -> Slots:
  shape = (config.num_layers, rows, config.kv_heads, slots, config.head_size)
  return Slots(jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype),
               jnp.full((rows, slots), -1, jnp.int32))
