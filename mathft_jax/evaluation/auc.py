"""How well scores tell correct candidates from incorrect ones.

The area under the ROC curve is the chance that a random correct candidate scores above a random
incorrect one, a tie counting half. Within a problem is what re-ranking uses. Pooled over all
problems it also rewards knowing which problems are hard, which re-ranks nothing: a pooled AUC of
0.69 was seen with re-ranking at chance.
"""

from collections.abc import Callable, Sequence

import numpy as np

from mathft_jax.data.schema import Candidate, CandidateSet
from mathft_jax.evaluation import statistics

ScoreFn = Callable[[Candidate], float | None]


def area_under_roc(
  scores_C: np.ndarray,
  correct_C: np.ndarray,
  weights_C: np.ndarray | None = None,
) -> float:
  """P(score of a correct one > score of an incorrect one) + P(equal) / 2; nan for one kind only."""
  weights_C = np.ones(len(scores_C)) if weights_C is None else weights_C
  group_C = np.unique(scores_C, return_inverse=True)[1]
  return _auc_of_groups(group_C, np.asarray(correct_C, bool), weights_C)


def mean_auc_within_problems(
  candidate_sets: Sequence[CandidateSet],
  score: ScoreFn,
  confidence: float = 0.95,
) -> statistics.Estimate | None:
  """Mean AUC over the problems that have both kinds of candidates; None if no problem has."""
  values = [
    area_under_roc(*_scored([candidate_set], score)[:2])
    for candidate_set in candidate_sets
  ]
  values_P = np.array([value for value in values if np.isfinite(value)])
  if not len(values_P):
    return None
  samples = sum(
    len(candidate_set.candidates) for candidate_set in candidate_sets
  )
  return statistics.estimate_mean(
    values_P, confidence=confidence, samples=samples
  )


def pooled_auc(
  candidate_sets: Sequence[CandidateSet],
  score: ScoreFn,
  *,
  confidence: float = 0.95,
  resamples: int = 300,
  seed: int = 0,
) -> statistics.Estimate | None:
  """AUC over the candidates of all problems, its interval by bootstrap over problems."""
  scores_C, correct_C, problem_C = _scored(candidate_sets, score)
  if len(scores_C) == 0 or correct_C.all() or not correct_C.any():
    return None
  group_C = np.unique(scores_C, return_inverse=True)[1]
  rng = np.random.default_rng(seed)
  means_B = np.array(
    [
      _auc_of_groups(group_C, correct_C, weights_P[problem_C])
      for weights_BP in statistics.bootstrap_weights(
        len(candidate_sets), resamples, rng
      )
      for weights_P in weights_BP
    ]
  )
  tail = (1 - confidence) / 2
  low, high = np.nanquantile(means_B, [tail, 1 - tail])
  n = len(np.unique(problem_C))
  return statistics.Estimate(
    area_under_roc(scores_C, correct_C), float(low), float(high), n
  )


def _scored(
  candidate_sets: Sequence[CandidateSet], score: ScoreFn
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Scores, correctness and problem numbers of the answered candidates that have a score."""
  rows = [
    (score(candidate), bool(candidate.is_correct), number)
    for number, candidate_set in enumerate(candidate_sets)
    for candidate in candidate_set.candidates
    if candidate.cluster is not None and score(candidate) is not None
  ]
  scores, correct, problems = zip(*rows) if rows else ((), (), ())
  return (
    np.array(scores, float),
    np.array(correct, bool),
    np.array(problems, int),
  )


def _auc_of_groups(
  group_C: np.ndarray, correct_C: np.ndarray, weights_C: np.ndarray
) -> float:
  """Weighted AUC; `group_C` is the rank of each score among the distinct ones."""
  correct_G = np.bincount(group_C, weights_C * correct_C)
  incorrect_G = np.bincount(group_C, weights_C * ~correct_C)
  pairs = correct_G.sum() * incorrect_G.sum()
  below_G = np.cumsum(incorrect_G) - incorrect_G / 2
  # np.sum, not a dot product: BLAS would start threads for thousands of tiny products.
  return (
    float(np.sum(correct_G * below_G) / pairs) if pairs > 0 else float('nan')
  )
