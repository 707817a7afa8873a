"""Area under the ROC curve of candidate scores, within problems and pooled over problems.

  estimate = mean_auc_within_problems(candidate_sets, voting.ranking_key)

The AUC is the probability that a random correct candidate scores higher than a random incorrect
one; a tie counts one half. Re-ranking depends on the AUC within a problem. The pooled AUC also
rewards a score that only separates easy from hard problems, which does not help re-ranking: a
pooled AUC of 0.69 was observed together with re-ranking at chance.
"""

from collections.abc import Callable, Sequence

import numpy as np

from mathft_jax.data.schema import Candidate, CandidateSet
from mathft_jax.evaluation import statistics, voting

ScoreFn = Callable[[Candidate], voting.RankingKey | float | None]


def area_under_roc(
  scores_C: np.ndarray,
  correct_C: np.ndarray,
  weights_C: np.ndarray | None = None,
) -> float:
  """Returns P(score of a correct one > score of an incorrect one) + P(equal) / 2.

  Returns nan if all candidates are correct or all are incorrect.
  """
  if weights_C is None:
    weights_C = np.ones(len(scores_C))
  rank_C = np.unique(scores_C, return_inverse=True)[1]
  return _area_of_ranks(rank_C, np.asarray(correct_C, bool), weights_C)


def mean_auc_within_problems(
  candidate_sets: Sequence[CandidateSet],
  score: ScoreFn,
  confidence: float = 0.95,
) -> statistics.Estimate | None:
  """Returns the mean AUC over the problems with correct and incorrect candidates.

  Returns None if no problem has both.
  """
  values = []
  for candidate_set in candidate_sets:
    scores_C, correct_C, _ = _scored_candidates([candidate_set], score)
    value = area_under_roc(scores_C, correct_C)
    if np.isfinite(value):
      values.append(value)
  if not values:
    return None
  num_candidates = 0
  for candidate_set in candidate_sets:
    num_candidates += len(candidate_set.candidates)
  return statistics.mean_with_interval(
    np.array(values), confidence=confidence, samples=num_candidates
  )


def pooled_auc(
  candidate_sets: Sequence[CandidateSet],
  score: ScoreFn,
  *,
  confidence: float = 0.95,
  resamples: int = 300,
  seed: int = 0,
) -> statistics.Estimate | None:
  """Returns the AUC over the candidates of all problems; its interval is a bootstrap over problems.

  Returns None if all candidates are correct or all are incorrect.
  """
  scores_C, correct_C, problem_C = _scored_candidates(candidate_sets, score)
  if len(scores_C) == 0 or correct_C.all() or not correct_C.any():
    return None

  rank_C = np.unique(scores_C, return_inverse=True)[1]
  rng = np.random.default_rng(seed)
  areas = []
  for weights_BP in statistics.bootstrap_weights(
    len(candidate_sets), resamples, rng
  ):
    for weights_P in weights_BP:
      areas.append(_area_of_ranks(rank_C, correct_C, weights_P[problem_C]))

  tail = (1 - confidence) / 2
  low, high = np.nanquantile(areas, [tail, 1 - tail])
  return statistics.Estimate(
    mean=area_under_roc(scores_C, correct_C),
    low=float(low),
    high=float(high),
    n=len(np.unique(problem_C)),
  )


def _scored_candidates(
  candidate_sets: Sequence[CandidateSet], score: ScoreFn
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns ranks, correctness and problem indices of the answered candidates with a score.

  The AUC depends on the order of the scores only.
  """
  scores, correct, problems = [], [], []
  for index, candidate_set in enumerate(candidate_sets):
    for candidate in candidate_set.candidates:
      value = score(candidate)
      if candidate.cluster is not None and value is not None:
        scores.append(value)
        correct.append(bool(candidate.is_correct))
        problems.append(index)
  return (
    np.array(voting.dense_ranks(scores), float),
    np.array(correct, bool),
    np.array(problems, int),
  )


def _area_of_ranks(
  rank_C: np.ndarray, correct_C: np.ndarray, weights_C: np.ndarray
) -> float:
  """Returns the weighted AUC; `rank_C` is the rank of each score among the distinct scores."""
  correct_R = np.bincount(rank_C, weights_C * correct_C)
  incorrect_R = np.bincount(rank_C, weights_C * ~correct_C)
  pairs = correct_R.sum() * incorrect_R.sum()
  if pairs <= 0:
    return float('nan')
  below_R = np.cumsum(incorrect_R) - incorrect_R / 2
  # np.sum, not a dot product: BLAS would start threads for thousands of tiny products.
  return float(np.sum(correct_R * below_R) / pairs)
