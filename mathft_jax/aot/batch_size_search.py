"""The largest batch that fits, and what would make a stage fit that does not."""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
from typing import Any

from mathft_jax.aot import report
from mathft_jax.monitoring import hardware

MAX_COMPILATIONS = 8  # compilations of a search
MAX_FREE_FRACTION = (
  0.05  # of the memory: a search that leaves no more has found its batch
)
BATCH_SIZES = {
  'train': 'BATCH_SIZE',
  'sample': 'DECODE_BATCH_SIZE',
  'score': 'SCORE_BATCH_SIZE',
}
GIB = report.GIB

Make = Callable[..., report.StageEstimate]


def find_largest_batch_size(
  planned: report.StageEstimate, make: Make, chip: hardware.Chip
) -> dict[str, Any]:
  """The largest batch that the compiler finds place for, in multiples of the smallest there is.

  Memory grows about in a straight line with the batch: each trial is where the line through the
  last two meets the memory, or in the first three quarters between the largest that fitted and the
  smallest that did not: near the limit the compiler computes more again. Found is what
  leaves at most CLOSE of the memory, or where the next multiple does not fit.
  """
  unit = _unit(planned)
  best, worst = planned, None
  guess = planned.settings['batch_size'] * 2
  for _ in range(MAX_COMPILATIONS):
    tried = make(batch_size=guess)
    print(
      f'    a batch of {guess}: {report.format_memory(tried, chip)}', flush=True
    )
    if tried.fits:
      below, best = best, tried
    else:
      below, worst = best, tried
    between = (
      None
      if worst is None
      else (worst.settings['batch_size'] - best.settings['batch_size'])
    )
    if (
      best.used_bytes > (1 - MAX_FREE_FRACTION) * chip.hbm_bytes
      or between is not None
      and between <= unit
    ):
      break
    guess = _next(below, best, worst, tried, unit, chip)
  else:
    print('    the search ended there: a larger one may fit', flush=True)
  size = best.settings['batch_size']
  rates = report.throughput_bounds(best, chip)
  print(
    f'  largest batch {size}: {report.format_memory(best, chip)}'
    + ''.join(
      f', {low:.3g} to {high:.3g} tokens/s a chip'
      for name, (high, low) in rates.items()
      if name == 'tokens_per_second_per_chip'
    ),
    flush=True,
  )
  return {
    'batch_size': size,
    'used_bytes': best.used_bytes,
    **rates,
    'does_not_fit': None if worst is None else worst.settings['batch_size'],
  }


def try_memory_savings(
  planned: report.StageEstimate,
  make: Make,
  arguments: Mapping[str, Any],
  chip: hardware.Chip,
) -> tuple[list[dict[str, Any]], str]:
  """(changes that were tried, one line about them): what each alone makes of the memory."""
  tried = []
  for change, changed in _changes(planned, arguments, chip):
    try:
      made = make(**changed)
    except ValueError as error:  # sizes that do not divide
      print(f'    with {change}: not possible: {error}', flush=True)
      continue
    print(f'    with {change}: {report.format_memory(made, chip)}', flush=True)
    tried.append(
      report.TriedChange(
        change, made.used_bytes, made.fits, made.settings['batch_size']
      )
    )
  helps = [
    f'{each.change} ({each.used_bytes / GIB:.2f} GiB)'
    for each in tried
    if each.fits
  ]
  less = [
    f'{each.change} ({each.used_bytes / GIB:.2f} GiB)'
    for each in tried
    if not each.fits and each.used_bytes < planned.used_bytes
  ]
  if helps:
    line = f'What would help, each alone: {"; ".join(helps)}.'
  elif less:
    line = (
      f'Nothing alone suffices; less is needed with: {"; ".join(less)}. Set several of '
      'these, or take more chips.'
    )
  else:
    line = 'Nothing that was tried helps: take more chips, or a smaller model.'
  return [dataclasses.asdict(each) for each in tried], line


def _unit(planned: report.StageEstimate) -> int:
  """Batches are multiples of this: rows for all devices along `data`, in every microbatch."""
  return (
    planned.mesh[0]
    * planned.groups
    * planned.settings.get('num_microbatches', 1)
  )


def _next(
  below: report.StageEstimate,
  best: report.StageEstimate,
  worst: report.StageEstimate | None,
  tried: report.StageEstimate,
  unit: int,
  chip: hardware.Chip,
) -> int:
  """The next size to try."""
  size, other = tried.settings['batch_size'], below.settings['batch_size']
  slope = (
    (tried.used_bytes - below.used_bytes) / (size - other)
    if size != other
    else 0
  )
  guess = (
    2 * best.settings['batch_size']
    if slope <= 0
    else (size + (chip.hbm_bytes - tried.used_bytes) / slope)
  )
  low, high = best.settings['batch_size'], 8 * best.settings['batch_size']
  if (
    worst is not None
  ):  # never close to one that does not fit: there memory grows slower
    high = low + 0.75 * (worst.settings['batch_size'] - low)
  return max(low + unit, int(min(guess, high) // unit) * unit)


def _changes(
  planned: report.StageEstimate,
  arguments: Mapping[str, Any],
  chip: hardware.Chip,
) -> Iterator[tuple[str, dict[str, Any]]]:
  """(what a person would set, arguments) of changes that need less memory."""
  model, partitioner = arguments['model'], arguments['partitioner']
  batch_size, unit = arguments['batch_size'], _unit(planned)
  if planned.program == 'train':
    if not partitioner.fsdp and planned.mesh[0] > 1:
      yield (
        'FSDP = True',
        {'partitioner': dataclasses.replace(partitioner, fsdp=True)},
      )
    if model.remat != 'full':
      yield (
        "transformer.TransformerConfig.remat = 'full'",
        {'model': dataclasses.replace(model, remat='full')},
      )
    if chip.is_tpu and model.attention_kernel != 'splash':
      yield (
        "ATTENTION_KERNEL = 'splash'",
        {'model': dataclasses.replace(model, attention_kernel='splash')},
      )
    more = 2 * arguments['num_microbatches']
    if batch_size % (planned.mesh[0] * more) == 0:
      yield f'NUM_MICROBATCHES = {more}', {'num_microbatches': more}
  if batch_size // 2 >= unit and batch_size // 2 % unit == 0:
    yield (
      f'{BATCH_SIZES[planned.program]} = {batch_size // 2}',
      {'batch_size': batch_size // 2},
    )
  if partitioner.ici_mesh_shape is None:
    for factor in (2, 4, 8):
      more = partitioner.num_partitions * factor
      if planned.num_devices % more == 0:
        yield (
          f'NUM_PARTITIONS = {more}',
          {
            'partitioner': dataclasses.replace(partitioner, num_partitions=more)
          },
        )
