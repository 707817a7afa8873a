"""Memory and time estimate of a training stage."""

import dataclasses
from typing import cast

from absl import logging
import jax
from jax.sharding import Mesh

from mathft_jax.aot import compilation, estimates, report, traced_flops
from mathft_jax.aot.estimates import Arguments, Json, StageEstimate
from mathft_jax.aot.plan_target import PlanTarget
from mathft_jax.data import example_types
from mathft_jax.distributed import partitioning
from mathft_jax.training import (
  abstract_train_step,
  device_memory,
  optimizers,
  remat_choice,
  train_config,
)
from mathft_jax.training import train_step as step_lib

# Arguments of `train.train` that an estimate needs; those with '?' may be missing.
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
  '?optimization.head_gradient_dtype',
  '?train_steps',
  '?examples',
)


def estimate_training(
  stage: str, arguments: Arguments, target: PlanTarget
) -> StageEstimate:
  """Returns the estimate of a training stage.

  On TPU the train step is compiled; on GPU and CPU it is traced and its costs are counted. With
  `remat = 'auto'` it is compiled with the first of `remat_choice.CHOICES` that fits, and traced
  with the last, because without a compiler the memory is not known.

  Args:
    stage: name of the stage.
    arguments: `TRAIN_PARAMETERS` by their last name, 'batch_size' for 'data.batch_size'.
    target: devices.

  Raises:
    ValueError: the batch size does not divide over the devices.
  """
  model = arguments['model']
  if model.remat != 'auto':
    return _estimate_with_remat(stage, arguments, target)

  *others, last = remat_choice.CHOICES
  if target.chip.is_tpu:
    usable_bytes = remat_choice.USABLE_SHARE * target.chip.hbm_bytes
    for name in others:
      changed = {**arguments, 'model': dataclasses.replace(model, remat=name)}
      estimate = _estimate_with_remat(stage, changed, target)
      if estimate.fits and estimate.used_bytes <= usable_bytes:
        return estimate
      memory = report.format_memory(estimate, target.chip)
      print(f'    {stage} with remat {name}: {memory}', flush=True)
  changed = {**arguments, 'model': dataclasses.replace(model, remat=last)}
  return _estimate_with_remat(stage, changed, target)


def _estimate_with_remat(
  stage: str, arguments: Arguments, target: PlanTarget
) -> StageEstimate:
  """Returns the estimate for a model whose `remat` is not 'auto'."""
  batch_size = arguments['batch_size']
  length = train_config.sequence_length(arguments['max_length'])
  config = _train_step_config(arguments, target)
  partitioning.check_batch_divisible(
    batch_size // config.num_microbatches,
    config.mesh,
    knob='batch_size / num_microbatches',
  )
  traced = abstract_train_step.trace_train_step(
    config, batch_size=batch_size, max_length=length
  )
  estimate = dataclasses.replace(
    _initial_estimate(stage, config, batch_size, length, target),
    **epoch_size(arguments),
  )
  if target.chip.is_tpu:
    return _with_compiled_costs(estimate, traced, config, target)
  return _with_traced_costs(estimate, traced, target)


def _initial_estimate(
  stage: str,
  config: step_lib.TrainStepConfig,
  batch_size: int,
  length: int,
  target: PlanTarget,
) -> StageEstimate:
  """Returns what is known before compilation."""
  memory = device_memory.estimate_device_memory(
    config, batch_size=batch_size, max_length=length
  )
  return StageEstimate(
    stage=stage,
    program='train',
    mesh=memory.mesh,
    groups=1,
    num_devices=config.mesh.size,
    settings={
      'batch_size': batch_size,
      'tokens a row': length,
      'remat': config.model.remat,
      'num_microbatches': config.num_microbatches,
      'attention': config.model.attention_kernel,
    },
    parameters=memory.parameters,
    fits=memory.known_bytes <= target.chip.hbm_bytes,
    used_bytes=memory.known_bytes,
    is_compiled=False,
    tokens=batch_size * length,
    model_flops=train_step_model_flops(config, batch_size, length),
    hbm={
      'parameters': memory.parameter_bytes,
      'optimizer': memory.optimizer_bytes,
      'gradients': memory.gradient_bytes,
      'activations': memory.activation_bytes or 0,
    },
  )


