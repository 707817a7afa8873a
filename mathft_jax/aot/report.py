"""What a plan has found out about the stages of a run, for people and as json."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

from mathft_jax.aot import roofline
from mathft_jax.aot.hlo import program_costs
from mathft_jax.monitoring import hardware

GIB = 2**30
MOST_LINES = 6  # of a program's collectives in text: those that send most


@dataclasses.dataclass(frozen=True)
class ExecutableCosts:
  """One compiled program of a stage: what one execution does on each device.

  Attributes:
    used_bytes: of memory, while it runs.
    collectives: {kind, axes, group_size, count, bytes} of each; bytes that a chip sends.
    uncounted: kernels whose flops are not in `flops`, with the times that they run.
  """

  name: str
  used_bytes: float
  flops: float
  hbm_bytes: float
  collectives: tuple[Mapping[str, Any], ...] = ()
  uncounted: Mapping[str, int] = dataclasses.field(default_factory=dict)
  compile_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class StageEstimate:
  """One stage on its mesh.

  Attributes:
    settings: what was planned: batch_size, max_length, ...
    mesh: of one group, (data, model).
    groups: meshes side by side, each with its share of every batch.
    num_devices: of all groups.
    parameters: of the model.
    hbm: bytes of a device by kind, at the fullest moment.
    is_compiled: whether a compiler has said so; else `hbm` is what is known without one, and less
      than will be needed.
    tokens, model_flops: of one batch, over all devices; None where nothing was compiled.
    times: of one batch: a step of training, all candidates or scores of its problems.
    batches: of the stage; None where that is not known.
    epoch_batches: of one pass over the data, where the data could be read.
  """

  stage: str
  program: str
  settings: Mapping[str, Any]
  mesh: tuple[int, int]
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


@dataclasses.dataclass(frozen=True)
class TriedChange:
  """A change of the settings and what it makes of the memory."""

  change: str
  used_bytes: float
  fits: bool
  batch_size: int


def throughput_bounds(
  planned: StageEstimate, chip: hardware.Chip
) -> dict[str, tuple[float, float]]:
  """Seconds of a batch and of the stage, tokens/s of a chip, MFU: from all overlapped to none."""
  if planned.times is None or not planned.times.least > 0:
    return {}
  seconds = planned.times.least, planned.times.most
  num_chips = planned.num_devices / chip.devices_per_chip
  found = {'batch_seconds': seconds}
  if planned.batches is not None:
    found['stage_seconds'] = tuple(planned.batches * each for each in seconds)
  if planned.epoch_batches is not None:
    found['epoch_seconds'] = tuple(
      planned.epoch_batches * each for each in seconds
    )
  found['tokens_per_second_per_chip'] = tuple(
    planned.tokens / num_chips / each for each in seconds
  )
  found['model_flops_utilization'] = tuple(
    planned.model_flops / (planned.num_devices * chip.flops) / each
    for each in seconds
  )
  return found


def summarize_collectives(
  costs: program_costs.ProgramCosts, mesh_shape: Sequence[tuple[str, int]]
) -> tuple[dict, ...]:
  """The collectives by kind and mesh axes, those that send most first; see `roofline.mesh_axes_of_collective`."""
  total: dict[tuple[str, str, int], list[float]] = {}
  for each in costs.collectives:
    key = (
      each.kind,
      roofline.mesh_axes_of_collective(each, mesh_shape),
      each.group_size,
    )
    entry = total.setdefault(key, [0, 0.0])
    entry[0] += each.count
    entry[1] += each.bytes
  return tuple(
    {
      'kind': kind,
      'axes': axes,
      'group_size': size,
      'count': count,
      'bytes': sent,
    }
    for (kind, axes, size), (count, sent) in sorted(
      total.items(), key=lambda item: -item[1][1]
    )
  )


def replace_nonfinite_with_none(found: Any) -> Any:
  """A tree of json with None for numbers that are not finite, which json does not know."""
  if isinstance(found, Mapping):
    return {
      name: replace_nonfinite_with_none(value) for name, value in found.items()
    }
  if isinstance(found, list | tuple):
    return [replace_nonfinite_with_none(value) for value in found]
  return (
    None if isinstance(found, float) and not math.isfinite(found) else found
  )


def estimate_to_json(
  planned: StageEstimate, chip: hardware.Chip
) -> dict[str, Any]:
  """Everything about a stage, as json knows it."""
  return {**dataclasses.asdict(planned), **throughput_bounds(planned, chip)}


def format_estimate(planned: StageEstimate, chip: hardware.Chip) -> str:
  """Everything about a stage in lines of text."""
  settings = ', '.join(
    f'{name} {value}' for name, value in planned.settings.items()
  )
  groups = '' if planned.groups == 1 else f' in each of {planned.groups} groups'
  lines = [
    f'{planned.stage} ({planned.program}): {planned.parameters:,} parameters, {settings}',
    f'  mesh          data {planned.mesh[0]} x model {planned.mesh[1]}{groups}',
    f'  memory        {format_memory(planned, chip)}',
  ]
  lines += [
    f'    {size / GIB:8.2f} GiB  {kind}' for kind, size in planned.hbm.items()
  ]
  for each in planned.programs:
    lines += _program_lines(each)
  return '\n'.join(lines + _time_lines(planned, chip))


def format_memory(planned: StageEstimate, chip: hardware.Chip) -> str:
  """Whether a stage fits, and by how much."""
  used, capacity = planned.used_bytes / GIB, chip.hbm_bytes / GIB
  if not math.isfinite(capacity):
    return f'{used:.2f} GiB a device at least'
  least = '' if planned.is_compiled else 'at least '
  if planned.fits and planned.is_compiled:
    return f'fits: {used:.2f} of {capacity:.2f} GiB a device, {capacity - used:.2f} are left'
  if planned.fits:
    return (
      f'may fit: {least}{used:.2f} of {capacity:.2f} GiB a device; what the compiler adds is '
      'not known'
    )
  return (
    f'DOES NOT FIT: {least}{used:.2f} GiB a device, there are {capacity:.2f}'
  )


def _program_lines(program: ExecutableCosts) -> list[str]:
  took = (
    ''
    if program.compile_seconds is None
    else f', compiled in {program.compile_seconds:.0f} s'
  )
  lines = [
    f'  {program.name:<13} {program.flops:.3g} FLOP and {program.hbm_bytes / 1e9:.3g} GB of '
    f'memory traffic a device{took}'
  ]
  lines += [
    f'    {each["kind"]} over {each["axes"]} (groups of {each["group_size"]}): '
    f'{each["count"]} times, a chip sends {each["bytes"] / 1e9:.3g} GB'
    for each in program.collectives[:MOST_LINES]
  ]
  if program.uncounted:
    lines.append(f'    not counted: {dict(program.uncounted)}')
  return lines


def format_stage_time(planned: StageEstimate, chip: hardware.Chip) -> str:
  """How many batches a stage has, and their time where that is known."""
  found = throughput_bounds(planned, chip)
  if planned.batches is None:
    return f'{planned.stage}: how many batches is not known'
  time = f', {_span(found["stage_seconds"], 1 / 60)} minutes' if found else ''
  return f'{planned.stage}: {planned.batches:,} batches{time}'


def format_total_time(stages: Sequence[Mapping[str, Any]]) -> str:
  """The time of all stages together, of those whose time is known."""
  known = [
    stage['stage_seconds'] for stage in stages if 'stage_seconds' in stage
  ]
  unknown = [stage['stage'] for stage in stages if 'stage_seconds' not in stage]
  parts = []
  if known:
    hours = _span(tuple(map(sum, zip(*known))), 1 / 3600)
    parts = [
      f'{hours} hours for {len(known)} stage{"s" if len(known) > 1 else ""}'
    ]
  if unknown:
    parts.append(f'not known of {", ".join(unknown)}')
  return f'in all        {"; ".join(parts)}'


def _time_lines(planned: StageEstimate, chip: hardware.Chip) -> list[str]:
  found = throughput_bounds(planned, chip)
  if not found:
    return [f'  the stage     {format_stage_time(planned, chip)}']
  parts = ', '.join(
    f'{name} {seconds:.3g}'
    for name, seconds in dataclasses.asdict(planned.times).items()
    if seconds
  )
  lines = [
    f'  a batch       {_span(found["batch_seconds"])} s, from all overlapped to nothing ({parts})',
    f'  rate          {_span(found["tokens_per_second_per_chip"])} tokens/s a chip, MFU '
    f'{_span(found["model_flops_utilization"], 100)} %',
  ]
  if 'epoch_seconds' in found:
    lines += [
      f'  an epoch      {planned.epoch_tokens:,} tokens, {planned.epoch_batches:.1f} '
      f'batches, {_span(found["epoch_seconds"], 1 / 60)} minutes'
    ]
  return [*lines, f'  the stage     {format_stage_time(planned, chip)}']


def _span(pair: tuple[float, ...], factor: float = 1.0) -> str:
  return ' to '.join(f'{factor * each:.3g}' for each in dict.fromkeys(pair))
