"""Token log-probabilities from final hidden states, without [B, T, V] logits in memory.

All losses of the paper, and S_cls at test time, are functions of a few log-probabilities of one
forward pass. Logits are computed for a chunk of positions at a time and recomputed in the backward
pass. With a small vocabulary a single chunk contains all positions and nothing is recomputed.

  log_probs = ChunkedLogProbs(config, params, hidden_BTD)
  log_prob_BT = log_probs.target_log_probs(targets_BT)

Further axes: W label words, M tokens of a word, X = W * M.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mathft_jax.models import transformer

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
    chunk_size: positions per chunk. None: MAX_LOGITS_PER_CHUNK logits per device.
    num_devices: size of the mesh over which batch and vocabulary are sharded.
  """

  config: transformer.TransformerConfig
  params: transformer.Params
  hidden_BTD: jax.Array
  chunk_size: int | None = None
  num_devices: int = 1

  def target_log_probs(self, tokens_BT: jax.Array) -> jax.Array:
    """Returns log p(token) [B, T] of the tokens that follow each position."""
    return self.token_log_probs(tokens_BT).log_prob_BT

  def token_log_probs(self, tokens_BT: jax.Array) -> TokenLogProbs:
    """Returns log p(token) of the tokens that follow each position, and the other statistics."""
    return self._in_chunks(self.hidden_BTD, tokens_BT)

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

    log_probs_BX = self._in_chunks(hidden_BXD, tokens_BX).log_prob_BT
    log_probs_BWM = log_probs_BX.reshape(batch, *word_shape)
    return jnp.sum(log_probs_BWM * mask_WM, axis=-1)

  def logits(self, positions_B: jax.Array) -> jax.Array:
    """Returns float32 logits [B, V] of the token after one position of each sequence."""
    hidden_B1D = jnp.take_along_axis(
      self.hidden_BTD, positions_B[:, None, None], axis=1
    )
    return transformer.logits(self.config, self.params, hidden_B1D[:, 0])

  def _in_chunks(
    self, hidden_BTD: jax.Array, tokens_BT: jax.Array
  ) -> TokenLogProbs:
    """Returns the statistics, with the logits of one chunk in memory at a time."""
    batch, length = tokens_BT.shape
    size = self.chunk_size or positions_per_chunk(
      batch, self.config.vocab_size, self.num_devices
    )
    if size >= length:
      return self._of_chunk(hidden_BTD, tokens_BT)
    num_chunks = -(-length // size)

    def split(x_BT: jax.Array) -> jax.Array:
      """[B, T, ...] -> [chunks, B, size, ...]."""
      padding = [(0, 0)] * x_BT.ndim
      padding[1] = 0, num_chunks * size - length
      padded = jnp.pad(x_BT, padding)
      chunks = padded.reshape(batch, num_chunks, size, *x_BT.shape[2:])
      return jnp.moveaxis(chunks, 1, 0)

    def join(chunks: jax.Array) -> jax.Array:
      """[chunks, B, size] -> [B, T]."""
      padded = jnp.moveaxis(chunks, 0, 1).reshape(batch, num_chunks * size)
      return padded[:, :length]

    def apply_chunk(carry: None, chunk: tuple[jax.Array, jax.Array]):
      return carry, self._of_chunk(*chunk)

    _, chunks = jax.lax.scan(
      jax.checkpoint(apply_chunk, prevent_cse=False),
      None,
      (split(hidden_BTD), split(tokens_BT)),
    )
    return TokenLogProbs(*map(join, chunks))

  def _of_chunk(
    self, hidden_BTD: jax.Array, tokens_BT: jax.Array
  ) -> TokenLogProbs:
    logits_BTV = transformer.logits(self.config, self.params, hidden_BTD)
    log_normalizer_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT1 = jnp.take_along_axis(logits_BTV, tokens_BT[..., None], axis=-1)
    mean_BT = jnp.mean(logits_BTV, axis=-1)
    return TokenLogProbs(
      target_BT1[..., 0] - log_normalizer_BT,
      log_normalizer_BT,
      mean_BT - log_normalizer_BT,
    )


def positions_per_chunk(batch: int, vocab_size: int, num_devices: int) -> int:
  """Returns how many positions of all sequences have MAX_LOGITS_PER_CHUNK logits per device."""
  return max(1, MAX_LOGITS_PER_CHUNK * num_devices // (batch * vocab_size))
