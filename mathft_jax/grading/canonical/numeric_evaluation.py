"""Numeric evaluation of scalar trees: exact rationals if possible, many digits if not.

  NumericEvaluator(context).evaluate(tree)

A tree with variables is a function and is evaluated at all sample points. Rules for roots:

- `x^{1/2}` is the principal root; an odd root of a negative number is the real root.
- In a product the exponents of equal bases are added, and even roots are taken of the product of
  their arguments. So `x / \\sqrt x`, `\\sqrt{1/n}` and `\\sqrt x \\sqrt y` have their usual values
  wherever all parts are real.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
import math

from mathft_jax.grading.canonical import function_evaluation, power_products
from mathft_jax.grading.canonical.mp_arithmetic import (
  MpArithmetic,
  ValueTooLarge,
  is_integer,
)
from mathft_jax.grading.canonical.power_products import Factor
from mathft_jax.grading.canonical.sample_points import (
  MpNumber,
  PointValue,
  Value,
  map_over_points,
  sample_values,
)
from mathft_jax.grading.expression_tree import (
  Call,
  Constant,
  Degrees,
  Matrix,
  Number,
  Power,
  Product,
  Sum,
  Symbol,
  Tree,
  children,
  integer,
)

MAX_STEPS = 20_000  # evaluated nodes of one answer
MAX_TERMS = 1000  # of a sum or product
_MAX_DETERMINANT_SIZE = 6  # rows
_E = Constant('e')
_ONE = Fraction(1)


class UndefinedValue(ArithmeticError):
  """The tree has no numeric value."""


class NumericEvaluator(MpArithmetic):
  """Evaluates trees in one mpmath context, at all sample points if they have variables."""

  def __init__(
    self, context: MpNumber, variables: Mapping[str, Value] | None = None
  ):
    """Creates an evaluator; `variables` overrides the sample values of variables."""
    super().__init__(context)
    self._variables = dict(variables or {})
    self._steps = 0
    # By id of the tree. The tree is stored too: an id is only unique as long as its object exists.
    self._values: dict[int, tuple[Tree, Value]] = {}
    self._variable_trees: dict[int, tuple[Tree, bool]] = {}

  def evaluate(self, tree: Tree) -> Value:
    """Returns the value of a scalar.

    Raises:
      UndefinedValue: the tree is no scalar.
      ValueTooLarge: a limit is exceeded.
    """
    cached = self._values.get(id(tree))
    if cached:
      return cached[1]
    value = self._evaluate_node(tree)
    self._values[id(tree)] = (tree, value)
    return value

  def _evaluate_node(self, tree: Tree) -> Value:
    self._steps += 1
    if self._steps > MAX_STEPS:
      raise ValueTooLarge(f'Evaluation takes more than {MAX_STEPS} steps.')
    match tree:
      case Number(value):
        return value
      case Symbol(name):
        if name not in self._variables:
          self._variables[name] = sample_values(name)
        return self._variables[name]
      case Constant(name):
        if name in self._variables:  # the index of a sum may be called i
          return self._variables[name]
        if name == 'i':
          return self.context.mpc(0, 1)
        return +getattr(self.context, name)
      case Sum(terms):
        return map_over_points(self.add, *map(self.evaluate, terms))
      case Product():
        return self._evaluate_monomial(tree)
      case Power():
        return self._evaluate_power(tree)
      case Call():
        return self._evaluate_call(tree)
      case Degrees(value):
        return self.evaluate(value)
    raise UndefinedValue(f'{type(tree).__name__} is not a scalar.')

  # Powers.

  def _evaluate_power(self, tree: Power) -> Value:
    exponent = self.evaluate(tree.exponent)
    if isinstance(exponent, Fraction):
      return self._evaluate_monomial(tree)
    base = tree.base
    argument = _logarithm_argument(tree.exponent, base)
    if argument:
      return self.evaluate(argument)
    if base == _E:
      return map_over_points(self.exponential, exponent)

    value = self.evaluate(base)
    if isinstance(base, Power) and isinstance(value, list):
      inner_exponent = self.evaluate(base.exponent)
      if isinstance(inner_exponent, Fraction):  # (x^2)^n = x^{2n}
        value = self.evaluate(base.base)
        exponent = map_over_points(self.multiply, exponent, inner_exponent)
    return map_over_points(self.power, value, exponent)

  def _has_variables(self, tree: Tree) -> bool:
    """Whether a symbol is in the tree. Each node is visited once, also in a deep tree."""
    cached = self._variable_trees.get(id(tree))
    if cached:
      return cached[1]
    found = isinstance(tree, Symbol)
    for child in children(tree):
      found = found or self._has_variables(child)
    self._variable_trees[id(tree)] = (tree, found)
    return found

  # Products of powers.

  def _evaluate_monomial(self, tree: Tree) -> Value:
    values = []
    powers = []
    roots = []
    for base, exponent in self._factors(tree, _ONE):
      if exponent.denominator > 1:
        roots.append((base, exponent))
      elif exponent == 1:
        values.append(base)
      else:
        powers.append((base, exponent))

    if roots:
      factors = [(value, _ONE) for value in values]
      factors += powers + roots
      return self._multiply_roots(power_products.merge_equal_bases(factors))
    for base, exponent in powers:
      values.append(self._integer_powers(base, exponent.numerator))
    return map_over_points(self.multiply, *values)

  def _integer_powers(self, base: Value, exponent: int) -> Value:
    return map_over_points(lambda b: self.integer_power(b, exponent), base)

  def _factors(self, tree: Tree, power: Fraction) -> Iterator[Factor]:
    """Yields bases and exponents of the factors of tree ** power."""
    is_distributive = power.denominator == 1 or self._has_variables(tree)
    if isinstance(tree, Product) and is_distributive:
      for factor in tree.factors:
        yield from self._factors(factor, power)
      return
    if isinstance(tree, Power):
      exponent = self.evaluate(tree.exponent)
      if isinstance(exponent, Fraction) and (
        power.denominator == 1
        or is_distributive
        and (exponent.numerator % 2 or power.denominator % 2)
      ):
        yield from self._factors(tree.base, power * exponent)
        return
    yield self.evaluate(tree), power

  def _multiply_roots(self, factors: list[Factor]) -> Value:
    """Returns the product of powers: integer powers, real odd roots and one even root."""
    values = []
    even_roots = []
    for base, exponent in factors:
      integer_part = math.floor(exponent)
      rest = exponent - integer_part
      if integer_part:
        values.append(self._integer_powers(base, integer_part))
      if rest.denominator % 2 == 0:
        even_roots.append((base, rest))
      elif rest:
        values.append(
          map_over_points(self.root, base, rest.denominator, rest.numerator)
        )

    if even_roots:
      degree = math.lcm(*(exponent.denominator for _, exponent in even_roots))
      powers = []
      for base, exponent in even_roots:
        powers.append(self._integer_powers(base, int(exponent * degree)))
      radicand = map_over_points(self.multiply, *powers)
      values.append(map_over_points(self.root, radicand, degree))
    return map_over_points(self.multiply, *values)

  # Functions.

  def _evaluate_call(self, tree: Call) -> Value:
    name, arguments = tree.function, tree.arguments
    if name in ('sum', 'product'):
      return self._evaluate_series(tree)
    if name == 'det' and len(arguments) == 1:
      expanded = _expand_determinant(arguments[0])
      if expanded:
        return self.evaluate(expanded)
    if name == 'ln' and len(arguments) == 1 and self._has_variables(tree):
      return self._evaluate_logarithm(arguments[0])
    return self._apply(name, *map(self.evaluate, arguments))

  def _evaluate_series(self, tree: Call) -> Value:
    """Returns the value of `sum` or `product` over integers; opaque if long or infinite."""
    name = tree.function
    body, index, *ends = tree.arguments
    low, high = map(self.evaluate, ends)
    if is_integer(low) and is_integer(high) and 0 <= high - low < MAX_TERMS:
      terms = []
      for number in range(low.numerator, high.numerator + 1):
        terms.append(self._evaluate_at(index, Fraction(number), body))
      combine = self.add if name == 'sum' else self.multiply
      return map_over_points(combine, *terms)
    return self._apply(name, self.evaluate(body), low, high)

  def _evaluate_at(self, variable: Tree, value: Fraction, tree: Tree) -> Value:
    if not isinstance(variable, (Symbol, Constant)):
      raise UndefinedValue(f'{type(variable).__name__} is not a variable.')
    variables = {**self._variables, variable.name: value}
    inner = NumericEvaluator(self.context, variables)
    inner._steps = self._steps
    result = inner.evaluate(tree)
    self._steps = inner._steps
    self.widest_bits = max(self.widest_bits, inner.widest_bits)
    self.removed_noise |= inner.removed_noise
    return result

  def _evaluate_logarithm(self, tree: Tree) -> Value:
    """Returns the sum of exponent * log |base| over the factors: ln sqrt x is ln(x) / 2."""
    terms = []
    for base, exponent in self._factors(tree, _ONE):
      logarithm = self._apply('ln', base, varies=True)
      terms.append(map_over_points(self.multiply, exponent, logarithm))
    return map_over_points(self.add, *terms)

  def _apply(self, name: str, *arguments: Value, varies: bool = False) -> Value:
    """Returns a function value; opaque if the function is unknown or has no value."""
    function = function_evaluation.FUNCTION_EVALUATORS.get(name)
    varies |= any(isinstance(argument, list) for argument in arguments)
    if varies and name in ('ln', 'log'):
      function = function_evaluation.logarithm_of_absolute

    def apply_at_point(*arguments: PointValue) -> PointValue:
      try:
        result = function(self, *arguments) if function else None
      except (ZeroDivisionError, ValueError, TypeError, OverflowError):
        result = None
      return self.opaque(name, *arguments) if result is None else result

    return map_over_points(apply_at_point, *arguments)


def _logarithm_argument(tree: Tree, base: Tree) -> Tree | None:
  """Returns base ** tree if tree is `c * log(u)` to that base with a number c: u ** c."""
  if isinstance(tree, Call) and tree.function in ('ln', 'log'):
    argument, *log_base = tree.arguments
    return argument if (log_base or [_E]) == [base] else None
  if isinstance(tree, Product) and len(tree.factors) == 2:
    number, logarithm = tree.factors
    argument = _logarithm_argument(logarithm, base)
    if isinstance(number, Number) and argument:
      return Power(argument, number)
  return None


def _expand_determinant(tree: Tree) -> Tree | None:
  """Returns the determinant of a matrix; None if it has more than 6 rows or is not square."""
  if not isinstance(tree, Matrix):
    return None
  rows = tree.rows
  if not len(rows) == len(rows[0]) <= _MAX_DETERMINANT_SIZE:
    return None
  return _expand_first_row(rows)


def _expand_first_row(rows: tuple[tuple[Tree, ...], ...]) -> Tree:
  if len(rows) == 1:
    return rows[0][0]
  terms = []
  for column, entry in enumerate(rows[0]):
    minor = tuple(row[:column] + row[column + 1 :] for row in rows[1:])
    sign = integer(-1 if column % 2 else 1)
    terms.append(Product((sign, entry, _expand_first_row(minor))))
  return Sum(tuple(terms))
