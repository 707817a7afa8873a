"""Sampling methods: functions `(logits_BV, keys_B) -> tokens_B` with one random key per sequence.

A token depends only on the logits and the key of its own sequence. If several tokens have the same
probability at the border of a nucleus or of the top k, all of them are kept.
"""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp

# Tokens of a large vocabulary that are summed at once.
SAMPLING_BLOCK_SIZE = 128


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
    # Not jnp.argmax: XLA's CPU backend unrolls its reduction of pairs if there are a few dozen
    # tokens, and LLVM was seen to compile that for minutes.
    vocab_size = logits_BV.shape[1]
    largest_B1 = jnp.max(logits_BV, axis=-1, keepdims=True)
    ids_V = jnp.arange(vocab_size, dtype=jnp.int32)
    candidates_BV = jnp.where(logits_BV == largest_B1, ids_V, vocab_size - 1)
    return jnp.min(candidates_BV, axis=-1)


@dataclasses.dataclass(frozen=True)
class Temperature:
  """A random token with probability proportional to exp(logit / temperature)."""

  temperature: float = 1.0

  def __post_init__(self):
    _check_temperature(self)

  def __call__(self, logits_BV: jax.Array, keys_B: jax.Array) -> jax.Array:
    return _sample(_unnormalized_probs(logits_BV, self.temperature), keys_B)


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
    probs_BV = _unnormalized_probs(logits_BV, self.temperature)
    k = min(self.k, probs_BV.shape[1])
    target_B = jnp.full(probs_BV.shape[:1], k, jnp.float32)
    kept_BV = _keep_largest(probs_BV, jnp.ones_like(probs_BV), target_B)
    return _sample(kept_BV, keys_B)


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
    probs_BV = _unnormalized_probs(logits_BV, self.temperature)
    if self.p < 1:
      target_B = self.p * jnp.sum(probs_BV, axis=-1)
      probs_BV = _keep_largest(probs_BV, probs_BV, target_B)
    return _sample(probs_BV, keys_B)


def _check_temperature(method: Temperature | TopK | Nucleus) -> None:
  if not method.temperature > 0:
    raise ValueError(
      f'{type(method).__name__}.temperature is {method.temperature}; it must be above 0. '
      'For the most probable token use Greedy().'
    )


def _unnormalized_probs(logits_BV: jax.Array, temperature: float) -> jax.Array:
  """Probabilities, scaled so that the largest of each sequence is 1."""
  scaled_BV = logits_BV.astype(jnp.float32) / temperature
  return jnp.exp(scaled_BV - jnp.max(scaled_BV, axis=-1, keepdims=True))


def _keep_largest(
  probs_BV: jax.Array, measure_BV: jax.Array, target_B: jax.Array
) -> jax.Array:
  """Sets all but the largest probabilities to 0.

  Keeps the fewest tokens whose `measure_BV` sums to at least `target_B`. The threshold is found by
  bisection over the bits of the float (a larger positive float has larger bits): 30 passes give it
  exactly, on a CPU 20 to 100 times as fast as a sort.
  """
  bits_BV = jax.lax.bitcast_convert_type(probs_BV, jnp.int32)
  bits_of_one = jax.lax.bitcast_convert_type(jnp.float32(1), jnp.int32)

  def bisect(_, bounds):
    low_B1, high_B1 = bounds
    middle_B1 = low_B1 + (high_B1 - low_B1 + 1) // 2
    sum_B = jnp.sum(jnp.where(bits_BV >= middle_B1, measure_BV, 0), axis=-1)
    enough_B1 = (sum_B >= target_B)[:, None]
    low_B1 = jnp.where(enough_B1, middle_B1, low_B1)
    high_B1 = jnp.where(enough_B1, high_B1, middle_B1 - 1)
    return low_B1, high_B1

  low_B1 = jnp.zeros((probs_BV.shape[0], 1), jnp.int32)
  high_B1 = jnp.full_like(low_B1, bits_of_one)
  threshold_B1, _ = jax.lax.fori_loop(0, 30, bisect, (low_B1, high_B1))
  return jnp.where(bits_BV >= threshold_B1, probs_BV, 0)


def _sample(weights_BV: jax.Array, keys_B: jax.Array) -> jax.Array:
  """A token per sequence with probability proportional to its weight (inverse transform sampling).

  A large vocabulary is sampled in two steps: first a block of tokens, then a token of the block.
  Cumulative sums over the whole vocabulary would be the most expensive part of sampling.
  """
  uniform_B = jax.vmap(jax.random.uniform)(keys_B)
  batch_size, vocab_size = weights_BV.shape
  if vocab_size <= 2 * SAMPLING_BLOCK_SIZE:
    total_B = jnp.sum(weights_BV, axis=-1)
    return _invert_cumulative_sum(weights_BV, uniform_B * total_B)[0]

  padding = -vocab_size % SAMPLING_BLOCK_SIZE
  padded = jnp.pad(weights_BV, ((0, 0), (0, padding)))
  blocks = padded.reshape(batch_size, -1, SAMPLING_BLOCK_SIZE)
  block_sums = jnp.sum(blocks, axis=-1)
  total_B = jnp.sum(block_sums, axis=-1)
  block_B, rest_B = _invert_cumulative_sum(block_sums, uniform_B * total_B)

  chosen_block = jnp.take_along_axis(blocks, block_B[:, None, None], axis=1)
  index_B = _invert_cumulative_sum(chosen_block[:, 0], rest_B)[0]
  return block_B * SAMPLING_BLOCK_SIZE + index_B


def _invert_cumulative_sum(
  weights_BV: jax.Array, target_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The first index whose cumulative sum exceeds the target, and the target minus the sum before.

  A target that rounding raised to the total is reduced below it, so that an index with weight 0 is
  never returned.
  """
  sums_BV = jnp.cumsum(weights_BV, axis=-1)
  below_total_B = jnp.nextafter(sums_BV[:, -1], jnp.float32(0))
  target_B = jnp.minimum(target_B, below_total_B)
  index_B = jnp.sum(sums_BV <= target_B[:, None], axis=-1, dtype=jnp.int32)

  sums_before_BV = jnp.pad(sums_BV, ((0, 0), (1, 0)))
  sum_before_B = jnp.take_along_axis(sums_before_BV, index_B[:, None], axis=1)
  return index_B, target_B - sum_before_B[:, 0]
