"""Trip counts of the while loops of an HLO module."""

from collections.abc import Mapping
import re
from typing import NamedTuple

from mathft_jax.aot.hlo.text_parser import HloInstruction


class _Value(NamedTuple):
  """A scalar `state[element] + offset`, or the constant `offset` where element is None."""

  element: int | None
  offset: int


Values = Mapping[int, _Value | None]  # of a computation's parameters, by number

_FLIPPED = {'LT': 'GT', 'GT': 'LT', 'LE': 'GE', 'GE': 'LE', 'NE': 'NE'}


def loop_trip_count(loop: HloInstruction) -> int | None:
  """Returns how many times the body of a `while` runs; None if that depends on data.

  XLA writes the number to `known_trip_count`. Otherwise it follows from a counter that starts at a
  constant, increases by a constant, and is compared with a constant.
  """
  known = re.search(r'"known_trip_count":\{"n":"?(\d+)', loop.attributes)
  if known:
    return int(known.group(1))

  comparison = _comparison(loop.called_computation('condition').root)
  if comparison is None:
    return None
  element, bound, direction = comparison

  start = _tuple_element(loop.operands[0], element)
  step = _tuple_element(loop.called_computation('body').root, element)
  if start is None or start.element is not None:
    return None
  if step is None or step.element != element or not step.offset:
    return None
  return _trip_count(start.offset, step.offset, bound, direction)


def _trip_count(
  start: int, step: int, bound: int, direction: str
) -> int | None:
  """Returns the executions of `for (i = start; i <direction> bound; i += step)`."""
  distance = bound - start
  if direction == 'NE':
    return distance // step if distance % step == 0 else None
  if direction in ('GT', 'GE'):
    distance, step = -distance, -step
  if step < 0:
    return None
  if direction in ('LE', 'GE'):
    return max(0, distance // step + 1)
  return max(0, -(-distance // step))


def _comparison(root: HloInstruction) -> tuple[int, int, str] | None:
  """Returns (element of the loop state, constant, direction) that a condition compares."""
  known: Values = {}
  if root.opcode == 'fusion':
    known = _operand_values(root, known)
    root = root.called_computation('calls').root

  direction = re.search(r'direction=(\w+)', root.attributes)
  direction = direction.group(1) if direction else ''
  if root.opcode != 'compare' or direction not in _FLIPPED:
    return None

  left = _value(root.operands[0], known)
  right = _value(root.operands[1], known)
  if left is None or right is None:
    return None
  if left.element is None:
    left, right, direction = right, left, _FLIPPED[direction]
  if left.element is None or right.element is not None:
    return None
  return left.element, right.offset - left.offset, direction


def _tuple_element(state: HloInstruction, element: int) -> _Value | None:
  if state.opcode != 'tuple':
    return None
  return _value(state.operands[element], {})


def _value(scalar: HloInstruction, known: Values) -> _Value | None:
  """Returns a scalar as an element of the loop state plus a constant; None for all else.

  Args:
    scalar: the instruction that computes the scalar.
    known: values of the parameters of its computation, if that is fused or called.
  """
  opcode, operands = scalar.opcode, scalar.operands
  if opcode == 'constant':
    is_integer = re.fullmatch(r'-?\d+', scalar.arguments)
    return _Value(None, int(scalar.arguments)) if is_integer else None
  if opcode == 'parameter':
    return known.get(int(scalar.arguments))
  if opcode == 'get-tuple-element':
    return _get_tuple_element(scalar, known)
  if opcode in ('fusion', 'call'):
    called = scalar.called_computation('calls', 'to_apply')
    return _value(called.root, _operand_values(scalar, known))
  if opcode in ('copy', 'bitcast', 'convert'):
    return _value(operands[0], known)
  if opcode in ('add', 'subtract'):
    left, right = _value(operands[0], known), _value(operands[1], known)
    return _sum(left, right, sign=1 if opcode == 'add' else -1)
  return None


def _get_tuple_element(
  instruction: HloInstruction, known: Values
) -> _Value | None:
  """Returns an element of the loop state or of a tuple that a fusion returns."""
  source = instruction.operands[0]
  (index,) = instruction.int_attribute('index')
  if source.opcode == 'parameter':
    return _Value(index, 0)
  if source.opcode not in ('fusion', 'call'):
    return None

  root = source.called_computation('calls', 'to_apply').root
  if root.opcode != 'tuple':
    return None
  return _value(root.operands[index], _operand_values(source, known))


def _operand_values(instruction: HloInstruction, known: Values) -> Values:
  """Returns the values of an instruction's operands that are no tuples."""
  values = {}
  for i, operand in enumerate(instruction.operands):
    if not operand.shape.startswith('('):
      values[i] = _value(operand, known)
  return values


def _sum(
  left: _Value | None, right: _Value | None, *, sign: int
) -> _Value | None:
  if left is None or right is None:
    return None
  offset = left.offset + sign * right.offset
  if right.element is None:
    return _Value(left.element, offset)
  if left.element is None and sign > 0:
    return _Value(right.element, offset)
  return None
