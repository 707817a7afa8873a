"""Collectives of an HLO module: who takes part and how many bytes a chip sends at least.

With n chips in a group, and sizes without the padding of tiles, one execution sends from a chip

  all-gather            (n - 1) / n x the gathered result
  reduce-scatter        (n - 1) / n x the whole operand
  all-reduce            2 (n - 1) / n x the operand: a reduce-scatter and an all-gather
  all-to-all            (n - 1) / n x the operand (ragged: an upper bound)
  collective-permute    the operand, if any pair has two different chips
  collective-broadcast  the operand

which is what a ring needs. A chip receives as much.

Between slices of TPUs libtpu's programs send to a runtime on the hosts, which exchanges: such a
send is a collective over the data centre's network, its groups are numbers of slices, and it
counts by the same formulas. The other collectives of such a program number the devices of a slice.
"""

import math
import re

from mathft_jax.aot.hlo import text_parser

ReplicaGroups = tuple[tuple[int, ...], ...]
COLLECTIVE_OPCODES = (
  'all-gather',
  'all-reduce',
  'reduce-scatter',
  'all-to-all',
  'ragged-all-to-all',
  'collective-permute',
  'collective-broadcast',
)
_BETWEEN_SLICES = {
  'ALL_GATHER': 'all-gather',
  'ALL_REDUCE': 'all-reduce',
  'REDUCE_SCATTER': 'reduce-scatter',
  'ALL_TO_ALL': 'all-to-all',
  'ONE_TO_ONE': 'collective-permute',
}
_PER_SLICE = (
  100_000  # libtpu writes device d of slice s = 1, 2, ... as s x 100000 + d
)
_GROUPS = re.compile(
  r'replica_groups=(mesh\[[^\]]*\](?:, device_ids=\(.*?\))? ?\{[^}]*\}'
  r'|\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?|\{(?:\{[\d,]*\},?)*\})'
)


def collective_opcode(opcode: str) -> str | None:
  """The collective that an opcode is or starts; None for others and for the -done of one."""
  opcode = opcode.removesuffix('-start')
  return opcode if opcode in COLLECTIVE_OPCODES else None


def cross_slice_collective(
  instruction: text_parser.HloInstruction,
) -> str | None:
  """The collective between slices that a send is a part of; None for all else."""
  found = re.search(
    r'_xla_megascale_transfer_type="(\w+)"', instruction.attributes
  )
  if instruction.opcode != 'send' or found is None:
    return None
  return _BETWEEN_SLICES.get(found.group(1), found.group(1).lower())


