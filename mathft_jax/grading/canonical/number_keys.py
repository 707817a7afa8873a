"""Keys of numbers: exact, except that decimals of nine digits meet what they approximate.

Equality of numbers is exact: 0.999999 is not 1. One convention bends it: a decimal that agrees to
nine significant digits with an irrational or non-terminating value counts as equal to it. Such a
relation is transitive only if it is made by rounding, so each number gets one key:

- an integer, a decimal of up to eight digits or two places, a simple fraction: itself (simple:
  numerator times denominator up to SIMPLE);
- a longer decimal next to a simple non-terminating fraction: that fraction; next to a simple
  terminating one: itself, for 0.999999999 is not 1;
- any other longer decimal, a less simple non-terminating fraction, an irrational number: its first
  nine digits, rounded. It follows that two of these that agree to nine digits are one answer;
- what is written with rationals of more than WIDE_BITS, as pi + 10^{-12}: itself, to 100 bits, for
  nobody gives its decimals and nine digits would not tell it from pi.
"""

from collections.abc import Hashable
from fractions import Fraction
import math
from typing import Any, NamedTuple

from mpmath import libmp

SIGNIFICANT_DIGITS = 9
ROUNDED_REAL_BITS = 100
MAX_SIMPLE_FRACTION = 10**6
_MEASURED = 2  # decimal places of sums of money, which approximate nothing
_FINE = (
  10**15
)  # numerator times denominator of fractions that are given as decimals
WIDE_RATIONAL_BITS = 30
_LONGEST = 1000  # bits of a number that is looked at digit by digit


class RoundedReal(NamedTuple):
  """A real number to DIGITS_BITS: mantissa * 2**exponent with an odd mantissa."""

  mantissa: int
  exponent: int


def rational_key(value: Fraction) -> Hashable:
  """The key of an exact rational."""
  numerator, denominator = value.numerator, value.denominator
  if denominator == 1 or abs(numerator) * denominator <= MAX_SIMPLE_FRACTION:
    return value
  if max(numerator.bit_length(), denominator.bit_length()) > _LONGEST:
    return value
  if _terminates(denominator):
    if (
      10**_MEASURED % denominator == 0
      or len(str(_shifted(value)).rstrip('0')) < SIGNIFICANT_DIGITS
    ):
      return value
    near = _simplest_near(value)
    if abs(near.numerator) * near.denominator <= MAX_SIMPLE_FRACTION:
      return value if _terminates(near.denominator) else near
  elif abs(numerator) * denominator > _FINE:
    return value
  return ('decimal', *_rounded(value))


def irrational_key(digits: RoundedReal, widest: int) -> Hashable:
  """The key of an irrational number, written with rationals of `widest` bits."""
  if widest > WIDE_RATIONAL_BITS or abs(digits.exponent) > _LONGEST:
    return ('real', digits)
  return (
    'decimal',
    *_rounded(digits.mantissa * Fraction(2) ** digits.exponent),
  )


def round_mpf(value: Any) -> RoundedReal:
  """A real mpmath number, rounded."""
  sign, mantissa, exponent, _ = libmp.mpf_pos(
    value._mpf_, ROUNDED_REAL_BITS, 'n'
  )
  return RoundedReal(-int(mantissa) if sign else int(mantissa), exponent)


def _terminates(denominator: int) -> bool:
  """True when the decimal expansion ends: 2 and 5 are the only primes."""
  twos = (denominator & -denominator).bit_length() - 1
  denominator >>= twos
  while denominator % 5 == 0:
    denominator //= 5
  return denominator == 1


def _shifted(value: Fraction) -> int:
  """The digits of a terminating decimal, as an integer."""
  places = (
    value.denominator.bit_length()
  )  # 10**places is a multiple of the denominator
  return abs(value.numerator) * 10**places // value.denominator


def _rounded(value: Fraction) -> tuple[int, int]:
  """Digits and exponent: value = digits * 10**exponent to DIGITS significant digits, half up."""
  exponent = _magnitude(value) - SIGNIFICANT_DIGITS
  scaled = value / Fraction(10) ** exponent
  digits = math.floor(abs(scaled) + Fraction(1, 2))
  if digits == 10**SIGNIFICANT_DIGITS:
    digits, exponent = digits // 10, exponent + 1
  return (digits if value > 0 else -digits), exponent


def _magnitude(value: Fraction) -> int:
  """The number of digits before the point: 10**(m-1) <= abs(value) < 10**m."""
  guess = math.floor(
    (abs(value.numerator).bit_length() - value.denominator.bit_length())
    * math.log10(2)
  )
  while Fraction(10) ** guess <= abs(value):
    guess += 1
  return guess


def _simplest_near(value: Fraction) -> Fraction:
  """The fraction of smallest denominator within one unit of the ninth digit."""
  unit = Fraction(10) ** (_magnitude(value) - SIGNIFICANT_DIGITS)
  size = _simplest_between(abs(value) - unit, abs(value) + unit)
  return size if value > 0 else -size


def _simplest_between(low: Fraction, high: Fraction) -> Fraction:
  """The fraction of smallest denominator in [low, high], low > 0; by continued fractions."""
  whole = math.floor(low)
  if whole == low or whole + 1 <= high:
    return Fraction(whole if whole == low else whole + 1)
  return whole + 1 / _simplest_between(1 / (high - whole), 1 / (low - whole))