def train_step_model_flops(
  config: step_lib.TrainStepConfig, batch_size: int, max_length: int
) -> float:
  """Returns the model FLOPs of a train step: 3 x those of the forward pass, 2 x with LoRA.

  Attention counts over all pairs of positions, as in the einsum kernel. Rematerialized products
  do not count.
  """
  # On one device: on several, each device's experts get the rows of all tokens, masked.
  plain = dataclasses.replace(
    config,
    model=dataclasses.replace(config.model, attention_kernel='einsum'),
    mesh=cast(Mesh, partitioning.Partitioner().abstract_mesh(1)),
  )
  batch = abstract_train_step.abstract_batch(
    plain, batch_size=batch_size, max_length=max_length
  )
  weight = jax.eval_shape(plain.loss.weight, batch)
  params = step_lib.abstract_train_state(plain).params
  traced = step_lib.make_eval_step(plain).trace(params, batch, weight)
  forward = traced_flops.count_traced_flops(traced.jaxpr).flops
  return forward * (3 if config.lora is None else 2)


def num_train_steps(arguments: Arguments, target: PlanTarget) -> int | None:
  """Returns the train steps of a stage; None if they are not set."""
  del target
  return arguments.get('train_steps')


def epoch_size(arguments: Arguments) -> Json:
  """Returns `epoch_tokens` and `epoch_batches`, None where the data cannot be read."""
  unknown = {'epoch_tokens': None, 'epoch_batches': None}
  if 'examples' not in arguments:
    return unknown
  try:
    examples = arguments['examples']('train')
  except Exception as error:  # the data or a library may be missing
    logging.info(
      'plan: the epoch length is not known, because the data cannot be read: %s',
      error,
    )
    return unknown

  batch_size = arguments['batch_size']
  length = train_config.sequence_length(arguments['max_length'])
  tokens = sum(map(example_types.num_tokens, examples))
  batches = len(examples) / batch_size
  if arguments['pack']:
    batches = tokens / (batch_size * length)
  return {'epoch_tokens': tokens, 'epoch_batches': batches}


def _train_step_config(
  arguments: Arguments, target: PlanTarget
) -> step_lib.TrainStepConfig:
  partitioner = arguments['partitioner']
  return step_lib.TrainStepConfig(
    model=target.traceable_model(arguments['model']),
    loss=arguments['loss'],
    optimizer=optimizers.without_learning_rate(arguments['optimizer']),
    mesh=target.make_mesh(partitioner),
    rules=partitioner.rules,
    num_microbatches=arguments['num_microbatches'],
    max_grad_norm=arguments['max_grad_norm'],
    lora=arguments['lora'],
    head_gradient_dtype=arguments.get('head_gradient_dtype', 'float32'),
  )


def _with_compiled_costs(
  estimate: StageEstimate,
  traced: jax.stages.Traced,
  config: step_lib.TrainStepConfig,
  target: PlanTarget,
) -> StageEstimate:
  compiled = compilation.compile_program(traced, config.mesh.size)
  used = compiled.used_bytes
  estimate = dataclasses.replace(
    estimate, fits=compiled.fits, used_bytes=used, is_compiled=True
  )
  if not compiled.fits:
    hbm = {**estimate.hbm, 'in all, as the compiler says': used}
    return dataclasses.replace(estimate, hbm=hbm)

  program, times = estimates.compiled_costs(
    'train step', compiled, config.mesh, target
  )
  return dataclasses.replace(
    estimate,
    programs=(program,),
    times=times,
    hbm=_bytes_by_kind(estimate, compiled, config),
  )


def _bytes_by_kind(
  estimate: StageEstimate,
  compiled: compilation.CompiledProgram,
  config: step_lib.TrainStepConfig,
) -> dict[str, float]:
  """Returns bytes by kind. Activations are the temporaries other than logits and gradients."""
  vocab_size, mesh = config.model.vocab_size, config.mesh
  tokens = estimate.batch_size * int(estimate.settings['tokens a row'])
  tokens_per_device = tokens // config.num_microbatches // mesh.shape['data']
  logits = 4 * min(
    tokens_per_device * vocab_size // mesh.shape['model'],
    step_lib.max_logits_per_chunk(config),
  )
  temporaries = max(0.0, compiled.used_bytes - compiled.argument_bytes)
  logits = min(logits, temporaries)
  gradients = min(estimate.hbm['gradients'], temporaries - logits)
  return {
    'parameters': estimate.hbm['parameters'],
    'optimizer': estimate.hbm['optimizer'],
    'gradients': gradients,
    'logits': logits,
    'activations': temporaries - logits - gradients,
  }


def _with_traced_costs(
  estimate: StageEstimate, traced: jax.stages.Traced, target: PlanTarget
) -> StageEstimate:
  target.check_lowers(traced)
  costs = traced_flops.count_traced_flops(traced.jaxpr)
  program, times = estimates.traced_costs_and_times(
    'train step', costs.flops, costs.bytes, estimate, target
  )
  return dataclasses.replace(estimate, programs=(program,), times=times)
