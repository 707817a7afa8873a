"""What one execution of a compiled XLA program does on one device, loops counted as they run.

  costs = hlo.count(compiled.as_text())              # CPU, GPU or TPU; no device is needed
  costs = hlo.count(text, unknown_trips=512)         # for loops that end when the data says so
  costs.flops, costs.hbm_bytes                       # per device, per execution
  for each in costs.collectives:                     # one entry per kind and set of groups
    each.kind, each.group_size, each.groups, each.count, each.bytes
  costs.unknown_loops, costs.uncounted               # what to distrust: say it to the user

XLA's own cost analysis counts the body of a loop once; a scanned model has all its layers there.

Counted: `flops` of matrix products and convolutions, exactly: 2 x output elements x contracted
size, products with padding left out (TPU writes batched matmuls as convolutions that are mostly
padding), also within fusions, and of custom kernels that state their cost. `hbm_bytes`: see
`hlo_bytes`. Collectives: see `hlo_collectives`; started and done counts once, a fusion of
all-reduce and slice is the reduce-scatter that it computes. Of a conditional the dearest branch
(most flops, then most bytes).

Not counted: flops of elementwise work, reductions, sorts, solvers, and of products that the
compiler writes as those (TPU does so where one side is a vector: decoding's own slots). Custom
calls that state no cost are in `uncounted` by target and name with the times that they run; their
operands and results are in `hbm_bytes`, and `flops.matmul_flops` counts the products of Pallas
kernels. Transfers to and from the host are not counted.
"""

from collections import Counter
from collections.abc import Iterable
import dataclasses
import re

from mathft_jax.aot.hlo import (
  collectives,
  loop_trip_counts,
  matmul_flops,
  memory_traffic,
  text_parser,
)


@dataclasses.dataclass(frozen=True)
class CollectiveCosts:
  """All executions of one kind of collective among the same groups.

  Attributes:
    group_size: devices, or slices, of the largest group.
    groups: device numbers (places in the mesh, flattened) that exchange with each other.
    between_slices: over the data centre's network; `groups` are numbers of slices then.
    count: executions.
    bytes: that one chip sends at least, on a ring, over all executions.
  """

  kind: str
  group_size: int
  groups: collectives.ReplicaGroups
  count: int
  bytes: float
  between_slices: bool = False


@dataclasses.dataclass(frozen=True)
class DataDependentLoop:
  """A loop whose trips depend on data. `source`: where the program has it, as jax names it."""

  name: str
  source: str
  assumed_trips: int


@dataclasses.dataclass(frozen=True)
class ProgramCosts:
  """Per device and execution of the entry.

  Attributes:
    flops: of matrix products, convolutions and custom kernels that state theirs.
    kernel_flops: the share of the custom kernels.
    hbm_bytes: read from and written to HBM.
    collectives: by kind and groups.
    uncounted: custom calls without a stated cost: 'target name' -> executions.
    unknown_loops: loops that ran `unknown_trips` times in this count.
  """

  flops: int
  kernel_flops: int
  hbm_bytes: float
  collectives: tuple[CollectiveCosts, ...]
  uncounted: dict[str, int]
  unknown_loops: tuple[DataDependentLoop, ...]


def count_program_costs(text: str, *, unknown_trips: int = 1) -> ProgramCosts:
  """The costs of a module's text; ValueError where the text is no optimized HLO.

  Args:
    unknown_trips: executions of the body of a loop whose end depends on data.
  """
  module = text_parser.parse_hlo_module(text)
  total = _Counting(module, unknown_trips).computation(module.entry)
  collectives = [
    CollectiveCosts(
      kind,
      max(map(len, groups), default=1),
      groups,
      times,
      total.sent[key],
      between,
    )
    for key, times in total.collectives.items()
    for kind, groups, between in [key]
  ]
  return ProgramCosts(
    total.flops,
    total.kernel_flops,
    total.hbm_bytes,
    tuple(sorted(collectives, key=lambda each: -each.bytes)),
    dict(total.uncounted),
    tuple(sorted(total.loops, key=lambda each: each.name)),
  )


@dataclasses.dataclass(frozen=True)
class _Total:
  """A sum of costs; `collectives` and `sent` have (kind, groups, between slices) for keys."""

  flops: int = 0
  kernel_flops: int = 0
  hbm_bytes: float = 0
  collectives: Counter = dataclasses.field(default_factory=Counter)
  sent: Counter = dataclasses.field(default_factory=Counter)
  uncounted: Counter = dataclasses.field(default_factory=Counter)
  loops: frozenset[DataDependentLoop] = frozenset()


