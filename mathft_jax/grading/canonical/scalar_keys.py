"""Canonical keys of scalars: of numbers by `number_keys`, of functions by their sample values.

A tree is evaluated exactly if possible. Otherwise it is evaluated at two precisions, and the digits
on which both agree are the value. A value that is rational to all digits is replaced by the
rational number: sin^2 t + cos^2 t is 1 and |3 + 4i| is 5.
"""

from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
import functools
import threading

from mathft_jax.grading.canonical import number_keys, sympy_closed_forms
from mathft_jax.grading.canonical.number_keys import RoundedReal
from mathft_jax.grading.canonical.numeric_evaluation import NumericEvaluator
from mathft_jax.grading.canonical.sample_points import MpNumber, PointValue
from mathft_jax.grading.expression_tree import (
  Number,
  Tree,
)

_LOW_DIGITS, _HIGH_DIGITS = 60, 90  # decimal digits of the two evaluations
_AGREED_BITS = 130  # on which the two evaluations must agree
# To which a value must be rational to be replaced by the rational.
_RATIONAL_BITS = 200
_MAX_RATIONAL_EXPONENT = 800
_MAX_DENOMINATOR = 10**12
_LOW_ZERO, _HIGH_ZERO = 1e-35, 1e-65  # bounds of a zero in the two evaluations

# mpmath caches constants, and the cache is not safe in threads.
_lock = threading.Lock()
_contexts: list[MpNumber] = []

RealPart = Fraction | RoundedReal
# A pair is the real and the imaginary part of a complex number.
Component = RealPart | tuple[RealPart, RealPart]
ValuesMap = Callable[[NumericEvaluator, list[PointValue]], list[PointValue]]


class PrecisionMismatch(ArithmeticError):
  """The evaluations at two precisions give different values."""


def scalar_key(tree: Tree) -> Hashable:
  """Returns the key of a number or function.

  Raises:
    ArithmeticError: the value cannot be computed.
  """
  if isinstance(tree, Number):
    return number_keys.rational_key(tree.value)
  closed_form = sympy_closed_forms.find_closed_form(tree)
  values, widest_bits = evaluate_at_points(closed_form or tree)
  return number_or_function_key(values, widest_bits)


def is_zero(tree: Tree) -> bool:
  """Returns True for a scalar that is 0 at all sample points; False if it has no value."""
  try:
    values, _ = evaluate_at_points(tree)
  except ArithmeticError:
    return False
  return not any(values)


def ratios_to_first_nonzero(
  tree: Tree, signed: bool = False
) -> list[Component]:
  """Returns the sample values divided by the first one that is not 0.

  Trees that differ by a constant factor have equal ratios.

  Args:
    tree: a scalar with variables.
    signed: divide by the absolute value instead, so that a negative factor changes the ratios.
  """

  def divide(
    evaluator: NumericEvaluator, values: list[PointValue]
  ) -> list[PointValue]:
    for value in values:
      if abs(evaluator.to_mp(value)) > _LOW_ZERO:
        divisor = abs(value) if signed else value
        return [evaluator.divide(other, divisor) for other in values]
    raise PrecisionMismatch('Both sides of the relation are equal.')

  values, _ = evaluate_at_points(tree, divide)
  return values


def evaluate_at_points(
  tree: Tree, change: ValuesMap | None = None
) -> tuple[list[Component], int]:
  """Returns the values of a tree and the bits of the widest rational in it.

  Args:
    tree: a scalar.
    change: applied to the values of each evaluation, before they are compared.

  Returns:
    One value for a number and NUM_POINTS values for a function; the bits are 0 for exact values.
  """
  if change is not None:
    return _evaluate(tree, change)
  try:
    return _evaluate_unchanged(tree)
  except RecursionError:
    # The cache compares trees, which needs more of the stack than evaluating one.
    return _evaluate(tree, None)


@functools.lru_cache(maxsize=64)
def _evaluate_unchanged(tree: Tree) -> tuple[list[Component], int]:
  """Kept for the last trees, because the readings of one answer ask for the same ones again."""
  return _evaluate(tree, None)


