"""Training objectives of the paper (arXiv 2310.10047).

A loss gets the log-probabilities of one forward pass and a batch, never the model:

  weight = loss.weight(batch)                          counts: tokens, verdicts or pairs
  value, metrics = loss(log_probs, batch, weight)

`weight` is the count of the whole batch (or of a whole evaluation), also if the loss gets a part of
it; the values of all parts then add up to the loss of the whole. Metrics are pairs (total, weight)
that add up in the same way; total / weight is reported.

A pair is two neighboring sequences of a batch, the correct one first. `preference_losses` has
objectives that the paper does not have.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.models.token_log_probs import TokenLogProbs

Batch = Mapping[str, Any]  # of jax.Array in a step, of np.ndarray on the host
Weights = Mapping[str, Any]  # scalars by name; Joint has two levels
Metrics = dict[str, tuple[jax.Array | float, jax.Array | float]]

CORRECT, INCORRECT = 0, 1  # order of the label words


class LogProbs(Protocol):
  """Log-probabilities of one forward pass, such as `token_log_probs.ChunkedLogProbs`."""

  def token_log_probs(self, tokens_BT: jax.Array) -> TokenLogProbs:
    """Returns log-probabilities of the tokens that follow each position."""
    ...

  def word_log_probs(
    self, positions_BWM: jax.Array, words_WM: jax.Array, mask_WM: jax.Array
  ) -> jax.Array:
    """Returns log p(word) [B, W] under the whole vocabulary."""
    ...


class Loss(Protocol):
  """A training objective: a frozen dataclass, so that it can be hashed and saved by its fields."""

  def weight(self, batch: Batch) -> Weights:
    """Returns what the loss is averaged over: counts by name."""
    ...

  def __call__(
    self, log_probs: LogProbs, batch: Batch, weight: Weights
  ) -> tuple[jax.Array, Metrics]:
    """Returns this batch's share of the loss (a scalar) and its metrics."""
    ...


def _check_average_over(field: str, value: str) -> None:
  if value not in ('tokens', 'sequences'):
    raise ValueError(
      f"{field} is {value!r}; it must be 'tokens' or 'sequences'."
    )


@dataclasses.dataclass(frozen=True)
class Mle:
  """SSFT: L_mle = -sum_i log p(x_i | x_<i, P) over the target tokens of a solution.

  Attributes:
    z_loss: adds z_loss * (log normalizer)^2 per token, which keeps logits from drifting.
    label_smoothing: e in the target distribution (1 - e) * one-hot + e / V.
    average_over: 'tokens': the mean over all target tokens of the batch, as in t5x, in which a
      solution counts by its length; 'sequences': the paper's sum over the tokens of a solution,
      averaged over the solutions of the batch. The second is larger by the mean number of tokens,
      which matters for `max_grad_norm` and for weights of other terms; Adam ignores the factor.
  """

  z_loss: float = 0.0
  label_smoothing: float = 0.0
  average_over: str = 'tokens'

  def __post_init__(self):
    _check_average_over('Mle.average_over', self.average_over)

  def weight(self, batch: Batch) -> Weights:
    weights_BT = batch['decoder_loss_weights']
    return {self.average_over: _count(self.average_over, batch, weights_BT)}

  def __call__(
    self, log_probs: LogProbs, batch: Batch, weight: Weights
  ) -> tuple[jax.Array, Metrics]:
    weights_BT = batch['decoder_loss_weights']
    tokens = log_probs.token_log_probs(batch['decoder_target_tokens'])

    loss_BT = -(1 - self.label_smoothing) * tokens.log_prob_BT
    loss_BT -= self.label_smoothing * tokens.mean_log_prob_BT
    loss_BT += self.z_loss * jnp.square(tokens.log_normalizer_BT)

    metrics: Metrics = {
      'token_nll': mean_metric(-tokens.log_prob_BT, weights_BT)
    }
    total = jnp.sum(loss_BT * weights_BT)
    return divide_or_zero(total, weight[self.average_over]), metrics


@dataclasses.dataclass(frozen=True)
class VerifierMargin:
  """Mean over pairs of max(0, log S_cls(X_inc|P) - log S_cls(X_cor|P) + margin) (Eq. 8).

  `margin` is lambda in the paper, which does not publish its value; 1.0 is a default of this
  package.
  """

  margin: float = 1.0

  def weight(self, batch: Batch) -> Weights:
    return {'pairs': pair_weights(batch).sum()}

  def __call__(
    self, log_probs: LogProbs, batch: Batch, weight: Weights
  ) -> tuple[jax.Array, Metrics]:
    log_scores_BW = jax.nn.log_softmax(label_log_probs(log_probs, batch))
    correct, incorrect = split_pairs(log_scores_BW[:, CORRECT])
    pairs = pair_weights(batch)
    total = jnp.sum(pairs * jax.nn.relu(incorrect - correct + self.margin))

    metrics = verdict_metrics(log_scores_BW, batch)
    metrics['pair_accuracy'] = mean_metric(win_rate(correct, incorrect), pairs)
    return divide_or_zero(total, weight['pairs']), metrics


