"""The lower half of the grammar: sums, products, powers and primaries (the rules are in grammar.py)."""

from mathft_jax.grading import expression_tree
from mathft_jax.grading.parsing import (
  english_words,
  function_calls,
  identifiers,
  latex_structures,
  number_literals,
)
from mathft_jax.grading.parsing.token_cursor import (
  TokenCursor,
  AnswerSyntaxError,
)

SIGNS = ('+', '-', '±', '∓')
_OPENING = ('(', '[', '{', '⟨', '⌊', '⌈')
_SETS = (
  expression_tree.Interval,
  expression_tree.Collection,
  expression_tree.SetOperation,
)
_NOT_SCALAR = (
  expression_tree.Interval,
  expression_tree.SetOperation,
  expression_tree.Relation,
  expression_tree.TaggedValue,
)
_UPRIGHT_CONSTANTS = frozenset('ie')


def parse_sum(cursor: TokenCursor) -> expression_tree.Tree:
  """sum := signs product (('+' | '-' | '±' | '∓') product)*"""
  terms = [_term(cursor)]
  while cursor.kind == 'operator' and cursor.text in SIGNS:
    if isinstance(terms[-1], _SETS) and cursor.text == '-':
      cursor.take()
      terms[-1] = expression_tree.SetOperation(
        '∖', terms[-1], expression_tree.as_set(_product(cursor))
      )
    else:
      terms.append(_term(cursor))
  return (
    terms[0]
    if len(terms) == 1
    else expression_tree.Sum(tuple(map(require_scalar, terms)))
  )


def _term(cursor: TokenCursor) -> expression_tree.Tree:
  sign = cursor.accept(*SIGNS)
  if not sign:
    return _product(cursor)
  if sign == '±' or not cursor.signs:
    cursor.signs += sign in '±∓'
  occurrence = cursor.signs
  cursor.deeper()
  operand = require_scalar(_term(cursor))
  cursor.shallower()
  if sign in '±∓':
    return expression_tree.Product(
      (expression_tree.PlusMinus(occurrence, sign == '∓'), operand)
    )
  return expression_tree.negate(operand) if sign == '-' else operand


def _product(cursor: TokenCursor) -> expression_tree.Tree:
  """product := power (['*' | '/' | 'mod'] power)* [unit]"""
  factors = [_power(cursor)]
  while True:
    if cursor.accept('*') or _is_times_letter(cursor):
      factors.append(_operand(cursor))
    elif cursor.accept('/'):
      factors.append(expression_tree.reciprocal(_operand(cursor)))
    elif cursor.accept('mod'):
      factors = [
        expression_tree.Call('mod', (_product_of(factors), _operand(cursor)))
      ]
    elif _starts_factor(cursor, factors[-1]):
      factors.append(_power(cursor))
    else:
      break
  if not isinstance(factors[-1], expression_tree.TaggedValue):
    skip_unit(cursor)
  return _product_of(factors)


def _product_of(factors: list[expression_tree.Tree]) -> expression_tree.Tree:
  return (
    factors[0]
    if len(factors) == 1
    else expression_tree.Product(tuple(map(require_scalar, factors)))
  )


def _operand(cursor: TokenCursor) -> expression_tree.Scalar:
  """A power with a sign of its own, as in `2 * -3`."""
  sign = cursor.accept('+', '-')
  operand = require_scalar(_power(cursor))
  return expression_tree.negate(operand) if sign == '-' else operand


def _is_times_letter(cursor: TokenCursor) -> bool:
  """Takes the x of `3 x 10`, between two numbers."""
  is_times = (
    cursor.text == 'x'
    and cursor.kind == 'name'
    and cursor.position > 0
    and cursor.peek(-1).kind == cursor.peek(1).kind == 'number'
  )
  cursor.position += is_times
  return is_times


