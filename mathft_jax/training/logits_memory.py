"""Chooses how many logits of a train step are in memory at a time."""

from mathft_jax.distributed import partitioning
from mathft_jax.monitoring import hardware

# Of devices whose memory is not known, such as CPUs: 512 MiB in float32.
DEFAULT_MAX_LOGITS = 2**27
MIN_LOGITS = 2**26
# Share of the memory beside parameters, optimizer state and gradients that logits may use.
LOGITS_SHARE = 1 / 8
# Logits in float32, their gradient, and a copy of it in float32 while it is computed.
BYTES_PER_LOGIT = 12


def max_logits_per_chunk(mesh: partitioning.AnyMesh, state_bytes: int) -> int:
  """Returns the logits of a chunk on each device.

  If all logits of a step fit, they are stored for the backward pass. Otherwise they are computed
  twice, chunk by chunk.

  Args:
    mesh: devices; an abstract mesh has no known memory.
    state_bytes: parameters, optimizer state and gradients on each device.
  """
  if isinstance(mesh, partitioning.AbstractMesh):
    return DEFAULT_MAX_LOGITS
  chip = hardware.chip_for_device_kind(mesh.devices.flat[0].device_kind)
  if chip is None:
    return DEFAULT_MAX_LOGITS
  free_bytes = max(0.0, chip.hbm_bytes - state_bytes)
  return max(MIN_LOGITS, int(free_bytes * LOGITS_SHARE / BYTES_PER_LOGIT))
