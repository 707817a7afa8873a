"""Every objective against its formula, written out in float64, gradients included."""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.training import losses, preference_losses


class Tokens(NamedTuple):
  log_prob_BT: jax.Array
  log_normalizer_BT: jax.Array
  mean_log_prob_BT: jax.Array


@dataclasses.dataclass
class ByHand:
  """A readout of given logits [B, T, V]."""

  logits_BTV: jax.Array

  def token_log_probs(self, tokens_BT):
    normalizer_BT = jnp.log(jnp.sum(jnp.exp(self.logits_BTV), axis=-1))
    log_probs_BTV = self.logits_BTV - normalizer_BT[..., None]
    chosen_BT = jnp.take_along_axis(
      log_probs_BTV, tokens_BT[..., None], axis=-1
    )[..., 0]
    return Tokens(chosen_BT, normalizer_BT, jnp.mean(log_probs_BTV, axis=-1))

  def word_log_probs(self, positions_BWM, words_WM, mask_WM):
    rows = jnp.arange(positions_BWM.shape[0])[:, None, None]
    log_probs_BTV = jax.nn.log_softmax(self.logits_BTV)
    return jnp.sum(
      log_probs_BTV[rows, positions_BWM, words_WM[None]] * mask_WM, axis=-1
    )


B, T, V = 4, 3, 5


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


@pytest.fixture
def logits_BTV():
  return np.random.default_rng(0).normal(size=(B, T, V)) * 2


@pytest.fixture
def batch():
  """Two pairs whose rows have targets too; words are token 1, and tokens (2, 3).

  The last row has two packed solutions, the second row a second segment without a target.
  """
  random = np.random.default_rng(1)
  return {
    'decoder_target_tokens': random.integers(0, V, (B, T)),
    'decoder_loss_weights': np.array(
      [[0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1.0]]
    ),
    'decoder_segment_ids': np.array(
      [[1, 1, 1], [1, 1, 2], [1, 1, 1], [1, 2, 2]]
    ),
    'is_correct': np.array([1, 0, 1, 0.0]),
    'verdict_weights': np.ones(B),
    'reference_log_probs': np.array([-3.0, -2.5, -4.0, -6.5]),
    'word_positions': random.integers(0, T, (B, 2, 2)),
    'label_words': np.array([[1, 0], [2, 3]]),
    'label_word_mask': np.array([[1, 0], [1, 1]]),
  }


def log_probs(logits_BTV):
  """log softmax in plain numpy."""
  return logits_BTV - np.log(np.exp(logits_BTV).sum(-1, keepdims=True))


def target_log_probs(logits_BTV, batch):
  tokens_BT1 = batch['decoder_target_tokens'][..., None]
  return np.take_along_axis(log_probs(logits_BTV), tokens_BT1, axis=-1)[..., 0]


def word_log_probs(logits_BTV, batch):
  """log p(correct), log p(incorrect) of each row: sums over the words' tokens."""
  p, words = log_probs(logits_BTV), batch['word_positions']
  return [
    (p[b, words[b, 0, 0], 1], p[b, words[b, 1, 0], 2] + p[b, words[b, 1, 1], 3])
    for b in range(B)
  ]


def log_s_cls(logits_BTV, batch):
  """log of p(correct) / (p(correct) + p(incorrect))."""
  return [
    math.log(math.exp(c) / (math.exp(c) + math.exp(i)))
    for c, i in word_log_probs(logits_BTV, batch)
  ]


def mle(logits_BTV, batch):
  weights = batch['decoder_loss_weights']
  return -(target_log_probs(logits_BTV, batch) * weights).sum() / weights.sum()


def solutions_with_targets(batch):
  """(row, segment) of each solution with a target token."""
  rows, columns = np.nonzero(batch['decoder_loss_weights'])
  return {
    (b, batch['decoder_segment_ids'][b, t]) for b, t in zip(rows, columns)
  }


def mle_of_solutions(logits_BTV, batch):
  """The sum over the tokens of each solution, then the mean over solutions."""
  nll_BT = -target_log_probs(logits_BTV, batch) * batch['decoder_loss_weights']
  segments = batch['decoder_segment_ids']
  of_solutions = [
    nll_BT[b][segments[b] == number].sum()
    for b, number in solutions_with_targets(batch)
  ]
  return np.mean(of_solutions)


