"""Keys of sets of real numbers: unions, intersections and differences."""

import pytest

from mathft_jax import grading


@pytest.mark.parametrize(
  'operation, result',
  [
    (r'[0,2]\cap(1,3)', '(1,2]'),
    (r'(0,1)\cup[1,2]', '(0,2]'),
    (r'(0,1)\cup(1,2)\cup\{1\}', '(0,2)'),
    (r'[0,3]\setminus(1,2)', r'[0,1]\cup[2,3]'),
    (r'(0,1)\cap(2,3)', r'\emptyset'),
    (r'[0,1]\cap[1,2]', '1'),
    (r'\mathbb{R}\setminus\{1,2\}', r'(-\infty,1)\cup(1,2)\cup(2,\infty)'),
    (r'(-\infty,5]\cap[-5,\infty)', '[-5,5]'),
    (r'\{1,2,3\}\cap[2,5]', '2,3'),
    (r'(\sqrt2, 2)\cup[2,3]', r'(2^{1/2}, 3]'),
    (r'\{a,b\}\cup\{c\}', r'\{c,b,a\}'),
    (r'\{a,b\}\setminus\{b\}', 'a'),
  ],
)
def test_set_operations_equal_their_result(operation, result):
  assert grading.is_equivalent(operation, result)


@pytest.mark.parametrize(
  'one, other',
  [
    (r'(0,1)\cup(1,2)', '(0,2)'),
    ('[0,1]', '[0,1)'),
    (r'[a,b)\cup(b,c]', '[a,c]'),
    (r'(0,1)\cup(2,3)', r'(0,1)\cup[2,3)'),
    (r'(-\infty,3)', r'[-\infty,3)'),
    (r'\mathbb{Z}\setminus\{0\}', r'\mathbb{R}\setminus\{0\}'),
  ],
)
def test_sets_that_differ_in_one_point_are_not_equivalent(one, other):
  assert not grading.is_equivalent(one, other)


def test_endpoints_may_be_variables():
  assert grading.is_equivalent(r'(a,b)\cup(c,d)', r'(c,d)\cup(a,b)')
  assert grading.is_equivalent('a < x < b', '(a,b)')
