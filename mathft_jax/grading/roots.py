"""Exact roots of rationals, or none."""

from fractions import Fraction
import math


def exact_root(value: Fraction, degree: int) -> Fraction | None:
  """The rational root, or None; negative values have one for odd degrees."""
  if value < 0:
    root = exact_root(-value, degree) if degree % 2 else None
    return None if root is None else -root
  numerator = _integer_root(value.numerator, degree)
  denominator = _integer_root(value.denominator, degree) if numerator is not None else None
  return None if denominator is None else Fraction(numerator, denominator)


def _integer_root(value: int, degree: int) -> int | None:
  """The whole root of a whole number, or None."""
  if value < 2:
    return value
  if degree == 2:
    root = math.isqrt(value)
  elif value.bit_length() < 50 * degree:  # the root fits a float
    root = round(math.exp(math.log(value) / degree))
  else:
    root = _newton_root(value, degree)
  return root if root**degree == value else None


def _newton_root(value: int, degree: int) -> int:
  """The whole part of the root, by Newton's method from above."""
  root = 1 << -(-value.bit_length() // degree)
  while True:
    step = ((degree - 1) * root + value // root**(degree - 1)) // degree
    if step >= root:
      return root
    root = step
