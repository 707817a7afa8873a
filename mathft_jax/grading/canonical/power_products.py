"""Products of powers with equal bases merged, and exact roots of rational numbers."""

from collections.abc import Iterable
from fractions import Fraction
import math

from mathft_jax.grading.canonical.sample_points import Value

Factor = tuple[Value, Fraction]  # base and exponent
_RELATIVE_TOLERANCE = 1e-25  # of equal bases
_MAX_FLOAT_BITS = 50  # of a root that is computed in floating point


def merge_equal_bases(factors: Iterable[Factor]) -> list[Factor]:
  """Returns the factors with one factor per base; exponents of equal bases are added.

  Factors with exponent 0 are left out.
  """
  merged = []
  for base, exponent in factors:
    for index, (other_base, other_exponent) in enumerate(merged):
      if _are_equal(base, other_base):
        merged[index] = (other_base, other_exponent + exponent)
        break
    else:
      merged.append((base, exponent))
  return [factor for factor in merged if factor[1]]


def _are_equal(left: Value, right: Value) -> bool:
  if isinstance(left, list) and isinstance(right, list):
    return all(map(_are_equal, left, right))
  if isinstance(left, list) or isinstance(right, list):
    return False
  if isinstance(left, Fraction) or isinstance(right, Fraction):
    return type(left) is type(right) and left == right
  return abs(left - right) <= abs(left) * _RELATIVE_TOLERANCE


def exact_rational_root(value: Fraction, degree: int) -> Fraction | None:
  """Returns the rational root of this degree, or None if the root is not rational.

  A negative value has a root only for an odd degree.
  """
  if value < 0:
    root = exact_rational_root(-value, degree) if degree % 2 else None
    return None if root is None else -root
  numerator = _integer_root(value.numerator, degree)
  if numerator is None:
    return None
  denominator = _integer_root(value.denominator, degree)
  return None if denominator is None else Fraction(numerator, denominator)


def _integer_root(value: int, degree: int) -> int | None:
  """Returns the integer root of an integer >= 0, or None if it has none."""
  if value < 2:
    return value
  if degree == 2:
    root = math.isqrt(value)
  elif value.bit_length() < _MAX_FLOAT_BITS * degree:
    root = round(math.exp(math.log(value) / degree))
  elif _is_certainly_no_power(value, degree):
    return None
  else:
    root = _newton_root(value, degree)
  return root if root**degree == value else None


def _is_certainly_no_power(value: int, degree: int) -> bool:
  """Returns True if a fast test proves that `value` is no perfect power of this degree.

  The number of its factors 2 must be a multiple of the degree. For a prime p = k * degree + 1, the
  k-th power of a perfect power is 0 or 1 modulo p.
  """
  factors_of_two = (value & -value).bit_length() - 1
  if factors_of_two % degree:
    return True
  for k in range(2, 42, 2):
    p = k * degree + 1
    is_prime = all(p % q for q in range(3, math.isqrt(p) + 1, 2))
    if is_prime and pow(value % p, k, p) > 1:
      return True
  return False


def _newton_root(value: int, degree: int) -> int:
  """Returns the integer part of the root, by Newton's method from above."""
  root = 1 << -(-value.bit_length() // degree)
  while True:
    step = ((degree - 1) * root + value // root ** (degree - 1)) // degree
    if step >= root:
      return root
    root = step
