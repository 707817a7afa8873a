"""Keys of numbers: exact, or rounded to nine digits."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
import mpmath
import pytest

from mathft_jax.grading.canonical import number_keys


@pytest.mark.parametrize(
  'value',
  [
    0,
    7,
    -123456789,
    10**40,
    Fraction(1, 3),
    Fraction('0.12345678'),
    Fraction('123456789.12'),
    Fraction(1, 4096),
    Fraction('0.999999999'),
  ],
)
def test_integers_short_decimals_and_simple_fractions_have_exact_keys(value):
  assert number_keys.rational_key(Fraction(value)) == Fraction(value)


@pytest.mark.parametrize(
  'text, value',
  [
    ('0.333333333', Fraction(1, 3)),
    ('0.666666666', Fraction(2, 3)),
    ('0.666666667', Fraction(2, 3)),
    ('-0.0833333333333333', Fraction(-1, 12)),
    ('142.857142857', Fraction(1000, 7)),
  ],
)
def test_a_long_decimal_next_to_a_simple_fraction_has_its_key(text, value):
  assert number_keys.rational_key(Fraction(text)) == value


def test_a_long_decimal_next_to_a_simple_decimal_has_its_own_key():
  assert number_keys.rational_key(
    Fraction('0.999999999999')
  ) != number_keys.rational_key(Fraction(1))


def test_an_irrational_number_equals_its_decimals_of_nine_or_more_digits():
  root = number_keys.round_mpf(mpmath.mpf(17) ** mpmath.mpf('0.5'))
  key = number_keys.irrational_key(root, 5)
  assert key == number_keys.rational_key(Fraction('4.12310563'))
  assert key == number_keys.rational_key(Fraction('4.123105625617661'))
  assert key != number_keys.rational_key(Fraction('4.1231056'))


def test_a_number_with_a_wide_rational_equals_no_decimal():
  digits = number_keys.round_mpf(mpmath.mpf('4.123105625617661'))
  assert number_keys.irrational_key(digits, 5) != number_keys.irrational_key(
    digits, 40
  )


@given(st.fractions(-1000, 1000, max_denominator=1000), st.integers(9, 15))
def test_a_simple_fraction_rounded_to_nine_or_more_digits_keeps_its_key(
  value, digits
):
  """355/217 is 1.635944700 to ten digits; a number has no trailing zeros, so these are eight."""
  text = f'{float(value):.{digits}e}' if value else '0'
  decimal = Fraction(text)
  significant = text.partition('e')[0].lstrip('-').replace('.', '').rstrip('0')
  terminates = 10**12 % value.denominator == 0
  if (
    not terminates
    and len(significant) >= number_keys.SIGNIFICANT_DIGITS
    and abs(value.numerator) * value.denominator
    <= number_keys.MAX_SIMPLE_FRACTION
  ):
    assert number_keys.rational_key(decimal) == number_keys.rational_key(value)


@given(st.fractions(max_denominator=10**6))
def test_the_key_of_a_negated_number_is_the_negated_key(value):
  key, opposite = (
    number_keys.rational_key(value),
    number_keys.rational_key(-value),
  )
  if isinstance(key, Fraction):
    assert opposite == -key
  else:
    assert opposite == ('decimal', -key[1], key[2])