def smoothed(logits_BTV, batch, e=0.1, z=0.01):
  target = np.eye(V)[batch['decoder_target_tokens']] * (1 - e) + e / V
  normalizer = np.log(np.exp(logits_BTV).sum(-1))
  per_token = -(target * log_probs(logits_BTV)).sum(-1) + z * normalizer**2
  weights = batch['decoder_loss_weights']
  return (per_token * weights).sum() / weights.sum()


def margin(logits_BTV, batch, margin=0.7):
  log_s = log_s_cls(logits_BTV, batch)
  return sum(max(0, log_s[b + 1] - log_s[b] + margin) for b in (0, 2)) / 2


def xent_words(logits_BTV, batch):
  s = np.exp(log_s_cls(logits_BTV, batch))
  return (
    -(math.log(s[0]) + math.log(1 - s[1]) + math.log(s[2]) + math.log(1 - s[3]))
    / 4
  )


def xent_vocabulary(logits_BTV, batch):
  p = word_log_probs(logits_BTV, batch)
  return -(p[0][0] + p[1][1] + p[2][0] + p[3][1]) / 4


def contrast(logits_BTV, batch, margin=0.7, a1=0.3, mean=False):
  weights = batch['decoder_loss_weights']
  tokens = target_log_probs(logits_BTV, batch) * weights
  l_mle = -tokens[[0, 2]].sum() / weights[[0, 2]].sum()
  return l_seq(logits_BTV, batch, margin, mean) + a1 * l_mle


def l_seq(logits_BTV, batch, margin=0.7, mean=False):
  weights = batch['decoder_loss_weights']
  tokens = target_log_probs(logits_BTV, batch) * weights
  sequence = tokens.sum(-1) / (weights.sum(-1) if mean else 1)
  return sum(max(0, sequence[b + 1] - sequence[b] + margin) for b in (0, 2)) / 2


def contrast_of_solutions(logits_BTV, batch, a1=0.3):
  weights = batch['decoder_loss_weights']
  tokens = target_log_probs(logits_BTV, batch) * weights
  l_mle = np.mean([-tokens[0].sum(), -tokens[2].sum()])
  return l_seq(logits_BTV, batch) + a1 * l_mle


def contrast_mean(logits_BTV, batch):
  return contrast(logits_BTV, batch, mean=True)


def joint(logits_BTV, batch, a2=0.4):
  return margin(logits_BTV, batch) + a2 * mle(logits_BTV, batch)


def bradley_terry(logits_BTV, batch, margin=0.2):
  scores = log_s_cls(logits_BTV, batch)
  differences = [scores[0] - scores[1] - margin, scores[2] - scores[3] - margin]
  return np.mean([math.log(1 + math.exp(-x)) for x in differences])


def dpo(logits_BTV, batch, beta=0.3, mle_weight=0.4):
  weights_BT = batch['decoder_loss_weights']
  tokens_BT = target_log_probs(logits_BTV, batch) * weights_BT
  reward = beta * (tokens_BT.sum(-1) - batch['reference_log_probs'])
  differences = [reward[0] - reward[1], reward[2] - reward[3]]
  nll = -tokens_BT[[0, 2]].sum() / weights_BT[[0, 2]].sum()
  preference = np.mean([math.log(1 + math.exp(-x)) for x in differences])
  return preference + mle_weight * nll


CASES = {
  'bradley-terry': (
    preference_losses.VerifierLogistic(margin=0.2),
    bradley_terry,
  ),
  'dpo': (preference_losses.Dpo(beta=0.3, mle_weight=0.4), dpo),
  'mle': (losses.Mle(), mle),
  'smoothed mle with z-loss': (
    losses.Mle(z_loss=0.01, label_smoothing=0.1),
    smoothed,
  ),
  'mle of solutions': (
    losses.Mle(average_over='sequences'),
    mle_of_solutions,
  ),
  'cls-margin': (losses.VerifierMargin(margin=0.7), margin),
  'cls-xent over words': (losses.VerifierXent(), xent_words),
  'cls-xent over vocabulary': (
    losses.VerifierXent(over='vocabulary'),
    xent_vocabulary,
  ),
  'contrast': (losses.SequenceContrast(margin=0.7, mle_weight=0.3), contrast),
  'contrast of means': (
    losses.SequenceContrast(margin=0.7, mle_weight=0.3, normalize='mean'),
    contrast_mean,
  ),
  'contrast and mle of solutions': (
    losses.SequenceContrast(
      margin=0.7, mle_weight=0.3, average_mle_over='sequences'
    ),
    contrast_of_solutions,
  ),
  'joint': (
    losses.Joint(verify=losses.VerifierMargin(margin=0.7), mle_weight=0.4),
    joint,
  ),
}


