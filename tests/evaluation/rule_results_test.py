"""Tests of rule results: wrong problems, omitted rules, baselines and candidate statistics."""

import numpy as np
import pytest

from mathft_jax.evaluation import rule_results, score_baselines, voting
from tests.evaluation.candidates import CORRECT, candidate_set

RULES = voting.paper_rules(top_clusters=1, top_candidates=2)


def rows_of(sets, rules=RULES, greedy=None):
  rows, notes = rule_results.evaluate_rules(sets, rules, greedy)
  return {row.name: row for row in rows}, notes


def test_every_rule_is_a_row_and_problems_without_answers_are_wrong():
  sets = [
    candidate_set([('a', 0.1), (CORRECT, 0.9, -1.0)], 'p'),
    candidate_set([(None, None)], 'no answer'),
    candidate_set([], 'no candidate'),
  ]
  rows, _ = rows_of(sets)
  assert [len(row.values_P) for row in rows.values()] == [3] * len(rows)
  assert rows['Maj1@N'].values_P.tolist() == [0, 0, 0]
  assert rows['RR.All'].values_P.tolist() == [1, 0, 0]
  assert rows[rule_results.SAMPLE_MEAN_ROW].values_P.tolist() == [0.5, 0, 0]


def test_results_have_their_kind():
  rows, _ = rows_of([candidate_set([(CORRECT, 0.5, -1.0)])])
  assert {name: row.kind for name, row in rows.items()} == {
    rule_results.SAMPLE_MEAN_ROW: 'sample',
    'Maj1@N': 'rule',
    'RR.All': 'rule',
    'RR.Top-1': 'rule',
    'W.RR': 'rule',
    'W.RR.Top-1': 'rule',
    'Maj1.Top2': 'rule',
    'RR.All by log-prob': 'control',
    'W.RR by log-prob': 'control',
    'RR.All by chance': 'control',
    'RR.Top-1 by chance': 'control',
    'MajK@N, K=1': 'ceiling',
    'Pass@N': 'ceiling',
  }


class OtherWeightedVote(voting.WeightedVote):
  """Another rule under the same name."""


def test_two_rules_with_the_same_name_are_an_error():
  with pytest.raises(ValueError, match=r"\['W.RR'\] occur more than once"):
    rows_of(
      [candidate_set([(CORRECT, 0.5)])],
      [voting.WeightedVote(), OtherWeightedVote()],
    )


def test_equal_rules_count_once():
  rules = [voting.WeightedVote(), voting.WeightedVote()]
  rows, _ = rows_of([candidate_set([(CORRECT, 0.5)])], rules)
  assert list(rows).count('W.RR') == 1


def test_unscored_files_omit_rules_that_need_scores_with_a_note():
  rows, notes = rows_of(
    [candidate_set([(CORRECT, None, -1.0), ('a', None, -2.0)])]
  )
  assert 'RR.All' not in rows and 'RR.All by log-prob' in rows
  assert notes == [
    'Left out: RR.All, RR.Top-1, W.RR, W.RR.Top-1, Maj1.Top2. The file is not scored.'
  ]


def test_files_with_scores_of_the_largest_clusters_keep_the_rules_over_them():
  rows, notes = rows_of(
    [candidate_set([(CORRECT, 0.4), (CORRECT, 0.5), ('a', None)])]
  )
  assert rows['RR.Top-1'].values_P.tolist() == [1] and 'RR.All' not in rows
  assert notes == [
    'Left out: RR.All, W.RR, Maj1.Top2. 1 of 3 answered candidates have no score; '
    'score gives one to all of them with top_clusters=None.',
    'Left out: RR.All by log-prob, W.RR by log-prob. 3 of 3 candidates carry no log_prob.',
  ]


def test_controls_by_log_prob_choose_candidates_of_the_set():
  unit = candidate_set([('a', 0.9, -5.0), (CORRECT, 0.1, -1.0)])
  chosen = {
    name: rule(unit) for name, _, rule in rule_results.named_rules(RULES)
  }
  assert chosen['RR.All by log-prob'] is unit.candidates[1]
  assert chosen['W.RR by log-prob'] is unit.candidates[1]


