"""Flops of the matrix products and convolutions of an HLO module, exactly."""

import functools
import math
import re

from mathft_jax.aot.hlo import text_parser

MATMUL_OPCODES = ('dot', 'ragged-dot', 'scaled-dot', 'convolution')


def instruction_flops(
  inside: text_parser.HloComputation, each: text_parser.HloInstruction
) -> int:
  """Flops of an instruction whose opcode is one of `PRODUCTS`."""
  return (
    _convolution_flops if each.opcode.startswith('convolution') else _dot_flops
  )(inside, each)


def gpu_library_call_flops(
  inside: text_parser.HloComputation, each: text_parser.HloInstruction
) -> int | None:
  """Flops of a GPU library's matrix product, by its backend_config; None for other calls."""
  target = each.text('custom_call_target') or ''
  found = re.search(
    r'"lhs_contracting_dimensions":\[([^\]]*)\]', each.attributes
  )
  if found is None or not re.search('gemm|matmul', target):
    return None
  left = inside.instructions[each.operands[0]].arrays[0]
  contracted = math.prod(
    left.dims[i] for i in map(int, re.findall(r'\d+', found.group(1)))
  )
  return (
    2 * text_parser.parse_array_shapes(each.result)[0].elements * contracted
  )


def _dot_flops(inside, each) -> int:
  left = inside.instructions[each.operands[0]].arrays[0]
  contracted = math.prod(
    left.dims[i] for i in each.numbers('lhs_contracting_dims')
  )
  return (
    2 * text_parser.parse_array_shapes(each.result)[0].elements * contracted
  )


def _convolution_flops(inside, each) -> int:
  """2 x products of an input and a kernel element that are not padding or holes of dilation."""
  left, right = (
    inside.instructions[name].arrays[0] for name in each.operands[:2]
  )
  found = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', each.attributes)
  inputs, kernel, output = found.groups()
  groups, batch_groups = (
    each.numbers(name) or (1,)
    for name in ('feature_group_count', 'batch_group_count')
  )
  products = (
    left.dims[inputs.index('b')]
    // batch_groups[0]
    * (left.dims[inputs.index('f')] // groups[0])
    * right.dims[kernel.index('o')]
  )
  window = re.search(r'window=\{([^}]*)\}', each.attributes)
  window = (
    dict(part.split('=') for part in window.group(1).split()) if window else {}
  )
  for i in range(len(inputs) - 2):
    taps = {
      name: int(window[name].split('x')[i]) if name in window else 1
      for name in ('stride', 'lhs_dilate', 'rhs_dilate')
    }
    low = (
      int(window['pad'].split('x')[i].split('_')[0]) if 'pad' in window else 0
    )
    products *= _meetings(
      left.dims[inputs.index(str(i))],
      right.dims[kernel.index(str(i))],
      text_parser.parse_array_shapes(each.result)[0].dims[output.index(str(i))],
      low,
      **taps,
    )
  return 2 * products


@functools.lru_cache(maxsize=10_000)
def _meetings(
  size: int,
  kernel: int,
  outputs: int,
  low: int,
  stride: int,
  lhs_dilate: int,
  rhs_dilate: int,
) -> int:
  """Pairs of an output position and a kernel position that fall on an input element."""
  last, total = (size - 1) * lhs_dilate, 0
  cycle = lhs_dilate // math.gcd(stride, lhs_dilate)
  for tap in range(kernel):
    offset = (
      tap * rhs_dilate - low
    )  # the position is out * stride + offset, wanted in 0 .. last
    begin = max(0, -(offset // stride))
    end = min(outputs - 1, (last - offset) // stride)
    first = next(
      (
        out
        for out in range(begin, min(begin + cycle, end + 1))
        if (out * stride + offset) % lhs_dilate == 0
      ),
      None,
    )
    total += 0 if first is None else (end - first) // cycle + 1
  return total
