"""Keys of equations and inequalities."""

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
def test_rearranged_relations_are_equivalent(answers):
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
def test_different_relations_are_not_equivalent(answers):
  assert grading.cluster_answers(answers) == list(range(len(answers)))


def test_a_chain_equals_its_last_value():
  assert grading.is_equivalent('x = 1 + 2 = 3', '3')
  assert not grading.is_equivalent('x = 1 + 2 = 3', '1 + 3')


def test_inequalities_of_unknown_values_depend_on_their_arguments():
  answers = ['f(2) < f(1) < f(4)', 'f(2) < f(1) < f(3)', 'f(4) < f(1) < f(2)']
  assert grading.cluster_answers(answers) == [0, 1, 2]
  assert grading.is_equivalent('f(2) < f(1) < f(4)', 'f(4) > f(1) > f(2)')
