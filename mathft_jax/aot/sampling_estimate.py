"""Memory and time estimate of a sampling stage.

A stage runs two programs again and again: a prefill program encodes one prompt for each device, and
a decode program runs a block of steps for all rows. A batch of the estimate is as many problems as
there are rows for: each row decodes one candidate.
"""

import dataclasses

import jax

from mathft_jax.aot import (
  compilation,
  estimates,
  inference_estimate_parts,
  traced_flops,
)
from mathft_jax.aot.estimates import Arguments, StageEstimate
from mathft_jax.aot.plan_target import PlanTarget
from mathft_jax.inference import abstract_programs, decode_caches, decode_config

# Arguments of `sample.sample` that an estimate needs.
SAMPLE_PARAMETERS = (
  'model',
  'method',
  'max_decode_length',
  'num_decodes',
  'batch_size',
  'split',
  'unroll_layers',
  'partitioner',
)
_EOS = 1  # the id does not matter


@dataclasses.dataclass(frozen=True)
class _DecodePrograms:
  """The programs that decode one batch of a replica group."""

  config: decode_config.DecodeConfig
  num_problems: int
  prompt_length: int

  def prefill(self) -> jax.stages.Traced:
    return abstract_programs.trace_prefill(
      self.config, prompt_length=self.prompt_length
    )

  def decode_block(self) -> jax.stages.Traced:
    return abstract_programs.trace_decode_block(self.config)

  @property
  def num_prefills(self) -> int:
    """Executions of the prefill program for a batch."""
    return self.num_problems // self.config.mesh.shape['data']

  @property
  def num_blocks(self) -> int:
    """Executions of the decode program for a batch."""
    return -(-self.config.max_decode_length // self.config.block_size)

  def bytes_by_kind(self) -> dict[str, float]:
    """Returns bytes of a device: parameters, the cache and the logits of one token."""
    config, mesh = self.config, self.config.mesh
    return {
      'parameters': inference_estimate_parts.parameter_bytes(
        config.model, mesh, config.rules
      ),
      'cache': decode_caches.cache_bytes_per_device(config),
      'logits': 4 * config.num_rows * config.model.vocab_size / mesh.size,
    }

  def model_flops(self) -> float:
    """Returns the FLOPs of the products of a batch, as traced."""
    prefill = traced_flops.count_traced_flops(self.prefill().jaxpr)
    return float(
      prefill.flops * self.num_prefills + self.block_flops() * self.num_blocks
    )

  def block_flops(self) -> int:
    costs = traced_flops.count_traced_flops(
      self.decode_block().jaxpr, unknown_trip_count=self.config.block_size
    )
    return costs.flops


def estimate_sampling(
  stage: str, arguments: Arguments, target: PlanTarget
) -> StageEstimate:
  """Returns the estimate of a sampling stage; each candidate has the maximum length.

  Args:
    stage: name of the stage.
    arguments: `SAMPLE_PARAMETERS`.
    target: devices and the prompt length.
  """
  partitioner = arguments['partitioner']
  group = target.replica_group_mesh(partitioner, arguments['batch_size'])
  num_candidates = arguments['num_decodes']
  length = arguments['max_decode_length']
  num_rows = group.batch_size * num_candidates
  prompt_length = decode_config.prompt_slots(target.prompt_length)
  config = decode_config.DecodeConfig(
    model=target.traceable_model(arguments['model']),
    method=arguments['method'],
    num_rows=num_rows,
    rows_per_group=decode_config.rows_per_group(
      num_rows, num_candidates, group.mesh
    ),
    prompt_slots=prompt_length,
    max_decode_length=length,
    end_ids=(_EOS,),
    vocab_size=arguments['model'].vocab_size,
    mesh=group.mesh,
    rules=partitioner.rules,
    stacked=not (target.chip.is_tpu and arguments['unroll_layers']),
  )
  programs = _DecodePrograms(config, group.batch_size, prompt_length)
  estimate = inference_estimate_parts.initial_estimate(
    stage,
    'sample',
    arguments,
    group,
    target,
    hbm=programs.bytes_by_kind(),
    settings={
      'candidates': num_candidates,
      'tokens of each': length,
      'prompt': prompt_length,
    },
    tokens=arguments['batch_size'] * num_candidates * length,
  )
  if target.chip.is_tpu:
    return _with_compiled_costs(estimate, programs, target)
  return _with_traced_costs(estimate, programs, target)


def num_sampling_batches(arguments: Arguments, target: PlanTarget) -> int:
  """Returns the batches of a sampling stage over its split: training or test problems."""
  num_problems = target.num_problems
  if arguments['split'] == 'train':
    num_problems = target.num_training_problems
  return inference_estimate_parts.num_batches(num_problems, arguments)


def _with_compiled_costs(
  estimate: StageEstimate, programs: _DecodePrograms, target: PlanTarget
) -> StageEstimate:
  """The loops of a block run `block_size` times: its steps, and in each step of nucleus or top-k
  sampling the examinations of one token of each group, so that each token is examined once."""
  mesh, block_size = programs.config.mesh, programs.config.block_size
  prefill = compilation.compile_program(programs.prefill(), mesh.size)
  block = compilation.compile_program(programs.decode_block(), mesh.size)
  estimate = inference_estimate_parts.with_compiled_memory(
    estimate, [prefill, block], target
  )
  if not estimate.fits:
    return estimate

  prefill_costs = estimates.compiled_costs('prefill', prefill, mesh, target)
  block_costs = estimates.compiled_costs(
    f'decode {block_size} tokens', block, mesh, target, block_size
  )
  estimate = inference_estimate_parts.with_costs(
    estimate,
    [
      (*prefill_costs, programs.num_prefills),
      (*block_costs, programs.num_blocks),
    ],
  )
  return dataclasses.replace(
    estimate, model_flops=programs.model_flops() * estimate.groups
  )


def _with_traced_costs(
  estimate: StageEstimate, programs: _DecodePrograms, target: PlanTarget
) -> StageEstimate:
  prefill, block = programs.prefill(), programs.decode_block()
  for traced in (prefill, block):
    target.check_lowers(traced)
  prefill_costs = traced_flops.count_traced_flops(prefill.jaxpr)

  # A token reads the parameters and the cache, which is updated in place.
  token_bytes = estimate.hbm['parameters'] + estimate.hbm['cache']
  block_size = programs.config.block_size
  prefill_program = estimates.traced_costs_and_times(
    'prefill', prefill_costs.flops, prefill_costs.bytes, estimate, target
  )
  block_program = estimates.traced_costs_and_times(
    f'decode {block_size} tokens',
    programs.block_flops(),
    estimate.num_devices * token_bytes * block_size,
    estimate,
    target,
  )
  estimate = inference_estimate_parts.with_costs(
    estimate,
    [
      (*prefill_program, programs.num_prefills),
      (*block_program, programs.num_blocks),
    ],
  )
  return dataclasses.replace(estimate, model_flops=programs.model_flops())