@dataclasses.dataclass(frozen=True)
class VerifierXent:
  """Mean over verdicts of -log p(correct label word | T) (Eq. 9).

  Attributes:
    over: 'vocabulary': p is the language model's own probability, as the paper writes it and its
      recipe uses it; 'words': p is normalized over the two label words (a two-way softmax), so that
      the loss is -log S_cls for correct candidates and -log(1 - S_cls) for incorrect ones.
  """

  over: str = 'words'

  def __post_init__(self):
    if self.over not in ('words', 'vocabulary'):
      raise ValueError(
        f"VerifierXent.over is {self.over!r}; it must be 'words' or 'vocabulary'."
      )

  def weight(self, batch: Batch) -> Weights:
    return {'verdicts': batch['verdict_weights'].sum()}

  def __call__(
    self, log_probs: LogProbs, batch: Batch, weight: Weights
  ) -> tuple[jax.Array, Metrics]:
    log_probs_BW = label_log_probs(log_probs, batch)
    log_scores_BW = jax.nn.log_softmax(log_probs_BW)
    chosen_BW = log_scores_BW if self.over == 'words' else log_probs_BW
    label_log_probs_B = jnp.where(
      batch['is_correct'] > 0, chosen_BW[:, CORRECT], chosen_BW[:, INCORRECT]
    )
    total = -jnp.sum(label_log_probs_B * batch['verdict_weights'])

    metrics = verdict_metrics(log_scores_BW, batch)
    return divide_or_zero(total, weight['verdicts']), metrics


@dataclasses.dataclass(frozen=True)
class SequenceContrast:
  """L_ctr = L_seq + mle_weight * L_mle over pairs of solutions to one problem.

  L_seq is the mean over pairs of max(0, log p(X_inc|P) - log p(X_cor|P) + margin). The paper calls
  mle_weight a1. It publishes neither a1 nor the margin, and it does not say whether log p is a sum;
  the defaults are those of this package.

  Attributes:
    normalize: 'sum' uses log p(X|P) of the sequence; 'mean' divides it by the number of tokens.
    average_mle_over: 'tokens' or 'sequences', as `Mle.average_over`. With 'sequences', the paper's
      L_mle, both terms sum over tokens, so the meaning of mle_weight does not depend on lengths.
    mle_solutions: the solutions of L_mle: the 'correct' candidates of the pairs, the 'reference'
      solutions, or 'both'. Reference solutions are rows of their own, made by a
      `examples.MixedExamples` of `ContrastExamples` and `SolutionExamples`.
  """

  margin: float = 1.0
  mle_weight: float = 1.0
  normalize: str = 'sum'
  average_mle_over: str = 'tokens'
  mle_solutions: str = 'correct'

  def __post_init__(self):
    if self.normalize not in ('sum', 'mean'):
      raise ValueError(
        f"SequenceContrast.normalize is {self.normalize!r}; it must be 'sum' or 'mean'."
      )
    _check_average_over(
      'SequenceContrast.average_mle_over', self.average_mle_over
    )
    if self.mle_solutions not in ('correct', 'reference', 'both'):
      raise ValueError(
        f'SequenceContrast.mle_solutions is {self.mle_solutions!r}; it must be '
        "'correct', 'reference' or 'both'."
      )

  def weight(self, batch: Batch) -> Weights:
    weights_BT = self._mle_weights(batch)
    return {
      'pairs': pair_weights(batch).sum(),
      self.average_mle_over: _count(self.average_mle_over, batch, weights_BT),
    }

  def __call__(
    self, log_probs: LogProbs, batch: Batch, weight: Weights
  ) -> tuple[jax.Array, Metrics]:
    tokens = log_probs.token_log_probs(batch['decoder_target_tokens'])
    weights_BT = batch['decoder_loss_weights']
    sequence_B = jnp.sum(tokens.log_prob_BT * weights_BT, axis=-1)
    if self.normalize == 'mean':
      sequence_B = divide_or_zero(sequence_B, jnp.sum(weights_BT, axis=-1))

    correct, incorrect = split_pairs(sequence_B)
    pairs = pair_weights(batch)
    contrast = jnp.sum(pairs * jax.nn.relu(incorrect - correct + self.margin))

    mle_weights_BT = self._mle_weights(batch)
    nll = -jnp.sum(tokens.log_prob_BT * mle_weights_BT)

    loss = divide_or_zero(contrast, weight['pairs'])
    loss += self.mle_weight * divide_or_zero(nll, weight[self.average_mle_over])
    metrics: Metrics = {
      'pair_accuracy': mean_metric(win_rate(correct, incorrect), pairs),
      'log_prob_difference': mean_metric(correct - incorrect, pairs),
      'contrast_loss': (contrast, jnp.sum(pairs)),
      'token_nll': mean_metric(-tokens.log_prob_BT, mle_weights_BT),
    }
    return loss, metrics

  def _mle_weights(self, batch: Batch) -> jax.Array:
    """Returns [B, T]: weights of the target tokens of the solutions of L_mle."""
    is_correct_B = batch['is_correct'] > 0
    is_reference_B = batch['verdict_weights'] <= 0  # a solution without a label
    chosen_B = {
      'correct': is_correct_B,
      'reference': is_reference_B,
      'both': is_correct_B | is_reference_B,
    }[self.mle_solutions]
    return batch['decoder_loss_weights'] * chosen_B[:, None]


