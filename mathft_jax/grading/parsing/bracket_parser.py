"""Parser of what stands in brackets: tuples, intervals, sets, groups, absolute values.

It implements the rule `enclosed` of the grammar in `answer_parser`.
"""

from collections.abc import Callable

from mathft_jax.grading.expression_tree import (
  Call,
  Collection,
  Interval,
  Matrix,
  Relation,
  Symbol,
  TaggedValue,
  Tree,
  quotient,
)
from mathft_jax.grading.parsing import environment_parser
from mathft_jax.grading.parsing.expression_parser import (
  parse_sum,
  require_operand,
)
from mathft_jax.grading.parsing.token_cursor import (
  Cursor,
  ParseError,
)

_CLOSING = {
  '(': (')', ']'),
  '[': (']', ')'),
  '⟨': ('⟩',),
  '⌊': ('⌋',),
  '⌈': ('⌉',),
}


def list_items(tree: Tree) -> tuple[Tree, ...]:
  """Returns the items of a list without brackets, or the tree alone."""
  if isinstance(tree, Collection) and tree.kind == 'list':
    return tree.items
  return (tree,)


def parse_enclosed(cursor: Cursor, opening: str) -> Tree:
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
  inside = cursor.parse_list()
  has_rows = cursor.in_matrix
  closing = cursor.expect(*_CLOSING[opening])
  if opening in '⌊⌈':
    return Call('floor' if opening == '⌊' else 'ceil', (inside,))

  items = list_items(inside)
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
  inside = parse_infix_command(cursor, cursor.parse_list())
  cursor.expect('}')
  if isinstance(inside, Collection) and inside.kind == 'list':
    return Collection('set', inside.items)
  return inside


def parse_infix_command(cursor: Cursor, left: Tree) -> Tree:
  r"""Parses `a \over b` and `n \choose k`, which take all of the group before them as operand."""
  if cursor.accept('\\over'):
    return quotient(*_parse_operands(cursor, left))
  if cursor.accept('\\choose'):
    return Call('binomial', _parse_operands(cursor, left))
  return left


def _parse_operands(cursor: Cursor, left: Tree) -> tuple[Tree, Tree]:
  return require_operand(left), require_operand(cursor.parse_list())


def _parse_set_braces(cursor: Cursor, _: str) -> Tree:
  r"""Parses a set `\{1, 2\}` or a set builder `\{x | x > 1\}`."""
  if cursor.accept('\\}'):
    return Collection('set', ())
  if cursor.text.startswith('begin:') and cursor.kind == 'structure':
    return environment_parser.parse_system(cursor)
  inside = cursor.parse_list()
  if cursor.kind == 'end' and _is_system(inside):
    return inside  # a brace on one side only
  if not cursor.accept('|', ':'):
    cursor.expect('\\}')
    return Collection('set', list_items(inside))

  condition = cursor.parse_list()
  cursor.expect('\\}')
  element = inside.sides[0] if isinstance(inside, Relation) else inside
  if isinstance(element, Symbol):
    return condition
  return TaggedValue('builder', (inside, condition))


def _is_system(tree: Tree) -> bool:
  return all(isinstance(item, Relation) for item in list_items(tree))


def _parse_absolute_value(cursor: Cursor, bar: str) -> Tree:
  cursor.open_bars = 1
  inside = parse_sum(cursor)
  cursor.expect(bar)
  return Call('abs', (inside,))


_ENCLOSED_PARSERS: dict[str, Callable[[Cursor, str], Tree]] = {
  **dict.fromkeys(_CLOSING, _parse_brackets),
  **dict.fromkeys(
    environment_parser.BEGIN_TOKENS, environment_parser.parse_environment
  ),
  '{': _parse_group,
  '\\{': _parse_set_braces,
  '|': _parse_absolute_value,
  '‖': _parse_absolute_value,
}
