"""Parser of answers: tokens to an expression tree, by recursive descent.

  parse_answer(tokenize_answer('x = 2 or x = 3'))

The grammar, of which this module implements the rules from `answer` to `set` and `enclosed`, and
`expression_parser` the others:

  answer    := statement (separator statement)*            separator: , ; and or (line break)
  statement := side (relation side)* ['pmod' argument]     relation: = ≡ < ≤ > ≥ ≠ ∈ →
  side      := set (':' set)* | time | words
  set       := sum (('∪' | '∩' | '∖') sum)*
  sum       := signs product (('+' | '-' | '±' | '∓') product)*
  product   := power (['*' | '/' | 'mod'] power)* [unit]
  power     := suffixed ['^' exponent]
  suffixed  := primary ('!' | '°' | "'" | '_' index)*
  primary   := number | name | function argument | enclosed | structure
  enclosed  := ( answer ) | [ answer ] | { answer } | \\{ answer [ '|' answer ] \\} | '|' sum '|'
"""

from collections.abc import Callable, Sequence
import functools

from mathft_jax.grading.expression_tree import (
  ELLIPSIS,
  INFINITY,
  MINUS_INFINITY,
  Call,
  Collection,
  Interval,
  Matrix,
  Relation,
  SetOperation,
  Symbol,
  TaggedValue,
  Tree,
  as_set,
  quotient,
)
from mathft_jax.grading.parsing import english_words
from mathft_jax.grading.parsing.expression_parser import (
  parse_argument,
  parse_operand,
  parse_sum,
  require_operand,
)
from mathft_jax.grading.parsing.lexer import Token
from mathft_jax.grading.parsing.token_cursor import (
  MAX_NESTING,
  Cursor,
  ParseError,
)

_RELATIONS = ('=', '≡', '<', '≤', '>', '≥', '≠', '∈', '→')
_SET_OPERATORS = ('∪', '∩', '∖')
_SEPARATORS = (',', ';', 'and', 'or', '\\\\')
_CLOSING = {
  '(': (')', ']'),
  '[': (']', ')'),
  '⟨': ('⟩',),
  '⌊': ('⌋',),
  '⌈': ('⌉',),
}
_ENVIRONMENTS = (
  'matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array cases aligned align '
  'gathered split equation'
).split()
_union = functools.partial(SetOperation, '∪')


def parse_answer(tokens: Sequence[Token]) -> Tree:
  """Returns the expression tree of an answer.

  Raises:
    ParseError: the tokens do not match the grammar.
  """
  if _is_capital_word(tokens):
    return TaggedValue('text', tuple(token.text.lower() for token in tokens))
  cursor = Cursor(tokens, _parse_enclosed, parse_operand, parse_argument)
  tree = _parse_infix_command(cursor, _parse_list(cursor))
  if tree == ELLIPSIS:
    raise ParseError('The answer is only an ellipsis.')
  if cursor.kind != 'end':
    raise ParseError(f'Found {cursor.text!r} after the end of the answer.')

  # A list of intervals, such as `(-∞, 1), [2, 3]`, is their union.
  if isinstance(tree, Collection) and tree.kind == 'list':
    if len(tree.items) <= MAX_NESTING and all(map(_is_interval, tree.items)):
      return functools.reduce(_union, tree.items)
  return tree


def _is_capital_word(tokens: Sequence[Token]) -> bool:
  """Returns True for three or more capitals in a row, such as LQSX, which are no product."""
  if len(tokens) < 3:
    return False
  for token in tokens[1:]:
    if token.kind != 'name' or not token.text.isupper() or token.gap:
      return False
  return True


def _list_items(tree: Tree) -> tuple[Tree, ...]:
  """Returns the items of a list without brackets, or the tree alone."""
  if isinstance(tree, Collection) and tree.kind == 'list':
    return tree.items
  return (tree,)


def _parse_list(cursor: Cursor) -> Tree:
  """answer := statement (separator statement)*"""
  items = [_parse_statement(cursor)]
  while separator := _accept_separators(cursor):
    item = _parse_statement(cursor)
    if _are_joined_conditions(separator, items[-1], item):
      cursor.enter()  # without leave(): set operations are nested to the left
      operator = '∪' if separator == 'or' else '∩'
      items[-1] = SetOperation(operator, items[-1], item)
    else:
      items.append(item)
  return items[0] if len(items) == 1 else Collection('list', tuple(items))


def _accept_separators(cursor: Cursor) -> str:
  """Takes all adjacent separators; returns the last `and` or `or`, else the first separator."""
  separator = following = cursor.accept(*_SEPARATORS)
  while following:
    following = cursor.accept(*_SEPARATORS)
    if following in ('and', 'or'):
      separator = following
  return separator


def _is_interval(tree: Tree) -> bool:
  """Returns True for an interval that is not a point: a square bracket or an infinite end."""
  if isinstance(tree, Interval):
    return True
  if not isinstance(tree, Collection) or tree.kind != 'tuple':
    return False
  ends = tree.items
  return len(ends) == 2 and (INFINITY in ends or MINUS_INFINITY in ends)


