"""The points at which functions are compared, and functions of numbers applied at each of them.

Values depend on the name of the variable alone, so that they are the same in every answer. All
variables are positive at the first two points; each is negative at one of the others.
"""

from collections.abc import Callable
from fractions import Fraction
import functools
import hashlib
from typing import Any

POINTS = 5
_DENOMINATORS = (7, 11, 13, 17, 19, 23, 29, 31)

Value = Any  # Fraction, mpf or mpc, or a list of POINTS of them


@functools.lru_cache(maxsize=4096)
def point_values(name: str) -> list[Fraction]:
  """The values of a variable: POINTS rationals that are no integers, of size 1/4 to 4."""
  digest = hashlib.blake2b(name.encode(), digest_size=4 * POINTS).digest()
  values = []
  for point in range(POINTS):
    chunk = digest[4 * point:4 * point + 4]
    denominator = _DENOMINATORS[chunk[0] % len(_DENOMINATORS)]
    numerator = denominator // 4 + 1 + int.from_bytes(chunk[1:3], 'big') % (3 * denominator)
    numerator += numerator % denominator == 0
    negative = point - 2 == ord(name[0]) % (POINTS - 2)
    values.append(Fraction(-numerator if negative else numerator, denominator))
  return values


def each(function: Callable[..., Value], *values: Value) -> Value:
  """The function of numbers, point by point where an argument has points."""
  for value in values:
    if type(value) is list:
      rows = [value if type(value) is list else [value] * POINTS for value in values]
      return [function(*row) for row in zip(*rows)]
  return function(*values)
