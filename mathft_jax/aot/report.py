"""Text and JSON of stage estimates."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from mathft_jax.aot import estimates, roofline
from mathft_jax.aot.estimates import GIB, Json, StageEstimate
from mathft_jax.monitoring import hardware

MAX_COLLECTIVES = 6  # per program, in the text
# JSON keys are stable; the text uses other words for these.
_LABELS = {
  'tokens a row': 'sequence length',
  'tokens of each': 'tokens per candidate',
  'cache before it grew': 'cache before its last growth',
  'in all, as the compiler says': 'total reported by the compiler',
}


def estimate_to_json(estimate: StageEstimate, chip: hardware.Chip) -> Json:
  """Returns all fields of an estimate and its throughput bounds."""
  fields = dataclasses.asdict(estimate)
  if estimate.times is not None:
    fields['times'] = {
      'compute': estimate.times.compute,
      'memory': estimate.times.memory,
      'links': estimate.times.ici,
      'slow': estimate.times.dcn,
    }
  return fields | estimates.throughput_bounds(estimate, chip)


def replace_nonfinite_with_none(tree: Any) -> Any:
  """Returns a tree of JSON values with None for NaN and infinity, which JSON does not have."""
  if isinstance(tree, dict):
    return dict(zip(tree, map(replace_nonfinite_with_none, tree.values())))
  if isinstance(tree, list | tuple):
    return list(map(replace_nonfinite_with_none, tree))
  is_nonfinite = isinstance(tree, float) and not math.isfinite(tree)
  return None if is_nonfinite else tree


def format_estimate(estimate: StageEstimate, chip: hardware.Chip) -> str:
  """Returns all of an estimate as lines of text."""
  settings = []
  for name, value in estimate.settings.items():
    settings.append(f'{_LABELS.get(name, name)} {value}')
  groups = ''
  if estimate.groups > 1:
    groups = f' in each of {estimate.groups} replica groups'
  lines = [
    f'{estimate.stage} ({estimate.program}): {estimate.parameters:,} parameters, '
    f'{", ".join(settings)}',
    f'  mesh          data {estimate.mesh[0]} x model {estimate.mesh[1]}{groups}',
    f'  memory        {format_memory(estimate, chip)}',
  ]
  for kind, size in estimate.hbm.items():
    lines.append(f'    {size / GIB:8.2f} GiB  {_LABELS.get(kind, kind)}')
  for program in estimate.programs:
    lines += _program_lines(program)
  return '\n'.join(lines + _time_lines(estimate, chip))


def format_memory(estimate: StageEstimate, chip: hardware.Chip) -> str:
  """Returns whether a stage fits, the memory it uses and the capacity."""
  used, capacity = estimate.used_bytes / GIB, chip.hbm_bytes / GIB
  least = '' if estimate.is_compiled else 'at least '
  if not math.isfinite(capacity):
    return f'at least {used:.2f} GiB per device'
  if not estimate.fits:
    return f'DOES NOT FIT: {least}{used:.2f} GiB per device, capacity {capacity:.2f} GiB'
  if estimate.is_compiled:
    return f'fits: {used:.2f} of {capacity:.2f} GiB per device, {capacity - used:.2f} GiB free'
  return (
    f'may fit: {least}{used:.2f} of {capacity:.2f} GiB per device; the memory that the compiler '
    'adds is not known'
  )


def format_stage_time(estimate: StageEstimate, chip: hardware.Chip) -> str:
  """Returns the number of batches of a stage and their time, where known."""
  if estimate.batches is None:
    return f'{estimate.stage}: number of batches not known'
  line = f'{estimate.stage}: {estimate.batches:,} batches'
  bounds = estimates.throughput_bounds(estimate, chip)
  if bounds:
    line += f', {_format_range(bounds["stage_seconds"], 1 / 60)} minutes'
  return line


def format_total_time(stages: Sequence[Json]) -> str:
  """Returns the total time of all stages whose time is known.

  Args:
    stages: results of `estimate_to_json`.
  """
  known = [each for each in stages if 'stage_seconds' in each]
  unknown = [each['stage'] for each in stages if 'stage_seconds' not in each]
  parts = []
  if known:
    bounds = [each['stage_seconds'] for each in known]
    hours = _format_range([sum(column) for column in zip(*bounds)], 1 / 3600)
    plural = 's' if len(known) > 1 else ''
    parts.append(f'{hours} hours for {len(known)} stage{plural}')
  if unknown:
    parts.append(f'not known for {", ".join(unknown)}')
  return f'total         {"; ".join(parts)}'


def _program_lines(program: estimates.ExecutableCosts) -> list[str]:
  compiled = ''
  if program.compile_seconds is not None:
    compiled = f', compiled in {program.compile_seconds:.0f} s'
  lines = [
    f'  {program.name:<13} {program.flops:.3g} FLOP and {program.hbm_bytes / 1e9:.3g} GB of '
    f'HBM traffic per device{compiled}'
  ]
  for each in program.collectives[:MAX_COLLECTIVES]:
    lines.append(
      f'    {each["kind"]} over {each["axes"]} (groups of {each["group_size"]}): '
      f'{each["count"]} times, {each["bytes"] / 1e9:.3g} GB sent per chip'
    )
  if program.uncounted:
    lines.append(f'    not counted: {dict(program.uncounted)}')
  return lines


def _time_lines(estimate: StageEstimate, chip: hardware.Chip) -> list[str]:
  stage_line = f'  stage         {format_stage_time(estimate, chip)}'
  bounds = estimates.throughput_bounds(estimate, chip)
  if not bounds:
    return [stage_line]

  times = []
  for name, seconds in dataclasses.asdict(
    estimate.times or roofline.ResourceTimes()
  ).items():
    if seconds:
      times.append(f'{name} {seconds:.3g}')
  lines = [
    f'  batch         {_format_range(bounds["batch_seconds"])} s, full overlap to no overlap '
    f'({", ".join(times)})',
    f'  throughput    {_format_range(bounds["tokens_per_second_per_chip"])} tokens/s per chip, MFU '
    f'{_format_range(bounds["model_flops_utilization"], 100)} %',
  ]
  if 'epoch_seconds' in bounds:
    lines.append(
      f'  epoch         {estimate.epoch_tokens:,} tokens, {estimate.epoch_batches:.1f} batches, '
      f'{_format_range(bounds["epoch_seconds"], 1 / 60)} minutes'
    )
  return [*lines, stage_line]


def _format_range(bounds: Sequence[float], factor: float = 1.0) -> str:
  """Returns 'a to b', or 'a' if both bounds are equal."""
  different = dict.fromkeys(bounds)
  return ' to '.join(f'{factor * each:.3g}' for each in different)
