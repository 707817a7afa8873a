"""HBM bytes accessed by the instructions of an HLO module.

An instruction reads its operands and writes its result once each, padded to the tiles of their
layouts. Where an instruction accesses less, less is counted:

  - of an operand that is sliced or gathered, the slices; the same within a fusion;
  - of a dynamic-update-slice or scatter, the update and not the buffer around it.

Arrays in other memories (on TPU all S(n) with n > 0, such as VMEM; everywhere S(5), the host) are
not counted. The caches and registers of a CPU or GPU are not modeled.
"""

from collections.abc import Sequence
import re

from mathft_jax.aot.hlo import collectives, text_parser
from mathft_jax.aot.hlo.text_parser import (
  HloComputation,
  HloInstruction,
  HloModule,
)

OPCODES_WITHOUT_TRAFFIC = frozenset(
  """
  parameter constant tuple get-tuple-element bitcast after-all partition-id replica-id
  add-dependency opt-barrier while conditional call domain
  """.split()
)
CUSTOM_CALLS_WITHOUT_TRAFFIC = frozenset(
  """
  AllocateBuffer AssumeGatherIndicesInBound GatherScatterIndicesBitpacked Sharding
  SPMDFullToShardShape SPMDShardToFullShape AsyncCollectiveStart AsyncCollectiveDone
  annotate_device_placement LayoutConstraint ConcatBitcast SliceId PrepareAsyncCallStart
  PrepareAsyncCallDone
  """.split()
)
# ZeroCrop accesses memory.
CUSTOM_CALLS_WITHOUT_FLOPS = CUSTOM_CALLS_WITHOUT_TRAFFIC | {'ZeroCrop'}
_HOST_MEMORY = 5
_SLICES = ('dynamic-slice', 'slice', 'gather')
_SAME_ELEMENTS = ('bitcast', 'reshape', 'transpose', 'convert', 'copy')


def hbm_bytes_accessed(instruction: HloInstruction) -> float:
  """Returns the bytes that an instruction, which is not fused, reads from and writes to HBM."""
  opcode = instruction.opcode
  if (
    opcode in OPCODES_WITHOUT_TRAFFIC
    or opcode.endswith(('-done', '-update'))
    or _is_custom_call(instruction, CUSTOM_CALLS_WITHOUT_TRAFFIC)
  ):
    return 0

  module = instruction.computation.module
  shapes = [operand.shape for operand in instruction.operands]
  elements = instruction.element_shapes
  result = instruction.result_shape
  if opcode == 'copy-start':
    return _hbm_bytes(module, *elements[:2])
  if opcode in ('send', 'recv'):
    return _hbm_bytes(module, elements[0])
  if instruction.base_opcode in _SLICES:
    indices = shapes[1:] if opcode == 'gather' else ()
    return _part_bytes(module, shapes[0], result) + _hbm_bytes(
      module, result, *indices
    )
  if opcode == 'dynamic-update-slice':
    written = _part_bytes(module, result, shapes[1])
    return _hbm_bytes(module, shapes[1]) + written
  if opcode == 'scatter':
    return _scatter_bytes(module, shapes)
  if opcode in ('fusion', 'fusion-start'):
    return _fusion_bytes(module, instruction)

  stated = custom_call_cost_estimate(instruction)
  if stated and stated['bytes_accessed']:
    return stated['bytes_accessed']
  return _hbm_bytes(module, *shapes, result)


def custom_call_cost_estimate(
  instruction: HloInstruction,
) -> dict[str, int] | None:
  """Returns the `flops` and `bytes_accessed` (0 if missing) in a custom call's cost estimate.

  Pallas kernels may have one. None for instructions without an estimate.
  """
  found = re.search(r'"cost_estimate":\s*\{([^}]*)\}', instruction.attributes)
  if instruction.base_opcode != 'custom-call' or found is None:
    return None
  stated = {'flops': 0, 'bytes_accessed': 0}
  for name, number in re.findall(r'"(\w+)":\s*"?([\d.eE+]+)', found.group(1)):
    if name in stated:
      stated[name] = int(float(number))
  return stated


def continues_async_collective(instruction: HloInstruction) -> bool:
  """Returns whether a fused collective was started by an earlier fusion.

  A TPU runs an asynchronous collective as a chain of fusions that all contain it. The first of them
  contains the custom call AsyncCollectiveStart.
  """
  return (
    collectives.collective_opcode(instruction.opcode) is not None
    and '"async_collective_fusion_config"' in instruction.attributes
    and not _starts_async_collective(instruction.computation)
  )


def _starts_async_collective(fused: HloComputation) -> bool:
  return any(
    _is_custom_call(each, {'AsyncCollectiveStart'})
    for each in fused.instructions.values()
  )


