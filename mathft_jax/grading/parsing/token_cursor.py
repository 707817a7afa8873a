"""A place in a row of tokens, for the parser."""

from collections.abc import Callable, Sequence
from typing import Any

from mathft_jax.grading.parsing.answer_tokenizer import Token

MAX_NESTING = 60  # operands inside operands; deeper is no answer

_END = Token('end', '', False)
_MARGIN = 8  # the farthest look ahead


class AnswerSyntaxError(ValueError):
  """The tokens are no mathematics that the grammar knows."""


class TokenCursor:
  """The next token and what the grammar must remember while it reads."""

  def __init__(
    self, tokens: Sequence[Token], enclosed: Callable[['TokenCursor', str], Any]
  ):
    self.tokens = [*tokens, *[_END] * _MARGIN]
    self.enclosed = enclosed  # reads a bracketed answer: the one way up from scalars to answers
    self.position = 0
    self.statement_start = 0
    self.bars = 0  # open | of absolute values
    self.ratios = True  # whether : makes a ratio; inside set braces it does not
    self.rows = False  # whether brackets are the rows of a matrix: inside `[[`
    self.integrals = 0  # open ones: there `dx` ends a product
    self.signs = 0  # ± seen
    self.nesting = 0

  def peek(self, ahead: int = 0) -> Token:
    """The token that many places ahead, up to _MARGIN; of kind `end` behind the last."""
    return self.tokens[self.position + ahead]

  @property
  def text(self) -> str:
    return self.tokens[self.position].text

  @property
  def kind(self) -> str:
    return self.tokens[self.position].kind

  def take(self) -> Token:
    token = self.tokens[self.position]
    if token is _END:
      raise AnswerSyntaxError('the answer ends too early.')
    self.position += 1
    return token

  def accept(self, *texts: str) -> str:
    """The next text, taken, when it is an operator of `texts`; otherwise ''."""
    kind, text, _ = self.tokens[self.position]
    if text in texts and (kind == 'operator' or kind == 'structure'):
      self.position += 1
      return text
    return ''

  def expect(self, *texts: str) -> str:
    found = self.accept(*texts)
    if not found:
      raise AnswerSyntaxError(f'{self.text!r} where one of {texts} is due.')
    return found

  def at_differential(self) -> bool:
    """True before the `dx` of an integral."""
    return (
      self.integrals > 0 and self.text == 'd' and self.peek(1).kind == 'name'
    )

  def deeper(self) -> None:
    self.nesting += 1
    if self.nesting > MAX_NESTING:
      raise AnswerSyntaxError(f'nested deeper than {MAX_NESTING}.')

  def shallower(self) -> None:
    self.nesting -= 1
