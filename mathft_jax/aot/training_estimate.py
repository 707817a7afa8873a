"""The plan of a training stage."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from absl import logging
import jax

from mathft_jax.aot import compilation, report, roofline, traced_flops
from mathft_jax.aot.plan_target import PlanTarget
from mathft_jax.data import example_types
from mathft_jax.distributed import partitioning
from mathft_jax.models import token_log_probs
from mathft_jax.training import (
  abstract_train_step,
  device_memory,
  optimizers,
  train_config,
)
from mathft_jax.training import train_step as step_lib

TRAIN_PARAMETERS = (
  'model',
  'optimization.loss',
  'optimization.optimizer',
  'optimization.num_microbatches',
  'optimization.max_grad_norm',
  'optimization.lora',
  'data.batch_size',
  'data.max_length',
  'data.pack',
  'partitioner',
  '?train_steps',
  '?examples',
)


def estimate_training(
  stage: str, arguments: Mapping[str, Any], place: PlanTarget
) -> report.StageEstimate:
  """The stage on a place, from the arguments of `train.train`."""
  batch_size, length = (
    arguments['batch_size'],
    train_config.sequence_length(arguments['max_length']),
  )
  plan = _plan(arguments, place)
  partitioning.check_batch_divisible(
    batch_size // plan.num_microbatches,
    plan.mesh,
    knob='batch_size / num_microbatches',
  )
  traced = abstract_train_step.trace_train_step(
    plan, batch_size=batch_size, max_length=length
  )
  sizes = device_memory.estimate_device_memory(
    plan, batch_size=batch_size, max_length=length
  )
  found = report.StageEstimate(
    stage=stage,
    program='train',
    mesh=sizes.mesh,
    groups=1,
    num_devices=plan.mesh.size,
    settings={
      'batch_size': batch_size,
      'tokens a row': length,
      'remat': plan.model.remat,
      'num_microbatches': plan.num_microbatches,
      'attention': plan.model.attention_kernel,
    },
    parameters=sizes.parameters,
    fits=sizes.known_bytes <= place.chip.hbm_bytes,
    used_bytes=sizes.known_bytes,
    is_compiled=False,
    tokens=batch_size * length,
    model_flops=train_step_model_flops(plan, batch_size, length),
    hbm={
      'parameters': sizes.parameter_bytes,
      'optimizer': sizes.optimizer_bytes,
      'gradients': sizes.gradient_bytes,
      'activations': sizes.activation_bytes or 0,
    },
  )
  found = dataclasses.replace(found, **epoch_size(arguments))
  return (
    _compiled(found, traced, plan, sizes, place)
    if place.chip.is_tpu
    else _counted(found, traced, place)
  )


def train_step_model_flops(
  plan: step_lib.TrainStepConfig, batch_size: int, max_length: int
) -> float:
  """FLOPs that a step needs: those of the forward pass three times, with frozen weights twice.

  Attention counts over all pairs of positions, as the plain kernel computes it; nothing counts
  twice that is computed twice.
  """
  plain = dataclasses.replace(
    plan, model=dataclasses.replace(plan.model, attention_kernel='einsum')
  )
  batch = abstract_train_step.abstract_batch(
    plain, batch_size=batch_size, max_length=max_length
  )
  weight = jax.eval_shape(plain.loss.weight, batch)
  traced = step_lib.make_eval_step(plain).trace(
    step_lib.abstract_train_state(plain).params, batch, weight
  )
  return traced_flops.count_traced_flops(traced.jaxpr).flops * (
    3 if plan.lora is None else 2
  )


def _plan(
  arguments: Mapping[str, Any], place: PlanTarget
) -> step_lib.TrainStepConfig:
  partitioner = arguments['partitioner']
  return step_lib.TrainStepConfig(
    model=place.model(arguments['model']),
    loss=arguments['loss'],
    optimizer=optimizers.without_learning_rate(arguments['optimizer']),
    mesh=place.mesh(partitioner),
    rules=partitioner.rules,
    num_microbatches=arguments['num_microbatches'],
    max_grad_norm=arguments['max_grad_norm'],
    lora=arguments['lora'],
  )


def _compiled(
  found: report.StageEstimate,
  traced: Any,
  plan: step_lib.TrainStepConfig,
  sizes: device_memory.DeviceMemory,
  place: PlanTarget,
) -> report.StageEstimate:
  """The plan with what the compiler has found."""
  compiled = compilation.compile_program(traced, plan.mesh.size)
  if not compiled.fits:
    return dataclasses.replace(
      found,
      fits=False,
      used_bytes=compiled.used_bytes,
      is_compiled=True,
      hbm={**found.hbm, 'in all, as the compiler says': compiled.used_bytes},
    )
  costs = compiled.costs()
  program = report.ExecutableCosts(
    'train step',
    compiled.used_bytes,
    costs.flops,
    costs.hbm_bytes,
    report.summarize_collectives(costs, place.slice_shape(plan.mesh)),
    costs.uncounted,
    compiled.seconds,
  )
  return dataclasses.replace(
    found,
    fits=True,
    used_bytes=compiled.used_bytes,
    is_compiled=True,
    programs=(program,),
    hbm=_kinds(
      compiled,
      plan,
      sizes,
      found.settings['batch_size'],
      found.settings['tokens a row'],
    ),
    times=roofline.resource_times(costs, place.chip, plan.mesh.devices.ravel()),
  )


def _kinds(
  compiled: compilation.CompiledProgram,
  plan: step_lib.TrainStepConfig,
  sizes: device_memory.DeviceMemory,
  batch_size: int,
  length: int,
) -> dict[str, float]:
  """Bytes by kind: logits and gradients are computed, activations are what else is temporary."""
  rows, vocab_size = batch_size // plan.num_microbatches, plan.model.vocab_size
  temporaries = max(0.0, compiled.used_bytes - compiled.argument_bytes)
  positions = min(
    token_log_probs.positions_per_chunk(rows, vocab_size, plan.mesh.size),
    length,
  )
  logits = min(4 * rows * positions * vocab_size / plan.mesh.size, temporaries)
  gradients = min(sizes.gradient_bytes, temporaries - logits)
  return {
    'parameters': sizes.parameter_bytes,
    'optimizer': sizes.optimizer_bytes,
    'gradients': gradients,
    'logits': logits,
    'activations': temporaries - logits - gradients,
  }


def _counted(
  found: report.StageEstimate, traced: Any, place: PlanTarget
) -> report.StageEstimate:
  """The plan with what is counted before any compiler: no collectives, the least traffic."""
  costs = traced_flops.count_traced_flops(place.lowered(traced))
  times = roofline.ResourceTimes(
    costs.flops / found.num_devices / place.chip.flops,
    costs.bytes / found.num_devices / place.chip.hbm_bandwidth,
  )
  program = report.ExecutableCosts(
    'train step',
    found.used_bytes,
    costs.flops / found.num_devices,
    costs.bytes / found.num_devices,
  )
  return dataclasses.replace(found, programs=(program,), times=times)


def epoch_size(arguments: Mapping[str, Any]) -> dict[str, Any]:
  """The tokens of the data, and how many batches they make; None where it cannot be read here."""
  unknown = {'epoch_tokens': None, 'epoch_batches': None}
  if 'examples' not in arguments:
    return unknown
  try:
    rows = arguments['examples']('train')
  except (
    Exception
  ) as error:  # no data here, or no library that reads it: a plan needs neither
    logging.info(
      'plan: the length of an epoch is not known, the data cannot be read: %s',
      error,
    )
    return unknown
  batch_size, length = (
    arguments['batch_size'],
    train_config.sequence_length(arguments['max_length']),
  )
  tokens = sum(map(example_types.num_tokens, rows))
  return {
    'epoch_tokens': tokens,
    'epoch_batches': tokens / (batch_size * length)
    if arguments['pack']
    else len(rows) / batch_size,
  }
