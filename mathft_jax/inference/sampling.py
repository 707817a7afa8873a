"""Ways to choose the next token: `(logits_BV, keys_B) -> tokens_B`, one random key per row.

Each row is drawn with its own key, so a row's token depends on nothing but its logits and its key.
Tokens whose probabilities tie at the border of a nucleus or of the top k are kept all.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

SamplingMethod = Callable[[jax.Array, jax.Array], jax.Array]

SAMPLING_BLOCK_SIZE = (
  128  # tokens summed at once when one of a large vocabulary is drawn
)


@dataclasses.dataclass(frozen=True)
class Greedy:
  """The most probable token; the first one of a tie."""

  def __call__(self, logits_BV, keys_B):
    del keys_B
    # Not jnp.argmax: over a few dozen tokens XLA's CPU backend unrolls its reduction of pairs, and
    # LLVM was seen to compile that for minutes.
    largest_B1 = jnp.max(logits_BV, axis=-1, keepdims=True)
    index_V = jnp.arange(logits_BV.shape[1], dtype=jnp.int32)
    return jnp.min(
      jnp.where(logits_BV == largest_B1, index_V, logits_BV.shape[1] - 1),
      axis=-1,
    )


@dataclasses.dataclass(frozen=True)
class Temperature:
  """A token with probability proportional to exp(logit / temperature)."""

  temperature: float = 1.0

  def __post_init__(self):
    _check_temperature(self)

  def __call__(self, logits_BV, keys_B):
    return _draw(_weights(logits_BV, self.temperature), keys_B)


@dataclasses.dataclass(frozen=True)
class TopK:
  """Temperature among the k most probable tokens."""

  k: int = 40
  temperature: float = 1.0

  def __post_init__(self):
    _check_temperature(self)
    if self.k < 1:
      raise ValueError(f'TopK.k is {self.k}; wanted at least 1.')

  def __call__(self, logits_BV, keys_B):
    weights_BV = _weights(logits_BV, self.temperature)
    wanted = jnp.full(
      weights_BV.shape[:1], min(self.k, weights_BV.shape[1]), jnp.float32
    )
    return _draw(
      _largest(weights_BV, jnp.ones_like(weights_BV), wanted), keys_B
    )


@dataclasses.dataclass(frozen=True)
class Nucleus:
  """Temperature among the fewest tokens that hold `p` of the probability (at that temperature).

  The defaults are the paper's. The nucleus always holds the most probable token.
  """

  p: float = 0.95
  temperature: float = 0.9

  def __post_init__(self):
    _check_temperature(self)
    if not 0 < self.p <= 1:
      raise ValueError(f'Nucleus.p is {self.p}; wanted 0 < p <= 1.')

  def __call__(self, logits_BV, keys_B):
    weights_BV = _weights(logits_BV, self.temperature)
    if self.p == 1:
      return _draw(weights_BV, keys_B)
    wanted = self.p * jnp.sum(weights_BV, axis=-1)
    return _draw(_largest(weights_BV, weights_BV, wanted), keys_B)


def _check_temperature(method):
  if not method.temperature > 0:
    raise ValueError(
      f'{type(method).__name__}.temperature is {method.temperature}; wanted above 0 '
      '(Greedy() is the limit).'
    )


def _weights(logits_BV, temperature: float):
  """Probabilities up to a factor per row; the largest is 1."""
  scaled = logits_BV.astype(jnp.float32) / temperature
  return jnp.exp(scaled - jnp.max(scaled, axis=-1, keepdims=True))


def _largest(weights_BV, measure_BV, wanted_B):
  """The weights with all but the largest set to 0: as few as measure `wanted_B` together.

  Finds the threshold by bisection over the bits of the float (of positive floats, the larger has
  the larger bits), exact in 30 passes; on CPU 20 to 100 times as fast as a sort.
  """
  bits_BV = jax.lax.bitcast_convert_type(weights_BV, jnp.int32)
  one = jax.lax.bitcast_convert_type(jnp.float32(1), jnp.int32)

  def halve(_, bounds):
    low_B1, high_B1 = bounds
    middle_B1 = low_B1 + (high_B1 - low_B1 + 1) // 2
    held_B = jnp.sum(jnp.where(bits_BV >= middle_B1, measure_BV, 0), axis=-1)
    enough_B1 = (held_B >= wanted_B)[:, None]
    return jnp.where(enough_B1, middle_B1, low_B1), jnp.where(
      enough_B1, high_B1, middle_B1 - 1
    )

  low_B1 = jnp.zeros((weights_BV.shape[0], 1), jnp.int32)
  threshold_B1, _ = jax.lax.fori_loop(
    0, 30, halve, (low_B1, jnp.full_like(low_B1, one))
  )
  return jnp.where(bits_BV >= threshold_B1, weights_BV, 0)


def _draw(weights_BV, keys_B):
  """A token per row with probability proportional to its weight, by inversion of the sums.

  First a block of tokens, then one within it: cumulative sums over the whole of a large vocabulary
  would be the most expensive part of sampling.
  """
  uniform_B = jax.vmap(jax.random.uniform)(keys_B)
  batch, vocab_size = weights_BV.shape
  if vocab_size <= 2 * SAMPLING_BLOCK_SIZE:
    return _invert(weights_BV, uniform_B * jnp.sum(weights_BV, axis=-1))[0]
  padded = jnp.pad(weights_BV, ((0, 0), (0, -vocab_size % SAMPLING_BLOCK_SIZE)))
  blocks = padded.reshape(batch, -1, SAMPLING_BLOCK_SIZE)
  totals = jnp.sum(blocks, axis=-1)
  block_B, rest_B = _invert(totals, uniform_B * jnp.sum(totals, axis=-1))
  within = jnp.take_along_axis(blocks, block_B[:, None, None], axis=1)[:, 0]
  return block_B * SAMPLING_BLOCK_SIZE + _invert(within, rest_B)[0]


def _invert(weights_BV, targets_B):
  """(index, rest): the first whose cumulative sum exceeds the target; the target less those before.

  A target that rounding put at or above the sum of all is set just below it, so that an index of
  weight 0 is never returned.
  """
  sums_BV = jnp.cumsum(weights_BV, axis=-1)
  targets_B = jnp.minimum(
    targets_B, jnp.nextafter(sums_BV[:, -1], jnp.float32(0))
  )
  index_B = jnp.sum(sums_BV <= targets_B[:, None], axis=-1, dtype=jnp.int32)
  before_BV = jnp.pad(sums_BV, ((0, 0), (1, 0)))
  before_B = jnp.take_along_axis(before_BV, index_B[:, None], axis=1)[:, 0]
  return index_B, targets_B - before_B
