"""Replica groups: which processes decode which part of a batch in multi-process sampling.

  group = replica_group_of_this_process(partitioner, batch_size)
  for part in iter_group_batches(group, items, batch_size, is_done):
    results = work_on(part.padded_items)

A group is the smallest set of processes whose devices store whole copies of the model: one
process, unless the mesh's `model` axis needs the devices of several. Each group has its own mesh
and takes its part of every batch. Groups do not communicate while they work.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
import dataclasses
import math
from typing import Generic, TypeVar

import jax
from jax.sharding import Mesh

from mathft_jax.distributed import partitioning

T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class ReplicaGroup:
  """The processes that one process works with.

  Attributes:
    index, count: the index of the group, and the number of groups.
    mesh: (`data`, `model`) over the devices of the group.
    is_writer: whether this process writes the results of the group.
    items_per_batch: how many items of each batch the group takes, from index * items_per_batch on.
  """

  index: int
  count: int
  mesh: Mesh
  is_writer: bool
  items_per_batch: int

  def log_name(self, program: str) -> str:
    """The name of the group's work in logs."""
    if self.count == 1:
      return program
    return f'{program}, group {self.index + 1} of {self.count}'


@dataclasses.dataclass(frozen=True)
class GroupBatch(Generic[T]):
  """The part of a group in one batch.

  Attributes:
    all_items: all items of the batch; they determine its shape.
    padded_items: one item for each position of the group. Items that are done, and positions after
      the last item, are filled with an item to do.
    new_items: (position, item) of each item to do.
  """

  all_items: Sequence[T]
  padded_items: Sequence[T]
  new_items: Sequence[tuple[int, T]]


def replica_group_of_this_process(
  partitioner: partitioning.Partitioner, batch_size: int
) -> ReplicaGroup:
  """The group of this process. Raises ValueError if sizes do not divide."""
  return replica_group_of_process(
    partitioner, batch_size, jax.devices(), jax.process_index()
  )


def replica_group_of_process(
  partitioner: partitioning.Partitioner,
  batch_size: int,
  devices: Sequence[partitioning.Device],
  process: int,
) -> ReplicaGroup:
  """The group of one process.

  Args:
    batch_size: items of a batch over all groups.
    devices: of all processes; they may be compile-only devices.
    process: the index of the process.
  """
  num_processes = len({device.process_index for device in devices})
  if num_processes == 1:
    mesh = partitioner.mesh(devices)
    partitioning.check_batch_divisible(batch_size, mesh, knob='batch_size')
    return ReplicaGroup(0, 1, mesh, True, batch_size)

  full_mesh = partitioner.abstract_mesh(len(devices))
  partitioning.check_batch_divisible(batch_size, full_mesh, knob='batch_size')
  model_size = full_mesh.shape['model']
  group_size = _processes_per_group(partitioner, model_size, devices)
  index = process // group_size
  members = range(index * group_size, (index + 1) * group_size)
  if group_size == num_processes:
    mesh = partitioner.mesh(devices)
  else:
    group_partitioner = dataclasses.replace(
      partitioner,
      num_partitions=model_size,
      ici_mesh_shape=None,
      dcn_mesh_shape=None,
    )
    mesh = group_partitioner.mesh(
      [device for device in devices if device.process_index in members]
    )

  num_groups = num_processes // group_size
  return ReplicaGroup(
    index,
    num_groups,
    mesh,
    is_writer=process == members[0],
    items_per_batch=batch_size // num_groups,
  )


def iter_group_batches(
  group: ReplicaGroup,
  items: Sequence[T],
  batch_size: int,
  is_done: Callable[[T], bool],
) -> Iterator[GroupBatch[T]]:
  """Yields the group's part of each batch that has items to do.

  Batches are cut from all items, including those that are done. Therefore an item has the same
  position in a batch of the same shape after any restart and for any number of processes.
  """
  first = group.index * group.items_per_batch
  for start in range(0, len(items), batch_size):
    batch = items[start : start + batch_size]
    own_items = batch[first : first + group.items_per_batch]
    new_items = [
      (position, item)
      for position, item in enumerate(own_items)
      if not is_done(item)
    ]
    if new_items:
      padded_items = [new_items[0][1]] * group.items_per_batch
      for position, item in new_items:
        padded_items[position] = item
      yield GroupBatch(batch, padded_items, new_items)


def items_of_group(
  group: ReplicaGroup, items: Sequence[T], batch_size: int
) -> list[T]:
  """All items of the group, done or not."""
  found = []
  for part in iter_group_batches(group, items, batch_size, lambda item: False):
    found.extend(item for _, item in part.new_items)
  return found


def _processes_per_group(
  partitioner: partitioning.Partitioner,
  model_size: int,
  devices: Sequence[partitioning.Device],
) -> int:
  """How many processes store whole copies of the model together."""
  counts = collections.Counter(device.process_index for device in devices)
  local_devices = counts[0]
  if set(counts.values()) != {local_devices}:
    raise ValueError(
      f'The processes have {dict(counts)} devices (process: devices). All must have the same '
      'number, so that each takes an equal part of a batch.'
    )
  _, dcn_model = partitioner.dcn_mesh_shape or (1, 1)
  if dcn_model > 1:  # the model is sharded over slices
    return len(counts)
  return math.lcm(model_size, local_devices) // local_devices
