"""FLOPs of a traced program, counted in its jaxpr: over all devices, for any platform.

  costs = count_traced_flops(jax.make_jaxpr(f)(*shapes))   # or jax.jit(f).trace(*shapes).jaxpr
  costs.flops, costs.kernels, costs.bytes

Counted: matrix products (`dot_general`), 2 x output elements x contracted size, in all inner
jaxprs; grouped ones (`ragged_dot`) as if each row were multiplied with one matrix. The body of a
scan counts as often as it runs, a `cond` as its most expensive branch, the body of a `shard_map`
once per device of its manual axes. A Pallas kernel counts as its cost estimate or, without one, as
the products of one grid step times the grid (too many if steps are skipped).

The jaxpr is counted as traced: products of a rematerialized forward pass count again, and products
that a compiler would remove count too. The model FLOPs of MFU are those of a trace with
`remat='none'`. Elementwise operations and reductions are not counted; convolutions are in
`uncounted`.
"""

from collections import Counter
from collections.abc import Mapping
import dataclasses
import math
from typing import cast

import jax
from jax.extend import core

_NOT_COUNTED = ('conv_general_dilated',)
_FLOPS = ('flops', '')
_LOOPS = ('loops', '')
_UNSTATED = ('unstated', '')

Jaxpr = core.ClosedJaxpr | core.Jaxpr
Totals = Counter[tuple[str, str]]  # by (kind, name)


@dataclasses.dataclass(frozen=True)
class TracedCosts:
  """Costs of one execution over all devices.

  Attributes:
    flops: of matrix products and kernels.
    kernels: the FLOPs of each Pallas kernel, by name.
    unstated_flops: FLOPs of the kernels without a cost estimate; compiled programs do not contain
      them.
    bytes: arguments read once and results written once. This is a lower bound of the bytes
      accessed, unless results are written in place.
    uncounted: executions of other products, by primitive.
    data_dependent_loops: number of while loops; each runs `unknown_trip_count` times here.
  """

  flops: int
  kernels: dict[str, int]
  unstated_flops: int
  bytes: int
  uncounted: dict[str, int]
  data_dependent_loops: int


def count_traced_flops(
  jaxpr: Jaxpr, *, unknown_trip_count: int = 1
) -> TracedCosts:
  """Returns the costs of a jaxpr.

  Args:
    jaxpr: the traced program.
    unknown_trip_count: executions of the body of a while loop. The jaxpr does not contain them;
      `scan`, and `fori_loop` with constant bounds, are scans with a known length.
  """
  jaxpr = _open_jaxpr(jaxpr)
  totals = _count_jaxpr(jaxpr, unknown_trip_count)
  return TracedCosts(
    totals[_FLOPS],
    _numbers_of_kind(totals, 'kernel'),
    totals[_UNSTATED],
    _argument_and_result_bytes(jaxpr),
    _numbers_of_kind(totals, 'uncounted'),
    totals[_LOOPS],
  )


def _numbers_of_kind(totals: Totals, kind: str) -> dict[str, int]:
  return {name: number for (of, name), number in totals.items() if of == kind}


def _count_jaxpr(jaxpr: core.Jaxpr, trip_count: int) -> Totals:
  totals: Totals = Counter()
  for equation in jaxpr.eqns:
    totals.update(_count_equation(equation, trip_count))
  return totals


def _count_equation(equation: core.JaxprEqn, trip_count: int) -> Totals:
  name, params = equation.primitive.name, equation.params
  if name == 'dot_general':
    return Counter({_FLOPS: _dot_flops(equation)})
  if name == 'ragged_dot_general':
    return Counter({_FLOPS: _ragged_dot_flops(equation)})
  if name in _NOT_COUNTED:
    return Counter({('uncounted', name): 1})
  if name == 'pallas_call':
    return _count_kernel(params, trip_count)
  if name == 'cond':
    branches = map(_open_jaxpr, params['branches'])
    totals = [_count_jaxpr(branch, trip_count) for branch in branches]
    return max(totals, key=lambda total: total[_FLOPS])

  inner: Totals = Counter()
  for value in jax.tree.leaves(list(params.values()), is_leaf=_is_jaxpr):
    if _is_jaxpr(value):
      inner.update(_count_jaxpr(_open_jaxpr(value), trip_count))
  if name == 'scan':
    return _scale(inner, params['length'])
  if name == 'while':
    return _scale(inner, trip_count) + Counter({_LOOPS: 1})
  if name == 'shard_map':
    mesh = params['mesh']
    axes = params.get('manual_axes', mesh.axis_names)
    axes = params.get('newly_manual_axes', axes)
    return _scale(inner, math.prod(mesh.shape[axis] for axis in axes))
  return inner


def _scale(totals: Totals, times: int) -> Totals:
  """Returns the totals of several executions; loops are counted once."""
  scaled: Totals = Counter()
  for key, number in totals.items():
    scaled[key] = number if key == _LOOPS else times * number
  return scaled


def _ragged_dot_flops(equation: core.JaxprEqn) -> int:
  """Returns the FLOPs of a grouped product, of which each row has one group."""
  numbers = equation.params['ragged_dot_dimension_numbers']
  (contracted, _), _ = numbers.dot_dimension_numbers
  left = _aval(equation.invars[0]).shape
  flops = 2 * math.prod(_aval(equation.outvars[0]).shape)
  for dim in contracted:
    flops *= left[dim]
  if set(numbers.lhs_ragged_dimensions) & set(contracted):
    flops //= _aval(equation.invars[2]).shape[-1]  # the result has each group
  return flops


def _dot_flops(equation: core.JaxprEqn) -> int:
  (contracted, _), _ = equation.params['dimension_numbers']
  left = _aval(equation.invars[0]).shape
  flops = 2 * math.prod(_aval(equation.outvars[0]).shape)
  for dim in contracted:
    flops *= left[dim]
  return flops


def _count_kernel(params: Mapping, trip_count: int) -> Totals:
  """Returns the FLOPs of a Pallas kernel's cost estimate, or of its body times its grid."""
  name = params.get('name') or params.get('name_and_src_info')
  key = 'kernel', str(name or 'pallas_call')
  if params.get('cost_estimate') is not None:
    flops = int(params['cost_estimate'].flops)
    return Counter({_FLOPS: flops, key: flops})
  flops = _count_jaxpr(_open_jaxpr(params['jaxpr']), trip_count)[_FLOPS]
  flops *= math.prod(map(int, params['grid_mapping'].grid))
  return Counter({_FLOPS: flops, _UNSTATED: flops, key: flops})


def _aval(variable: core.Var | core.Literal) -> jax.ShapeDtypeStruct:
  return cast(jax.ShapeDtypeStruct, variable.aval)  # same fields


def _is_jaxpr(value: object) -> bool:
  return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def _open_jaxpr(jaxpr: Jaxpr) -> core.Jaxpr:
  return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


def _argument_and_result_bytes(jaxpr: core.Jaxpr) -> int:
  total = 0
  for variable in (*jaxpr.invars, *jaxpr.constvars, *jaxpr.outvars):
    aval = _aval(variable)
    total += math.prod(aval.shape) * aval.dtype.itemsize
  return total
