"""Tests of accuracy at k: formulas against enumeration, random subsets against the rules."""

import dataclasses
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from mathft_jax.data.schema import Candidate, CandidateSet
from mathft_jax.evaluation import accuracy_at_k, voting
from tests.evaluation.candidates import (
  CORRECT,
  candidate_set,
  candidate_sets,
  scores,
)

RULES = (
  voting.Majority(),
  voting.Majority(top_candidates=2),
  voting.Rerank(),
  voting.Rerank(top_clusters=2),
  voting.WeightedVote(),
  voting.WeightedVote(top_clusters=2),
  voting.Oracle(),
  voting.Oracle(top_clusters=2),
)


def over_all_orders(rule, unit, k):
  """The rule's mean over every ordered k-subset: sampling order splits the ties."""
  choices = [
    rule(dataclasses.replace(unit, candidates=order))
    for order in itertools.permutations(unit.candidates, k)
  ]
  return np.mean(
    [choice is not None and choice.is_correct for choice in choices]
  )


@given(
  st.integers(1, 8).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n))
  )
)
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_one(numbers):
  correct, n, k = numbers
  subsets = list(
    itertools.combinations([True] * correct + [False] * (n - correct), k)
  )
  assert accuracy_at_k.pass_at_k(correct, n, k) == pytest.approx(
    np.mean([any(each) for each in subsets])
  )


@given(
  st.lists(st.tuples(scores(), st.booleans()), min_size=1, max_size=7),
  st.integers(0, 2),
  st.integers(1, 9),
)
def test_best_of_k_is_the_mean_over_subsets(rows, unranked, k):
  everyone = [*rows, *[(-1.0, False)] * unranked]
  found = []
  for subset in itertools.combinations(everyone, min(k, len(everyone))):
    best = max(score for score, _ in subset)
    found.append(
      np.mean([correct for score, correct in subset if score == best])
    )
  assert accuracy_at_k.expected_best_of_k(
    *zip(*rows), k, unranked
  ) == pytest.approx(np.mean(found))


def test_best_of_k_for_many_samples_stays_exact():
  scores_C, correct_C = np.arange(400.0), np.ones(400, bool)
  assert accuracy_at_k.expected_best_of_k(
    scores_C, correct_C, 200
  ) == pytest.approx(1.0)


# Ties, a candidate without an answer, a correct minority, scores that mislead once.
TRICKY = candidate_set(
  [
    ('a', 0.5),
    ('a', 0.2),
    (CORRECT, 0.5),
    ('b', 0.9),
    (CORRECT, 0.6),
    (None, 1.0),
  ]
)


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize('k', [1, 2, 3, 5, 6])
def test_random_subsets_have_the_mean_of_all_ordered_subsets(rule, k):
  found = accuracy_at_k.rule_accuracy_at_k([TRICKY], rule, [k], draws=20_000)[
    0, 0
  ]
  assert found == pytest.approx(over_all_orders(rule, TRICKY, k), abs=0.015)


@settings(max_examples=150)
@given(
  st.lists(candidate_sets(8), min_size=1, max_size=3),
  st.sampled_from(RULES),
  st.integers(1, 9),
)
def test_array_rules_equal_the_rules_on_every_sampled_subset(sets, rule, k):
  drawn = accuracy_at_k.sample_random_orders(
    sets, 3, np.random.default_rng(0)
  ).first(k)
  for row, found in enumerate(
    accuracy_at_k.rule_correctness_on_subsets(rule, drawn)
  ):
    columns = zip(
      drawn.cluster_DC[row],
      drawn.score_DC[row],
      drawn.correct_DC[row],
      drawn.rank_DC[row],
    )
    unit = CandidateSet(
      sets[0].problem,
      tuple(
        Candidate(
          '',
          cluster=None if cluster < 0 else int(cluster),
          score=float(score),
          is_correct=bool(correct),
          log_odds=None if np.isnan(rank) else float(rank),
        )
        for cluster, score, correct, rank in columns
      ),
    )
    choice = rule(unit)
    assert found == (choice is not None and choice.is_correct)


