"""Sampling methods: functions `(logits_BV, keys_B) -> tokens_B` with one random key per sequence.

A token depends only on the logits and the key of its own sequence. If several tokens have the same
probability at the border of a nucleus or of the top k, all of them are kept.

No method sorts the vocabulary or searches for a threshold: a token is drawn, and refused if it is
outside of the nucleus or of the top k (`_sample_among_largest`). The logits are read for their
maximum and for the sums of blocks; no other array of this size is written.

Shapes in addition to the package's: blocks of J tokens, I blocks of the vocabulary, and E groups of
R neighbouring sequences.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

# A token is found in two steps: first its block, then the token in the block. This is cheaper than
# a cumulative sum, or an argmax, over a large vocabulary.
BLOCK_SIZE = 128
# Of so many neighbouring sequences, one at a time is examined if its token may be refused.
EXAMINED_GROUP_SIZE = 16

# Maps weights of tokens to what is summed over the tokens that are kept.
Measure = Callable[[jax.Array], jax.Array]


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
    blocks_BIJ = _split_into_blocks(logits_BV)
    block_B = _first_maximum(jnp.max(blocks_BIJ, axis=-1))
    index_B = _first_maximum(_take(blocks_BIJ, block_B))
    tokens_B = block_B * BLOCK_SIZE + index_B
    return jnp.minimum(tokens_B, logits_BV.shape[1] - 1)


@dataclasses.dataclass(frozen=True)
class Temperature:
  """A random token with probability proportional to exp(logit / temperature)."""

  temperature: float = 1.0

  def __post_init__(self):
    _check_temperature(self)

  def __call__(self, logits_BV: jax.Array, keys_B: jax.Array) -> jax.Array:
    logits = _Logits.of_vocabulary(logits_BV, self.temperature)
    sums_BI = jnp.sum(logits.weights(), axis=-1)
    tokens_B, _ = _draw(logits, sums_BI, keys_B)
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
    logits = _Logits.of_vocabulary(logits_BV, self.temperature)
    logits = logits.above(_floor_of_top_k(logits, self.k))
    limit_B = jnp.full(logits_BV.shape[:1], self.k, jnp.float32)
    tokens_B = _sample_among_largest(logits, _is_positive, limit_B, keys_B)
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
    logits = _Logits.of_vocabulary(logits_BV, self.temperature)
    limit_B = self.p * jnp.sum(logits.weights(), axis=(1, 2))
    tokens_B = _sample_among_largest(logits, lambda x: x, limit_B, keys_B)
    return jnp.minimum(tokens_B, logits_BV.shape[1] - 1)


def _floor_of_top_k(logits: '_Logits', k: int) -> jax.Array:
  """A logit [B] that at least k blocks exceed, so the top k exceed it too; -inf if not found.

  Bisection over the maxima of the blocks, which are few. It may be inexact: a lower floor leaves
  more tokens to draw from.
  """
  maxima_BI = logits.maxima_BI
  maximum_B = jnp.max(maxima_BI, axis=-1)

  def has_k_blocks(floor_B: jax.Array) -> jax.Array:
    return jnp.sum(maxima_BI > floor_B[:, None], axis=-1) >= k

  low_B = maximum_B - 64 * logits.temperature
  low_B = jnp.where(has_k_blocks(low_B), low_B, -jnp.inf)
  width = 64 * logits.temperature
  for _ in range(12):
    width /= 2
    middle_B = low_B + width
    low_B = jnp.where(has_k_blocks(middle_B), middle_B, low_B)
  return low_B


def _check_temperature(method: Temperature | TopK | Nucleus) -> None:
  if not method.temperature > 0:
    raise ValueError(
      f'{type(method).__name__}.temperature is {method.temperature}; it must be above 0. '
      'For the most probable token use Greedy().'
    )


class _Logits(NamedTuple):
  """Logits by block, of the tokens that may be drawn: those above a floor.

  Attributes:
    blocks_BIJ: logits; the last block is padded with -inf.
    maxima_BI: the largest of each block.
    floor_B: tokens whose logit is not above it have the weight 0.
    temperature: the weight of a token is exp((logit - largest logit) / temperature).
  """

  blocks_BIJ: jax.Array
  maxima_BI: jax.Array
  floor_B: jax.Array
  temperature: float

  @classmethod
  def of_vocabulary(cls, logits_BV: jax.Array, temperature: float) -> '_Logits':
    """All tokens."""
    blocks_BIJ = _split_into_blocks(logits_BV)
    floor_B = jnp.full(logits_BV.shape[:1], -jnp.inf)
    return cls(blocks_BIJ, jnp.max(blocks_BIJ, axis=-1), floor_B, temperature)

  def above(self, floor_B: jax.Array) -> '_Logits':
    """The tokens whose logit is above another floor."""
    return self._replace(floor_B=floor_B)

  def weights(self) -> jax.Array:
    """Weights [B, I, J]."""
    return self._weigh(self.blocks_BIJ, 2)

  def block_and_weights(
    self, block_B: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Logits and weights [B, J] of one block of each sequence."""
    logits_BJ = _take(self.blocks_BIJ, block_B)
    return logits_BJ, self._weigh(logits_BJ, 1)

  def _weigh(self, logits: jax.Array, num_axes: int) -> jax.Array:
    shape = -1, *[1] * num_axes
    maximum = jnp.max(self.maxima_BI, axis=-1).reshape(shape)
    weights = jnp.exp((logits - maximum) / self.temperature)
    return jnp.where(logits > self.floor_B.reshape(shape), weights, 0)


