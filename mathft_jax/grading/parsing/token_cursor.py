"""The position of the parser in a sequence of tokens, and the parser's state."""

from collections.abc import Callable, Sequence

from mathft_jax.grading.expression_tree import Tree
from mathft_jax.grading.parsing.lexer import Token

MAX_NESTING = 60  # operands inside operands

_END = Token('end', '', False)
_LOOKAHEAD = 8  # tokens that `peek` may look ahead


Parse = Callable[['Cursor'], Tree]
ParseEnclosed = Callable[['Cursor', str], Tree]


class ParseError(ValueError):
  """The tokens do not match the grammar of answers."""


class Cursor:
  """The next token and the state of the parser.

  The parsers of lists, brackets, operands and arguments are given to the constructor, so that
  modules for single constructs can call them without importing them.

  Attributes:
    tokens: the tokens of the answer, followed by tokens of kind 'end'.
    position: index of the next token.
    statement_start: index of the first token of the current statement.
    open_bars: number of open `|` of absolute values.
    allows_ratios: whether `:` is the sign of a ratio. It is not inside set braces.
    in_matrix: whether brackets are rows of a matrix, as in `[[1, 2], [3, 4]]`.
    open_integrals: number of open integrals. Inside an integral `dx` ends a product.
    num_plus_minus: number of `±` signs so far.
    nesting: number of operands around the current one.
  """

  def __init__(
    self,
    tokens: Sequence[Token],
    parse_list: Parse,
    parse_statement: Parse,
    parse_enclosed: ParseEnclosed,
    parse_operand: Parse,
    parse_argument: Parse,
  ):
    self.tokens = [*tokens, *[_END] * _LOOKAHEAD]
    self._parse_list = parse_list
    self._parse_statement = parse_statement
    self._parse_enclosed = parse_enclosed
    self._parse_operand = parse_operand
    self._parse_argument = parse_argument
    self.position = 0
    self.statement_start = 0
    self.open_bars = 0
    self.allows_ratios = True
    self.in_matrix = False
    self.open_integrals = 0
    self.num_plus_minus = 0
    self.nesting = 0

  def peek(self, ahead: int = 0) -> Token:
    """Returns the token `ahead` positions after the next one; its kind is 'end' after the last."""
    return self.tokens[self.position + ahead]

  @property
  def text(self) -> str:
    """The text of the next token."""
    return self.tokens[self.position].text

  @property
  def kind(self) -> str:
    """The kind of the next token."""
    return self.tokens[self.position].kind

  def take(self) -> Token:
    """Returns the next token and advances."""
    token = self.tokens[self.position]
    if token is _END:
      raise ParseError('Unexpected end of the answer.')
    self.position += 1
    return token

  def accept(self, *texts: str) -> str:
    """Takes the next token if it is one of these operators; returns its text, otherwise ''."""
    kind, text, _ = self.tokens[self.position]
    if text in texts and (kind == 'operator' or kind == 'structure'):
      self.position += 1
      return text
    return ''

  def expect(self, *texts: str) -> str:
    """Takes the next token, which must be one of these operators; returns its text."""
    found = self.accept(*texts)
    if not found:
      raise ParseError(f'Found {self.text!r}; expected one of {texts}.')
    return found

  def parse_list(self) -> Tree:
    """Parses statements and their separators."""
    return self._parse_list(self)

  def parse_statement(self) -> Tree:
    """Parses one statement, such as `x = 2`."""
    return self._parse_statement(self)

  def parse_enclosed(self, opening: str) -> Tree:
    """Parses what follows the bracket `opening`, up to its closing bracket."""
    return self._parse_enclosed(self, opening)

  def parse_operand(self) -> Tree:
    """Parses a power, such as `2`, `x^2` or `(x + 1)!`."""
    return self._parse_operand(self)

  def parse_argument(self) -> Tree:
    """Parses an argument of a LaTeX command: a group, brackets, one digit or one operand."""
    return self._parse_argument(self)

  def parse_script(self) -> Tree:
    """Parses an exponent: a group or an operand, with its sign."""
    self.accept('+', '-')
    return self._parse_operand(self)

  def at_differential(self) -> bool:
    """Returns True if the next tokens are the `dx` of an integral."""
    return (
      self.open_integrals > 0
      and self.text == 'd'
      and self.peek(1).kind == 'name'
    )

  def enter(self) -> None:
    """Enters an operand; raises ParseError if operands are nested too deeply."""
    self.nesting += 1
    if self.nesting > MAX_NESTING:
      raise ParseError(f'Operands nested more than {MAX_NESTING} deep.')

  def leave(self) -> None:
    """Leaves the operand that was entered last."""
    self.nesting -= 1
