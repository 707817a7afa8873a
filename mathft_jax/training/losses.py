"""The paper's objectives (arXiv 2310.10047), each a small rule over a few log-probabilities.

A loss sees a readout (log-probabilities of one forward pass) and a batch, never the model:

  loss.weight(batch) -> Weights                          what there is to learn from, counted
  loss(readout, batch, weight) -> (scalar, metrics)      this batch's share

`weight` is the count of the whole batch, also when the loss sees a part of it: the shares of all
microbatches, or of all batches of an evaluation, add up to the loss exactly. Metrics are pairs
(total, weight) that add up likewise; their quotient is what a person reads.

A pair is two neighbouring rows, the correct one first.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

Batch = Mapping[str, Any]
Weights = Mapping[
  str, Any
]  # counts by name: 'tokens', 'verdicts', 'pairs'; nested in Joint
Metrics = dict[str, tuple[Any, Any]]

CORRECT, INCORRECT = 0, 1  # the label words, in the order of `label_words`


class Readout(Protocol):
  """What a loss may ask of a forward pass; `models.likelihoods.Readout` is one."""

  def token_log_probs(self, tokens_BT):
    """`log_prob_BT`, `log_normalizer_BT` and `mean_log_prob_BT` of the tokens that follow."""

  def word_log_probs(self, positions_BWM, words_WM, mask_WM):
    """log p(word) [B, W] under the full vocabulary."""


@dataclasses.dataclass(frozen=True)
class Mle:
  """Mean over target tokens of -log p(x_i | x_<i, P) (L_mle), the objective of SSFT.

  Attributes:
    z_loss: adds z_loss * (log normaliser)^2, which keeps logits from drifting.
    label_smoothing: e in the target (1 - e) * one-hot + e / V.
  """

  z_loss: float = 0.0
  label_smoothing: float = 0.0

  def weight(self, batch: Batch) -> Weights:
    return {'tokens': batch['decoder_loss_weights'].sum()}

  def __call__(self, readout: Readout, batch: Batch, weight: Weights):
    loss, metrics = self.of_tokens(
      readout, batch, batch['decoder_loss_weights']
    )
    return _share(loss, weight['tokens']), metrics

  def of_tokens(
    self, readout: Readout, batch: Batch, weights_BT
  ) -> tuple[Any, Metrics]:
    """(weighted sum over tokens, metrics)."""
    tokens = readout.token_log_probs(batch['decoder_target_tokens'])
    smoothing = self.label_smoothing
    loss_BT = (
      -(1 - smoothing) * tokens.log_prob_BT
      - smoothing * tokens.mean_log_prob_BT
    )
    loss_BT += self.z_loss * jnp.square(tokens.log_normalizer_BT)
    metrics = {'token_nll': _mean(-tokens.log_prob_BT, weights_BT)}
    return jnp.sum(loss_BT * weights_BT), metrics


@dataclasses.dataclass(frozen=True)
class VerifierMargin:
  """Mean over pairs of max(0, log S_cls(X_inc|P) - log S_cls(X_cor|P) + margin) (Eq. 8).

  The paper's lambda is `margin`; its value is not published, this one is ours.
  """

  margin: float = 1.0

  def weight(self, batch: Batch) -> Weights:
    return {'pairs': pair_weights(batch).sum()}

  def __call__(self, readout: Readout, batch: Batch, weight: Weights):
    log_scores_BW = jax.nn.log_softmax(_word_log_probs(readout, batch))
    correct, incorrect = split_pairs(log_scores_BW[:, CORRECT])
    pairs = pair_weights(batch)
    loss = jnp.sum(pairs * jax.nn.relu(incorrect - correct + self.margin))
    metrics = {
      **_verdict_metrics(log_scores_BW, batch),
      'pair_accuracy': _mean(_first_wins(correct, incorrect), pairs),
    }
    return _share(loss, weight['pairs']), metrics


@dataclasses.dataclass(frozen=True)
class VerifierXent:
  """Mean over verdicts of -log p(the right label word|T) (Eq. 9).

  Attributes:
    over: 'words': p is normalised over the two label words, so that the loss is -log S_cls of
      correct candidates and -log(1 - S_cls) of the others; 'vocabulary': over all tokens. The paper
      does not say which; the default is ours.
  """

  over: str = 'words'

  def __post_init__(self):
    if self.over not in ('words', 'vocabulary'):
      raise ValueError(
        f"VerifierXent.over is {self.over!r}; wanted 'words' or 'vocabulary'."
      )

  def weight(self, batch: Batch) -> Weights:
    return {'verdicts': batch['verdict_weights'].sum()}

  def __call__(self, readout: Readout, batch: Batch, weight: Weights):
    log_probs_BW = _word_log_probs(readout, batch)
    log_scores_BW = jax.nn.log_softmax(log_probs_BW)
    right_BW = log_scores_BW if self.over == 'words' else log_probs_BW
    label_log_probs = jnp.where(
      batch['is_correct'] > 0, right_BW[:, CORRECT], right_BW[:, INCORRECT]
    )
    loss = -jnp.sum(label_log_probs * batch['verdict_weights'])
    return _share(loss, weight['verdicts']), _verdict_metrics(
      log_scores_BW, batch
    )


@dataclasses.dataclass(frozen=True)
class SequenceContrast:
  """L_ctr = L_seq + mle_weight * L_mle, over pairs of solutions of one problem.

  L_seq is the mean over pairs of max(0, log p(X_inc|P) - log p(X_cor|P) + margin); L_mle is that
  of the correct solutions. The paper names mle_weight a1 and gives neither it nor the margin, nor
  says whether log p is a sum: all three defaults are ours.

  Attributes:
    normalize: 'sum': log p(X|P) of the whole sequence; 'mean': divided by its number of tokens.
  """

  margin: float = 1.0
  mle_weight: float = 1.0
  normalize: str = 'sum'

  def __post_init__(self):
    if self.normalize not in ('sum', 'mean'):
      raise ValueError(
        f"SequenceContrast.normalize is {self.normalize!r}; wanted 'sum' or 'mean'."
      )

  def weight(self, batch: Batch) -> Weights:
    return {
      'pairs': pair_weights(batch).sum(),
      'tokens': _correct_tokens(batch).sum(),
    }

  def __call__(self, readout: Readout, batch: Batch, weight: Weights):
    log_probs_BT = readout.token_log_probs(
      batch['decoder_target_tokens']
    ).log_prob_BT
    weights_BT = batch['decoder_loss_weights']
    log_probs = jnp.sum(log_probs_BT * weights_BT, axis=-1)
    if self.normalize == 'mean':
      log_probs = _share(log_probs, jnp.sum(weights_BT, axis=-1))
    correct, incorrect = split_pairs(log_probs)
    pairs, tokens_BT = pair_weights(batch), _correct_tokens(batch)
    contrast = jnp.sum(pairs * jax.nn.relu(incorrect - correct + self.margin))
    nll = -jnp.sum(log_probs_BT * tokens_BT)
    metrics = {
      'pair_accuracy': _mean(_first_wins(correct, incorrect), pairs),
      'log_prob_difference': _mean(correct - incorrect, pairs),
      'contrast_loss': (contrast, jnp.sum(pairs)),
      'token_nll': _mean(-log_probs_BT, tokens_BT),
    }
    loss = _share(contrast, weight['pairs']) + self.mle_weight * _share(
      nll, weight['tokens']
    )
    return loss, metrics


@dataclasses.dataclass(frozen=True)
class Joint:
  """L = verify + mle_weight * solve: an evaluator and a generator trained at once.

  The paper's joint baselines L_cls-margin + a2 L_mle and L_cls-xent + a3 L_mle, and an evaluator
  stage with a language-model term. Rows of both kinds stand in one batch (`examples.MixedExamples`): each
  part weighs its own rows. The paper does not give a2 and a3; the default is ours.
  """

  solve: Any = Mle()
  verify: Any = VerifierXent()
  mle_weight: float = 1.0

  def weight(self, batch: Batch) -> Weights:
    return {
      'solve': self.solve.weight(batch),
      'verify': self.verify.weight(batch),
    }

  def __call__(self, readout: Readout, batch: Batch, weight: Weights):
    solve, solve_metrics = self.solve(readout, batch, weight['solve'])
    verify, verify_metrics = self.verify(readout, batch, weight['verify'])
    return verify + self.mle_weight * solve, {**solve_metrics, **verify_metrics}


def split_pairs(x):
  """(correct, incorrect): the even and the odd rows."""
  return x[0::2], x[1::2]


def pair_weights(batch: Batch):
  """[B/2]: the product of two rows' weights where the first is correct and the second is not."""
  correct, incorrect = split_pairs(batch['is_correct'])
  first, second = split_pairs(batch['verdict_weights'])
  return first * second * ((correct > 0) & (incorrect <= 0))


