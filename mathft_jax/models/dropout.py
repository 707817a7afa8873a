"""Dropout on the residual stream, with one random key for each sequence.

  dropout = Dropout(rate=0.1, keys_B=sequence_keys(seed=0, step=step, batch_size=32))
  x_BTD = dropout(x_BTD, place=0)

The mask of a sequence depends on the seed, the step, the row of the sequence in the global batch
and the place in the model, not on the mesh or the number of microbatches.
"""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Dropout:
  """Sets a fraction of the values to 0 and scales the others, so that the mean is kept.

  Attributes:
    rate: fraction of the values that become 0.
    keys_B: a random key for each sequence.
  """

  rate: float
  keys_B: jax.Array

  def __call__(self, x_BTD: jax.Array, place: int | jax.Array) -> jax.Array:
    """Returns the values [B, T, D] after dropout; `place` differs between uses in a model."""

    def keep_mask(key: jax.Array) -> jax.Array:
      key = jax.random.fold_in(key, place)
      return jax.random.bernoulli(key, 1 - self.rate, x_BTD.shape[1:])

    keep_BTD = jax.vmap(keep_mask)(self.keys_B)
    return jnp.where(keep_BTD, x_BTD / (1 - self.rate), 0).astype(x_BTD.dtype)


def sequence_keys(seed: int, step: jax.Array, batch_size: int) -> jax.Array:
  """Returns the random keys [B] of the sequences of a global batch in one step."""
  key = jax.random.fold_in(jax.random.key(seed), step)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch_size))


def attention_place(layer: int | jax.Array) -> int | jax.Array:
  """Returns the place after the attention of a layer; that of the embedding is 0."""
  return 2 * layer + 1


def mlp_place(layer: int | jax.Array) -> int | jax.Array:
  """Returns the place after the MLP of a layer."""
  return 2 * layer + 2
