"""The last resort: closed forms of integrals, limits and sums, by sympy, in a worker process.

Sympy gets trees, never text, and only small ones; the worker is killed when it takes longer than
DEADLINE_S. What it does not find stays opaque: equal to itself and nothing else.
"""

import fractions
import functools
from typing import Any

from mathft_jax.grading import expression_tree, worker_pool

SYMBOLIC_OPERATORS = frozenset({'integral', 'limit', 'sum', 'product'})
DEADLINE_S = 0.8
_MAX_NODES = 40
_MAX_NUMBER = 10**6  # of numerators and denominators
_FUNCTIONS = (
  'sin',
  'cos',
  'tan',
  'cot',
  'sec',
  'csc',
  'asin',
  'acos',
  'atan',
  'sinh',
  'cosh',
  'tanh',
  'factorial',
  'binomial',
)


def find_closed_form(
  tree: expression_tree.Scalar,
) -> expression_tree.Scalar | None:
  """The tree with its operators worked out; None when there is none, or no closed form in reach."""
  if not any(_is_operator(node) for node in _nodes(tree)) or not _is_small(
    tree
  ):
    return None
  return _closed_by_worker(tree)


@functools.lru_cache(maxsize=4096)
def _closed_by_worker(
  tree: expression_tree.Scalar,
) -> expression_tree.Scalar | None:
  result = worker_pool.shared_pool().run(compute_closed_form, tree, DEADLINE_S)
  return result.value


def compute_closed_form(
  tree: expression_tree.Scalar,
) -> expression_tree.Scalar | None:
  """The same, in this process, without a deadline: what a worker runs."""
  import sympy  # pylint: disable=import-outside-toplevel (slow, and most answers do without)

  expression = _Writer(sympy).write(tree).doit()
  if expression.has(
    sympy.Integral, sympy.Limit, sympy.Sum, sympy.Product, sympy.nan, sympy.zoo
  ):
    return None
  return _read(sympy, sympy.simplify(expression))


def warm_up() -> None:
  """Makes sympy load what it loads at its first integral, sum and limit, before any deadline."""
  x, one, zero = (
    expression_tree.Symbol('x'),
    expression_tree.integer(1),
    expression_tree.integer(0),
  )
  body = expression_tree.Power(
    expression_tree.integer(2), expression_tree.negate(x)
  )
  for call in (
    expression_tree.Call('sum', (body, x, one, expression_tree.INFINITY)),
    expression_tree.Call('integral', (body, x, zero, one)),
    expression_tree.Call(
      'limit',
      (expression_tree.quotient(expression_tree.Call('sin', (x,)), x), x, zero),
    ),
  ):
    compute_closed_form(call)


def _nodes(tree: expression_tree.Tree) -> list[expression_tree.Tree]:
  return [
    tree,
    *(
      node for child in expression_tree.children(tree) for node in _nodes(child)
    ),
  ]


def _is_operator(node: expression_tree.Tree) -> bool:
  """True for what sympy may work out; sums between two numbers are added up elsewhere."""
  if (
    not isinstance(node, expression_tree.Call)
    or node.function not in SYMBOLIC_OPERATORS
  ):
    return False
  ends = node.arguments[2:]
  return node.function in ('integral', 'limit') or any(
    expression_tree.contains_type(end, (expression_tree.Symbol,))
    for end in ends
  )


def _is_small(tree: expression_tree.Tree) -> bool:
  nodes = _nodes(tree)
  numbers = [
    node.value for node in nodes if isinstance(node, expression_tree.Number)
  ]
  return len(nodes) <= _MAX_NODES and all(
    abs(value.numerator) <= _MAX_NUMBER and value.denominator <= _MAX_NUMBER
    for value in numbers
  )


class _Writer:
  """Trees as sympy's expressions."""

  def __init__(self, sympy: Any):
    self.sympy = sympy

  def write(self, tree: expression_tree.Scalar) -> Any:
    sympy = self.sympy
    match tree:
      case expression_tree.Number(value):
        return sympy.Rational(value.numerator, value.denominator)
      case expression_tree.Symbol(name):
        return sympy.oo if name == '∞' else sympy.Symbol(name, real=True)
      case expression_tree.Constant(name):
        return {'pi': sympy.pi, 'e': sympy.E, 'i': sympy.I}[name]
      case expression_tree.Sum(terms):
        return sympy.Add(*map(self.write, terms))
      case expression_tree.Product(factors):
        return sympy.Mul(*map(self.write, factors))
      case expression_tree.Power(base, exponent):
        return sympy.Pow(self.write(base), self.write(exponent))
      case expression_tree.Degrees(value):
        return self.write(value)
      case expression_tree.Call(function, arguments):
        return self._call(function, arguments)
    raise ValueError(f'{type(tree).__name__} is nothing for sympy.')

  def _call(
    self, function: str, arguments: tuple[expression_tree.Scalar, ...]
  ) -> Any:
    sympy = self.sympy
    operands = [self.write(argument) for argument in arguments]
    if function in SYMBOLIC_OPERATORS and not isinstance(
      operands[1], sympy.Symbol
    ):
      raise ValueError('an index that is no symbol.')
    if function in ('sum', 'product'):
      return (sympy.Sum if function == 'sum' else sympy.Product)(
        operands[0], tuple(operands[1:])
      )
    if function == 'integral':
      return sympy.Integral(operands[0], tuple(operands[1:]))
    if function == 'limit':
      return sympy.Limit(*operands)
    if function in ('ln', 'log'):
      return sympy.log(*operands)
    if function == 'abs':
      return sympy.Abs(*operands)
    if function in _FUNCTIONS:
      return getattr(sympy, function)(*operands)
    raise ValueError(f'{function} is nothing for sympy.')


def _read(sympy: Any, expression: Any) -> expression_tree.Scalar | None:
  """The tree of a sympy expression; None when it holds what trees have no name for."""
  if expression.is_Rational:
    return expression_tree.Number(
      fractions.Fraction(int(expression.p), int(expression.q))
    )
  constants = {sympy.pi: 'pi', sympy.E: 'e', sympy.I: 'i'}
  if expression in constants:
    return expression_tree.Constant(constants[expression])
  if expression in (sympy.oo, -sympy.oo):
    return (
      expression_tree.INFINITY
      if expression == sympy.oo
      else expression_tree.negate(expression_tree.INFINITY)
    )
  if expression.is_Symbol:
    return expression_tree.Symbol(expression.name)
  arguments = tuple(_read(sympy, argument) for argument in expression.args)
  if None in arguments or not arguments:
    return None
  if expression.is_Add:
    return expression_tree.Sum(arguments)
  if expression.is_Mul:
    return expression_tree.Product(arguments)
  if expression.is_Pow:
    return expression_tree.Power(*arguments)
  name = {'log': 'ln', 'Abs': 'abs', 'exp': 'exp'}.get(
    expression.func.__name__, expression.func.__name__
  )
  if name == 'exp':
    return expression_tree.Power(expression_tree.Constant('e'), *arguments)
  return (
    expression_tree.Call(name, arguments)
    if name in (*_FUNCTIONS, 'ln', 'abs')
    else None
  )
