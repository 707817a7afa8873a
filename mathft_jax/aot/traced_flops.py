"""Flops of a traced program, before any compiler has seen it: over all devices, of any platform.

  costs = flops.matmul_flops(jax.make_jaxpr(f)(*shapes))      # or jax.jit(f).trace(*shapes).jaxpr
  costs.flops, costs.kernels, costs.bytes

Counted: matrix products (`dot_general`), 2 x output elements x contracted size, in every jaxpr
within: a scan's body as often as it runs, of a `cond` the dearest branch, a `shard_map`'s body for
each device of its manual axes, Pallas kernels as they state or, where they do not, the products of
one program of their grid times the grid (too many where programs skip work).

The jaxpr is counted as traced: products of a remat'd backward pass again, and some that a compiler
would find unused. What a model needs, the F of MFU, is the count of a trace with `remat='none'`.
Not counted: elementwise work, reductions; convolutions are in `uncounted`.
"""

from collections import Counter
import dataclasses
import math
from typing import Any

import jax
from jax.extend import core

_NOT_COUNTED = ('conv_general_dilated', 'ragged_dot', 'ragged_dot_general')


@dataclasses.dataclass(frozen=True)
class TracedCosts:
  """Of one execution, over all devices.

  Attributes:
    flops: of matrix products and kernels.
    kernels: the share of each Pallas kernel, by name.
    bytes: arguments read once and results written once; what lies between is not in it, so a
      program moves at least so much unless its results are written over its arguments.
    uncounted: products of other kinds: primitive -> executions.
    unknown_loops: while loops, each run `unknown_trips` times in this count.
  """

  flops: int
  kernels: dict[str, int]
  bytes: int
  uncounted: dict[str, int]
  unknown_loops: int


def count_traced_flops(
  jaxpr: core.ClosedJaxpr | core.Jaxpr, *, unknown_trips: int = 1
) -> TracedCosts:
  """The costs of a jaxpr.

  Args:
    unknown_trips: executions of the body of a while loop (a jaxpr never says how many; `scan` and
      `fori_loop` with constant bounds are scans and known).
  """
  jaxpr = _open(jaxpr)
  totals = _of_jaxpr(jaxpr, unknown_trips)
  named = lambda kind: {
    name: number for (of, name), number in totals.items() if of == kind
  }
  return TracedCosts(
    totals['flops', ''],
    named('kernel'),
    _bytes(jaxpr),
    named('uncounted'),
    totals['loops', ''],
  )


def _of_jaxpr(jaxpr: core.Jaxpr, trips: int) -> Counter:
  """Numbers by (kind, name) of one execution."""
  total: Counter = Counter()
  for equation in jaxpr.eqns:
    total.update(_of_equation(equation, trips))
  return total


def _of_equation(equation: core.JaxprEqn, trips: int) -> Counter:
  name, params = equation.primitive.name, equation.params
  if name == 'dot_general':
    return Counter({('flops', ''): _product(equation)})
  if name in _NOT_COUNTED:
    return Counter({('uncounted', name): 1})
  if name == 'pallas_call':
    return _kernel(params, trips)
  if name == 'cond':
    branches = [
      _of_jaxpr(_open(branch), trips) for branch in params['branches']
    ]
    return max(branches, key=lambda total: total['flops', ''])
  inner = sum((_of_jaxpr(each, trips) for each in _inner(params)), Counter())
  if name == 'scan':
    return _times(inner, params['length'])
  if name == 'while':
    return _times(inner, trips) + Counter({('loops', ''): 1})
  if name == 'shard_map':
    axes = params.get(
      'newly_manual_axes', params.get('manual_axes', params['mesh'].axis_names)
    )
    return _times(inner, math.prod(params['mesh'].shape[axis] for axis in axes))
  return inner


def _times(total: Counter, times: int) -> Counter:
  return Counter(
    {
      key: number * (1 if key[0] == 'loops' else times)
      for key, number in total.items()
    }
  )


def _product(equation: core.JaxprEqn) -> int:
  (contracted, _), _ = equation.params['dimension_numbers']
  left = equation.invars[0].aval.shape
  return (
    2
    * math.prod(equation.outvars[0].aval.shape)
    * math.prod(left[i] for i in contracted)
  )


def _kernel(params: dict[str, Any], trips: int) -> Counter:
  """A Pallas kernel's stated flops, or the products of its body times its grid."""
  name = params.get('name') or str(
    params.get('name_and_src_info') or 'pallas_call'
  )
  if params.get('cost_estimate') is not None:
    flops = int(params['cost_estimate'].flops)
  else:
    one = _of_jaxpr(_open(params['jaxpr']), trips)['flops', '']
    flops = one * math.prod(int(size) for size in params['grid_mapping'].grid)
  return Counter({('flops', ''): flops, ('kernel', name): flops})


def _inner(params: dict[str, Any]) -> list[core.Jaxpr]:
  """The jaxprs that an equation runs."""
  values = jax.tree.leaves(
    list(params.values()), is_leaf=lambda x: _is_jaxpr(x) or x is None
  )
  return [_open(value) for value in values if _is_jaxpr(value)]


def _is_jaxpr(value: Any) -> bool:
  return isinstance(value, core.Jaxpr | core.ClosedJaxpr)


def _open(jaxpr: core.ClosedJaxpr | core.Jaxpr) -> core.Jaxpr:
  return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


def _bytes(jaxpr: core.Jaxpr) -> int:
  avals = [
    variable.aval
    for variable in (*jaxpr.invars, *jaxpr.constvars, *jaxpr.outvars)
  ]
  return sum(math.prod(aval.shape) * aval.dtype.itemsize for aval in avals)
