"""Accelerators that nobody has to own: `v5p:4x4x4` as devices to compile for.

TPU programs are compiled by libtpu, which comes with the extra [plan] and needs no TPU. Of GPUs and
CPUs only the number of devices is known here; programs are lowered for them, not compiled.
"""

from collections.abc import Sequence
import dataclasses
import importlib.util
import math
import os
from typing import Any

from mathft_jax.monitoring import hardware

# One slice of 4 to 1,024 chips, as Cloud TPU offers them; larger worlds of v5e and v6e are several
# slices (Partitioner.dcn_mesh_shape).
SLICE_SHAPES_2D = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
SLICE_SHAPES_3D = (
  '2x2x1',
  '2x2x2',
  '2x2x4',
  '2x4x4',
  '4x4x4',
  '4x4x8',
  '4x8x8',
  '8x8x8',
  '8x8x16',
)
KNOWN_TPU_SLICES = tuple(
  f'{chip.name}:{shape}'
  for chip in hardware.TPUS
  for shape in (SLICE_SHAPES_2D if chip.dimensions == 2 else SLICE_SHAPES_3D)
)
CPU = hardware.Chip('cpu', 'cpu', math.nan, math.inf, math.nan)


@dataclasses.dataclass(frozen=True)
class Topology:
  """Devices of one kind.

  Attributes:
    shape: chips along each dimension of a slice's torus; of GPUs and CPUs (their number,).
    slices: so many of these.
  """

  chip: hardware.Chip
  shape: tuple[int, ...]
  slices: int = 1

  @property
  def num_chips(self) -> int:
    return math.prod(self.shape) * self.slices

  @property
  def num_devices(self) -> int:
    return self.num_chips * self.chip.devices_per_chip

  @property
  def name(self) -> str:
    one = f'{self.chip.name}:{"x".join(map(str, self.shape))}'
    return one if self.slices == 1 else f'{self.slices} slices of {one}'

  def compile_only_devices(self) -> Sequence[Any]:
    """Devices to compile for; of TPUs only."""
    return _compile_only_devices(self)


def parse_topology(text: str, *, slices: int = 1) -> Topology:
  """The topology `<kind>:<shape>`; ValueError with what is known for anything else."""
  name, _, shape = text.partition(':')
  chip = CPU if name == 'cpu' else hardware.CHIPS.get(name.lower())
  sizes = shape.split('x')
  if chip is None or not all(
    size.isdigit() and int(size) > 0 for size in sizes
  ):
    raise ValueError(
      f'TOPOLOGY is {text!r}; wanted <kind>:<chips>, a TPU slice ({", ".join(KNOWN_TPU_SLICES)}), GPUs '
      f'({", ".join(f"{chip.name}:8" for chip in hardware.GPUS)}) or cpu:8.'
    )
  found = Topology(chip, tuple(map(int, sizes)), slices)
  if len(found.shape) != max(chip.dimensions, 1):
    raise ValueError(
      f'TOPOLOGY is {text!r}; wanted {max(chip.dimensions, 1)} numbers after '
      f'{chip.name}:, of chips along each dimension.'
    )
  return found


def _compile_only_devices(topology: Topology) -> Sequence[Any]:
  if importlib.util.find_spec('libtpu') is None:
    raise ValueError(
      f'{topology.name}: libtpu compiles for TPUs and is not installed; '
      "pip install 'mathft_jax[plan]' (works without a TPU)."
    )
  # Libtpu asks Google's metadata server about its machine, which is not the one planned for.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5p-8')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault(
    'ALLOW_MULTIPLE_LIBTPU_LOAD', '1'
  )  # nothing runs: several may compile
  from jax.experimental import (
    topologies,
  )  # not at the top: names are parsed without jax

  # A slice smaller than the usual host is one host.
  hosts = (
    {}
    if math.prod(topology.shape) >= 4
    else {'chips_per_host_bounds': (*topology.shape, 1)[:3]}
  )
  config = (
    {'chip_config_name': topology.chip.config} if topology.chip.config else {}
  )
  slices = {'num_slices': topology.slices} if topology.slices > 1 else {}
  name = f'{topology.chip.name}:{"x".join(map(str, topology.shape))}'
  try:
    return topologies.get_topology_desc(
      name, 'tpu', **hosts, **config, **slices
    ).devices
  except Exception as error:  # of several kinds, by jaxlib's version
    raise ValueError(
      f'{topology.name}: libtpu knows no such slice ({error}). Known are {", ".join(KNOWN_TPU_SLICES)}.'
    ) from error
