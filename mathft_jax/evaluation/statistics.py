"""Confidence intervals and significance tests for accuracies measured on a sample of problems.

  estimate = estimate_mean(np.array([1, 0, 1, 1]))     # Estimate(mean=0.75, low=..., high=..., n=4)
  difference = paired_difference(rerank_P, vote_P)     # mean, interval, McNemar's p-value

`values_P` has one number in [0, 1] per problem: 1 where a voting rule is right, 0 where it is
wrong, the share of correct samples where several samples are drawn. The problem is the unit of
every interval and test, because samples of one problem are not independent. No interval here covers
another training run with another seed.

Wilson's interval is computed by statsmodels, McNemar's test by scipy. The paired bootstrap and the
sign-flip test are written here, because all differences of a report must share the same resampled
problems, and a seed must always give the same numbers. Holm's adjustment is written here, because
that of statsmodels runs Python's garbage collector in each call: up to a second in a process that
has imported jax and TensorFlow.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
import dataclasses
from typing import TypeVar

import numpy as np

# Functions import scipy and statsmodels when they need them: the imports take 2 s.

Key = TypeVar('Key', bound=Hashable)

SIGN_FLIP_BLOCK = 1000  # random sign vectors drawn at once
BOOTSTRAP_BLOCK = 2_000_000  # problem counts drawn at once


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean over n problems with its confidence interval."""

  mean: float
  low: float
  high: float
  n: int


@dataclasses.dataclass(frozen=True)
class PairedDifference:
  """Mean of a - b over the same n problems, its bootstrap interval, and a test of no difference."""

  mean: float
  low: float
  high: float
  n: int
  a_better: int  # problems where a has the higher value
  b_better: int
  p_value: float
  test: str  # 'mcnemar' for right or wrong, 'sign-flip' for shares of correct samples


def wilson_interval(
  mean: float, n: float, confidence: float = 0.95
) -> tuple[float, float]:
  """Returns Wilson's score interval (1927) of a proportion.

  Computed by `statsmodels.stats.proportion.proportion_confint`.

  Args:
    mean: observed proportion of successes, in [0, 1].
    n: number of independent trials; an effective number need not be an integer.
    confidence: coverage of the interval.
  """
  from statsmodels.stats import proportion

  interval = proportion.proportion_confint(
    mean * n, n, alpha=1 - confidence, method='wilson'
  )
  low, high = np.array(interval).tolist()
  # At a mean of 0 or 1 one end equals the mean; rounding must not move it past.
  return min(max(low, 0.0), mean), max(min(high, 1.0), mean)


def mean_with_interval(
  values_P: np.ndarray,
  *,
  confidence: float = 0.95,
  samples: float | None = None,
) -> Estimate:
  """Returns the mean over problems with Wilson's interval at the effective number of trials.

  If all values are 0 or 1, this is Wilson's interval with n problems, exactly. If they are shares
  of several samples, the number of trials is the n_eff that explains the variance between
  problems, n_eff = n mean (1 - mean) / var: the interval is clustered by problem.

  Args:
    values_P: one value in [0, 1] per problem.
    confidence: coverage of the interval.
    samples: total number of samples, an upper bound of n_eff; default: the number of problems.
  """
  values_P = _check_shares(values_P)
  n = len(values_P)
  mean = float(np.mean(values_P))
  variance = float(np.var(values_P))
  most_trials = float(samples or n)

  if mean in (0.0, 1.0):
    trials = n  # no variance was observed: do not count the other samples
  elif variance <= 0:
    trials = most_trials
  else:
    trials = min(n * mean * (1 - mean) / variance, max(most_trials, n))
  low, high = wilson_interval(mean, trials, confidence)
  return Estimate(mean, low, high, n)


def mean_of_estimates(estimates: Sequence[Estimate]) -> Estimate:
  """Returns the unweighted mean of independent estimates, such as of several benchmarks.

  The interval is that of Zou and Donner (2008), "Construction of confidence limits about effect
  measures", for a sum of independent estimates: each end is the root of the sum of squares of the
  distances between the estimates and their own ends, divided by their number. So the variance of
  each estimate is that of its own interval, which is not 0 for a mean of 0 or 1. The benchmarks
  are fixed: the interval is over the problems of these benchmarks, not over other benchmarks.

  Args:
    estimates: at least one, on different problems, with intervals of the same confidence.

  Returns:
    The mean; `n` is the number of all problems.
  """
  if not estimates:
    raise ValueError('No estimates; wanted at least one.')
  means = np.array([each.mean for each in estimates])
  below = means - np.array([each.low for each in estimates])
  above = np.array([each.high for each in estimates]) - means
  mean = float(means.mean())
  low = mean - float(np.linalg.norm(below)) / len(means)
  high = mean + float(np.linalg.norm(above)) / len(means)
  return Estimate(mean, low, high, sum(each.n for each in estimates))


def paired_difference(
  a_P: np.ndarray,
  b_P: np.ndarray,
  *,
  seed: int = 0,
  resamples: int = 10_000,
  confidence: float = 0.95,
) -> PairedDifference:
  """Returns how much better a is than b on the same problems; see `paired_differences`."""
  differences = paired_differences(
    {'a': a_P, 'b': b_P},
    [('a', 'b')],
    seed=seed,
    resamples=resamples,
    confidence=confidence,
  )
  return differences[0]