def _starts_factor(cursor: TokenCursor, left: expression_tree.Tree) -> bool:
  """True where the next token multiplies `left` without a sign."""
  token = cursor.peek()
  if isinstance(
    left,
    (
      expression_tree.Interval,
      expression_tree.SetOperation,
      expression_tree.TaggedValue,
      expression_tree.Collection,
    ),
  ):
    return False
  if token.kind == 'number':
    return cursor.peek(-1).kind != 'number'
  if token.kind == 'word':
    return token.text in _UPRIGHT_CONSTANTS
  if token.kind == 'structure':
    return not token.text.startswith('end:')
  if token.text in ('|', '‖'):
    return not cursor.bars and cursor.ratios
  if token.text == '(' and (
    cursor.peek(1).text == 'mod' or cursor.peek(1).kind == 'word'
  ):
    return False  # (mod 3), (square units)
  return token.kind in ('name', 'function') or token.text in _OPENING


def skip_unit(cursor: TokenCursor) -> None:
  """Passes over words behind a number, with their exponents: `cm^2`, `miles per hour`, `km/h`."""
  if (
    cursor.text == '-'
    and cursor.peek(1).text.lower() in english_words.UNIT_WORDS
  ):  # 12-inch
    cursor.take()
  while cursor.kind == 'word' and cursor.text not in english_words.HALF_DAYS:
    cursor.take()
    if cursor.text == '^' and cursor.kind == 'operator':
      cursor.take()
      _exponent(cursor)
    if cursor.text in ('/', '*', '-') and cursor.peek(1).kind == 'word':
      cursor.take()
    elif cursor.text == '/' and cursor.peek(1).kind == 'name':
      cursor.position += 2
  if cursor.text == '(' and cursor.peek(1).kind == 'word':
    cursor.take()
    skip_unit(cursor)
    cursor.expect(')')


def _power(cursor: TokenCursor) -> expression_tree.Tree:
  """power := suffixed ['^' exponent]"""
  base = _suffixed(cursor)
  while cursor.accept('^'):
    if _is_degree_sign(cursor, base):
      cursor.position += 3 if cursor.text == '{' else 1
      base = _degrees(cursor, base)
    elif cursor.accept("'") and isinstance(base, expression_tree.Symbol):
      base = expression_tree.Symbol(base.name + "'")
    else:
      base = expression_tree.Power(require_scalar(base), _exponent(cursor))
    base = _with_suffixes(cursor, base)
  return base


def _is_degree_sign(cursor: TokenCursor, base: expression_tree.Tree) -> bool:
  """True before the raised circle of degrees, for which some write the letter o behind a number."""
  texts = [cursor.peek(ahead).text for ahead in range(3)]
  raised = texts[1] if texts[0] == '{' and texts[2] == '}' else texts[0]
  return (
    raised == '°' or raised == 'o' and isinstance(base, expression_tree.Number)
  )


def _exponent(cursor: TokenCursor) -> expression_tree.Scalar:
  """A group, or one signed operand, whose own exponent binds first: 2^3^2 = 2^9."""
  sign = cursor.accept('+', '-')
  cursor.deeper()
  if cursor.kind == 'number':
    exponent = number_literals.literal_value(cursor.take().text)
  elif cursor.accept('{'):
    exponent = cursor.enclosed(cursor, '{')
  else:
    exponent = _primary(cursor)
  if cursor.accept('^'):
    exponent = expression_tree.Power(
      require_scalar(exponent), _exponent(cursor)
    )
  cursor.shallower()
  return (
    expression_tree.negate(require_scalar(exponent))
    if sign == '-'
    else require_scalar(exponent)
  )


def _suffixed(cursor: TokenCursor) -> expression_tree.Tree:
  return _with_suffixes(cursor, _primary(cursor))


