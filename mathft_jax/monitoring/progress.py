"""How far a long run is and how fast it goes: a bar on a terminal, plain lines in a log.

with progress.ProgressBar('sample', total=len(problems), unit='problems') as bar:
  for problem in problems:
    ...
    bar.advance(1, tokens_per_s=rate)
"""

import sys
import time
from typing import Any, Self

from absl import logging
import tqdm

from mathft_jax.distributed import processes
from mathft_jax.monitoring import hardware


class ProgressBar:
  """Counts units that are done; shows a tqdm bar on a terminal, else a log line now and then.

  Args:
    what: the name of the work, first on each line.
    total: units in all, None when it is not known.
    unit: what is counted, in the plural.
    done: units that an earlier, interrupted run has done; not part of the rate.
    seconds_between_lines: how often a log gets a line; the last one always comes.
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
    self._period = seconds_between_lines
    self._begun = self._last_line = time.monotonic()
    self._numbers: dict[str, Any] = {}
    on_terminal = (
      (sys.stderr.isatty() and processes.is_primary())
      if terminal is None
      else terminal
    )
    self._bar = (
      tqdm.tqdm(
        desc=what,
        total=total,
        initial=done,
        unit=f' {unit}',
        dynamic_ncols=True,
      )
      if on_terminal
      else None
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    if self._bar is not None:
      self._bar.close()
    elif kind is None and self._done > self._start:
      logging.info('%s', self.line())

  def advance(self, count: int = 1, **numbers: Any) -> None:
    """Counts `count` more units; `numbers` (a loss, a rate) stand beside the count."""
    self._done += count
    self._numbers.update(numbers)
    if self._bar is not None:
      self._bar.set_postfix(
        {name: format_number(value) for name, value in self._numbers.items()},
        refresh=False,
      )
      self._bar.update(count)
    elif (
      time.monotonic() - self._last_line >= self._period
      and self._done != self._total
    ):
      self._last_line = time.monotonic()
      logging.info('%s', self.line())

  def note(self, line: str) -> None:
    """One line of text between the bars."""
    if self._bar is not None:
      self._bar.clear()
    logging.info('%s', line)
    if self._bar is not None:
      self._bar.refresh()

  def seconds(self) -> float:
    """Since the work began."""
    return max(time.monotonic() - self._begun, 1e-9)

  def rate(self) -> float:
    """Units a second of this run."""
    return (self._done - self._start) / self.seconds()

  def line(self) -> str:
    """`what: done/total unit, rate, time left, numbers`."""
    of_total = f'/{self._total}' if self._total is not None else ''
    parts = [
      f'{self._what}: {self._done}{of_total} {self._unit}',
      f'{format_number(self.rate())}/s',
    ]
    if self._total is not None and 0 < self.rate() and self._done < self._total:
      parts.append(
        f'{format_number((self._total - self._done) / self.rate())} s left'
      )
    parts += [
      f'{name} {format_number(value)}' for name, value in self._numbers.items()
    ]
    return ', '.join(parts)


class CompilationCounter:
  """Counts XLA compilations of this process and their seconds, from its creation on."""

  def __init__(self):
    import jax  # not at the top: grade and evaluate show progress and do without jax

    self.count, self.seconds = 0, 0.0
    jax.monitoring.register_event_duration_secs_listener(self._listen)

  def _listen(self, event: str, seconds: float, **_: Any) -> None:
    if event == '/jax/core/compile/backend_compile_duration':
      self.count += 1
      self.seconds += seconds


def format_number(value: Any) -> str:
  """A number in at most about five characters; anything else as it is."""
  if (
    isinstance(value, bool)
    or not hasattr(value, '__float__')
    or isinstance(value, int)
  ):
    return str(value)
  value = float(value)
  return f'{value:.0f}' if abs(value) >= 1000 else f'{value:.4g}'


def model_flops_utilization(flops_per_second: float) -> float | None:
  """Share of the devices' peak bf16 rate that is model arithmetic; None for an unknown chip."""
  import jax  # not at the top: see CompileWatch

  chip = hardware.chip_for_device_kind(jax.devices()[0].device_kind)
  return (
    None
    if chip is None
    else flops_per_second / (chip.flops * jax.device_count())
  )
