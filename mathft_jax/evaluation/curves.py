"""Accuracy as a function of k, the number of samples a problem: expectations over k of its n.

Pass@k and best-of-k have exact formulas. For the other rules `draws` random orders of the samples
are made once, and the first k of each order are a random k-subset for every k: a rule's curve is
the mean over them. Ties are split evenly, as an expectation over sampling order demands.
A problem with fewer than k candidates is counted with all it has.

Shapes: P problems, C candidates of a problem (padded), D drawn subsets, M clusters of a problem.
"""

from collections.abc import Sequence
import dataclasses
import functools
import math

import numpy as np

from mathft_jax.evaluation import voting
from mathft_jax.records import CandidateSet

BLOCK = 4_000_000  # array elements worked on at once: about 32 MB an array


@dataclasses.dataclass(frozen=True)
class Subsets:
  """Candidates of D subsets, in random order; cluster -1 marks those without an answer."""

  cluster_DC: np.ndarray  # int
  score_DC: np.ndarray  # float, nan where there is none
  correct_DC: np.ndarray  # float, 0 or 1

  def first(self, k: int) -> 'Subsets':
    """The first k candidates of each."""
    return Subsets(self.cluster_DC[:, :k], self.score_DC[:, :k], self.correct_DC[:, :k])

  def take(self, order_DC: np.ndarray) -> 'Subsets':
    """The candidates at the given positions of each."""
    return Subsets(*(np.take_along_axis(array, order_DC, axis=1)
                     for array in (self.cluster_DC, self.score_DC, self.correct_DC)))


def pass_at_k(correct: int, n: int, k: int) -> float:
  """Unbiased Pass@k from n samples of which some are correct: 1 - C(n - correct, k) / C(n, k)."""
  return 1.0 - math.comb(n - correct, min(k, n)) / math.comb(n, min(k, n))


def best_of_k(scores: Sequence[float], correct: Sequence[bool], k: int, unranked: int = 0) -> float:
  """Expected correctness of the best-scored one of k samples, exact; equal scores share evenly.

  sum_i correct_i C(n - i, k - 1) / C(n, k) over the n samples sorted by score, best first (i = 1).

  Args:
    scores: of the samples that can be chosen.
    correct: of the same.
    k: size of the subset.
    unranked: further samples that are drawn but never chosen (those without an answer).
  """
  scores, n = np.asarray(scores, float), len(scores) + unranked
  order = np.argsort(-scores)
  groups = np.unique(-scores[order], return_inverse=True)[1]
  correct_G = np.bincount(groups, np.asarray(correct, float)[order])
  shared = (correct_G / np.maximum(np.bincount(groups), 1))[groups]
  if not len(scores):
    return 0.0
  # The weights sum to 1 up to rounding, which may pass it.
  return min(1.0, float(shared @ _best_of_k_weights(n, min(k, n))[:len(scores)]))


@functools.cache
def _best_of_k_weights(n: int, k: int) -> np.ndarray:
  """Chance that the i-th best of n is the best of a k-subset, i = 1 .. n."""
  return np.array([math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, n + 1)])


