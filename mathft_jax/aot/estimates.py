"""Estimates of one configured stage: memory, costs, time and throughput."""

from collections.abc import Mapping
import dataclasses
from typing import Any, TypedDict

import jax

from mathft_jax.aot import compilation, roofline
from mathft_jax.aot.hlo import program_costs
from mathft_jax.aot.plan_target import PlanTarget
from mathft_jax.monitoring import hardware

GIB = 2**30
Arguments = Mapping[str, Any]  # configured arguments of a program, by name
Json = dict[str, Any]


class CollectiveSummary(TypedDict):
  """All collectives of one kind along the same mesh axes; `bytes` are those that a chip sends."""

  kind: str
  axes: str
  group_size: int
  count: int
  bytes: float


@dataclasses.dataclass(frozen=True)
class ExecutableCosts:
  """Costs per device of one execution of one XLA program of a stage.

  Attributes:
    used_bytes: peak memory.
    uncounted: executions of kernels whose FLOPs are not in `flops`, by name.
    compile_seconds: compilation time; None if the program was not compiled.
  """

  name: str
  used_bytes: float
  flops: float
  hbm_bytes: float
  collectives: tuple[CollectiveSummary, ...] = ()
  uncounted: Mapping[str, int] = dataclasses.field(default_factory=dict)
  compile_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class StageEstimate:
  """Estimate of one stage (a configured training, sampling or scoring run) on its mesh.

  Attributes:
    stage: name of the stage.
    program: 'train', 'sample' or 'score'.
    settings: batch_size, sequence length, ...
    mesh: (data, model) of one replica group.
    groups: replica groups, each with its part of every batch.
    num_devices: devices of all groups.
    parameters: number of model parameters.
    fits: whether the stage fits into the memory of a device.
    used_bytes: peak memory of a device.
    hbm: bytes of a device by kind, at the peak.
    is_compiled: whether a compiler computed the memory; if not, it is a lower bound.
    programs: costs of each XLA program.
    tokens: tokens of one batch, over all devices.
    model_flops: FLOPs that the model needs for one batch, over all devices; None if unknown.
    times: of one batch: a train step, or all candidates or scores of its problems.
    batches: batches of the stage; None if unknown.
    epoch_tokens: tokens of one epoch; None if the data is not available.
    epoch_batches: batches of one epoch.
  """

  stage: str
  program: str
  settings: Mapping[str, int | str]
  mesh: tuple[int, ...]
  groups: int
  num_devices: int
  parameters: int
  fits: bool
  used_bytes: float
  hbm: Mapping[str, float]
  is_compiled: bool
  programs: tuple[ExecutableCosts, ...] = ()
  tokens: int | None = None
  model_flops: float | None = None
  times: roofline.ResourceTimes | None = None
  batches: int | None = None
  epoch_tokens: int | None = None
  epoch_batches: float | None = None

  @property
  def batch_size(self) -> int:
    return int(self.settings['batch_size'])


def throughput_bounds(
  estimate: StageEstimate, chip: hardware.Chip
) -> dict[str, tuple[float, float]]:
  """Returns pairs of values, with full overlap and with no overlap of resources.

  The keys are `batch_seconds`, `tokens_per_second_per_chip`, `model_flops_utilization` and, if
  known, `stage_seconds` and `epoch_seconds`. Without a time, the dict is empty.
  """
  times = estimate.times
  if times is None or not times.lower_bound > 0:
    return {}
  seconds = times.lower_bound, times.upper_bound
  num_chips = estimate.num_devices / chip.devices_per_chip
  peak_flops = estimate.num_devices * chip.flops

  def multiply(factor: float) -> tuple[float, float]:
    return factor * seconds[0], factor * seconds[1]

  def divide(amount: float) -> tuple[float, float]:
    return amount / seconds[0], amount / seconds[1]

  bounds = {'batch_seconds': seconds}
  if estimate.batches is not None:
    bounds['stage_seconds'] = multiply(estimate.batches)
  if estimate.epoch_batches is not None:
    bounds['epoch_seconds'] = multiply(estimate.epoch_batches)
  bounds['tokens_per_second_per_chip'] = divide(
    (estimate.tokens or 0) / num_chips
  )
  bounds['model_flops_utilization'] = divide(
    (estimate.model_flops or 0) / peak_flops
  )
  return bounds


def compiled_costs(
  name: str,
  compiled: compilation.CompiledProgram,
  mesh: jax.sharding.Mesh,
  target: PlanTarget,
  unknown_trip_count: int = 1,
) -> tuple[ExecutableCosts, roofline.ResourceTimes]:
  """Returns costs and times of one execution of a compiled program.

  The body of a loop whose trip count depends on data runs `unknown_trip_count` times.
  """
  costs = compiled.costs(unknown_trip_count)
  times = roofline.resource_times(costs, target.chip, list(mesh.devices.flat))
  executable = ExecutableCosts(
    name,
    compiled.used_bytes,
    costs.flops,
    costs.hbm_bytes,
    summarize_collectives(costs, target.mesh_shape_within_slice(mesh)),
    costs.uncounted,
    compiled.seconds,
  )
  return executable, times


def traced_costs_and_times(
  name: str,
  flops: float,
  num_bytes: float,
  estimate: StageEstimate,
  target: PlanTarget,
) -> tuple[ExecutableCosts, roofline.ResourceTimes]:
  """Returns costs and times of one execution of a program that was traced, not compiled.

  Collectives are unknown, and the bytes are a lower bound.

  Args:
    name: of the program.
    flops: over all devices.
    num_bytes: accessed, over all devices.
    estimate: of the stage.
    target: the devices.
  """
  flops /= estimate.num_devices
  num_bytes /= estimate.num_devices
  times = roofline.ResourceTimes(
    flops / target.chip.flops, num_bytes / target.chip.hbm_bandwidth
  )
  return ExecutableCosts(name, estimate.used_bytes, flops, num_bytes), times


def summarize_collectives(
  costs: program_costs.ProgramCosts, mesh_shape: roofline.MeshShape
) -> tuple[CollectiveSummary, ...]:
  """Returns the collectives by kind and mesh axes; those that send most bytes come first.

  Args:
    costs: costs of the program.
    mesh_shape: name and size within a slice of each mesh axis.
  """
  summaries: dict[tuple[str, str, int], CollectiveSummary] = {}
  for each in costs.collectives:
    axes = roofline.mesh_axes_of_collective(each, mesh_shape)
    summary = summaries.setdefault(
      (each.kind, axes, each.group_size),
      CollectiveSummary(
        kind=each.kind,
        axes=axes,
        group_size=each.group_size,
        count=0,
        bytes=0.0,
      ),
    )
    summary['count'] += each.count
    summary['bytes'] += each.bytes_sent
  return tuple(sorted(summaries.values(), key=lambda each: -each['bytes']))
