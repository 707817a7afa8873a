"""Applies all layers: a scan over stacked layers, or unstacked layers one after another."""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import layer_stacks, mixture_of_experts
from mathft_jax.models import remat as remat_lib
from mathft_jax.models.block import Block, BlockOutputs
from mathft_jax.models.config import TransformerConfig
from mathft_jax.models.mixture_of_experts import RouterStatistics

# Stacked blocks by the name of their stack, or one block for each layer.
Blocks = Mapping[str, Block] | tuple[Block, ...]
# (block, kind, activations, cache, number of the layer, further input of the layer)
ApplyBlock = Callable[
  [
    Block,
    str,
    jax.Array,
    cache_lib.LayerCache | None,
    int | jax.Array,
    jax.Array | None,
  ],
  BlockOutputs,
]


class LayersOutputs(NamedTuple):
  """Results of all layers.

  Attributes:
    x_BTD: output of the last layer.
    suffix: of the cache, with the keys and values of the new tokens.
    router_statistics: sums over the layers; None without a mixture of experts.
  """

  x_BTD: jax.Array
  suffix: cache_lib.Suffix | None
  router_statistics: RouterStatistics | None


class _StackedLayers(NamedTuple):
  """Layers of one stack. All arrays have a leading axis of layers.

  Attributes:
    blocks: the modules with their parameters.
    prefixes: keys and values of the layers in the prefixes of the cache.
    indices: of the layers in the stack.
    inputs_LBTP: further inputs; None without them.
  """

  blocks: Block
  prefixes: tuple[cache_lib.KeyValuePair, ...]
  indices: jax.Array
  inputs_LBTP: jax.Array | None = None


class _Carry(NamedTuple):
  """What a scan over layers carries.

  Attributes:
    x_BTD: output of the last layer.
    suffixes: of the cache, by stack; None without a suffix.
    new: keys and values of the new tokens of the last layer of each kind, for layers of
      `shared_keys`; empty without such layers.
    statistics: sums over the layers; None without a mixture of experts.
  """

  x_BTD: jax.Array
  suffixes: Mapping[str, cache_lib.KeyValuePair | None]
  new: Mapping[str, cache_lib.KeyValuePair]
  statistics: RouterStatistics | None


def apply_layers(
  config: TransformerConfig,
  apply_block: ApplyBlock,
  blocks: Blocks,
  x_BTD: jax.Array,
  cache: cache_lib.KVCache | None,
  inputs_LBTP: jax.Array | None = None,
) -> LayersOutputs:
  """Returns the results of all layers.

  Args:
    inputs_LBTP: a further input of each layer, with `layer_input_dim`.
  """
  arguments = x_BTD, cache, inputs_LBTP
  if isinstance(blocks, tuple):
    return _apply_unstacked(config, apply_block, blocks, *arguments)
  return _scan_layers(config, apply_block, blocks, *arguments)


def _apply_unstacked(
  config: TransformerConfig,
  apply_block: ApplyBlock,
  blocks: Sequence[Block],
  x_BTD: jax.Array,
  cache: cache_lib.KVCache | None,
  inputs_LBTP: jax.Array | None,
) -> LayersOutputs:
  """Returns the results of all layers."""
  suffixes, last_caches = [], {}
  statistics = mixture_of_experts.no_statistics(config)
  for index, (block, kind) in enumerate(zip(blocks, config.layer_kinds)):
    has_keys = index < config.num_layers_with_keys
    layer_cache = last_caches.get(kind)
    if has_keys:
      layer_cache = None if cache is None else cache.layer(index)
      layer_cache = cache_lib.keep_new(config, layer_cache)
    layer_input = None if inputs_LBTP is None else inputs_LBTP[index]
    x_BTD, layer_cache, added = apply_block(
      block, kind, x_BTD, layer_cache, index, layer_input
    )
    statistics = mixture_of_experts.add_statistics(statistics, added)
    last_caches[kind] = layer_cache
    if layer_cache is not None and layer_cache.suffix is not None:
      suffixes.append(layer_cache.suffix if has_keys else (None, None))

  if not suffixes:
    return LayersOutputs(x_BTD, None, statistics)
  keys, values = zip(*suffixes)
  return LayersOutputs(x_BTD, (keys, values), statistics)


def _scan_layers(
  config: TransformerConfig,
  apply_block: ApplyBlock,
  blocks: Mapping[str, Block],
  x_BTD: jax.Array,
  cache: cache_lib.KVCache | None,
  inputs_LBTP: jax.Array | None,
) -> LayersOutputs:
  """Returns the results of all layers."""
  num_with_keys = config.num_layers_with_keys
  stacks = _stacks_of_layers(config, blocks, cache, inputs_LBTP)
  suffixes = cache_lib.suffixes_of_stacks(config, cache)
  carry = _Carry(
    x_BTD,
    suffixes,
    cache_lib.no_new_keys(config, x_BTD),
    mixture_of_experts.no_statistics(config),
  )

  layers = range(num_with_keys)
  carry = _scan_segment(config, apply_block, stacks, carry, cache, layers, {})
  if num_with_keys < config.num_layers:
    last_caches = _last_caches(stacks, carry, cache)
    layers = range(num_with_keys, config.num_layers)
    carry = _scan_segment(
      config, apply_block, stacks, carry, cache, layers, last_caches
    )
  suffix = cache_lib.join_suffixes(carry.suffixes)
  return LayersOutputs(carry.x_BTD, suffix, carry.statistics)


