"""Bytes that the instructions of an HLO module move between a chip and its HBM.

An instruction reads its operands and writes its result, each once, padded to the layout's tiles.
Less is counted where less is touched: slices and gathered rows of an operand, also of a fusion's
operand that is used by slices alone; the update of a dynamic-update-slice or scatter, not the
buffer around it. Arrays in another memory (on TPU S(1), VMEM, and others; on all S(5), the host)
are no traffic. What a cache or the registers of a CPU or GPU would save is not known here.
"""

import functools
import re

from mathft_jax.aot.hlo import collectives, text_parser

FREE = frozenset(
  {
    'parameter',
    'constant',
    'tuple',
    'get-tuple-element',
    'bitcast',
    'after-all',
    'partition-id',
    'replica-id',
    'add-dependency',
    'opt-barrier',
    'while',
    'conditional',
    'call',
    'domain',
  }
)
FREE_TARGETS = frozenset(
  {
    'AllocateBuffer',
    'AssumeGatherIndicesInBound',
    'GatherScatterIndicesBitpacked',
    'Sharding',
    'SPMDFullToShardShape',
    'SPMDShardToFullShape',
    'AsyncCollectiveStart',
    'AsyncCollectiveDone',
    'annotate_device_placement',
    'LayoutConstraint',
    'ConcatBitcast',
    'SliceId',
    'PrepareAsyncCallStart',
    'PrepareAsyncCallDone',
  }
)
CUSTOM_CALLS_WITHOUT_FLOPS = FREE_TARGETS | {
  'ZeroCrop'
}  # the latter does touch memory
_HOST = 5
_SLICES = ('dynamic-slice', 'slice', 'gather')
_SAME_ELEMENTS = ('bitcast', 'reshape', 'transpose', 'convert', 'copy')


def hbm_bytes_accessed(
  module: text_parser.HloModule,
  inside: text_parser.HloComputation,
  each: text_parser.HloInstruction,
) -> float:
  """Bytes that an instruction of an executed computation reads from HBM and writes to it."""
  in_hbm = functools.partial(_in_hbm, module)
  operands = [inside.instructions[name] for name in each.operands]
  opcode = each.opcode
  if (
    opcode in FREE or opcode.endswith(('-done', '-update')) or _free_call(each)
  ):
    return 0
  if opcode == 'copy-start':
    return in_hbm(each.elements[0]) + in_hbm(each.elements[1])
  if opcode in ('send', 'recv'):
    return in_hbm(each.elements[0])
  if opcode.removesuffix('-start') in _SLICES:
    part = each.result
    return (
      _touched(in_hbm, operands[0], part)
      + in_hbm(part)
      + sum(in_hbm(operand.shape) for operand in operands[1:])
      * (opcode == 'gather')
    )
  if opcode == 'dynamic-update-slice':
    return in_hbm(operands[1].shape) + _written_of(
      in_hbm, each.shape, operands[1]
    )
  if opcode == 'scatter':
    return _scattered(in_hbm, each, operands)
  if opcode in ('fusion', 'fusion-start'):
    return _fusion(module, inside, each)
  if (stated := custom_call_cost_estimate(each)) and stated['bytes_accessed']:
    return stated['bytes_accessed']
  return sum(in_hbm(operand.shape) for operand in operands) + in_hbm(
    each.result
  )


def custom_call_cost_estimate(
  each: text_parser.HloInstruction,
) -> dict[str, int] | None:
  """`flops` and `bytes_accessed` (0 where not said) that a custom kernel states (Pallas does)."""
  found = re.search(r'"cost_estimate":\s*\{([^}]*)\}', each.attributes)
  if each.opcode.removesuffix('-start') != 'custom-call' or found is None:
    return None
  stated = {
    name: int(float(number))
    for name, number in re.findall(r'"(\w+)":\s*"?([\d.eE+]+)', found.group(1))
  }
  return {name: stated.get(name, 0) for name in ('flops', 'bytes_accessed')}


def continues_async_collective(
  inner: text_parser.HloComputation, each: text_parser.HloInstruction
) -> bool:
  """Whether a collective within a fusion belongs to one that another fusion has started.

  TPU runs a collective beside other work as a chain of fusions that all name it; the first of them
  is the one with an AsyncCollectiveStart.
  """
  return (
    collectives.collective_opcode(each.opcode) is not None
    and '"async_collective_fusion_config"' in each.attributes
    and not any(
      other.text('custom_call_target') == 'AsyncCollectiveStart'
      for other in inner.instructions.values()
      if other.opcode == 'custom-call'
    )
  )


def _in_hbm(module: text_parser.HloModule, shape: str) -> int:
  return sum(
    array.stored_bytes
    for array in text_parser.parse_array_shapes(shape)
    if not (array.space and module.is_tpu) and array.space != _HOST
  )


