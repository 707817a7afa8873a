"""Tests of intervals and tests against published numbers, formulas and simulation."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from statsmodels.stats import multitest

from mathft_jax.evaluation import statistics

right_or_wrong = st.lists(st.integers(0, 1), min_size=1, max_size=60).map(
  lambda values: np.array(values, float)
)


def test_wilson_interval_has_its_published_values():
  # Newcombe (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29.
  for successes, n, low, high in (
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
  ):
    assert statistics.wilson_interval(successes / n, n) == pytest.approx(
      (low, high), abs=5e-5
    )


@given(right_or_wrong)
def test_right_or_wrong_values_have_wilsons_interval_whatever_the_samples(
  values_P,
):
  wanted = statistics.wilson_interval(values_P.mean(), len(values_P))
  for samples in (None, 64 * len(values_P)):
    found = statistics.mean_with_interval(values_P, samples=samples)
    assert (found.low, found.high) == pytest.approx(wanted)
    assert found.n == len(values_P)


def test_samples_of_one_problem_that_agree_are_one_observation():
  values_P = np.repeat([0.0, 1.0], 50)  # 64 equal samples each
  clustered = statistics.mean_with_interval(values_P, samples=64 * 100)
  assert (clustered.low, clustered.high) == pytest.approx(
    statistics.wilson_interval(0.5, 100)
  )


def test_samples_that_vary_as_if_of_one_problem_all_count():
  rng = np.random.default_rng(0)
  values_P = rng.binomial(16, 0.3, size=4000) / 16
  found = statistics.mean_with_interval(values_P, samples=16 * 4000)
  low, high = statistics.wilson_interval(values_P.mean(), 16 * 4000)
  assert found.high - found.low == pytest.approx(high - low, rel=0.05)


def test_interval_covers_the_truth_as_often_as_it_says():
  rng = np.random.default_rng(0)
  covered = 0
  # 100 problems of different difficulty, 4 samples each: mean 2 / 5.
  for _ in range(1000):
    values_P = rng.binomial(4, rng.beta(2, 3, size=100)) / 4
    found = statistics.mean_with_interval(values_P, samples=400)
    covered += found.low <= 0.4 <= found.high
  assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize(
  'values', [[], [0.5, 1.1], [-0.1], [float('nan')], [[0.0]]]
)
def test_values_outside_the_unit_interval_are_an_error(values):
  with pytest.raises(ValueError, match=r'wanted one number in \[0, 1\]'):
    statistics.mean_with_interval(np.array(values, float))


def test_average_covers_the_truth_as_often_as_it_says():
  rng = np.random.default_rng(0)
  sizes, rates = (30, 40, 500), (0.1, 0.5, 0.8)
  covered, widths = [], []
  for _ in range(400):
    estimates = []
    for n, rate in zip(sizes, rates):
      values_P = rng.binomial(1, rate, n).astype(float)
      estimates.append(statistics.mean_with_interval(values_P))
    average = statistics.mean_of_estimates(estimates)
    covered.append(average.low <= np.mean(rates) <= average.high)
    widths.append(average.high - average.low)
  assert np.mean(covered) == pytest.approx(0.95, abs=0.03)
  variances = [rate * (1 - rate) / n for n, rate in zip(sizes, rates)]
  width = 2 * 1.96 * np.sqrt(sum(variances)) / 3
  assert np.mean(widths) == pytest.approx(width, rel=0.05)


def test_average_of_unsolved_benchmarks_has_an_interval():
  unsolved = statistics.mean_with_interval(np.zeros(30))
  average = statistics.mean_of_estimates([unsolved, unsolved])
  assert average.mean == average.low == 0 and average.n == 60
  assert average.high == pytest.approx(unsolved.high / np.sqrt(2))
  assert statistics.mean_of_estimates([unsolved]) == unsolved
  with pytest.raises(ValueError, match='at least one'):
    statistics.mean_of_estimates([])


def test_mcnemar_is_the_exact_binomial_test():
  assert statistics.mcnemar_p_value(0, 0) == 1.0
  assert statistics.mcnemar_p_value(3, 3) == 1.0
  assert statistics.mcnemar_p_value(0, 5) == 2 / 2**5
  assert statistics.mcnemar_p_value(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
  assert statistics.mcnemar_p_value(9, 1) == statistics.mcnemar_p_value(1, 9)
  # Too small for a float, and no error.
  assert statistics.mcnemar_p_value(0, 3000) == 0.0


def test_difference_counts_who_is_better_and_brackets_the_mean():
  a_P, b_P = (
    np.array([1, 1, 1, 1, 0, 0, 1, 0.0]),
    np.array([1, 0, 0, 0, 1, 0, 0, 0.0]),
  )
  found = statistics.paired_difference(a_P, b_P)
  assert (found.mean, found.n, found.a_better, found.b_better) == (
    3 / 8,
    8,
    4,
    1,
  )
  assert (found.test, found.p_value) == (
    'mcnemar',
    statistics.mcnemar_p_value(4, 1),
  )
  assert found.low < 3 / 8 < found.high


@given(right_or_wrong, st.integers(0, 3))
def test_difference_is_antisymmetric(a_P, shift):
  b_P = np.roll(a_P, shift)
  there = statistics.paired_difference(a_P, b_P, resamples=200)
  back = statistics.paired_difference(b_P, a_P, resamples=200)
  assert (back.mean, back.low, back.high) == pytest.approx(
    (-there.mean, -there.high, -there.low)
  )
  assert back.p_value == pytest.approx(there.p_value)


def test_bootstrap_interval_is_close_to_normal_for_many_problems():
  rng = np.random.default_rng(0)
  a_P, b_P = rng.integers(0, 2, size=(2, 2000)).astype(float)
  found = statistics.paired_difference(a_P, b_P, resamples=4000)
  half = 1.96 * np.std(a_P - b_P) / np.sqrt(2000)
  assert (found.low, found.high) == pytest.approx(
    (found.mean - half, found.mean + half), abs=2e-3
  )


def test_same_seed_same_interval_and_pairs_share_their_problems():
  rng = np.random.default_rng(0)
  values = dict(zip('abc', rng.integers(0, 2, size=(3, 40)).astype(float)))
  together = statistics.paired_differences(
    values, [('a', 'b'), ('c', 'b')], resamples=500
  )
  alone = [
    statistics.paired_difference(values[a], values['b'], resamples=500)
    for a in 'ac'
  ]
  assert together == alone


def test_no_pairs_no_differences():
  assert statistics.paired_differences({'a': np.ones(3)}, []) == []


def test_sign_flips_agree_with_mcnemar_on_right_or_wrong():
  differences_P = np.repeat([1.0, -1.0, 0.0], [12, 4, 30])
  found = statistics.sign_flip_p_values(differences_P[:, None], 40_000, 0)[0]
  assert found == pytest.approx(statistics.mcnemar_p_value(12, 4), abs=0.005)


def test_shares_of_samples_are_tested_by_sign_flips():
  a_P, b_P = np.full(30, 0.75), np.full(30, 0.5)
  found = statistics.paired_difference(a_P, b_P, resamples=1000)
  assert found.test == 'sign-flip' and found.p_value == pytest.approx(1 / 1001)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
  assert statistics.holm_adjusted_p_values([0.01, 0.04, 0.03]) == pytest.approx(
    [0.03, 0.06, 0.06]
  )
  assert statistics.holm_adjusted_p_values([0.9, 0.8]) == [1.0, 1.0]
  assert statistics.holm_adjusted_p_values([]) == []


@pytest.mark.parametrize('count', [1, 2, 7, 40])
def test_holm_gives_the_numbers_of_statsmodels(count):
  p_values = np.random.default_rng(count).random(count) ** 4
  p_values[count // 2 :] = p_values[0]  # ties
  _, wanted, *_ = multitest.multipletests(p_values, method='holm')
  assert statistics.holm_adjusted_p_values(p_values) == wanted.tolist()
