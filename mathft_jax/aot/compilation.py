"""A traced program compiled for chips: whether it fits, what it holds, what it does."""

import dataclasses
import re
import time
from typing import Any

from mathft_jax.aot import traced_flops
from mathft_jax.aot.hlo import program_costs

UNITS = {'B': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
SIZE = re.compile(r'([\d.]+)\s*([KMGT]?)i?B?')
KERNEL = 'tpu_custom_call'  # of Pallas
# Two ways in which libtpu says that memory does not suffice.
TOO_MUCH = (
  re.compile(r'Used ([\d.]+[BKMGT]?) of'),
  re.compile(r'total memory required[^(]*\(([\d.]+[BKMGT]?)\) exceeds'),
)


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
  """One program, compiled for a topology; bytes are those of each device.

  Attributes:
    fits: whether the compiler found place for all of it.
    used_bytes: arguments, results and temporaries at the fullest moment, which is what the compiler
      compares with the memory; where it does not fit what it says that it needs.
    argument_bytes: the share of arguments; 0 where it does not fit.
    text: the optimized program; None where it does not fit.
    kernel_flops: of custom kernels, which the text does not tell: their grids times their bodies,
      so too many where a causal kernel skips blocks.
    seconds: that compiling took.
  """

  fits: bool
  used_bytes: float
  argument_bytes: float = 0
  text: str | None = None
  kernel_flops: float = 0
  seconds: float = 0

  def costs(self, unknown_trips: int = 1) -> program_costs.ProgramCosts:
    """What one execution does; see `hlo.count`."""
    found = program_costs.count_program_costs(
      self.text, unknown_trips=unknown_trips
    )
    if found.kernel_flops or not self.kernel_flops:
      return found
    return dataclasses.replace(
      found,
      flops=found.flops + self.kernel_flops,
      kernel_flops=self.kernel_flops,
      uncounted={
        name: times
        for name, times in found.uncounted.items()
        if not name.startswith(KERNEL)
      },
    )


def compile_program(traced: Any, num_devices: int) -> CompiledProgram:
  """A traced program compiled for the devices of its shardings, of which there are so many.

  Raises what the compiler raises, but for memory that does not suffice.
  """
  started = time.monotonic()
  try:
    compiled = traced.lower().compile()
  except (
    Exception
  ) as error:  # jax has no public name for it that all versions share
    needed = [
      match for pattern in TOO_MUCH if (match := pattern.search(str(error)))
    ]
    if not needed:
      raise
    return CompiledProgram(
      False, _bytes(needed[0].group(1)), seconds=time.monotonic() - started
    )
  memory = compiled.memory_analysis()
  return CompiledProgram(
    True,
    memory.peak_memory_in_bytes,
    memory.argument_size_in_bytes,
    compiled.as_text(),
    sum(traced_flops.count_traced_flops(traced.jaxpr).kernels.values())
    / num_devices,
    time.monotonic() - started,
  )


def _bytes(text: str) -> float:
  """'20.5G' in bytes."""
  number, unit = SIZE.match(text).groups()
  return float(number) * UNITS[unit or 'B']
