"""Progress of long work: a bar on a terminal, lines in a log.

with progress.ProgressBar('sample', total=len(problems), unit='problems') as bar:
  for problem in problems:
    ...
    bar.advance(1, tokens_per_s=rate)
"""

import sys
import time
from typing import Self

from absl import logging
import tqdm

from mathft_jax.distributed import processes
from mathft_jax.monitoring import hardware


class ProgressBar:
  """Counts finished units; shows a tqdm bar on a terminal, else a log line now and then.

  Args:
    what: name of the work, at the start of each line.
    total: number of units; None if unknown.
    unit: what is counted, in the plural.
    done: units that an interrupted run has finished; they do not count for the rate.
    seconds_between_lines: period of log lines; the last one is always logged.
    terminal: whether to draw a bar; by default, whether standard error is a terminal.
  """

  def __init__(
    self,
    what: str,
    *,
    total: int | None,
    unit: str,
    done: int = 0,
    seconds_between_lines: float = 10.0,
    terminal: bool | None = None,
  ):
    self._what, self._unit, self._total = what, unit, total
    self._done, self._start = done, done
    self._line_period = seconds_between_lines
    self._start_time = self._last_line = time.monotonic()
    self._numbers: dict[str, object] = {}
    if terminal is None:
      terminal = sys.stderr.isatty() and processes.is_primary()
    self._bar = None
    if terminal:
      self._bar = tqdm.tqdm(
        desc=what,
        total=total,
        initial=done,
        unit=f' {unit}',
        dynamic_ncols=True,
      )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    if self._bar is not None:
      self._bar.close()
    elif kind is None and self._done > self._start:
      logging.info('%s', self.line())

  def advance(self, count: int = 1, **numbers: object) -> None:
    """Counts `count` more units, or none, and shows `numbers` (a loss, a rate) with the count."""
    self._done += count
    self._numbers.update(numbers)
    if self._bar is not None:
      shown = {name: format_number(x) for name, x in self._numbers.items()}
      self._bar.set_postfix(shown, refresh=False)
      self._bar.update(count)
      if count == 0:
        self._bar.refresh()
      return
    now = time.monotonic()
    is_due = now - self._last_line >= self._line_period
    if is_due and self._done != self._total:
      self._last_line = now
      logging.info('%s', self.line())

  def note(self, line: str) -> None:
    """Logs one line without damaging the bar."""
    if self._bar is not None:
      self._bar.clear()
    logging.info('%s', line)
    if self._bar is not None:
      self._bar.refresh()

  def seconds(self) -> float:
    """Returns the seconds since the start of this run."""
    return max(time.monotonic() - self._start_time, 1e-9)

  def rate(self) -> float:
    """Returns units per second of this run."""
    return (self._done - self._start) / self.seconds()

  def line(self) -> str:
    """Returns `what: done/total unit, rate, time left, numbers`."""
    rate = self.rate()
    count = f'{self._done}'
    if self._total is not None:
      count += f'/{self._total}'
    parts = [f'{self._what}: {count} {self._unit}', f'{format_number(rate)}/s']
    if self._total is not None and rate > 0 and self._done < self._total:
      seconds_left = (self._total - self._done) / rate
      parts.append(f'{format_number(seconds_left)} s left')
    for name, value in self._numbers.items():
      parts.append(f'{name} {format_number(value)}')
    return ', '.join(parts)


class CompilationCounter:
  """Counts compiled programs of this process and their seconds, from its creation on.

  Attributes:
    count: programs that XLA compiled or that were read from the compilation cache.
    num_cached: those that were read.
    seconds: of both.
  """

  def __init__(self):
    import jax  # not at the top: grade and evaluate show progress without jax

    self.count, self.num_cached, self.seconds = 0, 0, 0.0
    jax.monitoring.register_event_duration_secs_listener(self._add_duration)
    jax.monitoring.register_event_listener(self._add_event)

  def describe(self) -> str:
    """Returns `7 compilations took 2.1 s, 3 of them were read from the cache`."""
    text = f'{self.count} compilations took {self.seconds:.1f} s'
    if self.num_cached:
      text += f', {self.num_cached} of them were read from the cache'
    return text

  def _add_duration(
    self, event: str, duration_secs: float, **kwargs: str | int
  ) -> None:
    del kwargs
    if event == '/jax/core/compile/backend_compile_duration':
      self.count += 1
      self.seconds += duration_secs

  def _add_event(self, event: str, **kwargs: str | int) -> None:
    del kwargs
    if event == '/jax/compilation_cache/cache_hits':
      self.num_cached += 1


def format_number(value: object) -> str:
  """Returns a float with about four digits; anything else as str."""
  if isinstance(value, (bool, int)) or not hasattr(value, '__float__'):
    return str(value)
  number = float(value)  # type: ignore[arg-type]
  return f'{number:.0f}' if abs(number) >= 1000 else f'{number:.4g}'


def model_flops_utilization(flops_per_second: float) -> float | None:
  """Returns model FLOP/s as a fraction of the devices' bfloat16 peak; None for unknown chips."""
  import jax  # not at the top: see CompilationCounter

  chip = hardware.chip_for_device_kind(jax.devices()[0].device_kind)
  if chip is None:
    return None
  return flops_per_second / (chip.flops * jax.device_count())
