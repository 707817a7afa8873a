"""Searches for the largest batch size that fits, or for that of the best rate, by estimates."""

from collections.abc import Callable

from mathft_jax.aot import estimates, report
from mathft_jax.aot.estimates import Json, StageEstimate
from mathft_jax.monitoring import hardware

MAX_COMPILATIONS = 8
# A batch that leaves less of the memory free is accepted.
MAX_FREE_FRACTION = 0.05
# A batch twice as large is better if its rate is higher by this share.
MIN_GAIN = 0.05

# Estimates the stage with changed arguments; raises ValueError if sizes do not divide.
Estimator = Callable[..., StageEstimate]


def search_largest_batch_size(
  estimate: StageEstimate, estimate_with: Estimator, chip: hardware.Chip
) -> Json:
  """Returns the largest batch size that fits, its memory and its throughput bounds.

  Batch sizes are multiples of `batch_size_unit`. Memory grows about linearly with the batch size:
  each guess is where the line through the last two sizes reaches the capacity, but at most three
  quarters of the way from the largest size that fits to the smallest that does not, because near
  the capacity the compiler rematerializes more. The search ends if at most MAX_FREE_FRACTION of the
  memory is free, or if the next multiple does not fit.

  Args:
    estimate: the configured batch size, which fits.
    estimate_with: estimates the stage with another `batch_size`.
    chip: capacity and peak rates.
  """
  unit = batch_size_unit(estimate)
  best, smallest_misfit = estimate, None
  guess = 2 * estimate.batch_size
  for _ in range(MAX_COMPILATIONS):
    tried = estimate_with(batch_size=guess)
    print(
      f'    batch size {guess}: {report.format_memory(tried, chip)}', flush=True
    )
    previous = best
    if tried.fits:
      best = tried
    else:
      smallest_misfit = tried

    is_full = best.used_bytes > (1 - MAX_FREE_FRACTION) * chip.hbm_bytes
    is_next = (
      smallest_misfit is not None
      and smallest_misfit.batch_size - best.batch_size <= unit
    )
    if is_full or is_next:
      break
    guess = _next_batch_size(previous, best, smallest_misfit, tried, unit, chip)
  else:
    print(
      f'    stopped after {MAX_COMPILATIONS} compilations: a larger one may fit',
      flush=True,
    )

  print(f'  largest {_format_rate(best, chip)}', flush=True)
  return {
    'batch_size': best.batch_size,
    'used_bytes': best.used_bytes,
    **estimates.throughput_bounds(best, chip),
    'does_not_fit': smallest_misfit and smallest_misfit.batch_size,
  }


def search_best_rate(
  estimate: StageEstimate, estimate_with: Estimator, chip: hardware.Chip
) -> Json:
  """Returns the batch size with the best rate of sampling or scoring, and all that were tried.

  The rate is tokens/s per chip without overlap. The batch size is doubled as long as it fits and
  the rate rises by MIN_GAIN. If it did not rise at all, the batch size is halved as long as the
  rate falls by less: a smaller batch needs less memory, and fewer of its rows are idle at the end
  of a stage.

  Args:
    estimate: the configured batch size, which fits; its times are known.
    estimate_with: estimates the stage with another `batch_size`.
    chip: capacity and peak rates.
  """
  tried = [estimate]

  def try_size(batch_size: int) -> StageEstimate:
    new = estimate_with(batch_size=batch_size)
    tried.append(new)
    print(f'    {_format_rate(new, chip)}', flush=True)
    return new

  best = estimate
  num_problems = estimate.batch_size * (estimate.batches or 1)
  while 2 * best.batch_size <= num_problems and len(tried) <= MAX_COMPILATIONS:
    larger = try_size(2 * best.batch_size)
    if not larger.fits or not _is_faster(larger, best, chip):
      break
    best = larger

  unit = batch_size_unit(estimate)
  while (
    len(tried) <= MAX_COMPILATIONS
    and best.batch_size <= estimate.batch_size
    and best.batch_size % (2 * unit) == 0
  ):
    smaller = try_size(best.batch_size // 2)
    if _is_faster(best, smaller, chip):
      break
    best = smaller

  print(f'  best rate     {_format_rate(best, chip)}', flush=True)
  return {
    'batch_size': best.batch_size,
    'used_bytes': best.used_bytes,
    **estimates.throughput_bounds(best, chip),
    'tried': [_rate_to_json(each, chip) for each in tried],
  }


def batch_size_unit(estimate: StageEstimate) -> int:
  """Returns the number of which a batch size must be a multiple.

  This is one sequence per device along `data`, in each microbatch of each replica group.
  """
  num_microbatches = int(estimate.settings.get('num_microbatches', 1))
  return estimate.mesh[0] * estimate.groups * num_microbatches


def _next_batch_size(
  previous: StageEstimate,
  best: StageEstimate,
  smallest_misfit: StageEstimate | None,
  tried: StageEstimate,
  unit: int,
  chip: hardware.Chip,
) -> int:
  """Returns the next size to try.

  Args:
    previous: the largest size that fits, before the last trial.
    best: the same after it.
    smallest_misfit: the smallest size that does not fit.
    tried: the last trial.
    unit: sizes are multiples of it.
    chip: its capacity.
  """
  added = tried.batch_size - previous.batch_size
  slope = (tried.used_bytes - previous.used_bytes) / added if added else 0
  guess = 2 * best.batch_size
  if slope > 0:
    guess = tried.batch_size + (chip.hbm_bytes - tried.used_bytes) / slope

  highest = 8 * best.batch_size
  if smallest_misfit is not None:
    gap = smallest_misfit.batch_size - best.batch_size
    highest = best.batch_size + 0.75 * gap
  return max(best.batch_size + unit, int(min(guess, highest) // unit) * unit)


def _is_faster(
  larger: StageEstimate, smaller: StageEstimate, chip: hardware.Chip
) -> bool:
  """Whether the larger batch has a rate that is higher by MIN_GAIN."""
  return _rate(larger, chip) >= (1 + MIN_GAIN) * _rate(smaller, chip)


def _rate(estimate: StageEstimate, chip: hardware.Chip) -> float:
  """Returns tokens/s per chip without overlap; 0 if the stage does not fit."""
  bounds = estimates.throughput_bounds(estimate, chip)
  return min(bounds.get('tokens_per_second_per_chip', (0.0,)))


def _format_rate(estimate: StageEstimate, chip: hardware.Chip) -> str:
  line = (
    f'batch size {estimate.batch_size}: {report.format_memory(estimate, chip)}'
  )
  bounds = estimates.throughput_bounds(estimate, chip)
  if bounds:
    high, low = bounds['tokens_per_second_per_chip']
    line += f', {low:.3g} to {high:.3g} tokens/s per chip'
  return line


def _rate_to_json(estimate: StageEstimate, chip: hardware.Chip) -> Json:
  bounds = estimates.throughput_bounds(estimate, chip)
  return {
    'batch_size': estimate.batch_size,
    'used_bytes': estimate.used_bytes,
    'fits': estimate.fits,
    'tokens_per_second_per_chip': bounds.get('tokens_per_second_per_chip'),
  }
