"""Sampling methods: functions `(logits_BV, keys_B) -> tokens_B` with one random key per sequence.

A token depends only on the logits and the key of its own sequence. If several tokens have the same
probability at the border of a nucleus or of the top k, all of them are kept.

No method sorts the vocabulary; see `rejection_sampling`.
"""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

from mathft_jax.inference import rejection_sampling


class SamplingMethod(Protocol):
  """Chooses the next token of each sequence. Instances are hashable, for `jax.jit`."""

  def __call__(self, logits_BV: jax.Array, keys_B: jax.Array, /) -> jax.Array:
    """Returns token ids [B], int32."""
    ...

  def __hash__(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Greedy:
  """The most probable token; the one with the lowest id if several are."""

  def __call__(self, logits_BV: jax.Array, keys_B: jax.Array) -> jax.Array:
    del keys_B
    blocks_BIJ = rejection_sampling.split_into_blocks(logits_BV)
    block_B = rejection_sampling.first_maximum(jnp.max(blocks_BIJ, axis=-1))
    index_B = rejection_sampling.first_maximum(
      rejection_sampling.take_rows(blocks_BIJ, block_B)
    )
    tokens_B = block_B * rejection_sampling.BLOCK_SIZE + index_B
    return jnp.minimum(tokens_B, logits_BV.shape[1] - 1)


@dataclasses.dataclass(frozen=True)
class Temperature:
  """A random token with probability proportional to exp(logit / temperature)."""

  temperature: float = 1.0

  def __post_init__(self):
    _check_temperature(self)

  def __call__(self, logits_BV: jax.Array, keys_B: jax.Array) -> jax.Array:
    logits = rejection_sampling.BlockedLogits.of_vocabulary(
      logits_BV, self.temperature
    )
    sums_BI = jnp.sum(logits.weights(), axis=-1)
    tokens_B, _ = rejection_sampling.draw(logits, sums_BI, keys_B)
    return jnp.minimum(tokens_B, logits_BV.shape[1] - 1)


@dataclasses.dataclass(frozen=True)
class TopK:
  """A random token among the k most probable ones."""

  k: int = 40
  temperature: float = 1.0

  def __post_init__(self):
    _check_temperature(self)
    if self.k < 1:
      raise ValueError(f'TopK.k is {self.k}; it must be at least 1.')

  def __call__(self, logits_BV: jax.Array, keys_B: jax.Array) -> jax.Array:
    logits = rejection_sampling.BlockedLogits.of_vocabulary(
      logits_BV, self.temperature
    )
    limit_B = jnp.full(logits_BV.shape[:1], self.k, jnp.float32)

    def sample_in_vocabulary(wanted_B: jax.Array) -> jax.Array:
      top = logits.above(rejection_sampling.floor_of_top_k(logits, self.k))
      return rejection_sampling.sample_among_largest(
        top, rejection_sampling.is_positive, limit_B, keys_B, wanted_B
      )

    num_blocks = min(self.k, rejection_sampling.MAX_LARGEST_BLOCKS)
    tokens_B = rejection_sampling.sample_in_largest_blocks(
      logits,
      rejection_sampling.is_positive,
      limit_B,
      keys_B,
      num_blocks,
      sample_in_vocabulary,
    )
    return jnp.minimum(tokens_B, logits_BV.shape[1] - 1)


@dataclasses.dataclass(frozen=True)
class Nucleus:
  """A random token among the fewest that have the probability `p` together (Holtzman et al., 2020).

  The probabilities are those at `temperature`. The most probable token is always included. The
  defaults are the paper's.
  """

  p: float = 0.95
  temperature: float = 0.9

  def __post_init__(self):
    _check_temperature(self)
    if not 0 < self.p <= 1:
      raise ValueError(f'Nucleus.p is {self.p}; wanted 0 < p <= 1.')

  def __call__(self, logits_BV: jax.Array, keys_B: jax.Array) -> jax.Array:
    if self.p == 1:
      return Temperature(self.temperature)(logits_BV, keys_B)
    logits = rejection_sampling.BlockedLogits.of_vocabulary(
      logits_BV, self.temperature
    )
    limit_B = self.p * jnp.sum(logits.weights(), axis=(1, 2))
    all_B = jnp.ones(limit_B.shape, bool)
    tokens_B = rejection_sampling.sample_among_largest(
      logits, lambda x: x, limit_B, keys_B, wanted_B=all_B
    )
    return jnp.minimum(tokens_B, logits_BV.shape[1] - 1)


def _check_temperature(method: Temperature | TopK | Nucleus) -> None:
  if not method.temperature > 0:
    raise ValueError(
      f'{type(method).__name__}.temperature is {method.temperature}; it must be above 0. '
      'For the most probable token use Greedy().'
    )
