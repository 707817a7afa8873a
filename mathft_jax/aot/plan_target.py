"""Planning target: the devices, and sizes of the workload that gin files do not contain."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import NamedTuple, cast

import jax
from jax.sharding import Mesh

from mathft_jax.aot import compile_only_devices
from mathft_jax.distributed import partitioning
from mathft_jax.inference import replica_groups
from mathft_jax.models import transformer
from mathft_jax.monitoring import hardware


class GroupMesh(NamedTuple):
  """Mesh of one replica group, the number of groups and the batch size of each."""

  mesh: Mesh
  num_groups: int
  batch_size: int


@dataclasses.dataclass(frozen=True)
class PlanTarget:
  """Devices and workload sizes; see `plan.plan`."""

  topology: compile_only_devices.Topology
  prompt_length: int
  text_length: int
  num_texts: int
  num_problems: int
  num_training_problems: int

  @property
  def chip(self) -> hardware.Chip:
    return self.topology.chip

  @functools.cached_property
  def devices(self) -> Sequence[compile_only_devices.Device]:
    """Compile-only devices; TPU only."""
    return self.topology.compile_only_devices()

  def traceable_model(
    self, model: transformer.TransformerConfig
  ) -> transformer.TransformerConfig:
    """Returns the model, on GPU and CPU with the einsum attention kernel.

    Other kernels cannot be traced without their device; they compute the same products.
    """
    if self.chip.is_tpu:
      return model
    return dataclasses.replace(model, attention_kernel='einsum')

  def check_lowers(self, traced: jax.stages.Traced) -> None:
    """Raises what jax raises if a program cannot be lowered for GPU or CPU."""
    platform = 'cpu' if self.chip.name == 'cpu' else 'cuda'
    traced.lower(lowering_platforms=(platform,))

  def make_mesh(self, partitioner: partitioning.Partitioner) -> Mesh:
    """Returns the mesh over all devices; on GPU and CPU it is an `AbstractMesh`."""
    if self.chip.is_tpu:
      return partitioner.mesh(self.devices)
    mesh = partitioner.abstract_mesh(self.topology.num_devices)
    return cast(Mesh, mesh)

  def mesh_shape_within_slice(self, mesh: Mesh) -> list[tuple[str, int]]:
    """Returns name and size within a slice of each axis; `data` is divided between slices."""
    slices = {getattr(device, 'slice_index', 0) for device in mesh.devices.flat}
    sizes = dict(mesh.shape)
    sizes['data'] //= len(slices)
    return list(sizes.items())

  def replica_group_mesh(
    self, partitioner: partitioning.Partitioner, batch_size: int
  ) -> GroupMesh:
    """Returns how sampling and scoring divide the devices and a batch of problems."""
    if not self.chip.is_tpu:
      mesh = self.make_mesh(partitioner)
      partitioning.check_batch_divisible(batch_size, mesh, knob='batch_size')
      return GroupMesh(mesh, 1, batch_size)

    group = replica_groups.replica_group_of_process(
      partitioner, batch_size, self.devices, 0
    )
    if group.count == 1:
      return GroupMesh(group.mesh, 1, batch_size)
    within_group = dataclasses.replace(
      partitioner,
      num_partitions=group.mesh.shape['model'],
      ici_mesh_shape=None,
      dcn_mesh_shape=None,
    )
    mesh = within_group.mesh(self._devices_of_smaller_slice(group.mesh))
    return GroupMesh(mesh, group.count, group.items_per_batch)

  def _devices_of_smaller_slice(
    self, mesh: Mesh
  ) -> Sequence[compile_only_devices.Device]:
    """Returns the devices of a slice that is as large as a group of a larger slice.

    libtpu compiles for all devices of a slice, not for some of them.
    """
    devices = list(mesh.devices.flat)
    columns = list(zip(*(device.coords for device in devices)))
    shape = tuple(len(set(column)) for column in columns)
    smaller = dataclasses.replace(
      self.topology, shape=shape[: self.chip.dimensions], slices=1
    )
    if smaller.num_devices != len(devices):
      return devices
    return smaller.compile_only_devices()
