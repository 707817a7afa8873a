"""Sampling and scoring programs traced from shapes alone, to be compiled or counted but not run."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from mathft_jax.distributed import partitioning
from mathft_jax.inference import decoding, load_params, scoring
from mathft_jax.models import transformer


def trace_prefill(
  config: decoding.DecodeConfig,
  *,
  batch_size: int,
  prompt_length: int,
  unroll_layers: bool,
) -> jax.stages.Traced:
  """Traces the program that prefills prompts and samples the first token of each candidate."""
  params = _abstract_params(config, unroll_layers)
  inputs = _abstract_inputs(config, batch_size, prompt_length)
  return decoding._prefill.trace(config, params, *inputs)


def trace_decode_loop(
  config: decoding.DecodeConfig,
  *,
  batch_size: int,
  prompt_length: int,
  slots: int,
  unroll_layers: bool,
) -> jax.stages.Traced:
  """Traces the loop of decode steps for candidates with `slots` cache slots each."""
  params = _abstract_params(config, unroll_layers)
  inputs = _abstract_inputs(config, batch_size, prompt_length)
  state = _abstract_state(config, params, inputs, slots)
  _, lengths_P, keys_PC = inputs
  return decoding._decode.trace(config, params, state, lengths_P, keys_PC)


def trace_scoring(
  config: scoring.ScoreConfig,
  *,
  batch_size: int,
  num_candidates: int,
  prefix_length: int,
  length: int,
) -> jax.stages.Traced:
  """Traces the program that scores `num_candidates` texts of each of `batch_size` problems."""
  params = load_params.inference_param_shapes(
    config.model, mesh=config.mesh, rules=config.rules
  )
  num_sequences = batch_size * num_candidates
  sharding = partitioning.batch_sharding(config.mesh)

  def array(dtype, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  inputs = scoring.ScoreInputs(
    prefix_PS=array(jnp.int32, batch_size, prefix_length),
    prefix_lengths_P=array(jnp.int32, batch_size),
    tokens_BT=array(jnp.int32, num_sequences, length),
    lengths_B=array(jnp.int32, num_sequences),
    targets_BT=array(jnp.int32, num_sequences, length),
    weights_BT=array(jnp.float32, num_sequences, length),
  )
  return scoring._scores.trace(config, params, inputs)


def decode_state_bytes_per_device(
  config: decoding.DecodeConfig,
  *,
  batch_size: int,
  prompt_length: int,
  slots: int,
) -> int:
  """Bytes of the decode state (caches, tokens, sums) on the fullest device."""
  params = _abstract_params(config, unroll_layers=False)
  inputs = _abstract_inputs(config, batch_size, prompt_length)
  state = _abstract_state(config, params, inputs, slots)
  return partitioning.bytes_per_device(state)


def _abstract_state(
  config: decoding.DecodeConfig,
  params: transformer.Params,
  inputs: tuple[jax.ShapeDtypeStruct, ...],
  slots: int,
) -> decoding.DecodeState:
  config = dataclasses.replace(
    config,
    initial_slots=slots,
    max_decode_length=max(slots, config.max_decode_length),
  )

  def prefill(params, *inputs):
    return decoding._prefill(config, params, *inputs)

  state = jax.eval_shape(prefill, params, *inputs)
  shardings = decoding.decode_state_shardings(config, state)
  return jax.tree.map(_with_sharding, state, shardings)


def _abstract_params(
  config: decoding.DecodeConfig, unroll_layers: bool
) -> transformer.Params:
  params = load_params.inference_param_shapes(
    config.model, mesh=config.mesh, rules=config.rules
  )
  if not unroll_layers:
    return params
  layer = jax.tree.map(_first_layer, params['layers'])
  return {**params, 'layers': (layer,) * config.model.num_layers}


def _first_layer(stack: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  """One layer of an array that has all layers along its first axis."""
  assert isinstance(stack.sharding, NamedSharding)
  spec = PartitionSpec(*stack.sharding.spec[1:])
  sharding = NamedSharding(stack.sharding.mesh, spec)
  return jax.ShapeDtypeStruct(stack.shape[1:], stack.dtype, sharding=sharding)


def _abstract_inputs(
  config: decoding.DecodeConfig, batch_size: int, prompt_length: int
) -> tuple[jax.ShapeDtypeStruct, ...]:
  """Prompts, their lengths and the keys of the candidates."""
  sharding = partitioning.batch_sharding(config.mesh)
  key = jax.eval_shape(lambda: jax.random.key(0, impl='threefry2x32'))
  arrays = (
    jax.ShapeDtypeStruct((batch_size, prompt_length), jnp.int32),
    jax.ShapeDtypeStruct((batch_size,), jnp.int32),
    jax.ShapeDtypeStruct((batch_size, config.num_candidates), key.dtype),
  )
  return tuple(_with_sharding(array, sharding) for array in arrays)


def _with_sharding(
  array: jax.ShapeDtypeStruct, sharding: NamedSharding
) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
