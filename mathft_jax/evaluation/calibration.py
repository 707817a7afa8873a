"""Calibration of candidate scores: how often candidates with a given score are correct.

  calibration = measure_calibration(candidate_sets)
  calibration.error          # expected calibration error, with its interval

A score is calibrated if, of the candidates with a score near 0.8, 80% are correct. Re-ranking needs
only the order of the scores; weighted voting and thresholds also need their values.
"""

from collections.abc import Sequence
import dataclasses
import itertools

import numpy as np

from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import statistics

NUM_BINS = 10


@dataclasses.dataclass(frozen=True)
class ScoreBin:
  """The candidates with scores in [low, high); the last bin includes 1.

  Attributes:
    low, high: limits of the bin.
    mean_score: mean score of its candidates.
    correct: share of correct candidates with its interval, clustered by problem; n problems.
    candidates: number of candidates.
  """

  low: float
  high: float
  mean_score: float
  correct: statistics.Estimate
  candidates: int


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Calibration of the scores of one candidate file.

  Attributes:
    bins: the bins that have candidates.
    error: expected calibration error: the mean over candidates of |share correct - mean score| of
      their bin. It is above 0 by chance also for a calibrated score.
    overconfidence: mean score minus share of correct candidates.
  """

  bins: tuple[ScoreBin, ...]
  error: statistics.Estimate
  overconfidence: statistics.Estimate


def measure_calibration(
  candidate_sets: Sequence[CandidateSet],
  *,
  confidence: float = 0.95,
  resamples: int = 300,
  seed: int = 0,
) -> Calibration | None:
  """Returns the calibration of the scores; None if there are no scores in [0, 1].

  Only answered candidates with a score and a label count. Intervals of `error` and
  `overconfidence` are percentiles of a bootstrap over problems, widened to contain the estimate
  where the bootstrap of an absolute error is biased.

  Args:
    candidate_sets: graded and scored problems.
    confidence: coverage of the intervals.
    resamples: bootstrap resamples of the problems.
    seed: of the bootstrap.
  """
  sums_PB3 = _sums_by_problem_and_bin(candidate_sets)
  if sums_PB3 is None:
    return None
  bins = []
  edges = [number / NUM_BINS for number in range(NUM_BINS + 1)]
  for number, (low, high) in enumerate(itertools.pairwise(edges)):
    sums_P3 = sums_PB3[sums_PB3[:, number, 0] > 0, number]
    if len(sums_P3):
      bins.append(_make_bin(low, high, sums_P3, confidence))

  rng = np.random.default_rng(seed)
  draws = []
  for weights_BP in statistics.bootstrap_weights(len(sums_PB3), resamples, rng):
    draws.append(_errors(np.einsum('rp,pbs->rbs', weights_BP, sums_PB3)))
  draws_R2 = np.concatenate(draws)
  found_2 = _errors(sums_PB3.sum(axis=0)[None])[0]
  tail = (1 - confidence) / 2
  low_2, high_2 = np.nanquantile(draws_R2, [tail, 1 - tail], axis=0)
  problems = int(np.sum(sums_PB3[:, :, 0].sum(axis=1) > 0))
  error, overconfidence = [
    statistics.Estimate(
      float(found_2[i]),
      float(min(low_2[i], found_2[i])),
      float(max(high_2[i], found_2[i])),
      problems,
    )
    for i in range(2)
  ]
  return Calibration(tuple(bins), error, overconfidence)


def _sums_by_problem_and_bin(
  candidate_sets: Sequence[CandidateSet],
) -> np.ndarray | None:
  """Returns (candidates, correct candidates, sum of scores) [P, B, 3]; None without such scores."""
  sums_PB3 = np.zeros((len(candidate_sets), NUM_BINS, 3))
  for row, candidate_set in enumerate(candidate_sets):
    for candidate in candidate_set.candidates:
      score = candidate.score
      if score is None or candidate.cluster is None:
        continue
      if not 0 <= score <= 1:
        return None
      number = min(int(score * NUM_BINS), NUM_BINS - 1)
      sums_PB3[row, number] += (1, bool(candidate.is_correct), score)
  return sums_PB3 if sums_PB3.any() else None


def _make_bin(
  low: float, high: float, sums_P3: np.ndarray, confidence: float
) -> ScoreBin:
  """Returns a bin from the sums of its problems.

  The share of correct candidates is a ratio of two sums over problems. Its interval is Wilson's at
  the number of trials that explains the linearized variance of the ratio.
  """
  candidates, correct, scores = sums_P3.sum(axis=0).tolist()
  share = correct / candidates
  residual_P = sums_P3[:, 1] - share * sums_P3[:, 0]
  variance = float(np.sum(residual_P**2)) / candidates**2
  trials = float(len(sums_P3))
  if 0 < share < 1 and variance > 0:
    trials = min(share * (1 - share) / variance, candidates)
  interval = statistics.wilson_interval(share, trials, confidence)
  estimate = statistics.Estimate(share, *interval, len(sums_P3))
  return ScoreBin(low, high, scores / candidates, estimate, int(candidates))


def _errors(sums_RB3: np.ndarray) -> np.ndarray:
  """Returns (expected calibration error, overconfidence) [R, 2]."""
  candidates_R = sums_RB3[:, :, 0].sum(axis=1)
  gaps_RB = sums_RB3[:, :, 2] - sums_RB3[:, :, 1]
  with np.errstate(divide='ignore', invalid='ignore'):
    error_R = np.abs(gaps_RB).sum(axis=1) / candidates_R
    overconfidence_R = gaps_RB.sum(axis=1) / candidates_R
  return np.stack([error_R, overconfidence_R], axis=1)
