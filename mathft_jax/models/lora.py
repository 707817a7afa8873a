"""Matrix products of the layers, with an optional low-rank update (LoRA, arXiv 2106.09685).

`training/lora.py` creates, trains and merges the updates.
"""

import dataclasses
import functools
import math

from flax import nnx
import jax
import jax.numpy as jnp

# Matrices of a layer that can have an update: how many of their axes are inputs.
NUM_INPUT_AXES = {
  'query': 1,
  'key': 1,
  'value': 1,
  'out': 2,
  'gate': 1,
  'up': 1,
  'down': 1,
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LoraWeight:
  """A matrix W + A B, in the parameters instead of W.

  Attributes:
    weight: W: its input axes, then its output axes.
    a: A: the input axes of W, then the rank.
    b: B: the rank, then the output axes of W; multiplied by alpha / rank.
    Stacked layers are a leading axis of all three.
  """

  weight: jax.Array
  a: jax.Array
  b: jax.Array


def einsum_with_lora(
  spec: str, x: jax.Array, parameter: nnx.Param
) -> jax.Array:
  """Returns einsum(spec, x, W) in the dtype of x; W is an array or a `LoraWeight`.

  A LoraWeight gives x @ W + (x @ A) @ B: the sum W + A B and a gradient of W are never computed.
  """
  weight = parameter.get_value()
  if not isinstance(weight, LoraWeight):
    return _einsum(spec, x, weight.astype(x.dtype))

  operands, result = spec.split('->')
  x_axes, weight_axes = operands.split(',')
  inputs = ''.join(axis for axis in weight_axes if axis not in result)
  outputs = weight_axes.removeprefix(inputs)
  x_a_axes = x_axes.removesuffix(inputs) + 'r'

  x_a = jnp.einsum(
    f'{x_axes},{inputs}r->{x_a_axes}', x, weight.a.astype(x.dtype)
  )
  update = jnp.einsum(
    f'{x_a_axes},r{outputs}->{result}', x_a, weight.b.astype(x.dtype)
  )
  return jnp.einsum(spec, x, weight.weight.astype(x.dtype)) + update


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _einsum(spec: str, x: jax.Array, weight: jax.Array) -> jax.Array:
  """Returns einsum(spec, x, W), with a gradient of W that XLA:CPU computes without a copy of x.

  For two axes of rows (batch and length) XLA:CPU copies a transposed operand, and repeats the
  elementwise operations before it.
  """
  return jnp.einsum(spec, x, weight)


def _einsum_forward(
  spec: str, x: jax.Array, weight: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return jnp.einsum(spec, x, weight), (x, weight)


def _einsum_backward(
  spec: str, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
  x, weight = saved
  transpose_x = jax.linear_transpose(lambda x: jnp.einsum(spec, x, weight), x)

  def over_row_axes(x: jax.Array, gradient: jax.Array) -> jax.Array:
    multiply = functools.partial(jnp.einsum, spec, x)
    return jax.linear_transpose(multiply, weight)(gradient)[0]

  def over_flat_rows(x: jax.Array, gradient: jax.Array) -> jax.Array:
    num_rows = math.prod(x.shape[:2])
    x_RI = x.reshape(num_rows, -1)
    gradient_RO = gradient.reshape(num_rows, -1)
    return (x_RI.T @ gradient_RO).reshape(weight.shape)

  weight_gradient = jax.lax.platform_dependent(
    x, gradient, cpu=over_flat_rows, default=over_row_axes
  )
  return transpose_x(gradient)[0], weight_gradient


_einsum.defvjp(_einsum_forward, _einsum_backward)
