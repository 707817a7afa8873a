"""Sampling and scoring programs traced from shapes alone, to be compiled or counted but not run."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.inference import (
  decode_block,
  decode_caches,
  decode_config,
  load_params,
  prefill,
  score_packing,
  scoring,
)
from mathft_jax.models import layer_stacks, transformer


def trace_prefill(
  config: decode_config.DecodeConfig, *, prompt_length: int
) -> jax.stages.Traced:
  """Traces the program that prefills one prompt for each device along `data`."""
  params = _abstract_params(config)
  caches = decode_caches.abstract_caches(config)
  num_devices = config.mesh.shape['data']
  sharding = partitioning.batch_sharding(config.mesh)

  def array(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding)

  batch = prefill.PromptBatch(
    tokens_DS=array(num_devices, prompt_length),
    lengths_D=array(num_devices),
    groups_D=array(num_devices),
    places_D=array(num_devices),
  )
  return prefill.prefill.trace(config, params, caches.prompts, batch)


def trace_decode_block(config: decode_config.DecodeConfig) -> jax.stages.Traced:
  """Traces the program that decodes a block of tokens of all rows."""
  params = _abstract_params(config)
  caches = decode_caches.abstract_caches(config)
  sharding = partitioning.batch_sharding(config.mesh)
  rows = jax.tree.map(
    lambda array: jax.ShapeDtypeStruct(
      array.shape, array.dtype, sharding=sharding
    ),
    decode_block.idle_rows(config),
  )
  seed = jax.ShapeDtypeStruct((), jnp.uint32)
  return decode_block.decode_block.trace(config, params, caches, rows, seed)


def trace_scoring(
  config: scoring.ScoreConfig,
  *,
  num_rows: int,
  length: int,
) -> jax.stages.Traced:
  """Traces the program that scores `num_rows` rows of `length` tokens."""
  params = load_params.inference_param_shapes(
    config.model, mesh=config.mesh, rules=config.rules
  )
  inputs = score_packing.make_score_inputs(
    [],
    [],
    config.label_words,
    num_rows=num_rows,
    length=length,
  )
  sharding = partitioning.batch_sharding(config.mesh)

  def abstract(array: np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

  inputs = score_packing.ScoreInputs(*map(abstract, inputs))
  return scoring._scores.trace(config, params, inputs)


def _abstract_params(config: decode_config.DecodeConfig) -> transformer.Params:
  params = load_params.inference_param_shapes(
    config.model, mesh=config.mesh, rules=config.rules
  )
  if config.stacked:
    return params
  layers = []
  stacks = layer_stacks.split_stacks(config.model, params['layers'])
  for index in range(config.model.num_layers):
    stack = stacks[layer_stacks.stack_of_layer(config.model, index)]
    layers.append(jax.tree.map(_first_layer, stack))
  return {**params, 'layers': tuple(layers)}


def _first_layer(stack: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  """One layer of an array that has all layers along its first axis."""
  assert isinstance(stack.sharding, NamedSharding)
  spec = PartitionSpec(*stack.sharding.spec[1:])
  sharding = NamedSharding(stack.sharding.mesh, spec)
  return jax.ShapeDtypeStruct(stack.shape[1:], stack.dtype, sharding=sharding)
