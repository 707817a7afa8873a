"""Keys of scalars: exact values, or values on which two precisions agree."""

from fractions import Fraction
import math
import random

import pytest

from mathft_jax.grading.canonical import number_keys, sample_points, scalar_keys
from mathft_jax.grading.parsing import answer_parser, answer_tokenizer


def _tree(text):
  return answer_parser.parse_answer(answer_tokenizer.tokenize_answer(text))


@pytest.mark.parametrize(
  'text, value',
  [
    (r'\frac34 + \frac14', 1),
    ('2^{-3}', Fraction(1, 8)),
    (r'\sqrt{16}', 4),
    (r'\sqrt[3]{-27}', -3),
    (r'\sqrt2\sqrt8', 4),
    ('7!/6!', 7),
    (r'\binom{5}{2}', 10),
    (r'|3+4i|', 5),
    (r'\sin^2 1 + \cos^2 1', 1),
    (r'\log_2 8', 3),
    (r'\cos 60^\circ', Fraction(1, 2)),
    ('x - x + 5', 5),
    (r'\frac{2023!}{2022!}', 2023),
  ],
)
def test_rational_values_have_rational_keys(text, value):
  assert scalar_keys.scalar_key(_tree(text)) == value


def test_the_key_of_a_function_is_its_sample_values():
  x = sample_points.sample_values('x')
  assert scalar_keys.scalar_key(_tree('x^2')) == (
    'function',
    *(v * v for v in x),
  )
  assert scalar_keys.scalar_key(
    _tree(r'x^2(\sin^2 y + \cos^2 y)')
  ) == scalar_keys.scalar_key(_tree('x^2'))


def test_signs_of_sample_values():
  for name in ('x', 'y', 'z', 'a', 'theta', 'x_1'):
    values = sample_points.sample_values(name)
    signs = [value > 0 for value in values]
    assert (
      signs[:2] == [True, True]
      and signs[:5].count(False) == signs[5:].count(False) == 1
    )
    assert all(
      math.cos(value) < 0 and math.sin(value) < 0 for value in values[5:]
    )


@pytest.mark.parametrize(
  'one, other',
  [
    ('|x|', 'x'),
    ('|x+1|', 'x+1'),
    ('|x-7|', '7-x'),
    (r'|\cos x|', r'\cos x'),
    (r'|\sin t|', r'\sin t'),
    (r'\arcsin(\sin x)', 'x'),
    (r'\sqrt{(x-5)^2}', '5-x'),
    (r'\cos x', r'\sqrt{1-\sin^2 x}'),
  ],
)
def test_functions_that_agree_on_an_interval_only_are_different(one, other):
  assert scalar_keys.scalar_key(_tree(one)) != scalar_keys.scalar_key(
    _tree(other)
  )


def test_different_variables_have_different_sample_values():
  names = [
    *'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ',
    'theta',
    'alpha',
    'x_1',
    'x_2',
  ]
  assert len(
    {tuple(sample_points.sample_values(name)) for name in names}
  ) == len(names)


@pytest.mark.parametrize(
  'text', [r'\ln(1 + 10^{-50})', r'\frac{1}{\ln(1 + 10^{-50})}']
)
def test_different_values_at_two_precisions_are_an_error(text):
  with pytest.raises(scalar_keys.PrecisionMismatch):
    scalar_keys.scalar_key(_tree(text))


@pytest.mark.parametrize(
  'text', ['1/0', r'\log 0', '0^{-1}', '9^{9^{9^9}}', '99999999!', 'f(3)']
)
def test_values_that_are_not_computed_are_opaque_numbers(text):
  key = scalar_keys.scalar_key(_tree(text))
  assert key == scalar_keys.scalar_key(_tree(text))
  assert key != scalar_keys.scalar_key(_tree(f'{text} + 1'))
  assert scalar_keys.scalar_key(_tree(f'2({text}) - ({text})')) == key


def test_ratios_do_not_depend_on_a_factor():
  one, other, opposite = (_tree(text) for text in ('x+2y', '3x+6y', '-x-2y'))
  assert (
    scalar_keys.ratios_to_first_nonzero(one)
    == scalar_keys.ratios_to_first_nonzero(other)
    == scalar_keys.ratios_to_first_nonzero(opposite)
  )
  assert scalar_keys.ratios_to_first_nonzero(
    one, signed=True
  ) == scalar_keys.ratios_to_first_nonzero(other, signed=True)
  assert scalar_keys.ratios_to_first_nonzero(
    one, signed=True
  ) != scalar_keys.ratios_to_first_nonzero(opposite, signed=True)


def test_rounded_values_do_not_depend_on_the_precision():
  low, high = scalar_keys._contexts or scalar_keys._make_contexts()
  assert number_keys.round_mpf(low.sqrt(2)) == number_keys.round_mpf(
    high.sqrt(2)
  )


@pytest.mark.parametrize(
  'text, same',
  [
    (r'\sqrt{\sin \pi}', '0'),
    (r'\frac{2}{\sin\pi}', r'\frac20'),
    (r'\sqrt{\sqrt2\sqrt3 - \sqrt6} + 5', '5'),
    (r'\sqrt{\cos\frac{\pi}{2}}', r'\sin 2\pi'),
    (r'\frac{1}{\sin^2 x + \cos^2 x - 1}', r'\frac10'),
    (r'\ln(\sin\pi)', r'\ln(\cos\frac\pi2)'),
    (r'\tan\frac\pi2', r'\tan\frac{2\pi}{4}'),
    (r'\sqrt{e^{i\pi}}', 'i'),
  ],
)
def test_rounding_errors_of_zero_are_zero(text, same):
  assert scalar_keys.scalar_key(_tree(text)) == scalar_keys.scalar_key(
    _tree(same)
  )


def _determinant(rows):
  if len(rows) == 1:
    return rows[0][0]
  total = 0
  for column, entry in enumerate(rows[0]):
    minor = [row[:column] + row[column + 1 :] for row in rows[1:]]
    total += (-1) ** column * entry * _determinant(minor)
  return total


def test_a_sum_of_determinants_has_the_value_of_all_of_them():
  rng = random.Random(0)
  for size in (2, 2, 3, 3):
    matrices = rng.choices(range(-9, 10), k=3 * size * size)
    rows = [matrices[i : i + size] for i in range(0, len(matrices), size)]
    texts, total = [], 0
    for first in range(0, len(rows), size):
      matrix = rows[first : first + size]
      cells = r'\\'.join('&'.join(map(str, row)) for row in matrix)
      texts.append(rf'\begin{{vmatrix}}{cells}\end{{vmatrix}}')
      total += _determinant(matrix)
    assert scalar_keys.scalar_key(_tree(' + '.join(texts))) == total
