"""Parts that the estimates of sampling and scoring stages share."""

from collections.abc import Mapping, Sequence
import dataclasses
import math

from jax.sharding import Mesh

from mathft_jax.aot import compilation, roofline
from mathft_jax.aot.estimates import Arguments, ExecutableCosts, StageEstimate
from mathft_jax.aot.plan_target import GroupMesh, PlanTarget
from mathft_jax.distributed import partitioning
from mathft_jax.inference import load_params
from mathft_jax.models import transformer
from mathft_jax.training import device_memory


def parameter_bytes(
  model: transformer.TransformerConfig,
  mesh: Mesh,
  rules: partitioning.AxisRules,
) -> int:
  """Returns the bytes of the inference parameters on a device."""
  shapes = load_params.inference_param_shapes(model, mesh=mesh, rules=rules)
  return partitioning.bytes_per_device(shapes)


def initial_estimate(
  stage: str,
  program: str,
  arguments: Arguments,
  group: GroupMesh,
  target: PlanTarget,
  *,
  hbm: Mapping[str, float],
  settings: Mapping[str, int],
  tokens: int,
) -> StageEstimate:
  """Returns what is known of a stage before compilation.

  Args:
    stage: name of the stage.
    program: 'sample' or 'score'.
    arguments: with `model`, `partitioner` and `batch_size`.
    group: mesh of a replica group.
    target: devices.
    hbm: known bytes of a device by kind.
    settings: settings in addition to the batch size.
    tokens: tokens of one batch.
  """
  shapes = load_params.inference_param_shapes(
    arguments['model'], mesh=group.mesh, rules=arguments['partitioner'].rules
  )
  used = sum(hbm.values())
  return StageEstimate(
    stage=stage,
    program=program,
    settings={'batch_size': arguments['batch_size'], **settings},
    mesh=tuple(group.mesh.shape.values()),
    groups=group.num_groups,
    num_devices=group.mesh.size * group.num_groups,
    parameters=device_memory.count_parameters(shapes),
    hbm=hbm,
    used_bytes=used,
    fits=used <= target.chip.hbm_bytes,
    is_compiled=False,
    tokens=tokens,
  )


def with_compiled_memory(
  estimate: StageEstimate,
  compiled: Sequence[compilation.CompiledProgram],
  target: PlanTarget,
) -> StageEstimate:
  """Returns the estimate with the memory of the program that uses most.

  No program needs less than what is known before compilation: arrays of other programs, such as the
  KV cache while prompts are prefilled, stay in memory.
  """
  known_bytes = estimate.used_bytes - estimate.hbm.get('logits', 0)
  used = max(known_bytes, *(each.used_bytes for each in compiled))
  hbm = dict(estimate.hbm)
  if used > known_bytes:
    hbm['activations'] = max(0.0, used - sum(hbm.values()))
  return dataclasses.replace(
    estimate,
    is_compiled=True,
    used_bytes=used,
    hbm=hbm,
    fits=known_bytes <= target.chip.hbm_bytes
    and all(each.fits for each in compiled),
  )


def with_costs(
  estimate: StageEstimate,
  costs: Sequence[tuple[ExecutableCosts, roofline.ResourceTimes, int]],
) -> StageEstimate:
  """Returns the estimate with (costs, times of one execution, executions) of its programs."""
  times = roofline.ResourceTimes()
  for _, once, executions in costs:
    times += once * executions
  programs = tuple(program for program, _, _ in costs)
  return dataclasses.replace(estimate, programs=programs, times=times)


def num_batches(num_problems: int, arguments: Arguments) -> int:
  """Returns the batches of a stage over this many problems."""
  return math.ceil(num_problems / arguments['batch_size'])
