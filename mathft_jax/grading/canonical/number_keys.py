"""Canonical keys of numbers.

Keys are exact, so 0.999999 is not 1, with one exception: a decimal that agrees to nine significant
digits with an irrational or non-terminating value gets the key of that value. To keep equality
transitive, every number has exactly one key:

- integer, decimal of up to eight digits or two places, simple fraction: the number itself;
- longer decimal next to a simple non-terminating fraction: that fraction;
- longer decimal next to a simple terminating fraction: the number itself (0.999999999 is not 1);
- other longer decimal, less simple non-terminating fraction, irrational number: the first nine
  digits, rounded;
- irrational number written with a rational of more than 30 bits, as pi + 10^{-12}: the number to
  100 bits.

A fraction is simple if numerator times denominator is at most MAX_SIMPLE_FRACTION. Two numbers that
are keyed by nine digits are equal if these digits agree. Nine digits do not separate pi + 10^{-12}
from pi, and nobody writes it as a decimal, hence the last case.
"""

from collections.abc import Hashable
from fractions import Fraction
import math
from typing import NamedTuple

from mpmath import libmp

from mathft_jax.grading.canonical.sample_points import MpNumber

SIGNIFICANT_DIGITS = 9
ROUNDED_REAL_BITS = 100
MAX_SIMPLE_FRACTION = 10**6  # numerator times denominator
WIDE_RATIONAL_BITS = 30
# Decimals with so few places are exact amounts, never approximations.
_MONEY_PLACES = 2
# Numerator times denominator of fractions that get a decimal key.
_MAX_ROUNDED_FRACTION = 10**15
_MAX_BITS = 1000  # of a number whose digits are computed


class RoundedReal(NamedTuple):
  """The real number mantissa * 2**exponent, rounded to ROUNDED_REAL_BITS; the mantissa is odd."""

  mantissa: int
  exponent: int

  def to_fraction(self) -> Fraction:
    return self.mantissa * Fraction(2) ** self.exponent


def rational_key(value: Fraction) -> Hashable:
  """Returns the key of a rational number."""
  numerator, denominator = value.numerator, value.denominator
  size = abs(numerator) * denominator
  if denominator == 1 or size <= MAX_SIMPLE_FRACTION:
    return value
  if max(numerator.bit_length(), denominator.bit_length()) > _MAX_BITS:
    return value

  if _terminates(denominator):
    if 10**_MONEY_PLACES % denominator == 0:
      return value
    if _num_significant_digits(value) < SIGNIFICANT_DIGITS:
      return value
    near = _simplest_neighbour(value)
    if abs(near.numerator) * near.denominator <= MAX_SIMPLE_FRACTION:
      return value if _terminates(near.denominator) else near
  elif size > _MAX_ROUNDED_FRACTION:
    return value
  return ('decimal', *_round_to_digits(value))


def irrational_key(value: RoundedReal, widest_bits: int) -> Hashable:
  """Returns the key of an irrational number.

  Args:
    value: the number.
    widest_bits: bits of the longest rational in the expression of the number.
  """
  if widest_bits > WIDE_RATIONAL_BITS or abs(value.exponent) > _MAX_BITS:
    return ('real', value)
  return ('decimal', *_round_to_digits(value.to_fraction()))


def exact_mpf(value: MpNumber) -> Fraction:
  """Returns a real mpmath number as a fraction."""
  sign, mantissa, exponent, _ = value._mpf_
  fraction = int(mantissa) * Fraction(2) ** exponent
  return -fraction if sign else fraction


def round_mpf(value: MpNumber) -> RoundedReal:
  """Returns a real mpmath number, rounded to ROUNDED_REAL_BITS."""
  rounded = libmp.mpf_pos(value._mpf_, ROUNDED_REAL_BITS, 'n')
  sign, mantissa, exponent, _ = rounded
  return RoundedReal(-int(mantissa) if sign else int(mantissa), exponent)


def _terminates(denominator: int) -> bool:
  """Returns True if the decimal expansion ends: the only prime factors are 2 and 5."""
  factors_of_two = (denominator & -denominator).bit_length() - 1
  denominator >>= factors_of_two
  while denominator % 5 == 0:
    denominator //= 5
  return denominator == 1


def _num_significant_digits(value: Fraction) -> int:
  """Returns the number of significant digits of a terminating decimal."""
  places = value.denominator.bit_length()  # 10**places is a multiple of it
  digits = abs(value.numerator) * 10**places // value.denominator
  return len(str(digits).rstrip('0'))


def _round_to_digits(value: Fraction) -> tuple[int, int]:
  """Returns (digits, exponent) of digits * 10**exponent, rounded half up to 9 digits."""
  exponent = _num_integer_digits(value) - SIGNIFICANT_DIGITS
  scaled = abs(value) / Fraction(10) ** exponent
  digits = math.floor(scaled + Fraction(1, 2))
  if digits == 10**SIGNIFICANT_DIGITS:
    digits, exponent = digits // 10, exponent + 1
  return (digits if value > 0 else -digits), exponent


def _num_integer_digits(value: Fraction) -> int:
  """Returns n with 10**(n-1) <= abs(value) < 10**n."""
  bits = value.numerator.bit_length() - value.denominator.bit_length()
  guess = math.floor(bits * math.log10(2))
  while Fraction(10) ** guess <= abs(value):
    guess += 1
  return guess


def _simplest_neighbour(value: Fraction) -> Fraction:
  """Returns the fraction of smallest denominator within one unit of the ninth digit."""
  exponent = _num_integer_digits(value) - SIGNIFICANT_DIGITS
  unit = Fraction(10) ** exponent
  size = _simplest_between(abs(value) - unit, abs(value) + unit)
  return size if value > 0 else -size


def _simplest_between(low: Fraction, high: Fraction) -> Fraction:
  """Returns the fraction of smallest denominator in [low, high], by continued fractions.

  Requires low > 0.
  """
  whole = math.floor(low)
  if whole == low:
    return Fraction(whole)
  if whole + 1 <= high:
    return Fraction(whole + 1)
  return whole + 1 / _simplest_between(1 / (high - whole), 1 / (low - whole))
