"""Products of powers: equal bases together; roots of rationals, exact or none."""

from fractions import Fraction
import math

from mathft_jax.grading.canonical.sample_points import Value


def merge_equal_bases(
  factors: list[tuple[Value, Fraction]],
) -> list[tuple[Value, Fraction]]:
  """Factors with the exponents of equal bases added."""
  merged: list[tuple[Value, Fraction]] = []
  for value, exponent in factors:
    for index, (other, total) in enumerate(merged):
      if _equal(value, other):
        merged[index] = (other, total + exponent)
        break
    else:
      merged.append((value, exponent))
  return [(value, exponent) for value, exponent in merged if exponent]


def _equal(left: Value, right: Value) -> bool:
  if type(left) is list and type(right) is list:
    return all(map(_equal, left, right))
  if type(left) is list or type(right) is list:
    return False
  if type(left) is Fraction and type(right) is Fraction:
    return left == right
  if type(left) is Fraction or type(right) is Fraction:
    return False
  return abs(left - right) <= abs(left) * 1e-25


def exact_rational_root(value: Fraction, degree: int) -> Fraction | None:
  """The rational root, or None; negative values have one for odd degrees."""
  if value < 0:
    root = exact_rational_root(-value, degree) if degree % 2 else None
    return None if root is None else -root
  numerator = _integer_root(value.numerator, degree)
  denominator = (
    _integer_root(value.denominator, degree) if numerator is not None else None
  )
  return None if denominator is None else Fraction(numerator, denominator)


def _integer_root(value: int, degree: int) -> int | None:
  """The whole root of a whole number, or None."""
  if value < 2:
    return value
  if degree == 2:
    root = math.isqrt(value)
  elif value.bit_length() < 50 * degree:  # the root fits a float
    root = round(math.exp(math.log(value) / degree))
  elif _is_no_power(value, degree):
    return None
  else:
    root = _newton_root(value, degree)
  return root if root**degree == value else None


def _is_no_power(value: int, degree: int) -> bool:
  """True when the factors 2 tell, or a prime p = k degree + 1: there x**(k degree) is 1, or x is 0."""
  if ((value & -value).bit_length() - 1) % degree:
    return True
  for k in range(2, 42, 2):
    p = k * degree + 1
    if (
      all(p % q for q in range(3, math.isqrt(p) + 1, 2))
      and pow(value % p, k, p) > 1
    ):
      return True
  return False


def _newton_root(value: int, degree: int) -> int:
  """The whole part of the root, by Newton's method from above."""
  root = 1 << -(-value.bit_length() // degree)
  while True:
    step = ((degree - 1) * root + value // root ** (degree - 1)) // degree
    if step >= root:
      return root
    root = step
