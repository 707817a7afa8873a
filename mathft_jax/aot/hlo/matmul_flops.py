"""Exact FLOPs of the matrix products and convolutions of an HLO module."""

from collections.abc import Iterable
import functools
import math
import re

from mathft_jax.aot.hlo import text_parser
from mathft_jax.aot.hlo.text_parser import HloInstruction

MATMUL_OPCODES = ('dot', 'ragged-dot', 'scaled-dot', 'convolution')


def instruction_flops(instruction: HloInstruction) -> int:
  """Returns the FLOPs of an instruction whose opcode is one of `MATMUL_OPCODES`."""
  if instruction.opcode.startswith('convolution'):
    return _convolution_flops(instruction)
  contracting_dims = instruction.int_attribute('lhs_contracting_dims')
  return _dot_flops(instruction, contracting_dims)


def gpu_library_call_flops(instruction: HloInstruction) -> int | None:
  """Returns the FLOPs of a matrix product in a GPU library; None for other custom calls."""
  target = instruction.string_attribute('custom_call_target')
  found = re.search(
    r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.attributes
  )
  if found is None or not re.search('gemm|matmul', target):
    return None
  contracting_dims = text_parser.parse_integers(found.group(1))
  return _dot_flops(instruction, contracting_dims)


def _dot_flops(
  instruction: HloInstruction,
  contracting_dims: Iterable[int],
) -> int:
  left = instruction.operands[0].array_shapes[0]
  flops = 2 * _output(instruction).num_elements
  for dim in contracting_dims:
    flops *= left.dims[dim]
  return flops


def _output(instruction: HloInstruction) -> text_parser.ArrayShape:
  return text_parser.parse_array_shapes(instruction.result_shape)[0]


def _convolution_flops(instruction: HloInstruction) -> int:
  """Returns 2 x the products of an input and a kernel element.

  Products with padding and with the holes of dilation are not counted.
  """
  left = instruction.operands[0].array_shapes[0].dims
  right = instruction.operands[1].array_shapes[0].dims
  output = _output(instruction).dims
  labels = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', instruction.attributes)
  assert labels is not None, instruction
  left_labels, right_labels, output_labels = labels.groups()

  (groups,) = instruction.int_attribute('feature_group_count') or (1,)
  (batch_groups,) = instruction.int_attribute('batch_group_count') or (1,)
  products = left[left_labels.index('b')] // batch_groups
  products *= left[left_labels.index('f')] // groups
  products *= right[right_labels.index('o')]

  window = re.search(r'window=\{([^}]*)\}', instruction.attributes)
  window = window.group(1) if window else ''
  for i in range(len(left_labels) - 2):
    products *= _products_along_dimension(
      left[left_labels.index(str(i))],
      right[right_labels.index(str(i))],
      output[output_labels.index(str(i))],
      low_padding=_window_number(window, 'pad', i, default=0),
      stride=_window_number(window, 'stride', i),
      lhs_dilate=_window_number(window, 'lhs_dilate', i),
      rhs_dilate=_window_number(window, 'rhs_dilate', i),
    )
  return 2 * products


def _window_number(window: str, name: str, i: int, default: int = 1) -> int:
  """Returns the number of spatial dimension i in `name=AxBxC`, of `pad=1_2x...` the low one."""
  found = re.search(rf'\b{name}=(\S+)', window)
  if found is None:
    return default
  return int(found.group(1).split('x')[i].split('_')[0])


@functools.lru_cache(maxsize=10_000)
def _products_along_dimension(
  input_size: int,
  kernel_size: int,
  output_size: int,
  low_padding: int,
  stride: int,
  lhs_dilate: int,
  rhs_dilate: int,
) -> int:
  """Returns the pairs of an output and a kernel position that read an input element."""
  last, total = (input_size - 1) * lhs_dilate, 0
  cycle = lhs_dilate // math.gcd(stride, lhs_dilate)
  for tap in range(kernel_size):
    # Output position `out` reads position `out * stride + offset`, valid in 0 .. last.
    offset = tap * rhs_dilate - low_padding
    begin = max(0, -(offset // stride))
    end = min(output_size - 1, (last - offset) // stride)
    for out in range(begin, min(begin + cycle, end + 1)):
      if (out * stride + offset) % lhs_dilate == 0:
        total += (end - out) // cycle + 1
        break
  return total
