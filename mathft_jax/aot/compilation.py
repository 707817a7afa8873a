"""Compilation of a traced program for devices that need not be attached.

compiled = compile_program(traced, mesh.size)
compiled.fits, compiled.used_bytes                 # memory of each device
compiled.costs().flops                             # see `hlo.program_costs`
"""

import dataclasses
import re
import time

import jax

from mathft_jax.aot import traced_flops
from mathft_jax.aot.hlo import program_costs

_UNIT_BYTES = {'': 1, 'B': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
_PALLAS_TARGET = 'tpu_custom_call'
# libtpu reports in one of two ways that a program needs too much memory.
_OUT_OF_MEMORY = re.compile(
  r'(?:Used |total memory required[^(]*\()([\d.]+)([BKMGT]?)(?: of|\) exceeds)'
)


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
  """One program, compiled for a topology. Bytes are those of each device.

  Attributes:
    fits: whether the program fits into the memory of a device.
    used_bytes: peak memory: arguments, results and temporaries. This is what the compiler compares
      with the capacity. If the program does not fit, the bytes that the compiler reports.
    argument_bytes: bytes of the arguments; 0 if the program does not fit.
    text: optimized HLO; '' if the program does not fit.
    kernel_flops: FLOPs of custom kernels without a cost estimate, which the HLO does not contain:
      body times grid. This is an upper bound for a causal kernel, which skips blocks.
    seconds: compilation time.
  """

  fits: bool
  used_bytes: float
  argument_bytes: float = 0
  text: str = ''
  kernel_flops: float = 0
  seconds: float = 0

  def costs(self, unknown_trip_count: int = 1) -> program_costs.ProgramCosts:
    """Returns the costs of one execution; see `program_costs.count_program_costs`."""
    costs = program_costs.count_program_costs(
      self.text, unknown_trip_count=unknown_trip_count
    )
    if not self.kernel_flops:
      return costs

    uncounted = {}
    for name, times in costs.uncounted.items():
      if not name.startswith(_PALLAS_TARGET):
        uncounted[name] = times
    return dataclasses.replace(
      costs,
      flops=costs.flops + self.kernel_flops,
      kernel_flops=costs.kernel_flops + self.kernel_flops,
      uncounted=uncounted,
    )


def compile_program(
  traced: jax.stages.Traced, num_devices: int
) -> CompiledProgram:
  """Compiles a traced program for the devices of its shardings.

  Args:
    traced: the program.
    num_devices: number of these devices.

  Raises:
    Exception: whatever the compiler raises, except that the program does not fit.
  """
  started = time.monotonic()
  try:
    compiled = traced.lower().compile()
  except Exception as error:  # its type depends on the version of jax
    out_of_memory = _OUT_OF_MEMORY.search(str(error))
    if out_of_memory is None:
      raise
    number, unit = out_of_memory.groups()
    return CompiledProgram(
      fits=False,
      used_bytes=float(number) * _UNIT_BYTES[unit],
      seconds=time.monotonic() - started,
    )

  memory = compiled.memory_analysis()
  assert memory is not None
  traced_costs = traced_flops.count_traced_flops(traced.jaxpr)
  return CompiledProgram(
    fits=True,
    used_bytes=memory.peak_memory_in_bytes,
    argument_bytes=memory.argument_size_in_bytes,
    text=compiled.as_text() or '',
    kernel_flops=traced_costs.unstated_flops / num_devices,
    seconds=time.monotonic() - started,
  )
