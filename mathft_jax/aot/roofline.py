"""Roofline bounds: how long a program takes, from its costs and the peak rates of a chip.

  times = resource_times(costs, chip, list(mesh.devices.flat))
  times.lower_bound, times.upper_bound               # seconds of one execution

Each resource alone gives a time: arithmetic, HBM, the inter-chip interconnect (ICI) within a slice
and the data-center network (DCN) between slices. The longest of them is a lower bound (full
overlap), their sum an upper bound (no overlap). Latencies and arithmetic other than matrix products
are not included.
"""

from collections.abc import Sequence
import dataclasses

from mathft_jax.aot.compile_only_devices import Device
from mathft_jax.aot.hlo.program_costs import CollectiveCosts, ProgramCosts
from mathft_jax.monitoring import hardware

MeshShape = Sequence[tuple[str, int]]  # name and size of each axis


@dataclasses.dataclass(frozen=True)
class ResourceTimes:
  """Seconds that each resource is busy."""

  compute: float = 0.0
  memory: float = 0.0
  ici: float = 0.0
  dcn: float = 0.0

  @property
  def lower_bound(self) -> float:
    """Seconds with full overlap."""
    return max(dataclasses.astuple(self))

  @property
  def upper_bound(self) -> float:
    """Seconds with no overlap."""
    return sum(dataclasses.astuple(self))

  def __mul__(self, factor: float) -> 'ResourceTimes':
    return ResourceTimes(*(factor * time for time in dataclasses.astuple(self)))

  def __add__(self, other: 'ResourceTimes') -> 'ResourceTimes':
    pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other))
    return ResourceTimes(*map(sum, pairs))

  def __sub__(self, other: 'ResourceTimes') -> 'ResourceTimes':
    return self + other * -1


def resource_times(
  costs: ProgramCosts, chip: hardware.Chip, devices: Sequence[Device]
) -> ResourceTimes:
  """Returns the times of one execution.

  Args:
    costs: costs of one device.
    chip: peak rates.
    devices: devices in the order of the flattened mesh.
  """
  first_slice = _slice_index(devices[0])
  devices = [each for each in devices if _slice_index(each) == first_slice]
  ici_seconds = dcn_bytes = 0.0
  for collective in costs.collectives:
    if collective.between_slices:
      dcn_bytes += collective.bytes_sent
    else:
      ici_seconds += _ici_seconds(collective, chip, devices)
  return ResourceTimes(
    costs.flops / chip.flops,
    costs.hbm_bytes / chip.hbm_bandwidth,
    ici_seconds,
    dcn_bytes / chip.slow_bandwidth,
  )


def _slice_index(device: Device) -> int:
  return getattr(device, 'slice_index', 0)


def _ici_seconds(
  collective: CollectiveCosts, chip: hardware.Chip, devices: Sequence[Device]
) -> float:
  """Returns the seconds of a collective within a slice, those of its slowest group.

  A group whose chips differ along k dimensions of the torus uses the links of these k.
  """
  torus_axes = chip.dimensions
  for group in collective.groups:
    coordinates = [devices[i].coords for i in group]
    torus_axes = min(torus_axes, len(_varying_axes(coordinates)))
  if not collective.groups:
    torus_axes = 1
  bandwidth = chip.link_bandwidth * max(torus_axes, 1) / chip.dimensions
  return collective.bytes_sent / bandwidth


def mesh_axes_of_collective(
  collective: CollectiveCosts, mesh_shape: MeshShape
) -> str:
  """Returns the mesh axes along which groups exchange: 'data', 'data, model', 'slices' or 'none'.

  Args:
    collective: the collective.
    mesh_shape: name and size within a slice of each axis.
  """
  if collective.between_slices:
    return 'slices'
  axes: set[int] = set()
  for group in collective.groups:
    axes |= _varying_axes([_coordinates(i, mesh_shape) for i in group])
  names = [mesh_shape[axis][0] for axis in sorted(axes)]
  return ', '.join(names) or 'none'


def _varying_axes(coordinates: Sequence[Sequence[int]]) -> set[int]:
  """Returns the axes along which coordinates differ."""
  columns = enumerate(zip(*coordinates))
  return {axis for axis, column in columns if len(set(column)) > 1}


def _coordinates(index: int, mesh_shape: MeshShape) -> list[int]:
  """Returns the coordinates of a device, by its index in the flattened mesh."""
  coordinates = []
  for _, size in reversed(mesh_shape):
    index, coordinate = divmod(index, size)
    coordinates.append(coordinate)
  return coordinates[::-1]
