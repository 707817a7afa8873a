"""How long a program takes at least, from what it does and what a chip can do.

Each resource alone gives a time: arithmetic, memory traffic, links within a slice, the network between
slices. A program takes at least the longest of them (all perfectly overlapped), and about their sum
where nothing overlaps. Latencies, and arithmetic that is no matrix product, are left out.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from mathft_jax import chips
from mathft_jax.planning import hlo


@dataclasses.dataclass(frozen=True)
class Times:
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

  def scaled(self, factor: float) -> 'Times':
    return Times(*(factor * seconds for seconds in dataclasses.astuple(self)))

  def plus(self, other: 'Times') -> 'Times':
    return Times(*map(sum, zip(dataclasses.astuple(self), dataclasses.astuple(other))))

  def minus(self, other: 'Times') -> 'Times':
    return self.plus(other.scaled(-1))


def times(costs: hlo.Costs, chip: chips.Chip, devices: Sequence[Any]) -> Times:
  """The times of one execution; `devices` in the order of the mesh, for what groups lie on."""
  links = slow = 0.0
  for each in costs.collectives:
    at_links, at_slow = _seconds(each, chip, devices)
    links, slow = links + at_links, slow + at_slow
  return Times(costs.flops / chip.flops, costs.hbm_bytes / chip.hbm_bandwidth, links, slow)


def _seconds(collective: hlo.Collective, chip: chips.Chip,
             devices: Sequence[Any]) -> tuple[float, float]:
  """(on the links, between slices) of a collective; the slowest of its groups counts.

  A group whose chips differ along k of the torus' dimensions uses the links of these k. One that
  spans slices sends everything on the links and, from each slice, its chips' shares between slices.
  """
  slowest = (0.0, 0.0)
  for group in collective.groups:
    members = [devices[place] for place in group]
    spread = sum(len(set(along)) > 1 for along in zip(*(member.coords for member in members)))
    links = collective.bytes / (chip.link_bandwidth * max(spread, 1) / chip.dimensions)
    slices = len({getattr(member, 'slice_index', 0) for member in members})
    slow = 0.0 if slices == 1 else collective.bytes / (
        len(members) / slices) / chip.slow_bandwidth
    slowest = max(slowest, (links, slow), key=sum)
  return slowest


def axes(groups: Sequence[Sequence[int]], mesh_shape: Sequence[tuple[str, int]]) -> str:
  """The mesh axes that groups of devices run along, 'data' or 'data, model'.

  Args:
    groups: places in the mesh, flattened.
    mesh_shape: (name, size) of each axis.
  """
  along = set()
  for group in groups:
    coordinates = [_coordinates(place, mesh_shape) for place in group]
    along |= {name for (name, _), values in zip(mesh_shape, zip(*coordinates))
              if len(set(values)) > 1}
  return ', '.join(name for name, _ in mesh_shape if name in along) or 'none'


def _coordinates(place: int, mesh_shape: Sequence[tuple[str, int]]) -> list[int]:
  found = []
  for _, size in reversed(mesh_shape):
    place, along = divmod(place, size)
    found.append(along)
  return found[::-1]
