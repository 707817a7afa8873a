"""Functions of numbers, for numeric.Evaluator: each returns None where it has no value in reach."""

from collections.abc import Callable
from fractions import Fraction
import math

from mathft_jax.grading import expression_tree
from mathft_jax.grading.canonical.sample_points import Value, map_over_points

MAX_TERMS = 1000  # of a sum or product
MAX_FACTORIAL = 9000  # exact up to here
_STEP = 1024  # between factorials that are not worked out
_MAX_CHOICE = 500  # of k in binomial(n, k), for any n
_MAX_MAGNITUDE = (
  100  # bits before the point of an argument of sin, exp and the like
)
_MAX_ORDER = 6  # of a determinant


def is_integer(*values: Value) -> bool:
  return all(
    type(value) is Fraction and value.denominator == 1 for value in values
  )


def is_real(evaluator, *values: Value) -> bool:
  return not any(isinstance(value, evaluator.context.mpc) for value in values)


def _analytic(name: str, reciprocal: bool = False) -> Callable[..., Value]:
  """The function of that name in mpmath, or one divided by it."""

  def function(evaluator, varies: bool, value: Value) -> Value:
    inexact = evaluator.inexact(value)
    if evaluator.context.mag(inexact) > _MAX_MAGNITUDE:
      return None
    result = getattr(evaluator.context, name)(inexact)
    return 1 / result if reciprocal else result

  return function


def _logarithm(
  evaluator, varies: bool, value: Value, base: Value | None = None
) -> Value:
  """The natural logarithm, or that to a base; of a variable it is log |x|: one real function."""
  parts = []
  for number in (value,) if base is None else (value, base):
    if not number:
      return None
    inexact = evaluator.inexact(number)
    if varies and is_real(evaluator, inexact):
      inexact = abs(inexact)
    parts.append(evaluator.context.ln(inexact))
  return parts[0] if base is None else parts[0] / parts[1]


def _absolute(evaluator, varies: bool, value: Value) -> Value:
  return abs(value)


def _floor(evaluator, varies: bool, value: Value) -> Value:
  if type(value) is Fraction:
    return Fraction(math.floor(value))
  if (
    not is_real(evaluator, value)
    or evaluator.context.mag(value) > _MAX_MAGNITUDE
  ):
    return None
  return Fraction(int(evaluator.context.floor(value)))


def _ceil(evaluator, varies: bool, value: Value) -> Value:
  floor = _floor(evaluator, varies, -value)
  return None if floor is None else -floor


def _gcd(evaluator, varies: bool, *values: Value) -> Value:
  if not is_integer(*values):
    return None
  return Fraction(math.gcd(*(value.numerator for value in values)))


def _lcm(evaluator, varies: bool, *values: Value) -> Value:
  if (
    not is_integer(*values)
    or sum(value.numerator.bit_length() for value in values) > 1 << 14
  ):
    return None
  return Fraction(math.lcm(*(value.numerator for value in values)))


def _extreme(choose: Callable[..., Value]) -> Callable[..., Value]:
  def function(evaluator, varies: bool, *values: Value) -> Value:
    if not is_real(evaluator, *values):
      return None
    return choose(values, key=evaluator.inexact)

  return function


def _factorial(evaluator, varies: bool, value: Value) -> Value:
  if is_integer(value):
    n = value.numerator
    if n <= MAX_FACTORIAL:
      return Fraction(math.factorial(n)) if n >= 0 else None
    if n >= 1 << 64:
      return None
    anchor = (
      n - n % _STEP
    )  # of equal anchors quotients are exact: 100001! / 100000!
    return evaluator.multiply(
      evaluator.opaque('factorial', Fraction(anchor)),
      Fraction(math.prod(range(anchor + 1, n + 1))),
    )
  inexact = evaluator.inexact(value)
  return (
    None
    if evaluator.context.mag(inexact) > 16
    else evaluator.context.gamma(inexact + 1)
  )


def _double_factorial(evaluator, varies: bool, value: Value) -> Value:
  if not is_integer(value) or not 0 <= value.numerator <= MAX_FACTORIAL // 2:
    return None
  return Fraction(math.prod(range(value.numerator, 0, -2)))


