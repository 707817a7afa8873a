"""Memory and time estimate of a scoring stage."""

import dataclasses
import math

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
from mathft_jax.inference import (
  abstract_programs,
  score_packing,
  scoring,
)

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
  problem = score_packing.ProblemLengths(
    target.prompt_length, [target.text_length] * target.num_texts
  )
  length = score_packing.choose_row_lengths([problem])[-1]
  rows_per_problem = len(score_packing.pack_problem(problem, [length]))
  rows_per_call = score_packing.rows_per_call(length, group.mesh.shape['data'])
  traced = abstract_programs.trace_scoring(
    config, num_rows=rows_per_call, length=length
  )
  num_rows = rows_per_problem * group.batch_size
  num_calls = math.ceil(num_rows / rows_per_call)
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
      'texts': target.num_texts,
      'tokens of a row': length,
    },
    tokens=arguments['batch_size'] * target.num_texts * target.text_length,
  )
  return _with_costs(estimate, traced, num_calls, group, target)


def _with_costs(
  estimate: StageEstimate,
  traced: jax.stages.Traced,
  num_calls: int,
  group: GroupMesh,
  target: PlanTarget,
) -> StageEstimate:
  costs = traced_flops.count_traced_flops(traced.jaxpr)
  model_flops = float(costs.flops * num_calls * group.num_groups)
  estimate = dataclasses.replace(estimate, model_flops=model_flops)
  if not target.chip.is_tpu:
    target.check_lowers(traced)
    program, times = estimates.traced_costs_and_times(
      'score', costs.flops, costs.bytes, estimate, target
    )
    return inference_estimate_parts.with_costs(
      estimate, [(program, times, num_calls)]
    )

  compiled = compilation.compile_program(traced, group.mesh.size)
  estimate = inference_estimate_parts.with_compiled_memory(
    estimate, [compiled], target
  )
  if not estimate.fits:
    return estimate
  program, times = estimates.compiled_costs(
    'score', compiled, group.mesh, target
  )
  return inference_estimate_parts.with_costs(
    estimate, [(program, times, num_calls)]
  )


def num_scoring_batches(arguments: Arguments, target: PlanTarget) -> int:
  """Returns the batches of a scoring stage."""
  return inference_estimate_parts.num_batches(target.num_problems, arguments)
