"""Training objectives on preferences that the paper does not have: DPO and Bradley-Terry.

They are `losses.Loss` objects and learn from the pairs that the paper's losses learn from: a
correct and an incorrect candidate of one problem, neighbors in the batch, the correct one first.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mathft_jax.training import losses
from mathft_jax.training.losses import Batch, LogProbs, Metrics, Weights


@dataclasses.dataclass(frozen=True)
class VerifierLogistic:
  """Mean over pairs of -log sigmoid(log S_cls(X_cor|P) - log S_cls(X_inc|P) - margin).

  The Bradley-Terry model with the reward log S_cls: the hinge of `losses.VerifierMargin` (Eq. 8) is
  replaced by softplus. With a margin of 0 it is the usual loss of reward models (Ouyang et al.,
  2022).
  """

  margin: float = 0.0

  def weight(self, batch: Batch) -> Weights:
    return {'pairs': losses.pair_weights(batch).sum()}

  def __call__(
    self, log_probs: LogProbs, batch: Batch, weight: Weights
  ) -> tuple[jax.Array, Metrics]:
    log_probs_BW = losses.label_log_probs(log_probs, batch)
    log_scores_BW = jax.nn.log_softmax(log_probs_BW)
    correct, incorrect = losses.split_pairs(log_scores_BW[:, losses.CORRECT])
    pairs = losses.pair_weights(batch)
    total = jnp.sum(pairs * jax.nn.softplus(incorrect - correct + self.margin))

    metrics = losses.verdict_metrics(log_scores_BW, batch)
    wins = losses.win_rate(correct, incorrect)
    metrics['pair_accuracy'] = losses.mean_metric(wins, pairs)
    return losses.divide_or_zero(total, weight['pairs']), metrics


@dataclasses.dataclass(frozen=True)
class Dpo:
  """Direct preference optimization (Rafailov et al., 2023, Eq. 7) on verified pairs.

  The mean over pairs of -log sigmoid(beta (r(X_cor) - r(X_inc))), where
  r(X) = log p(X|P) - log p_ref(X|P) and log p is the sum over the tokens of the candidate. The
  reference model is not in memory: its log-probabilities are stored with the candidates
  (`examples.ContrastExamples.reference_log_probs`).

  Attributes:
    beta: strength of the constraint to stay near the reference; 0.1 is the authors' default.
    mle_weight: adds mle_weight * (-log p(X_cor|P) per token), the mean over target tokens of the
      correct candidates. It keeps the probability of correct candidates from falling (Pang et al.,
      2024); 0 is plain DPO.
  """

  beta: float = 0.1
  mle_weight: float = 0.0

  def __post_init__(self):
    if not self.beta > 0:
      raise ValueError(f'Dpo.beta is {self.beta}; it must be above 0.')

  def weight(self, batch: Batch) -> Weights:
    if 'reference_log_probs' not in batch:
      raise ValueError(
        'Dpo: the batch has no reference_log_probs. Its examples must be ContrastExamples with '
        'reference_log_probs=True, from candidates with `log_prob` (stages/dpo.gin).'
      )
    return {
      'pairs': losses.pair_weights(batch).sum(),
      'tokens': _correct_token_weights(batch).sum(),
    }

  def __call__(
    self, log_probs: LogProbs, batch: Batch, weight: Weights
  ) -> tuple[jax.Array, Metrics]:
    tokens = log_probs.token_log_probs(batch['decoder_target_tokens'])
    weights_BT = batch['decoder_loss_weights']
    sequence_B = jnp.sum(tokens.log_prob_BT * weights_BT, axis=-1)
    reward_B = self.beta * (sequence_B - batch['reference_log_probs'])

    correct, incorrect = losses.split_pairs(reward_B)
    pairs = losses.pair_weights(batch)
    total = jnp.sum(pairs * jax.nn.softplus(incorrect - correct))

    correct_weights_BT = _correct_token_weights(batch)
    nll = -jnp.sum(tokens.log_prob_BT * correct_weights_BT)

    loss = losses.divide_or_zero(total, weight['pairs'])
    loss += self.mle_weight * losses.divide_or_zero(nll, weight['tokens'])
    wins = losses.win_rate(correct, incorrect)
    metrics: Metrics = {
      'pair_accuracy': losses.mean_metric(wins, pairs),
      'reward_correct': losses.mean_metric(correct, pairs),
      'reward_incorrect': losses.mean_metric(incorrect, pairs),
      'token_nll': losses.mean_metric(-tokens.log_prob_BT, correct_weights_BT),
    }
    return loss, metrics


def _correct_token_weights(batch: Batch) -> jax.Array:
  """Returns [B, T]: weights of the target tokens of correct candidates."""
  is_correct_B = batch['is_correct'] > 0
  return batch['decoder_loss_weights'] * is_correct_B[:, None]
