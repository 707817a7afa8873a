"""Draws tokens from the top k or from a nucleus without sorting the vocabulary.

A token is drawn, and refused if it is outside of the top k or of the nucleus. The logits are read
for their maximum and for the sums of blocks; no other array of this size is written. The top k are
drawn from the few blocks with the largest logits (`sample_in_largest_blocks`), a nucleus from the
whole vocabulary (`sample_among_largest`).

Shapes in addition to the package's: blocks of J tokens, I blocks of the vocabulary, C of them, and
E groups of R neighbouring sequences.
"""

from collections.abc import Callable
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

# A token is found in two steps: first its block, then the token in the block. This is cheaper than
# a cumulative sum, or an argmax, over a large vocabulary.
BLOCK_SIZE = 128
# Of so many neighbouring sequences, one at a time is examined if its token may be refused.
EXAMINED_GROUP_SIZE = 16
# The top k are first looked for in at most so many parts of blocks.
MAX_LARGEST_BLOCKS = 64
PART_SIZE = 32

# Maps weights of tokens to what is summed over the tokens that are kept.
Measure = Callable[[jax.Array], jax.Array]


class BlockedLogits(NamedTuple):
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
  def of_vocabulary(
    cls, logits_BV: jax.Array, temperature: float
  ) -> 'BlockedLogits':
    """All tokens."""
    blocks_BIJ = split_into_blocks(logits_BV)
    floor_B = jnp.full(logits_BV.shape[:1], -jnp.inf)
    return cls(blocks_BIJ, jnp.max(blocks_BIJ, axis=-1), floor_B, temperature)

  def above(self, floor_B: jax.Array) -> 'BlockedLogits':
    """The tokens whose logit is above another floor."""
    return self._replace(floor_B=floor_B)

  def weights(self) -> jax.Array:
    """Weights [B, I, J]."""
    return self._weigh(self.blocks_BIJ, 2)

  def block_and_weights(
    self, block_B: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Logits and weights [B, J] of one block of each sequence."""
    logits_BJ = take_rows(self.blocks_BIJ, block_B)
    return logits_BJ, self._weigh(logits_BJ, 1)

  def _weigh(self, logits: jax.Array, num_axes: int) -> jax.Array:
    shape = -1, *[1] * num_axes
    maximum = jnp.max(self.maxima_BI, axis=-1).reshape(shape)
    weights = jnp.exp((logits - maximum) / self.temperature)
    return jnp.where(logits > self.floor_B.reshape(shape), weights, 0)


def draw(
  logits: BlockedLogits, sums_BI: jax.Array, keys_B: jax.Array
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
  tokens_B = block_B * logits_BJ.shape[1] + index_B
  return tokens_B, take_rows(logits_BJ, index_B)


class _Draws(NamedTuple):
  """The carry of rejection sampling, [B] or, by group of sequences, [E, R]."""

  tokens: jax.Array  # drawn last
  logits: jax.Array  # of these tokens
  examined: jax.Array  # how many tokens of a sequence have been examined
  undecided: jax.Array  # whether the last token must be examined

  def redrawn(
    self, refused: jax.Array, tokens: jax.Array, logits: jax.Array
  ) -> '_Draws':
    """After each token was examined: new tokens of the undecided sequences that were refused."""
    refused &= self.undecided
    return _Draws(
      jnp.where(refused, tokens, self.tokens),
      jnp.where(refused, logits, self.logits),
      self.examined + 1,
      refused,
    )


def sample_in_largest_blocks(
  logits: BlockedLogits,
  measure: Measure,
  limit_B: jax.Array,
  keys_B: jax.Array,
  num_blocks: int,
  sample_in_vocabulary: Callable[[jax.Array], jax.Array],
) -> jax.Array:
  """Returns what `sample_among_largest` returns, from the blocks with the largest maxima.

  Let G be the tokens of these blocks with a larger logit than all other blocks have. They are the
  most probable tokens. If their measure reaches the limit, G contains all wanted tokens, and the
  token is drawn from G by the same rejection sampling, for all sequences at once.

  Args:
    num_blocks: how many blocks. With k blocks, G has at least k tokens, except for equal logits.
    sample_in_vocabulary: returns tokens [B] of the sequences [B] whose limit G does not reach.
  """
  largest, first_tokens_BC = _largest_blocks(logits, num_blocks)
  weights_BCJ = largest.weights()

  def draw_again(state: tuple[_Draws, jax.Array]) -> tuple[_Draws, jax.Array]:
    draws, is_contained_B = state
    is_above_BCJ = largest.blocks_BIJ > draws.logits[:, None, None]
    above_BCJ = jnp.where(is_above_BCJ, weights_BCJ, 0)
    measure_B = sum_by_row(measure(above_BCJ))
    reaches_limit_B = (measure_B >= limit_B) & (measure_B > 0)
    is_first_B = draws.examined == 0  # all of G is above the first logit
    is_contained_B = jnp.where(is_first_B, reaches_limit_B, is_contained_B)

    new_keys_B = jax.vmap(jax.random.fold_in)(keys_B, draws.examined)
    sums_BC = jnp.sum(above_BCJ, axis=-1)
    tokens_B, logits_B = draw(largest.above(draws.logits), sums_BC, new_keys_B)
    return draws.redrawn(reaches_limit_B, tokens_B, logits_B), is_contained_B

  zeros_B = jnp.zeros(limit_B.shape, jnp.int32)
  falses_B = jnp.zeros(limit_B.shape, bool)
  # In the first step no token has been drawn. The loop also makes XLA's CPU backend store the
  # blocks; outside of one it would gather them again for each use.
  draws = _Draws(zeros_B, largest.floor_B, zeros_B, ~falses_B)
  draws, is_contained_B = jax.lax.while_loop(
    lambda state: jnp.any(state[0].undecided), draw_again, (draws, falses_B)
  )
  block_B, index_B = jnp.divmod(draws.tokens, weights_BCJ.shape[-1])
  tokens_B = take_rows(first_tokens_BC, block_B) + index_B
  return jax.lax.cond(
    jnp.all(is_contained_B),
    lambda: tokens_B,
    lambda: jnp.where(
      is_contained_B, tokens_B, sample_in_vocabulary(~is_contained_B)
    ),
  )


def _largest_blocks(
  logits: BlockedLogits, num_blocks: int
) -> tuple[BlockedLogits, jax.Array]:
  """Returns short blocks with the largest maxima, above all others; and their first tokens [B, C].

  Long blocks are chosen first, then parts of them: `top_k` is slow for many values.
  """
  blocks, blocks_BC = _top_blocks(logits, num_blocks)
  batch, count, size = blocks.blocks_BIJ.shape
  parts_BIJ = blocks.blocks_BIJ.reshape(batch, -1, PART_SIZE)
  parts = blocks._replace(
    blocks_BIJ=parts_BIJ, maxima_BI=jnp.max(parts_BIJ, axis=-1)
  )
  largest, parts_BC = _top_blocks(parts, num_blocks)
  block_BC, part_BC = jnp.divmod(parts_BC, size // PART_SIZE)
  block_BC = jnp.take_along_axis(blocks_BC, block_BC, axis=1)
  return largest, block_BC * size + part_BC * PART_SIZE


def _top_blocks(
  logits: BlockedLogits, num_blocks: int
) -> tuple[BlockedLogits, jax.Array]:
  """Returns the blocks [B, C] with the largest maxima, above all others; and their indices."""
  batch, total = logits.maxima_BI.shape
  if num_blocks >= total:
    indices_I = jnp.arange(total, dtype=jnp.int32)
    return logits, jnp.broadcast_to(indices_I, (batch, total))
  # Without a barrier XLA's CPU backend merges the slices with `top_k` and sorts everything.
  maxima_BC, blocks_BC = jax.lax.optimization_barrier(
    jax.lax.top_k(logits.maxima_BI, num_blocks + 1)
  )
  blocks_BC = blocks_BC[:, :-1]
  largest = BlockedLogits(
    take_rows(logits.blocks_BIJ, blocks_BC),
    maxima_BC[:, :-1],
    jnp.maximum(logits.floor_B, maxima_BC[:, -1]),
    logits.temperature,
  )
  return largest, blocks_BC


def sample_among_largest(
  logits: BlockedLogits,
  measure: Measure,
  limit_B: jax.Array,
  keys_B: jax.Array,
  wanted_B: jax.Array,
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
    wanted_B: the sequences that need a token; others get any.
  """
  weights_BIJ = logits.weights()
  sums_BI = jnp.sum(weights_BIJ, axis=-1)
  measures_BI = jnp.sum(measure(weights_BIJ), axis=-1)
  tokens_B, logits_B = draw(logits, sums_BI, keys_B)
  may_be_above_BI = logits.maxima_BI > logits_B[:, None]
  bound_B = jnp.sum(jnp.where(may_be_above_BI, measures_BI, 0), axis=-1)

  undecided_B = wanted_B & (bound_B >= limit_B) & (bound_B > 0)

  rows = math.gcd(tokens_B.shape[0], EXAMINED_GROUP_SIZE)

  def to_groups(array_B: jax.Array) -> jax.Array:
    return array_B.reshape(-1, rows, *array_B.shape[1:])

  grouped = BlockedLogits(
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
    lambda draws: jnp.any(draws.undecided),
    lambda draws: _examine(draws, grouped, measure, limit_ER, keys_ER),
    draws,
  )
  return draws.tokens.reshape(-1)


def _examine(
  draws: _Draws,
  grouped: BlockedLogits,
  measure: Measure,
  limit_ER: jax.Array,
  keys_ER: jax.Array,
) -> _Draws:
  """Examines the token of the first undecided sequence of each group; draws again if refused.

  Args:
    grouped: logits of groups, [E, R, ...].
  """
  row_E = first_maximum(draws.undecided.astype(jnp.int32))
  tokens_above = BlockedLogits(
    take_rows(grouped.blocks_BIJ, row_E),
    take_rows(grouped.maxima_BI, row_E),
    take_rows(draws.logits, row_E),
    grouped.temperature,
  )
  weights_EIJ = tokens_above.weights()
  measure_E = jnp.sum(measure(weights_EIJ), axis=(1, 2))
  # If logits are NaN, all weights and the limit are 0, and any token ends the loop.
  refused_E = (measure_E >= take_rows(limit_ER, row_E)) & (measure_E > 0)

  examined_E = take_rows(draws.examined, row_E) + 1
  keys_E = jax.vmap(jax.random.fold_in)(take_rows(keys_ER, row_E), examined_E)
  sums_EI = jnp.sum(weights_EIJ, axis=-1)
  tokens_E, logits_E = draw(tokens_above, sums_EI, keys_E)

  is_row_ER = jnp.arange(draws.tokens.shape[1]) == row_E[:, None]
  is_row_ER &= draws.undecided
  redrawn_ER = is_row_ER & refused_E[:, None]
  return _Draws(
    jnp.where(redrawn_ER, tokens_E[:, None], draws.tokens),
    jnp.where(redrawn_ER, logits_E[:, None], draws.logits),
    draws.examined + is_row_ER,
    jnp.where(is_row_ER, refused_E[:, None], draws.undecided),
  )


def sum_by_row(array_BIJ: jax.Array) -> jax.Array:
  """Sums [B]; XLA's CPU backend is slower if it sums over both axes at once."""
  return jnp.sum(jnp.sum(array_BIJ, axis=-1), axis=-1)


def is_positive(weights: jax.Array) -> jax.Array:
  """Returns 1 for tokens with a weight, else 0: the measure of the top k."""
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
  return index_B, target_B - take_rows(sums_before_BI, index_B)


def split_into_blocks(logits_BV: jax.Array) -> jax.Array:
  """Logits by block [B, I, J] in float32; the last block is padded with -inf."""
  padding = -logits_BV.shape[1] % BLOCK_SIZE
  padded = jnp.pad(
    logits_BV.astype(jnp.float32),
    ((0, 0), (0, padding)),
    constant_values=-jnp.inf,
  )
  return padded.reshape(logits_BV.shape[0], -1, BLOCK_SIZE)


def take_rows(array: jax.Array, index_B: jax.Array) -> jax.Array:
  """Indexes the second axis, with one index for each entry of the first."""
  return jax.vmap(lambda entries, index: entries[index])(array, index_B)


def first_maximum(values_BI: jax.Array) -> jax.Array:
  """The first index of the largest value of each row.

  Not jnp.argmax: XLA's CPU backend unrolls its reduction of pairs if there are a few dozen values,
  and LLVM was seen to compile that for minutes.
  """
  size = values_BI.shape[1]
  largest_B1 = jnp.max(values_BI, axis=-1, keepdims=True)
  indices_I = jnp.arange(size, dtype=jnp.int32)
  is_largest_BI = values_BI == largest_B1
  return jnp.min(jnp.where(is_largest_BI, indices_I, size - 1), axis=-1)


def floor_of_top_k(logits: 'BlockedLogits', k: int) -> jax.Array:
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
