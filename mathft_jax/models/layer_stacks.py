"""Stacks of layers: arrays of layers that have equal shapes, stacked on a leading axis.

A model has one stack of all layers. In Gemma 4 shapes differ: between local and global layers
(`TransformerConfig.global_attention`), and between layers with and without keys of their own
(`shared_keys`). The model then has a stack of each sort, and the parameters of the layers and the
arrays of a KV cache are dicts with an entry for each stack.

  one stack    params['layers']['attention']['query']            [layers, D, N, H]
  more         params['layers']['global']['attention']['query']  [global layers, D, N, H]
               params['layers']['local']['attention']['query']   [local layers, D, N, H]
               params['layers']['shared_global'], ['shared_local']  of layers without keys
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mathft_jax.models import config as config_lib

ALL_LAYERS = ''  # name of the only stack
SHARED = 'shared_'  # start of the name of a stack of layers without keys
PREFIX = 'layers/'  # of the flat names of stacked parameters


def stack_of_layer(config: config_lib.TransformerConfig, layer: int) -> str:
  """Returns the name of the stack that a layer is in."""
  if config.has_one_stack:
    return ALL_LAYERS
  kind = config.layer_kinds[layer]
  return kind if layer < config.num_layers_with_keys else SHARED + kind


def config_of_stack(
  config: config_lib.TransformerConfig, stack: str
) -> config_lib.TransformerConfig:
  """Returns the config with the sizes of the layers in a stack."""
  if config.has_one_stack:
    return config
  kind = stack.removeprefix(SHARED)
  return config.layer_config(kind, has_keys=not stack.startswith(SHARED))


def has_keys(stack: str) -> bool:
  """Whether the layers of a stack have keys and values of their own."""
  return not stack.startswith(SHARED)


def layers_by_stack(
  config: config_lib.TransformerConfig,
) -> dict[str, tuple[int, ...]]:
  """Returns the indices of the layers in each stack, by the name of the stack."""
  layers: dict[str, tuple[int, ...]] = {}
  for index in range(config.num_layers):
    name = stack_of_layer(config, index)
    layers[name] = *layers.get(name, ()), index
  return dict(sorted(layers.items()))


def split_stacks(
  config: config_lib.TransformerConfig, tree: Any
) -> Mapping[str, Any]:
  """Returns the part of each stack, by its name, of parameters of layers or of a KV cache."""
  return {ALL_LAYERS: tree} if config.has_one_stack else tree


def join_stacks(parts: Mapping[str, Any]) -> Any:
  """Returns the tree that `split_stacks` takes."""
  return parts[ALL_LAYERS] if ALL_LAYERS in parts else dict(parts)


def layers_of_param(
  config: config_lib.TransformerConfig, name: str
) -> Sequence[int | None]:
  """Returns the layers that a parameter (flat name) has; (None,) if it is not stacked."""
  if not name.startswith(PREFIX):
    return (None,)
  layers = layers_by_stack(config)
  if ALL_LAYERS in layers:
    return layers[ALL_LAYERS]
  stack, *_ = name.removeprefix(PREFIX).split('/')
  return layers[stack]


def unique_number(
  config: config_lib.TransformerConfig, stack: str, index: Any
) -> Any:
  """Returns a number of a layer that no layer of another stack has, from its index in its stack."""
  layers = layers_by_stack(config)
  num_before = 0
  for name, members in layers.items():
    if name < stack:
      num_before += len(members)
  return index + num_before if num_before else index
