"""Parser of answers: tokens to an expression tree, by recursive descent.

  parse_answer(tokenize_answer('x = 2 or x = 3'))

The grammar, of which this module implements the rules from `answer` to `set`, `bracket_parser` and
`environment_parser` the rule `enclosed`, and `expression_parser` the others:

  answer    := piece (separator piece)*                    separator: , ; and or ∧ ∨ (line break)
  piece     := statement [('if' | 'when' | ...) statement | 'otherwise']
  statement := side (relation side)* ['pmod' argument]     relation: = ≡ ≈ < ≤ > ≥ ≠ ∈ → ⊂ ≪ ...
  side      := set (':' set)* | set ('by' set)* | time | words
  set       := sum (('∪' | '∩' | '∖') sum)*
  sum       := signs product (('+' | '-' | '±' | '∓') product)*
  product   := power (['*' | '/' | 'mod' | '∘' | ...] power)* [unit]
  power     := suffixed ['^' exponent]
  suffixed  := primary ('!' | '°' | "'" | '_' index)*
  primary   := number | name | function argument | enclosed | structure
  enclosed  := ( answer ) | [ answer ] | { answer } | \\{ answer [ '|' answer ] \\} | '|' sum '|'
             | environment
"""

from collections.abc import Sequence
import functools

from mathft_jax.grading.expression_tree import (
  ELLIPSIS,
  INFINITY,
  MINUS_INFINITY,
  Call,
  Collection,
  Interval,
  Relation,
  SetOperation,
  Symbol,
  TaggedValue,
  Tree,
  as_set,
  is_literal,
)
from mathft_jax.grading.parsing import (
  bracket_parser,
  choices,
  english_words,
  environment_parser,
)
from mathft_jax.grading.parsing.expression_parser import (
  parse_argument,
  parse_operand,
  parse_sum,
)
from mathft_jax.grading.parsing.lexer import Token
from mathft_jax.grading.parsing.token_cursor import (
  MAX_NESTING,
  Cursor,
  ParseError,
)

_RELATIONS = frozenset('=≡≈<≤>≥≠∈∉∋→←⇔↦≪≫⊂⊆⊃⊇⊄⊈≺≻⪯⪰≲≳⊲⊳⊢⊨∝∼≅∥⊥≢∤∦≁≇')
_ORDER = frozenset('<>≤≥≠∈')
_SET_OPERATORS = ('∪', '∩', '∖')
_SEPARATORS = (',', ';', 'and', 'or', '∧', '∨', '\\\\')
_LOGIC = ('∧', '∨')
_union = functools.partial(SetOperation, '∪')


def parse_answer(tokens: Sequence[Token]) -> Tree:
  """Returns the expression tree of an answer.

  Raises:
    ParseError: the tokens do not match the grammar.
  """
  parts = choices.split_labelled_parts(tokens)
  if parts:
    return Collection('list', tuple(_parse_or_quote(part) for part in parts))
  choice = choices.split_choice(tokens)
  if choice:
    letter, value = choice
    return TaggedValue('choice', (Symbol(letter), _parse_or_quote(value)))
  return _parse_plain_answer(tokens)


def _parse_or_quote(tokens: Sequence[Token]) -> Tree:
  """Parses the tokens; returns a text if they do not match the grammar."""
  try:
    return _parse_plain_answer(tokens)
  except ParseError:
    return TaggedValue('text', tuple(token.text.lower() for token in tokens))


def _parse_plain_answer(tokens: Sequence[Token]) -> Tree:
  if _is_capital_word(tokens):
    if _are_choices(tokens):
      return Collection('list', tuple(Symbol(token.text) for token in tokens))
    return TaggedValue('text', tuple(token.text.lower() for token in tokens))
  cursor = Cursor(
    tokens,
    _parse_list,
    parse_statement,
    bracket_parser.parse_enclosed,
    parse_operand,
    parse_argument,
  )
  tree = bracket_parser.parse_infix_command(cursor, _parse_list(cursor))
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


def _are_choices(tokens: Sequence[Token]) -> bool:
  """Returns True for letters of choices in their order, such as ACD."""
  letters = [token.text for token in tokens]
  return letters == sorted(set(letters)) and set(letters) <= set('ABCDEF')


def _parse_list(cursor: Cursor) -> Tree:
  """answer := statement (separator statement)*"""
  items = [_parse_piece(cursor)]
  separators: list[str] = []
  while separator := _accept_separators(cursor):
    if cursor.kind == 'end':
      break
    separators.append(separator)
    is_hedged = _at_hedge(cursor)
    item = _parse_piece(cursor)
    if separator in _LOGIC and _is_formula(items[-1]) and _is_formula(item):
      cursor.enter()  # without leave(): formulas are nested to the left
      items[-1] = TaggedValue('logic', (separator, items[-1], item))
    elif _are_joined_conditions(separator, items[-1], item):
      cursor.enter()  # without leave(): set operations are nested to the left
      operator = '∪' if separator in ('or', '∨') else '∩'
      items[-1] = SetOperation(operator, items[-1], item)
    elif is_hedged and is_literal(item) and not is_literal(items[-1]):
      continue  # 5 sqrt 2, or about 7.07
    else:
      items.append(item)
  if len(items) == 1:
    return items[0]
  if all(_is_piece(item) for item in items):
    return TaggedValue('cases', tuple(items))
  return _cases_in_list(items, separators) or Collection('list', tuple(items))


