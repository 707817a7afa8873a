"""Tests of the calibration of scores: bins, the error, and when there is none."""

import numpy as np
import pytest

from mathft_jax.evaluation import calibration
from tests.evaluation.candidates import CORRECT, candidate_set


def sets_with(share_correct, score, problems=200):
  """Problems with one candidate of this score, of which a share is correct."""
  sets = []
  for index in range(problems):
    answer = CORRECT if index < share_correct * problems else 'a'
    sets.append(candidate_set([(answer, score)], str(index)))
  return sets


def test_a_calibrated_score_has_no_error_and_its_share_in_its_bin():
  found = calibration.measure_calibration(sets_with(0.75, 0.75))
  (only,) = found.bins
  assert (only.low, only.high, only.candidates) == (
    0.7,
    0.8,
    200,
  )
  assert only.mean_score == 0.75 and only.correct.mean == 0.75
  assert 0.68 < only.correct.low < 0.75 < only.correct.high < 0.81
  assert found.error.mean == 0 and found.overconfidence.mean == 0


def test_the_error_is_the_mean_distance_over_candidates():
  sets = sets_with(0.5, 0.9, 100) + sets_with(0.5, 0.15, 300)
  found = calibration.measure_calibration(sets)
  wanted = (100 * 0.4 + 300 * 0.35) / 400
  assert found.error.mean == pytest.approx(wanted)
  assert found.overconfidence.mean == pytest.approx(
    (100 * 0.4 - 300 * 0.35) / 400
  )
  assert found.error.low < wanted < found.error.high


def test_intervals_treat_a_problem_as_one_observation():
  rows = [(CORRECT, 0.5)] * 20, [('a', 0.5)] * 20
  sets = [candidate_set(rows[index % 2], str(index)) for index in range(20)]
  (only,) = calibration.measure_calibration(sets).bins
  single = calibration.measure_calibration(sets_with(0.5, 0.5, 20)).bins[0]
  assert (only.correct.low, only.correct.high) == pytest.approx(
    (single.correct.low, single.correct.high)
  )
  assert only.candidates == 400 and only.correct.n == 20


def test_scores_outside_of_the_unit_interval_have_no_calibration():
  assert calibration.measure_calibration(sets_with(0.5, 1.5)) is None
  assert calibration.measure_calibration(sets_with(0.5, None)) is None


def test_scores_of_one_are_in_the_last_bin():
  found = calibration.measure_calibration(sets_with(1.0, 1.0, 5))
  assert [each.high for each in found.bins] == [1.0]
  assert np.isfinite(found.error.high)
