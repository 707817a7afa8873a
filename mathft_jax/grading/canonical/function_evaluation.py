"""Numeric evaluation of functions at one sample point.

FUNCTION_EVALUATORS maps a function name to `evaluate(mp, *arguments)`, which returns the value, or
None if there is no value or it is too expensive. `mp` is a `MpArithmetic`.
"""

from collections.abc import Callable
from fractions import Fraction
import functools
import math

from mathft_jax.grading.canonical.mp_arithmetic import MpArithmetic, is_integer
from mathft_jax.grading.canonical.sample_points import MpNumber, PointValue

MAX_FACTORIAL = 9000  # argument of a factorial that is computed exactly
_FACTORIAL_STEP = 1024  # between larger factorials that are opaque
_MAX_FACTORIAL_BITS = 64  # of the argument of a larger factorial
_MAX_CHOSEN = 500  # k of binomial(n, k) for any n
_MAX_ARGUMENT_BITS = 100  # of the integer part of the argument of sin, exp, ...
# Complex atan, asin, ... add the square of their argument to 1 with all bits between.
_MIN_COMPLEX_ARGUMENT_BITS = -(1 << 14)
_MAX_GAMMA_BITS = 16
_MAX_LCM_BITS = 1 << 14

# Function -> numerator and denominator.
_RECIPROCALS = {
  'tan': ('sin', 'cos'),
  'cot': ('cos', 'sin'),
  'sec': ('one', 'cos'),
  'csc': ('one', 'sin'),
}

OptionalValue = PointValue | None
FunctionEvaluator = Callable[..., OptionalValue]


def _integers(values: tuple[PointValue, ...]) -> list[int] | None:
  integers = [value.numerator for value in values if is_integer(value)]
  return integers if len(integers) == len(values) else None


def _analytic(name: str) -> FunctionEvaluator:
  """Returns the evaluator of a function that mpmath has under this name."""

  def evaluate(mp: MpArithmetic, value: PointValue) -> OptionalValue:
    argument = mp.to_mp(value)
    size = mp.context.mag(argument)
    if size > _MAX_ARGUMENT_BITS:
      return None
    if not mp.is_real(argument) and size < _MIN_COMPLEX_ARGUMENT_BITS:
      return None
    if name in _RECIPROCALS:  # at a pole of tan the cosine is 0
      numerator, denominator = _RECIPROCALS[name]
      divisor = _periodic(mp, denominator, argument)
      if not divisor:
        return None
      return _periodic(mp, numerator, argument) / mp.to_mp(divisor)
    if name in ('sin', 'cos'):
      return _periodic(mp, name, argument)
    return getattr(mp.context, name)(argument)

  return evaluate


def _periodic(mp: MpArithmetic, name: str, argument: MpNumber) -> PointValue:
  """Returns the sine or cosine, or 1; exactly 0 at a zero."""
  if name == 'one':
    return mp.context.one
  value = getattr(mp.context, name)(argument)
  scale = abs(argument) if name == 'sin' else 1 + abs(argument)
  return mp.without_noise(value, scale)


def _logarithm(
  mp: MpArithmetic, value: PointValue, base: PointValue | None = None
) -> OptionalValue:
  if not value or base is not None and not base:
    return None
  logarithm = mp.without_noise(mp.context.ln(mp.to_mp(value)), mp.context.one)
  if base is None:
    return logarithm
  base_logarithm = mp.context.ln(mp.to_mp(base))
  if not base_logarithm:
    return None
  return mp.to_mp(logarithm) / base_logarithm


def logarithm_of_absolute(
  mp: MpArithmetic, *arguments: PointValue
) -> OptionalValue:
  """Returns the logarithm with |x| for real x: the one real function for all x."""
  numbers = map(mp.to_mp, arguments)
  return _logarithm(mp, *(abs(x) if mp.is_real(x) else x for x in numbers))


def _absolute(mp: MpArithmetic, value: PointValue) -> PointValue:
  return abs(value)


def _floor(mp: MpArithmetic, value: PointValue) -> OptionalValue:
  if isinstance(value, Fraction):
    return Fraction(math.floor(value))
  if not mp.is_real(value):
    return None
  if mp.context.mag(value) > _MAX_ARGUMENT_BITS:
    return None
  return Fraction(int(mp.context.floor(value)))


def _ceil(mp: MpArithmetic, value: PointValue) -> OptionalValue:
  floor = _floor(mp, -value)
  return None if floor is None else -floor


def _gcd(mp: MpArithmetic, *values: PointValue) -> OptionalValue:
  integers = _integers(values)
  return None if integers is None else Fraction(math.gcd(*integers))


