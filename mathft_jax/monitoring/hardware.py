"""Published peak rates and memory of accelerators, for plans and FLOPs utilization.

Sources: for TPUs the vendor's system architecture page of each version; for GPUs the data sheets,
dense bfloat16, SXM.
"""

import dataclasses
import math
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One jax device of an accelerator: a whole chip, or half a chip for TPU7x.

  Attributes:
    name: name in topologies, such as 'v5p'.
    kind: start of `jax.Device.device_kind`; no further digit follows it.
    flops: dense bfloat16 FLOP/s.
    hbm_bytes: memory that programs may use; for TPUs what the compiler allows.
    hbm_bandwidth: bytes/s.
    link_bandwidth: TPUs: bytes/s to other chips of the slice, over all links.
    slow_bandwidth: TPUs: bytes/s to other slices.
    dimensions: dimensions of the torus that connects a slice; 0 unless it is a TPU.
    devices_per_chip: jax devices that share the links of one chip.
    config: libtpu's name of the mode with one device per chip, if it is not the default.
  """

  name: str
  kind: str
  flops: float
  hbm_bytes: float
  hbm_bandwidth: float
  link_bandwidth: float = math.nan
  slow_bandwidth: float = math.nan
  dimensions: int = 0
  devices_per_chip: int = 1
  config: str | None = None

  @property
  def is_tpu(self) -> bool:
    return self.dimensions > 0


# Links: half of the published bidirectional rate. Rates between slices are published per chip, or
# per pod (v5e: divided by its chips); v4 has no published rate and gets that of v5e.
TPUS = (
  Chip(
    'v4',
    'TPU v4',
    275e12,
    30.75 * GIB,
    1228e9,
    300e9,
    25e9 / 8,
    3,
    config='megacore',
  ),
  Chip('v5e', 'TPU v5 lite', 197e12, 15.75 * GIB, 819e9, 200e9, 25e9 / 8, 2),
  Chip('v5p', 'TPU v5', 459e12, 95.74 * GIB, 2765e9, 600e9, 50e9 / 8, 3),
  Chip('v6e', 'TPU v6 lite', 918e12, 31.25 * GIB, 1638e9, 400e9, 100e9 / 8, 2),
  Chip(
    'tpu7x',
    'TPU7x',
    1153.5e12,
    94.75 * GIB,
    3690e9,
    300e9,
    50e9 / 8,
    3,
    devices_per_chip=2,
  ),
)
# libtpu cannot compile for v3, so it has no plans; training runs report their utilization.
TPU_V3 = Chip('v3', 'TPU v3', 61.5e12, 16 * GIB, 450e9, devices_per_chip=2)
GPUS = (
  Chip('b200', 'B200', 2250e12, 180e9, 8000e9),
  Chip('h200', 'H200', 989e12, 141e9, 4800e9),
  Chip('h100', 'H100', 989e12, 80e9, 3350e9),
  Chip('a100', 'A100', 312e12, 80e9, 2039e9),
  Chip('l4', 'L4', 121e12, 24e9, 300e9),
)
CHIPS = {chip.name: chip for chip in (*TPUS, *GPUS)}
DEVICE_KIND_ALIASES = {'TPU v5e': 'TPU v5 lite', 'TPU v6e': 'TPU v6 lite'}


def chip_for_device_kind(kind: str) -> Chip | None:
  """Returns the chip of a `jax.Device.device_kind`, or None if it is unknown."""
  for alias, known in DEVICE_KIND_ALIASES.items():
    if kind.startswith(alias):
      kind = known + kind.removeprefix(alias)
      break
  matching = [
    chip
    for chip in (*CHIPS.values(), TPU_V3)
    if re.search(rf'{chip.kind}(?!\d)', kind)
  ]
  return max(matching, key=lambda chip: len(chip.kind), default=None)