def _correct_tokens(batch: Batch):
  """[B, T]: weights of the target tokens of correct solutions."""
  return batch['decoder_loss_weights'] * (batch['is_correct'] > 0)[:, None]


def _word_log_probs(readout: Readout, batch: Batch):
  return readout.word_log_probs(
    batch['word_positions'], batch['label_words'], batch['label_word_mask']
  )


def _verdict_metrics(log_scores_BW, batch: Batch) -> Metrics:
  """How often S_cls is on the right side of 1/2, and its mean for either kind."""
  score, is_correct = (
    jnp.exp(log_scores_BW[:, CORRECT]),
    batch['is_correct'] > 0,
  )
  weights = batch['verdict_weights']
  right = (score > 0.5) == is_correct
  return {
    'verdict_accuracy': _mean(right, weights),
    's_cls_correct': _mean(score, weights * is_correct),
    's_cls_incorrect': _mean(score, weights * ~is_correct),
  }


def _first_wins(first, second):
  """1 where the first is larger, 1/2 for ties."""
  return jnp.where(first == second, 0.5, first > second)


def _mean(values, weights) -> tuple[Any, Any]:
  return jnp.sum(values * weights), jnp.sum(weights)


def _share(total, weight):
  """total / weight, and 0 where there is no weight."""
  return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0)
