"""Closed forms of integrals, limits, sums and products, computed by sympy in a worker process.

Sympy gets small trees, never text. The worker is killed after DEADLINE_S of processor time, so the
result does not depend on the load of the machine. An operator without a closed form stays opaque:
it equals only itself.
"""

from collections.abc import Iterator
import fractions
import functools
from typing import Any

from mathft_jax.grading import worker_pool
from mathft_jax.grading.expression_tree import (
  INFINITY,
  MINUS_INFINITY,
  Call,
  Constant,
  Degrees,
  Number,
  Power,
  Product,
  Sum,
  Symbol,
  Tree,
  children,
  contains_type,
  integer,
  negate,
  quotient,
)

SYMBOLIC_OPERATORS = frozenset({'integral', 'limit', 'sum', 'product'})
DEADLINE_S = 0.8
_MAX_NODES = 40
_MAX_NUMBER = 10**6  # numerators and denominators
# Functions with the same name in sympy.
_FUNCTIONS = (
  'sin cos tan cot sec csc asin acos atan sinh cosh tanh factorial binomial'
).split()
_OTHER_FUNCTIONS = {'ln': 'log', 'log': 'log', 'abs': 'Abs'}
_OPERATOR_CLASSES = {'sum': 'Sum', 'product': 'Product', 'integral': 'Integral'}


class UncertainError(RuntimeError):
  """The worker was killed or got no processor time: another attempt may find a closed form."""


SympyModule = Any
SympyExpression = Any


def find_closed_form(tree: Tree) -> Tree | None:
  """Returns the tree with its operators replaced by closed forms, computed in a worker.

  None if it has no operators, is too large, or no closed form is found within the deadline.

  Raises:
    UncertainError: the worker did not have a chance to find one.
  """
  if not any(map(_is_symbolic_operator, _nodes(tree))) or not _is_small(tree):
    return None
  return _closed_form_from_worker(tree)


@functools.lru_cache(maxsize=4096)
def _closed_form_from_worker(tree: Tree) -> Tree | None:
  pool = worker_pool.shared_pool()
  result = pool.run(compute_closed_form, tree, DEADLINE_S, processor_time=True)
  if result.limit in worker_pool.UNCERTAIN_LIMITS:
    # An exception is not cached.
    raise UncertainError(f'The worker of sympy {result.limit}.')
  return result.value


def compute_closed_form(tree: Tree) -> Tree | None:
  """Returns the closed form of a tree, computed in this process without a deadline.

  Raises:
    ValueError: sympy has no equivalent of a node.
  """
  import sympy  # pylint: disable=import-outside-toplevel (slow, and rarely needed)

  expression = _to_sympy(sympy, tree).doit()
  if expression.has(
    sympy.Integral, sympy.Limit, sympy.Sum, sympy.Product, sympy.nan, sympy.zoo
  ):
    return None
  return _from_sympy(sympy, sympy.simplify(expression))


def warm_up() -> None:
  """Computes one sum, integral and limit, so that sympy loads its modules before any deadline."""
  x, zero, one = Symbol('x'), integer(0), integer(1)
  power = Power(integer(2), negate(x))
  sinc = quotient(Call('sin', (x,)), x)
  compute_closed_form(Call('sum', (power, x, one, INFINITY)))
  compute_closed_form(Call('integral', (power, x, zero, one)))
  compute_closed_form(Call('limit', (sinc, x, zero)))


def _nodes(tree: Tree) -> Iterator[Tree]:
  yield tree
  for child in children(tree):
    yield from _nodes(child)


def _is_symbolic_operator(node: Tree) -> bool:
  """Returns True for an operator that needs sympy; finite sums are evaluated numerically."""
  if not isinstance(node, Call):
    return False
  if node.function in ('integral', 'limit'):
    return True
  if node.function not in SYMBOLIC_OPERATORS:
    return False
  ends = node.arguments[2:]
  return any(contains_type(end, (Symbol,)) for end in ends)


def _is_small(tree: Tree) -> bool:
  num_nodes = 0
  for node in _nodes(tree):
    num_nodes += 1
    if isinstance(node, Number):
      number = node.value
      if max(abs(number.numerator), number.denominator) > _MAX_NUMBER:
        return False
  return num_nodes <= _MAX_NODES


def _to_sympy(sympy: SympyModule, tree: Tree) -> SympyExpression:
  """Returns the sympy expression of a tree."""
  convert = functools.partial(_to_sympy, sympy)
  match tree:
    case Number(value):
      return sympy.Rational(value.numerator, value.denominator)
    case Symbol(name):
      return sympy.oo if name == '∞' else sympy.Symbol(name, real=True)
    case Constant(name):
      return {'pi': sympy.pi, 'e': sympy.E, 'i': sympy.I}[name]
    case Sum(terms):
      return sympy.Add(*map(convert, terms))
    case Product(factors):
      return sympy.Mul(*map(convert, factors))
    case Power(base, exponent):
      return sympy.Pow(convert(base), convert(exponent))
    case Degrees(value):
      return convert(value)
    case Call(function, arguments):
      return _call_to_sympy(sympy, function, list(map(convert, arguments)))
  raise ValueError(f'sympy has no equivalent of {type(tree).__name__}.')


def _call_to_sympy(
  sympy: SympyModule, function: str, operands: list[SympyExpression]
) -> SympyExpression:
  if function in SYMBOLIC_OPERATORS:
    if not isinstance(operands[1], sympy.Symbol):
      raise ValueError(f'The index {operands[1]} is not a symbol.')
    if function == 'limit':
      return sympy.Limit(*operands)
    operator = getattr(sympy, _OPERATOR_CLASSES[function])
    return operator(operands[0], tuple(operands[1:]))
  if function in _FUNCTIONS:
    return getattr(sympy, function)(*operands)
  if function in _OTHER_FUNCTIONS:
    return getattr(sympy, _OTHER_FUNCTIONS[function])(*operands)
  raise ValueError(f'sympy has no equivalent of {function}.')


def _from_sympy(sympy: SympyModule, expression: SympyExpression) -> Tree | None:
  """Returns the tree of a sympy expression; None if trees have no equivalent."""
  if expression.is_Rational:
    value = fractions.Fraction(int(expression.p), int(expression.q))
    return Number(value)
  constants = {
    sympy.pi: Constant('pi'),
    sympy.E: Constant('e'),
    sympy.I: Constant('i'),
    sympy.oo: INFINITY,
    -sympy.oo: MINUS_INFINITY,
  }
  if expression in constants:
    return constants[expression]
  if expression.is_Symbol:
    return Symbol(expression.name)

  converted = []
  for argument in expression.args:
    operand = _from_sympy(sympy, argument)
    if operand is None:
      return None
    converted.append(operand)
  if not converted:
    return None
  operands = tuple(converted)

  if expression.is_Add:
    return Sum(operands)
  if expression.is_Mul:
    return Product(operands)
  if expression.is_Pow:
    return Power(*operands)
  name = expression.func.__name__
  if name == 'exp':
    return Power(Constant('e'), *operands)
  name = {'log': 'ln', 'Abs': 'abs'}.get(name, name)
  if name in ('ln', 'abs', *_FUNCTIONS):
    return Call(name, operands)
  return None
