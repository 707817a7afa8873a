"""Who decodes which rows of a batch, where a run has several processes.

A group is the smallest set of processes whose devices hold whole copies of the model: one process,
unless the mesh's `model` axis needs the devices of more. Each group has a mesh of its own and takes
its rows of every batch; nothing goes from one group to another while they work.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
import dataclasses
import math
from typing import Any

import jax
from jax.sharding import Mesh

from mathft_jax.distributed import partitioning


@dataclasses.dataclass(frozen=True)
class ReplicaGroup:
  """The processes that this one works with.

  Attributes:
    index, count: which group this is, and how many there are.
    mesh: (`data`, `model`) over the devices of its processes.
    is_writer: whether this process writes what its group has made.
    items_per_batch: rows that it takes of each batch, those from index * share on.
  """

  index: int
  count: int
  mesh: Mesh
  is_writer: bool
  items_per_batch: int

  def log_name(self, what: str) -> str:
    """The name of its work in a log."""
    return (
      what
      if self.count == 1
      else f'{what}, group {self.index + 1} of {self.count}'
    )


@dataclasses.dataclass(frozen=True)
class GroupBatch:
  """What a group does of one batch.

  Attributes:
    batch: all items of the batch, which decide its shape.
    rows: an item for each of the group's rows. In place of those that are done, or beyond the last
      item, stands one that is to be done.
    new: (row, item) for each item that is to be done.
  """

  batch: Sequence[Any]
  rows: Sequence[Any]
  new: Sequence[tuple[int, Any]]


def replica_group_of_this_process(
  partitioner: partitioning.Partitioner, batch_size: int
) -> ReplicaGroup:
  """The group of this process; ValueError with the numbers where sizes do not divide."""
  return replica_group_of_process(
    partitioner, batch_size, jax.devices(), jax.process_index()
  )


def replica_group_of_process(
  partitioner: partitioning.Partitioner,
  batch_size: int,
  devices: Sequence[jax.Device],
  process: int,
) -> ReplicaGroup:
  """The group of one process of those that have these devices, which may be compile-only."""
  count = len({device.process_index for device in devices})
  if count == 1:
    mesh = partitioner.mesh(devices)
    partitioning.check_batch_divisible(batch_size, mesh, knob='batch_size')
    return ReplicaGroup(0, 1, mesh, is_writer=True, items_per_batch=batch_size)
  whole = partitioner.abstract_mesh(len(devices))
  partitioning.check_batch_divisible(batch_size, whole, knob='batch_size')
  size = _processes_of_a_group(partitioner, whole.shape['model'], devices)
  index, members = (
    process // size,
    range(process // size * size, (process // size + 1) * size),
  )
  mine = [device for device in devices if device.process_index in members]
  mesh = (
    partitioner.mesh(devices)
    if size == count
    else dataclasses.replace(
      partitioner,
      num_partitions=whole.shape['model'],
      ici_mesh_shape=None,
      dcn_mesh_shape=None,
    ).mesh(mine)
  )
  return ReplicaGroup(
    index,
    count // size,
    mesh,
    is_writer=process == members[0],
    items_per_batch=batch_size // (count // size),
  )


def iter_group_batches(
  group: ReplicaGroup,
  order: Sequence[Any],
  batch_size: int,
  is_done: Callable[[Any], bool],
) -> Iterator[GroupBatch]:
  """The group's part of each batch of `order`, where not all of it is done.

  Batches are those of all items, also of what is done already: so an item has the same shape and
  place whatever was done before and by how many processes.
  """
  for start in range(0, len(order), batch_size):
    batch = order[start : start + batch_size]
    mine = batch[
      group.index * group.items_per_batch : (group.index + 1)
      * group.items_per_batch
    ]
    new = [(row, item) for row, item in enumerate(mine) if not is_done(item)]
    if new:
      rows = [new[0][1]] * group.items_per_batch
      for row, item in new:
        rows[row] = item
      yield GroupBatch(batch, rows, new)


def items_of_group(
  group: ReplicaGroup, order: Sequence[Any], batch_size: int
) -> list[Any]:
  """All items that fall to the group, done or not."""
  never = lambda item: False
  return [
    item
    for share in iter_group_batches(group, order, batch_size, never)
    for _, item in share.new
  ]


def _processes_of_a_group(
  partitioner: partitioning.Partitioner,
  model: int,
  devices: Sequence[jax.Device],
) -> int:
  """How many processes hold whole copies of the model together."""
  owned = collections.Counter(device.process_index for device in devices)
  local = owned[0]
  if set(owned.values()) != {local}:
    raise ValueError(
      f'The processes have {dict(owned)} devices (process: devices); wanted equally '
      'many in each, so that each takes an equal share of a batch.'
    )
  if (partitioner.dcn_mesh_shape or (1, 1))[1] > 1:
    return len(owned)  # a model that is spread over slices: all work together
  return math.lcm(model, local) // local
