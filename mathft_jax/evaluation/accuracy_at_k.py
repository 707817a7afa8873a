"""Accuracy as a function of k, the number of samples a problem: expectations over k of its n.

Pass@k and best-of-k have exact formulas. For the other rules `draws` random orders of the samples
are made once, and the first k of each order are a random k-subset for every k: a rule's curve is
the mean over them. The rules decide ties by sampling order, so random orders split them evenly.
A problem with fewer than k candidates is counted with all it has.

Shapes: P problems, C candidates of a problem (padded), D drawn subsets, M clusters of a problem.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Self

import numpy as np

from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import voting

MAX_BLOCK_ELEMENTS = (
  4_000_000  # array elements worked on at once: about 32 MB an array
)


@dataclasses.dataclass(frozen=True)
class CandidateSubsets:
  """Candidates of D subsets, in sampling order; cluster -1 marks those without an answer."""

  cluster_DC: np.ndarray  # int
  score_DC: np.ndarray  # float, nan where there is none
  correct_DC: np.ndarray  # float, 0 or 1

  def first(self, k: int) -> Self:
    """The first k candidates of each."""
    return CandidateSubsets(
      self.cluster_DC[:, :k], self.score_DC[:, :k], self.correct_DC[:, :k]
    )

  def take(self, order_DC: np.ndarray) -> Self:
    """The candidates at the given positions of each."""
    return CandidateSubsets(
      *(
        np.take_along_axis(array, order_DC, axis=1)
        for array in (self.cluster_DC, self.score_DC, self.correct_DC)
      )
    )


def pass_at_k(correct: int, n: int, k: int) -> float:
  """Unbiased Pass@k from n samples of which some are correct: 1 - C(n - correct, k) / C(n, k)."""
  return 1.0 - math.comb(n - correct, min(k, n)) / math.comb(n, min(k, n))


def expected_best_of_k(
  scores: Sequence[float], correct: Sequence[bool], k: int, unranked: int = 0
) -> float:
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
  return min(
    1.0, float(shared @ _best_of_k_weights(n, min(k, n))[: len(scores)])
  )


@functools.cache
def _best_of_k_weights(n: int, k: int) -> np.ndarray:
  """Chance that the i-th best of n is the best of a k-subset, i = 1 .. n."""
  return np.array(
    [math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, n + 1)]
  )


def rule_accuracy_at_k(
  candidate_sets: Sequence[CandidateSet],
  rule: voting.VotingRule,
  ks: Sequence[int],
  *,
  draws: int = 100,
  seed: int = 0,
) -> np.ndarray | None:
  """values_KP: expected correctness of `rule` on k random candidates of each problem.

  None for a rule of another kind than the four of voting.py.

  Raises:
    MissingScore: the rule needs scores and a candidate that has an answer has none. A file scored
      for its largest clusters only has no such curve: other clusters are the largest of a subset.
  """
  if _needs_scores(rule):
    _check_all_scored(candidate_sets, rule)
  if not isinstance(
    rule, (voting.Majority, voting.Rerank, voting.WeightedVote, voting.Oracle)
  ):
    return None
  formulas = {k: _formula(rule, k) for k in ks}
  drawn = _drawn_curve(
    candidate_sets, rule, [k for k in ks if not formulas[k]], draws, seed
  )
  return np.array(
    [
      [*map(formulas[k], candidate_sets)] if formulas[k] else drawn[k]
      for k in ks
    ]
  )


def _drawn_curve(
  candidate_sets: Sequence[CandidateSet],
  rule: voting.VotingRule,
  ks: Sequence[int],
  draws: int,
  seed: int,
) -> dict[int, np.ndarray]:
  """values_P by k, means over random orders; a block of problems at a time."""
  if not ks:
    return {}
  rng = np.random.default_rng(seed)
  widest = max(
    1, *(len(candidate_set.candidates) for candidate_set in candidate_sets)
  )
  block = max(1, MAX_BLOCK_ELEMENTS // (draws * widest))
  values = []
  for start in range(0, len(candidate_sets), block):
    drawn = sample_random_orders(
      candidate_sets[start : start + block], draws, rng
    )
    values.append(
      [
        rule_correctness_on_subsets(rule, drawn.first(k))
        .reshape(-1, draws)
        .mean(axis=1)
        for k in ks
      ]
    )
  return dict(zip(ks, np.concatenate(values, axis=1)))


def _needs_scores(rule: voting.VotingRule) -> bool:
  return isinstance(rule, (voting.Rerank, voting.WeightedVote)) or (
    isinstance(rule, voting.Majority) and rule.top_candidates is not None
  )


def _check_all_scored(
  candidate_sets: Sequence[CandidateSet], rule: voting.VotingRule
) -> None:
  for candidate_set in candidate_sets:
    if any(
      c.cluster is not None and c.score is None
      for c in candidate_set.candidates
    ):
      raise voting.MissingScoreError(
        f'problem {candidate_set.problem.id!r}: the curve of {voting.rule_name(rule)} needs a '
        'score for every candidate with an answer; run score with top_clusters=None.'
      )


def _formula(
  rule: voting.VotingRule, k: int
) -> Callable[[CandidateSet], float] | None:
  """The exact value of a rule on k random candidates; None where there is no formula."""
  if rule == voting.Oracle():
    return lambda each: (
      pass_at_k(
        sum(bool(c.is_correct) for c in each.candidates),
        len(each.candidates),
        k,
      )
      if each.candidates
      else 0.0
    )
  if rule == voting.Rerank():
    return lambda each: _best_of_k_of_set(each, k)
  return _one_sample if k == 1 else None


def _one_sample(candidate_set: CandidateSet) -> float:
  """Every rule on one candidate: it is chosen if it has an answer."""
  right = sum(
    bool(c.is_correct) and c.cluster is not None
    for c in candidate_set.candidates
  )
  return right / max(len(candidate_set.candidates), 1)


def _best_of_k_of_set(candidate_set: CandidateSet, k: int) -> float:
  answered = [c for c in candidate_set.candidates if c.cluster is not None]
  return expected_best_of_k(
    [c.score for c in answered],
    [bool(c.is_correct) for c in answered],
    k,
    unranked=len(candidate_set.candidates) - len(answered),
  )


def sample_random_orders(
  candidate_sets: Sequence[CandidateSet], draws: int, rng: np.random.Generator
) -> CandidateSubsets:
  """Each problem's candidates in `draws` random orders, D = P x draws; padding comes last."""
  cluster_PC, score_PC, correct_PC, real_PC = _padded(candidate_sets)
  problems, width = cluster_PC.shape
  key_DC = rng.random((problems, draws, width)) + ~real_PC[:, None]
  order_DC = np.argsort(key_DC.reshape(-1, width), axis=1)
  row_D1 = np.repeat(np.arange(problems), draws)[:, None]
  return CandidateSubsets(
    *(array[row_D1, order_DC] for array in (cluster_PC, score_PC, correct_PC))
  )