def _is_custom_call(
  instruction: HloInstruction, targets: frozenset[str] | set[str]
) -> bool:
  if instruction.opcode != 'custom-call':
    return False
  return instruction.string_attribute('custom_call_target') in targets


def _hbm_bytes(module: HloModule, *shapes: str) -> int:
  """Returns the padded bytes of all arrays of these shapes that are in HBM."""
  total = 0
  for shape in shapes:
    for array in text_parser.parse_array_shapes(shape):
      on_chip = array.memory_space and module.is_tpu
      if not on_chip and array.memory_space != _HOST_MEMORY:
        total += array.padded_bytes
  return total


def _part_bytes(module: HloModule, whole: str, part: str) -> int:
  """Returns the padded bytes of a part, if the whole is in HBM."""
  if not _hbm_bytes(module, whole):
    return 0
  arrays = text_parser.parse_array_shapes(part)
  return sum(array.padded_bytes for array in arrays)


def _scatter_bytes(module: HloModule, shapes: Sequence[str]) -> int:
  """Returns the bytes of indices and updates, and of the parts of buffers read and written."""
  num_buffers = (len(shapes) - 1) // 2
  total = _hbm_bytes(module, *shapes[num_buffers:])
  for buffer, update in zip(shapes, shapes[num_buffers + 1 :]):
    total += 2 * _part_bytes(module, buffer, update)
  return total


def _fusion_bytes(module: HloModule, fusion: HloInstruction) -> float:
  fused = fusion.called_computation('calls')
  operands = fusion.operands
  if _starts_async_collective(fused):
    return _hbm_bytes(module, operands[0].shape, fusion.element_shapes[1])
  if fused.root.opcode == 'custom-call' and any(
    map(continues_async_collective, fused.instructions.values())
  ):
    return 0  # the last fusion of a chain

  total = _written_bytes(fused.root, fusion.result_shape)
  for operand, parameter in zip(operands, fused.parameters):
    size = _hbm_bytes(module, operand.shape)
    total += size * _fraction_read(parameter)
  return total


def _fraction_read(value: HloInstruction, copied: bool = False) -> float:
  """Returns the fraction of a fused value's elements that the fusion reads.

  Args:
    value: an operand of the fusion, or its elements in another order or type.
    copied: whether they are in another order or type, so that a result that contains the value is
      not the operand's buffer itself.
  """
  total = float(value.is_root and copied)
  num_elements = max(1, _num_elements(value))
  for user in value.computation.users[value.name]:
    opcode = user.opcode
    is_sliced = user.operands[0] is value and value not in user.operands[1:]
    if opcode in _SAME_ELEMENTS:
      total += _fraction_read(user, copied or opcode != 'bitcast')
    elif opcode in _SLICES and is_sliced:
      total += _num_elements(user) / num_elements
    elif opcode == 'dynamic-update-slice' and is_sliced and not copied:
      pass  # updated in place
    elif opcode == 'scatter' and is_sliced and not copied:
      update = user.operands[-1].array_shapes[0]
      total += update.num_elements / num_elements
    elif opcode == 'fusion':
      total += _fraction_read_by_fusion(value, user, copied)
    elif opcode == 'tuple' and not copied:
      pass  # returned in place
    elif not continues_async_collective(user):
      return 1.0
  return min(1.0, total)


def _fraction_read_by_fusion(
  value: HloInstruction, fusion: HloInstruction, copied: bool
) -> float:
  """Returns the fraction of a fused value that a nested fusion and its users read."""
  nested = fusion.called_computation('calls')
  root = nested.root
  while root.opcode == 'bitcast':
    root = root.operands[0]

  total = 0.0
  for operand, parameter in zip(fusion.operands, nested.parameters):
    if operand is value:
      total += _fraction_read(parameter, copied)
      if root is parameter:
        total += _fraction_read(fusion, copied)
  return total


def _num_elements(instruction: HloInstruction) -> int:
  return sum(array.num_elements for array in instruction.array_shapes)


def _written_bytes(value: HloInstruction, shape: str) -> float:
  """Returns the bytes that a fusion writes for a value with this shape outside the fusion."""
  opcode, operands = value.opcode, value.operands
  module = value.computation.module
  if opcode == 'parameter' or continues_async_collective(value):
    return 0  # an input, returned in place
  if opcode == 'bitcast':
    return _written_bytes(operands[0], shape)
  if opcode == 'tuple':
    parts = text_parser.tuple_element_shapes(shape)
    return sum(map(_written_bytes, operands, parts))
  if opcode == 'dynamic-update-slice':
    return _part_bytes(module, shape, operands[1].shape)
  if opcode == 'scatter':
    return _part_bytes(module, shape, operands[-1].shape)
  if opcode == 'fusion':
    return _written_bytes(value.called_computation('calls').root, shape)
  return _hbm_bytes(module, shape)