class _Counting:
  """Costs of computations, each counted once and remembered."""

  def __init__(self, module: text_parser.HloModule, unknown_trips: int):
    self.module = module
    self.unknown_trips = unknown_trips
    self.known: dict[str, _Total] = {}

  def computation(self, name: str) -> _Total:
    """One execution of a computation."""
    if name not in self.known:
      inside = self.module[name]
      self.known[name] = _sum(
        (1, self._instruction(inside, each))
        for each in inside.instructions.values()
      )
    return self.known[name]

  def _instruction(self, inside, each) -> _Total:
    opcode = each.opcode.removesuffix('-start')
    if opcode == 'while':
      return self._loop(inside, each)
    if opcode == 'conditional':
      branches = [self.computation(name) for name in _branches(each)]
      return max(branches, key=lambda total: (total.flops, total.hbm_bytes))
    if opcode in ('call', 'async'):
      return self.computation(each.called('to_apply') or each.called('calls'))
    own = _Total(
      hbm_bytes=memory_traffic.hbm_bytes_accessed(self.module, inside, each)
    )
    return _sum([(1, own), (1, self._arithmetic(inside, each))])

  def _loop(self, inside, each) -> _Total:
    trips = loop_trip_counts.loop_trip_count(self.module, inside, each)
    once = _sum(
      (1, self.computation(each.called(part))) for part in ('body', 'condition')
    )
    if trips is not None:
      return _sum([(trips, once)])
    source = each.text('op_name') or ''
    loop = DataDependentLoop(each.name, source, self.unknown_trips)
    return _sum(
      [(self.unknown_trips, once), (1, _Total(loops=frozenset([loop])))]
    )

  def _arithmetic(self, inside, each) -> _Total:
    """All but the traffic of an instruction, and of those that it fuses."""
    opcode = each.opcode.removesuffix('-start')
    if opcode == 'fusion':
      inner = self.module[each.called('calls')]
      return _sum(
        (1, self._arithmetic(inner, other))
        for other in inner.instructions.values()
        if not memory_traffic.continues_async_collective(inner, other)
      )
    if opcode in matmul_flops.MATMUL_OPCODES:
      return _Total(flops=matmul_flops.instruction_flops(inside, each))
    if opcode == 'custom-call':
      return self._custom_call(inside, each)
    if collectives.collective_opcode(opcode) is not None:
      return self._collective(inside, each)
    if (kind := collectives.cross_slice_collective(each)) is not None:
      return self._between_slices(inside, each, kind)
    return _Total()

  def _custom_call(self, inside, each) -> _Total:
    target = each.text('custom_call_target') or ''
    if target in memory_traffic.CUSTOM_CALLS_WITHOUT_FLOPS:
      return _Total()
    if (flops := matmul_flops.gpu_library_call_flops(inside, each)) is not None:
      return _Total(flops=flops)
    if (stated := memory_traffic.custom_call_cost_estimate(each)) is not None:
      return _Total(flops=stated['flops'], kernel_flops=stated['flops'])
    return _Total(
      uncounted=Counter({f'{target} {re.sub(r"[.0-9]+$", "", each.name)}': 1})
    )

  def _collective(self, inside, each) -> _Total:
    kind = collectives.collective_opcode(each.opcode)
    if kind == 'all-reduce' and inside.name.startswith('all-reduce-scatter'):
      kind = 'reduce-scatter'  # TPU's fusion of all-reduce and dynamic-slice
    groups = collectives.parse_replica_groups(each, self.module.num_devices)
    size = max(map(len, groups), default=1)
    shapes = (
      [each.result]
      if kind == 'all-gather'
      else [inside.instructions[name].shape for name in each.operands]
    )
    whole = sum(
      array.logical_bytes
      for shape in shapes
      for array in text_parser.parse_array_shapes(shape)
    )
    sent = collectives.bytes_sent_per_chip(kind, size, each, whole)
    key = kind, groups, False
    return _Total(collectives=Counter({key: 1}), sent=Counter({key: sent}))

  def _between_slices(self, inside, each, kind: str) -> _Total:
    groups = collectives.parse_slice_groups(each)
    size = max(map(len, groups), default=1)
    operand = sum(
      array.logical_bytes
      for array in inside.instructions[each.operands[0]].arrays
    )
    whole = operand * size if kind == 'all-gather' else operand
    sent = (
      float(operand)
      if kind == 'collective-permute'
      else collectives.bytes_sent_per_chip(kind, size, each, whole)
    )
    key = kind, groups, True
    return _Total(collectives=Counter({key: 1}), sent=Counter({key: sent}))


def _sum(parts: Iterable[tuple[int, _Total]]) -> _Total:
  """The sum of totals, each as often as its number says."""
  parts = [(times, total) for times, total in parts if times]
  counters = {}
  for name in ('collectives', 'sent', 'uncounted'):
    counters[name] = Counter()
    for times, total in parts:
      for key, value in getattr(total, name).items():
        counters[name][key] += times * value
  numbers = {
    name: sum(times * getattr(total, name) for times, total in parts)
    for name in ('flops', 'kernel_flops', 'hbm_bytes')
  }
  return _Total(
    **numbers,
    **counters,
    loops=frozenset().union(*(each.loops for _, each in parts)),
  )


def _branches(each: text_parser.HloInstruction) -> list[str]:
  found = re.search(r'branch_computations=\{([^}]*)\}', each.attributes)
  if found:
    return [name.strip().lstrip('%') for name in found.group(1).split(',')]
  return [each.called('true_computation'), each.called('false_computation')]
