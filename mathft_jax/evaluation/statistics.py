"""Error bars and tests for accuracies measured on a sample of problems.

`values_P` holds one number in [0, 1] per problem: 1 where a rule was right, 0 where it was wrong,
the share of correct samples where several samples were drawn. The problem is the unit of every
interval and test: samples of one problem are no independent evidence. What no interval here covers
is another run of the training with another seed.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import statistics

import numpy as np


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
  """Wilson's score interval (1927) of a proportion `mean` seen in `n` independent trials."""
  z = statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
  centre = mean + z * z / (2 * n)
  half = z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
  scale = 1 + z * z / n
  # At 0 and 1 one end is exact; rounding must not push it past the mean.
  return min(max((centre - half) / scale, 0.0), mean), max(
    min((centre + half) / scale, 1.0), mean
  )


def estimate_mean(
  values_P: np.ndarray,
  *,
  confidence: float = 0.95,
  samples: float | None = None,
) -> Estimate:
  """The mean over problems with Wilson's interval at the effective number of trials.

  For values that are 0 or 1 this is Wilson's interval with n problems, exactly. For shares of
  several samples the trials are the n_eff that give the variance seen between problems,
  n_eff = n mean (1 - mean) / var: the interval is clustered by problem.

  Args:
    values_P: one value in [0, 1] per problem.
    samples: samples in all, the most that n_eff may be; by default n.
  """
  values_P = _checked(values_P)
  n, mean = len(values_P), float(np.mean(values_P))
  variance = float(np.var(values_P))
  most = float(samples or n)
  trials = (
    most
    if variance <= 0
    else min(n * mean * (1 - mean) / variance, max(most, n))
  )
  if mean in (0.0, 1.0):
    trials = n  # nothing was seen to vary: do not credit the further samples
  return Estimate(mean, *wilson_interval(mean, trials, confidence), n)


def paired_difference(
  a_P: np.ndarray,
  b_P: np.ndarray,
  *,
  seed: int = 0,
  resamples: int = 10_000,
  confidence: float = 0.95,
) -> PairedDifference:
  """How much better a is than b on the same problems: paired bootstrap, and McNemar's test."""
  return paired_differences(
    {'a': a_P, 'b': b_P},
    [('a', 'b')],
    seed=seed,
    resamples=resamples,
    confidence=confidence,
  )[0]


def paired_differences(
  values: Mapping[str, np.ndarray],
  pairs: Sequence[tuple[str, str]],
  *,
  seed: int = 0,
  resamples: int = 10_000,
  confidence: float = 0.95,
) -> list[PairedDifference]:
  """A `Difference` for each (a, b) of `pairs`, all from the same resampled problems."""
  names = list(values)
  values_PR = np.stack([_checked(values[name]) for name in names], axis=1)
  columns = np.array(
    [[names.index(a), names.index(b)] for a, b in pairs], int
  ).reshape(-1, 2)
  differences_PD = values_PR[:, columns[:, 0]] - values_PR[:, columns[:, 1]]
  means_BD = bootstrap_means(differences_PD, resamples, seed)
  tail = (1 - confidence) / 2
  lows, highs = np.quantile(means_BD, [tail, 1 - tail], axis=0)
  counted_D = np.isin(differences_PD, (-1.0, 0.0, 1.0)).all(
    axis=0
  )  # McNemar's test is for these
  flips = np.full(len(pairs), np.nan)
  flips[~counted_D] = sign_flip_p_values(
    differences_PD[:, ~counted_D], resamples, seed
  )
  return [
    _difference(differences_PD[:, i], lows[i], highs[i], flips[i])
    for i in range(len(pairs))
  ]


def bootstrap_means(
  values_PD: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
  """Means over problems drawn with replacement, [resamples, D]; the same problems for all D."""
  rng = np.random.default_rng(seed)
  return np.concatenate(
    [
      weights_BP @ values_PD / len(values_PD)
      for weights_BP in bootstrap_weights(len(values_PD), resamples, rng)
    ]
  )


def bootstrap_weights(n: int, resamples: int, rng: np.random.Generator):
  """Yields [B, n] counts of how often each of n problems was drawn, a few hundred B at a time."""
  block = max(1, min(resamples, 2_000_000 // n))
  for start in range(0, resamples, block):
    rows = min(block, resamples - start)
    drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
    yield (
      np.bincount(drawn.ravel(), minlength=rows * n)
      .reshape(rows, n)
      .astype(np.float64)
    )


def mcnemar_p_value(a_better: int, b_better: int) -> float:
  """Two-sided p of McNemar's exact test: the problems that only one got right are fair coins."""
  discordant = a_better + b_better
  tail = sum(
    math.comb(discordant, i) for i in range(min(a_better, b_better) + 1)
  )
  return min(1.0, 2 * tail / 2**discordant)


def sign_flip_p_values(
  differences_PD: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
  """Two-sided p of the paired permutation test by columns; with 0 and +-1 it is McNemar's test."""
  if not differences_PD.shape[1]:
    return np.zeros(0)
  rng = np.random.default_rng(seed)
  seen_D = np.abs(differences_PD.sum(axis=0)) - 1e-9
  extreme_D = np.zeros(differences_PD.shape[1])
  for start in range(0, resamples, 1000):
    signs_BP = rng.integers(
      0, 2, size=(min(1000, resamples - start), len(differences_PD))
    )
    extreme_D += np.sum(
      np.abs((signs_BP * 2.0 - 1.0) @ differences_PD) >= seen_D, axis=0
    )
  return (extreme_D + 1) / (resamples + 1)


def holm_adjusted_p_values(p_values: Sequence[float]) -> list[float]:
  """p-values adjusted for their number (Holm 1979): below 0.05 holds for all of them at once."""
  adjusted, largest = [0.0] * len(p_values), 0.0
  for rank, index in enumerate(
    sorted(range(len(p_values)), key=p_values.__getitem__)
  ):
    largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
    adjusted[index] = largest
  return adjusted


def _difference(
  differences_P: np.ndarray, low: float, high: float, flip: float
) -> PairedDifference:
  """`flip` is the p of the sign-flip test, nan where McNemar's test is to be used."""
  a_better, b_better = (
    int(np.sum(differences_P > 0)),
    int(np.sum(differences_P < 0)),
  )
  if np.isnan(flip):
    test, p_value = 'mcnemar', mcnemar_p_value(a_better, b_better)
  else:
    test, p_value = 'sign-flip', float(flip)
  return PairedDifference(
    float(np.mean(differences_P)),
    float(low),
    float(high),
    len(differences_P),
    a_better,
    b_better,
    p_value,
    test,
  )


def _checked(values_P: np.ndarray) -> np.ndarray:
  """The values as float64; ValueError unless they are a vector of numbers in [0, 1]."""
  values_P = np.asarray(values_P, np.float64)
  if (
    values_P.ndim != 1
    or not len(values_P)
    or not np.all((values_P >= 0) & (values_P <= 1))
  ):
    raise ValueError(
      f'values of shape {values_P.shape}, smallest {values_P.min(initial=np.inf)}, '
      f'largest {values_P.max(initial=-np.inf)}; wanted one number in [0, 1] for '
      'each of at least one problem.'
    )
  return values_P
