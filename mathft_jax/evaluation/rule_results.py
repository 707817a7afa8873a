"""Correctness of every voting rule on every problem of a candidate file.

  results, notes = evaluate_rules(candidate_sets, voting.paper_rules())
  results[0].values_P     # one number in [0, 1] per problem

All tables of a report are computed from these results. No problem is dropped: a problem without
any answered candidate counts as wrong for every rule. A rule that cannot be applied, because scores
are missing, has no result, and a note states the reason.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools

import numpy as np

from mathft_jax.data.schema import Candidate, CandidateSet
from mathft_jax.evaluation import score_baselines, voting

GREEDY_ROW = 'Pass@1 (greedy)'
SAMPLE_MEAN_ROW = 'Pass@1 (mean of samples)'
KINDS = ('sample', 'rule', 'control', 'ceiling')  # in the order of the tables


@dataclasses.dataclass(frozen=True)
class RuleResult:
  """Correctness of one rule: one row of the tables.

  Attributes:
    name: the row's name; 'N' stands for the number of candidates of a problem.
    kind: 'sample' (one sample), 'rule', 'control' (re-ranking without the evaluator) or 'ceiling'
      (an upper bound that reads the labels).
    values_P: 1 for each problem where the choice is correct, else 0; the expected value if the
      choice is random.
  """

  name: str
  kind: str
  values_P: np.ndarray


@dataclasses.dataclass(frozen=True)
class TopClusterResult:
  """Accuracy and cost if only the members of the K largest clusters are scored.

  Attributes:
    top_clusters: K.
    share: scored share of all candidates, including those without an answer.
    share_of_answered: scored share of the candidates with an answer.
    rerank_P, weighted_vote_P: values of RR.Top-K and W.RR.Top-K; None if scores are missing.
    ceiling_P: values of MajK@N.
  """

  top_clusters: int
  share: float
  share_of_answered: float
  rerank_P: np.ndarray | None
  weighted_vote_P: np.ndarray | None
  ceiling_P: np.ndarray


def evaluate_rules(
  candidate_sets: Sequence[CandidateSet],
  rules: Sequence[voting.VotingRule],
  greedy: Sequence[CandidateSet] | None = None,
) -> tuple[list[RuleResult], list[str]]:
  """Returns the results for one candidate file, and notes about rules without a result.

  Args:
    candidate_sets: graded problems.
    rules: the voting rules; their names must differ. Equal rules count once.
    greedy: one greedy candidate for each of the same problems; None omits its row.

  Raises:
    ValueError: two rules have the same name, or `greedy` has other problems.
  """
  rules = tuple(dict.fromkeys(rules))
  _check_names(rules)
  results = []
  if greedy is not None:
    values_P = greedy_correctness(candidate_sets, greedy)
    results.append(RuleResult(GREEDY_ROW, 'sample', values_P))
  means_P = np.array([*map(score_baselines.mean_correctness, candidate_sets)])
  results.append(RuleResult(SAMPLE_MEAN_ROW, 'sample', means_P))

  missing: dict[str, list[str]] = {}
  for name, kind, rule in named_rules(rules):
    try:
      values_P = rule_correctness(candidate_sets, rule)
      results.append(RuleResult(name, kind, values_P))
    except voting.MissingScoreError as error:
      reason = _missing_reason(candidate_sets, error.field)
      missing.setdefault(reason, []).append(name)

  known = {result.name for result in results}
  for rule in rules:
    # A baseline of a rule without a result says nothing.
    if isinstance(rule, voting.Rerank) and rule.name in known:
      accuracy = functools.partial(
        score_baselines.expected_random_accuracy,
        top_clusters=rule.top_clusters,
      )
      values_P = np.array([*map(accuracy, candidate_sets)])
      results.append(RuleResult(f'{rule.name} by chance', 'control', values_P))

  results.sort(key=lambda result: KINDS.index(result.kind))
  notes = []
  for reason, names in missing.items():
    notes.append(f'Left out: {", ".join(names)}. {reason}')
  return results, notes


def _check_names(rules: Sequence[voting.VotingRule]) -> None:
  names = [*map(voting.rule_name, rules)]
  counts = collections.Counter(names)
  repeated = sorted(name for name in counts if counts[name] > 1)
  if repeated:
    raise ValueError(
      f'{repeated} occur more than once in the rules {names}; rules need different names.'
    )


def named_rules(
  rules: Sequence[voting.VotingRule],
) -> list[tuple[str, str, voting.VotingRule]]:
  """Returns (row name, kind, rule) of the rules and of their log-probability controls."""
  named = []
  for rule in rules:
    kind = 'ceiling' if isinstance(rule, voting.Oracle) else 'rule'
    named.append((voting.rule_name(rule), kind, rule))
  for rule in (voting.Rerank(), voting.WeightedVote()):
    if rule in rules:
      named.append((f'{rule.name} by log-prob', 'control', _by_log_prob(rule)))
  return named


def _by_log_prob(rule: voting.VotingRule) -> voting.VotingRule:
  """Returns the rule applied to the generator's log-probabilities instead of scores."""

  def choose(candidate_set: CandidateSet) -> Candidate | None:
    scored = score_baselines.with_relative_probability_scores(candidate_set)
    choice = rule(scored)
    for copy, candidate in zip(scored.candidates, candidate_set.candidates):
      if copy is choice:
        return candidate
    return None

  return choose


