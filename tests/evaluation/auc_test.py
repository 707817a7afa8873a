"""Tests of the AUC against pair counting, within a problem and pooled."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from mathft_jax.evaluation import auc, voting
from tests.evaluation.candidates import CORRECT, candidate_set, scores


def score_of(candidate):
  return candidate.score


def by_pairs(scores_C, correct_C):
  pairs = [
    (good > bad) + (good == bad) / 2
    for good, right in zip(scores_C, correct_C)
    if right
    for bad, also in zip(scores_C, correct_C)
    if not also
  ]
  return np.mean(pairs) if pairs else np.nan


@given(st.lists(st.tuples(scores(), st.booleans()), min_size=1, max_size=20))
def test_auc_equals_the_share_of_correctly_ordered_pairs(rows):
  scores_C, correct_C = map(np.array, zip(*rows))
  assert auc.area_under_roc(scores_C, correct_C) == pytest.approx(
    by_pairs(scores_C, correct_C), nan_ok=True
  )


def test_log_odds_order_equal_scores():
  sure = candidate_set(
    [
      (CORRECT, 1.0, None, 41.0),
      ('a', 1.0, None, 38.0),
      ('b', 1.0, None, 42.0),
      (CORRECT, 1.0, None, 42.0),
    ]
  )
  estimate = auc.mean_auc_within_problems([sure], voting.ranking_key)
  assert estimate.mean == (1 + 0 + 1 + 0.5) / 4
  assert auc.pooled_auc([sure], voting.ranking_key).mean == estimate.mean
  assert auc.mean_auc_within_problems([sure], lambda c: c.score).mean == 0.5


def test_weights_count_like_repetitions():
  found = auc.area_under_roc(
    np.array([0.1, 0.6, 0.5]),
    np.array([True, True, False]),
    np.array([3, 1, 2]),
  )
  assert found == pytest.approx(1 / 4)


def test_separating_easy_from_hard_problems_raises_only_the_pooled_auc():
  easy = candidate_set([(CORRECT, 0.9)] * 3 + [('a', 0.9)], 'easy')
  hard = candidate_set([(CORRECT, 0.1)] + [('a', 0.1)] * 3, 'hard')
  assert auc.mean_auc_within_problems([easy, hard], score_of).mean == 0.5
  assert auc.pooled_auc([easy, hard], score_of).mean == pytest.approx(
    by_pairs([0.9] * 4 + [0.1] * 4, [1, 1, 1, 0, 1, 0, 0, 0])
  )


def test_auc_ignores_one_sided_problems_and_unanswered_or_unscored_candidates():
  sets = [
    candidate_set(
      [(CORRECT, 0.9), ('a', 0.2), (None, 1.0), ('b', None)], 'both'
    ),
    candidate_set([(CORRECT, 0.1)], 'right'),
    candidate_set([('a', 0.9)], 'wrong'),
  ]
  within = auc.mean_auc_within_problems(sets, score_of)
  assert (within.mean, within.n) == (1.0, 1)
  assert auc.mean_auc_within_problems(sets[1:], score_of) is None
  assert auc.pooled_auc(sets[1:2], score_of) is None


def test_pooled_interval_contains_the_value_and_narrows_with_more_problems():
  rng = np.random.default_rng(0)
  sets = [
    candidate_set([(CORRECT, rng.normal(0.3)), ('a', rng.normal())] * 2, str(i))
    for i in range(400)
  ]
  few, many = (
    auc.pooled_auc(sets[:50], score_of),
    auc.pooled_auc(sets, score_of),
  )
  assert few.low < few.mean < few.high and many.low < many.mean < many.high
  assert many.high - many.low < 0.6 * (few.high - few.low)
