"""Runs functions that XLA cannot partition on each device, with that device's shards of the arrays.

  kernel_sharding = KernelSharding(mesh, rules)
  kernel_sharding(attend, axes)(q_BTNH, k_BTKH, v_BTKH)
  kernel_sharding.sum_of_parts(experts_output, axes)(x_BTD, gate_EDF, up_EDF, down_EFD)

`axes` has the logical axes of each array.
"""

from collections.abc import Callable, Sequence
import dataclasses

import jax
from jax.sharding import AbstractMesh, PartitionSpec

from mathft_jax.distributed import partitioning

Function = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class KernelSharding:
  """Shards functions over a mesh."""

  mesh: partitioning.AnyMesh
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES

  @property
  def platform(self) -> str:
    """'tpu', 'gpu' or 'cpu': the target of compilation; '' for an abstract mesh."""
    if isinstance(self.mesh, AbstractMesh):
      return ''
    return self.mesh.devices.flat[0].platform

  def __call__(
    self, function: Function, axes: Sequence[partitioning.AxisNames]
  ) -> Function:
    """Returns the sharded function. The result has the sharding of the first array."""

    def run_sharded(*arrays: jax.Array) -> jax.Array:
      specs = self._partition_specs(axes, arrays)
      return self._shard_map(function, specs, specs[0])(*arrays)

    return run_sharded

  def sum_of_parts(
    self, function: Function, axes: Sequence[partitioning.AxisNames]
  ) -> Function:
    """Returns the sharded function, whose results on the devices are parts of a sum.

    The parts are summed over the mesh axes that shard an array, but not the first one. The sum has
    the sharding of the first array.
    """

    def make_part(*arrays: jax.Array) -> jax.Array:
      return function(*arrays)[None]

    def run_sharded(*arrays: jax.Array) -> jax.Array:
      specs = self._partition_specs(axes, arrays)
      summed_axes = []
      for axis in self.mesh.axis_names:
        shards_other_array = any(axis in spec for spec in specs[1:])
        if shards_other_array and axis not in specs[0]:
          summed_axes.append(axis)

      # The parts are an axis of the result: unlike psum, its gradient needs no communication.
      part_spec = PartitionSpec(tuple(summed_axes) or None, *specs[0])
      parts = self._shard_map(make_part, specs, part_spec)(*arrays)
      zero = parts.dtype.type(0)
      return jax.lax.reduce(parts, zero, jax.lax.add, (0,))

    return run_sharded

  def _partition_specs(
    self,
    axes: Sequence[partitioning.AxisNames],
    arrays: Sequence[jax.Array],
  ) -> list[PartitionSpec]:
    specs = []
    for names, array in zip(axes, arrays, strict=True):
      spec = partitioning.logical_to_partition_spec(
        names, array.shape, mesh=self.mesh, rules=self.rules
      )
      specs.append(spec)
    return specs

  def _shard_map(
    self,
    function: Function,
    in_specs: Sequence[PartitionSpec],
    out_spec: PartitionSpec,
  ) -> Function:
    return jax.shard_map(
      function,
      mesh=self.mesh,
      in_specs=tuple(in_specs),
      out_specs=out_spec,
      check_vma=False,  # kernels do not declare over which axes they vary
    )