def _evaluate(
  tree: Tree, change: ValuesMap | None
) -> tuple[list[Component], int]:
  with _lock:
    results = []
    for context in _contexts or _make_contexts():
      evaluator = NumericEvaluator(context)
      value = evaluator.evaluate(tree)
      values = value if isinstance(value, list) else [value]
      if change:
        values = change(evaluator, values)
      is_exact = all(isinstance(value, Fraction) for value in values)
      if not results and is_exact and not evaluator.removed_noise:
        return values, 0
      results.append(values)
    components = []
    for low, high in zip(*results):
      components.append(_agreed_value(low, high, context))
    return components, evaluator.widest_bits


def real_value(tree: Tree) -> Fraction | None:
  """Returns the value of a real number to ROUNDED_REAL_BITS; None for any other scalar."""
  values, _ = evaluate_at_points(tree)
  value = values[0]
  if any(other != value for other in values):
    return None
  if isinstance(value, Fraction):
    return value
  return value.to_fraction() if isinstance(value, RoundedReal) else None


def is_nonzero_number(tree: Tree) -> bool:
  """Returns True for a number that is not 0; variables may occur if they cancel."""
  values, _ = evaluate_at_points(tree)
  return values[0] != 0 and all(value == values[0] for value in values)


def is_positive(tree: Tree) -> bool | None:
  """Returns whether a real number is positive; None for any other scalar."""
  value = real_value(tree)
  return None if value is None else value > 0


def number_or_function_key(
  values: Sequence[Component], widest_bits: int
) -> Hashable:
  """Returns the key of a number if all values are equal, else the key of a function."""
  value = values[0]
  if any(other != value for other in values):
    return ('function', *values)
  if isinstance(value, (Fraction, RoundedReal)):
    return _real_key(value, widest_bits)
  return ('complex', *(_real_key(part, widest_bits) for part in value))


def _real_key(value: RealPart, widest_bits: int) -> Hashable:
  if isinstance(value, Fraction):
    return number_keys.rational_key(value)
  return number_keys.irrational_key(value, widest_bits)


def _make_contexts() -> list[MpNumber]:
  from mpmath.ctx_mp import MPContext  # pylint: disable=import-outside-toplevel (slow, often unused)

  for digits in (_LOW_DIGITS, _HIGH_DIGITS):
    context = MPContext()
    context.dps = digits
    _contexts.append(context)
  return _contexts


def _agreed_value(
  low: PointValue, high: PointValue, context: MpNumber
) -> Component:
  """Returns the value on which two evaluations agree; parts far below its size are 0."""
  if isinstance(high, Fraction) and low == high:
    return high
  low, high = _to_complex(low, context), _to_complex(high, context)
  tolerance = context.ldexp(abs(high), -_AGREED_BITS)
  real = _agreed_part(low.real, high.real, tolerance, context)
  imaginary = _agreed_part(low.imag, high.imag, tolerance, context)
  return real if imaginary == 0 else (real, imaginary)


def _to_complex(value: PointValue, context: MpNumber) -> MpNumber:
  if isinstance(value, Fraction):
    value = context.mpf(value.numerator) / value.denominator
  return context.mpc(value)


def _agreed_part(
  low: MpNumber, high: MpNumber, tolerance: MpNumber, context: MpNumber
) -> RealPart:
  if abs(high) <= tolerance and abs(low) <= tolerance:
    return Fraction(0)
  if abs(low - high) <= tolerance:
    return _nearby_rational(high) or number_keys.round_mpf(high)
  if abs(low) < _LOW_ZERO and abs(high) < _HIGH_ZERO:
    return Fraction(0)
  raise PrecisionMismatch(
    f'Evaluation at two precisions gives {context.nstr(low, 20)} and {context.nstr(high, 20)}.'
  )


def _nearby_rational(value: MpNumber) -> Fraction | None:
  """Returns the simple rational that equals the value to _RATIONAL_BITS, or None."""
  if abs(value._mpf_[2]) > _MAX_RATIONAL_EXPONENT:
    return None
  exact = number_keys.exact_mpf(value)
  near = exact.limit_denominator(_MAX_DENOMINATOR)
  return near if abs(near - exact) * 2**_RATIONAL_BITS <= abs(exact) else None
