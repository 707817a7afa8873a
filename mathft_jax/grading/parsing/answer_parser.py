"""The grammar of answers: from tokens to a tree.

answer    := statement (separator statement)*            separator: , ; and or (line break)
statement := side (relation side)* ['pmod' argument]     relation: = ≡ < ≤ > ≥ ≠ ∈ →
side      := set (':' set)* | time | words
set       := sum (('∪' | '∩' | '∖') sum)*
sum       := signs product (('+' | '-' | '±' | '∓') product)*          scalars.py, from here on
product   := power (['*' | '/' | 'mod'] power)* [unit]
power     := suffixed ['^' exponent]
suffixed  := primary ('!' | '°' | "'" | '_' index)*
primary   := number | name | function argument | enclosed | structure
enclosed  := ( answer ) | [ answer ] | { answer } | \\{ answer [ '|' answer ] \\} | '|' sum '|'
"""

from collections.abc import Sequence
import functools

from mathft_jax.grading import expression_tree
from mathft_jax.grading.parsing import english_words, expression_parser
from mathft_jax.grading.parsing.token_cursor import (
  MAX_NESTING,
  TokenCursor,
  AnswerSyntaxError,
)
from mathft_jax.grading.parsing.answer_tokenizer import Token

RELATIONS = ('=', '≡', '<', '≤', '>', '≥', '≠', '∈', '→')
_SET_OPERATORS = ('∪', '∩', '∖')
_SEPARATORS = (',', ';', 'and', 'or', '\\\\')
_CLOSING = {
  '(': (')', ']'),
  '[': (']', ')'),
  '⟨': ('⟩',),
  '⌊': ('⌋',),
  '⌈': ('⌉',),
}


def parse_answer(tokens: Sequence[Token]) -> expression_tree.Tree:
  """The tree of a whole answer; raises NotMath when the tokens are not of this grammar."""
  if len(tokens) > 2 and all(
    t.kind == 'name' and t.text.isupper() and not t.gap for t in tokens[1:]
  ):
    return expression_tree.TaggedValue(
      'text', tuple(token.text.lower() for token in tokens)
    )  # LQSX is no product
  cursor = TokenCursor(tokens, _enclosed)
  tree = _infix(cursor, _answer(cursor))
  if tree == expression_tree.ELLIPSIS:
    raise AnswerSyntaxError('dots alone.')
  if cursor.kind != 'end':
    raise AnswerSyntaxError(f'{cursor.text!r} after the end of the answer.')
  if (
    isinstance(tree, expression_tree.Collection)
    and tree.kind == 'list'
    and all(map(_is_stretch, tree.items))
    and (len(tree.items) <= MAX_NESTING)
  ):
    return functools.reduce(
      lambda left, right: expression_tree.SetOperation('∪', left, right),
      tree.items,
    )
  return tree


def _answer(cursor: TokenCursor) -> expression_tree.Tree:
  items = [_statement(cursor)]
  while True:
    separator = cursor.accept(*_SEPARATORS)
    if not separator:
      break
    following = separator
    while following:
      following = cursor.accept(*_SEPARATORS)
      separator = following if following in ('and', 'or') else separator
    item = _statement(cursor)
    if _combines_sets(separator, items[-1], item):
      cursor.deeper()  # not undone, like that of every operation on sets: they nest to the left
      items[-1] = expression_tree.SetOperation(
        '∪' if separator == 'or' else '∩', items[-1], item
      )
    else:
      items.append(item)
  return (
    items[0]
    if len(items) == 1
    else expression_tree.Collection('list', tuple(items))
  )


def _is_stretch(tree: expression_tree.Tree) -> bool:
  """True for an interval that is no point: with a square bracket or without end."""
  ends = (
    tree.items
    if isinstance(tree, expression_tree.Collection) and tree.kind == 'tuple'
    else ()
  )
  return (
    isinstance(tree, expression_tree.Interval)
    or len(ends) == 2
    and (
      expression_tree.INFINITY in ends
      or expression_tree.negate(expression_tree.INFINITY) in ends
    )
  )


def _combines_sets(
  separator: str, left: expression_tree.Tree, right: expression_tree.Tree
) -> bool:
  """True for `x < 1 or x > 2` and the like: conditions joined by words."""
  joined = (
    left.right if isinstance(left, expression_tree.SetOperation) else left
  )
  conditions = [
    side
    for side in (joined, right)
    if isinstance(side, expression_tree.Relation)
  ]
  unequal = sum(
    any(o != '=' for o in condition.operators) for condition in conditions
  )
  return len(conditions) == 2 and (
    separator == 'or' and unequal >= 1 or separator == 'and' and unequal == 2
  )


