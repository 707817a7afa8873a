"""Closed forms of integrals, limits, sums and products, computed by sympy in a worker process.

Sympy gets small trees, never text. The worker is killed after DEADLINE_S. An operator without a
closed form stays opaque: it equals only itself.
"""

from collections.abc import Iterator
import fractions
import functools
from typing import Any

from mathft_jax.grading import expression_tree as trees
from mathft_jax.grading import worker_pool

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

SympyModule = Any
SympyExpression = Any


def find_closed_form(tree: trees.Tree) -> trees.Tree | None:
  """Returns the tree with its operators replaced by closed forms, computed in a worker.

  None if it has no operators, is too large, or no closed form is found within the deadline.
  """
  if not any(map(_is_symbolic_operator, _nodes(tree))) or not _is_small(tree):
    return None
  return _closed_form_from_worker(tree)


@functools.lru_cache(maxsize=4096)
def _closed_form_from_worker(tree: trees.Tree) -> trees.Tree | None:
  pool = worker_pool.shared_pool()
  return pool.run(compute_closed_form, tree, DEADLINE_S).value


def compute_closed_form(tree: trees.Tree) -> trees.Tree | None:
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
  x, zero, one = trees.Symbol('x'), trees.integer(0), trees.integer(1)
  power = trees.Power(trees.integer(2), trees.negate(x))
  sinc = trees.quotient(trees.Call('sin', (x,)), x)
  compute_closed_form(trees.Call('sum', (power, x, one, trees.INFINITY)))
  compute_closed_form(trees.Call('integral', (power, x, zero, one)))
  compute_closed_form(trees.Call('limit', (sinc, x, zero)))


def _nodes(tree: trees.Tree) -> Iterator[trees.Tree]:
  yield tree
  for child in trees.children(tree):
    yield from _nodes(child)


def _is_symbolic_operator(node: trees.Tree) -> bool:
  """Returns True for an operator that needs sympy; finite sums are evaluated numerically."""
  if not isinstance(node, trees.Call):
    return False
  if node.function in ('integral', 'limit'):
    return True
  if node.function not in SYMBOLIC_OPERATORS:
    return False
  ends = node.arguments[2:]
  return any(trees.contains_type(end, (trees.Symbol,)) for end in ends)


def _is_small(tree: trees.Tree) -> bool:
  num_nodes = 0
  for node in _nodes(tree):
    num_nodes += 1
    if isinstance(node, trees.Number):
      number = node.value
      if max(abs(number.numerator), number.denominator) > _MAX_NUMBER:
        return False
  return num_nodes <= _MAX_NODES


def _to_sympy(sympy: SympyModule, tree: trees.Tree) -> SympyExpression:
  """Returns the sympy expression of a tree."""
  convert = functools.partial(_to_sympy, sympy)
  match tree:
    case trees.Number(value):
      return sympy.Rational(value.numerator, value.denominator)
    case trees.Symbol(name):
      return sympy.oo if name == '∞' else sympy.Symbol(name, real=True)
    case trees.Constant(name):
      return {'pi': sympy.pi, 'e': sympy.E, 'i': sympy.I}[name]
    case trees.Sum(terms):
      return sympy.Add(*map(convert, terms))
    case trees.Product(factors):
      return sympy.Mul(*map(convert, factors))
    case trees.Power(base, exponent):
      return sympy.Pow(convert(base), convert(exponent))
    case trees.Degrees(value):
      return convert(value)
    case trees.Call(function, arguments):
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


def _from_sympy(
  sympy: SympyModule, expression: SympyExpression
) -> trees.Tree | None:
  """Returns the tree of a sympy expression; None if trees have no equivalent."""
  if expression.is_Rational:
    value = fractions.Fraction(int(expression.p), int(expression.q))
    return trees.Number(value)
  constants = {
    sympy.pi: trees.Constant('pi'),
    sympy.E: trees.Constant('e'),
    sympy.I: trees.Constant('i'),
    sympy.oo: trees.INFINITY,
    -sympy.oo: trees.MINUS_INFINITY,
  }
  if expression in constants:
    return constants[expression]
  if expression.is_Symbol:
    return trees.Symbol(expression.name)

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
    return trees.Sum(operands)
  if expression.is_Mul:
    return trees.Product(operands)
  if expression.is_Pow:
    return trees.Power(*operands)
  name = expression.func.__name__
  if name == 'exp':
    return trees.Power(trees.Constant('e'), *operands)
  name = {'log': 'ln', 'Abs': 'abs'}.get(name, name)
  if name in ('ln', 'abs', *_FUNCTIONS):
    return trees.Call(name, operands)
  return None
