"""Keys of scalars: numbers by constants.py, functions by their values at the points.

A tree is evaluated exactly where that is possible. Where it is not, it is evaluated at two
precisions, and what both agree on is the value. A value that is rational to all digits is taken as
that rational: sin^2 t + cos^2 t is the number 1, |3 + 4i| is 5.
"""

from collections.abc import Callable, Hashable
from fractions import Fraction
import threading
from typing import Any

from mathft_jax.grading import expression_tree
from mathft_jax.grading.canonical import (
  number_keys,
  numeric_evaluation,
  sympy_closed_forms,
)
from mathft_jax.grading.canonical.sample_points import Value

_LOW, _HIGH = 60, 90  # decimal digits of the two evaluations
_AGREED = 130  # bits on which they must agree
_RATIONAL = (
  200  # bits to which a value must be rational to be taken as rational
)
_LARGEST_DENOMINATOR = 10**12
_LOW_ZERO, _HIGH_ZERO = (
  1e-35,
  1e-65,
)  # what is left of a zero at the two precisions
_lock = (
  threading.Lock()
)  # mpmath keeps constants in memory that is not safe in threads
_contexts: list[Any] = []


Change = Callable[
  [numeric_evaluation.NumericEvaluator, list[Value]], list[Value]
]


class PrecisionMismatch(ArithmeticError):
  """Two precisions give two values."""


def scalar_key(tree: expression_tree.Scalar) -> Hashable:
  """The key of a number or function; raises ArithmeticError when there is no telling its value."""
  if type(tree) is expression_tree.Number:
    return number_keys.rational_key(tree.value)
  return values_key(
    *evaluate_at_points(sympy_closed_forms.find_closed_form(tree) or tree)
  )


def ratios_to_first_nonzero(
  tree: expression_tree.Scalar, signed: bool = False
) -> list[Any]:
  """The values at the points over the first that is not 0 (over its size, when `signed`).

  They are the same for trees that differ by a factor that is a number.
  """

  def divided(
    evaluator: numeric_evaluation.NumericEvaluator, values: list[Value]
  ) -> list[Value]:
    first = next(
      (v for v in values if abs(evaluator.inexact(v)) > _LOW_ZERO), None
    )
    if first is None:
      raise PrecisionMismatch('a relation between equal sides.')
    return [
      evaluator.divide(value, abs(first) if signed else first)
      for value in values
    ]

  values, _ = evaluate_at_points(tree, divided)
  return values


def evaluate_at_points(
  tree: expression_tree.Scalar, change: Change | None = None
) -> tuple[list[Any], int]:
  """The value, or the values at the points, as components; and the widest rational under a root.

  A component is a Fraction, Digits, or a pair (real, imaginary) of them.
  """
  with _lock:
    results = []
    for context in _contexts or _make_contexts():
      evaluator = numeric_evaluation.NumericEvaluator(context)
      value = evaluator.value(tree)
      values = value if type(value) is list else [value]
      results.append(change(evaluator, values) if change else values)
      if all(type(v) is Fraction for v in results[0]):
        return results[0], 0
    low, high = results
    return [_settle(a, b, context) for a, b in zip(low, high)], evaluator.widest


def real_value(tree: expression_tree.Scalar) -> Fraction | None:
  """The value of a real number, to DIGITS_BITS; None for any other scalar."""
  values, _ = evaluate_at_points(tree)
  value = values[0]
  if any(other != value for other in values) or type(value) is tuple:
    return None
  return (
    value
    if type(value) is Fraction
    else value.mantissa * Fraction(2) ** value.exponent
  )


def is_nonzero_number(tree: expression_tree.Scalar) -> bool:
  """True for a scalar without variables, or in which they cancel, that is not 0."""
  values, _ = evaluate_at_points(tree)
  return values[0] != 0 and all(value == values[0] for value in values)


def is_positive(tree: expression_tree.Scalar) -> bool | None:
  """Whether a real number is above 0; None for any other scalar."""
  value = real_value(tree)
  return None if value is None else value > 0


def values_key(values: list[Any], widest: int) -> Hashable:
  """The key of a number when all values are the same, else that of a function."""
  if any(value != values[0] for value in values):
    return ('function', *values)
  value = values[0]
  if isinstance(value, tuple) and not isinstance(
    value, number_keys.RoundedReal
  ):
    return ('complex', *(_real_key(part, widest) for part in value))
  return _real_key(value, widest)


def _real_key(value: Any, widest: int) -> Hashable:
  if type(value) is Fraction:
    return number_keys.rational_key(value)
  return number_keys.irrational_key(value, widest)


def _make_contexts() -> list[Any]:
  from mpmath.ctx_mp import MPContext  # pylint: disable=import-outside-toplevel (slow, often unused)

  for digits in (_LOW, _HIGH):
    context = MPContext()
    context.dps = digits
    _contexts.append(context)
  return _contexts


def _settle(low: Value, high: Value, context: Any) -> Any:
  """The component on which two evaluations agree; parts far below the whole are zero."""
  if type(high) is Fraction:
    return high
  one, other = (
    context.mpc(
      value
      if type(value) is not Fraction
      else context.mpf(value.numerator) / value.denominator
    )
    for value in (low, high)
  )
  size = abs(other)
  real, imaginary = (
    _settle_part(getattr(one, part), getattr(other, part), size, context)
    for part in ('real', 'imag')
  )
  return real if imaginary == 0 else (real, imaginary)


def _settle_part(low: Any, high: Any, size: Any, context: Any) -> Any:
  tolerance = context.ldexp(size, -_AGREED)
  if abs(high) <= tolerance and abs(low) <= tolerance:
    return Fraction(0)
  if abs(low - high) <= tolerance:
    return _rational(high) or number_keys.round_mpf(high)
  if abs(low) < _LOW_ZERO and abs(high) < _HIGH_ZERO:
    return Fraction(0)
  raise PrecisionMismatch(
    f'{context.nstr(low, 20)} and {context.nstr(high, 20)}'
  )


def _rational(value: Any) -> Fraction | None:
  """The simple rational that equals the value to _RATIONAL bits, or None."""
  sign, mantissa, exponent, bits = value._mpf_
  if abs(exponent) > 2 * _RATIONAL + 400:
    return None
  exact = (
    Fraction(-int(mantissa) if sign else int(mantissa))
    * Fraction(2) ** exponent
  )
  near = exact.limit_denominator(_LARGEST_DENOMINATOR)
  return near if abs(near - exact) * 2**_RATIONAL <= abs(exact) else None
