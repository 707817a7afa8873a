"""What a stage is planned on: devices that may be nobody's, sizes that its config does not say."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

from mathft_jax.aot import topologies
from mathft_jax.distributed import partitioning
from mathft_jax.inference import replica_groups
from mathft_jax.monitoring import hardware


@dataclasses.dataclass(frozen=True)
class PlanTarget:
  """See `plan.plan`."""

  topology: topologies.Topology
  prompt_length: int
  text_length: int
  num_texts: int
  num_problems: int
  num_training_problems: int

  @property
  def chip(self) -> hardware.Chip:
    return self.topology.chip

  @functools.cached_property
  def devices(self) -> Sequence[Any]:
    """To compile for; of TPUs only."""
    return self.topology.compile_only_devices()

  def _alone(self, mesh: Any) -> Sequence[Any]:
    """Devices of a slice that is as large as what a group has of a larger one."""
    devices = list(mesh.devices.flat)
    shape = tuple(
      len(set(along)) for along in zip(*(device.coords for device in devices))
    )
    shape = shape[: self.chip.dimensions]
    small = dataclasses.replace(self.topology, shape=shape, slices=1)
    return (
      small.compile_only_devices()
      if small.num_devices == len(devices)
      else devices
    )

  def model(self, config: Any) -> Any:
    """The model as it is planned: where nothing is compiled, with the plain kernel of attention.

    Others cannot be traced without their device, and do the same arithmetic.
    """
    return (
      config
      if self.chip.is_tpu
      else dataclasses.replace(config, attention_kernel='einsum')
    )

  def lowered(self, traced: Any) -> Any:
    """The jaxpr of a program that is not compiled; raises where its platform cannot run it."""
    traced.lower(
      lowering_platforms=('cpu' if self.chip.name == 'cpu' else 'cuda',)
    )
    return traced.jaxpr

  def mesh(self, partitioner: partitioning.Partitioner) -> Any:
    """The mesh of all devices."""
    if self.chip.is_tpu:
      return partitioner.mesh(self.devices)
    return partitioner.abstract_mesh(self.topology.num_devices)

  def slice_shape(self, mesh: Any) -> list[tuple[str, int]]:
    """(axis, size within a slice) of a mesh; between slices it is the data that is divided."""
    slices = len(
      {getattr(device, 'slice_index', 0) for device in mesh.devices.flat}
    )
    return [
      (name, size // (slices if name == 'data' else 1))
      for name, size in mesh.shape.items()
    ]

  def group(
    self, partitioner: partitioning.Partitioner, batch_size: int
  ) -> tuple[Any, int, int]:
    """(mesh, number of groups, problems of a batch for each) of sampling and scoring."""
    if self.chip.is_tpu:
      group = replica_groups.replica_group_of_process(
        partitioner, batch_size, self.devices, 0
      )
      if group.count == 1:
        return group.mesh, 1, batch_size
      # A group knows of no others; libtpu compiles for all devices of a slice, not for some.
      alone = dataclasses.replace(
        partitioner,
        num_partitions=group.mesh.shape['model'],
        ici_mesh_shape=None,
        dcn_mesh_shape=None,
      )
      return alone.mesh(self._alone(group.mesh)), group.count, group.items_per_batch
    mesh = self.mesh(partitioner)
    partitioning.check_batch_divisible(batch_size, mesh, knob='batch_size')
    return mesh, 1, batch_size