def _lcm(mp: MpArithmetic, *values: PointValue) -> OptionalValue:
  integers = _integers(values)
  if integers is None or sum(map(int.bit_length, integers)) > _MAX_LCM_BITS:
    return None
  return Fraction(math.lcm(*integers))


def _extremum(choose: Callable[..., PointValue]) -> FunctionEvaluator:
  def evaluate(mp: MpArithmetic, *values: PointValue) -> OptionalValue:
    if not all(mp.is_real(value) for value in values):
      return None
    return choose(values, key=mp.to_mp)

  return evaluate


def _factorial(mp: MpArithmetic, value: PointValue) -> OptionalValue:
  if not is_integer(value):
    argument = mp.to_mp(value)
    if mp.context.mag(argument) > _MAX_GAMMA_BITS:
      return None
    return mp.context.gamma(argument + 1)

  n = value.numerator
  if n < 0 or n >= 1 << _MAX_FACTORIAL_BITS:
    return None
  if n <= MAX_FACTORIAL:
    return _product_of_integers(1, n)
  # n! = start! (start + 1) ... n with an opaque start!, so 100001! / 100000! is exact.
  start = n - n % _FACTORIAL_STEP
  return mp.multiply(
    mp.opaque('factorial', Fraction(start)), _product_of_integers(start + 1, n)
  )


@functools.lru_cache(maxsize=256)
def _product_of_integers(first: int, last: int) -> Fraction:
  """Returns first (first + 1) ... last. The readings of one answer repeat it."""
  if first == 1:
    return Fraction(math.factorial(last))
  return Fraction(math.prod(range(first, last + 1)))


def _double_factorial(mp: MpArithmetic, value: PointValue) -> OptionalValue:
  if not is_integer(value) or not 0 <= value.numerator <= MAX_FACTORIAL // 2:
    return None
  return Fraction(math.prod(range(value.numerator, 0, -2)))


def _binomial(mp: MpArithmetic, n: PointValue, k: PointValue) -> OptionalValue:
  """n (n - 1) ... (n - k + 1) / k! for any n; by gamma functions if k is no integer."""
  if is_integer(n) and is_integer(k):
    k = min(k, n - k) if n >= k else k
    if k <= _MAX_CHOSEN and n >= 0 or 0 <= n <= MAX_FACTORIAL:
      return Fraction(math.comb(int(n), int(k)) if k >= 0 else 0)
    if k > _MAX_CHOSEN:
      return None

  if is_integer(k) and k <= _MAX_CHOSEN:
    numerator = mp.multiply(*(n - j for j in range(k.numerator)))
    denominator = math.factorial(max(k.numerator, 0))
    return mp.multiply(numerator, Fraction(1, denominator))

  factorials = []
  for value in (n, k, n - k):
    factorial = _factorial(mp, value)
    if factorial is None:
      return None
    factorials.append(mp.to_mp(factorial))
  return factorials[0] / (factorials[1] * factorials[2])


def _modulo(
  mp: MpArithmetic, value: PointValue, modulus: PointValue
) -> OptionalValue:
  if not isinstance(value, Fraction) or not isinstance(modulus, Fraction):
    return None
  return value - modulus * math.floor(value / modulus)


def _complex_part(name: str) -> FunctionEvaluator:
  def evaluate(mp: MpArithmetic, value: PointValue) -> PointValue:
    return getattr(mp.context, name)(mp.to_mp(value))

  return evaluate


def _sign(mp: MpArithmetic, value: PointValue) -> OptionalValue:
  if not mp.is_real(value):
    return None
  return Fraction((value > 0) - (value < 0))


_ANALYTIC = (
  'sin cos tan cot sec csc asin acos atan acot asec acsc '
  'sinh cosh tanh coth sech csch asinh acosh atanh'
)
FUNCTION_EVALUATORS: dict[str, FunctionEvaluator] = {
  'ln': _logarithm,
  'log': _logarithm,
  'abs': _absolute,
  'floor': _floor,
  'ceil': _ceil,
  'gcd': _gcd,
  'lcm': _lcm,
  'max': _extremum(max),
  'min': _extremum(min),
  'factorial': _factorial,
  'factorial2': _double_factorial,
  'binomial': _binomial,
  'mod': _modulo,
  're': _complex_part('re'),
  'im': _complex_part('im'),
  'conj': _complex_part('conj'),
  'arg': _complex_part('arg'),
  'sgn': _sign,
}
for _name in _ANALYTIC.split():
  FUNCTION_EVALUATORS[_name] = _analytic(_name)
