"""Sharding constraints for arrays inside a compiled program."""

from collections.abc import Sequence
import dataclasses

import jax
from jax.sharding import NamedSharding

from mathft_jax.distributed import partitioning


@dataclasses.dataclass(frozen=True)
class ActivationSharding:
  """Constrains arrays of a program by their logical axes: `sharding(x, ('batch', None))`."""

  mesh: partitioning.AnyMesh
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES

  @property
  def num_batch_shards(self) -> int:
    """Devices over which a batch is sharded."""
    return self.mesh.shape['data']

  @property
  def num_devices(self) -> int:
    return self.mesh.size

  def __call__(self, x: jax.Array, axes: Sequence[str | None]) -> jax.Array:
    """Returns the array, constrained to the mesh axes of these logical axes."""
    spec = partitioning.logical_to_partition_spec(
      axes, x.shape, mesh=self.mesh, rules=self.rules
    )
    return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))
