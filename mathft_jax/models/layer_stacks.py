"""Stacks of layers: arrays of layers that have equal shapes, stacked on a leading axis.

A model has one stack of all layers. With `TransformerConfig.global_attention` (Gemma 4) the shapes
of local and global layers differ: the model has a stack of each kind, and the parameters of the
layers and the arrays of a KV cache are dicts with an entry for each stack.

  one stack    params['layers']['attention']['query']            [layers, D, N, H]
  two stacks   params['layers']['global']['attention']['query']  [global layers, D, N, H]
               params['layers']['local']['attention']['query']   [local layers, D, N, H]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mathft_jax.models import config as config_lib

ALL_LAYERS = ''  # name of the only stack
PREFIX = 'layers/'  # of the flat names of stacked parameters


def stack_of_kind(config: config_lib.TransformerConfig, kind: str) -> str:
  """Returns the name of the stack that layers of one kind are in."""
  return ALL_LAYERS if config.global_attention is None else kind


def layers_by_stack(
  config: config_lib.TransformerConfig,
) -> dict[str, tuple[int, ...]]:
  """Returns the indices of the layers in each stack, by the name of the stack."""
  layers: dict[str, tuple[int, ...]] = {}
  for index, kind in enumerate(config.layer_kinds):
    name = stack_of_kind(config, kind)
    layers[name] = *layers.get(name, ()), index
  return dict(sorted(layers.items()))


def split_stacks(
  config: config_lib.TransformerConfig, tree: Any
) -> Mapping[str, Any]:
  """Returns the part of each stack, by its name, of parameters of layers or of a KV cache."""
  return {ALL_LAYERS: tree} if config.global_attention is None else tree


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


def layers_per_period(config: config_lib.TransformerConfig, stack: str) -> int:
  """Returns how many layers of a stack a period of the attention pattern has."""
  stacks = [stack_of_kind(config, kind) for kind in config.attention_pattern]
  return stacks.count(stack)


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
