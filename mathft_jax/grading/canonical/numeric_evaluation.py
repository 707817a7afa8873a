"""The value of a scalar: exact rationals where possible, many digits where not.

A tree with variables is a function; it is known by its values at fixed points (points.py). A value
is a Fraction, a real or complex number of an mpmath context, or a list of such values, one for each
point.

Roots: `x^{1/2}` is the principal one, an odd root of a negative number is the real one. In a product
the powers of one base are added, and even roots are taken of their product, so that
`x / \\sqrt x`, `\\sqrt{1/n}` and `\\sqrt x \\sqrt y` are what they are wherever all of it is real.
"""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
import hashlib
import math
from typing import Any

from mathft_jax.grading import expression_tree
from mathft_jax.grading.canonical import (
  function_evaluation,
  number_keys,
  power_products,
)
from mathft_jax.grading.canonical.sample_points import (
  Value,
  map_over_points,
  sample_values,
)

MAX_BITS = 1 << 17  # of a numerator or denominator; 9000! has 1 << 17
MAX_STEPS = 20_000  # evaluated nodes of one answer
_E = expression_tree.Constant('e')


class ValueTooLarge(ArithmeticError):
  """An exact value beyond MAX_BITS."""


class UndefinedValue(ArithmeticError):
  """No value, such as 1 / 0."""


