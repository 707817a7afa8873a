"""KV cache: keys and values of earlier tokens, as a pytree.

A cache has a suffix, to which the new tokens of each sequence are appended, and prefixes, which are
only read. A prefix has its own number of entries, P. Sequences that share an entry are neighbours:
of B sequences, sequence b reads entry b // (B / P). So the candidates of a problem neither compute
nor store their prompt several times; and earlier tokens that each sequence has for itself are a
prefix with P = B.

  prefill  cache = allocate_cache(config, batch_size=P, max_length=S)
           _, cache = hidden_states(..., cache=cache)
  share    cache = share_prefix(cache, config, copies=C, max_length=0)
           hidden, _ = hidden_states(..., cache=cache)        whole candidates in one call
  decode   inference/decoding.py builds a cache of several prefixes for each step.

Shapes: L layers, B sequences, P entries of a prefix, T new tokens, S slots (tokens that fit), K
key/value heads, H head size.
"""

from collections.abc import Mapping
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mathft_jax.models import config as config_lib
from mathft_jax.models import layer_stacks

# Stacked layers [L, B, K, S, H], a dict of the stacks of `layer_stacks`, or a tuple with one
# [B, K, S, H] for each layer; None for a layer that has no such slots.
LayerArrays = jax.Array | dict[str, jax.Array] | tuple[jax.Array | None, ...]
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

  def stacks(
    self, config: config_lib.TransformerConfig
  ) -> dict[str, KeyValuePair]:
    """Returns the arrays of each stack of layers, by the name of the stack."""
    keys = layer_stacks.split_stacks(config, self.key)
    values = layer_stacks.split_stacks(config, self.value)
    return {name: KeyValuePair(keys[name], values[name]) for name in keys}

  def layer(self, index: int) -> KeyValuePair | None:
    """Returns the arrays of one layer; None if it has no slots here."""
    assert isinstance(self.key, tuple) and isinstance(self.value, tuple)
    key, value = self.key[index], self.value[index]
    if key is None or value is None:
      return None
    return KeyValuePair(key, value)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
  """Keys and values that are only read.

  Attributes:
    keys: P entries, each shared by B / P neighbouring sequences.
    kind: the kind of layers ('global', 'local') that have these slots; None: all layers.
    visible_B: which sequences attend to their entry; None: all.
    is_needed: scalar, whether any sequence attends to it. If not, it is not read. None: it is.
  """

  keys: KeyValues
  visible_B: jax.Array | None = None
  is_needed: jax.Array | None = None
  kind: str | None = dataclasses.field(default=None, metadata={'static': True})


class LayerCache(NamedTuple):
  """The KV cache as one layer reads and extends it.

  Attributes:
    suffix: of this layer, or stacked for all layers if `layer` is given: a scan over layers then
      updates the stack in place. None: nothing is appended.
    prefixes: of this layer.
    start: tokens that the suffix contains; the next one is written to this slot.
    layer: index of this layer in a stacked suffix.
    new: keys and values [B, T, K, H] of the new tokens, for layers of `shared_keys`.
    keeps_new: whether the layer returns `new`.
  """

  suffix: KeyValuePair | None
  prefixes: tuple[KeyValuePair, ...]
  start: jax.Array | int
  layer: jax.Array | None = None
  new: KeyValuePair | None = None
  keeps_new: bool = False

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
    prefixes: earlier tokens, only read.
    length: int32 scalar, tokens written to the suffix of every sequence. The Python number 0 if the
      cache was allocated in the same program and is empty.
  """

  suffix: KeyValues | None
  prefixes: tuple[Prefix, ...]
  length: jax.Array | int

  def layer(self, index: int) -> LayerCache:
    """Returns the cache of one layer of a cache that is not stacked."""
    suffix = None
    if self.suffix is not None:
      suffix = self.suffix.layer(index)
    prefixes = []
    for prefix in self.prefixes:
      pair = prefix.keys.layer(index)
      if pair is not None:
        prefixes.append(pair)
    return LayerCache(suffix, tuple(prefixes), self.length)

  def prefixes_of_kind(self, kind: str) -> tuple[Prefix, ...]:
    """Returns the prefixes that layers of one kind have."""
    return tuple(each for each in self.prefixes if each.kind in (None, kind))

  def prefixes_of_stack(
    self, config: config_lib.TransformerConfig, stack: str
  ) -> tuple[KeyValuePair, ...]:
    """Returns the arrays of the prefixes of one stack of layers."""
    return tuple(prefix.keys.stacks(config)[stack] for prefix in self.prefixes)


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
    stacked: whether the layers of a stack are one array. Must be False for parameters of
      `transformer.unstack_layers`, and True for all others.
  """
  suffix = allocate_key_values(config, batch_size, max_length, stacked)
  return KVCache(suffix, prefixes=(), length=0)


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
  if cache.prefixes or cache.suffix is None:
    raise ValueError(
      'share_prefix got a cache that already has a prefix; it must be a prefilled '
      'cache of allocate_cache.'
    )

  prompts = cache.suffix
  suffix = None
  if max_length:
    batch_size = copies * prompts.position_BS.shape[0]
    stacked = not isinstance(prompts.key, tuple)
    suffix = allocate_key_values(config, batch_size, max_length, stacked)
  return KVCache(suffix, (Prefix(prompts),), length=jnp.int32(0))


