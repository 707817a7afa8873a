"""KV cache: keys and values of earlier tokens, as a pytree.

A cache has two parts. The prefix is a prompt that several sequences share; it is stored once. The
suffix contains the tokens of each sequence itself. Sequences of one prompt are neighbours: with C
sequences per prompt, sequence b has prompt b // C. So C candidates of a problem neither compute nor
store their prompt C times.

  prefill  cache = allocate_cache(config, batch_size=P, max_length=S)
           _, cache = hidden_states(..., cache=cache)
  decode   cache = share_prefix(cache, config, copies=C, max_length=U)
           hidden, cache = hidden_states(..., cache=cache)    one token per sequence and step
  score    cache = share_prefix(cache, config, copies=C, max_length=0)
           hidden, _ = hidden_states(..., cache=cache)        whole candidates in one call

Shapes: L layers, B sequences, T new tokens, S slots (tokens that fit), K key/value heads, H head
size.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mathft_jax.models import config as config_lib

# Stacked layers [L, B, K, S, H], or a tuple with one [B, K, S, H] for each layer.
LayerArrays = jax.Array | tuple[jax.Array, ...]
Suffix = tuple[LayerArrays, LayerArrays]  # keys and values of all layers


class KeyValuePair(NamedTuple):
  """Keys and values of one layer [B, K, S, H], or of stacked layers [L, B, K, S, H]."""

  key: jax.Array
  value: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KeyValues:
  """Keys and values of all layers. A slot with a negative position is empty."""

  key: LayerArrays
  value: LayerArrays
  position_BS: jax.Array  # int32

  def stacked(self) -> KeyValuePair:
    """Returns the arrays of stacked layers."""
    assert not isinstance(self.key, tuple)
    assert not isinstance(self.value, tuple)
    return KeyValuePair(self.key, self.value)

  def layer(self, index: int) -> KeyValuePair:
    """Returns the arrays of one layer."""
    return KeyValuePair(self.key[index], self.value[index])

  def grow(self, num_slots: int) -> 'KeyValues':
    """Returns the same with room for `num_slots` more tokens."""

    def pad(array: jax.Array) -> jax.Array:
      widths = [(0, 0)] * array.ndim
      widths[-2] = 0, num_slots
      return jnp.pad(array, widths)

    positions_BS = jnp.pad(
      self.position_BS, ((0, 0), (0, num_slots)), constant_values=-1
    )
    key, value = jax.tree.map(pad, (self.key, self.value))
    return KeyValues(key, value, positions_BS)


class LayerCache(NamedTuple):
  """The KV cache as one layer reads and extends it.

  Attributes:
    suffix: of this layer, or stacked for all layers if `layer` is given: a scan over layers then
      updates the stack in place. None: nothing is appended.
    prefix: of this layer. None without one.
    start: tokens that the suffix contains; the next one is written to this slot.
    layer: index of this layer in a stacked suffix.
  """

  suffix: KeyValuePair | None
  prefix: KeyValuePair | None
  start: jax.Array | int
  layer: jax.Array | None = None

  def append(
    self, key_BKTH: jax.Array, value_BKTH: jax.Array
  ) -> tuple['LayerCache', jax.Array, jax.Array]:
    """Writes the keys and values of T new tokens to the suffix.

    Returns the cache, and keys and values [B, K, S, H] of this layer's suffix.
    """
    assert self.suffix is not None
    key = self._write(self.suffix.key, key_BKTH)
    value = self._write(self.suffix.value, value_BKTH)
    cache = self._replace(suffix=KeyValuePair(key, value))
    if self.layer is not None:
      key, value = key[self.layer], value[self.layer]
    return cache, key, value

  def _write(self, cached: jax.Array, new_BKTH: jax.Array) -> jax.Array:
    index = 0, 0, self.start, 0
    if self.layer is None:
      return jax.lax.dynamic_update_slice(cached, new_BKTH, index)
    return jax.lax.dynamic_update_slice(
      cached, new_BKTH[None], (self.layer, *index)
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KVCache:
  """The KV cache of all layers.

  Attributes:
    suffix: tokens of each sequence. None if nothing can be appended.
    prefix: prompts, each shared by the same number of sequences. None without one.
    length: int32 scalar, tokens written to the suffix of every sequence. The Python number 0 if the
      cache was allocated in the same program and is empty.
  """

  suffix: KeyValues | None
  prefix: KeyValues | None
  length: jax.Array | int

  def layer(self, index: int) -> LayerCache:
    """Returns the cache of one layer of a cache that is not stacked."""
    suffix = prefix = None
    if self.suffix is not None:
      suffix = self.suffix.layer(index)
    if self.prefix is not None:
      prefix = self.prefix.layer(index)
    return LayerCache(suffix, prefix, self.length)


def allocate_cache(
  config: config_lib.TransformerConfig,
  *,
  batch_size: int,
  max_length: int,
  stacked: bool = True,
) -> KVCache:
  """Returns an empty cache without a prefix.

  Args:
    batch_size: sequences.
    max_length: tokens that fit in each sequence.
    stacked: whether all layers are one array. Must be False for parameters of
      `transformer.unstack_layers`, and True for all others.
  """
  suffix = _allocate_key_values(config, batch_size, max_length, stacked)
  return KVCache(suffix, prefix=None, length=0)


def share_prefix(
  cache: KVCache,
  config: config_lib.TransformerConfig,
  *,
  copies: int,
  max_length: int,
) -> KVCache:
  """Returns a cache in which `copies` sequences share each sequence of a prefilled cache.

  Args:
    cache: the prompts: an allocated cache after a call of the model.
    copies: sequences per prompt.
    max_length: tokens that can be appended to each sequence; 0: none.

  Raises:
    ValueError: the cache already has a prefix.
  """
  if cache.prefix is not None or cache.suffix is None:
    raise ValueError(
      'share_prefix got a cache that already has a prefix; it must be a prefilled '
      'cache of allocate_cache.'
    )

  prompts = cache.suffix
  suffix = None
  if max_length:
    batch_size = copies * prompts.position_BS.shape[0]
    stacked = not isinstance(prompts.key, tuple)
    suffix = _allocate_key_values(config, batch_size, max_length, stacked)
  return KVCache(suffix, prefix=prompts, length=jnp.int32(0))


def is_empty(cache: KVCache) -> bool:
  """Whether the cache was allocated in the same program and nothing has been written."""
  return cache.prefix is None and isinstance(cache.length, int)


def append_positions(
  cache: KVCache | None,
  positions_BT: jax.Array,
  segment_ids_BT: jax.Array | None,
  branch_ids_BT: jax.Array | None,
) -> jax.Array | None:
  """Returns the positions [B, S] in the suffix with those of the new tokens written.

  The position of a padding token (segment id 0) is -1. None if there is no suffix.

  Raises:
    ValueError: there are more new tokens than slots, or the tokens have branches.
  """
  if cache is None or cache.suffix is None:
    return None
  if branch_ids_BT is not None:
    raise ValueError(
      'branch_ids_BT is given, but the KV cache has a suffix; use share_prefix '
      'with max_length=0.'
    )
  cached_BS = cache.suffix.position_BS
  num_tokens, num_slots = positions_BT.shape[1], cached_BS.shape[1]
  if num_tokens > num_slots:
    raise ValueError(
      f'{num_tokens} tokens do not fit in a KV cache with {num_slots} slots per '
      'sequence; allocate it with a larger max_length.'
    )

  if segment_ids_BT is not None:
    positions_BT = jnp.where(segment_ids_BT != 0, positions_BT, -1)
  return jax.lax.dynamic_update_slice(
    cached_BS, positions_BT, (0, cache.length)
  )


def replace_suffix(
  cache: KVCache | None,
  suffix: Suffix | None,
  position_BS: jax.Array | None,
  num_tokens: int,
) -> KVCache | None:
  """Returns the cache with a suffix to which `num_tokens` tokens were written; None without one."""
  if cache is None or suffix is None or position_BS is None:
    return None
  return KVCache(
    KeyValues(*suffix, position_BS),
    cache.prefix,
    jnp.int32(cache.length + num_tokens),
  )


def _allocate_key_values(
  config: config_lib.TransformerConfig,
  batch_size: int,
  max_length: int,
  stacked: bool,
) -> KeyValues:
  shape = batch_size, config.kv_heads, max_length, config.head_size

  def zeros() -> LayerArrays:
    if stacked:
      return jnp.zeros((config.num_layers, *shape), config.dtype)
    layers = range(config.num_layers)
    return tuple(jnp.zeros(shape, config.dtype) for _ in layers)

  empty_BS = jnp.full((batch_size, max_length), -1, jnp.int32)
  return KeyValues(zeros(), zeros(), empty_BS)
