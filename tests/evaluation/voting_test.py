"""The rules by hand, and the identities of the paper's section 3 on random candidate sets."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
import pytest

from mathft_jax.evaluation import voting
from tests.evaluation.candidates import CORRECT, candidate_set, candidate_sets

EVERY = 99  # more clusters or candidates than any set here has

# Largest cluster a (3), best score b, heaviest cluster right (1.5 against 1.2 and 0.9).
EXAMPLE = candidate_set(
  [
    ('a', 0.4),
    (CORRECT, 0.8),
    ('b', 0.9),
    ('a', 0.5),
    (None, 1.0),
    (CORRECT, 0.7),
    ('a', 0.3),
  ]
)


def with_scores(unit, score_of):
  return dataclasses.replace(
    unit,
    candidates=tuple(
      dataclasses.replace(each, score=score_of(each), log_odds=None)
      for each in unit.candidates
    ),
  )


def answer(choice):
  return choice and choice.answer


@pytest.mark.parametrize(
  'rule, wanted',
  [
    (voting.Majority(), '0: a'),
    (voting.Rerank(), '2: b'),
    (voting.Rerank(top_clusters=1), '3: a'),
    (voting.Rerank(top_clusters=2), f'1: {CORRECT}'),
    (voting.WeightedVote(), f'1: {CORRECT}'),
    (voting.WeightedVote(top_clusters=1), '3: a'),
    (voting.Majority(top_candidates=1), '2: b'),
    (voting.Majority(top_candidates=3), f'1: {CORRECT}'),
    (voting.Oracle(), f'1: {CORRECT}'),
    (voting.Oracle(top_clusters=2), f'1: {CORRECT}'),
  ],
  ids=lambda value: getattr(value, 'name', None),
)
def test_each_rule_on_one_example(rule, wanted):
  assert rule(EXAMPLE).solution == wanted


def test_ceiling_of_top_clusters_ignores_other_clusters():
  assert voting.Oracle(top_clusters=1)(EXAMPLE) is None


def test_equal_scores_and_clusters_go_to_the_first_sampled():
  tied = candidate_set([('a', 0.5), ('b', 0.5), ('b', 0.5), ('a', 0.5)])
  for rule in voting.paper_rules(2, 2)[:-2]:
    assert rule(tied).solution == '0: a', rule


def test_log_odds_order_candidates_whose_s_cls_is_exactly_one():
  sure = candidate_set(
    [
      ('a', 1.0, None, 38.0),
      (CORRECT, 1.0, None, 40.0),
      ('b', 0.9, None, 2.2),
      (CORRECT, 1.0, None, 39.0),
      ('a', 1.0, None, 38.5),
    ]
  )
  assert voting.Rerank()(sure).solution == f'1: {CORRECT}'
  assert voting.Rerank(top_clusters=1)(sure).solution == '4: a'
  assert voting.WeightedVote()(sure).solution == '4: a'  # 2.0 each, a is first
  assert voting.Majority(top_candidates=2)(sure).answer == CORRECT
  older = with_scores(sure, lambda each: each.score)  # without log-odds
  assert voting.Rerank()(older).solution == '0: a'


def test_a_candidate_without_an_answer_is_never_chosen():
  unit = candidate_set([(None, 1.0), (None, 0.9), ('a', 0.0)])
  for rule in voting.paper_rules()[:-2]:
    assert rule(unit).solution == '2: a', rule


@pytest.mark.parametrize('rows', [[], [(None, 0.5)]])
def test_nothing_is_chosen_without_an_answered_candidate(rows):
  for rule in voting.paper_rules():
    assert rule(candidate_set(rows)) is None


def test_names_are_those_of_the_paper():
  assert [rule.name for rule in voting.paper_rules()] == [
    'Maj1@N',
    'RR.All',
    'RR.Top-8',
    'W.RR',
    'W.RR.Top-8',
    'Maj1.Top8',
    'MajK@N, K=8',
    'Pass@N',
  ]


def test_missing_scores_are_an_error_that_names_the_rule():
  unit = candidate_set([('a', 0.5), ('a', 0.5), ('b', None)])
  for rule in (
    voting.Rerank(),
    voting.WeightedVote(),
    voting.Majority(top_candidates=1),
    voting.Rerank(top_clusters=2),
  ):
    with pytest.raises(
      voting.MissingScoreError, match='1 of them have none .*candidate 2'
    ):
      rule(unit)
  for rule in (
    voting.Majority(),
    voting.Rerank(1),
    voting.WeightedVote(1),
    voting.Oracle(),
  ):
    rule(unit)


def test_a_score_that_is_not_a_number_is_an_error():
  with pytest.raises(ValueError, match='candidate 1 has the score nan'):
    voting.Rerank()(candidate_set([('a', 0.5), ('a', float('nan'))]))


@pytest.mark.parametrize(
  'build', [voting.Majority, voting.Rerank, voting.WeightedVote, voting.Oracle]
)
def test_zero_clusters_or_candidates_are_an_error(build):
  with pytest.raises(ValueError, match='is 0; wanted at least 1'):
    build(0)


@given(candidate_sets())
def test_reranking_the_largest_cluster_is_the_vote(unit):
  majority = answer(voting.Majority()(unit))
  assert answer(voting.Rerank(1)(unit)) == majority
  assert answer(voting.WeightedVote(1)(unit)) == majority


@given(candidate_sets())
def test_restricting_to_all_clusters_restricts_nothing(unit):
  assert voting.Rerank(EVERY)(unit) == voting.Rerank()(unit)
  assert voting.WeightedVote(EVERY)(unit) == voting.WeightedVote()(unit)


@given(candidate_sets())
def test_a_vote_of_the_best_one_is_reranking_and_of_all_is_the_vote(unit):
  assert voting.Majority(top_candidates=1)(unit) == voting.Rerank()(unit)
  assert voting.Majority(top_candidates=EVERY)(unit) == voting.Majority()(unit)


@given(candidate_sets(), st.floats(0, 1))
def test_a_constant_evaluator_gives_the_majority_vote(unit, constant):
  unit = with_scores(unit, lambda each: constant)
  assert voting.WeightedVote()(unit) == voting.Majority()(unit)


@given(candidate_sets(), st.integers(1, 6))
def test_a_perfect_evaluator_reaches_the_ceilings(unit, top_clusters):
  unit = with_scores(unit, lambda each: float(each.is_correct))
  for rule, ceiling in (
    (voting.Rerank(), voting.Oracle()),
    (voting.Rerank(top_clusters), voting.Oracle(top_clusters)),
  ):
    assert (
      answer(rule(unit)) == CORRECT
      if ceiling(unit)
      else answer(rule(unit)) != CORRECT
    )


@given(candidate_sets(), st.integers(1, 6))
def test_no_rule_exceeds_its_ceiling(unit, top_clusters):
  for rule in (voting.Rerank(top_clusters), voting.WeightedVote(top_clusters)):
    if answer(rule(unit)) == CORRECT:
      assert voting.Oracle(top_clusters)(unit)


@given(candidate_sets(), st.integers(-8, 8))
def test_the_unit_of_the_scores_does_not_matter(unit, power):
  # Exact in floating point.
  unit = with_scores(unit, lambda each: each.score)
  scaled = with_scores(unit, lambda each: each.score * 2.0**power)
  for rule in voting.paper_rules(2, 3):
    assert answer(rule(scaled)) == answer(rule(unit))
