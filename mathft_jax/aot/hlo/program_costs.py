"""Costs of one execution of a compiled XLA program on one device: FLOPs, HBM bytes, collectives.

  costs = count_program_costs(compiled.as_text())    # CPU, GPU or TPU; needs no device
  costs.flops, costs.hbm_bytes                       # per device and execution
  for each in costs.collectives:                     # one entry per kind and replica groups
    each.kind, each.group_size, each.groups, each.count, each.bytes_sent
  costs.data_dependent_loops, costs.uncounted        # what the counts do not cover

XLA's cost analysis counts the body of a loop once. Here the body counts as often as it runs, so a
scanned model costs as much as an unrolled one. A loop whose trip count depends on data runs
`unknown_trip_count` times.

Counted:
  - `flops`: matrix products and convolutions, 2 x output elements x contracted size, also within
    fusions. Products with padding do not count (a TPU writes batched matrix products as
    convolutions that are mostly padding). Custom kernels count if they state their FLOPs.
  - `hbm_bytes`: see `memory_traffic`.
  - `collectives`: see `collectives`. A start and its done count once. A fusion of all-reduce and
    slice is a reduce-scatter.
  - A conditional costs as much as its most expensive branch (most FLOPs, then most bytes).

Not counted:
  - FLOPs of elementwise operations, reductions, sorts, solvers, and of products that the compiler
    writes as those (a TPU does so if one side is a vector, such as attention to decoded tokens).
  - FLOPs of custom calls without a cost estimate. `uncounted` contains their executions by target
    and name. `hbm_bytes` contains their operands and results. `traced_flops` counts the products
    of Pallas kernels.
  - Transfers to and from the host.
"""

from collections import Counter, defaultdict
import dataclasses
import functools
import re
from typing import NamedTuple

from mathft_jax.aot.hlo import (
  collectives,
  loop_trip_counts,
  matmul_flops,
  memory_traffic,
  text_parser,
)
from mathft_jax.aot.hlo.text_parser import HloComputation, HloInstruction

# Names of kernels that XLA adds on TPU for indices.
KERNELS_WITHOUT_FLOPS = ('ragged-dot-metadata',)


@dataclasses.dataclass(frozen=True)
class CollectiveCosts:
  """All executions of one kind of collective among the same groups.

  Attributes:
    kind: 'all-gather', 'all-reduce', ...
    group_size: devices, or slices, in the largest group.
    groups: devices, by index in the flattened mesh, that exchange data; slice numbers if
      `between_slices`.
    count: executions.
    bytes_sent: bytes that one chip sends on a ring, over all executions.
    between_slices: whether the collective uses the data-center network.
  """

  kind: str
  group_size: int
  groups: collectives.ReplicaGroups
  count: int
  bytes_sent: float
  between_slices: bool = False


@dataclasses.dataclass(frozen=True)
class DataDependentLoop:
  """A loop whose trip count depends on data.

  Attributes:
    name: of the HLO instruction.
    source: operation name from jax, such as 'jit(f)/while'.
    assumed_trip_count: executions of the body in the counts.
  """

  name: str
  source: str
  assumed_trip_count: int


@dataclasses.dataclass(frozen=True)
class ProgramCosts:
  """Costs per device of one execution of the entry computation.

  Attributes:
    flops: of matrix products, convolutions and custom kernels with a cost estimate.
    kernel_flops: the part of custom kernels.
    hbm_bytes: bytes read from and written to HBM.
    collectives: by kind and groups; those that send most come first.
    uncounted: executions of custom calls without a cost estimate, by 'target name'.
    data_dependent_loops: loops that ran `unknown_trip_count` times in these counts.
  """

  flops: int
  kernel_flops: int
  hbm_bytes: float
  collectives: tuple[CollectiveCosts, ...]
  uncounted: dict[str, int]
  data_dependent_loops: tuple[DataDependentLoop, ...]


def count_program_costs(
  text: str, *, unknown_trip_count: int = 1
) -> ProgramCosts:
  """Returns the costs of a compiled program.

  Args:
    text: `compiled.as_text()`.
    unknown_trip_count: executions of the body of a loop whose trip count depends on data.

  Raises:
    ValueError: the text is not optimized HLO.
  """
  module = text_parser.parse_hlo_module(text)
  counter = _CostCounter(unknown_trip_count)
  total = counter.computation_costs(module.entry)

  found = []
  for key, count in total.collectives.items():
    bytes_sent = total.bytes_sent[key]
    found.append(
      CollectiveCosts(
        key.kind,
        key.group_size,
        key.groups,
        count,
        bytes_sent,
        key.between_slices,
      )
    )
  return ProgramCosts(
    total.flops,
    total.kernel_flops,
    total.hbm_bytes,
    tuple(sorted(found, key=lambda each: -each.bytes_sent)),
    dict(total.uncounted),
    tuple(sorted(total.loops, key=lambda loop: loop.name)),
  )


class _CollectiveKey(NamedTuple):
  kind: str
  groups: collectives.ReplicaGroups
  between_slices: bool

  @property
  def group_size(self) -> int:
    return max(map(len, self.groups), default=1)


@dataclasses.dataclass
class _Total:
  """A mutable sum of costs; `collectives` (executions) and `bytes_sent` share their keys."""

  flops: int = 0
  kernel_flops: int = 0
  hbm_bytes: float = 0
  collectives: Counter[_CollectiveKey] = dataclasses.field(
    default_factory=Counter
  )
  bytes_sent: defaultdict[_CollectiveKey, float] = dataclasses.field(
    default_factory=lambda: defaultdict(float)
  )
  uncounted: Counter[str] = dataclasses.field(default_factory=Counter)
  loops: set[DataDependentLoop] = dataclasses.field(default_factory=set)

  def add(self, other: '_Total', times: int = 1) -> None:
    """Adds the costs of `times` executions."""
    if not times:
      return
    self.flops += times * other.flops
    self.kernel_flops += times * other.kernel_flops
    self.hbm_bytes += times * other.hbm_bytes
    for name in ('collectives', 'bytes_sent', 'uncounted'):
      counter = getattr(self, name)
      for key, value in getattr(other, name).items():
        counter[key] += times * value
    self.loops |= other.loops


