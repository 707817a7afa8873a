"""Expected accuracy of voting rules with k of the n samples of each problem.

  values_KP = rule_accuracy_at_k(candidate_sets, voting.Majority(), ks=[1, 2, 4, 8])

Pass@k and best-of-k have exact formulas. For the other rules, `draws` random orders of the samples
are drawn once; the first k of each order are a random k-subset, for every k. The accuracy is the
mean over these subsets. The rules break ties by sampling order, so random orders split ties evenly.
A problem with fewer than k candidates is counted with all of them.

Shapes: K values of k, P problems, C candidates of a problem (padded), D sampled subsets, M clusters
of a problem.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Self

import numpy as np

from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import voting

MAX_BLOCK_ELEMENTS = 4_000_000  # elements of one array: about 32 MB


@dataclasses.dataclass(frozen=True)
class CandidateSubsets:
  """Candidates of D subsets in sampling order; cluster -1 marks candidates without an answer."""

  cluster_DC: np.ndarray  # int
  score_DC: np.ndarray  # float, nan where there is none
  correct_DC: np.ndarray  # float, 0 or 1
  rank_DC: (
    np.ndarray
  )  # float, by `voting.ranking_key`, nan where there is no score

  def first(self, k: int) -> Self:
    """Returns the first k candidates of each subset."""
    return self._map(lambda array_DC: array_DC[:, :k])

  def take(self, order_DC: np.ndarray) -> Self:
    """Returns the candidates at the given positions of each subset."""
    return self._map(
      lambda array_DC: np.take_along_axis(array_DC, order_DC, axis=1)
    )

  def _map(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
    arrays = self.cluster_DC, self.score_DC, self.correct_DC, self.rank_DC
    return type(self)(*map(function, arrays))


def pass_at_k(correct: int, n: int, k: int) -> float:
  """Returns the unbiased Pass@k from n samples: 1 - C(n - correct, k) / C(n, k)."""
  k = min(k, n)
  return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def expected_best_of_k(
  scores: Sequence[float] | np.ndarray,
  correct: Sequence[bool] | np.ndarray,
  k: int,
  unranked: int = 0,
) -> float:
  """Returns the exact expected correctness of the best-scored of k random samples.

  sum_i correct_i C(n - i, k - 1) / C(n, k) over the n samples sorted by score, best first (i = 1).
  Equal scores share their weight evenly.

  Args:
    scores: of the samples that can be chosen.
    correct: of the same samples.
    k: size of the subset.
    unranked: number of other samples, which can be drawn but not chosen (without an answer).
  """
  if not len(scores):
    return 0.0
  n = len(scores) + unranked
  descending = -np.asarray(scores, float)
  order = np.argsort(descending)
  group = np.unique(descending[order], return_inverse=True)[1]
  group_correct = np.bincount(group, np.asarray(correct, float)[order])
  shared = (group_correct / np.bincount(group))[group]
  weights = _best_of_k_weights(n, min(k, n))[: len(scores)]
  # The weights sum to 1 up to rounding.
  return min(1.0, float(shared @ weights))


@functools.cache
def _best_of_k_weights(n: int, k: int) -> np.ndarray:
  """Returns the probability that the i-th best of n is the best of a k-subset, i = 1 .. n."""
  subsets = math.comb(n, k)
  return np.array([math.comb(n - i, k - 1) / subsets for i in range(1, n + 1)])


def rule_accuracy_at_k(
  candidate_sets: Sequence[CandidateSet],
  rule: voting.VotingRule,
  ks: Sequence[int],
  *,
  draws: int = 100,
  seed: int = 0,
) -> np.ndarray | None:
  """Returns values_KP: the expected correctness of `rule` on k random candidates of each problem.

  Returns None for a rule that is not one of voting.py.

  Args:
    candidate_sets: graded problems.
    rule: the voting rule.
    ks: numbers of candidates.
    draws: random orders of each problem's candidates, for rules without a formula.
    seed: of the random orders.

  Raises:
    MissingScoreError: the rule needs scores and an answered candidate has none. If only the largest
      clusters are scored there is no curve, because a subset has other largest clusters.
  """
  if _needs_scores(rule):
    _check_all_scored(candidate_sets, rule)
  known = voting.Majority, voting.Rerank, voting.WeightedVote, voting.Oracle
  if not isinstance(rule, known):
    return None

  sampled_ks = [k for k in ks if _formula(rule, k) is None]
  sampled = _sampled_accuracy(candidate_sets, rule, sampled_ks, draws, seed)
  values_KP = []
  for k in ks:
    formula = _formula(rule, k)
    values_KP.append([*map(formula, candidate_sets)] if formula else sampled[k])
  return np.array(values_KP)


def _sampled_accuracy(
  candidate_sets: Sequence[CandidateSet],
  rule: voting.VotingRule,
  ks: Sequence[int],
  draws: int,
  seed: int,
) -> dict[int, np.ndarray]:
  """Returns values_P by k: means over random orders, computed in blocks of problems."""
  if not ks:
    return {}
  rng = np.random.default_rng(seed)
  block = max(1, MAX_BLOCK_ELEMENTS // (draws * _width(candidate_sets)))
  blocks = []
  for start in range(0, len(candidate_sets), block):
    subsets = sample_random_orders(
      candidate_sets[start : start + block], draws, rng
    )
    means = []
    for k in ks:
      correct_D = rule_correctness_on_subsets(rule, subsets.first(k))
      means.append(correct_D.reshape(-1, draws).mean(axis=1))
    blocks.append(means)
  return dict(zip(ks, np.concatenate(blocks, axis=1)))


def _width(candidate_sets: Sequence[CandidateSet]) -> int:
  """Returns the largest number of candidates, at least 1."""
  return max(1, *(len(each.candidates) for each in candidate_sets))


def _needs_scores(rule: voting.VotingRule) -> bool:
  if isinstance(rule, voting.Majority):
    return rule.top_candidates is not None
  return isinstance(rule, (voting.Rerank, voting.WeightedVote))


def _check_all_scored(
  candidate_sets: Sequence[CandidateSet], rule: voting.VotingRule
) -> None:
  for candidate_set in candidate_sets:
    for candidate in candidate_set.candidates:
      if candidate.cluster is not None and candidate.score is None:
        raise voting.MissingScoreError(
          f'problem {candidate_set.problem.id!r}: the curve of {voting.rule_name(rule)} needs a '
          'score for every candidate with an answer; run score with top_clusters=None.'
        )


def _formula(
  rule: voting.VotingRule, k: int
) -> Callable[[CandidateSet], float] | None:
  """Returns the exact accuracy of a rule on k random candidates; None if there is no formula."""
  if rule == voting.Oracle():
    return functools.partial(_pass_at_k_of_set, k=k)
  if rule == voting.Rerank():
    return functools.partial(_best_of_k_of_set, k=k)
  return _one_sample if k == 1 else None


def _one_sample(candidate_set: CandidateSet) -> float:
  """Returns the accuracy of every rule on one random candidate, which is chosen if answered."""
  candidates = candidate_set.candidates
  correct = sum(
    bool(c.is_correct) and c.cluster is not None for c in candidates
  )
  return correct / max(len(candidates), 1)


def _pass_at_k_of_set(candidate_set: CandidateSet, k: int) -> float:
  candidates = candidate_set.candidates
  if not candidates:
    return 0.0
  correct = sum(bool(c.is_correct) for c in candidates)
  return pass_at_k(correct, len(candidates), k)


def _best_of_k_of_set(candidate_set: CandidateSet, k: int) -> float:
  keys, correct = [], []
  for candidate in candidate_set.candidates:
    if candidate.cluster is not None:
      keys.append(voting.ranking_key(candidate))
      correct.append(bool(candidate.is_correct))
  unranked = len(candidate_set.candidates) - len(keys)
  return expected_best_of_k(voting.dense_ranks(keys), correct, k, unranked)


def sample_random_orders(
  candidate_sets: Sequence[CandidateSet], draws: int, rng: np.random.Generator
) -> CandidateSubsets:
  """Returns each problem's candidates in `draws` random orders, D = P x draws; padding is last."""
  arrays, is_padding_PC = _padded_arrays(candidate_sets)
  problems, width = is_padding_PC.shape
  key_PDC = rng.random((problems, draws, width)) + is_padding_PC[:, None]
  order_DC = np.argsort(key_PDC.reshape(-1, width), axis=1)
  problem_D1 = np.repeat(np.arange(problems), draws)[:, None]
  return CandidateSubsets(*(array[problem_D1, order_DC] for array in arrays))


