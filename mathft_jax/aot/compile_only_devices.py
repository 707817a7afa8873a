"""Topologies such as `v5p:4x4x4`, and compile-only devices for them.

  topology = parse_topology('v5p:4x4x4')
  devices = topology.compile_only_devices()          # 64 devices; no TPU is needed

TPU programs are compiled by libtpu, which the extra [plan] installs. Programs for GPUs and CPUs are
lowered but not compiled; for them a topology is only a number of devices.
"""

from collections.abc import Sequence
import dataclasses
import importlib.util
import math
import os
from typing import Any, Protocol

from mathft_jax.monitoring import hardware

# One slice of 4 to 1,024 chips, as in Cloud TPU. Larger systems of v5e and v6e are several slices
# (Partitioner.dcn_mesh_shape).
SLICE_SHAPES_2D = '2x2 2x4 4x4 4x8 8x8 8x16 16x16'.split()
SLICE_SHAPES_3D = (
  '2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8 8x8x16'.split()
)
KNOWN_TPU_SLICES = tuple(
  f'{chip.name}:{shape}'
  for chip in hardware.TPUS
  for shape in (SLICE_SHAPES_2D if chip.dimensions == 2 else SLICE_SHAPES_3D)
)
CPU = hardware.Chip('cpu', 'cpu', math.nan, math.inf, math.nan)


class Device(Protocol):
  """A TPU device, attached or compile-only. Devices of a single slice may lack `slice_index`."""

  @property
  def coords(self) -> Sequence[int]: ...


@dataclasses.dataclass(frozen=True)
class Topology:
  """Devices of one kind.

  Attributes:
    chip: peak rates of one device.
    shape: chips along each dimension of a slice's torus; (number,) for GPUs and CPUs.
    slices: number of such slices.
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
  def wraparound(self) -> tuple[bool, bool, bool]:
    """Whether the links along each dimension of a TPU slice close to a ring, as in Cloud TPU.

    With three dimensions: all, in slices of whole cubes of 4x4x4 chips. With two: those of 16
    chips. The compiler chooses other collectives without these links.
    """
    if self.chip.dimensions == 3:
      closed = all(size % 4 == 0 for size in self.shape)
      return closed, closed, closed
    rows, columns = self.shape
    return rows == 16, columns == 16, False

  @property
  def slice_name(self) -> str:
    """Name of one slice, such as 'v5e:4x4'."""
    return f'{self.chip.name}:{"x".join(map(str, self.shape))}'

  @property
  def name(self) -> str:
    if self.slices == 1:
      return self.slice_name
    return f'{self.slices} slices of {self.slice_name}'

  def compile_only_devices(self) -> Sequence[Device]:
    """Returns devices that programs can be compiled for, but not run on.

    Raises:
      ValueError: libtpu is not installed or does not support the slice.
    """
    if importlib.util.find_spec('libtpu') is None:
      raise ValueError(
        f'{self.name}: compiling for TPUs needs libtpu, which is not installed. Run '
        "pip install 'mathft_jax[plan]'; no TPU is needed."
      )
    return _compile_only_devices(self)


def parse_topology(text: str, *, slices: int = 1) -> Topology:
  """Returns the topology `<kind>:<shape>`, such as 'v5p:4x4x4', 'h100:8' or 'cpu:8'.

  Args:
    text: the topology of one slice.
    slices: number of slices.

  Raises:
    ValueError: the kind is unknown, or the shape does not fit it.
  """
  name, _, shape = text.partition(':')
  chip = CPU if name == 'cpu' else hardware.CHIPS.get(name.lower())
  sizes = [int(size) for size in shape.split('x') if size.isdigit()]
  if chip is None or len(sizes) != shape.count('x') + 1 or 0 in sizes:
    gpus = ', '.join(f'{gpu.name}:8' for gpu in hardware.GPUS)
    raise ValueError(
      f'TOPOLOGY is {text!r}; it must be <kind>:<chips>: a TPU slice '
      f'({", ".join(KNOWN_TPU_SLICES)}), GPUs ({gpus}) or cpu:8.'
    )

  dimensions = max(chip.dimensions, 1)
  if len(sizes) != dimensions:
    raise ValueError(
      f'TOPOLOGY is {text!r}; a shape of {chip.name} must have {dimensions} numbers, the chips '
      f'along each dimension, but it has {len(sizes)}.'
    )
  return Topology(chip, tuple(sizes), slices)


def _compile_only_devices(topology: Topology) -> Sequence[Device]:
  # Without these, libtpu asks Google's metadata server about the local machine.
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5p-8')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  # Several processes may compile at once, as none uses a TPU.
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  from jax.experimental import topologies  # imports backends: only if needed

  options: dict[str, Any] = {'wrap': topology.wraparound}
  if math.prod(topology.shape) < 4:  # a slice smaller than the usual host
    options['chips_per_host_bounds'] = (*topology.shape, 1)[:3]
  if topology.chip.config:
    options['chip_config_name'] = topology.chip.config
  if topology.slices > 1:
    options['num_slices'] = topology.slices
  try:
    return topologies.get_topology_desc(
      topology.slice_name, 'tpu', **options
    ).devices
  except Exception as error:  # its type depends on the version of jaxlib
    raise ValueError(
      f'{topology.name}: libtpu does not support this slice ({error}). Known slices: '
      f'{", ".join(KNOWN_TPU_SLICES)}.'
    ) from error