def _draw(
  logits: _Logits, sums_BI: jax.Array, keys_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Draws by inverse transform sampling.

  Args:
    sums_BI: the weights of each block.

  Returns:
    Token ids and their logits.
  """
  uniform_B = jax.vmap(jax.random.uniform)(keys_B)
  target_B = uniform_B * jnp.sum(sums_BI, axis=-1)
  block_B, rest_B = _invert_cumulative_sum(sums_BI, target_B)
  logits_BJ, weights_BJ = logits.block_and_weights(block_B)
  index_B, _ = _invert_cumulative_sum(weights_BJ, rest_B)
  return block_B * BLOCK_SIZE + index_B, _take(logits_BJ, index_B)


class _Draws(NamedTuple):
  """The carry of rejection sampling, by group of sequences."""

  tokens_ER: jax.Array  # drawn last
  logits_ER: jax.Array  # of these tokens
  examined_ER: jax.Array  # how many tokens of a sequence have been examined
  undecided_ER: jax.Array  # whether the last token must be examined


def _sample_among_largest(
  logits: _Logits, measure: Measure, limit_B: jax.Array, keys_B: jax.Array
) -> jax.Array:
  """A token among the fewest of the largest weights whose measure reaches `limit_B`.

  Rejection sampling: a token is drawn. Let A be the tokens with a larger weight. If the measure of
  A is below the limit, the token is one of the wanted ones and is accepted. Otherwise all wanted
  tokens are in A, and the next token is drawn from A. Each draw is from a set that contains all
  wanted tokens, so an accepted token has exactly their distribution. On average each refusal leaves
  out half of the weight that is not wanted.

  All sequences draw once. Most tokens are accepted because even the blocks that contain a larger
  weight have together a measure below the limit. For each of the others one pass over its own
  logits gives the measure of A, and the sums of blocks for the next draw.

  Args:
    measure: of single tokens, from their weights.
  """
  weights_BIJ = logits.weights()
  sums_BI = jnp.sum(weights_BIJ, axis=-1)
  measures_BI = jnp.sum(measure(weights_BIJ), axis=-1)
  tokens_B, logits_B = _draw(logits, sums_BI, keys_B)
  may_be_above_BI = logits.maxima_BI > logits_B[:, None]
  bound_B = jnp.sum(jnp.where(may_be_above_BI, measures_BI, 0), axis=-1)

  undecided_B = (bound_B >= limit_B) & (bound_B > 0)

  rows = math.gcd(tokens_B.shape[0], EXAMINED_GROUP_SIZE)

  def to_groups(array_B: jax.Array) -> jax.Array:
    return array_B.reshape(-1, rows, *array_B.shape[1:])

  grouped = _Logits(
    to_groups(logits.blocks_BIJ),
    to_groups(logits.maxima_BI),
    to_groups(logits.floor_B),
    logits.temperature,
  )
  limit_ER, keys_ER = to_groups(limit_B), to_groups(keys_B)
  undecided_ER = to_groups(undecided_B)
  draws = _Draws(
    to_groups(tokens_B),
    to_groups(logits_B),
    jnp.zeros_like(undecided_ER, jnp.int32),
    undecided_ER,
  )
  draws = jax.lax.while_loop(
    lambda draws: jnp.any(draws.undecided_ER),
    lambda draws: _examine(draws, grouped, measure, limit_ER, keys_ER),
    draws,
  )
  return draws.tokens_ER.reshape(-1)


def _examine(
  draws: _Draws,
  grouped: _Logits,
  measure: Measure,
  limit_ER: jax.Array,
  keys_ER: jax.Array,
) -> _Draws:
  """Examines the token of the first undecided sequence of each group; draws again if refused.

  Args:
    grouped: logits of groups, [E, R, ...].
  """
  row_E = _first_maximum(draws.undecided_ER.astype(jnp.int32))
  tokens_above = _Logits(
    _take(grouped.blocks_BIJ, row_E),
    _take(grouped.maxima_BI, row_E),
    _take(draws.logits_ER, row_E),
    grouped.temperature,
  )
  weights_EIJ = tokens_above.weights()
  measure_E = jnp.sum(measure(weights_EIJ), axis=(1, 2))
  # If logits are NaN, all weights and the limit are 0, and any token ends the loop.
  refused_E = (measure_E >= _take(limit_ER, row_E)) & (measure_E > 0)

  examined_E = _take(draws.examined_ER, row_E) + 1
  keys_E = jax.vmap(jax.random.fold_in)(_take(keys_ER, row_E), examined_E)
  sums_EI = jnp.sum(weights_EIJ, axis=-1)
  tokens_E, logits_E = _draw(tokens_above, sums_EI, keys_E)

  is_row_ER = jnp.arange(draws.tokens_ER.shape[1]) == row_E[:, None]
  is_row_ER &= draws.undecided_ER
  redrawn_ER = is_row_ER & refused_E[:, None]
  return _Draws(
    jnp.where(redrawn_ER, tokens_E[:, None], draws.tokens_ER),
    jnp.where(redrawn_ER, logits_E[:, None], draws.logits_ER),
    draws.examined_ER + is_row_ER,
    jnp.where(is_row_ER, refused_E[:, None], draws.undecided_ER),
  )


def _is_positive(weights: jax.Array) -> jax.Array:
  return (weights > 0).astype(jnp.float32)


def _invert_cumulative_sum(
  weights_BI: jax.Array, target_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The first index whose cumulative sum exceeds the target, and the target minus the sum before.

  A target that rounding raised to the total is reduced below it, so that an index with weight 0 is
  never returned.
  """
  sums_BI = jnp.cumsum(weights_BI, axis=-1)
  below_total_B = jnp.nextafter(sums_BI[:, -1], jnp.float32(0))
  target_B = jnp.minimum(target_B, below_total_B)
  index_B = jnp.sum(sums_BI <= target_B[:, None], axis=-1, dtype=jnp.int32)

  sums_before_BI = jnp.pad(sums_BI, ((0, 0), (1, 0)))
  return index_B, target_B - _take(sums_before_BI, index_B)


def _split_into_blocks(logits_BV: jax.Array) -> jax.Array:
  """Logits by block [B, I, J] in float32; the last block is padded with -inf."""
  padding = -logits_BV.shape[1] % BLOCK_SIZE
  padded = jnp.pad(
    logits_BV.astype(jnp.float32),
    ((0, 0), (0, padding)),
    constant_values=-jnp.inf,
  )
  return padded.reshape(logits_BV.shape[0], -1, BLOCK_SIZE)


def _take(array: jax.Array, index_B: jax.Array) -> jax.Array:
  """Indexes the second axis, with one index for each entry of the first."""
  return jax.vmap(lambda entries, index: entries[index])(array, index_B)


def _first_maximum(values_BI: jax.Array) -> jax.Array:
  """The first index of the largest value of each row.

  Not jnp.argmax: XLA's CPU backend unrolls its reduction of pairs if there are a few dozen values,
  and LLVM was seen to compile that for minutes.
  """
  size = values_BI.shape[1]
  largest_B1 = jnp.max(values_BI, axis=-1, keepdims=True)
  indices_I = jnp.arange(size, dtype=jnp.int32)
  is_largest_BI = values_BI == largest_B1
  return jnp.min(jnp.where(is_largest_BI, indices_I, size - 1), axis=-1)