def parse_slice_groups(
  instruction: text_parser.HloInstruction,
) -> ReplicaGroups:
  """The groups of slices, numbered from 0, that a send between slices exchanges in.

  Its target is {1,2}x{0:3}, devices 0 to 3 of slices 1 and 2, or a list of groups of devices.
  """
  found = re.search(
    r'_xla_megascale_target="?([{}\d,:x]+)', instruction.attributes
  )
  text = found.group(1) if found else ''
  if 'x' in text:
    slices = [
      [_span(part) for part in group.split(',')]
      for group in re.findall(r'\{([\d,:]+)\}x', text)
    ]
    listed = [
      [number - 1 for span in group for number in span] for group in slices
    ]
  else:
    listed = [
      [int(number) // _PER_SLICE - 1 for number in group.split(',')]
      for group in re.findall(r'\{([\d,]+)\}', text)
    ]
  return tuple(sorted({tuple(sorted(group)) for group in listed}))


def _span(text: str) -> range:
  """The numbers of '3' or '3:5', both ends included."""
  first, _, last = text.partition(':')
  return range(int(first), int(last or first) + 1)


def parse_replica_groups(
  instruction: text_parser.HloInstruction, num_devices: int
) -> ReplicaGroups:
  """The groups of devices that exchange; for a permute, those that its pairs connect."""
  if collective_opcode(instruction.opcode) == 'collective-permute':
    return _connected(_pairs(instruction))
  found = _GROUPS.search(instruction.attributes)
  if found is None:
    raise ValueError(
      f'{instruction.opcode} {instruction.name}: cannot read its replica groups in '
      f'{instruction.attributes[:200]!r}; wanted {{{{0,1}},{{2,3}}}}, [2,2]<=[4] or '
      "mesh['x'=2,'y'=2] {'x'}."
    )
  text = found.group(1)
  if text.startswith('mesh'):
    return _of_mesh(text)
  if text.startswith('['):
    return _of_iota(text)
  listed = re.findall(r'\{([\d,]+)\}', text)
  return tuple(tuple(map(int, group.split(','))) for group in listed) or (
    tuple(range(num_devices)),
  )


def bytes_sent_per_chip(
  as_kind: str, size: int, instruction: text_parser.HloInstruction, whole: int
) -> float:
  """Bytes that a chip sends, in a group of `size`; `whole`: bytes of operand or gathered result."""
  if as_kind == 'collective-permute':
    return float(
      whole * any(source != target for source, target in _pairs(instruction))
    )
  if as_kind == 'collective-broadcast':
    return float(whole * (size > 1))
  return (2 if as_kind == 'all-reduce' else 1) * whole * (size - 1) / size


def _pairs(instruction: text_parser.HloInstruction) -> list[tuple[int, int]]:
  text = re.search(
    r'source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}', instruction.attributes
  )
  pairs = re.findall(r'(\d+),(\d+)', text.group(1)) if text else []
  return [(int(source), int(target)) for source, target in pairs]


def _connected(pairs: list[tuple[int, int]]) -> ReplicaGroups:
  """Sets of devices that pairs connect, each sorted."""
  group_of: dict[int, set[int]] = {}
  for source, target in pairs:
    joined = group_of.get(source, {source}) | group_of.get(target, {target})
    for device in joined:
      group_of[device] = joined
  return tuple(sorted({tuple(sorted(group)) for group in group_of.values()}))


def _of_iota(text: str) -> ReplicaGroups:
  """[groups, size]<=[dims]T(order): counted over dims, transposed, cut into groups."""
  shape, dims, order = (
    tuple(map(int, part.split(','))) if part else ()
    for part in re.fullmatch(
      r'\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', text
    ).groups()
  )
  ids = _transposed(dims, order or tuple(range(len(dims))))
  size = shape[-1]
  return tuple(tuple(ids[i : i + size]) for i in range(0, len(ids), size))


def _of_mesh(text: str) -> ReplicaGroups:
  """mesh['x'=2,'y'=4] {'y'}: devices that differ along the axes in braces only.

  An axis in braces may be a part of one, 'y':(2)2: two parts before it, two in it. The mesh's
  devices are 0, 1, ... or stand between, device_ids=([4,2]T(1,0)) or device_ids=(3,1,...).
  """
  mesh, devices, inside = re.fullmatch(
    r'mesh\[([^\]]*)\](?:, device_ids=\((.*)\))? ?\{([^}]*)\}', text
  ).groups()
  parts, owner = _split_axes(mesh, inside)
  order = sorted(
    range(len(parts)), key=lambda i: owner[i]
  )  # those in braces last, in their order
  size = math.prod(parts[i] for i in order if owner[i] >= 0)
  ids = _transposed(tuple(parts), tuple(order))
  if devices is not None:
    numbers = _device_ids(devices)
    ids = [numbers[i] for i in ids]
  return tuple(tuple(ids[i : i + size]) for i in range(0, len(ids), size))


def _device_ids(text: str) -> list[int]:
  iota = re.fullmatch(r'(?:\[[\d,]+\]<=)?\[([\d,]+)\](?:T\(([\d,]+)\))?', text)
  if iota is None:
    return [int(number) for number in re.findall(r'\d+', text)]
  dims, order = (
    tuple(map(int, part.split(','))) if part else () for part in iota.groups()
  )
  return _transposed(dims, order or tuple(range(len(dims))))


def _split_axes(mesh: str, inside: str) -> tuple[list[int], list[int]]:
  """(sizes of the mesh's axes cut where braces cut them, place of each in the braces or -1)."""
  wanted: dict[str, list[tuple[int, int | None, int]]] = {}
  for place, (name, before, size) in enumerate(
    re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", inside)
  ):
    wanted.setdefault(name, []).append(
      (int(before or 1), int(size) if size else None, place)
    )
  parts, owner = [], []
  for name, total in re.findall(r"'([^']+)'=(\d+)", mesh):
    done = 1
    for before, size, place in sorted(wanted.get(name, [])):
      size = int(total) if size is None else size
      parts += [before // done, size]
      owner += [-1, place]
      done = before * size
    parts.append(int(total) // done)
    owner.append(-1)
  return parts, owner


def _transposed(dims: tuple[int, ...], order: tuple[int, ...]) -> list[int]:
  """The numbers 0, 1, ... of an array of these dims, read with its axes in this order."""
  strides = [math.prod(dims[i + 1 :]) for i in range(len(dims))]
  ids = [0]
  for axis in order:
    ids = [
      base + step * strides[axis] for base in ids for step in range(dims[axis])
    ]
  return ids