@functools.partial(jax.jit, static_argnums=0)
def value_and_grad(loss, logits_BTV, batch, weight):
  return jax.value_and_grad(lambda x: loss(ByHand(x), batch, weight)[0])(
    logits_BTV
  )


def value(loss, logits_BTV, batch, weight=None):
  weight = loss.weight(batch) if weight is None else weight
  return float(value_and_grad(loss, logits_BTV, batch, weight)[0])


@pytest.mark.parametrize('name', CASES)
def test_the_loss_is_the_papers_formula(name, logits_BTV, batch):
  loss, formula = CASES[name]
  expected = formula(logits_BTV, batch)
  assert expected > 0.05
  assert value(loss, logits_BTV, batch) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('name', CASES)
def test_the_gradient_is_that_of_the_formula(name, logits_BTV, batch):
  loss, formula = CASES[name]
  gradient = value_and_grad(loss, logits_BTV, batch, loss.weight(batch))[1]
  expected = finite_differences(formula, logits_BTV, batch)
  assert np.abs(expected).max() > 0.01
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


def finite_differences(formula, logits_BTV, batch):
  expected = np.zeros_like(logits_BTV)
  for index in np.ndindex(*logits_BTV.shape):
    up, down = logits_BTV.copy(), logits_BTV.copy()
    up[index] += 1e-6
    down[index] -= 1e-6
    expected[index] = (formula(up, batch) - formula(down, batch)) / 2e-6
  return expected


@pytest.mark.parametrize('solutions', ['reference', 'both'])
@pytest.mark.parametrize('average_over', ['tokens', 'sequences'])
def test_contrast_takes_its_mle_from_reference_solutions(
  solutions, average_over, logits_BTV, batch
):
  """Rows 0 and 1 are a pair, rows 2 and 3 are reference solutions."""
  mixed = {
    **batch,
    'is_correct': np.array([1, 0, 0, 0.0]),
    'verdict_weights': np.array([1, 1, 0, 0.0]),
    'decoder_segment_ids': np.ones((B, T), int),
  }
  rows = [0, 2, 3] if solutions == 'both' else [2, 3]

  def formula(logits_BTV, batch):
    weights = batch['decoder_loss_weights']
    tokens = target_log_probs(logits_BTV, batch) * weights
    total = weights[rows].sum() if average_over == 'tokens' else len(rows)
    sequence = tokens.sum(-1)
    l_seq = max(0, sequence[1] - sequence[0] + 0.7)
    return l_seq - 0.3 * tokens[rows].sum() / total

  loss = losses.SequenceContrast(
    0.7, 0.3, average_mle_over=average_over, mle_solutions=solutions
  )
  cost, gradient = value_and_grad(loss, logits_BTV, mixed, loss.weight(mixed))
  assert cost == pytest.approx(formula(logits_BTV, mixed), abs=1e-9)
  expected = finite_differences(formula, logits_BTV, mixed)
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_sequences_are_counted_once_whatever_their_weights():
  segments = np.array(
    [[1, 1, 1, 1, 2, 2, 3, 3, 0], [1, 2, 3, 4, 5, 5, 5, 0, 0]]
  )
  weights = np.array(
    [[0, 0.5, 0, 2, 0, 0, 0, 1, 0], [1, 0, 1, 0, 1, 1, 1, 0, 0]], float
  )
  # Segments 1 and 3 of the first row; 1, 3 and 5 of the second.
  packed = {'decoder_segment_ids': segments, 'decoder_loss_weights': weights}
  assert losses.count_sequences(packed, weights) == 5
  on_device = jax.tree.map(jnp.asarray, packed)
  assert losses.count_sequences(on_device, jnp.asarray(weights)) == 5
  assert losses.Mle(average_over='sequences').weight(packed) == {'sequences': 5}


