"""Applies all layers: a scan over stacked layers, or unstacked layers one after another."""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import layer_stacks
from mathft_jax.models import remat as remat_lib
from mathft_jax.models.block import Block
from mathft_jax.models.config import TransformerConfig

# Stacked blocks by the name of their stack, or one block for each layer.
Blocks = Mapping[str, Block] | tuple[Block, ...]
ApplyBlock = Callable[  # (block, kind, activations, cache, index of the layer)
  [
    Block,
    str,
    jax.Array,
    cache_lib.LayerCache | None,
    int | jax.Array,
  ],
  tuple[jax.Array, cache_lib.LayerCache | None],
]


class _StackedLayers(NamedTuple):
  """Layers of one stack. All arrays have a leading axis of layers.

  Attributes:
    blocks: the modules with their parameters.
    prefixes: keys and values of the layers in the prefixes of the cache.
    indices: of the layers in the stack.
  """

  blocks: Block
  prefixes: tuple[cache_lib.KeyValuePair, ...]
  indices: jax.Array


def apply_layers(
  config: TransformerConfig,
  apply_block: ApplyBlock,
  blocks: Blocks,
  x_BTD: jax.Array,
  cache: cache_lib.KVCache | None,
) -> tuple[jax.Array, cache_lib.Suffix | None]:
  """Returns the outputs [B, T, D] and the suffix of the cache after all layers."""
  if isinstance(blocks, tuple):
    return _apply_unstacked(config, apply_block, blocks, x_BTD, cache)
  return _scan_layers(config, apply_block, blocks, x_BTD, cache)


def _apply_unstacked(
  config: TransformerConfig,
  apply_block: ApplyBlock,
  blocks: Sequence[Block],
  x_BTD: jax.Array,
  cache: cache_lib.KVCache | None,
) -> tuple[jax.Array, cache_lib.Suffix | None]:
  """Returns the outputs [B, T, D] and the suffix of the cache after all layers."""
  suffixes = []
  for index, (block, kind) in enumerate(zip(blocks, config.layer_kinds)):
    layer_cache = None if cache is None else cache.layer(index)
    x_BTD, layer_cache = apply_block(block, kind, x_BTD, layer_cache, index)
    if layer_cache is not None and layer_cache.suffix is not None:
      suffixes.append(layer_cache.suffix)

  if not suffixes:
    return x_BTD, None
  keys, values = zip(*suffixes)
  return x_BTD, (keys, values)


def _scan_layers(
  config: TransformerConfig,
  apply_block: ApplyBlock,
  blocks: Mapping[str, Block],
  x_BTD: jax.Array,
  cache: cache_lib.KVCache | None,
) -> tuple[jax.Array, cache_lib.Suffix | None]:
  """Returns the outputs [B, T, D] and the suffix of the cache after all layers.

  One scan step is a whole period of the attention pattern. Layers that are left over follow the
  scan.
  """
  num_periods = config.num_layers // len(config.attention_pattern)
  stacks = _stacks_of_layers(config, blocks, cache)

  def apply_period(carry, stacks):
    x_BTD, suffixes = carry
    suffixes, num_applied = dict(suffixes), dict.fromkeys(stacks, 0)
    num_layers = sum(stack.indices.shape[0] for stack in stacks.values())
    for kind in config.attention_pattern[:num_layers]:
      name = layer_stacks.stack_of_kind(config, kind)
      block, prefixes, index = _take(stacks[name], num_applied[name])
      num_applied[name] += 1
      layer_cache = None
      if cache is not None:
        layer_cache = cache_lib.LayerCache(
          suffixes[name], prefixes, cache.length, index
        )
      number = layer_stacks.unique_number(config, name, index)
      x_BTD, layer_cache = apply_block(block, kind, x_BTD, layer_cache, number)
      if layer_cache is not None:
        suffixes[name] = layer_cache.suffix
    return (x_BTD, suffixes), None

  if config.remat != 'none':
    policy = remat_lib.POLICIES[config.remat]
    apply_period = jax.checkpoint(
      apply_period, policy=policy, prevent_cse=False
    )

  carry = x_BTD, cache_lib.suffixes_of_stacks(config, cache)
  if num_periods:
    periods = _whole_periods(config, stacks, num_periods)
    unroll = min(config.scan_unroll, num_periods)
    carry, _ = jax.lax.scan(apply_period, carry, periods, unroll=unroll)
  if config.num_layers % len(config.attention_pattern):
    carry, _ = apply_period(carry, _last_layers(config, stacks, num_periods))

  x_BTD, suffixes = carry
  return x_BTD, cache_lib.join_suffixes(suffixes)


def _stacks_of_layers(
  config: TransformerConfig,
  blocks: Mapping[str, Block],
  cache: cache_lib.KVCache | None,
) -> dict[str, _StackedLayers]:
  """Returns what a scan over the layers reads, by the names of the stacks."""
  stacks = {}
  for name, layers in layer_stacks.layers_by_stack(config).items():
    prefixes = ()
    if cache is not None:
      prefixes = cache.prefixes_of_stack(config, name)
    indices = jnp.arange(len(layers))
    stacks[name] = _StackedLayers(blocks[name], prefixes, indices)
  return stacks


def _whole_periods(
  config: TransformerConfig,
  stacks: Mapping[str, _StackedLayers],
  num_periods: int,
) -> dict[str, _StackedLayers]:
  """Returns the layers of whole periods, with axes [periods, layers of a period]."""

  def split(array: jax.Array, size: int) -> jax.Array:
    whole = array[: num_periods * size]
    return whole.reshape(num_periods, size, *array.shape[1:])

  periods = {}
  for name, stack in stacks.items():
    size = layer_stacks.layers_per_period(config, name)
    periods[name] = jax.tree.map(functools.partial(split, size=size), stack)
  return periods


def _last_layers(
  config: TransformerConfig,
  stacks: Mapping[str, _StackedLayers],
  num_periods: int,
) -> dict[str, _StackedLayers]:
  """Returns the layers after the whole periods."""
  last = {}
  for name, stack in stacks.items():
    first = num_periods * layer_stacks.layers_per_period(config, name)
    last[name] = _take(stack, slice(first, None))
  return last


def _take(tree: Any, index: int | slice) -> Any:
  """Indexes the first axis of all arrays."""
  return jax.tree.map(lambda array: array[index], tree)