def _are_joined_conditions(separator: str, left: Tree, right: Tree) -> bool:
  """Returns True for conditions joined by a word: `x < 1 or x > 2`."""
  if isinstance(left, SetOperation):
    left = left.right
  if not isinstance(left, Relation) or not isinstance(right, Relation):
    return False
  num_inequalities = _has_inequality(left) + _has_inequality(right)
  if separator == 'or':
    return num_inequalities >= 1
  return separator == 'and' and num_inequalities == 2


def _has_inequality(relation: Relation) -> bool:
  return any(operator != '=' for operator in relation.operators)


def _parse_statement(cursor: Cursor) -> Tree:
  """statement := side (relation side)* ['pmod' argument]"""
  cursor.accept('=')
  cursor.statement_start = cursor.position
  sides = [_parse_side(cursor)]
  operators: list[str] = []
  while operator := cursor.accept(*_RELATIONS):
    operators.append(operator)
    sides.append(_parse_side(cursor))

  last = sides[-1]
  if cursor.text == '(' and cursor.peek(1).text == 'mod':
    cursor.position += 2
    sides[-1] = TaggedValue('mod', (last, parse_sum(cursor)))
    cursor.expect(')')
  elif cursor.accept('pmod'):
    sides[-1] = TaggedValue('mod', (last, cursor.parse_argument()))
  elif '≡' in operators and isinstance(last, Call) and last.function == 'mod':
    sides[-1] = TaggedValue('mod', last.arguments)

  if not operators:
    return sides[0]
  plain_operators = ['=' if o == '≡' else o for o in operators]
  return Relation(tuple(sides), tuple(plain_operators))


def _parse_side(cursor: Cursor) -> Tree:
  """side := set (':' set)* | time | words"""
  while (
    cursor.kind == 'word' and cursor.text.lower() in english_words.HEDGE_WORDS
  ):
    cursor.take()
  time = _parse_time(cursor)
  if time:
    return time
  parts = [_parse_set(cursor)]
  while cursor.allows_ratios and cursor.accept(':'):
    first = parts[0]
    if isinstance(first, TaggedValue) and first.tag == 'text':
      return _parse_side(cursor)  # a label: "Area: 5"
    parts.append(_parse_set(cursor))
  return parts[0] if len(parts) == 1 else TaggedValue('ratio', tuple(parts))


def _parse_time(cursor: Cursor) -> TaggedValue | None:
  """Parses a time of day: `4:30 pm`, `4 pm`, or `4:05` with a leading zero of the minutes."""
  parts: list[str] = []
  end = 0
  while (
    len(parts) < 3
    and cursor.peek(end).kind == 'number'
    and cursor.peek(end).text.isdigit()
  ):
    parts.append(cursor.peek(end).text)
    end += 1
    if cursor.peek(end).text != ':':
      break
    end += 1

  following = cursor.peek(end)
  half = following.text if following.kind == 'word' else ''
  has_half = half in english_words.HALF_DAYS
  minutes = parts[1:]
  has_leading_zero = bool(minutes) and minutes[0].startswith('0')
  if not has_half and not has_leading_zero:
    return None
  if cursor.peek(end - 1).text == ':' or any(
    len(part) != 2 for part in minutes
  ):
    return None

  cursor.position += end + has_half
  numbers = [str(int(part)) for part in (*parts, '00', '00')[:3]]
  return TaggedValue('time', (*numbers, half if has_half else ''))


def _parse_set(cursor: Cursor) -> Tree:
  """set := sum (('∪' | '∩' | '∖') sum)*"""
  left = parse_sum(cursor)
  while operator := _accept_set_operator(cursor, left):
    cursor.enter()  # without leave(): set operations are nested to the left
    right = parse_sum(cursor)
    left = SetOperation(operator, as_set(left), as_set(right))
  return left


def _accept_set_operator(cursor: Cursor, left: Tree) -> str:
  """Takes a set operator, or a letter U after an interval or a set, which is a union."""
  operator = cursor.accept(*_SET_OPERATORS)
  is_set = isinstance(left, (Interval, Collection, SetOperation))
  if not operator and cursor.text == 'U' and is_set:
    cursor.take()
    return '∪'
  return operator


def _parse_enclosed(cursor: Cursor, opening: str) -> Tree:
  """Parses what follows the opening bracket `opening`, up to its closing bracket."""
  parse = _ENCLOSED_PARSERS.get(opening)
  if parse is None:
    raise ParseError(f'{opening!r} is not an opening bracket.')
  cursor.enter()
  outer = (
    cursor.open_bars,
    cursor.allows_ratios,
    cursor.statement_start,
    cursor.in_matrix,
  )
  cursor.open_bars = 0
  cursor.allows_ratios = opening != '\\{'
  tree = parse(cursor, opening)
  (
    cursor.open_bars,
    cursor.allows_ratios,
    cursor.statement_start,
    cursor.in_matrix,
  ) = outer
  cursor.leave()
  return tree