def _statement(cursor: TokenCursor) -> expression_tree.Tree:
  cursor.accept('=')
  cursor.statement_start = cursor.position
  sides, operators = [_side(cursor)], []
  while operator := cursor.accept(*RELATIONS):
    operators.append(operator)
    sides.append(_side(cursor))
  if cursor.text == '(' and cursor.peek(1).text == 'mod':
    cursor.position += 2
    sides[-1] = expression_tree.TaggedValue(
      'mod', (sides[-1], expression_parser.parse_sum(cursor))
    )
    cursor.expect(')')
  elif cursor.accept('pmod'):
    sides[-1] = expression_tree.TaggedValue(
      'mod', (sides[-1], expression_parser.parse_command_argument(cursor))
    )
  elif (
    '≡' in operators
    and isinstance(sides[-1], expression_tree.Call)
    and sides[-1].function == 'mod'
  ):
    sides[-1] = expression_tree.TaggedValue('mod', sides[-1].arguments)
  operators = ['=' if operator == '≡' else operator for operator in operators]
  return (
    expression_tree.Relation(tuple(sides), tuple(operators))
    if operators
    else sides[0]
  )


def _side(cursor: TokenCursor) -> expression_tree.Tree:
  while (
    cursor.kind == 'word' and cursor.text.lower() in english_words.HEDGE_WORDS
  ):
    cursor.take()
  time = _time(cursor)
  if time:
    return time
  parts = [_set(cursor)]
  while cursor.ratios and cursor.accept(':'):
    if (
      isinstance(parts[0], expression_tree.TaggedValue)
      and parts[0].tag == 'text'
    ):  # Area: 5
      return _side(cursor)
    parts.append(_set(cursor))
  return (
    expression_tree.TaggedValue('ratio', tuple(parts))
    if len(parts) > 1
    else parts[0]
  )


def _time(cursor: TokenCursor) -> expression_tree.TaggedValue | None:
  """`4:30 pm`, `4 pm`, or `4:05`: with a half of the day or a leading zero of the minutes."""
  parts, end = [], 0
  while (
    cursor.peek(end).kind == 'number'
    and cursor.peek(end).text.isdigit()
    and len(parts) < 3
  ):
    parts.append(cursor.peek(end).text)
    end += 1
    if cursor.peek(end).text != ':':
      break
    end += 1
  half = cursor.peek(end).text if cursor.peek(end).kind == 'word' else ''
  has_half = half in english_words.HALF_DAYS
  minutes = parts[1:]
  if (
    not (has_half or minutes and minutes[0].startswith('0'))
    or cursor.peek(end - 1).text == ':'
    or (any(len(part) != 2 for part in minutes))
  ):
    return None
  cursor.position += end + has_half
  numbers = [str(int(part)) for part in (*parts, '00', '00')[:3]]
  return expression_tree.TaggedValue(
    'time', (*numbers, half if has_half else '')
  )


def _set(cursor: TokenCursor) -> expression_tree.Tree:
  left = expression_parser.parse_sum(cursor)
  while True:
    operator = cursor.accept(*_SET_OPERATORS)
    if not operator and is_union_letter(cursor, left):
      cursor.take()
      operator = '∪'
    if not operator:
      return left
    cursor.deeper()
    left = expression_tree.SetOperation(
      operator,
      expression_tree.as_set(left),
      expression_tree.as_set(expression_parser.parse_sum(cursor)),
    )


def is_union_letter(cursor: TokenCursor, left: expression_tree.Tree) -> bool:
  """True where a plain U stands for the sign of union, behind an interval or a set."""
  return cursor.text == 'U' and isinstance(
    left,
    (
      expression_tree.Interval,
      expression_tree.Collection,
      expression_tree.SetOperation,
    ),
  )


def _enclosed(cursor: TokenCursor, opening: str) -> expression_tree.Tree:
  """What stands in brackets, of which the opening one is taken."""
  cursor.deeper()
  bars, cursor.bars = cursor.bars, 0
  ratios, cursor.ratios = cursor.ratios, opening != '\\{'
  start, rows = cursor.statement_start, cursor.rows
  read = _INSIDE.get(opening) or (
    _bracketed if opening in _CLOSING else _unknown
  )
  tree = read(cursor, opening)
  cursor.bars, cursor.ratios, cursor.statement_start, cursor.rows = (
    bars,
    ratios,
    start,
    rows,
  )
  cursor.shallower()
  return tree


def _unknown(_: TokenCursor, opening: str) -> expression_tree.Tree:
  raise AnswerSyntaxError(f'{opening!r} opens nothing.')


