"""Parser of expressions: sums, products, powers and their operands.

It is the lower half of the grammar in `answer_parser.py`; `parse_sum` is its entry point.
"""

from fractions import Fraction

from mathft_jax.grading.expression_tree import (
  ELLIPSIS,
  Call,
  Collection,
  Degrees,
  Interval,
  Number,
  PlusMinus,
  Power,
  Product,
  Relation,
  SetOperation,
  Sum,
  Symbol,
  TaggedValue,
  Tree,
  as_set,
  negate,
  reciprocal,
)
from mathft_jax.grading.parsing import (
  function_calls,
  identifiers,
  latex_structures,
  notation,
  number_parser,
  units,
)
from mathft_jax.grading.parsing.token_cursor import (
  Cursor,
  ParseError,
)

_SIGNS = ('+', '-', '±', '∓')
_OPENING = ('(', '[', '{', '⟨', '⌊', '⌈')
_SET_TYPES = (Interval, Collection, SetOperation)
_NON_OPERAND_TYPES = (Interval, SetOperation, Relation, TaggedValue)
_UPRIGHT_CONSTANTS = frozenset('ie')


def parse_sum(cursor: Cursor) -> Tree:
  """sum := signs product (('+' | '-' | '±' | '∓') product)*"""
  terms = [_parse_term(cursor)]
  while cursor.kind == 'operator' and cursor.text in _SIGNS:
    last = terms[-1]
    if cursor.text == '-' and isinstance(last, _SET_TYPES):
      cursor.take()
      right = as_set(_parse_product(cursor))
      terms[-1] = SetOperation('∖', last, right)
    else:
      terms.append(_parse_term(cursor))
  if len(terms) == 1:
    return terms[0]
  return Sum(tuple(map(require_operand, terms)))


def _parse_term(cursor: Cursor) -> Tree:
  sign = cursor.accept(*_SIGNS)
  if not sign:
    return _parse_product(cursor)
  is_choice = sign in '±∓'
  if is_choice and (sign == '±' or not cursor.num_plus_minus):
    cursor.num_plus_minus += 1
  occurrence = cursor.num_plus_minus
  cursor.enter()
  operand = require_operand(_parse_term(cursor))
  cursor.leave()
  if is_choice:
    return Product((PlusMinus(occurrence, sign == '∓'), operand))
  return negate(operand) if sign == '-' else operand


def _parse_product(cursor: Cursor) -> Tree:
  """product := power (['*' | '/' | 'mod'] power)* [unit]"""
  factors: list[Tree] = [_parse_power(cursor)]
  while True:
    if cursor.accept('*') or _accept_times_letter(cursor):
      factors.append(_parse_signed_power(cursor))
    elif cursor.accept('/'):
      factors.append(reciprocal(_parse_signed_power(cursor)))
    elif operator := _accept_ordered_operator(cursor):
      operands = (_product_of(factors), _parse_signed_power(cursor))
      if operator in notation.COMMUTING_OPERATORS:
        operands = tuple(sorted(operands, key=repr))
      factors = [Call(operator, operands)]
    elif cursor.accept('mod'):
      dividend = _product_of(factors)
      factors = [Call('mod', (dividend, _parse_signed_power(cursor)))]
    elif _at_factor(cursor, factors[-1]):
      factors.append(_parse_power(cursor))
    else:
      break
  if not isinstance(factors[-1], TaggedValue):
    units.skip_unit(cursor)
  return _product_of(factors)


def _accept_ordered_operator(cursor: Cursor) -> str:
  """Takes an operator between operands that has no value, such as `∘` or `⊗`."""
  if cursor.text not in notation.ORDERED_OPERATORS:
    return ''
  following = cursor.peek(1)
  starts_operand = (
    following.kind in ('name', 'function', 'number', 'structure')
    or following.text in _OPENING
  )
  return cursor.take().text if starts_operand else ''


def _product_of(factors: list[Tree]) -> Tree:
  if len(factors) == 1:
    return factors[0]
  return Product(tuple(map(require_operand, factors)))


def _parse_signed_power(cursor: Cursor) -> Tree:
  """Parses an operand with a sign, as in `2 * -3`."""
  sign = cursor.accept('+', '-')
  operand = parse_operand(cursor)
  return negate(operand) if sign == '-' else operand


