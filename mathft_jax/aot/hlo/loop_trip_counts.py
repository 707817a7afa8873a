"""How often the while loops of an HLO module run."""

from collections.abc import Mapping
import re

from mathft_jax.aot.hlo import text_parser

Linear = tuple[
  int | None, int
]  # (element of the loop's state or None, number added to it)
_FLIPPED = {'LT': 'GT', 'GT': 'LT', 'LE': 'GE', 'GE': 'LE', 'NE': 'NE'}


def loop_trip_count(
  module: text_parser.HloModule,
  inside: text_parser.HloComputation,
  loop: text_parser.HloInstruction,
) -> int | None:
  """Executions of a loop's body; None where they depend on data.

  XLA writes the number into `known_trip_count`; else it follows from a counter that starts at a
  constant, grows by a constant, and is compared with a constant.
  """
  known = re.search(r'"known_trip_count":\{"n":"?(\d+)', loop.attributes)
  if known:
    return int(known.group(1))
  test = _test(module, module[loop.called('condition')])
  if test is None:
    return None
  element, bound, direction = test
  start = _start(module, inside, loop, element)
  step = _step(module, module[loop.called('body')], element)
  return (
    None if start is None or not step else _count(start, step, bound, direction)
  )


def _count(start: int, step: int, bound: int, direction: str) -> int | None:
  if direction == 'NE':
    return (bound - start) // step if (bound - start) % step == 0 else None
  distance = bound - start if direction in ('LT', 'LE') else start - bound
  stride = step if direction in ('LT', 'LE') else -step
  if stride < 0:
    return None
  return max(
    0,
    distance // stride + 1
    if direction in ('LE', 'GE')
    else -(-distance // stride),
  )


def _test(module, condition) -> tuple[int, int, str] | None:
  """(element of the state, constant, direction) of the comparison that a condition is."""
  root, here, known = condition.root, condition, {}
  if root.opcode == 'fusion':
    here = module[root.called('calls')]
    known = _arguments(module, condition, root, {})
    root = here.root
  direction = re.search(r'direction=(\w+)', root.attributes)
  if root.opcode != 'compare' or direction.group(1) not in _FLIPPED:
    return None
  left, right = (_linear(module, here, name, known) for name in root.operands)
  if left is None or right is None or (left[0] is None) == (right[0] is None):
    return None
  if left[0] is None:
    left, right, direction = right, left, _FLIPPED[direction.group(1)]
  else:
    direction = direction.group(1)
  return left[0], right[1] - left[1], direction


def _start(module, inside, loop, element: int) -> int | None:
  state = inside.instructions[loop.operands[0]]
  if state.opcode != 'tuple':
    return None
  value = _linear(module, inside, state.operands[element], {})
  return value[1] if value is not None and value[0] is None else None


def _step(module, body, element: int) -> int | None:
  if body.root.opcode != 'tuple':
    return None
  value = _linear(module, body, body.root.operands[element], {})
  return value[1] if value is not None and value[0] == element else None


def _linear(
  module,
  here: text_parser.HloComputation,
  name: str,
  known: Mapping[int, Linear | None],
) -> Linear | None:
  """What a scalar is: an element of the computation's tuple, a constant, or a sum of both.

  Args:
    known: values of the parameters of a fused computation.
  """
  each = here.instructions[name]
  values = lambda: [
    _linear(module, here, operand, known) for operand in each.operands
  ]
  if each.opcode == 'constant':
    return (
      (None, int(each.arguments))
      if re.fullmatch(r'-?\d+', each.arguments)
      else None
    )
  if each.opcode == 'parameter':
    return known.get(int(each.arguments))
  if each.opcode == 'get-tuple-element':
    return _element(module, here, each, known)
  if each.opcode in ('copy', 'bitcast', 'convert'):
    return values()[0]
  if each.opcode in ('add', 'subtract'):
    return _sum(*values(), sign=1 if each.opcode == 'add' else -1)
  if each.opcode in ('fusion', 'call'):
    inner = _inner(module, each)
    return _linear(
      module, inner, inner.root.name, _arguments(module, here, each, known)
    )
  return None


def _element(module, here, each, known) -> Linear | None:
  """An element of the state, or of the tuple that a fusion makes."""
  source, index = here.instructions[each.operands[0]], each.numbers('index')[0]
  if source.opcode == 'parameter':
    return index, 0
  if source.opcode not in ('fusion', 'call'):
    return None
  inner = _inner(module, source)
  if inner.root.opcode != 'tuple':
    return None
  return _linear(
    module,
    inner,
    inner.root.operands[index],
    _arguments(module, here, source, known),
  )


def _inner(module, each) -> text_parser.HloComputation:
  return module[each.called('calls') or each.called('to_apply')]


def _arguments(module, here, each, known) -> dict[int, Linear | None]:
  return {
    i: _linear(module, here, name, known)
    for i, name in enumerate(each.operands)
    if text_parser.tuple_element_shapes(here.instructions[name].shape)
    == (here.instructions[name].shape,)
  }


def _sum(
  left: Linear | None, right: Linear | None, *, sign: int
) -> Linear | None:
  if left is None or right is None:
    return None
  if right[0] is not None and (left[0] is not None or sign < 0):
    return None
  return left[0] if right[0] is None else right[0], left[1] + sign * right[1]
