r"""Parser of LaTeX environments: matrices, systems of equations, and values by cases.

  \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}             a matrix
  \begin{aligned} x &= 1 \\ y &= 2 \end{aligned}           the list x = 1, y = 2
  \begin{cases} x^2 & x > 0 \\ 0 & \text{otherwise} \end{cases}    a value by cases

Rows with relations are a system also in `array` and `matrix`, which people put after a brace.
"""

from collections.abc import Sequence

from mathft_jax.grading.expression_tree import (
  Call,
  Collection,
  Matrix,
  Relation,
  TaggedValue,
  Tree,
)
from mathft_jax.grading.parsing import english_words
from mathft_jax.grading.parsing.token_cursor import Cursor, ParseError

_MATRICES = (
  'matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array'
).split()
_SYSTEMS = (
  'cases dcases rcases drcases aligned align alignat alignedat gathered gather split equation '
  'eqnarray multline flalign'
).split()
BEGIN_TOKENS = tuple(f'begin:{name}' for name in (*_MATRICES, *_SYSTEMS))
_RELATION_SIGNS = ('=', '<', '>', '≤', '≥', '≠', '≈', '≡', '∈')
_CONDITION_WORDS = english_words.CONDITION_WORDS | english_words.OTHERWISE_WORDS


def parse_environment(cursor: Cursor, begin: str) -> Tree:
  """Parses the cells up to `end:`, after the token `begin`."""
  name = begin.partition(':')[2]
  if name not in _MATRICES or _has_relations(cursor, name):
    return _parse_statements(cursor, name)
  rows = _parse_rows(cursor, f'end:{name}')
  if not rows:
    raise ParseError(f'The environment {name} is empty.')
  if any(len(row) != len(rows[0]) for row in rows):
    raise ParseError('The rows of the matrix have different lengths.')
  matrix = Matrix(tuple(rows))
  is_determinant = name in ('vmatrix', 'Vmatrix')
  return Call('det', (matrix,)) if is_determinant else matrix


def parse_system(cursor: Cursor) -> Tree:
  """Parses an environment after a brace, which may be on one side only."""
  name = cursor.take().text.partition(':')[2]
  system = _parse_statements(cursor, name)
  cursor.accept('\\}')
  return system


def _has_relations(cursor: Cursor, name: str) -> bool:
  """Returns True if the environment has a relation or a condition in a cell."""
  depth = 1
  for token in cursor.tokens[cursor.position :]:
    if token.text == f'begin:{name}':
      depth += 1
    elif token.text == f'end:{name}':
      depth -= 1
    if depth == 0:
      return False
    is_condition = token.kind == 'word' and token.text in _CONDITION_WORDS
    if is_condition or token.text in _RELATION_SIGNS:
      return True
  return False


def _parse_rows(cursor: Cursor, end: str) -> list[tuple[Tree, ...]]:
  """Returns the cells of each non-empty row of a matrix, up to the token `end`."""
  rows: list[list[Tree]] = [[]]
  while not cursor.accept(end):
    if cursor.accept('\\\\'):
      rows.append([])
    elif not cursor.accept('&', ','):
      rows[-1].append(cursor.parse_statement())
  return [tuple(row) for row in rows if row]


def _parse_statements(cursor: Cursor, name: str) -> Tree:
  """Parses rows of statements; returns a list of statements or a value by cases."""
  end = f'end:{name}'
  rows: list[tuple[Tree, ...]] = []
  while not cursor.accept(end):
    if cursor.accept('\\\\'):
      continue
    row = _parse_statement_row(cursor, end)
    first = row[0] if row else None
    is_continued = isinstance(first, Relation) and first.sides[0] == _NOTHING
    if is_continued and rows and isinstance(first, Relation):
      rows[-1] = (*rows[-1][:-1], _continued(rows[-1][-1], first), *row[1:])
    elif row:
      rows.append(tuple(row))
  if not rows:
    raise ParseError(f'The environment {name} is empty.')
  cases = cases_of_rows(rows)
  if cases:
    return cases
  statements = sum(rows, ())
  return (
    statements[0] if len(statements) == 1 else Collection('list', statements)
  )


_NOTHING = Collection('set', ())


def _parse_statement_row(cursor: Cursor, end: str) -> list[Tree]:
  """Parses statements separated by commas, signs `&` or words such as `if`, up to the row's end."""
  row: list[Tree] = []
  while cursor.text not in ('\\\\', end):
    if cursor.kind == 'end':
      raise ParseError(f'The environment has no {end}.')
    word = cursor.text.lower()
    if cursor.accept('&', ',', ';', 'and'):
      continue
    if cursor.text == '.':
      cursor.take()
      continue
    if cursor.kind == 'word' and word in _CONDITION_WORDS:
      cursor.take()
      if word in english_words.OTHERWISE_WORDS:
        row.append(TaggedValue('text', ('otherwise',)))
      continue
    is_continued = cursor.text in _RELATION_SIGNS
    operator = cursor.take().text if is_continued else ''
    while operator and cursor.accept('&'):
      continue
    statement = cursor.parse_statement()
    if not operator:
      row.append(statement)
      continue
    rest = Relation((_NOTHING, statement), (operator,))
    if row:  # the `= 1` of `x &= 1`
      row[-1] = _continued(row[-1], rest)
    else:
      row.append(rest)
  return row


def _continued(before: Tree, after: Relation) -> Relation:
  """Returns the chain of a statement and a next row that starts with its sign."""
  rest = after.sides[1]
  sides, operators = (rest,), ()
  if isinstance(rest, Relation):
    sides, operators = rest.sides, rest.operators
  if isinstance(before, Relation):
    all_operators = (*before.operators, *after.operators, *operators)
    return Relation((*before.sides, *sides), all_operators)
  return Relation((before, *sides), (*after.operators, *operators))


def cases_of_rows(rows: Sequence[tuple[Tree, ...]]) -> TaggedValue | None:
  """Returns the value by cases that has these rows; None if a row is no value with conditions."""
  pieces = list(map(_piece, _without_defined_name(rows)))
  if not all(pieces):
    return None
  return TaggedValue('cases', tuple(piece for piece in pieces if piece))


def _without_defined_name(
  rows: Sequence[tuple[Tree, ...]],
) -> Sequence[tuple[Tree, ...]]:
  """Removes the `f(x) =` of rows such as `f(x) = 1, x > 0`, if all rows have it.

  Rows of equations only, such as `x = 1, y = 2`, are solutions, not cases.
  """
  names: set[Tree] = set()
  has_condition = False
  values: list[tuple[Tree, ...]] = []
  for value, *conditions in rows:
    if not isinstance(value, Relation) or value.operators != ('=',):
      return rows
    names.add(value.sides[0])
    values.append((value.sides[1], *conditions))
    has_condition |= any(
      not isinstance(condition, Relation) or condition.operators != ('=',)
      for condition in conditions
    )
  return values if len(names) == 1 and has_condition else rows


def _piece(row: tuple[Tree, ...]) -> TaggedValue | None:
  """Returns a value and its condition; None if the row is no such piece."""
  value, *conditions = row
  if not conditions or isinstance(value, Relation):
    return None
  if not all(map(_is_condition, conditions)):
    return None
  condition = conditions[0]
  if len(conditions) > 1:
    condition = Collection('list', tuple(conditions))
  return TaggedValue('piece', (value, condition))


def _is_condition(tree: Tree) -> bool:
  if isinstance(tree, TaggedValue):
    return tree.tag in ('text', 'property')
  return not isinstance(tree, Collection)