def _free_call(each) -> bool:
  return (
    each.opcode == 'custom-call'
    and each.text('custom_call_target') in FREE_TARGETS
  )


def _touched(in_hbm, source, part: str) -> float:
  """Bytes of `source` in HBM that are a part of it, of this type."""
  return in_hbm(source.shape) and sum(
    array.stored_bytes for array in text_parser.parse_array_shapes(part)
  )


def _written_of(in_hbm, shape: str, update) -> float:
  """Bytes of `update` where it is written into a buffer of this type."""
  return in_hbm(shape) and sum(array.stored_bytes for array in update.arrays)


def _scattered(in_hbm, each, operands) -> float:
  """Indices and updates read; as much of the buffers read and written as there are updates."""
  count = (len(operands) - 1) // 2
  updates = operands[count + 1 :]
  buffers = sum(
    2 * _written_of(in_hbm, buffer.shape, update)
    for buffer, update in zip(operands, updates)
  )
  return buffers + sum(in_hbm(operand.shape) for operand in operands[count:])


def _fusion(module, inside, each) -> float:
  in_hbm, inner = (
    functools.partial(_in_hbm, module),
    module[each.called('calls')],
  )
  if any(
    other.text('custom_call_target') == 'AsyncCollectiveStart'
    for other in inner.instructions.values()
    if other.opcode == 'custom-call'
  ):
    first = inside.instructions[each.operands[0]]
    return in_hbm(first.shape) + in_hbm(each.elements[1])
  if (
    any(
      continues_async_collective(inner, other)
      for other in inner.instructions.values()
    )
    and inner.root.opcode == 'custom-call'
  ):
    return 0  # the last of a chain
  read = sum(
    in_hbm(inside.instructions[name].shape)
    * _share(module, inner, parameter.name)
    for name, parameter in zip(each.operands, inner.parameters)
  )
  return read + _written(module, inner, inner.root, each.result)


def _share(
  module, inner: text_parser.HloComputation, name: str, moved: bool = False
) -> float:
  """The share of a fused value's elements that the fusion reads.

  Args:
    moved: the value is not the operand itself, but its elements in another order or type.
  """
  each, users = inner.instructions[name], inner.users[name]
  total = float(each.is_root and moved)
  elements = max(1, sum(array.elements for array in each.arrays))
  for user in users:
    first = user.operands[0] == name and name not in user.operands[1:]
    if user.opcode in _SAME_ELEMENTS:
      total += _share(
        module, inner, user.name, moved or user.opcode != 'bitcast'
      )
    elif user.opcode in _SLICES and first:
      total += sum(array.elements for array in user.arrays) / elements
    elif (
      user.opcode in ('dynamic-update-slice', 'scatter') and first and not moved
    ):
      update = inner.instructions[
        user.operands[1 if user.opcode[0] == 'd' else -1]
      ]
      total += (
        0 if user.opcode[0] == 'd' else update.arrays[0].elements / elements
      )
    elif user.opcode == 'fusion':
      nested = module[user.called('calls')]
      for parameter in (
        nested.parameters[i].name
        for i, operand in enumerate(user.operands)
        if operand == name
      ):
        total += _share(module, nested, parameter, moved)
        if _unmoved(nested, nested.root).name == parameter:
          total += _share(module, inner, user.name, moved)
    elif not (
      user.opcode == 'tuple' and not moved
    ) and not continues_async_collective(inner, user):
      return 1.0
  return min(1.0, total)


def _unmoved(
  inner: text_parser.HloComputation, each
) -> text_parser.HloInstruction:
  """What a value is under another name and type."""
  while each.opcode == 'bitcast':
    each = inner.instructions[each.operands[0]]
  return each


def _written(module, inner, each, shape: str) -> float:
  """Bytes that a fusion writes for the value `each`, which lies as type `shape` says outside."""
  in_hbm = functools.partial(_in_hbm, module)
  if each.opcode == 'bitcast':
    return _written(module, inner, inner.instructions[each.operands[0]], shape)
  if each.opcode == 'parameter' or continues_async_collective(inner, each):
    return 0  # what came in goes out again, in place
  if each.opcode == 'tuple':
    return sum(
      _written(module, inner, inner.instructions[name], part)
      for name, part in zip(
        each.operands, text_parser.tuple_element_shapes(shape)
      )
    )
  if each.opcode == 'dynamic-update-slice':
    return _written_of(in_hbm, shape, inner.instructions[each.operands[1]])
  if each.opcode == 'scatter':
    return _written_of(in_hbm, shape, inner.instructions[each.operands[-1]])
  if each.opcode == 'fusion':
    nested = module[each.called('calls')]
    return _written(module, nested, nested.root, shape)
  return in_hbm(shape)
