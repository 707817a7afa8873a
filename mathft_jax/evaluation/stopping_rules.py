"""Adaptive N: how many samples of a problem are needed until its majority vote is decided.

  rule = BetaStoppingRule(confidence=0.95)
  used_P = [candidates_until_decided(rule, each) for each in candidate_sets]
  curve = adaptive_curve(candidate_sets, [0.8, 0.95, 0.99])

A rule sees the candidates in sampling order, and stops at the first n at which it is confident of
the vote. It reads answers, never labels. Because the candidates are the first n of the same N, the
results of all confidences nest, and they compare with the vote of all N on the same samples.
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol

import numpy as np

from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import statistics, voting


class StoppingRule(Protocol):
  """Decides from the sizes of the clusters of the candidates so far."""

  def __call__(self, cluster_sizes: Sequence[int], /) -> bool:
    """Returns whether to stop; sizes are sorted, the largest first."""
    ...


@dataclasses.dataclass(frozen=True)
class BetaStoppingRule:
  """Stops when the largest cluster stays the largest with probability `confidence`.

  The two largest clusters have a and b members. With a uniform prior the share of the first among
  both has the posterior Beta(a + 1, b + 1); the rule stops if P(share > 1/2) >= confidence
  (Adaptive-Consistency, Aggarwal et al., 2023). So the posterior probability that the two would
  change places is at most 1 - confidence. Answers that were not sampled yet count as a cluster of
  size 0.

  Attributes:
    confidence: in (0.5, 1).
    all_clusters: sum the probability of a change of places over all other clusters instead of the
      second largest only, the union bound under a Dirichlet posterior. It stops later.
  """

  confidence: float = 0.95
  all_clusters: bool = False

  def __post_init__(self):
    if not 0.5 < self.confidence < 1:
      raise ValueError(
        f'{type(self).__name__}.confidence is {self.confidence}; it must be above 0.5 and below 1.'
      )

  def __call__(self, cluster_sizes: Sequence[int]) -> bool:
    if not cluster_sizes:
      return False
    largest = cluster_sizes[0]
    others = list(cluster_sizes[1:]) or [0]
    if not self.all_clusters:
      others = others[:1]
    error = sum(change_of_places(largest, other) for other in others)
    return error <= 1 - self.confidence


def change_of_places(larger: int, smaller: int) -> float:
  """Returns P(share <= 1/2) under Beta(larger + 1, smaller + 1).

  Beta with integer parameters is a binomial tail: P(Binomial(a + b + 1, 1/2) >= a + 1).
  """
  from scipy import stats

  return float(stats.binom.sf(larger, larger + smaller + 1, 0.5))


@dataclasses.dataclass(frozen=True)
class AdaptivePoint:
  """The majority vote with one confidence of the stopping rule.

  Attributes:
    confidence: of the rule; 1 for all N candidates.
    mean_candidates: mean number of candidates of a problem.
    accuracy: of the vote of these candidates.
    difference: accuracy minus that of the vote of all N, on the same problems.
    stopped_share: share of the problems that stopped before N.
  """

  confidence: float
  mean_candidates: float
  accuracy: statistics.Estimate
  difference: statistics.PairedDifference
  stopped_share: float


def candidates_until_decided(
  rule: StoppingRule, candidate_set: CandidateSet, min_candidates: int = 1
) -> int:
  """Returns the smallest n at which the rule stops on the first n candidates, or N."""
  num_candidates = len(candidate_set.candidates)
  size_by_cluster: dict[int, int] = {}
  for n, candidate in enumerate(candidate_set.candidates, start=1):
    if candidate.cluster is not None:
      size = size_by_cluster.get(candidate.cluster, 0)
      size_by_cluster[candidate.cluster] = size + 1
    if n >= min_candidates:
      sizes = sorted(size_by_cluster.values(), reverse=True)
      if rule(sizes):
        return n
  return num_candidates


def adaptive_curve(
  candidate_sets: Sequence[CandidateSet],
  confidences: Sequence[float],
  *,
  all_clusters: bool = False,
) -> list[AdaptivePoint]:
  """Returns accuracy against mean N for each confidence, lowest first, and for all N candidates.

  Args:
    candidate_sets: graded, with the same N candidates a problem.
    confidences: of `BetaStoppingRule`.
    all_clusters: see `BetaStoppingRule`.
  """
  vote = voting.Majority()
  full_P = np.array([_is_right(vote, each) for each in candidate_sets])
  points = []
  for confidence in sorted(confidences):
    rule = BetaStoppingRule(confidence, all_clusters)
    used_P, right_P, stopped_P = [], [], []
    for candidate_set in candidate_sets:
      n = candidates_until_decided(rule, candidate_set)
      first = dataclasses.replace(
        candidate_set, candidates=candidate_set.candidates[:n]
      )
      used_P.append(n)
      right_P.append(_is_right(vote, first))
      stopped_P.append(n < len(candidate_set.candidates))
    points.append(
      _make_point(confidence, used_P, np.array(right_P), full_P, stopped_P)
    )

  all_candidates = [len(each.candidates) for each in candidate_sets]
  points.append(
    _make_point(1.0, all_candidates, full_P, full_P, [False] * len(full_P))
  )
  return points


def _is_right(vote: voting.Majority, candidate_set: CandidateSet) -> float:
  chosen = vote(candidate_set)
  return float(chosen is not None and chosen.is_correct is True)


def _make_point(
  confidence: float,
  used_P: Sequence[int],
  right_P: np.ndarray,
  full_P: np.ndarray,
  stopped_P: Sequence[bool],
) -> AdaptivePoint:
  return AdaptivePoint(
    confidence=confidence,
    mean_candidates=float(np.mean(used_P)),
    accuracy=statistics.mean_with_interval(right_P),
    difference=statistics.paired_difference(right_P, full_P),
    stopped_share=float(np.mean(stopped_P)),
  )