def _missing_reason(candidate_sets: Sequence[CandidateSet], field: str) -> str:
  """Returns why results are missing, counted over the whole file."""
  candidates = all_candidates(candidate_sets)
  if field == 'log_prob':
    log_probs = [candidate.log_prob for candidate in candidates]
    without = log_probs.count(None)
    return f'{without:,} of {len(candidates):,} candidates carry no log_prob.'
  scores = [c.score for c in candidates if c.cluster is not None]
  without = scores.count(None)
  if without == len(scores):
    return 'The file is not scored.'
  return (
    f'{without:,} of {len(scores):,} answered candidates have no score; score gives one to '
    'all of them with top_clusters=None.'
  )


def all_candidates(candidate_sets: Sequence[CandidateSet]) -> list[Candidate]:
  """Returns the candidates of all problems."""
  candidates = []
  for candidate_set in candidate_sets:
    candidates += candidate_set.candidates
  return candidates


def rule_correctness(
  candidate_sets: Sequence[CandidateSet], rule: voting.VotingRule
) -> np.ndarray:
  """Returns values_P: 1 where the rule's choice is correct, else 0.

  Raises:
    MissingScoreError: the rule needs a score that a candidate lacks.
  """
  correct = []
  for candidate_set in candidate_sets:
    choice = rule(candidate_set)
    correct.append(choice is not None and bool(choice.is_correct))
  return np.array(correct, float)


def greedy_correctness(
  candidate_sets: Sequence[CandidateSet], greedy: Sequence[CandidateSet]
) -> np.ndarray:
  """Returns values_P of one greedy candidate for each of the same problems, in any order."""
  by_id = {each.problem.id: each.candidates for each in greedy}
  several = [id_ for id_, found in by_id.items() if len(found) != 1]
  correct, missing = [], []
  for candidate_set in candidate_sets:
    id_ = candidate_set.problem.id
    if id_ not in by_id:
      missing.append(id_)
    elif id_ not in several:
      correct.append(bool(by_id[id_][0].is_correct))
  if several or missing or len(by_id) != len(candidate_sets):
    raise ValueError(
      f'The greedy file has {len(by_id)} problems, the candidate file {len(candidate_sets)}; '
      f'{len(missing)} are missing {missing[:3]}, {len(several)} do not have exactly one '
      f'candidate {several[:3]}. Wanted one greedy candidate for each of the same problems.'
    )
  return np.array(correct, float)


def results_by_top_clusters(
  candidate_sets: Sequence[CandidateSet],
) -> list[TopClusterResult]:
  """Returns accuracies and cost for K = 1, 2, 4, ... up to all clusters."""
  total = len(all_candidates(candidate_sets))
  sizes = [*map(_cluster_sizes, candidate_sets)]
  answered = sum(map(sum, sizes))
  results = []
  for top_clusters in powers_of_two_up_to(max(map(len, sizes), default=0)):
    scored = sum(sum(each[:top_clusters]) for each in sizes)
    results.append(
      TopClusterResult(
        top_clusters,
        scored / total,
        scored / answered,
        _correctness_or_none(candidate_sets, voting.Rerank(top_clusters)),
        _correctness_or_none(candidate_sets, voting.WeightedVote(top_clusters)),
        rule_correctness(candidate_sets, voting.Oracle(top_clusters)),
      )
    )
  return results


def _cluster_sizes(candidate_set: CandidateSet) -> list[int]:
  return [*map(len, candidate_set.clusters())]


def _correctness_or_none(
  candidate_sets: Sequence[CandidateSet], rule: voting.VotingRule
) -> np.ndarray | None:
  try:
    return rule_correctness(candidate_sets, rule)
  except voting.MissingScoreError:
    return None


def powers_of_two_up_to(limit: int) -> list[int]:
  """Returns 1, 2, 4, ... below `limit`, and `limit`; empty for 0."""
  powers, power = [], 1
  while power < limit:
    powers.append(power)
    power *= 2
  return [*powers, limit] if limit > 0 else []


def candidate_statistics(
  candidate_sets: Sequence[CandidateSet],
) -> dict[str, float | None]:
  """Returns counts and shares that describe the samples, over all problems and samples."""
  counts = collections.Counter()
  sizes, num_clusters, finished, largest_shares = [], [], [], []
  for candidate_set in candidate_sets:
    size = len(candidate_set.candidates)
    clusters = _cluster_sizes(candidate_set)
    sizes.append(size)
    num_clusters.append(len(clusters))
    if clusters:
      largest_shares.append(clusters[0] / size)

    correct, texts = 0, set()
    for candidate in candidate_set.candidates:
      correct += bool(candidate.is_correct)
      texts.add(candidate.solution)
      counts['scored'] += candidate.score is not None
      if candidate.finished is not None:
        finished.append(candidate.finished)
    counts['answered'] += sum(clusters)
    counts['texts'] += len(texts)
    counts['unanswered'] += not clusters
    counts['all_correct'] += 0 < correct == size
    counts['none_correct'] += not correct
    counts['ties'] += len(clusters) > 1 and clusters[0] == clusters[1]

  total = max(sum(sizes), 1)
  return {
    'problems': len(sizes),
    'candidates': sum(sizes),
    'candidates_per_problem_min': min(sizes),
    'candidates_per_problem_max': max(sizes),
    'answered': counts['answered'] / total,
    'finished': _mean(finished) if finished else None,
    'distinct_texts': counts['texts'],
    'clusters_per_problem': _mean(num_clusters),
    'largest_cluster_share': _mean(largest_shares),
    'problems_without_answer': counts['unanswered'],
    'problems_all_correct': counts['all_correct'],
    'problems_none_correct': counts['none_correct'],
    'majority_ties': counts['ties'],
    'scored': counts['scored'] / total,
  }


def _mean(values: Sequence[float]) -> float:
  return float(np.mean(values)) if values else 0.0
