"""Collectives of an HLO module: replica groups and the bytes that each chip sends.

With n chips in a group, and sizes without the padding of tiles, one execution on a ring sends
from each chip

  all-gather            (n - 1) / n x the gathered result
  reduce-scatter        (n - 1) / n x the whole operand
  all-reduce            2 (n - 1) / n x the operand: a reduce-scatter and an all-gather
  all-to-all            (n - 1) / n x the operand (ragged: an upper bound)
  collective-permute    the operand, if any pair has two different chips
  collective-broadcast  the operand

A chip receives as many bytes.

Between TPU slices the program sends to a runtime on the hosts, which exchanges data over the
data-center network (DCN). Such a send counts as a collective by the same formulas. Its groups
contain slice numbers; the other collectives of the program number the devices of one slice.
"""

from collections.abc import Iterable, Sequence
import math
import re

from mathft_jax.aot.hlo.text_parser import HloInstruction, parse_integers

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
_OPCODE_OF_TRANSFER_TYPE = {
  'ALL_GATHER': 'all-gather',
  'ALL_REDUCE': 'all-reduce',
  'REDUCE_SCATTER': 'reduce-scatter',
  'ALL_TO_ALL': 'all-to-all',
  'ONE_TO_ONE': 'collective-permute',
}
# libtpu writes device d of slice s = 1, 2, ... as s x 100000 + d
_IDS_PER_SLICE = 100_000
_REPLICA_GROUPS = re.compile(
  r'replica_groups=(mesh\[[^\]]*\](?:, device_ids=\(.*?\))? ?\{[^}]*\}'
  r'|\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?|\{(?:\{[\d,]*\},?)*\})'
)
_MESH = re.compile(r'mesh\[([^\]]*)\](?:, device_ids=\((.*)\))? ?\{([^}]*)\}')
_IOTA = re.compile(r'\[([\d,]+)\](?:T\(([\d,]+)\))?')


def collective_opcode(opcode: str) -> str | None:
  """Returns the collective that an opcode is or starts; None for others and for a -done."""
  opcode = opcode.removesuffix('-start')
  return opcode if opcode in COLLECTIVE_OPCODES else None


def cross_slice_collective(instruction: HloInstruction) -> str | None:
  """Returns the collective between slices that a send belongs to; None for all others."""
  transfer = instruction.string_attribute('_xla_megascale_transfer_type')
  if instruction.opcode != 'send' or not transfer:
    return None
  return _OPCODE_OF_TRANSFER_TYPE.get(transfer, transfer.lower())


def parse_slice_groups(instruction: HloInstruction) -> ReplicaGroups:
  """Returns the groups of slices, numbered from 0, of a send between slices.

  The target of the send is `{1,2}x{0:3}` (devices 0 to 3 of slices 1 and 2) or a list of groups
  of devices.
  """
  found = re.search(
    r'_xla_megascale_target="?([{}\d,:x]+)', instruction.attributes
  )
  target = found.group(1) if found else ''
  groups = set()
  if 'x' in target:
    for group in re.findall(r'\{([\d,:]+)\}x', target):
      slices = []
      for part in group.split(','):
        first, _, last = part.partition(':')
        slices += range(int(first) - 1, int(last or first))
      groups.add(tuple(sorted(slices)))
  else:
    for group in re.findall(r'\{([\d,]+)\}', target):
      slices = [
        device // _IDS_PER_SLICE - 1 for device in parse_integers(group)
      ]
      groups.add(tuple(sorted(slices)))
  return tuple(sorted(groups))


def parse_replica_groups(
  instruction: HloInstruction, num_devices: int
) -> ReplicaGroups:
  """Returns the groups of devices of a collective; for a permute, those that its pairs connect.

  Raises:
    ValueError: the replica groups have an unknown format.
  """
  if instruction.base_opcode == 'collective-permute':
    return _connected_devices(_source_target_pairs(instruction))

  found = _REPLICA_GROUPS.search(instruction.attributes)
  if found is None:
    raise ValueError(
      f'{instruction.opcode} {instruction.name}: the replica groups in '
      f'{instruction.attributes[:200]!r} have an unknown format. Known formats: '
      "{{0,1},{2,3}}, [2,2]<=[4] and mesh['x'=2,'y'=2] {'x'}."
    )
  text = found.group(1)
  if text.startswith('mesh'):
    return _groups_of_mesh(text)
  if text.startswith('['):
    shape, _, iota = text.partition('<=')
    return _split_into_groups(_iota_ids(iota), parse_integers(shape)[-1])
  groups = tuple(map(parse_integers, re.findall(r'\{([\d,]+)\}', text)))
  return groups or (tuple(range(num_devices)),)


