"""The points at which functions are compared, and functions of numbers applied at each of them.

Values depend on the name of the variable alone, so that they are the same in every answer. All
variables are positive and small at the first two points; each is negative at one of the next three;
at the last two each is larger, negative at one of them, and its sine and cosine are negative.
"""

from collections.abc import Callable
from fractions import Fraction
import functools
import hashlib
import math
from typing import Any

NUM_POINTS = 7
_SMALL = 5  # of them, of size 1/4 to 4; the others are 8 to 11
_DENOMINATORS = (7, 11, 13, 17, 19, 23, 29, 31)

Value = Any  # Fraction, mpf or mpc, or a list of POINTS of them


@functools.lru_cache(maxsize=4096)
def sample_values(name: str) -> list[Fraction]:
  """The values of a variable: POINTS rationals that are no integers."""
  digest = hashlib.blake2b(name.encode(), digest_size=4 * NUM_POINTS).digest()
  values = []
  for point in range(NUM_POINTS):
    chunk = digest[4 * point : 4 * point + 4]
    denominator = _DENOMINATORS[chunk[0] % len(_DENOMINATORS)]
    where = int.from_bytes(chunk[1:3], 'big')
    if point < _SMALL:
      negative = point - 2 == ord(name[0]) % (_SMALL - 2)
      numerator = denominator // 4 + 1 + where % (3 * denominator)
    else:
      negative = point % 2 == ord(name[0]) % 2
      quarters = (5.1 if negative else 6.1) + 0.7 * where / 2**16
      numerator = math.ceil(denominator * quarters * math.pi / 2)
    numerator += numerator % denominator == 0
    values.append(Fraction(-numerator if negative else numerator, denominator))
  return values


def map_over_points(function: Callable[..., Value], *values: Value) -> Value:
  """The function of numbers, point by point where an argument has points."""
  for value in values:
    if type(value) is list:
      rows = [
        value if type(value) is list else [value] * NUM_POINTS
        for value in values
      ]
      return [function(*row) for row in zip(*rows)]
  return function(*values)