def _binomial(evaluator, varies: bool, n: Value, k: Value) -> Value:
  """n (n - 1) ... (n - k + 1) / k!, for real n too; through the gamma function for other k."""
  if is_integer(n, k) and n >= k > n - k:
    k = n - k
  if is_integer(k) and k <= _MAX_CHOICE:
    if is_integer(n) and n >= 0:
      return (
        Fraction(math.comb(n.numerator, k.numerator)) if k >= 0 else Fraction(0)
      )
    numerator = evaluator.multiply(*(n - j for j in range(k.numerator)))
    return evaluator.multiply(
      numerator, Fraction(1, math.factorial(max(k.numerator, 0)))
    )
  if type(n) is Fraction and type(k) is Fraction and is_integer(n, k):
    return (
      Fraction(math.comb(n.numerator, k.numerator))
      if 0 <= n <= MAX_FACTORIAL
      else None
    )
  factorials = [_factorial(evaluator, varies, value) for value in (n, k, n - k)]
  if None in factorials:
    return None
  top, *bottom = map(evaluator.inexact, factorials)
  return top / (bottom[0] * bottom[1])


def _modulo(evaluator, varies: bool, value: Value, modulus: Value) -> Value:
  if type(value) is not Fraction or type(modulus) is not Fraction:
    return None
  return value - modulus * math.floor(value / modulus)


def _part(name: str) -> Callable[..., Value]:
  def function(evaluator, varies: bool, value: Value) -> Value:
    return getattr(evaluator.context, name)(evaluator.inexact(value))

  return function


def _sign(evaluator, varies: bool, value: Value) -> Value:
  if not is_real(evaluator, value):
    return None
  return Fraction((value > 0) - (value < 0))


FUNCTION_EVALUATORS: dict[str, Callable[..., Value]] = {
  **{
    name: _analytic(name)
    for name in (
      'sin',
      'cos',
      'tan',
      'cot',
      'sec',
      'csc',
      'asin',
      'acos',
      'atan',
      'acot',
      'asec',
      'acsc',
      'sinh',
      'cosh',
      'tanh',
      'coth',
      'sech',
      'csch',
      'asinh',
      'acosh',
      'atanh',
    )
  },
  'ln': _logarithm,
  'log': _logarithm,
  'abs': _absolute,
  'floor': _floor,
  'ceil': _ceil,
  'gcd': _gcd,
  'lcm': _lcm,
  'max': _extreme(max),
  'min': _extreme(min),
  'factorial': _factorial,
  'factorial2': _double_factorial,
  'binomial': _binomial,
  'mod': _modulo,
  're': _part('re'),
  'im': _part('im'),
  'conj': _part('conj'),
  'arg': _part('arg'),
  'sgn': _sign,
}


def evaluate_finite_series(evaluator, tree: expression_tree.Call) -> Value:
  """A sum or product over a range of whole numbers; opaque when it is long or without end."""
  body, index, *ends = tree.arguments
  low, high = map(evaluator.value, ends)
  if not is_integer(low, high) or not 0 <= high - low < MAX_TERMS:
    return map_over_points(
      lambda *values: evaluator.opaque(tree.function, *values),
      evaluator.value(body),
      low,
      high,
    )
  terms = [
    evaluator.at(index, Fraction(number), body)
    for number in range(low.numerator, high.numerator + 1)
  ]
  return map_over_points(
    evaluator.add if tree.function == 'sum' else evaluator.multiply, *terms
  )


def evaluate_determinant(evaluator, tree: expression_tree.Call) -> Value:
  """By expansion along the first row, up to order 6."""
  matrix = tree.arguments[0]
  if (
    not isinstance(matrix, expression_tree.Matrix)
    or not len(matrix.rows) == len(matrix.rows[0]) <= _MAX_ORDER
  ):
    return map_over_points(
      lambda *values: evaluator.opaque('det', *values),
      *(evaluator.value(argument) for argument in tree.arguments),
    )
  return evaluator.value(_expanded(matrix.rows))


def _expanded(
  rows: tuple[tuple[expression_tree.Scalar, ...], ...],
) -> expression_tree.Scalar:
  if len(rows) == 1:
    return rows[0][0]
  terms = []
  for column, entry in enumerate(rows[0]):
    minor = _expanded(
      tuple(row[:column] + row[column + 1 :] for row in rows[1:])
    )
    terms.append(
      expression_tree.Product(
        (expression_tree.integer(-1 if column % 2 else 1), entry, minor)
      )
    )
  return expression_tree.Sum(tuple(terms))
