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

from mathft_jax.grading import scalars
from mathft_jax.grading import trees
from mathft_jax.grading import words
from mathft_jax.grading.cursor import MAX_NESTING, Cursor, NotMath
from mathft_jax.grading.tokens import Token

RELATIONS = ('=', '≡', '<', '≤', '>', '≥', '≠', '∈', '→')
_SET_OPERATORS = ('∪', '∩', '∖')
_SEPARATORS = (',', ';', 'and', 'or', '\\\\')
_CLOSING = {'(': (')', ']'), '[': (']', ')'), '⟨': ('⟩',), '⌊': ('⌋',), '⌈': ('⌉',)}


def parse(tokens: Sequence[Token]) -> trees.Tree:
  """The tree of a whole answer; raises NotMath when the tokens are not of this grammar."""
  if len(tokens) > 2 and all(t.kind == 'name' and t.text.isupper() and not t.gap for t in tokens[1:]):
    return trees.Tagged('text', tuple(token.text.lower() for token in tokens))  # LQSX is no product
  cursor = Cursor(tokens, _enclosed)
  tree = _infix(cursor, _answer(cursor))
  if tree == trees.DOTS:
    raise NotMath('dots alone.')
  if cursor.kind != 'end':
    raise NotMath(f'{cursor.text!r} after the end of the answer.')
  if isinstance(tree, trees.Group) and tree.kind == 'list' and all(map(_is_stretch, tree.items)) and (
      len(tree.items) <= MAX_NESTING):
    return functools.reduce(lambda left, right: trees.SetOperation('∪', left, right), tree.items)
  return tree


def _answer(cursor: Cursor) -> trees.Tree:
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
      items[-1] = trees.SetOperation('∪' if separator == 'or' else '∩', items[-1], item)
    else:
      items.append(item)
  return items[0] if len(items) == 1 else trees.Group('list', tuple(items))


def _is_stretch(tree: trees.Tree) -> bool:
  """True for an interval that is no point: with a square bracket or without end."""
  ends = tree.items if isinstance(tree, trees.Group) and tree.kind == 'tuple' else ()
  return isinstance(tree, trees.Interval) or len(ends) == 2 and (
      trees.INFINITY in ends or trees.negative(trees.INFINITY) in ends)


def _combines_sets(separator: str, left: trees.Tree, right: trees.Tree) -> bool:
  """True for `x < 1 or x > 2` and the like: conditions joined by words."""
  joined = left.right if isinstance(left, trees.SetOperation) else left
  conditions = [side for side in (joined, right) if isinstance(side, trees.Relation)]
  unequal = sum(any(o != '=' for o in condition.operators) for condition in conditions)
  return len(conditions) == 2 and (
      separator == 'or' and unequal >= 1 or separator == 'and' and unequal == 2)


def _statement(cursor: Cursor) -> trees.Tree:
  cursor.accept('=')
  cursor.statement_start = cursor.position
  sides, operators = [_side(cursor)], []
  while operator := cursor.accept(*RELATIONS):
    operators.append(operator)
    sides.append(_side(cursor))
  if cursor.text == '(' and cursor.peek(1).text == 'mod':
    cursor.position += 2
    sides[-1] = trees.Tagged('mod', (sides[-1], scalars.sum_of(cursor)))
    cursor.expect(')')
  elif cursor.accept('pmod'):
    sides[-1] = trees.Tagged('mod', (sides[-1], scalars.argument(cursor)))
  elif '≡' in operators and isinstance(sides[-1], trees.Call) and sides[-1].function == 'mod':
    sides[-1] = trees.Tagged('mod', sides[-1].arguments)
  operators = ['=' if operator == '≡' else operator for operator in operators]
  return trees.Relation(tuple(sides), tuple(operators)) if operators else sides[0]


def _side(cursor: Cursor) -> trees.Tree:
  while cursor.kind == 'word' and cursor.text.lower() in words.HEDGES:
    cursor.take()
  time = _time(cursor)
  if time:
    return time
  parts = [_set(cursor)]
  while cursor.ratios and cursor.accept(':'):
    if isinstance(parts[0], trees.Tagged) and parts[0].tag == 'text':  # Area: 5
      return _side(cursor)
    parts.append(_set(cursor))
  return trees.Tagged('ratio', tuple(parts)) if len(parts) > 1 else parts[0]


def _time(cursor: Cursor) -> trees.Tagged | None:
  """`4:30 pm`, `4 pm`, or `4:05`: with a half of the day or a leading zero of the minutes."""
  parts, end = [], 0
  while cursor.peek(end).kind == 'number' and cursor.peek(end).text.isdigit() and len(parts) < 3:
    parts.append(cursor.peek(end).text)
    end += 1
    if cursor.peek(end).text != ':':
      break
    end += 1
  half = cursor.peek(end).text if cursor.peek(end).kind == 'word' else ''
  has_half = half in words.HALF_DAYS
  minutes = parts[1:]
  if not (has_half or minutes and minutes[0].startswith('0')) or cursor.peek(end - 1).text == ':' or (
      any(len(part) != 2 for part in minutes)):
    return None
  cursor.position += end + has_half
  numbers = [str(int(part)) for part in (*parts, '00', '00')[:3]]
  return trees.Tagged('time', (*numbers, half if has_half else ''))