def _scan_segment(
  config: TransformerConfig,
  apply_block: ApplyBlock,
  stacks: Mapping[str, _StackedLayers],
  carry: _Carry,
  cache: cache_lib.KVCache | None,
  layers: range,
  last_caches: Mapping[str, cache_lib.LayerCache],
) -> _Carry:
  """Returns the carry after consecutive layers that all have keys, or all have none.

  One scan step is a whole period of the attention pattern. Layers that are left over follow the
  scan.

  Args:
    last_caches: for layers without keys: the caches that layers of each kind read.
  """
  period = len(config.attention_pattern)
  num_periods = len(layers) // period

  def apply_period(carry, stacks):
    x_BTD, suffixes, new, statistics = carry
    suffixes, new, num_applied = dict(suffixes), dict(new), {}
    num_layers = sum(stack.indices.shape[0] for stack in stacks.values())
    for layer in layers[:num_layers]:
      kind = config.layer_kinds[layer]
      name = layer_stacks.stack_of_layer(config, layer)
      place = num_applied.get(name, 0)
      num_applied[name] = place + 1
      block, prefixes, index, layer_input = _take(stacks[name], place)
      layer_cache = last_caches.get(kind)
      if layer_stacks.has_keys(name):
        if cache is not None:
          layer_cache = cache_lib.LayerCache(
            suffixes[name], prefixes, cache.length, index
          )
        layer_cache = cache_lib.keep_new(config, layer_cache)
      number = layer_stacks.unique_number(config, name, index)
      x_BTD, layer_cache, added = apply_block(
        block, kind, x_BTD, layer_cache, number, layer_input
      )
      statistics = mixture_of_experts.add_statistics(statistics, added)
      if layer_cache is not None and layer_stacks.has_keys(name):
        suffixes[name] = layer_cache.suffix
        if layer_cache.new is not None:
          new[kind] = layer_cache.new
    return _Carry(x_BTD, suffixes, new, statistics), None

  apply_period = _with_remat(config, apply_period)
  if num_periods:
    periods = _whole_periods(config, stacks, layers)
    unroll = min(config.scan_unroll, num_periods)
    carry, _ = jax.lax.scan(apply_period, carry, periods, unroll=unroll)
  if len(layers) % period:
    carry, _ = apply_period(carry, _last_layers(config, stacks, layers))
  return carry


def _with_remat(config: TransformerConfig, function: Callable) -> Callable:
  """Returns a function whose backward pass recomputes what `config.remat` does not save."""
  if config.remat == 'none':
    return function
  policy = remat_lib.POLICIES[config.remat]
  return jax.checkpoint(function, policy=policy, prevent_cse=False)


def _last_caches(
  stacks: Mapping[str, _StackedLayers],
  carry: _Carry,
  cache: cache_lib.KVCache | None,
) -> dict[str, cache_lib.LayerCache]:
  """Returns the caches that layers without keys read: of the last layer with keys of each kind."""
  caches = {}
  for kind, new in carry.new.items():
    suffix = carry.suffixes[kind]
    if suffix is not None:
      suffix = _take(suffix, -1)
    prefixes = _take(stacks[kind].prefixes, -1)
    start = 0 if cache is None else cache.length
    caches[kind] = cache_lib.LayerCache(suffix, prefixes, start, new=new)
  return caches


def _stacks_of_layers(
  config: TransformerConfig,
  blocks: Mapping[str, Block],
  cache: cache_lib.KVCache | None,
  inputs_LBTP: jax.Array | None,
) -> dict[str, _StackedLayers]:
  """Returns what a scan over the layers reads, by the names of the stacks."""
  stacks = {}
  for name, layers in layer_stacks.layers_by_stack(config).items():
    prefixes, inputs = (), None
    if cache is not None and layer_stacks.has_keys(name):
      prefixes = cache.prefixes_of_stack(config, name)
    if inputs_LBTP is not None:
      inputs = inputs_LBTP[jnp.array(layers)]
    indices = jnp.arange(len(layers))
    stacks[name] = _StackedLayers(blocks[name], prefixes, indices, inputs)
  return stacks


def _layers_per_period(
  config: TransformerConfig, layers: range
) -> dict[str, int]:
  """Returns how many layers of each stack the first period of a segment has."""
  counts: dict[str, int] = {}
  for layer in layers[: len(config.attention_pattern)]:
    name = layer_stacks.stack_of_layer(config, layer)
    counts[name] = counts.get(name, 0) + 1
  return counts


def _whole_periods(
  config: TransformerConfig,
  stacks: Mapping[str, _StackedLayers],
  layers: range,
) -> dict[str, _StackedLayers]:
  """Returns the layers of whole periods, with axes [periods, layers of a period]."""
  num_periods = len(layers) // len(config.attention_pattern)

  def split(array: jax.Array, size: int) -> jax.Array:
    whole = array[: num_periods * size]
    return whole.reshape(num_periods, size, *array.shape[1:])

  periods = {}
  for name, size in _layers_per_period(config, layers).items():
    split_stack = functools.partial(split, size=size)
    periods[name] = jax.tree.map(split_stack, stacks[name])
  return periods


def _last_layers(
  config: TransformerConfig,
  stacks: Mapping[str, _StackedLayers],
  layers: range,
) -> dict[str, _StackedLayers]:
  """Returns the layers after the whole periods."""
  num_periods = len(layers) // len(config.attention_pattern)
  last = {}
  for name, size in _layers_per_period(config, layers).items():
    last[name] = _take(stacks[name], slice(num_periods * size, None))
  return last


def _take(tree: Any, index: int | slice) -> Any:
  """Indexes the first axis of all arrays."""
  return jax.tree.map(lambda array: array[index], tree)
