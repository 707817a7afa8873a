"""What each rule gets right on each problem of a candidate file: the numbers under every table.

Nothing is left out of a denominator: a problem without any answered candidate is wrong for every
rule. A rule that cannot be followed (scores are missing) gives no row and a note that says why.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import score_baselines, voting

GREEDY_ROW = 'Pass@1 (greedy)'
SAMPLE_MEAN_ROW = 'Pass@1 (mean of samples)'


@dataclasses.dataclass(frozen=True)
class RuleResult:
  """One row of the tables.

  Attributes:
    name: the row's name; 'N' stands for the candidates of a problem.
    kind: 'sample' (one sample), 'rule', 'control' (re-ranking without the evaluator) or 'ceiling'.
    values_P: 1 for each problem where the choice is correct, else 0; the expected value where the
      choice is random.
  """

  name: str
  kind: str
  values_P: np.ndarray


def evaluate_rules(
  candidate_sets: Sequence[CandidateSet],
  rules: Sequence[voting.VotingRule],
  greedy: Sequence[CandidateSet] | None = None,
) -> tuple[list[RuleResult], list[str]]:
  """All rows for one candidate file, and the notes about rows that are left out."""
  rows, missing = [], {}
  _check_names(rules)
  if greedy is not None:
    rows.append(
      RuleResult(
        GREEDY_ROW, 'sample', greedy_correctness(candidate_sets, greedy)
      )
    )
  rows.append(
    RuleResult(
      SAMPLE_MEAN_ROW,
      'sample',
      np.array([*map(score_baselines.mean_correctness, candidate_sets)]),
    )
  )
  named = [
    (
      voting.rule_name(rule),
      'ceiling' if isinstance(rule, voting.Oracle) else 'rule',
      rule,
    )
    for rule in rules
  ]
  for name, kind, rule in [*named, *_controls(rules)]:
    try:
      rows.append(
        RuleResult(name, kind, rule_correctness(candidate_sets, rule))
      )
    except voting.MissingScoreError as error:
      missing.setdefault(_cause(candidate_sets, error), []).append(name)
  for rule in rules:
    if isinstance(rule, voting.Rerank):
      values = [
        score_baselines.expected_random_accuracy(each, rule.top_clusters)
        for each in candidate_sets
      ]
      rows.append(
        RuleResult(f'{rule.name} by chance', 'control', np.array(values))
      )
  order = ('sample', 'rule', 'control', 'ceiling')
  return (
    sorted(rows, key=lambda row: order.index(row.kind)),
    [
      f'Left out: {", ".join(names)}. {cause}'
      for cause, names in missing.items()
    ],
  )


def _check_names(rules: Sequence[voting.VotingRule]) -> None:
  names = [voting.rule_name(rule) for rule in rules]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(
      f'{twice} occur twice among the rules {names}; wanted different names.'
    )


def _controls(rules: Sequence[voting.VotingRule]):
  """(name, kind, rule) of re-ranking by the generator's own log-probability."""
  for rule in (voting.Rerank(), voting.WeightedVote()):
    if rule in rules:
      yield (
        f'{rule.name} by log-prob',
        'control',
        lambda each, rule=rule: rule(score_baselines.score_by_log_prob(each)),
      )


def _cause(
  candidate_sets: Sequence[CandidateSet], error: voting.MissingScoreError
) -> str:
  """Why rows are missing, for the file as a whole."""
  candidates = [c for each in candidate_sets for c in each.candidates]
  if 'log_prob' in str(error):
    without = sum(c.log_prob is None for c in candidates)
    return f'{without:,} of {len(candidates):,} candidates carry no log_prob.'
  answered = [c for c in candidates if c.cluster is not None]
  without = sum(c.score is None for c in answered)
  if without == len(answered):
    return 'The file is not scored.'
  return (
    f'{without:,} of {len(answered):,} answered candidates have no score; score gives one to '
    'all of them with top_clusters=None.'
  )


def rule_correctness(
  candidate_sets: Sequence[CandidateSet], rule: voting.VotingRule
) -> np.ndarray:
  """values_P: 1 where the rule's choice is correct, else 0; MissingScore if it cannot choose."""
  choices = [rule(candidate_set) for candidate_set in candidate_sets]
  return np.array(
    [choice is not None and bool(choice.is_correct) for choice in choices],
    float,
  )


