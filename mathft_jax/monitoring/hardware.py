"""Published figures of accelerators: what a plan reckons with and a training compares its rate to.

TPU: the vendor's system architecture page of each version. GPU: data sheets, dense bfloat16, SXM.
"""

import dataclasses
import math
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One jax device of a kind of accelerator: a whole chip, but for TPU7x, where it is half of one.

  Attributes:
    kind: what stands in `jax.Device.device_kind`, with no further digit after it.
    flops: dense bfloat16 FLOP/s.
    hbm_bytes: memory that programs may use; of TPUs what the compiler allows them.
    hbm_bandwidth: bytes/s.
    link_bandwidth: of TPUs: bytes/s that it can send to the others of its slice, all links together.
    slow_bandwidth: of TPUs: bytes/s that it can send to other slices.
    dimensions: of the torus that links the chips of a slice; 0 for all but TPUs.
    devices_per_chip: jax devices that share one chip's links.
    config: what libtpu calls the one-device-a-chip mode, where it is not the default.
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


# Links: half of the published bidirectional figure. Between slices: published per chip, or per pod
# divided by its chips (v5e); of v4 it is not published, and stands here as v5e's.
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
# No compiler for it is at hand, so nothing is planned for it; its trainings tell their rate.
TPU_V3 = Chip('v3', 'TPU v3', 61.5e12, 16 * GIB, 450e9, devices_per_chip=2)
GPUS = (
  Chip('b200', 'B200', 2250e12, 180e9, 8000e9),
  Chip('h200', 'H200', 989e12, 141e9, 4800e9),
  Chip('h100', 'H100', 989e12, 80e9, 3350e9),
  Chip('a100', 'A100', 312e12, 80e9, 2039e9),
  Chip('l4', 'L4', 121e12, 24e9, 300e9),
)
CHIPS = {chip.name: chip for chip in (*TPUS, *GPUS)}


def chip_for_device_kind(kind: str) -> Chip | None:
  """The chip with this `jax.Device.device_kind`; None for one that is not known."""
  aliases = {'TPU v5e': 'TPU v5 lite', 'TPU v6e': 'TPU v6 lite'}
  kind = next(
    (
      known + kind.removeprefix(alias)
      for alias, known in aliases.items()
      if kind.startswith(alias)
    ),
    kind,
  )
  matching = [
    chip
    for chip in (*CHIPS.values(), TPU_V3)
    if re.search(rf'{chip.kind}(?!\d)', kind)
  ]
  return max(matching, key=lambda chip: len(chip.kind), default=None)