def test_random_accuracy_is_the_share_of_correct_candidates_to_choose_from():
  unit = candidate_set([('a', 0.9), ('a', 0.1), (CORRECT, 0.5), (None, 0.5)])
  assert score_baselines.expected_random_accuracy(unit) == pytest.approx(1 / 3)
  assert score_baselines.expected_random_accuracy(unit, top_clusters=1) == 0
  assert score_baselines.mean_correctness(unit) == 1 / 4


def test_log_probs_replace_scores_without_underflow():
  unit = candidate_set(
    [('a', None, -2001.0), (CORRECT, None, -2000.0), ('a', None, -2000.2)]
  )
  scored = score_baselines.with_relative_probability_scores(unit)
  assert [c.score for c in scored.candidates] == pytest.approx(
    np.exp([-1.0, 0.0, -0.2])
  )
  assert voting.Rerank()(scored).answer == CORRECT
  # exp(-1) + exp(-0.2) = 1.19 > 1.
  assert voting.WeightedVote()(scored).answer == 'a'


def test_greedy_is_matched_by_problem_in_any_order():
  sets = [candidate_set([('a', 0.5)], 'p'), candidate_set([('a', 0.5)], 'q')]
  greedy = [
    candidate_set([('a', None)], 'q'),
    candidate_set([(CORRECT, None)], 'p'),
  ]
  rows, _ = rows_of(sets, greedy=greedy)
  assert rows[rule_results.GREEDY_ROW].values_P.tolist() == [1, 0]


@pytest.mark.parametrize(
  'greedy, message',
  [
    ([candidate_set([('a', 0.5)], 'p')], r"1 are missing \['q'\]"),
    (
      [candidate_set([('a', 0.5)] * 2, 'p'), candidate_set([('a', 0.5)], 'q')],
      r"1 do not have exactly one candidate \['p'\]",
    ),
    (
      [candidate_set([('a', 0.5)], id_) for id_ in 'pqr'],
      'has 3 problems, the candidate file 2',
    ),
  ],
)
def test_greedy_of_other_problems_is_an_error(greedy, message):
  sets = [candidate_set([('a', 0.5)], 'p'), candidate_set([('a', 0.5)], 'q')]
  with pytest.raises(ValueError, match=message):
    rows_of(sets, greedy=greedy)


def test_top_cluster_results_count_the_scored_candidates():
  sets = [
    candidate_set(
      [('a', 0.1)] * 3 + [(CORRECT, 0.9)] * 2 + [('b', 0.2), (None, None)], 'p'
    ),
    candidate_set([(CORRECT, 0.5)], 'q'),
  ]
  rows = rule_results.results_by_top_clusters(sets)
  assert [row.top_clusters for row in rows] == [1, 2, 3]
  assert [row.share for row in rows] == [4 / 8, 6 / 8, 7 / 8]
  assert [row.share_of_answered for row in rows] == [4 / 7, 6 / 7, 1]
  assert [row.rerank_P.tolist() for row in rows] == [[0, 1], [1, 1], [1, 1]]
  assert [row.ceiling_P.tolist() for row in rows] == [[0, 1], [1, 1], [1, 1]]


def test_top_cluster_results_are_none_where_scores_are_missing():
  rows = rule_results.results_by_top_clusters(
    [candidate_set([(CORRECT, 0.4), (CORRECT, 0.5), ('a', None)])]
  )
  assert [row.rerank_P is None for row in rows] == [False, True]


@pytest.mark.parametrize(
  'most, wanted',
  [
    (0, []),
    (1, [1]),
    (2, [1, 2]),
    (5, [1, 2, 4, 5]),
    (64, [1, 2, 4, 8, 16, 32, 64]),
  ],
)
def test_powers_of_two_end_at_the_limit(most, wanted):
  assert rule_results.powers_of_two_up_to(most) == wanted


def test_candidate_statistics_count_answers_ties_and_clusters():
  sets = [
    candidate_set([('a', 0.5), (CORRECT, 0.5), (None, None), ('a', 0.1)], 'p'),
    candidate_set([(CORRECT, 0.5), ('b', 0.1)], 'q'),
    candidate_set([(None, None)], 'r'),
  ]
  found = rule_results.candidate_statistics(sets)
  assert found['problems'] == 3 and found['candidates'] == 7
  assert found['answered'] == 5 / 7 and found['finished'] is None
  assert found['problems_without_answer'] == 1 and found['majority_ties'] == 1
  assert found['largest_cluster_share'] == np.mean([2 / 4, 1 / 2])