def _accept_times_letter(cursor: Cursor) -> bool:
  """Takes the x of `3 x 10`, a sign of multiplication between two numbers."""
  is_times = (
    cursor.text == 'x'
    and cursor.kind == 'name'
    and cursor.position > 0
    and cursor.peek(-1).kind == 'number'
    and cursor.peek(1).kind == 'number'
  )
  cursor.position += is_times
  return is_times


def _at_factor(cursor: Cursor, left: Tree) -> bool:
  """Returns True if the next token multiplies `left` without a sign."""
  if isinstance(left, (*_SET_TYPES, TaggedValue)):
    return False
  token, following = cursor.peek(), cursor.peek(1)
  if token.kind == 'number':
    return cursor.peek(-1).kind != 'number'
  if token.kind == 'word':
    return token.text in _UPRIGHT_CONSTANTS
  if token.kind == 'structure':
    return not token.text.startswith('end:')
  if token.text in ('|', '‖'):
    return not cursor.open_bars and cursor.allows_ratios
  if token.text == '(' and (
    following.text in ('mod', '≈') or following.kind == 'word'
  ):
    return False  # (mod 3), (square units), (≈ 3.16)
  return token.kind in ('name', 'function') or token.text in _OPENING


def _parse_power(cursor: Cursor) -> Tree:
  """power := suffixed ['^' exponent]"""
  base = _parse_suffixes(cursor, _parse_primary(cursor))
  while cursor.accept('^'):
    if _at_degree_sign(cursor, base):
      cursor.position += 3 if cursor.text == '{' else 1
      base = _parse_degrees(cursor, base)
    else:
      base = Power(require_operand(base), _parse_exponent(cursor))
    base = _parse_suffixes(cursor, base)
  return base


def parse_operand(cursor: Cursor) -> Tree:
  """Parses a power that is an operand of arithmetic."""
  return require_operand(_parse_power(cursor))


def _at_degree_sign(cursor: Cursor, base: Tree) -> bool:
  """Returns True before a raised `°`, or a raised letter o after a number."""
  sign = cursor.text
  if sign == '{' and cursor.peek(2).text == '}':
    sign = cursor.peek(1).text
  return sign in ('°', '∘') or (sign == 'o' and isinstance(base, Number))


def _parse_exponent(cursor: Cursor) -> Tree:
  """Parses a group or a signed operand. Its own exponent binds first: 2^3^2 = 2^9."""
  sign = cursor.accept('+', '-')
  cursor.enter()
  if cursor.kind == 'number':
    exponent = number_parser.literal_value(cursor.take().text)
  elif cursor.accept('{'):
    exponent = cursor.parse_enclosed('{')
  else:
    exponent = _parse_primary(cursor)
  if cursor.accept('^'):
    exponent = Power(require_operand(exponent), _parse_exponent(cursor))
  cursor.leave()
  exponent = require_operand(exponent)
  return negate(exponent) if sign == '-' else exponent


def _parse_suffixes(cursor: Cursor, tree: Tree) -> Tree:
  """suffixed := primary ('!' | '°' | "'" | '_' index)*"""
  while True:
    if cursor.accept('!'):
      cursor.enter()  # without leave(): each factorial is one level deeper
      is_double = not cursor.peek().gap and cursor.accept('!')
      function = 'factorial2' if is_double else 'factorial'
      tree = Call(function, (require_operand(tree),))
    elif cursor.accept('°') or _accept_ring_of_degrees(cursor, tree):
      tree = _parse_degrees(cursor, tree)
    elif cursor.text == '_' and isinstance(tree, (Symbol, Number)):
      cursor.take()
      name = tree.name if isinstance(tree, Symbol) else str(tree.value)
      letter = name.rstrip("'")
      tree = Symbol(f'{letter}_{_parse_index(cursor)}{name[len(letter) :]}')
    elif cursor.text == "'" and isinstance(tree, Symbol):
      cursor.take()
      symbol = Symbol(tree.name + "'")
      tree = identifiers.parse_call_of_symbol(cursor, symbol) or symbol
    elif cursor.accept("'"):
      if isinstance(tree, Number):  # feet or, with two primes, inches
        cursor.accept("'")
        if cursor.kind == 'number':
          raise ParseError('Feet and inches are two quantities.')
      else:
        cursor.enter()  # without leave(): each derivative is one level deeper
        tree = Call("'", (require_operand(tree),))
    else:
      return tree


