"""Equations and inequalities: definitions, solutions, and what is left up to a factor."""

import pytest

from mathft_jax import grading


@pytest.mark.parametrize(
  'answers',
  [
    ('y = 2x + 1', '2x + 1', '2x - y + 1 = 0', '2y = 4x + 2', 'f(x) = 2x + 1'),
    ('x = 5', '5', '2x = 10', '5 = x', 'n = 5'),
    ('x + y + z = 1', 'z = 1 - x - y', '2x + 2y + 2z = 2'),
    ('a + b = 3', '3 = b + a', '2a + 2b = 6'),
    ('x^2 + y^2 = 1', '1 - y^2 = x^2', 'x^2/4 + y^2/4 = 1/4'),
    ('x < 3', '2x < 6', '3 > x', r'(-\infty, 3)', '-x > -3', 'x - 3 < 0'),
    ('1 < x < 2', '(1, 2)', '2 > x > 1', '1 < x and x < 2', 'x > 1, x < 2'),
    ('x + y < 1', '1 > y + x', '-x - y > -1', '2x + 2y < 2'),
  ],
)
def test_what_follows_by_moving_terms_is_one_answer(answers):
  assert set(grading.cluster_answers(answers)) == {0}


@pytest.mark.parametrize(
  'answers',
  [
    ('x + y = 1', 'x + z = 1', 'a + b = 1', 'x + y = 2', 'x - y = 1', '1'),
    ('x < 3', 'x > 3', r'x \le 3', 'x < 4', 'x = 3'),
    ('x + y < 1', 'x + y > 1', r'x + y \le 1', 'x + y = 1', 'x - y < 1'),
    ('2x + z = 1', '1', 'a^2 + b = 0', '0'),
    ('y = 2x + 3', 'x = 2y + 3', 'y = 2x - 3'),
  ],
)
def test_what_does_not_follow_is_another_answer(answers):
  assert grading.cluster_answers(answers) == list(range(len(answers)))


def test_of_a_chain_the_last_value_counts():
  assert grading.is_equivalent('x = 1 + 2 = 3', '3')
  assert not grading.is_equivalent('x = 1 + 2 = 3', '1 + 3')


def test_conditions_on_unknown_values_name_those_values():
  answers = ['f(2) < f(1) < f(4)', 'f(2) < f(1) < f(3)', 'f(4) < f(1) < f(2)']
  assert grading.cluster_answers(answers) == [0, 1, 2]
  assert grading.is_equivalent('f(2) < f(1) < f(4)', 'f(4) > f(1) > f(2)')