@dataclasses.dataclass(frozen=True)
class Joint:
  """L = verify + mle_weight * solve: trains an evaluator and a generator together.

  These are the joint baselines of the paper, L_cls-margin + a2 L_mle and L_cls-xent + a3 L_mle. A
  batch contains solutions and verdicts (`examples.MixedExamples`); each part of the loss weights
  its own. The paper does not publish a2 and a3; 1.0 is a default of this package.
  """

  solve: Loss = Mle()
  verify: Loss = VerifierXent()
  mle_weight: float = 1.0

  def weight(self, batch: Batch) -> Weights:
    return {
      'solve': self.solve.weight(batch),
      'verify': self.verify.weight(batch),
    }

  def __call__(
    self, log_probs: LogProbs, batch: Batch, weight: Weights
  ) -> tuple[jax.Array, Metrics]:
    solve, metrics = self.solve(log_probs, batch, weight['solve'])
    verify, verify_metrics = self.verify(log_probs, batch, weight['verify'])
    return verify + self.mle_weight * solve, {**metrics, **verify_metrics}


def split_pairs(array_B: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the (correct, incorrect) members of pairs: even and odd positions."""
  return array_B[0::2], array_B[1::2]


def pair_weights(batch: Batch) -> jax.Array:
  """Returns weights of pairs, float32 [B/2].

  It is the product of both verdict weights, and 0 unless the first member is correct and the second
  one is not.
  """
  correct, incorrect = split_pairs(batch['is_correct'])
  first, second = split_pairs(batch['verdict_weights'])
  return first * second * ((correct > 0) & (incorrect <= 0))


def count_sequences(batch: Batch, weights_BT: Any) -> Any:
  """Returns the number of sequences with a target of positive weight; a packed row has several.

  The ids of the segments of a row rise from left to right, so a sequence is counted where the
  largest id with a positive weight so far rises.
  """
  if isinstance(
    weights_BT, np.ndarray
  ):  # on the host, without waiting for a device
    weighted_ids_BT = np.where(weights_BT > 0, batch['decoder_segment_ids'], 0)
    largest_BT = np.maximum.accumulate(weighted_ids_BT, axis=1)
    return (np.diff(largest_BT, axis=1, prepend=0) > 0).sum()

  weighted_ids_BT = jnp.where(weights_BT > 0, batch['decoder_segment_ids'], 0)
  largest_BT = jax.lax.cummax(weighted_ids_BT, axis=1)
  rises_BT = jnp.diff(largest_BT, axis=1, prepend=0) > 0
  return jnp.sum(rises_BT, dtype=weights_BT.dtype)


def _count(average_over: str, batch: Batch, weights_BT: jax.Array) -> jax.Array:
  """Returns what a sum over tokens with these weights is divided by."""
  if average_over == 'sequences':
    return count_sequences(batch, weights_BT)
  return weights_BT.sum()


def label_log_probs(log_probs: LogProbs, batch: Batch) -> jax.Array:
  """Returns log-probabilities of the label words, [B, W]."""
  return log_probs.word_log_probs(
    batch['word_positions'], batch['label_words'], batch['label_word_mask']
  )


def verdict_metrics(log_scores_BW: jax.Array, batch: Batch) -> Metrics:
  """Returns the accuracy of S_cls > 1/2, and the mean of S_cls by correctness."""
  score_B = jnp.exp(log_scores_BW[:, CORRECT])
  is_correct_B = batch['is_correct'] > 0
  weights_B = batch['verdict_weights']
  return {
    'verdict_accuracy': mean_metric((score_B > 0.5) == is_correct_B, weights_B),
    's_cls_correct': mean_metric(score_B, weights_B * is_correct_B),
    's_cls_incorrect': mean_metric(score_B, weights_B * ~is_correct_B),
  }


def win_rate(first: jax.Array, second: jax.Array) -> jax.Array:
  """Returns 1 where the first is larger, 1/2 for ties, else 0."""
  return jnp.where(first == second, 0.5, first > second)


def mean_metric(
  values: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns (total, weight) of a weighted mean."""
  return jnp.sum(values * weights), jnp.sum(weights)


def divide_or_zero(total: jax.Array, weight) -> jax.Array:
  """Returns total / weight, and 0 where the weight is 0."""
  return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0)