def greedy_correctness(
  candidate_sets: Sequence[CandidateSet], greedy: Sequence[CandidateSet]
) -> np.ndarray:
  """values_P of a file with one candidate for each of the same problems, in any order."""
  by_id = {each.problem.id: each for each in greedy}
  ids = [each.problem.id for each in candidate_sets]
  several = [each.problem.id for each in greedy if len(each.candidates) != 1]
  missing = [id_ for id_ in ids if id_ not in by_id]
  if several or missing or len(by_id) != len(ids):
    raise ValueError(
      f'the greedy file has {len(by_id)} problems, the candidate file {len(ids)}; '
      f'{len(missing)} are missing {missing[:3]}, {len(several)} have not exactly one candidate '
      f'{several[:3]}. Wanted one greedy candidate for each of the same problems.'
    )
  return np.array(
    [bool(by_id[id_].candidates[0].is_correct) for id_ in ids], float
  )


def results_by_top_clusters(
  candidate_sets: Sequence[CandidateSet],
) -> list[dict]:
  """Share of candidates to score and accuracies for K = 1, 2, 4, ... up to all clusters.

  Each row: top_clusters, share (of all candidates, those without an answer included),
  share_of_answered, and the per-problem values of RR.Top-K, W.RR.Top-K (None where scores are
  missing) and of the ceiling MajK@N.
  """
  most = max((len(each.clusters()) for each in candidate_sets), default=0)
  total = sum(len(each.candidates) for each in candidate_sets)
  answered = sum(
    len(cluster) for each in candidate_sets for cluster in each.clusters()
  )
  rows = []
  for top_clusters in powers_of_two_up_to(most):
    members = sum(
      len(cluster)
      for each in candidate_sets
      for cluster in each.clusters()[:top_clusters]
    )
    rows.append(
      {
        'top_clusters': top_clusters,
        'share': members / total,
        'share_of_answered': members / answered,
        'RR.Top-K': _values_or_none(
          candidate_sets, voting.Rerank(top_clusters)
        ),
        'W.RR.Top-K': _values_or_none(
          candidate_sets, voting.WeightedVote(top_clusters)
        ),
        'MajK@N': rule_correctness(candidate_sets, voting.Oracle(top_clusters)),
      }
    )
  return rows


def _values_or_none(
  candidate_sets: Sequence[CandidateSet], rule: voting.VotingRule
) -> np.ndarray | None:
  try:
    return rule_correctness(candidate_sets, rule)
  except voting.MissingScoreError:
    return None


def powers_of_two_up_to(most: int) -> list[int]:
  """1, 2, 4, ... below `most`, and `most`; empty for 0."""
  return [2**i for i in range(most.bit_length()) if 2**i < most] + [most] * (
    most > 0
  )


def candidate_statistics(
  candidate_sets: Sequence[CandidateSet],
) -> Mapping[str, float]:
  """Counts and shares that describe the samples themselves, all over problems x samples."""
  sizes = np.array([len(each.candidates) for each in candidate_sets])
  candidates = [c for each in candidate_sets for c in each.candidates]
  known_end = [c.finished for c in candidates if c.finished is not None]
  right = np.array(
    [
      sum(bool(c.is_correct) for c in each.candidates)
      for each in candidate_sets
    ]
  )
  clusters = [each.clusters() for each in candidate_sets]
  largest = [len(each[0]) / size for each, size in zip(clusters, sizes) if each]
  return {
    'problems': len(candidate_sets),
    'candidates': len(candidates),
    'candidates_per_problem_min': int(sizes.min()),
    'candidates_per_problem_max': int(sizes.max()),
    'answered': _share([c.cluster is not None for c in candidates]),
    'finished': _share(known_end) if known_end else None,
    'distinct_texts': len(
      {
        (i, c.solution)
        for i, each in enumerate(candidate_sets)
        for c in each.candidates
      }
    ),
    'clusters_per_problem': float(np.mean([len(each) for each in clusters])),
    'largest_cluster_share': _share(largest),
    'problems_without_answer': sum(not each for each in clusters),
    'problems_all_correct': int(np.sum((right == sizes) & (sizes > 0))),
    'problems_none_correct': int(np.sum(right == 0)),
    'majority_ties': sum(
      len(each) > 1 and len(each[0]) == len(each[1]) for each in clusters
    ),
    'scored': _share([c.score is not None for c in candidates]),
  }


def _share(values: Sequence[float]) -> float:
  return float(np.mean(values)) if len(values) else 0.0
