"""Memory and time estimate of a sampling stage.

A stage runs a prefill program, which encodes the prompts, and a decode loop. The loop runs once for
each size of the KV cache: the slots of a candidate double until they reach the maximum length. Only
the loops with the smallest and the largest cache are compiled.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import NamedTuple

import jax

from mathft_jax.aot import (
  compilation,
  estimates,
  inference_estimate_parts,
  roofline,
  traced_flops,
)
from mathft_jax.aot.estimates import Arguments, StageEstimate
from mathft_jax.aot.plan_target import PlanTarget
from mathft_jax.inference import abstract_programs, decoding, resumable_output

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


class DecodeTimes(NamedTuple):
  """Times of one token of the decode loop, and those of each start of the loop."""

  token: roofline.ResourceTimes
  start: roofline.ResourceTimes


@dataclasses.dataclass(frozen=True)
class _DecodePrograms:
  """The programs that decode one batch of a replica group."""

  config: decoding.DecodeConfig
  batch_size: int
  prompt_length: int

  @property
  def sizes(self) -> dict[str, int]:
    return {'batch_size': self.batch_size, 'prompt_length': self.prompt_length}

  def prefill(self, unroll_layers: bool = False) -> jax.stages.Traced:
    return abstract_programs.trace_prefill(
      self.config, unroll_layers=unroll_layers, **self.sizes
    )

  def decode_loop(
    self, slots: int, unroll_layers: bool = False
  ) -> jax.stages.Traced:
    return abstract_programs.trace_decode_loop(
      self.config, slots=slots, unroll_layers=unroll_layers, **self.sizes
    )

  def slot_counts(self) -> list[int]:
    """Returns the slots that a candidate has, one value after the other."""
    longest = self.config.max_decode_length
    counts = [min(self.config.initial_slots, longest)]
    while counts[-1] < longest:
      counts.append(min(2 * counts[-1], longest))
    return counts

  def bytes_by_kind(self, slot_counts: Sequence[int]) -> dict[str, float]:
    """Returns bytes of a device: parameters, the largest cache and the logits of one token.

    While a cache is enlarged, the smaller one is also in memory.
    """
    sizes = []
    for slots in slot_counts[-2:]:
      size = abstract_programs.decode_state_bytes_per_device(
        self.config, slots=slots, **self.sizes
      )
      sizes.append(size)
    config, mesh = self.config, self.config.mesh
    assert mesh is not None
    sequences = self.batch_size * config.num_candidates
    return {
      'parameters': inference_estimate_parts.parameter_bytes(
        config.model, mesh, config.rules
      ),
      'cache': sizes[-1],
      'cache before it grew': sizes[0] if len(sizes) > 1 else 0,
      'logits': 4 * sequences * config.model.vocab_size / mesh.size,
    }


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
  config = decoding.DecodeConfig(
    model=target.traceable_model(arguments['model']),
    method=arguments['method'],
    num_candidates=num_candidates,
    max_decode_length=length,
    end_ids=(_EOS,),
    vocab_size=arguments['model'].vocab_size,
    mesh=group.mesh,
    rules=partitioner.rules,
  )
  prompt_length = resumable_output.round_up_to_power_of_two(
    target.prompt_length
  )
  programs = _DecodePrograms(config, group.batch_size, prompt_length)
  estimate = inference_estimate_parts.initial_estimate(
    stage,
    'sample',
    arguments,
    group,
    target,
    hbm=programs.bytes_by_kind(programs.slot_counts()),
    settings={
      'candidates': num_candidates,
      'tokens of each': length,
      'prompt': prompt_length,
    },
    tokens=arguments['batch_size'] * num_candidates * length,
  )
  if target.chip.is_tpu:
    unroll_layers = arguments['unroll_layers']
    return _with_compiled_costs(estimate, programs, unroll_layers, target)
  return _with_traced_costs(estimate, programs, target)


def num_sampling_batches(arguments: Arguments, target: PlanTarget) -> int:
  """Returns the batches of a sampling stage over its split: training or test problems."""
  num_problems = target.num_problems
  if arguments['split'] == 'train':
    num_problems = target.num_training_problems
  return inference_estimate_parts.num_batches(num_problems, arguments)


def _with_compiled_costs(
  estimate: StageEstimate,
  programs: _DecodePrograms,
  unroll_layers: bool,
  target: PlanTarget,
) -> StageEstimate:
  mesh = programs.config.mesh
  assert mesh is not None
  slot_counts = programs.slot_counts()
  prefill = compilation.compile_program(
    programs.prefill(unroll_layers), mesh.size
  )
  decode_loops = {}
  for slots in (slot_counts[-1], slot_counts[0]):
    if slots not in decode_loops:
      decode_loops[slots] = compilation.compile_program(
        programs.decode_loop(slots, unroll_layers), mesh.size
      )

  largest = decode_loops[slot_counts[-1]]
  estimate = inference_estimate_parts.with_compiled_memory(
    estimate, [prefill, largest], target
  )
  if not estimate.fits:
    return estimate

  executable, times = estimates.compiled_costs('prefill', prefill, mesh, target)
  executables, times_by_slots = [executable], {}
  for slots, compiled in decode_loops.items():
    executable, one_token = estimates.compiled_costs(
      f'decode {slots}', compiled, mesh, target
    )
    two_tokens = roofline.resource_times(
      compiled.costs(unknown_trip_count=2), target.chip, list(mesh.devices.flat)
    )
    token = two_tokens - one_token
    executables.append(executable)
    times_by_slots[slots] = DecodeTimes(token, one_token - token)
  return dataclasses.replace(
    estimate,
    programs=tuple(executables),
    times=times + decode_times(times_by_slots, slot_counts),
    model_flops=_model_flops(programs) * estimate.groups,
  )


def _with_traced_costs(
  estimate: StageEstimate, programs: _DecodePrograms, target: PlanTarget
) -> StageEstimate:
  slots = mean_slots(programs.slot_counts())
  prefill, decode = programs.prefill(), programs.decode_loop(slots)
  for traced in (prefill, decode):
    target.check_lowers(traced)
  prefill_costs = traced_flops.count_traced_flops(prefill.jaxpr)
  decode_costs = traced_flops.count_traced_flops(decode.jaxpr)

  # A token reads the parameters and the cache, which is updated in place.
  hbm = programs.bytes_by_kind([slots])
  token_bytes = estimate.num_devices * (hbm['parameters'] + hbm['cache'])
  num_tokens = programs.config.max_decode_length
  prefill_program = estimates.traced_costs_and_times(
    'prefill', prefill_costs.flops, prefill_costs.bytes, estimate, target
  )
  decode_program = estimates.traced_costs_and_times(
    'decode a token', decode_costs.flops, token_bytes, estimate, target
  )
  estimate = inference_estimate_parts.with_costs(
    estimate, [(*prefill_program, 1), (*decode_program, num_tokens)]
  )
  model_flops = float(prefill_costs.flops + decode_costs.flops * num_tokens)
  return dataclasses.replace(estimate, model_flops=model_flops)


def _model_flops(programs: _DecodePrograms) -> float:
  """Returns the FLOPs of the products of one replica group's batch, as traced."""
  slots = mean_slots(programs.slot_counts())
  prefill = traced_flops.count_traced_flops(programs.prefill().jaxpr)
  decode = traced_flops.count_traced_flops(programs.decode_loop(slots).jaxpr)
  num_tokens = programs.config.max_decode_length
  return float(prefill.flops + decode.flops * num_tokens)


def mean_slots(slot_counts: Sequence[int]) -> int:
  """Returns the slots that attention reads, averaged over the tokens of a candidate."""
  total = previous = 0
  for slots in slot_counts:
    total += slots * (slots - previous)
    previous = slots
  return -(-total // slot_counts[-1])


def decode_times(
  times_by_slots: Mapping[int, DecodeTimes], slot_counts: Sequence[int]
) -> roofline.ResourceTimes:
  """Returns the times of all tokens, interpolated linearly between two compiled loops.

  Args:
    times_by_slots: times with the smallest and the largest cache.
    slot_counts: all sizes of the cache; the loop starts once with each.
  """
  low, high = min(times_by_slots), max(times_by_slots)
  smallest, largest = times_by_slots[low], times_by_slots[high]
  total, previous = roofline.ResourceTimes(), 0
  for slots in slot_counts:
    weight = 0 if high == low else (slots - low) / (high - low)
    token = smallest.token * (1 - weight) + largest.token * weight
    total += token * (slots - previous) + smallest.start
    previous = slots
  return total