def _bracketed(cursor: TokenCursor, opening: str) -> expression_tree.Tree:
  is_row, cursor.rows = cursor.rows, opening == '[' and cursor.text == '['
  inside = _answer(cursor)
  has_rows = cursor.rows
  closing = cursor.expect(*_CLOSING[opening])
  if opening in '⌊⌈':
    return expression_tree.Call(
      'floor' if opening == '⌊' else 'ceil', (inside,)
    )
  items = (
    inside.items
    if isinstance(inside, expression_tree.Collection) and inside.kind == 'list'
    else (inside,)
  )
  squares = (opening == '[', closing == ']')
  if len(items) != 2 and opening + closing in ('(]', '[)'):
    raise AnswerSyntaxError('an interval without two ends.')
  if has_rows and all(squares) and all(map(_row, items)):
    return expression_tree.Matrix(tuple(map(_row, items)))
  if len(items) == 1:
    return (
      expression_tree.Collection('tuple', items)
      if is_row and all(squares)
      else inside
    )
  if any(squares) and any(
    isinstance(item, expression_tree.Collection) for item in items
  ):
    return expression_tree.Collection('list', items)  # [(1, 2), (3, 4)]
  return (
    expression_tree.Interval(*items, *squares)
    if len(items) == 2 and any(squares)
    else (expression_tree.Collection('tuple', items))
  )


def _row(item: expression_tree.Tree) -> tuple[expression_tree.Tree, ...]:
  """The entries of `[a, b, ...]` read as a row of a matrix; () for anything else."""
  if (
    isinstance(item, expression_tree.Interval)
    and item.low_closed
    and item.high_closed
  ):
    return (item.low, item.high)
  return (
    item.items
    if isinstance(item, expression_tree.Collection) and item.kind == 'tuple'
    else ()
  )


def _braced(cursor: TokenCursor, _: str) -> expression_tree.Tree:
  """A LaTeX group: invisible, unless it holds a list, which makes it a set."""
  inside = _infix(cursor, _answer(cursor))
  cursor.expect('}')
  if isinstance(inside, expression_tree.Collection) and inside.kind == 'list':
    return expression_tree.Collection('set', inside.items)
  return inside


def _infix(
  cursor: TokenCursor, left: expression_tree.Tree
) -> expression_tree.Tree:
  """What TeX's old `a \\over b` and `n \\choose k` make of all that stands before them in a group."""
  for infix, build in (
    ('\\over', expression_tree.quotient),
    ('\\choose', _binomial),
  ):
    if cursor.accept(infix):
      return build(
        expression_parser.require_scalar(left),
        expression_parser.require_scalar(_answer(cursor)),
      )
  return left


def _binomial(
  top: expression_tree.Scalar, bottom: expression_tree.Scalar
) -> expression_tree.Call:
  return expression_tree.Call('binomial', (top, bottom))


def _set_braces(cursor: TokenCursor, _: str) -> expression_tree.Tree:
  if cursor.accept('\\}'):
    return expression_tree.Collection('set', ())
  inside = _answer(cursor)
  if cursor.accept('|', ':'):
    condition = _answer(cursor)
    cursor.expect('\\}')
    element = (
      inside.sides[0]
      if isinstance(inside, expression_tree.Relation)
      else inside
    )
    return (
      condition
      if isinstance(element, expression_tree.Symbol)
      else (expression_tree.TaggedValue('builder', (inside, condition)))
    )
  cursor.expect('\\}')
  items = (
    inside.items
    if isinstance(inside, expression_tree.Collection) and inside.kind == 'list'
    else (inside,)
  )
  return expression_tree.Collection('set', items)


def _absolute(cursor: TokenCursor, opening: str) -> expression_tree.Tree:
  cursor.bars = 1
  inside = expression_parser.parse_sum(cursor)
  cursor.expect(opening)
  return expression_tree.Call('abs', (inside,))


def _environment(cursor: TokenCursor, begin: str) -> expression_tree.Tree:
  """Rows of cells up to `end:`; a matrix, its determinant, or a list of statements."""
  name = begin.partition(':')[2]
  rows, row = [], []
  while not cursor.accept(f'end:{name}'):
    if cursor.accept('\\\\'):
      rows, row = [*rows, row], []
    elif not cursor.accept('&', ','):
      row.append(_statement(cursor))
  rows = [cells for cells in (*rows, row) if cells]
  if not rows:
    raise AnswerSyntaxError(f'nothing in {begin}.')
  if not name.endswith(('matrix', 'array')):
    return expression_tree.Collection(
      'list', tuple(cell for cells in rows for cell in cells)
    )
  if any(len(cells) != len(rows[0]) for cells in rows):
    raise AnswerSyntaxError('a matrix with rows of different length.')
  matrix = expression_tree.Matrix(tuple(map(tuple, rows)))
  return (
    expression_tree.Call('det', (matrix,))
    if name in ('vmatrix', 'Vmatrix')
    else matrix
  )


_INSIDE = {
  '{': _braced,
  '\\{': _set_braces,
  '|': _absolute,
  '‖': _absolute,
  **{
    f'begin:{name}': _environment
    for name in (
      'matrix',
      'pmatrix',
      'bmatrix',
      'Bmatrix',
      'vmatrix',
      'Vmatrix',
      'smallmatrix',
      'array',
      'cases',
      'aligned',
      'align',
      'gathered',
      'split',
      'equation',
    )
  },
}