def _parse_brackets(cursor: Cursor, opening: str) -> Tree:
  """Parses round, square, angle, floor or ceiling brackets."""
  is_row = cursor.in_matrix
  cursor.in_matrix = opening == '[' and cursor.text == '['
  inside = _parse_list(cursor)
  has_rows = cursor.in_matrix
  closing = cursor.expect(*_CLOSING[opening])
  if opening in '⌊⌈':
    return Call('floor' if opening == '⌊' else 'ceil', (inside,))

  items = _list_items(inside)
  low_closed, high_closed = opening == '[', closing == ']'
  is_square = low_closed and high_closed
  if len(items) != 2 and low_closed != high_closed:
    raise ParseError(f'An interval has 2 ends; found {len(items)}.')
  rows = tuple(map(_row_entries, items))
  if has_rows and is_square and all(rows):
    return Matrix(rows)
  if len(items) == 1:
    return Collection('tuple', items) if is_row and is_square else inside
  if not low_closed and not high_closed:
    return Collection('tuple', items)
  if any(isinstance(item, Collection) for item in items):
    return Collection('list', items)  # [(1, 2), (3, 4)]
  if len(items) == 2:
    return Interval(*items, low_closed, high_closed)
  return Collection('tuple', items)


def _row_entries(item: Tree) -> tuple[Tree, ...]:
  """Returns the entries of a matrix row `[a, b, ...]`, or () for anything else."""
  if isinstance(item, Interval) and item.low_closed and item.high_closed:
    return (item.low, item.high)
  if isinstance(item, Collection) and item.kind == 'tuple':
    return item.items
  return ()


def _parse_group(cursor: Cursor, _: str) -> Tree:
  """Parses a LaTeX group `{...}`. It is layout, except that a list in braces is a set."""
  inside = _parse_infix_command(cursor, _parse_list(cursor))
  cursor.expect('}')
  if isinstance(inside, Collection) and inside.kind == 'list':
    return Collection('set', inside.items)
  return inside


def _parse_infix_command(cursor: Cursor, left: Tree) -> Tree:
  r"""Parses `a \over b` and `n \choose k`, which take all of the group before them as operand."""
  if cursor.accept('\\over'):
    return quotient(*_parse_operands(cursor, left))
  if cursor.accept('\\choose'):
    return Call('binomial', _parse_operands(cursor, left))
  return left


def _parse_operands(cursor: Cursor, left: Tree) -> tuple[Tree, Tree]:
  return require_operand(left), require_operand(_parse_list(cursor))


def _parse_set_braces(cursor: Cursor, _: str) -> Tree:
  r"""Parses a set `\{1, 2\}` or a set builder `\{x | x > 1\}`."""
  if cursor.accept('\\}'):
    return Collection('set', ())
  inside = _parse_list(cursor)
  if not cursor.accept('|', ':'):
    cursor.expect('\\}')
    return Collection('set', _list_items(inside))

  condition = _parse_list(cursor)
  cursor.expect('\\}')
  element = inside.sides[0] if isinstance(inside, Relation) else inside
  if isinstance(element, Symbol):
    return condition
  return TaggedValue('builder', (inside, condition))


def _parse_absolute_value(cursor: Cursor, bar: str) -> Tree:
  cursor.open_bars = 1
  inside = parse_sum(cursor)
  cursor.expect(bar)
  return Call('abs', (inside,))


def _parse_environment(cursor: Cursor, begin: str) -> Tree:
  """Parses the cells up to `end:`; returns a matrix, a determinant or a list of statements."""
  name = begin.partition(':')[2]
  rows = _parse_rows(cursor, f'end:{name}')
  if not rows:
    raise ParseError(f'The environment {name} is empty.')
  if not name.endswith(('matrix', 'array')):
    cells = sum(rows, ())
    return Collection('list', cells)
  if any(len(row) != len(rows[0]) for row in rows):
    raise ParseError('The rows of the matrix have different lengths.')
  matrix = Matrix(tuple(rows))
  is_determinant = name in ('vmatrix', 'Vmatrix')
  return Call('det', (matrix,)) if is_determinant else matrix


def _parse_rows(cursor: Cursor, end: str) -> list[tuple[Tree, ...]]:
  """Returns the cells of each non-empty row up to the token `end`."""
  rows: list[list[Tree]] = [[]]
  while not cursor.accept(end):
    if cursor.accept('\\\\'):
      rows.append([])
    elif not cursor.accept('&', ','):
      rows[-1].append(_parse_statement(cursor))
  return [tuple(row) for row in rows if row]


_ENCLOSED_PARSERS: dict[str, Callable[[Cursor, str], Tree]] = {
  **dict.fromkeys(_CLOSING, _parse_brackets),
  **{f'begin:{name}': _parse_environment for name in _ENVIRONMENTS},
  '{': _parse_group,
  '\\{': _parse_set_braces,
  '|': _parse_absolute_value,
  '‖': _parse_absolute_value,
}
