"""Arithmetic with exact rationals and mpmath numbers.

Results are exact as long as all operands are rational. A value that is undefined or too large is
opaque: a number that equals only the result of the same operation on the same operands.
"""

from fractions import Fraction
import functools
import hashlib
from typing import TypeGuard

from mathft_jax.grading.canonical import number_keys, power_products
from mathft_jax.grading.canonical.sample_points import MpNumber, PointValue

MAX_BITS = 1 << 17  # of a numerator or denominator; 9000! fits
# Bits of a long integer beyond the precision that are read before it is rounded.
_GUARD_BITS = 64
_NOISE_DIGITS = 12  # last digits of the precision that may be rounding errors
_OPAQUE_NOISE = (
  1e-40  # relative size of a part of an operand that is taken as 0
)
_MAX_EXP_BITS = 40  # of the integer part of the argument of exp


class ValueTooLarge(ArithmeticError):
  """An exact value has more than MAX_BITS, or its computation takes too many steps."""


class MpArithmetic:
  """Operations on values at one sample point, in one mpmath context.

  Attributes:
    context: the mpmath context; it sets the precision.
    widest_bits: bits of the longest rational that was converted to a number of the context.
    removed_noise: whether a number was taken as 0, so an exact result depends on the precision.
  """

  def __init__(self, context: MpNumber):
    self.context = context
    self.widest_bits = 0
    self.removed_noise = False

  def to_mp(self, value: PointValue) -> MpNumber:
    """Returns the value as a number of the context."""
    if not isinstance(value, Fraction):
      return value
    self.widest_bits = max(self.widest_bits, _num_bits(value))
    numerator = self._integer_to_mp(value.numerator)
    if value.denominator == 1:
      return numerator
    return numerator / self._integer_to_mp(value.denominator)

  def _integer_to_mp(self, value: int) -> MpNumber:
    """Returns the integer rounded to the precision of the context.

    mpmath normalizes all bits of an integer before it rounds, which takes 1 ms for 30,000 digits.
    """
    excess_bits = value.bit_length() - self.context.prec - _GUARD_BITS
    if excess_bits <= 0:
      return self.context.mpf(value)
    leading = self.context.mpf(value >> excess_bits)
    return self.context.ldexp(leading, excess_bits)

  def is_real(self, value: PointValue) -> bool:
    return not isinstance(value, self.context.mpc)

  def opaque(self, name: str, *operands: PointValue) -> Fraction:
    """Returns the number that stands for an operation: a hash of its name and operands."""
    text = ' '.join([name, *map(_value_text, operands)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return Fraction(int.from_bytes(digest) | 1, 2**61 - 1)

  def add(self, *terms: PointValue) -> PointValue:
    total: PointValue = Fraction(0)
    for term in terms:
      if isinstance(total, Fraction) and isinstance(term, Fraction):
        total = _check_size(total + term)
      else:
        total = self.to_mp(total) + self.to_mp(term)
    if isinstance(total, Fraction):
      return total
    return self.without_noise(total, max(abs(self.to_mp(t)) for t in terms))

  def without_noise(self, value: MpNumber, scale: MpNumber) -> PointValue:
    """Returns the value without parts that are rounding errors of numbers of size `scale`.

    So the square root of sin(pi) is 0 and 2 / sin(pi) has no value.
    """
    noise = scale * self.context.eps * 10**_NOISE_DIGITS
    if self.is_real(value):
      if abs(value) > noise:
        return value
      self.removed_noise = True
      return Fraction(0)
    if abs(value.imag) <= noise:
      return self.without_noise(value.real, scale)
    if abs(value.real) <= noise:
      return self.context.mpc(0, value.imag)
    return value

  def multiply(self, *factors: PointValue) -> PointValue:
    num_exact = 0
    while num_exact < len(factors) and isinstance(factors[num_exact], Fraction):
      num_exact += 1
    result: PointValue = _exact_product(factors[:num_exact])
    for factor in factors[num_exact:]:
      if isinstance(result, Fraction) and result == 1:
        result = factor
      else:
        result = self.to_mp(result) * self.to_mp(factor)
    return result

  def divide(self, value: PointValue, divisor: PointValue) -> PointValue:
    if isinstance(value, Fraction) and isinstance(divisor, Fraction):
      return value / divisor
    return self.to_mp(value) / self.to_mp(divisor)

  def exponential(self, exponent: PointValue) -> PointValue:
    argument = self.to_mp(exponent)
    if self.context.mag(argument) > _MAX_EXP_BITS:
      return self.opaque('exp', exponent)
    value = self.context.exp(argument)
    return (
      value if self.is_real(value) else self.without_noise(value, abs(value))
    )

  def power(self, base: PointValue, exponent: PointValue) -> PointValue:
    """Returns exp(exponent * log(base)), the principal value; exact for an integer exponent."""
    if is_integer(exponent):
      return self.integer_power(base, exponent.numerator)
    if not base:
      if exponent.real > 0:
        return Fraction(0)
      return self.opaque('^', base, exponent)
    logarithm = self.context.ln(self.to_mp(base))
    return self.exponential(self.to_mp(exponent) * logarithm)

  def integer_power(self, base: PointValue, exponent: int) -> PointValue:
    bits = _num_bits(base) - 1 if isinstance(base, Fraction) else 1
    is_undefined = not base and exponent <= 0
    if is_undefined or bits * abs(exponent) > MAX_BITS:
      return self.opaque('^', base, Fraction(exponent))
    if isinstance(base, Fraction):
      return _exact_power(base, exponent)
    return base**exponent

  def root(self, value: PointValue, degree: int, power: int = 1) -> PointValue:
    """Returns value ** (power / degree), exact if possible; the real root for an odd degree."""
    if degree > MAX_BITS:
      return self.opaque('root', value, Fraction(power, degree))
    if isinstance(value, Fraction):
      exact = power_products.exact_rational_root(value, degree)
      if exact is not None:
        return self.integer_power(exact, power)
    number = self.to_mp(value)
    if not self.is_real(number):
      number = self.to_mp(self.without_noise(number, abs(number)))
    if degree % 2 and self.is_real(number) and number < 0:
      return (-self.context.root(-number, degree)) ** power
    return self.context.root(number, degree) ** power


def is_integer(value: object) -> TypeGuard[Fraction]:
  """Whether a value is an exact integer."""
  return isinstance(value, Fraction) and value.denominator == 1


def _value_text(value: PointValue) -> str:
  """Returns a text of the value that does not depend on the precision of the context."""
  if isinstance(value, Fraction):
    return f'{value.numerator:x}/{value.denominator:x}'
  text = ''
  size = abs(value)
  for part in (value.real, value.imag):
    is_noise = abs(part) < size * _OPAQUE_NOISE
    rounded = number_keys.round_mpf(part * 0 if is_noise else part)
    # Opaque values depend on this text: do not change it.
    text += f'Digits(mantissa={rounded.mantissa}, exponent={rounded.exponent})'
  return text


@functools.lru_cache(maxsize=256)
def _exact_product(factors: tuple[Fraction, ...]) -> Fraction:
  """Returns the product.

  It is reduced once at the end. The readings of one answer repeat the products of its constants,
  which may have thousands of digits, so the last ones are kept.
  """
  numerator, denominator = 1, 1
  for factor in factors:
    numerator *= factor.numerator
    denominator *= factor.denominator
    if max(numerator.bit_length(), denominator.bit_length()) > MAX_BITS:
      reduced = _check_size(Fraction(numerator, denominator))
      numerator, denominator = reduced.numerator, reduced.denominator
  return Fraction(numerator, denominator)


@functools.lru_cache(maxsize=256)
def _exact_power(base: Fraction, exponent: int) -> Fraction:
  """Returns the power. As for products, the last ones are kept."""
  return base**exponent


def _num_bits(value: Fraction) -> int:
  return max(value.numerator.bit_length(), value.denominator.bit_length())


def _check_size(value: Fraction) -> Fraction:
  if _num_bits(value) > MAX_BITS:
    raise ValueTooLarge(f'A rational has more than {MAX_BITS} bits.')
  return value
