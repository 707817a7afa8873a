"""Matrix products of consecutive groups of rows, each group with its own matrix.

  out_RO = grouped_matmul(x_RI, weights_EIO, group_sizes_E, platform='tpu')

The products are `jax.lax.ragged_dot`. On TPU, XLA computes it without masked rows, except for the
gradient of the matrices, which is a kernel of JAX (megablox). Elsewhere XLA multiplies all rows
with all matrices and masks.

Shapes: R rows, E groups, I inputs, O outputs.
"""

import functools
from typing import cast

import jax
from jax.experimental.pallas.ops.tpu.megablox.gmm import tgmm
import jax.numpy as jnp

# Platform -> whether Pallas interprets the kernel of the gradient; other platforms do not use it.
INTERPRETED = {'tpu': False, 'interpret': True}
# Rows, inputs and outputs of a block of the kernel; its blocks fit into 16 MiB of VMEM.
MAX_BLOCK_SIZE = 512
LANES = 128  # of a TPU; the rows are padded to a multiple of it

_ROWS_TIMES_TRANSPOSED = jax.lax.RaggedDotDimensionNumbers(
  dot_dimension_numbers=(((1,), (2,)), ((), ())),
  lhs_ragged_dimensions=[0],
  rhs_group_dimensions=[0],
)
_SUM_OVER_ROWS = jax.lax.RaggedDotDimensionNumbers(
  dot_dimension_numbers=(((0,), (0,)), ((), ())),
  lhs_ragged_dimensions=[0],
  rhs_group_dimensions=[],
)


def grouped_matmul(
  x_RI: jax.Array,
  weights_EIO: jax.Array,
  group_sizes_E: jax.Array,
  platform: str,
) -> jax.Array:
  """Returns the rows [R, O] of each group times the matrix of the group.

  Args:
    x_RI: rows, ordered by group. Rows after the last group have results and gradients of zero.
    group_sizes_E: int32, rows of each group; at most R in all.
    platform: 'tpu', 'gpu' or 'cpu', for which the program is compiled.
  """
  # custom_vjp hides the type of the result.
  out_RO = _grouped_matmul(platform, x_RI, weights_EIO, group_sizes_E)
  return cast(jax.Array, out_RO)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _grouped_matmul(
  platform: str,
  x_RI: jax.Array,
  weights_EIO: jax.Array,
  group_sizes_E: jax.Array,
) -> jax.Array:
  out_RO = jax.lax.ragged_dot(x_RI, weights_EIO, group_sizes_E)
  return _mask_rows_without_group(out_RO, group_sizes_E)


def _forward(
  platform: str,
  x_RI: jax.Array,
  weights_EIO: jax.Array,
  group_sizes_E: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  out_RO = grouped_matmul(x_RI, weights_EIO, group_sizes_E, platform)
  return out_RO, (x_RI, weights_EIO, group_sizes_E)


def _backward(
  platform: str, saved: tuple[jax.Array, ...], gradient_RO: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
  x_RI, weights_EIO, group_sizes_E = saved
  x_gradient_RI = jax.lax.ragged_dot_general(
    gradient_RO, weights_EIO, group_sizes_E, _ROWS_TIMES_TRANSPOSED
  )
  x_gradient_RI = _mask_rows_without_group(x_gradient_RI, group_sizes_E)
  weights_gradient_EIO = sums_of_outer_products(
    x_RI, gradient_RO, group_sizes_E, platform
  )
  return x_gradient_RI, weights_gradient_EIO, None


_grouped_matmul.defvjp(_forward, _backward)


def sums_of_outer_products(
  x_RI: jax.Array,
  y_RO: jax.Array,
  group_sizes_E: jax.Array,
  platform: str,
) -> jax.Array:
  """Returns x^T y [E, I, O] of the rows of each group; arguments as for `grouped_matmul`."""
  if platform not in INTERPRETED:
    return jax.lax.ragged_dot_general(x_RI, y_RO, group_sizes_E, _SUM_OVER_ROWS)

  num_rows = x_RI.shape[0]
  block_rows = min(MAX_BLOCK_SIZE, -(-num_rows // LANES) * LANES)
  padding = (0, -num_rows % block_rows), (0, 0)
  return tgmm(
    jnp.pad(x_RI, padding).T,
    jnp.pad(y_RO, padding),
    group_sizes_E,
    preferred_element_type=x_RI.dtype,
    tiling=(
      block_rows,
      min(MAX_BLOCK_SIZE, x_RI.shape[1]),
      min(MAX_BLOCK_SIZE, y_RO.shape[1]),
    ),
    interpret=INTERPRETED[platform],
  )


def _mask_rows_without_group(
  x_RO: jax.Array, group_sizes_E: jax.Array
) -> jax.Array:
  """Returns the rows with zeros after the last group, where a kernel may leave anything."""
  has_group_R = jnp.arange(x_RO.shape[0]) < jnp.sum(group_sizes_E)
  return jnp.where(has_group_R[:, None], x_RO, 0)