def _padded(candidate_sets: Sequence[CandidateSet]) -> tuple[np.ndarray, ...]:
  """Cluster numbers, scores, correctness, and which entries are real candidates, all [P, C]."""
  width = max(
    1, *(len(candidate_set.candidates) for candidate_set in candidate_sets)
  )
  shape = (len(candidate_sets), width)
  cluster_PC, score_PC = np.full(shape, -1), np.full(shape, np.nan)
  correct_PC, real_PC = np.zeros(shape), np.zeros(shape, bool)
  for row, candidate_set in enumerate(candidate_sets):
    for number, cluster in enumerate(candidate_set.clusters()):
      cluster_PC[row, list(cluster)] = number
    for column, candidate in enumerate(candidate_set.candidates):
      score_PC[row, column] = (
        np.nan if candidate.score is None else candidate.score
      )
      correct_PC[row, column] = bool(candidate.is_correct)
      real_PC[row, column] = True
  return cluster_PC, score_PC, correct_PC, real_PC


def rule_correctness_on_subsets(
  rule: voting.VotingRule, subsets: CandidateSubsets
) -> np.ndarray:
  """values_D: 1 where the candidate that the rule of voting.py chooses is correct, else 0."""
  match rule:
    case voting.Majority(top_candidates=None):
      return _vote(subsets, np.ones(subsets.score_DC.shape))
    case voting.Majority(top_candidates=n):
      rank_DC = np.where(subsets.cluster_DC >= 0, -subsets.score_DC, np.inf)
      best_DC = np.argsort(rank_DC, axis=1, kind='stable')[:, :n]
      return rule_correctness_on_subsets(
        voting.Majority(), subsets.take(np.sort(best_DC, axis=1))
      )
    case voting.WeightedVote(top_clusters=clusters):
      kept = _within(subsets, clusters)
      return _vote(kept, kept.score_DC)
    case voting.Rerank(top_clusters=clusters):
      kept = _within(subsets, clusters)
      return _best(kept, kept.cluster_DC >= 0, kept.score_DC)
    case voting.Oracle(top_clusters=clusters):
      kept = _within(subsets, clusters)
      return (kept.correct_DC * (kept.cluster_DC >= 0)).max(axis=1)


