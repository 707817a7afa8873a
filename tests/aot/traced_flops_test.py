"""Tests of the FLOPs of traced programs, with all kinds of inner jaxprs."""

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp
import pytest

from mathft_jax.aot import traced_flops
from mathft_jax.models import grouped_matmul

X = jax.ShapeDtypeStruct((8, 8), 'float32')
FLOPS_OF_ONE = 2 * 8**3  # of one product of X


def count_flops(f, *shapes, **settings):
  return traced_flops.count_traced_flops(
    jax.make_jaxpr(f)(*(shapes or (X,))), **settings
  )


def test_a_product_costs_two_flops_per_multiplication_and_batch():
  costs = count_flops(
    lambda x, y: jnp.einsum('bij,bjk->bik', x, y),
    jax.ShapeDtypeStruct((3, 4, 5), 'bfloat16'),
    jax.ShapeDtypeStruct((3, 5, 6), 'bfloat16'),
  )
  assert costs.flops == 2 * 3 * 4 * 5 * 6
  assert costs.bytes == 2 * 3 * (4 * 5 + 5 * 6 + 4 * 6)


@jax.custom_vjp
def squared(x):
  return x @ x


squared.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T + x.T @ g,))


@pytest.mark.parametrize(
  'f, products',
  [
    (jax.jit(lambda x: x @ x), 1),
    (jax.checkpoint(lambda x: x @ x), 1),
    (squared, 1),
    (jax.grad(lambda x: squared(x).sum()), 3),
    (lambda x: jax.lax.scan(lambda c, _: (c @ c, None), x, length=5)[0], 5),
    (lambda x: jax.lax.fori_loop(0, 4, lambda _, c: c @ c, x), 4),
    (
      lambda x: jax.lax.scan(
        lambda c, _: (jax.lax.fori_loop(0, 3, lambda _, d: d @ d, c), None),
        x,
        length=2,
      )[0],
      6,
    ),
    (
      lambda x: jax.lax.cond(
        x[0, 0] > 0, lambda y: y @ y @ y, lambda y: y @ y, x
      ),
      2,
    ),
    (lambda x: jax.vmap(lambda row: row @ x)(x), 1),
    (lambda x: x + x, 0),
  ],
)
def test_each_execution_of_a_product_counts(f, products):
  assert count_flops(f).flops == products * FLOPS_OF_ONE


def test_while_loops_have_the_assumed_trip_count_and_are_reported():
  def loop(x):
    return jax.lax.while_loop(lambda c: c.sum() < 1, lambda c: c @ c, x)

  costs = count_flops(loop, unknown_trip_count=9)
  assert (costs.flops, costs.data_dependent_loops) == (9 * FLOPS_OF_ONE, 1)
  twice = count_flops(
    lambda x: jax.lax.scan(lambda c, _: (loop(c), None), x, length=2)[0],
    unknown_trip_count=9,
  )
  assert (twice.flops, twice.data_dependent_loops) == (18 * FLOPS_OF_ONE, 1)


def test_a_shard_map_runs_on_each_device_of_its_axes():
  mesh = jax.sharding.AbstractMesh(
    (4, 2), ('data', 'model'), axis_types=(jax.sharding.AxisType.Auto,) * 2
  )
  spec = jax.sharding.PartitionSpec
  f = jax.shard_map(
    lambda x, y: x @ y,
    mesh=mesh,
    in_specs=(spec('data'), spec()),
    out_specs=spec('data'),
    check_vma=False,
  )
  rows = jax.ShapeDtypeStruct((32, 8), 'float32')
  # (8, 8) x (8, 8) on each of 8 devices.
  assert count_flops(f, rows, X).flops == 8 * FLOPS_OF_ONE


@pytest.mark.parametrize(
  'estimate, expected',
  [
    (None, 2 * FLOPS_OF_ONE),
    (pl.CostEstimate(flops=77, transcendentals=0, bytes_accessed=0), 77),
  ],
)
def test_a_kernel_costs_its_estimate_or_its_body_times_its_grid(
  estimate, expected
):
  def kernel(x, y, out):
    out[...] = x[...] @ y[...]

  row, whole = (
    pl.BlockSpec((8, 8), lambda i: (i, 0)),
    pl.BlockSpec((8, 8), lambda i: (0, 0)),
  )
  rows = jax.ShapeDtypeStruct((16, 8), 'float32')
  call = pl.pallas_call(
    kernel,
    grid=(2,),
    in_specs=[row, whole],
    out_specs=row,
    out_shape=rows,
    cost_estimate=estimate,
    name='rows_times',
  )
  costs = count_flops(call, rows, X)
  assert costs.flops == expected
  assert costs.kernels == {'rows_times': expected}
  assert costs.unstated_flops == (0 if estimate else expected)


def test_each_row_of_a_grouped_product_is_multiplied_with_one_matrix():
  def total(rows, matrices):
    sizes = jnp.array([5, 3, 8], jnp.int32)
    return jnp.sum(grouped_matmul.grouped_matmul(rows, matrices, sizes, 'cpu'))

  rows = jax.ShapeDtypeStruct((16, 4), 'float32')
  matrices = jax.ShapeDtypeStruct((3, 4, 6), 'float32')
  flops = 2 * 16 * 4 * 6
  assert count_flops(total, rows, matrices).flops == flops
  both = jax.grad(total, (0, 1))
  assert count_flops(both, rows, matrices).flops == 3 * flops


def test_convolutions_are_reported_as_uncounted():
  costs = count_flops(
    lambda x, k: jax.lax.conv(x, k, (1, 1), 'SAME'),
    jax.ShapeDtypeStruct((1, 1, 8, 8), 'float32'),
    jax.ShapeDtypeStruct((1, 1, 3, 3), 'float32'),
  )
  assert (costs.flops, costs.uncounted) == (0, {'conv_general_dilated': 1})
