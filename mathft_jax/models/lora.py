"""Products with a matrix of the model, and a matrix with a low-rank change beside it."""

import dataclasses

import jax
import jax.numpy as jnp

# The matrices of a layer that may have a change, and how many of their axes are inputs.
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
  """W + narrow wide, in the place of W among the parameters.

  `narrow` has W's input axes and then the rank r, `wide` has r and then W's output axes; stacked
  layers stand in front of all three.
  """

  weight: jax.Array
  narrow: jax.Array
  wide: jax.Array


def einsum_with_lora(spec: str, x, parameter):
  """einsum(spec, x, W) in the dtype of x, where W is an array or `LowRank`.

  A change goes a way of its own beside W: neither the sum nor a gradient of W is ever made.
  """
  weight = parameter.get_value()
  if not isinstance(weight, LoraWeight):
    return jnp.einsum(spec, x, weight.astype(x.dtype))
  operands, result = spec.split('->')
  left, right = operands.split(',')
  summed = ''.join(axis for axis in right if axis not in result)
  without = str.maketrans('', '', summed)
  short, outputs = left.translate(without) + 'r', right.translate(without)
  short_x = jnp.einsum(
    f'{left},{summed}r->{short}', x, weight.narrow.astype(x.dtype)
  )
  change = jnp.einsum(
    f'{short},r{outputs}->{result}', short_x, weight.wide.astype(x.dtype)
  )
  return jnp.einsum(spec, x, weight.weight.astype(x.dtype)) + change