class _CostCounter:
  """Counts the costs of computations; each computation is counted once and cached."""

  def __init__(self, unknown_trip_count: int):
    self.unknown_trip_count = unknown_trip_count
    self.computation_costs = functools.cache(self._computation_costs)

  def _computation_costs(self, computation: HloComputation) -> _Total:
    """Returns the costs of one execution of a computation."""
    total = _Total()
    for instruction in computation.instructions.values():
      self._add_instruction(total, instruction)
    return total

  def _add_instruction(
    self, total: _Total, instruction: HloInstruction
  ) -> None:
    opcode = instruction.base_opcode
    if opcode == 'while':
      self._add_loop(total, instruction)
    elif opcode == 'conditional':
      branches = map(self.computation_costs, _branches(instruction))
      total.add(max(branches, key=lambda costs: (costs.flops, costs.hbm_bytes)))
    elif opcode in ('call', 'async'):
      called = instruction.called_computation('to_apply', 'calls')
      total.add(self.computation_costs(called))
    else:
      total.hbm_bytes += memory_traffic.hbm_bytes_accessed(instruction)
      _add_arithmetic(total, instruction)

  def _add_loop(self, total: _Total, loop: HloInstruction) -> None:
    trip_count = loop_trip_counts.loop_trip_count(loop)
    if trip_count is None:
      trip_count = self.unknown_trip_count
      source = loop.string_attribute('op_name')
      total.loops.add(DataDependentLoop(loop.name, source, trip_count))
    for part in ('body', 'condition'):
      costs = self.computation_costs(loop.called_computation(part))
      total.add(costs, trip_count)


def _add_arithmetic(total: _Total, instruction: HloInstruction) -> None:
  """Adds all but the HBM bytes of an instruction and of those that it fuses."""
  opcode = instruction.base_opcode
  if opcode == 'fusion':
    fused = instruction.called_computation('calls')
    for inner in fused.instructions.values():
      if not memory_traffic.continues_async_collective(inner):
        _add_arithmetic(total, inner)
  elif opcode in matmul_flops.MATMUL_OPCODES:
    total.flops += matmul_flops.instruction_flops(instruction)
  elif opcode == 'custom-call':
    _add_custom_call(total, instruction)
  elif opcode in collectives.COLLECTIVE_OPCODES:
    _add_collective(total, instruction)
  elif kind := collectives.cross_slice_collective(instruction):
    _add_cross_slice_collective(total, instruction, kind)


def _add_custom_call(total: _Total, instruction: HloInstruction) -> None:
  target = instruction.string_attribute('custom_call_target')
  if target in memory_traffic.CUSTOM_CALLS_WITHOUT_FLOPS:
    return

  flops = matmul_flops.gpu_library_call_flops(instruction)
  stated = memory_traffic.custom_call_cost_estimate(instruction)
  if flops is not None:
    total.flops += flops
  elif stated is not None:
    total.flops += stated['flops']
    total.kernel_flops += stated['flops']
  else:
    name = re.sub(r'[.0-9]+$', '', instruction.name)
    if name in KERNELS_WITHOUT_FLOPS:
      return
    total.uncounted[f'{target} {name}'] += 1


def _add_collective(total: _Total, instruction: HloInstruction) -> None:
  computation, kind = instruction.computation, instruction.base_opcode
  if kind == 'all-reduce' and computation.name.startswith('all-reduce-scatter'):
    kind = 'reduce-scatter'  # the fusion of all-reduce and dynamic-slice on TPU
  groups = collectives.parse_replica_groups(
    instruction, computation.module.num_devices
  )
  key = _CollectiveKey(kind, groups, between_slices=False)
  num_bytes = (
    _logical_bytes(instruction.result_shape)
    if kind == 'all-gather'
    else sum(_logical_bytes(each.shape) for each in instruction.operands)
  )
  total.collectives[key] += 1
  total.bytes_sent[key] += collectives.bytes_sent_per_chip(
    kind, key.group_size, instruction, num_bytes
  )


def _add_cross_slice_collective(
  total: _Total, instruction: HloInstruction, kind: str
) -> None:
  groups = collectives.parse_slice_groups(instruction)
  key = _CollectiveKey(kind, groups, between_slices=True)
  num_bytes = _logical_bytes(instruction.operands[0].shape)
  total.collectives[key] += 1
  if kind == 'collective-permute':  # the send has no pairs
    total.bytes_sent[key] += num_bytes
    return
  if kind == 'all-gather':
    num_bytes *= key.group_size
  total.bytes_sent[key] += collectives.bytes_sent_per_chip(
    kind, key.group_size, instruction, num_bytes
  )


def _logical_bytes(shape: str) -> int:
  arrays = text_parser.parse_array_shapes(shape)
  return sum(array.logical_bytes for array in arrays)


def _branches(instruction: HloInstruction) -> list[HloComputation]:
  found = re.search(r'branch_computations=\{([^}]*)\}', instruction.attributes)
  if found:
    computations = instruction.computation.module.computations
    names = re.findall(r'[\w.\-]+', found.group(1))
    return [computations[name] for name in names]
  return [
    instruction.called_computation('true_computation'),
    instruction.called_computation('false_computation'),
  ]
