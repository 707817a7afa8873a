"""Token log-probabilities from final hidden states, without [B, T, V] logits in memory.

All losses of the paper, and S_cls at test time, are functions of a few log-probabilities of one
forward pass. Logits are computed for a chunk of tokens at a time and recomputed in the backward
pass. If one chunk contains all tokens, its logits are stored and nothing is recomputed.

  log_probs = ChunkedLogProbs(config, params, hidden_BTD)
  log_prob_BT = log_probs.target_log_probs(targets_BT)

Further axes: W label words, M tokens of a word, X = W * M.
"""

import dataclasses
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from mathft_jax.models import transformer, vocabulary_statistics

MAX_LOGITS_PER_CHUNK = 2**26  # float32, on each device: 256 MiB (default)


class TokenLogProbs(NamedTuple):
  """Statistics [B, T] of the next-token distributions: float32, natural logarithm."""

  log_prob_BT: jax.Array  # of the target token
  log_normalizer_BT: jax.Array  # logsumexp of the logits, for the z-loss
  mean_log_prob_BT: jax.Array  # over the vocabulary, for label smoothing


@dataclasses.dataclass(frozen=True)
class ChunkedLogProbs:
  """Log-probabilities of the tokens that follow each hidden state.

  Attributes:
    hidden_BTD: final hidden states, from `transformer.hidden_states`.
    max_logits: logits of a chunk on each device.
    head_gradient_dtype: in which the head's gradient is reduced over devices.
    sharding: of batch and vocabulary over a mesh; None: one device.
  """

  config: transformer.TransformerConfig
  params: transformer.Params
  hidden_BTD: jax.Array
  max_logits: int = MAX_LOGITS_PER_CHUNK
  head_gradient_dtype: str = 'float32'
  sharding: vocabulary_statistics.Sharding | None = None

  def target_log_probs(self, tokens_BT: jax.Array) -> jax.Array:
    """Returns log p(token) [B, T] of the tokens that follow each position."""
    return self.token_log_probs(tokens_BT).log_prob_BT

  def token_log_probs(self, tokens_BT: jax.Array) -> TokenLogProbs:
    """Returns log p(token) of the tokens that follow each position, and the other statistics."""
    return self._statistics(self.hidden_BTD, tokens_BT)

  def word_log_probs(
    self, positions_BWM: jax.Array, words_WM: jax.Array, mask_WM: jax.Array
  ) -> jax.Array:
    """Returns log p(word) [B, W]: the sum over a word's tokens, under the full vocabulary.

    Args:
      positions_BWM: the position whose hidden state predicts token m of word w.
      words_WM: token ids of the words.
      mask_WM: 1 for tokens of the word, 0 for padding.
    """
    batch, *word_shape = positions_BWM.shape
    positions_BX = positions_BWM.reshape(batch, -1)
    hidden_BXD = jnp.take_along_axis(
      self.hidden_BTD, positions_BX[..., None], axis=1
    )
    tokens_BX = jnp.broadcast_to(words_WM.reshape(1, -1), positions_BX.shape)

    log_probs_BX = self._statistics(hidden_BXD, tokens_BX).log_prob_BT
    log_probs_BWM = log_probs_BX.reshape(batch, *word_shape)
    return jnp.sum(log_probs_BWM * mask_WM, axis=-1)

  def logits(self, positions_B: jax.Array) -> jax.Array:
    """Returns float32 logits [B, V] of the token after one position of each sequence."""
    hidden_B1D = jnp.take_along_axis(
      self.hidden_BTD, positions_B[:, None, None], axis=1
    )
    return transformer.logits(self.config, self.params, hidden_B1D[:, 0])

  def _statistics(
    self, hidden_BTD: jax.Array, tokens_BT: jax.Array
  ) -> TokenLogProbs:
    """Returns the statistics, with the logits of one chunk in memory at a time."""
    batch, length, width = hidden_BTD.shape
    num_shards = 1 if self.sharding is None else self.sharding.num_batch_shards
    if batch % num_shards:
      num_shards = 1
    num_rows = batch // num_shards * length

    head, is_transposed = transformer.output_head(self.config, self.params)
    readout = vocabulary_statistics.Readout(
      vocab_size=self.config.vocab_size,
      divisor=self.config.logits_divisor,
      softcap=self.config.final_softcap,
      is_transposed=is_transposed,
      rows_per_chunk=rows_per_chunk(
        self.max_logits, self.config, num_shards, self.sharding
      ),
      gradient_dtype=self.head_gradient_dtype,
      sharding=self.sharding,
    )
    hidden_ZRD = hidden_BTD.reshape(num_shards, num_rows, width)
    # custom_vjp hides the type of the result.
    statistics = cast(
      tuple[jax.Array, ...],
      vocabulary_statistics.row_statistics(
        readout,
        readout.constrain(hidden_ZRD, 'batch', None, None),
        head,
        tokens_BT.reshape(num_shards, num_rows),
      ),
    )
    return TokenLogProbs(*(x.reshape(batch, length) for x in statistics))


def rows_per_chunk(
  max_logits: int,
  config: transformer.TransformerConfig,
  num_batch_shards: int,
  sharding: vocabulary_statistics.Sharding | None,
) -> int:
  """Returns how many tokens of a device have `max_logits` logits on it."""
  num_devices = 1 if sharding is None else sharding.num_devices
  vocabulary_shards = num_devices // num_batch_shards
  return max(1, max_logits * vocabulary_shards // config.vocab_size)