def _set(cursor: Cursor) -> trees.Tree:
  left = scalars.sum_of(cursor)
  while True:
    operator = cursor.accept(*_SET_OPERATORS)
    if not operator and is_union_letter(cursor, left):
      cursor.take()
      operator = '∪'
    if not operator:
      return left
    cursor.deeper()
    left = trees.SetOperation(operator, trees.set_of(left), trees.set_of(scalars.sum_of(cursor)))


def is_union_letter(cursor: Cursor, left: trees.Tree) -> bool:
  """True where a plain U stands for the sign of union, behind an interval or a set."""
  return cursor.text == 'U' and isinstance(left, (trees.Interval, trees.Group, trees.SetOperation))


def _enclosed(cursor: Cursor, opening: str) -> trees.Tree:
  """What stands in brackets, of which the opening one is taken."""
  cursor.deeper()
  bars, cursor.bars = cursor.bars, 0
  ratios, cursor.ratios = cursor.ratios, opening != '\\{'
  start, rows = cursor.statement_start, cursor.rows
  read = _INSIDE.get(opening) or (_bracketed if opening in _CLOSING else _unknown)
  tree = read(cursor, opening)
  cursor.bars, cursor.ratios, cursor.statement_start, cursor.rows = bars, ratios, start, rows
  cursor.shallower()
  return tree


def _unknown(_: Cursor, opening: str) -> trees.Tree:
  raise NotMath(f'{opening!r} opens nothing.')


def _bracketed(cursor: Cursor, opening: str) -> trees.Tree:
  is_row, cursor.rows = cursor.rows, opening == '[' and cursor.text == '['
  inside = _answer(cursor)
  has_rows = cursor.rows
  closing = cursor.expect(*_CLOSING[opening])
  if opening in '⌊⌈':
    return trees.Call('floor' if opening == '⌊' else 'ceil', (inside,))
  items = inside.items if isinstance(inside, trees.Group) and inside.kind == 'list' else (inside,)
  squares = (opening == '[', closing == ']')
  if len(items) != 2 and opening + closing in ('(]', '[)'):
    raise NotMath('an interval without two ends.')
  if has_rows and all(squares) and all(map(_row, items)):
    return trees.Matrix(tuple(map(_row, items)))
  if len(items) == 1:
    return trees.Group('tuple', items) if is_row and all(squares) else inside
  if any(squares) and any(isinstance(item, trees.Group) for item in items):
    return trees.Group('list', items)  # [(1, 2), (3, 4)]
  return trees.Interval(*items, *squares) if len(items) == 2 and any(squares) else (
      trees.Group('tuple', items))


def _row(item: trees.Tree) -> tuple[trees.Tree, ...]:
  """The entries of `[a, b, ...]` read as a row of a matrix; () for anything else."""
  if isinstance(item, trees.Interval) and item.low_closed and item.high_closed:
    return (item.low, item.high)
  return item.items if isinstance(item, trees.Group) and item.kind == 'tuple' else ()


def _braced(cursor: Cursor, _: str) -> trees.Tree:
  """A LaTeX group: invisible, unless it holds a list, which makes it a set."""
  inside = _infix(cursor, _answer(cursor))
  cursor.expect('}')
  if isinstance(inside, trees.Group) and inside.kind == 'list':
    return trees.Group('set', inside.items)
  return inside


def _infix(cursor: Cursor, left: trees.Tree) -> trees.Tree:
  """What TeX's old `a \\over b` and `n \\choose k` make of all that stands before them in a group."""
  for infix, build in (('\\over', trees.quotient), ('\\choose', _binomial)):
    if cursor.accept(infix):
      return build(scalars.scalar(left), scalars.scalar(_answer(cursor)))
  return left


def _binomial(top: trees.Scalar, bottom: trees.Scalar) -> trees.Call:
  return trees.Call('binomial', (top, bottom))


def _set_braces(cursor: Cursor, _: str) -> trees.Tree:
  if cursor.accept('\\}'):
    return trees.Group('set', ())
  inside = _answer(cursor)
  if cursor.accept('|', ':'):
    condition = _answer(cursor)
    cursor.expect('\\}')
    element = inside.sides[0] if isinstance(inside, trees.Relation) else inside
    return condition if isinstance(element, trees.Symbol) else (
        trees.Tagged('builder', (inside, condition)))
  cursor.expect('\\}')
  items = inside.items if isinstance(inside, trees.Group) and inside.kind == 'list' else (inside,)
  return trees.Group('set', items)


def _absolute(cursor: Cursor, opening: str) -> trees.Tree:
  cursor.bars = 1
  inside = scalars.sum_of(cursor)
  cursor.expect(opening)
  return trees.Call('abs', (inside,))


def _environment(cursor: Cursor, begin: str) -> trees.Tree:
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
    raise NotMath(f'nothing in {begin}.')
  if not name.endswith(('matrix', 'array')):
    return trees.Group('list', tuple(cell for cells in rows for cell in cells))
  if any(len(cells) != len(rows[0]) for cells in rows):
    raise NotMath('a matrix with rows of different length.')
  matrix = trees.Matrix(tuple(map(tuple, rows)))
  return trees.Call('det', (matrix,)) if name in ('vmatrix', 'Vmatrix') else matrix


_INSIDE = {'{': _braced, '\\{': _set_braces, '|': _absolute, '‖': _absolute,
           **{f'begin:{name}': _environment for name in (
               'matrix', 'pmatrix', 'bmatrix', 'Bmatrix', 'vmatrix', 'Vmatrix', 'smallmatrix',
               'array', 'cases', 'aligned', 'align', 'gathered', 'split', 'equation')}}