def _accept_ring_of_degrees(cursor: Cursor, tree: Tree) -> bool:
  r"""Takes the `\\circ` of `90 \\circ`; between other operands it is composition."""
  if cursor.text != '∘' or not isinstance(tree, Number):
    return False
  return bool(cursor.accept('∘'))


def _parse_degrees(cursor: Cursor, tree: Tree) -> Degrees:
  """Parses degrees, minutes and seconds; C or F after the sign of a temperature is a unit."""
  if cursor.kind == 'name' and cursor.text in ('C', 'F'):
    cursor.take()
  parts = [require_operand(tree)]
  while len(parts) < 3 and _at_sixtieths(cursor, len(parts)):
    text = cursor.take().text
    cursor.position += len(parts)
    scale = Number(Fraction(1, 60 ** len(parts)))
    parts.append(Product((number_parser.literal_value(text), scale)))
  return Degrees(parts[0] if len(parts) == 1 else Sum(tuple(parts)))


def _at_sixtieths(cursor: Cursor, num_primes: int) -> bool:
  """Returns True before a number with this many primes."""
  if cursor.kind != 'number':
    return False
  marks = [cursor.peek(1 + index).text for index in range(num_primes + 1)]
  return marks[:-1] == ["'"] * num_primes and marks[-1] != "'"


def _parse_index(cursor: Cursor) -> str:
  """Returns the text of a subscript without its braces."""
  if not cursor.accept('{'):
    return cursor.take().text
  texts: list[str] = []
  depth = 1
  while depth:
    text = cursor.take().text
    texts.append(text)
    if text == '{':
      depth += 1
    elif text == '}':
      depth -= 1
  texts.pop()
  if texts and texts[0] == '(' and texts[-1] == ')':
    texts = texts[1:-1]
  return ''.join(texts)


def _parse_primary(cursor: Cursor) -> Tree:
  """primary := number | name | function argument | enclosed | structure | word"""
  token = cursor.take()
  text = token.text
  if token.kind == 'number':
    binomial = function_calls.parse_infix_binomial(cursor, text)
    return binomial or number_parser.parse_number(cursor, text)
  if token.kind == 'name':
    return identifiers.parse_name(cursor, text)
  if token.kind == 'function':
    return function_calls.parse_function_call(cursor, text)
  if token.kind == 'word':
    return identifiers.parse_words(cursor, text)
  if token.kind == 'structure':
    parse_structure = latex_structures.STRUCTURE_PARSERS.get(text)
    if parse_structure:
      return parse_structure(cursor)
    return cursor.parse_enclosed(text)

  is_empty_group = text == '{' and cursor.text == '}'
  if is_empty_group and cursor.peek(1).text in ('_', '^'):
    cursor.position += 1  # {}_5C_2
    return _parse_primary(cursor)
  if text in ('_', '^'):
    n = _parse_index(cursor)
    binomial = function_calls.parse_infix_binomial(cursor, n)
    if binomial:
      return binomial
  if text in (*_OPENING, '\\{', '|', '‖'):
    return cursor.parse_enclosed(text)
  if text == '.' and cursor.text in ('overline', 'bar', 'dot'):
    return number_parser.parse_repeating_decimal(cursor, '0.')
  if text == '…':
    return ELLIPSIS
  if text == '¬':
    return Call('¬', (cursor.parse_operand(),))
  raise ParseError(f'Found {text!r}; expected an operand.')


def parse_argument(cursor: Cursor) -> Tree:
  """Parses one argument of a LaTeX command: a group, brackets, one digit or one operand."""
  if cursor.kind == 'number':
    return number_parser.parse_first_digit(cursor)
  return require_operand(_parse_primary(cursor))


def require_operand(tree: Tree) -> Tree:
  """Returns the tree if it can be an operand of arithmetic: a scalar, a vector or a matrix.

  Raises:
    ParseError: the tree is a list, a set, a relation or a text.
  """
  is_group = isinstance(tree, Collection) and tree.kind != 'tuple'
  if is_group or isinstance(tree, _NON_OPERAND_TYPES):
    kind = type(tree).__name__
    raise ParseError(f'A {kind} cannot be an operand of arithmetic.')
  return tree