def _vote(subsets: CandidateSubsets, weight_DC: np.ndarray) -> np.ndarray:
  """Correctness of the member of most weight in the cluster of the largest sum of weights."""
  answered_DC = subsets.cluster_DC >= 0
  order_DM = _largest_first(subsets.cluster_DC)
  weight_DM = _sums(subsets.cluster_DC, np.where(answered_DC, weight_DC, 0.0))
  weight_DM[order_DM < 0] = -np.inf
  most_D1 = weight_DM.max(axis=1, keepdims=True)
  tied_DM = weight_DM >= most_D1 - 1e-12 * np.abs(most_D1)
  winner_D1 = np.argmax(np.where(tied_DM, order_DM, -np.inf), axis=1)[:, None]
  return _best(
    subsets, answered_DC & (subsets.cluster_DC == winner_D1), weight_DC
  )


def _best(
  subsets: CandidateSubsets, allowed_DC: np.ndarray, score_DC: np.ndarray
) -> np.ndarray:
  """Correctness of the allowed candidate of the highest score, the first of equals; 0 for none."""
  best_D1 = np.argmax(np.where(allowed_DC, score_DC, -np.inf), axis=1)[:, None]
  return np.take_along_axis(subsets.correct_DC * allowed_DC, best_D1, axis=1)[
    :, 0
  ]


def _within(
  subsets: CandidateSubsets, top_clusters: int | None
) -> CandidateSubsets:
  """The subsets with the candidates outside the largest clusters marked as if without an answer."""
  if top_clusters is None:
    return subsets
  order_DM = _largest_first(subsets.cluster_DC)
  if order_DM.shape[1] <= top_clusters:
    return subsets
  last_D1 = np.partition(order_DM, -top_clusters, axis=1)[:, [-top_clusters]]
  kept_DC = np.take_along_axis(
    order_DM >= last_D1, np.maximum(subsets.cluster_DC, 0), axis=1
  )
  return dataclasses.replace(
    subsets, cluster_DC=np.where(kept_DC, subsets.cluster_DC, -1)
  )


def _largest_first(cluster_DC: np.ndarray) -> np.ndarray:
  """order_DM: larger for what CandidateSet.clusters() puts first; below 0 for absent clusters."""
  rows, width = cluster_DC.shape
  size_DM = _sums(cluster_DC, np.ones(cluster_DC.shape))
  slot_DC, clusters = _slots(cluster_DC)
  first = np.full(rows * (clusters + 1), width)
  np.minimum.at(first, slot_DC.ravel(), np.tile(np.arange(width), rows))
  return size_DM - (first.reshape(rows, clusters + 1)[:, 1:] + 1) / (width + 2)


def _sums(cluster_DC: np.ndarray, weight_DC: np.ndarray) -> np.ndarray:
  """weight_DM: sums of weights by cluster, those without an answer left out."""
  slot_DC, clusters = _slots(cluster_DC)
  sums = np.bincount(
    slot_DC.ravel(),
    weight_DC.ravel(),
    minlength=len(cluster_DC) * (clusters + 1),
  )
  return sums.reshape(-1, clusters + 1)[:, 1:]


def _slots(cluster_DC: np.ndarray) -> tuple[np.ndarray, int]:
  """A number for each (row, cluster), the first of a row for those without an answer; and M."""
  clusters = int(cluster_DC.max(initial=0)) + 1
  return np.arange(len(cluster_DC))[:, None] * (
    clusters + 1
  ) + cluster_DC + 1, clusters