def _with_suffixes(
  cursor: TokenCursor, tree: expression_tree.Tree
) -> expression_tree.Tree:
  """suffixed := primary ('!' | '°' | "'" | '_' index)*"""
  while True:
    if cursor.accept('!'):
      cursor.deeper()  # not undone: a row of factorials is a nested tree
      double = not cursor.peek().gap and cursor.accept('!')
      tree = expression_tree.Call(
        'factorial2' if double else 'factorial', (require_scalar(tree),)
      )
    elif cursor.accept('°'):
      tree = _degrees(cursor, tree)
    elif cursor.text == '_' and isinstance(
      tree, (expression_tree.Symbol, expression_tree.Number)
    ):
      cursor.take()
      tree = expression_tree.Symbol(f'{_numeral(tree)}_{_index(cursor)}')
    elif cursor.text == "'" and isinstance(tree, expression_tree.Symbol):
      cursor.take()
      tree = expression_tree.Symbol(tree.name + "'")
      tree = identifiers.parse_call_of_symbol(cursor, tree) or tree
    else:
      return tree


def _degrees(
  cursor: TokenCursor, tree: expression_tree.Tree
) -> expression_tree.Degrees:
  """Degrees, of an angle or of a temperature: the C or F behind the sign is a unit."""
  if cursor.kind == 'name' and cursor.text in ('C', 'F'):
    cursor.take()
  return expression_tree.Degrees(require_scalar(tree))


def _numeral(tree: expression_tree.Symbol | expression_tree.Number) -> str:
  return (
    tree.name if isinstance(tree, expression_tree.Symbol) else str(tree.value)
  )


def _index(cursor: TokenCursor) -> str:
  """The text of a subscript, braces dropped."""
  if not cursor.accept('{'):
    return cursor.take().text
  parts, depth = [], 1
  while depth:
    token = cursor.take()
    depth += (token.text == '{') - (token.text == '}')
    parts.append(token.text)
  return ''.join(
    parts[1:-2] if parts[0] == '(' and parts[-2] == ')' else parts[:-1]
  )


def _primary(cursor: TokenCursor) -> expression_tree.Tree:
  """primary := number | name | function argument | enclosed | structure | word"""
  token = cursor.take()
  if token.kind == 'number':
    return function_calls.parse_infix_binomial(
      cursor, token.text
    ) or number_literals.parse_number(cursor, token.text)
  if token.kind == 'name':
    return identifiers.parse_name(cursor, token.text)
  if token.kind == 'function':
    return function_calls.parse_function_call(
      cursor, token.text, _primary_power
    )
  if token.kind == 'word':
    return identifiers.parse_words(cursor, token.text)
  if token.kind == 'structure':
    read = latex_structures.STRUCTURE_PARSERS.get(token.text)
    return (
      read(cursor, parse_command_argument, _primary_power)
      if read
      else cursor.enclosed(cursor, token.text)
    )
  if (
    token.text == '{'
    and cursor.text == '}'
    and cursor.peek(1).text in ('_', '^')
  ):
    cursor.position += 1
    return _primary(cursor)
  if token.text in ('_', '^') and (
    choice := function_calls.parse_infix_binomial(cursor, _index(cursor))
  ):
    return choice
  if token.text in (*_OPENING, '\\{', '|', '‖'):
    return cursor.enclosed(cursor, token.text)
  if token.text == '.' and cursor.text in ('overline', 'bar', 'dot'):
    return number_literals.parse_repeating_decimal(cursor, '0.')
  if token.text == '…':
    return expression_tree.ELLIPSIS
  raise AnswerSyntaxError(f'{token.text!r} is no operand.')


def _primary_power(cursor: TokenCursor) -> expression_tree.Scalar:
  return require_scalar(_power(cursor))


def parse_command_argument(cursor: TokenCursor) -> expression_tree.Scalar:
  """One argument of a LaTeX command: a group, brackets, one digit, or one operand."""
  if cursor.kind == 'number':
    return number_literals.parse_first_digit(cursor)
  return require_scalar(_primary(cursor))


def require_scalar(tree: expression_tree.Tree) -> expression_tree.Scalar:
  """The tree, if arithmetic can be done with it; vectors and matrices can be added and multiplied."""
  if (
    isinstance(tree, _NOT_SCALAR)
    or isinstance(tree, expression_tree.Collection)
    and tree.kind != 'tuple'
  ):
    raise AnswerSyntaxError(f'arithmetic with a {type(tree).__name__}.')
  return tree