def paired_differences(
  values: Mapping[Key, np.ndarray],
  pairs: Sequence[tuple[Key, Key]],
  *,
  seed: int = 0,
  resamples: int = 10_000,
  confidence: float = 0.95,
) -> list[PairedDifference]:
  """Returns a `PairedDifference` for each (a, b) of `pairs`.

  All of them use the same resampled problems. Values of 0 and 1 are tested by McNemar's exact
  test, shares of correct samples by sign flips.

  Args:
    values: values_P by name, all on the same problems in the same order.
    pairs: names of the values to compare.
    seed: of the bootstrap and of the sign flips.
    resamples: bootstrap resamples of the problems, and random sign vectors.
    confidence: coverage of the intervals.
  """
  names = list(values)
  columns = [_check_shares(values[name]) for name in names]
  values_PR = np.stack(columns, axis=1)
  a_D = [names.index(a) for a, _ in pairs]
  b_D = [names.index(b) for _, b in pairs]
  differences_PD = values_PR[:, a_D] - values_PR[:, b_D]

  tail = (1 - confidence) / 2
  means_BD = bootstrap_means(differences_PD, resamples, seed)
  low_D, high_D = np.quantile(means_BD, [tail, 1 - tail], axis=0)

  is_binary_D = np.all(np.isin(differences_PD, (-1.0, 0.0, 1.0)), axis=0)
  flip_D = np.full(len(pairs), np.nan)
  flip_D[~is_binary_D] = sign_flip_p_values(
    differences_PD[:, ~is_binary_D], resamples, seed
  )

  found = []
  for i in range(len(pairs)):
    difference_P = differences_PD[:, i]
    a_better = int(np.sum(difference_P > 0))
    b_better = int(np.sum(difference_P < 0))
    if is_binary_D[i]:
      test, p_value = 'mcnemar', mcnemar_p_value(a_better, b_better)
    else:
      test, p_value = 'sign-flip', float(flip_D[i])
    found.append(
      PairedDifference(
        mean=float(np.mean(difference_P)),
        low=float(low_D[i]),
        high=float(high_D[i]),
        n=len(difference_P),
        a_better=a_better,
        b_better=b_better,
        p_value=p_value,
        test=test,
      )
    )
  return found


def bootstrap_means(
  values_PD: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
  """Returns means [resamples, D] over problems drawn with replacement; all D share the draws."""
  rng = np.random.default_rng(seed)
  means = []
  for weights_BP in bootstrap_weights(len(values_PD), resamples, rng):
    means.append(weights_BP @ values_PD / len(values_PD))
  return np.concatenate(means)


def bootstrap_weights(
  n: int, resamples: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
  """Yields blocks [B, n] of how often each of n problems is drawn in each of B resamples."""
  block = max(1, min(resamples, BOOTSTRAP_BLOCK // n))
  for start in range(0, resamples, block):
    size = min(block, resamples - start)
    drawn_BP = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
    counts = np.bincount(drawn_BP.ravel(), minlength=size * n)
    yield counts.reshape(size, n).astype(np.float64)


def mcnemar_p_value(a_better: int, b_better: int) -> float:
  """Returns the two-sided p-value of McNemar's exact test.

  It is the binomial test of the discordant pairs, computed by `scipy.stats.binomtest`.

  Args:
    a_better: problems that only a solves.
    b_better: problems that only b solves.
  """
  from scipy import stats

  discordant = a_better + b_better
  if not discordant:
    return 1.0
  return float(stats.binomtest(a_better, discordant).pvalue)


def sign_flip_p_values(
  differences_PD: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
  """Returns two-sided p-values [D] of the paired permutation test.

  For differences in {-1, 0, 1} the test is McNemar's.
  """
  problems, columns = differences_PD.shape
  if not columns:
    return np.zeros(0)
  rng = np.random.default_rng(seed)
  observed_D = np.abs(differences_PD.sum(axis=0)) - 1e-9
  extreme_D = np.zeros(columns)
  for start in range(0, resamples, SIGN_FLIP_BLOCK):
    size = min(SIGN_FLIP_BLOCK, resamples - start)
    signs_BP = rng.integers(0, 2, size=(size, problems)) * 2.0 - 1.0
    flipped_BD = np.abs(signs_BP @ differences_PD)
    extreme_D += np.sum(flipped_BD >= observed_D, axis=0)
  return (extreme_D + 1) / (resamples + 1)


def holm_adjusted_p_values(p_values: Sequence[float]) -> list[float]:
  """Returns p-values adjusted for their number (Holm 1979), in the given order.

  If an adjusted value is below 0.05, the family-wise error rate is below 0.05. Each value is
  multiplied by the number of values that are not smaller than it, and is at least the adjusted
  value of every smaller one.
  """
  p_values_D = np.asarray(p_values, np.float64)
  order_D = np.argsort(p_values_D, kind='stable')
  factors_D = np.arange(len(p_values_D), 0, -1)
  ascending_D = np.maximum.accumulate(p_values_D[order_D] * factors_D)

  adjusted_D = np.empty_like(p_values_D)
  adjusted_D[order_D] = np.minimum(ascending_D, 1)
  return adjusted_D.tolist()


def _check_shares(values_P: np.ndarray) -> np.ndarray:
  """Returns the values as float64; ValueError unless they are a vector of numbers in [0, 1]."""
  values_P = np.asarray(values_P, np.float64)
  in_range = np.all((values_P >= 0) & (values_P <= 1))
  if values_P.ndim != 1 or not len(values_P) or not in_range:
    raise ValueError(
      f'Values have the shape {values_P.shape}, minimum {values_P.min(initial=np.inf)} and '
      f'maximum {values_P.max(initial=-np.inf)}; wanted one number in [0, 1] for each of at '
      'least one problem.'
    )
  return values_P