@pytest.mark.parametrize('name', CASES)
def test_shares_of_the_parts_of_a_batch_add_up_to_its_loss(
  name, logits_BTV, batch
):
  loss, _ = CASES[name]
  weight = loss.weight(batch)
  parts = [
    {
      key: x if key.startswith('label_') else x[part]
      for key, x in batch.items()
    }
    for part in (slice(0, 2), slice(2, 4))
  ]
  total = sum(
    value(loss, logits_BTV[2 * i : 2 * i + 2], part, weight)
    for i, part in enumerate(parts)
  )
  assert total == pytest.approx(value(loss, logits_BTV, batch), abs=1e-12)


@pytest.mark.parametrize('name', CASES)
def test_rows_without_weight_count_for_nothing(name, logits_BTV, batch):
  loss, _ = CASES[name]
  alone = {
    key: x if key.startswith('label_') else x[:2] for key, x in batch.items()
  }
  padded = {
    **batch,
    'decoder_loss_weights': batch['decoder_loss_weights']
    * [[1], [1], [0], [0]],
    'verdict_weights': np.array([1, 1, 0, 0.0]),
  }
  expected = value(loss, logits_BTV[:2], alone)
  assert value(loss, logits_BTV, padded) == pytest.approx(expected)


@pytest.mark.parametrize('name', CASES)
def test_nothing_to_learn_from_weighs_zero_and_costs_zero_without_nan(
  name, logits_BTV, batch
):
  loss, _ = CASES[name]
  empty = {
    **batch,
    'decoder_loss_weights': np.zeros((B, T)),
    'verdict_weights': np.zeros(B),
  }
  assert not any(jax.tree.leaves(loss.weight(empty)))
  cost, gradient = value_and_grad(loss, logits_BTV, empty, loss.weight(empty))
  assert cost == 0 and not np.any(gradient)


def test_two_rows_in_the_wrong_order_are_no_pair(batch):
  swapped = {**batch, 'is_correct': np.array([0, 1, 1, 0.0])}
  assert losses.VerifierMargin().weight(swapped)['pairs'] == 1


def test_verdict_metrics_say_what_a_person_asks(logits_BTV, batch):
  _, metrics = losses.VerifierMargin()(
    ByHand(jnp.asarray(logits_BTV)), batch, {'pairs': 2.0}
  )
  s = np.exp(log_s_cls(logits_BTV, batch))
  mean = {
    name: float(total / weight) for name, (total, weight) in metrics.items()
  }
  assert mean['s_cls_correct'] == pytest.approx((s[0] + s[2]) / 2)
  assert mean['s_cls_incorrect'] == pytest.approx((s[1] + s[3]) / 2)
  assert mean['verdict_accuracy'] == np.mean(
    [s[0] > 0.5, s[1] <= 0.5, s[2] > 0.5, s[3] <= 0.5]
  )
  assert mean['pair_accuracy'] == np.mean([s[0] > s[1], s[2] > s[3]])


def test_a_margin_that_is_met_costs_nothing(batch):
  sure = np.zeros((B, T, V))
  sure[0::2, :, 1] = sure[1::2, :, 2] = sure[1::2, :, 3] = 30.0
  assert value(losses.VerifierMargin(margin=1.0), sure, batch) == 0


def test_extreme_logits_stay_finite(logits_BTV, batch):
  for name, (loss, _) in CASES.items():
    result, gradient = value_and_grad(
      loss, logits_BTV * 100, batch, loss.weight(batch)
    )
    assert np.isfinite(result) and np.all(np.isfinite(gradient)), name


def test_misspelt_choices_are_refused_with_the_allowed_ones():
  with pytest.raises(
    ValueError, match="'labels'; it must be 'words' or 'vocabulary'"
  ):
    losses.VerifierXent(over='labels')
  with pytest.raises(ValueError, match="'avg'; it must be 'sum' or 'mean'"):
    losses.SequenceContrast(normalize='avg')
  for make in (
    lambda: losses.Mle(average_over='rows'),
    lambda: losses.SequenceContrast(average_mle_over='rows'),
  ):
    with pytest.raises(ValueError, match="'rows'; .* 'tokens' or 'sequences'"):
      make()
  with pytest.raises(ValueError, match="'all'; .* 'reference' or 'both'"):
    losses.SequenceContrast(mle_solutions='all')


def test_losses_with_equal_fields_are_one_object_to_a_compilation_cache():
  assert hash(losses.Joint(verify=losses.VerifierMargin(0.5))) == hash(
    losses.Joint(verify=losses.VerifierMargin(0.5))
  )
  assert losses.VerifierMargin(0.5) != losses.VerifierMargin(0.6)
