"""What may be read out of the last hidden states, without ever holding [B, T, V].

All objectives of the paper, and S_cls at test time, are functions of a few log-probabilities of one
forward pass. Logits are made for a chunk of positions at a time and made again in the backward
pass; with a small vocabulary one chunk holds all positions and nothing is computed twice.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mathft_jax.models import transformer

MAX_LOGITS_PER_CHUNK = (
  2**26
)  # float32 logits held at once on each device: 256 MiB (ours)


class TokenLogProbs(NamedTuple):
  """Of each position, in float32 and natural logs: sums over the whole vocabulary."""

  log_prob_BT: jax.Array  # of the token that was asked for
  log_normalizer_BT: jax.Array  # log sum exp of the logits, for the z-loss
  mean_log_prob_BT: jax.Array  # over the vocabulary, for label smoothing


@dataclasses.dataclass(frozen=True)
class ChunkedLogProbs:
  """Log-probabilities under `params` of what follows each hidden state of `hidden_states`.

  Attributes:
    hidden_BTD: the last hidden states.
    chunk: positions whose logits are held at once; None: as many as make CHUNK_LOGITS logits a
      device.
    devices: of the mesh over which rows and vocabulary are spread.
  """

  config: transformer.TransformerConfig
  params: transformer.Params
  hidden_BTD: jax.Array
  chunk_size: int | None = None
  num_devices: int = 1

  def target_log_probs(self, tokens_BT):
    """log p(token) [B, T] of the tokens that follow each position."""
    return self.token_log_probs(tokens_BT).log_prob_BT

  def token_log_probs(self, tokens_BT) -> TokenLogProbs:
    """log p(token) of the tokens that follow each position, with the sums other losses need."""
    return self._chunked(self.hidden_BTD, tokens_BT)

  def word_log_probs(self, positions_BWM, words_WM, mask_WM):
    """log p(word) [B, W] of whole words: the sum over their tokens, under the full vocabulary.

    Args:
      positions_BWM: the position whose hidden state predicts token m of word w.
      words_WM: token ids of the words.
      mask_WM: 1 for tokens of the word, 0 for padding.
    """
    batch, *word_shape = positions_BWM.shape
    hidden_BXD = jnp.take_along_axis(
      self.hidden_BTD, positions_BWM.reshape(batch, -1, 1), axis=1
    )
    tokens_BX = jnp.broadcast_to(words_WM.reshape(1, -1), hidden_BXD.shape[:2])
    log_probs_BX = self._chunked(hidden_BXD, tokens_BX).log_prob_BT
    return jnp.sum(log_probs_BX.reshape(batch, *word_shape) * mask_WM, axis=-1)

  def logits(self, positions_B):
    """Float32 logits [B, V] of what follows one position of each row."""
    hidden_BD = jnp.take_along_axis(
      self.hidden_BTD, positions_B[:, None, None], axis=1
    )[:, 0]
    return transformer.logits(self.config, self.params, hidden_BD)

  def _chunked(self, hidden_BTD, tokens_BT) -> TokenLogProbs:
    """The likelihoods, a chunk of positions at a time, rematerialised chunk by chunk."""
    batch, length = tokens_BT.shape
    chunk = self.chunk_size or positions_per_chunk(
      batch, self.config.vocab_size, self.num_devices
    )
    if chunk >= length:
      return self._likelihoods(hidden_BTD, tokens_BT)
    count = -(-length // chunk)

    def split(x):
      padded = jnp.pad(
        x, [(0, 0), (0, count * chunk - length)] + [(0, 0)] * (x.ndim - 2)
      )
      return jnp.moveaxis(
        padded.reshape(batch, count, chunk, *x.shape[2:]), 1, 0
      )

    step = jax.checkpoint(
      lambda _, xs: (None, self._likelihoods(*xs)), prevent_cse=False
    )
    _, chunks = jax.lax.scan(step, None, (split(hidden_BTD), split(tokens_BT)))
    join = lambda x: jnp.moveaxis(x, 0, 1).reshape(batch, count * chunk)[
      :, :length
    ]
    return TokenLogProbs(*map(join, chunks))

  def _likelihoods(self, hidden_BTD, tokens_BT) -> TokenLogProbs:
    logits_BTV = transformer.logits(self.config, self.params, hidden_BTD)
    log_normalizer_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    chosen_BT = jnp.take_along_axis(logits_BTV, tokens_BT[..., None], axis=-1)[
      ..., 0
    ]
    return TokenLogProbs(
      chosen_BT - log_normalizer_BT,
      log_normalizer_BT,
      jnp.mean(logits_BTV, axis=-1) - log_normalizer_BT,
    )


def positions_per_chunk(batch: int, vocab_size: int, num_devices: int) -> int:
  """Positions of all rows whose logits are at most CHUNK_LOGITS a device."""
  return max(1, MAX_LOGITS_PER_CHUNK * num_devices // (batch * vocab_size))