class NumericEvaluator:
  """Evaluates trees in one mpmath context; `widest` is the longest rational that met a root."""

  def __init__(
    self, context: Any, variables: Mapping[str, Value] | None = None
  ):
    self.context = context
    self.variables = dict(variables or {})
    self.widest = 0
    self.steps = 0
    self._known: dict[
      int, Value
    ] = {}  # by identity: the tree outlives its evaluation

  def value(self, tree: expression_tree.Scalar) -> Value:
    """The value of a scalar; raises Undefined for what no scalar is, TooBig beyond the limits."""
    known = self._known.get(id(tree))
    if known is not None:
      return known
    self.steps += 1
    evaluate = _EVALUATE.get(type(tree))
    if evaluate is None:
      raise UndefinedValue(f'{type(tree).__name__} is no scalar.')
    if self.steps > MAX_STEPS:
      raise ValueTooLarge(f'more than {MAX_STEPS} steps.')
    value = self._known[id(tree)] = evaluate(self, tree)
    return value

  def at(
    self,
    index: expression_tree.Symbol | expression_tree.Constant,
    number: Fraction,
    tree: expression_tree.Scalar,
  ) -> Value:
    """The value of the tree where the symbol has this value."""
    inside = NumericEvaluator(
      self.context, {**self.variables, index.name: number}
    )
    inside.steps = self.steps
    value = inside.value(tree)
    self.steps, self.widest = inside.steps, max(self.widest, inside.widest)
    return value

  def inexact(self, value: Value) -> Any:
    """A number of the context."""
    if type(value) is not Fraction:
      return value
    self.widest = max(
      self.widest, value.numerator.bit_length(), value.denominator.bit_length()
    )
    return self.context.mpf(value.numerator) / value.denominator

  def opaque(self, name: str, *values: Value) -> Fraction:
    """A number that stands for a value out of reach: the same for the same operation and operands."""
    text = ' '.join([name, *map(_digits, values)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return Fraction(int.from_bytes(digest, 'big') | 1, 2**61 - 1)

  def _symbol(self, tree: expression_tree.Symbol) -> Value:
    if tree.name not in self.variables:
      self.variables[tree.name] = sample_values(tree.name)
    return self.variables[tree.name]

  def _constant(self, tree: expression_tree.Constant) -> Value:
    if tree.name in self.variables:  # the index of a sum may be called i
      return self.variables[tree.name]
    if tree.name == 'i':
      return self.context.mpc(0, 1)
    return +getattr(self.context, tree.name)

  def add(self, *terms: Value) -> Value:
    total = Fraction(0)
    for term in terms:
      if type(total) is Fraction and type(term) is Fraction:
        total = _bounded(total + term)
      else:
        total = self.inexact(total) + self.inexact(term)
    return total

  def multiply(self, *factors: Value) -> Value:
    result = Fraction(1)
    for factor in factors:
      if type(result) is Fraction and type(factor) is Fraction:
        result = _bounded(result * factor)
      elif type(result) is Fraction and result == 1:
        result = factor
      else:
        result = self.inexact(result) * self.inexact(factor)
    return result

  def divide(self, value: Value, divisor: Value) -> Value:
    if type(value) is Fraction and type(divisor) is Fraction:
      return value / divisor
    return self.inexact(value) / self.inexact(divisor)

  def _power(self, tree: expression_tree.Power) -> Value:
    exponent = self.value(tree.exponent)
    if type(exponent) is Fraction:
      return self._monomial(tree)
    base = tree.base
    undone = _logarithm_of(tree.exponent, base)
    if undone:
      return self.value(undone)
    if base == _E:
      return map_over_points(self._exponential, exponent)
    value = self.value(base)
    if (
      isinstance(base, expression_tree.Power) and type(value) is list
    ):  # (x^2)^n = x^{2n}
      inner = self.value(base.exponent)
      if type(inner) is Fraction:
        value, exponent = (
          self.value(base.base),
          map_over_points(self.multiply, exponent, inner),
        )
    return map_over_points(self.general_power, value, exponent)

  def general_power(self, base: Value, exponent: Value) -> Value:
    """exp(exponent * log(base)), the principal value; exact for an exponent that is whole here."""
    if type(exponent) is Fraction and exponent.denominator == 1:
      return self.integer_power(base, exponent.numerator)
    if not base:
      return (
        Fraction(0) if exponent.real > 0 else self.opaque('^', base, exponent)
      )
    logarithm = self.context.ln(self.inexact(base))
    return self._exponential(self.inexact(exponent) * logarithm)

  def _exponential(self, exponent: Value) -> Value:
    inexact = self.inexact(exponent)
    if self.context.mag(inexact) > 40:
      return self.opaque('exp', exponent)
    return self.context.exp(inexact)

  def integer_power(self, base: Value, exponent: int) -> Value:
    if not base and exponent <= 0:
      return self.opaque('^', base, Fraction(exponent))
    if type(base) is Fraction:
      bits = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
      if bits * abs(exponent) > MAX_BITS:
        return self.opaque('^', base, Fraction(exponent))
      return base**exponent
    if abs(exponent) > MAX_BITS:
      return self.opaque('^', base, Fraction(exponent))
    return base**exponent

  # Products of powers.

  def _monomial(self, tree: expression_tree.Scalar) -> Value:
    whole: list[Value] = []
    roots: list[tuple[Value, Fraction]] = []
    bases: list[tuple[Value, int]] = []
    for value, exponent in self._factors(tree, Fraction(1)):
      if exponent.denominator > 1:
        roots.append((value, exponent))
      elif exponent == 1:
        whole.append(value)
      else:
        bases.append((value, exponent.numerator))
    if not roots:
      return map_over_points(
        self.multiply,
        *whole,
        *(map_over_points(self.integer_power, v, n) for v, n in bases),
      )
    factors = [
      *((v, Fraction(1)) for v in whole),
      *((v, Fraction(n)) for v, n in bases),
      *roots,
    ]
    return self._with_roots(power_products.merge_equal_bases(factors))

  def _factors(
    self, tree: expression_tree.Scalar, power: Fraction
  ) -> Iterator[tuple[Value, Fraction]]:
    """Bases and exponents of the factors of tree ** power."""
    if isinstance(tree, expression_tree.Product) and (
      power.denominator == 1 or _varies(tree)
    ):
      for factor in tree.factors:
        yield from self._factors(factor, power)
      return
    if isinstance(tree, expression_tree.Power):
      exponent = self.value(tree.exponent)
      if type(exponent) is Fraction and (
        power.denominator == 1
        or _varies(tree)
        and (exponent.numerator % 2 or power.denominator % 2)
      ):
        yield from self._factors(tree.base, power * exponent)
        return
    yield self.value(tree), power

  def _with_roots(self, factors: list[tuple[Value, Fraction]]) -> Value:
    """The product of powers: whole parts, real odd roots, and one even root of a product."""
    whole, even = [], []
    for value, exponent in factors:
      floor = math.floor(exponent)
      rest = exponent - floor
      if floor:
        whole.append(map_over_points(self.integer_power, value, floor))
      if rest.denominator % 2:
        if rest:
          whole.append(
            map_over_points(self.root, value, rest.denominator, rest.numerator)
          )
      else:
        even.append((value, rest))
    if even:
      degree = math.lcm(*(rest.denominator for _, rest in even))
      radicand = map_over_points(
        self.multiply,
        *(
          map_over_points(self.integer_power, value, int(rest * degree))
          for value, rest in even
        ),
      )
      whole.append(map_over_points(self.root, radicand, degree))
    return map_over_points(self.multiply, *whole)

  def root(self, value: Value, degree: int, power: int = 1) -> Value:
    """value ** (power / degree): exact if it can be; the real root when degree is odd."""
    if degree > MAX_BITS:
      return self.opaque('root', value, Fraction(power, degree))
    if type(value) is Fraction:
      exact = power_products.exact_rational_root(value, degree)
      if exact is not None:
        return self.integer_power(exact, power)
    inexact = self.inexact(value)
    if degree % 2 and not isinstance(inexact, self.context.mpc) and inexact < 0:
      return (-self.context.root(-inexact, degree)) ** power
    return self.context.root(inexact, degree) ** power

  def _call(self, tree: expression_tree.Call) -> Value:
    if tree.function in ('sum', 'product'):
      return function_evaluation.evaluate_finite_series(self, tree)
    if tree.function == 'det':
      return function_evaluation.evaluate_determinant(self, tree)
    if tree.function == 'ln' and len(tree.arguments) == 1 and _varies(tree):
      return self._logarithm(tree.arguments[0])
    arguments = [self.value(argument) for argument in tree.arguments]
    function = function_evaluation.FUNCTION_EVALUATORS.get(tree.function)
    if function is None:
      return map_over_points(
        lambda *values: self.opaque(tree.function, *values), *arguments
      )
    varies = any(type(argument) is list for argument in arguments)
    return map_over_points(
      lambda *values: self._apply(function, tree.function, varies, values),
      *arguments,
    )

  def _logarithm(self, tree: expression_tree.Scalar) -> Value:
    """The sum of exponent * log |base| over the factors: ln sqrt x is ln(x) / 2 everywhere."""
    logarithm = function_evaluation.FUNCTION_EVALUATORS['ln']
    return map_over_points(
      self.add,
      *(
        map_over_points(
          lambda v, e=exponent: self.multiply(
            e, self._apply(logarithm, 'ln', True, (v,))
          ),
          value,
        )
        for value, exponent in self._factors(tree, Fraction(1))
      ),
    )

  def _apply(
    self,
    function: Callable[..., Value],
    name: str,
    varies: bool,
    values: tuple[Value, ...],
  ) -> Value:
    """The function of numbers; opaque where it has no value or none within reach."""
    try:
      result = function(self, varies, *values)
    except (ZeroDivisionError, ValueError, TypeError, OverflowError):
      result = None
    return self.opaque(name, *values) if result is None else result


_EVALUATE: dict[type, Callable[[NumericEvaluator, Any], Value]] = {
  expression_tree.Number: lambda _, tree: tree.value,
  expression_tree.Symbol: NumericEvaluator._symbol,
  expression_tree.Constant: NumericEvaluator._constant,
  expression_tree.Sum: lambda self, tree: map_over_points(
    self.add, *map(self.value, tree.terms)
  ),
  expression_tree.Product: NumericEvaluator._monomial,
  expression_tree.Power: NumericEvaluator._power,
  expression_tree.Call: NumericEvaluator._call,
  expression_tree.Degrees: lambda self, tree: self.value(tree.value),
}


def _digits(value: Value) -> str:
  """A text that tells values apart, whatever the precision of the context."""
  if type(value) is Fraction:
    return f'{value.numerator:x}/{value.denominator:x}'
  return (
    f'{number_keys.round_mpf(value.real)}{number_keys.round_mpf(value.imag)}'
  )


def _bounded(value: Fraction) -> Fraction:
  if (
    value.numerator.bit_length() > MAX_BITS
    or value.denominator.bit_length() > MAX_BITS
  ):
    raise ValueTooLarge(f'a rational of more than {MAX_BITS} bits.')
  return value


def _varies(tree: expression_tree.Tree) -> bool:
  return isinstance(tree, expression_tree.Symbol) or any(
    map(_varies, expression_tree.children(tree))
  )


def _logarithm_of(
  tree: expression_tree.Scalar, base: expression_tree.Scalar
) -> expression_tree.Scalar | None:
  """u ** c for a tree c * log(u), to that base, with a number c."""
  if isinstance(tree, expression_tree.Call) and tree.function in ('ln', 'log'):
    inside, *to = tree.arguments
    return inside if (to or [_E]) == [base] else None
  if isinstance(tree, expression_tree.Product) and len(tree.factors) == 2:
    number, logarithm = tree.factors
    inside = _logarithm_of(logarithm, base)
    if isinstance(number, expression_tree.Number) and inside:
      return expression_tree.Power(inside, number)
  return None
