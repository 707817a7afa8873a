"""Sample points at which functions are compared, and evaluation at all of them.

The value of a variable depends only on its name, so it is the same in every answer. Of the 7 points

  0, 1       all variables are positive and small;
  2, 3, 4    small; each variable is negative at one of them;
  5, 6       larger; each variable is negative at one of them; sine and cosine are negative.
"""

from collections.abc import Callable
from fractions import Fraction
import functools
import hashlib
import math
from typing import Any

NUM_POINTS = 7
# Points with values of size 1/4 to 4; the others have size 8 to 11.
_NUM_SMALL = 5
_DENOMINATORS = (7, 11, 13, 17, 19, 23, 29, 31)

# Mpf or mpc of an mpmath context; mpmath has no type annotations.
MpNumber = Any
PointValue = Fraction | MpNumber  # at one point
Value = PointValue | list[PointValue]  # a number, or one number for each point


@functools.lru_cache(maxsize=4096)
def sample_values(variable: str) -> list[Fraction]:
  """Returns the value of a variable at each point: rationals that are no integers."""
  digest = hashlib.blake2b(variable.encode(), digest_size=4 * NUM_POINTS)
  digest_bytes = digest.digest()
  first_letter = ord(variable[0])

  values = []
  for point in range(NUM_POINTS):
    offset = 4 * point
    denominator = _DENOMINATORS[digest_bytes[offset] % len(_DENOMINATORS)]
    random_16_bits = int.from_bytes(digest_bytes[offset + 1 : offset + 3])
    if point < _NUM_SMALL:
      negative = point - 2 == first_letter % (_NUM_SMALL - 2)
      numerator = denominator // 4 + 1 + random_16_bits % (3 * denominator)
    else:
      negative = point % 2 == first_letter % 2
      quarter_turns = (5.1 if negative else 6.1) + 0.7 * random_16_bits / 2**16
      numerator = math.ceil(denominator * quarter_turns * math.pi / 2)
    if numerator % denominator == 0:
      numerator += 1
    values.append(Fraction(-numerator if negative else numerator, denominator))
  return values


def map_over_points(
  function: Callable[..., PointValue], *arguments: Value
) -> Value:
  """Returns `function(*arguments)`, at each point if an argument is a list of values."""
  if not any(isinstance(argument, list) for argument in arguments):
    return function(*arguments)
  columns = []
  for argument in arguments:
    is_list = isinstance(argument, list)
    columns.append(argument if is_list else [argument] * NUM_POINTS)
  return list(map(function, *columns))
