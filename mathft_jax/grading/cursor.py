"""A place in a row of tokens, for the parser."""

from collections.abc import Callable, Sequence
from typing import Any

from mathft_jax.grading.tokens import Token

MAX_NESTING = 60  # operands inside operands; deeper is no answer

_END = Token('end', '', False)


class NotMath(ValueError):
  """The tokens are no mathematics that the grammar knows."""


class Cursor:
  """The next token and what the grammar must remember while it reads."""

  def __init__(self, tokens: Sequence[Token], enclosed: Callable[['Cursor', str], Any]):
    self.tokens = tokens
    self.enclosed = enclosed  # reads a bracketed answer: the one way up from scalars to answers
    self.position = 0
    self.statement_start = 0
    self.bars = 0  # open | of absolute values
    self.ratios = True  # whether : makes a ratio; inside set braces it does not
    self.signs = 0  # ± seen
    self.nesting = 0

  def peek(self, ahead: int = 0) -> Token:
    index = self.position + ahead
    return self.tokens[index] if index < len(self.tokens) else _END

  @property
  def text(self) -> str:
    return self.peek().text

  @property
  def kind(self) -> str:
    return self.peek().kind

  def take(self) -> Token:
    token = self.peek()
    if token is _END:
      raise NotMath('the answer ends too early.')
    self.position += 1
    return token

  def accept(self, *texts: str) -> str:
    """The next text, taken, when it is an operator of `texts`; otherwise ''."""
    token = self.peek()
    if token.kind in ('operator', 'structure') and token.text in texts:
      self.position += 1
      return token.text
    return ''

  def expect(self, *texts: str) -> str:
    found = self.accept(*texts)
    if not found:
      raise NotMath(f'{self.text!r} where one of {texts} is due.')
    return found

  def deeper(self) -> None:
    self.nesting += 1
    if self.nesting > MAX_NESTING:
      raise NotMath(f'nested deeper than {MAX_NESTING}.')

  def shallower(self) -> None:
    self.nesting -= 1
