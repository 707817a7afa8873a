"""Memory and time estimate of a scoring stage."""

import dataclasses

import jax

from mathft_jax.aot import (
  compilation,
  estimates,
  inference_estimate_parts,
  traced_flops,
)
from mathft_jax.aot.estimates import Arguments, StageEstimate
from mathft_jax.aot.plan_target import GroupMesh, PlanTarget
from mathft_jax.data import label_word_branches
from mathft_jax.inference import abstract_programs, resumable_output, scoring

# Arguments of `score.score` that an estimate needs.
SCORE_PARAMETERS = ('model', 'quantity', 'batch_size', 'partitioner')
# One token each; the ids do not matter.
_LABEL_WORDS = label_word_branches.LabelWords(((1,), (2,)))


def estimate_scoring(
  stage: str, arguments: Arguments, target: PlanTarget
) -> StageEstimate:
  """Returns the estimate of a scoring stage; each text has `target.text_length` tokens.

  Args:
    stage: name of the stage.
    arguments: `SCORE_PARAMETERS`.
    target: devices and lengths.
  """
  partitioner = arguments['partitioner']
  group = target.replica_group_mesh(partitioner, arguments['batch_size'])
  config = scoring.ScoreConfig(
    target.traceable_model(arguments['model']),
    _LABEL_WORDS if arguments['quantity'] == 'verdict' else None,
    group.mesh,
    partitioner.rules,
  )
  num_texts = resumable_output.round_up_to_power_of_two(target.num_texts, 4)
  length = resumable_output.round_up_to_power_of_two(target.text_length)
  prompt_length = resumable_output.round_up_to_power_of_two(
    target.prompt_length
  )
  traced = abstract_programs.trace_scoring(
    config,
    batch_size=group.batch_size,
    num_candidates=num_texts,
    prefix_length=prompt_length,
    length=length,
  )
  parameter_bytes = inference_estimate_parts.parameter_bytes(
    config.model, group.mesh, partitioner.rules
  )
  estimate = inference_estimate_parts.initial_estimate(
    stage,
    'score',
    arguments,
    group,
    target,
    hbm={'parameters': parameter_bytes},
    settings={
      'texts': num_texts,
      'tokens of each': length,
      'prompt': prompt_length,
    },
    tokens=arguments['batch_size'] * num_texts * length,
  )
  return _with_costs(estimate, traced, group, target)


def _with_costs(
  estimate: StageEstimate,
  traced: jax.stages.Traced,
  group: GroupMesh,
  target: PlanTarget,
) -> StageEstimate:
  costs = traced_flops.count_traced_flops(traced.jaxpr)
  estimate = dataclasses.replace(
    estimate, model_flops=float(costs.flops * group.num_groups)
  )
  if not target.chip.is_tpu:
    target.check_lowers(traced)
    program, times = estimates.traced_costs_and_times(
      'score', costs.flops, costs.bytes, estimate, target
    )
    return inference_estimate_parts.with_costs(estimate, [(program, times, 1)])

  compiled = compilation.compile_program(traced, group.mesh.size)
  estimate = inference_estimate_parts.with_compiled_memory(
    estimate, [compiled], target
  )
  if not estimate.fits:
    return estimate
  program, times = estimates.compiled_costs(
    'score', compiled, group.mesh, target
  )
  return inference_estimate_parts.with_costs(estimate, [(program, times, 1)])


def num_scoring_batches(arguments: Arguments, target: PlanTarget) -> int:
  """Returns the batches of a scoring stage."""
  return inference_estimate_parts.num_batches(target.num_problems, arguments)