def _padded_arrays(
  candidate_sets: Sequence[CandidateSet],
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
  """Returns the arrays of `CandidateSubsets` and which entries are padding, all [P, C]."""
  shape = len(candidate_sets), _width(candidate_sets)
  cluster_PC = np.full(shape, -1)
  score_PC = np.full(shape, np.nan)
  correct_PC = np.zeros(shape)
  rank_PC = np.full(shape, np.nan)
  is_padding_PC = np.ones(shape, bool)
  for row, candidate_set in enumerate(candidate_sets):
    for number, cluster in enumerate(candidate_set.clusters()):
      cluster_PC[row, list(cluster)] = number
    scored = {}
    for column, candidate in enumerate(candidate_set.candidates):
      if candidate.score is not None:
        score_PC[row, column] = candidate.score
        scored[column] = voting.ranking_key(candidate)
      correct_PC[row, column] = bool(candidate.is_correct)
      is_padding_PC[row, column] = False
    rank_PC[row, list(scored)] = voting.dense_ranks([*scored.values()])
  return (cluster_PC, score_PC, correct_PC, rank_PC), is_padding_PC


def rule_correctness_on_subsets(
  rule: voting.VotingRule, subsets: CandidateSubsets
) -> np.ndarray:
  """Returns values_D: 1 where the candidate that a rule of voting.py chooses is correct, else 0."""
  match rule:
    case voting.Majority(top_candidates=None):
      same_DC = np.ones(subsets.score_DC.shape)
      return _vote(subsets, same_DC, same_DC)
    case voting.Majority(top_candidates=n):
      answered_DC = subsets.cluster_DC >= 0
      rank_DC = np.where(answered_DC, -subsets.rank_DC, np.inf)
      best_DC = np.argsort(rank_DC, axis=1, kind='stable')[:, :n]
      kept = subsets.take(np.sort(best_DC, axis=1))
      return rule_correctness_on_subsets(voting.Majority(), kept)
    case voting.WeightedVote(top_clusters=clusters):
      kept = _keep_largest_clusters(subsets, clusters)
      return _vote(kept, kept.score_DC, kept.rank_DC)
    case voting.Rerank(top_clusters=clusters):
      kept = _keep_largest_clusters(subsets, clusters)
      return _best(kept, kept.cluster_DC >= 0, kept.rank_DC)
    case voting.Oracle(top_clusters=clusters):
      kept = _keep_largest_clusters(subsets, clusters)
      return (kept.correct_DC * (kept.cluster_DC >= 0)).max(axis=1)
  raise TypeError(f'{rule} is not a rule of voting.py.')


def _vote(
  subsets: CandidateSubsets, weight_DC: np.ndarray, rank_DC: np.ndarray
) -> np.ndarray:
  """Returns the correctness of the best member of the cluster with the largest weight."""
  answered_DC = subsets.cluster_DC >= 0
  priority_DM = _cluster_priority(subsets.cluster_DC)
  weight_DM = _sum_by_cluster(
    subsets.cluster_DC, np.where(answered_DC, weight_DC, 0.0)
  )
  weight_DM[priority_DM < 0] = -np.inf

  largest_D1 = weight_DM.max(axis=1, keepdims=True)
  tied_DM = weight_DM >= largest_D1 - 1e-12 * np.abs(largest_D1)
  winner_D = np.argmax(np.where(tied_DM, priority_DM, -np.inf), axis=1)
  in_winner_DC = subsets.cluster_DC == winner_D[:, None]
  return _best(subsets, answered_DC & in_winner_DC, rank_DC)


def _best(
  subsets: CandidateSubsets, allowed_DC: np.ndarray, rank_DC: np.ndarray
) -> np.ndarray:
  """Returns the correctness of the allowed candidate of highest rank; 0 if none is allowed.

  Of equal ranks the first candidate is chosen.
  """
  best_D = np.argmax(np.where(allowed_DC, rank_DC, -np.inf), axis=1)
  correct_DC = subsets.correct_DC * allowed_DC
  return correct_DC[np.arange(len(best_D)), best_D]


def _keep_largest_clusters(
  subsets: CandidateSubsets, top_clusters: int | None
) -> CandidateSubsets:
  """Returns the subsets with candidates outside the largest clusters marked as not answered."""
  if top_clusters is None:
    return subsets
  priority_DM = _cluster_priority(subsets.cluster_DC)
  if priority_DM.shape[1] <= top_clusters:
    return subsets
  last_D1 = np.partition(priority_DM, -top_clusters, axis=1)[:, [-top_clusters]]
  kept_DC = np.take_along_axis(
    priority_DM >= last_D1, np.maximum(subsets.cluster_DC, 0), axis=1
  )
  cluster_DC = np.where(kept_DC, subsets.cluster_DC, -1)
  return dataclasses.replace(subsets, cluster_DC=cluster_DC)


def _cluster_priority(cluster_DC: np.ndarray) -> np.ndarray:
  """Returns priority_DM: sorts clusters as CandidateSet.clusters() does, largest value first.

  The value of a cluster that is absent from a subset is below 0.
  """
  subsets, width = cluster_DC.shape
  size_DM = _sum_by_cluster(cluster_DC, np.ones(cluster_DC.shape))
  slot_DC, clusters = _cluster_slots(cluster_DC)
  first = np.full(subsets * (clusters + 1), width)
  np.minimum.at(first, slot_DC.ravel(), np.tile(np.arange(width), subsets))
  first_DM = first.reshape(subsets, clusters + 1)[:, 1:]
  return size_DM - (first_DM + 1) / (width + 2)


def _sum_by_cluster(
  cluster_DC: np.ndarray, weight_DC: np.ndarray
) -> np.ndarray:
  """Returns weight_DM: sums of weights by cluster, without the unanswered candidates."""
  slot_DC, clusters = _cluster_slots(cluster_DC)
  size = len(cluster_DC) * (clusters + 1)
  sums = np.bincount(slot_DC.ravel(), weight_DC.ravel(), minlength=size)
  return sums.reshape(-1, clusters + 1)[:, 1:]


def _cluster_slots(cluster_DC: np.ndarray) -> tuple[np.ndarray, int]:
  """Returns a unique number for each (subset, cluster), and M; unanswered ones come first."""
  clusters = int(cluster_DC.max(initial=0)) + 1
  start_D = np.arange(len(cluster_DC)) * (clusters + 1)
  return start_D[:, None] + cluster_DC + 1, clusters