def bytes_sent_per_chip(
  opcode: str,
  group_size: int,
  instruction: HloInstruction,
  num_bytes: int,
) -> float:
  """Returns the bytes that a chip sends on a ring in one execution.

  Args:
    opcode: a collective; may differ from the instruction's own, of a fused reduce-scatter.
    group_size: chips, or slices, in a group.
    instruction: the collective; of a permute its pairs are needed.
    num_bytes: bytes of the gathered result for an all-gather, else of the operand.
  """
  if opcode == 'collective-permute':
    pairs = _source_target_pairs(instruction)
    return float(num_bytes * any(source != target for source, target in pairs))
  if opcode == 'collective-broadcast':
    return float(num_bytes * (group_size > 1))
  passes = 2 if opcode == 'all-reduce' else 1
  return passes * num_bytes * (group_size - 1) / group_size


def _source_target_pairs(
  instruction: HloInstruction,
) -> list[tuple[int, ...]]:
  text = re.search(
    r'source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}', instruction.attributes
  )
  pairs = re.findall(r'\d+,\d+', text.group(1)) if text else []
  return list(map(parse_integers, pairs))


def _connected_devices(pairs: Iterable[tuple[int, ...]]) -> ReplicaGroups:
  """Returns the connected sets of devices, each sorted."""
  set_of: dict[int, set[int]] = {}
  for source, target in pairs:
    joined = set_of.get(source, {source}) | set_of.get(target, {target})
    for device in joined:
      set_of[device] = joined
  return tuple(sorted({tuple(sorted(devices)) for devices in set_of.values()}))


def _split_into_groups(ids: Sequence[int], size: int) -> ReplicaGroups:
  return tuple(tuple(ids[i : i + size]) for i in range(0, len(ids), size))


def _groups_of_mesh(text: str) -> ReplicaGroups:
  """Returns the groups of `mesh['x'=2,'y'=4] {'y'}`: devices that differ along `y` only.

  The braces may contain a part of an axis, `'y':(2)2`: two parts before it, two in it. The devices
  of the mesh are 0, 1, ... or `device_ids=([4,2]T(1,0))` or `device_ids=(3,1,...)`.
  """
  match = _MESH.fullmatch(text)
  assert match is not None, text
  mesh, device_ids, group_axes = match.groups()
  sizes, positions = _split_mesh_axes(mesh, group_axes)

  # The axes of the groups come last, in the order of the braces; others have position -1.
  order = sorted(range(len(sizes)), key=lambda i: positions[i])
  group_size = 1
  for size, position in zip(sizes, positions):
    group_size *= size if position >= 0 else 1

  ids = _transposed_ids(sizes, order)
  if device_ids is not None:
    numbers = _iota_ids(device_ids)
    ids = [numbers[i] for i in ids]
  return _split_into_groups(ids, group_size)


def _split_mesh_axes(mesh: str, group_axes: str) -> tuple[list[int], list[int]]:
  """Returns the sizes of the mesh axes, split where the group axes split them, and positions.

  The position is the index of the part in the group axes, or -1.
  """
  parts_of_axis: dict[str, list[tuple[int, int, int]]] = {}
  group_parts = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", group_axes)
  for position, (name, before, size) in enumerate(group_parts):
    part = int(before or 1), int(size or 0), position
    parts_of_axis.setdefault(name, []).append(part)

  sizes, positions = [], []
  for name, total in re.findall(r"'([^']+)'=(\d+)", mesh):
    done = 1
    for before, size, position in sorted(parts_of_axis.get(name, [])):
      size = size or int(total)
      sizes += [before // done, size]
      positions += [-1, position]
      done = before * size
    sizes.append(int(total) // done)
    positions.append(-1)
  return sizes, positions


def _iota_ids(text: str) -> Sequence[int]:
  """Returns the ids of `[4,2]T(1,0)` (0 to 7, reshaped and transposed) or of a list `3,1,...`."""
  iota = _IOTA.fullmatch(text.rpartition('<=')[2])
  if iota is None:
    return parse_integers(text)
  dims = parse_integers(iota.group(1))
  return _transposed_ids(dims, parse_integers(iota.group(2) or ''))


def _transposed_ids(dims: Sequence[int], order: Sequence[int]) -> list[int]:
  """Returns the ids 0, 1, ... of an array of these dims, read with its axes in this order.

  Without an order the axes are not transposed.
  """
  ids = [0]
  for axis in order or range(len(dims)):
    stride = math.prod(dims[axis + 1 :])
    ids = [base + step * stride for base in ids for step in range(dims[axis])]
  return ids
