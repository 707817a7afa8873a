"""How long a program takes at least, from what it does and what a chip can do.

Each resource alone gives a time: arithmetic, memory traffic, links within a slice, the network
between slices. A program takes at least the longest of them (all perfectly overlapped), and about
their sum where nothing overlaps. Latencies, and arithmetic that is no matrix product, are left out.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from mathft_jax.aot.hlo import program_costs
from mathft_jax.monitoring import hardware


@dataclasses.dataclass(frozen=True)
class ResourceTimes:
  """Seconds that each resource is busy."""

  compute: float
  memory: float
  links: float = 0.0
  slow: float = 0.0

  @property
  def least(self) -> float:
    """Everything overlapped."""
    return max(dataclasses.astuple(self))

  @property
  def most(self) -> float:
    """Nothing overlapped."""
    return sum(dataclasses.astuple(self))

  def scaled(self, factor: float) -> 'ResourceTimes':
    return ResourceTimes(
      *(factor * seconds for seconds in dataclasses.astuple(self))
    )

  def plus(self, other: 'ResourceTimes') -> 'ResourceTimes':
    return ResourceTimes(
      *map(sum, zip(dataclasses.astuple(self), dataclasses.astuple(other)))
    )

  def minus(self, other: 'ResourceTimes') -> 'ResourceTimes':
    return self.plus(other.scaled(-1))


def resource_times(
  costs: program_costs.ProgramCosts, chip: hardware.Chip, devices: Sequence[Any]
) -> ResourceTimes:
  """The times of one execution; `devices` in the order of the mesh, for what groups lie on."""
  slice_of = lambda device: getattr(device, 'slice_index', 0)
  in_slice = [
    device for device in devices if slice_of(device) == slice_of(devices[0])
  ]
  links = sum(
    _on_links(each, chip, in_slice)
    for each in costs.collectives
    if not each.between_slices
  )
  slow = sum(each.bytes for each in costs.collectives if each.between_slices)
  return ResourceTimes(
    costs.flops / chip.flops,
    costs.hbm_bytes / chip.hbm_bandwidth,
    links,
    slow / chip.slow_bandwidth,
  )


def _on_links(
  collective: program_costs.CollectiveCosts,
  chip: hardware.Chip,
  devices: Sequence[Any],
) -> float:
  """Seconds of a collective within a slice; the slowest of its groups counts.

  A group whose chips differ along k of the torus' dimensions uses the links of these k.
  """
  spread = min(
    (
      sum(
        len(set(along)) > 1
        for along in zip(*(devices[place].coords for place in group))
      )
      for group in collective.groups
    ),
    default=1,
  )
  return collective.bytes / (
    chip.link_bandwidth * max(spread, 1) / chip.dimensions
  )


def mesh_axes_of_collective(
  collective: program_costs.CollectiveCosts,
  mesh_shape: Sequence[tuple[str, int]],
) -> str:
  """The mesh axes that a collective's groups run along, 'data' or 'data, model'; or 'slices'.

  `mesh_shape`: (name, size within a slice) of each axis.
  """
  if collective.between_slices:
    return 'slices'
  along = set()
  for group in collective.groups:
    coordinates = [_coordinates(place, mesh_shape) for place in group]
    along |= {
      name
      for (name, _), values in zip(mesh_shape, zip(*coordinates))
      if len(set(values)) > 1
    }
  return ', '.join(name for name, _ in mesh_shape if name in along) or 'none'


def _coordinates(
  place: int, mesh_shape: Sequence[tuple[str, int]]
) -> list[int]:
  found = []
  for _, size in reversed(mesh_shape):
    place, along = divmod(place, size)
    found.append(along)
  return found[::-1]