def rule_curve(candidate_sets: Sequence[CandidateSet], rule: voting.Rule, ks: Sequence[int], *,
               draws: int = 100, seed: int = 0) -> np.ndarray | None:
  """values_KP: expected correctness of `rule` on k random candidates of each problem.

  None for a rule of another kind than the four of voting.py.

  Raises:
    MissingScore: the rule needs scores and a candidate that has an answer has none. A file scored
      for its largest clusters only has no such curve: other clusters are the largest of a subset.
  """
  if _needs_scores(rule):
    _check_all_scored(candidate_sets, rule)
  exact = _exact(rule)
  if exact:
    return np.array([[exact(each, k) for each in candidate_sets] for k in ks])
  if not isinstance(rule, (voting.Majority, voting.Rerank, voting.WeightedVote, voting.Oracle)):
    return None
  rng = np.random.default_rng(seed)
  widest = max(len(candidate_set.candidates) for candidate_set in candidate_sets)
  block = max(1, BLOCK // (draws * max(widest, 1)))
  values = []
  for start in range(0, len(candidate_sets), block):
    drawn = draw(candidate_sets[start:start + block], draws, rng)
    values.append([expected(rule, drawn.first(k)).reshape(-1, draws).mean(axis=1) for k in ks])
  return np.concatenate(values, axis=1)


def _needs_scores(rule: voting.Rule) -> bool:
  return isinstance(rule, (voting.Rerank, voting.WeightedVote)) or (
      isinstance(rule, voting.Majority) and rule.top_candidates is not None)


def _check_all_scored(candidate_sets: Sequence[CandidateSet], rule: voting.Rule) -> None:
  for candidate_set in candidate_sets:
    if any(c.cluster is not None and c.score is None for c in candidate_set.candidates):
      raise voting.MissingScore(
          f'problem {candidate_set.problem.id!r}: the curve of {voting.rule_name(rule)} needs a '
          'score for every candidate with an answer; run score with top_clusters=None.')


def _exact(rule: voting.Rule):
  """The closed formula of a rule, (candidate_set, k) -> value; None where there is none."""
  if rule == voting.Oracle():
    return lambda each, k: pass_at_k(sum(bool(c.is_correct) for c in each.candidates),
                                     len(each.candidates), k) if each.candidates else 0.0
  if rule == voting.Rerank():
    return _best_of_k_of_set
  return None


def _best_of_k_of_set(candidate_set: CandidateSet, k: int) -> float:
  answered = [c for c in candidate_set.candidates if c.cluster is not None]
  return best_of_k([c.score for c in answered], [bool(c.is_correct) for c in answered], k,
                   unranked=len(candidate_set.candidates) - len(answered))


def draw(candidate_sets: Sequence[CandidateSet], draws: int, rng: np.random.Generator) -> Subsets:
  """Each problem's candidates in `draws` random orders, D = P x draws; padding comes last."""
  cluster_PC, score_PC, correct_PC, real_PC = _padded(candidate_sets)
  problems, width = cluster_PC.shape
  key_DC = rng.random((problems, draws, width)) + ~real_PC[:, None]
  order_DC = np.argsort(key_DC.reshape(-1, width), axis=1)
  row_D1 = np.repeat(np.arange(problems), draws)[:, None]
  return Subsets(*(array[row_D1, order_DC] for array in (cluster_PC, score_PC, correct_PC)))


def _padded(candidate_sets: Sequence[CandidateSet]) -> tuple[np.ndarray, ...]:
  """Cluster numbers, scores, correctness, and which entries are real candidates, all [P, C]."""
  width = max(len(candidate_set.candidates) for candidate_set in candidate_sets)
  shape = (len(candidate_sets), width)
  cluster_PC, score_PC = np.full(shape, -1), np.full(shape, np.nan)
  correct_PC, real_PC = np.zeros(shape), np.zeros(shape, bool)
  for row, candidate_set in enumerate(candidate_sets):
    for number, cluster in enumerate(candidate_set.clusters()):
      cluster_PC[row, list(cluster)] = number
    for column, candidate in enumerate(candidate_set.candidates):
      score_PC[row, column] = np.nan if candidate.score is None else candidate.score
      correct_PC[row, column] = bool(candidate.is_correct)
      real_PC[row, column] = True
  return cluster_PC, score_PC, correct_PC, real_PC


def expected(rule: voting.Rule, subsets: Subsets) -> np.ndarray:
  """values_D: correctness of a rule's choice, the mean over ties.

  In a cluster whose members disagree about correctness (foreign labels) a vote's value is the
  share of its correct members.
  """
  match rule:
    case voting.Majority(top_candidates=None):
      return _vote(subsets, np.ones_like(subsets.score_DC))
    case voting.Majority(top_candidates=n):
      rank_DC = np.where(subsets.cluster_DC >= 0, -subsets.score_DC, np.inf)
      best_DC = np.argsort(rank_DC, axis=1, kind='stable')[:, :n]  # the order is random: fair
      return expected(voting.Majority(), subsets.take(best_DC))
    case voting.WeightedVote(top_clusters=clusters):
      kept = _within(subsets, clusters)
      return _vote(kept, np.where(kept.cluster_DC >= 0, kept.score_DC, 0.0))
    case voting.Rerank(top_clusters=clusters):
      kept = _within(subsets, clusters)
      score_DC = np.where(kept.cluster_DC >= 0, kept.score_DC, -np.inf)
      best_DC = (score_DC == score_DC.max(axis=1, keepdims=True)) & (kept.cluster_DC >= 0)
      return (best_DC * kept.correct_DC).sum(axis=1) / np.maximum(best_DC.sum(axis=1), 1)
    case voting.Oracle(top_clusters=clusters):
      kept = _within(subsets, clusters)
      return (kept.correct_DC * (kept.cluster_DC >= 0)).max(axis=1)


def _vote(subsets: Subsets, weight_DC: np.ndarray) -> np.ndarray:
  """Correctness of the cluster of the largest sum of weights."""
  count_DM = _sums(subsets.cluster_DC, np.ones_like(weight_DC))
  weight_DM = np.where(count_DM > 0, _sums(subsets.cluster_DC, weight_DC), -np.inf)
  correct_DM = _sums(subsets.cluster_DC, subsets.correct_DC) / np.maximum(count_DM, 1)
  most_D1 = weight_DM.max(axis=1, keepdims=True)
  won_DM = (weight_DM >= most_D1 - 1e-9 * np.abs(most_D1)) & (count_DM > 0)
  return (won_DM * correct_DM).sum(axis=1) / np.maximum(won_DM.sum(axis=1), 1)


def _within(subsets: Subsets, top_clusters: int | None) -> Subsets:
  """The subsets with the candidates outside the largest clusters marked as if without an answer."""
  if top_clusters is None:
    return subsets
  size_DM = _sums(subsets.cluster_DC, np.ones(subsets.cluster_DC.shape))
  if size_DM.shape[1] <= top_clusters:
    return subsets
  # Clusters are numbered by size in the whole problem, which must not decide ties in a subset.
  position_DM = _first_positions(subsets.cluster_DC, size_DM.shape[1])
  key_DM = size_DM - position_DM / (subsets.cluster_DC.shape[1] + 1)
  threshold_D1 = np.partition(key_DM, -top_clusters, axis=1)[:, [-top_clusters]]
  kept_DM = key_DM >= threshold_D1
  kept_DC = np.take_along_axis(kept_DM, np.maximum(subsets.cluster_DC, 0), axis=1)
  return dataclasses.replace(subsets, cluster_DC=np.where(kept_DC, subsets.cluster_DC, -1))


def _first_positions(cluster_DC: np.ndarray, clusters: int) -> np.ndarray:
  """position_DM: where a cluster first appears in the random order; past the end if nowhere."""
  rows, width = cluster_DC.shape
  position_DM = np.full((rows, clusters + 1), width)
  for column in reversed(range(width)):
    position_DM[np.arange(rows), cluster_DC[:, column]] = column  # -1 is the spare last column
  return position_DM[:, :clusters]


def _sums(cluster_DC: np.ndarray, weight_DC: np.ndarray) -> np.ndarray:
  """weight_DM: sums of weights by cluster, those without an answer left out."""
  rows, clusters = len(cluster_DC), int(cluster_DC.max(initial=0)) + 1
  slot_DC = np.arange(rows)[:, None] * (clusters + 1) + cluster_DC + 1  # slot 0: no answer
  sums = np.bincount(slot_DC.ravel(), weight_DC.ravel(), minlength=rows * (clusters + 1))
  return sums.reshape(rows, clusters + 1)[:, 1:]
