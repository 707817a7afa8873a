"""Sampling and scoring from shapes alone: programs to be compiled or counted, never run."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mathft_jax.distributed import partitioning
from mathft_jax.inference import decoding, load_params, scoring


def trace_prefill(
  plan: decoding.DecodeConfig,
  *,
  batch_size: int,
  prompt_length: int,
  unroll_layers: bool,
) -> Any:
  """The traced program that reads `batch_size` prompts and draws each candidate's first token."""
  params, inputs = (
    _params(plan, unroll_layers),
    _inputs(plan, batch_size, prompt_length),
  )
  return decoding._prefill.trace(plan, params, *inputs)


def trace_decode_loop(
  plan: decoding.DecodeConfig,
  *,
  batch_size: int,
  prompt_length: int,
  slots: int,
  unroll_layers: bool,
) -> Any:
  """The traced loop over tokens of candidates that have room for `slots` tokens each."""
  params, inputs = (
    _params(plan, unroll_layers),
    _inputs(plan, batch_size, prompt_length),
  )
  whole = dataclasses.replace(
    plan,
    initial_slots=slots,
    max_decode_length=max(slots, plan.max_decode_length),
  )
  state = jax.eval_shape(
    lambda *arrays: decoding._prefill(whole, *arrays), params, *inputs
  )
  state = jax.tree.map(
    _with_sharding, state, decoding.decode_state_shardings(plan, state)
  )
  return decoding._decode.trace(plan, params, state, *inputs[1:])


def trace_scoring(
  plan: scoring.ScoreConfig,
  *,
  batch_size: int,
  num_candidates: int,
  prefix_length: int,
  length: int,
) -> Any:
  """The traced program that scores `num_candidates` texts of each of `batch_size` problems."""
  params = load_params.inference_param_shapes(
    plan.model, mesh=plan.mesh, rules=plan.rules
  )
  rows = batch_size * num_candidates
  array = lambda dtype, *shape: jax.ShapeDtypeStruct(
    shape, dtype, sharding=partitioning.batch_sharding(plan.mesh)
  )
  return scoring._scores.trace(
    plan,
    params,
    scoring.ScoreInputs(
      array('int32', batch_size, prefix_length),
      array('int32', batch_size),
      array('int32', rows, length),
      array('int32', rows),
      array('int32', rows, length),
      array('float32', rows, length),
    ),
  )


def decode_state_bytes_per_device(
  plan: decoding.DecodeConfig,
  *,
  batch_size: int,
  prompt_length: int,
  slots: int,
) -> int:
  """Bytes of a device's share of what decoding keeps: caches, tokens, sums."""
  params, inputs = (
    _params(plan, False),
    _inputs(plan, batch_size, prompt_length),
  )
  whole = dataclasses.replace(
    plan,
    initial_slots=slots,
    max_decode_length=max(slots, plan.max_decode_length),
  )
  state = jax.eval_shape(
    lambda *arrays: decoding._prefill(whole, *arrays), params, *inputs
  )
  placed = jax.tree.map(
    _with_sharding, state, decoding.decode_state_shardings(plan, state)
  )
  return partitioning.bytes_per_device(placed)


def _params(plan: decoding.DecodeConfig, unroll_layers: bool) -> Any:
  params = load_params.inference_param_shapes(
    plan.model, mesh=plan.mesh, rules=plan.rules
  )
  if not unroll_layers:
    return params
  layers = jax.tree.map(_of_one_layer, params['layers'])
  return {**params, 'layers': (layers,) * plan.model.num_layers}


def _of_one_layer(stack: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  spec = jax.sharding.PartitionSpec(*stack.sharding.spec[1:])
  sharding = jax.sharding.NamedSharding(stack.sharding.mesh, spec)
  return jax.ShapeDtypeStruct(stack.shape[1:], stack.dtype, sharding=sharding)


def _inputs(
  plan: decoding.DecodeConfig, batch_size: int, prompt_length: int
) -> tuple[Any, ...]:
  """Prompts, their lengths, the candidates' keys."""
  sharding = partitioning.batch_sharding(plan.mesh)
  key = jax.eval_shape(lambda: jax.random.key(0, impl='threefry2x32')).dtype
  return (
    jax.ShapeDtypeStruct(
      (batch_size, prompt_length), jnp.int32, sharding=sharding
    ),
    jax.ShapeDtypeStruct((batch_size,), jnp.int32, sharding=sharding),
    jax.ShapeDtypeStruct(
      (batch_size, plan.num_candidates), key, sharding=sharding
    ),
  )


def _with_sharding(
  array: jax.ShapeDtypeStruct, sharding: Any
) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