def _cases_in_list(
  items: Sequence[Tree], separators: Sequence[str]
) -> TaggedValue | None:
  """Returns the value by cases of `1, x > 0; 2, x < 0`; None for other lists."""
  is_in_rows = (
    len(items) == len(separators) + 1 >= 4
    and set(separators[::2]) == {','}
    and set(separators[1::2]) in ({';'}, {'\\\\'})
  )
  if not is_in_rows or len(items) % 2:
    return None
  conditions = [_as_condition(item) for item in items[1::2]]
  if not all(conditions):
    return None
  rows = [
    (value, condition)
    for value, condition in zip(items[::2], conditions)
    if condition
  ]
  return environment_parser.cases_of_rows(rows)


def _as_condition(tree: Tree) -> Tree | None:
  """Returns a relation or property, or `otherwise`; None for other trees."""
  if isinstance(tree, Relation):
    return tree
  if isinstance(tree, TaggedValue):
    words = english_words.OTHERWISE_WORDS
    if tree.tag == 'property' or tree.tag == 'text' and tree.items[0] in words:
      return TaggedValue('text', ('otherwise',)) if tree.tag == 'text' else tree
  return None


def _parse_piece(cursor: Cursor) -> Tree:
  """Parses a statement and, after `if` or `otherwise`, its condition."""
  value = parse_statement(cursor)
  while cursor.kind == 'word':
    word = cursor.text.lower()
    if word in english_words.OTHERWISE_WORDS:
      cursor.take()
      otherwise = TaggedValue('text', ('otherwise',))
      return TaggedValue('piece', (value, otherwise))
    if word not in english_words.CONDITION_WORDS:
      break
    cursor.take()
    if cursor.kind == 'word' and cursor.text in ('that', 'all', 'any'):
      cursor.take()
    cursor.enter()  # without leave(): conditions are nested to the left
    value = TaggedValue('piece', (value, parse_statement(cursor)))
  return value


def _is_piece(tree: Tree) -> bool:
  return isinstance(tree, TaggedValue) and tree.tag == 'piece'


def _is_formula(tree: Tree) -> bool:
  """Returns True for an operand of logic: a letter, a negation, or such a formula."""
  if isinstance(tree, TaggedValue):
    return tree.tag == 'logic'
  return isinstance(tree, Symbol) or (
    isinstance(tree, Call) and tree.function == '¬'
  )


def _at_hedge(cursor: Cursor) -> bool:
  """Returns True before a rounded value: `about 7.07`, `≈ 7.07`."""
  is_word = cursor.kind == 'word'
  is_hedge = is_word and cursor.text.lower() in english_words.HEDGE_WORDS
  return is_hedge or cursor.text in ('≈', '∼')


def _accept_separators(cursor: Cursor) -> str:
  """Takes all adjacent separators; returns the last `and` or `or`, else the first separator."""
  separator = following = cursor.accept(*_SEPARATORS)
  while following:
    following = cursor.accept(*_SEPARATORS)
    if following in ('and', 'or', *_LOGIC):
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
  if separator in ('or', '∨'):
    return num_inequalities >= 1
  return separator in ('and', '∧') and num_inequalities == 2


def _has_inequality(relation: Relation) -> bool:
  return not _ORDER.isdisjoint(relation.operators)


def parse_statement(cursor: Cursor) -> Tree:
  """statement := side (relation side)* ['pmod' argument]"""
  cursor.accept('=', '≈', '∼')
  cursor.statement_start = cursor.position
  sides = [_parse_side(cursor)]
  operators: list[str] = []
  while cursor.kind == 'operator' and cursor.text in _RELATIONS:
    operators.append(cursor.take().text)
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
  while cursor.kind == 'word' and cursor.text == 'by':
    cursor.take()
    parts.append(_parse_set(cursor))
  if len(parts) > 1:
    return TaggedValue('dimensions', tuple(parts))
  if cursor.kind == 'word' and not isinstance(parts[0], TaggedValue):
    words = _take_property(cursor)
    if words:
      return TaggedValue('property', (parts[0], *words))
  while cursor.allows_ratios and cursor.accept(':'):
    first = parts[0]
    if isinstance(first, TaggedValue) and first.tag == 'text':
      return _parse_side(cursor)  # a label: "Area: 5"
    parts.append(_parse_set(cursor))
  return parts[0] if len(parts) == 1 else TaggedValue('ratio', tuple(parts))


def _take_property(cursor: Cursor) -> list[str]:
  """Takes words that state a property: `n is even`; returns them without `is`."""
  words: list[str] = []
  while cursor.kind == 'word' and cursor.text != 'by':
    word = cursor.text.lower()
    if not words and word not in english_words.PROPERTY_WORDS:
      break
    words.append(word)
    cursor.take()
  if words and cursor.kind == 'word' and cursor.peek(1).kind == 'number':
    cursor.take()  # divisible by 3
    words.append(cursor.take().text)
  return [word for word in words if word not in ('is', 'are', 'a', 'an')]


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