def is_empty(cache: KVCache) -> bool:
  """Whether the cache was allocated in the same program and nothing has been written."""
  return not cache.prefixes and isinstance(cache.length, int)


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


def keep_new(
  config: config_lib.TransformerConfig, cache: LayerCache | None
) -> LayerCache | None:
  """Returns the cache of a layer whose keys layers of `shared_keys` read."""
  if config.shared_keys is None:
    return cache
  if cache is None:
    return LayerCache(None, (), 0, keeps_new=True)
  return cache._replace(keeps_new=True)


def no_new_keys(
  config: config_lib.TransformerConfig, x_BTD: jax.Array
) -> dict[str, KeyValuePair]:
  """Returns zeros for the keys and values of new tokens by kind; {} without `shared_keys`."""
  if config.shared_keys is None:
    return {}
  pairs = {}
  for kind in sorted(set(config.layer_kinds)):
    sizes = config.layer_config(kind)
    shape = *x_BTD.shape[:2], sizes.kv_heads, sizes.head_size
    zeros = jnp.zeros(shape, x_BTD.dtype)
    pairs[kind] = KeyValuePair(zeros, zeros)
  return pairs


def suffixes_of_stacks(
  config: config_lib.TransformerConfig, cache: KVCache | None
) -> dict[str, KeyValuePair | None]:
  """Returns the suffix of each stack of layers, by its name; None without a suffix."""
  if cache is None or cache.suffix is None:
    names = layer_stacks.layers_by_stack(config)
    return dict.fromkeys(filter(layer_stacks.has_keys, names))
  return dict(cache.suffix.stacks(config))


def join_suffixes(
  suffixes: Mapping[str, KeyValuePair | None],
) -> Suffix | None:
  """Returns the arrays of all layers from those of each stack; None without a suffix."""
  keys, values = {}, {}
  for name, pair in suffixes.items():
    if pair is None:
      return None
    keys[name], values[name] = pair
  return layer_stacks.join_stacks(keys), layer_stacks.join_stacks(values)


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
    cache.prefixes,
    jnp.int32(cache.length + num_tokens),
  )


def allocate_key_values(
  config: config_lib.TransformerConfig,
  batch_size: int,
  max_length: int,
  stacked: bool,
  kind: str | None = None,
  dtype: str | None = None,
) -> KeyValues:
  """Returns empty slots.

  Args:
    batch_size, max_length, stacked: those of `allocate_cache`.
    kind: layers of another kind get no slots; only without stacked layers. None: all get them.
    dtype: of keys and values; None: that of the computation.
  """

  def zeros_of_layers(kind: str, *num_layers: int) -> jax.Array:
    layer = config.layer_config(kind)
    shape = batch_size, layer.kv_heads, max_length, layer.head_size
    return jnp.zeros((*num_layers, *shape), dtype or config.dtype)

  def zeros() -> LayerArrays:
    if stacked:
      stacks = {}
      for name, layers in layer_stacks.layers_by_stack(config).items():
        first_kind = config.layer_kinds[layers[0]]
        if layer_stacks.has_keys(name):
          stacks[name] = zeros_of_layers(first_kind, len(layers))
      return layer_stacks.join_stacks(stacks)

    arrays = []
    for layer, layer_kind in enumerate(config.layer_kinds):
      has_slots = kind in (None, layer_kind)
      has_slots &= layer < config.num_layers_with_keys
      arrays.append(zeros_of_layers(layer_kind) if has_slots else None)
    return tuple(arrays)

  empty_BS = jnp.full((batch_size, max_length), -1, jnp.int32)
  return KeyValues(zeros(), zeros(), empty_BS)
