import math

import numpy as np
import pytest

from mathft_jax.data import schema
from mathft_jax.evaluation import stopping_rules
from mathft_jax.evaluation.stopping_rules import BetaStoppingRule


def make_set(name, clusters, right=0):
  candidates = tuple(
    schema.Candidate(f'{name} {index}', is_correct=c == right, cluster=c)
    for index, c in enumerate(clusters)
  )
  return schema.CandidateSet(schema.Problem(name, 'Q?'), candidates)


def test_the_probability_is_the_beta_integral():
  """P(x <= 1/2) for Beta(4, 2): the density is 20 x^3 (1 - x)."""
  x = (np.arange(100_000) + 0.5) / 200_000
  integral = np.sum(20 * x**3 * (1 - x)) / 200_000
  assert stopping_rules.change_of_places(3, 1) == pytest.approx(
    integral, abs=1e-8
  )
  assert stopping_rules.change_of_places(5, 5) == pytest.approx(0.5)


def test_equal_answers_are_decided_after_four_samples_at_95_percent():
  """P(x <= 1/2) under Beta(n + 1, 1) is 1 / 2^(n + 1)."""
  n = stopping_rules.candidates_until_decided(
    BetaStoppingRule(0.95), make_set('a', [0] * 16)
  )
  assert n == math.ceil(math.log2(1 / 0.05)) - 1 == 4


def test_a_vote_that_stays_close_uses_all_candidates():
  close = make_set('a', [0, 1] * 8)
  rule = BetaStoppingRule(0.95)
  assert stopping_rules.candidates_until_decided(rule, close) == 16


def test_candidates_without_an_answer_decide_nothing():
  empty = make_set('a', [None] * 16)
  rule = BetaStoppingRule(0.95)
  assert stopping_rules.candidates_until_decided(rule, empty) == 16


def test_the_bound_over_all_clusters_stops_later():
  spread = make_set('a', [0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0])
  two = BetaStoppingRule(0.95)
  bound = BetaStoppingRule(0.95, all_clusters=True)
  first = stopping_rules.candidates_until_decided(two, spread)
  assert first < stopping_rules.candidates_until_decided(bound, spread)


def test_the_error_is_at_most_what_the_rule_promises():
  """Two answers whose probabilities have the uniform prior of the rule."""
  random = np.random.default_rng(0)
  shares = random.uniform(size=2_000)
  rule = BetaStoppingRule(0.9)
  wrong = 0
  for index, share in enumerate(shares):
    draws = (random.uniform(size=200) > share).astype(int).tolist()
    n = stopping_rules.candidates_until_decided(rule, make_set('a', draws))
    chosen = int(2 * sum(draws[:n]) > n)
    wrong += n < 200 and chosen != int(share < 0.5)
  assert wrong / len(shares) < 0.1
  assert wrong > 0


def test_the_curve_nests_and_ends_at_all_candidates():
  random = np.random.default_rng(1)
  sets = [
    make_set(f'p{i}', (random.uniform(size=16) > 0.6).astype(int).tolist())
    for i in range(60)
  ]
  curve = stopping_rules.adaptive_curve(sets, [0.99, 0.8])
  assert [point.confidence for point in curve] == [0.8, 0.99, 1.0]
  means = [point.mean_candidates for point in curve]
  assert means == sorted(means) and means[-1] == 16
  assert curve[0].stopped_share > curve[1].stopped_share > 0
  assert curve[-1].difference.mean == 0
  expected = np.mean(
    [sum(c.is_correct for c in each.candidates) >= 8 for each in sets]
  )
  assert curve[-1].accuracy.mean == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize('confidence', [0.5, 1.0, 1.5])
def test_confidences_outside_the_open_interval_are_refused(confidence):
  with pytest.raises(ValueError, match='above 0.5 and below 1'):
    BetaStoppingRule(confidence)