def test_random_orders_permute_the_candidates_of_each_problem():
  small, large = (
    candidate_set([('a', 0.1)]),
    candidate_set([('b', 0.2), (CORRECT, 0.3)]),
  )
  drawn = accuracy_at_k.sample_random_orders(
    [small, large], 200, np.random.default_rng(0)
  )
  assert drawn.score_DC.shape == (400, 2)
  # Padding comes last.
  np.testing.assert_array_equal(drawn.score_DC[:200], [[0.1, np.nan]] * 200)
  assert set(map(tuple, drawn.score_DC[200:])) == {(0.2, 0.3), (0.3, 0.2)}
  assert 70 < np.sum(drawn.score_DC[200:, 0] == 0.2) < 130


@settings(max_examples=50)
@given(candidate_sets(8))
def test_accuracy_at_1_is_equal_for_every_rule(unit):
  wanted = (
    np.mean([c.is_correct for c in unit.candidates]) if unit.candidates else 0.0
  )
  for rule in RULES:
    assert accuracy_at_k.rule_accuracy_at_k([unit], rule, [1])[
      0, 0
    ] == pytest.approx(wanted)


def test_problems_with_fewer_than_k_candidates_use_all_of_them():
  small = candidate_set([(CORRECT, 0.1)], 'small')
  large = candidate_set([('a', 0.9)] * 3 + [(CORRECT, 0.1)] * 4, 'large')
  for rule in RULES:
    values_KP = accuracy_at_k.rule_accuracy_at_k(
      [small, large], rule, [1, 7], draws=50
    )
    assert values_KP.shape == (2, 2)
    np.testing.assert_array_equal(values_KP[:, 0], 1.0)
  np.testing.assert_allclose(
    accuracy_at_k.rule_accuracy_at_k([large], voting.Majority(), [7])[0], 1.0
  )


def test_blocks_of_problems_do_not_change_the_mean(monkeypatch):
  sets = [TRICKY] * 30
  monkeypatch.setattr(accuracy_at_k, 'MAX_BLOCK_ELEMENTS', 1)
  found = accuracy_at_k.rule_accuracy_at_k(
    sets, voting.WeightedVote(), [3], draws=1000
  )[0]
  assert found.mean() == pytest.approx(
    over_all_orders(voting.WeightedVote(), TRICKY, 3), abs=0.01
  )


def test_same_seed_same_curve():
  one, two = (
    accuracy_at_k.rule_accuracy_at_k(
      [TRICKY], voting.Majority(), [2, 3], seed=7
    )
    for _ in range(2)
  )
  np.testing.assert_array_equal(one, two)


def test_empty_and_answerless_problems_count_as_wrong():
  sets = [candidate_set([], 'empty'), candidate_set([(None, 0.5)], 'no answer')]
  for rule in RULES:
    np.testing.assert_array_equal(
      accuracy_at_k.rule_accuracy_at_k(sets, rule, [1, 2]), np.zeros((2, 2))
    )


def test_partly_scored_files_have_no_curve_of_rules_that_need_scores():
  unit = candidate_set([('a', 0.5), ('b', None), (None, None)])
  for rule in (
    voting.Rerank(1),
    voting.WeightedVote(),
    voting.Majority(top_candidates=1),
  ):
    with pytest.raises(voting.MissingScoreError, match='the curve of'):
      accuracy_at_k.rule_accuracy_at_k([unit], rule, [1])
  accuracy_at_k.rule_accuracy_at_k([unit], voting.Majority(), [1])


def test_custom_rules_have_no_curve():
  assert (
    accuracy_at_k.rule_accuracy_at_k(
      [TRICKY], lambda unit: unit.candidates[0], [1]
    )
    is None
  )
