r"""Lexer of answers: text to tokens, one token for all spellings of a symbol, none for layout.

  tokenize_text(r'\left(\dfrac{1}{2}\right)')    # ( frac { 1 } { 2 } )

A token is a number, a name (one variable or constant), a function, an English word, an operator or
a structure (`frac`, `sqrt`, `begin:pmatrix`). Tokens are not nested: `\text{...}` becomes the
tokens of its words.
"""

import re
from typing import NamedTuple

from mathft_jax.grading.parsing import (
  english_words,
  letter_runs,
  notation,
  text_normalization,
)

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 40  # open brackets; answers of the MATH dataset have at most 5

_TOKEN = re.compile(
  r'(?P<space>[\s~]+)'
  r'|(?P<environment>\\(?:begin|end)\s*\{\s*[a-zA-Z]+\*?\s*\})'
  r'|\\(?P<command>[a-zA-Z]+|.)'
  r'|(?P<number>(?:\d+\.(?=\s*[-+*/^=<>,;)\]}&|%°]|\s*\$?\s*[a-z]{2}|\s*\\'
  r'(?!(?:overline|bar|d?dot|[lcd]?dots[cb]?)\b))'
  r'|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+(?![\d.a-zA-Z]))?)'
  r'|(?P<letters>[a-zA-Z]+)'
  r'|(?P<operator>\*\*|\+/-|<=|=<|>=|==|:=|\.\.\.|[-+*/^_!=<>(){}\[\]|,;:\'&])'
  r'|(?P<other>.)',
  re.DOTALL | re.ASCII,
)
_SPACED_COMMA = r',\s*(?:\\!\s*)+|\{,\}|\\,'
_DECIMALS = r'(?:\.\d+)?'
_THOUSANDS = re.compile(
  rf'[1-9]\d{{0,2}}(?:(?:{_SPACED_COMMA})\d{{3}})+(?!\d){_DECIMALS}', re.ASCII
)
_PLAIN_THOUSANDS = re.compile(
  rf'(?<!\d,)[1-9]\d{{0,2}}(?:(?:{_SPACED_COMMA}|,)\d{{3}})+(?!,?\d){_DECIMALS}',
  re.ASCII,
)
_LEADING_DIGITS = re.compile(r'[1-9]\d{0,2}(?:\d{3})*')
_THREE_DIGITS = re.compile(r'\d{3}(?:\.\d+)?')
_COLUMN_FORMAT = re.compile(r'\s*\{[clr|\s]*\}')
_HALF_DAY = re.compile(r'([apAP])\.?\s?[mM]\b\.?')
_INVISIBLE_BRACKET = re.compile(r'\.')
_NEGATED = re.compile(r'\s*(?:\\([a-zA-Z]+)|([=<>|]))')
_VECTOR_POINTS = re.compile(r'\s*\{\s*([A-Z][A-Z\']+)\s*\}')
_VECTOR = re.compile(
  r'\s*\d*\s*\\(?:mathbf|vec|bm|boldsymbol|overrightarrow|hat)\b'
)
# A word with hyphens, such as push-ups, t-shirts or sugar-free.
_COMPOUND_WORD = re.compile(r'(?:-[a-zA-Z]+)+(?![\w(])')
# What follows a word such as `is`, `an`, `by` or `of`, which could be a product of letters.
_PLAIN_WORD_CONTEXT = re.compile(
  r'(?:\s|\\[ ,;:])+(?:of(?:\s|\\[ ,;:])+)?'
  r'(?:\d|(?:an?(?:\s|\\[ ,;:])+)?(?!(?:sin|cos|tan|log)\b)[a-zA-Z]{3,})'
)
_VECTOR_COMMANDS = (
  'vec',
  'overrightarrow',
  'mathbf',
  'bm',
  'boldsymbol',
  'hat',
)
_ARGUMENT_START = re.compile(r'[(^{]|\\[a-zA-Z]')
_ARGUMENT = re.compile(r'\s*(?:\{[^{}]*\}|.)', re.DOTALL)
_OPERATOR_SPELLINGS = {
  '**': '^',
  '+/-': '±',
  '<=': '≤',
  '=<': '≤',
  '>=': '≥',
  '==': '=',
  ':=': '=',
  '...': '…',
}
_CLOSING = frozenset({')', ']', '}', '\\}', '°', '∘', '⟩'})


class Token(NamedTuple):
  """A token of an answer.

  Attributes:
    kind: 'number', 'name', 'function', 'word', 'operator', 'structure', 'other', or 'end'.
    text: the canonical spelling.
    gap: whether white space or layout separates it from the previous token.
  """

  kind: str
  text: str
  gap: bool


class AnswerTooLong(ValueError):
  """The text has more characters or more open brackets than an answer may have."""


def tokenize_text(text: str) -> list[Token]:
  """Returns the tokens of a text in their order.

  Raises:
    AnswerTooLong: more than MAX_LENGTH characters or MAX_DEPTH open brackets.
  """
  if len(text) > MAX_LENGTH:
    raise AnswerTooLong(
      f'The answer has {len(text)} characters; at most {MAX_LENGTH} are read.'
    )
  return _Lexer(text_normalization.normalize_text(text)).tokenize()


class _Lexer:
  """The state of one pass over a text."""

  def __init__(self, text: str):
    self.text = text
    self.position = 0
    self.gap = False
    self.tokens: list[Token] = []
    # Number of open brackets and set braces: inside them a comma between digits is a separator.
    self.depth = 0
    # The kind of each open brace: 'group', or 'text' or 'math' for the argument of a wrapper.
    self.braces: list[str] = []
    # The kind of the next brace, after the name of a wrapper.
    self.wrapper: str | None = None
    # Number of tokens up to the last vector, such as `\\mathbf{a}`.
    self.vector_end = 0

  def tokenize(self) -> list[Token]:
    readers = {
      'space': self._read_space,
      'environment': self._read_environment,
      'command': self._read_command,
      'number': self._read_number,
      'letters': self._read_letters,
      'operator': self._read_operator,
      'other': self._read_other,
    }
    while self.position < len(self.text):
      match = self._match_thousands() or _TOKEN.match(self.text, self.position)
      assert match is not None  # `other` matches any character
      kind = match.lastgroup or 'number'
      self.position = match.end()
      readers[kind](match[match.lastgroup or 0])
    return self.tokens

  def _match_thousands(self) -> re.Match[str] | None:
    """Matches a number with separators between thousands, such as 1,234 or 1{,}234."""
    if not self.text[self.position].isdigit():
      return None
    match = None
    if not self.depth:
      match = _PLAIN_THOUSANDS.match(self.text, self.position)
    return match or _THOUSANDS.match(self.text, self.position)

  def _add(self, kind: str, text: str) -> None:
    self.tokens.append(Token(kind, text, self.gap))
    self.gap = False

  def _read_space(self, _: str) -> None:
    self.gap = True

  def _read_number(self, text: str) -> None:
    digits = re.sub(r'[^\d.eE+-]', '', text)
    previous = self._previous()
    # Spaces between thousands: 33 800 000.
    if (
      self.gap
      and previous.kind == 'number'
      and _THREE_DIGITS.fullmatch(digits)
      and _LEADING_DIGITS.fullmatch(previous.text)
    ):
      self.tokens[-1] = previous._replace(text=previous.text + digits)
      self.gap = False
    else:
      self._add('number', digits)

  def _read_environment(self, text: str) -> None:
    name = text[text.index('{') + 1 : -1].strip().rstrip('*')
    is_begin = text.startswith('\\begin')
    if name == 'array' and is_begin:
      self._skip(_COLUMN_FORMAT)
    self.depth += 1 if is_begin else -1
    self._check_depth()
    self._add('structure', f'{"begin" if is_begin else "end"}:{name}')

  def _skip(self, pattern: re.Pattern[str]) -> None:
    match = pattern.match(self.text, self.position)
    if match:
      self.position = match.end()

  def _read_command(self, name: str) -> None:
    if name == 'not' and self._read_negated_relation():
      return
    if name == 'times' and self._is_between_vectors():
      self._read_operator('×')
    elif name in ('vec', 'overrightarrow') and self._read_vector():
      return
    elif name in notation.COMMAND_TOKENS:
      self._read_operator(notation.COMMAND_TOKENS[name])
    elif name == 'forall':
      self._add('word', 'for')
      self._add('word', 'all')
    elif name in notation.IGNORED_COMMANDS:
      self.gap = True
      if name in ('left', 'right'):
        self._skip(_INVISIBLE_BRACKET)
    elif name in notation.TEXT_WRAPPERS:
      self.wrapper = 'text'
    elif name in notation.MATH_WRAPPERS:
      self.wrapper = 'math'
      if name in _VECTOR_COMMANDS:
        self.vector_end = len(self.tokens) + 1
    elif name in notation.IGNORED_COMMANDS_WITH_ARGUMENT:
      self._skip(_ARGUMENT)
    elif name in notation.FRACTION_COMMANDS:
      self._add('structure', 'frac')
    elif name in notation.BINOMIAL_COMMANDS:
      self._add('structure', 'binom')
    elif name in notation.STRUCTURE_COMMANDS:
      self._add('structure', name)
    elif name in notation.FUNCTION_NAMES:
      self._add('function', notation.FUNCTION_NAMES[name])
    elif name in notation.ORDERED_COMMANDS:
      self._read_operator(notation.ORDERED_COMMANDS[name])
    elif letter_runs.is_symbol_command(name):
      self._add('name', notation.SYMBOL_NAMES.get(name, name))
    elif name.isalpha():
      self._add('unknown', f'\\{name}')
    else:
      self._add('other', name)

  def _read_negated_relation(self) -> bool:
    r"""Reads the relation after `\not`; returns False if there is none."""
    match = _NEGATED.match(self.text, self.position)
    if match is None:
      return False
    command, sign = match.groups()
    relation = notation.COMMAND_TOKENS.get(command, '') if command else sign
    if relation not in notation.NEGATED_RELATIONS:
      return False
    self.position = match.end()
    self._read_operator(notation.NEGATED_RELATIONS[relation])
    return True

  def _is_between_vectors(self) -> bool:
    r"""Returns True at the `\times` of a cross product."""
    is_after_vector = 0 < self.vector_end == len(self.tokens)
    return is_after_vector and bool(_VECTOR.match(self.text, self.position))

  def _read_vector(self) -> bool:
    r"""Reads the points of `\vec{AB}`, which is not `\vec{BA}`; returns False for others."""
    match = _VECTOR_POINTS.match(self.text, self.position)
    if match is None:
      return False
    self.position = match.end()
    self._add('name', f'vec {match[1]}')
    self.vector_end = len(self.tokens)
    return True

  def _read_letters(self, run: str) -> None:
    in_text = 'text' in self.braces or self.wrapper == 'text'
    self.wrapper = None
    previous = self._previous()
    after_quantity = (
      previous.kind == 'number'
      or previous.text in _CLOSING
      or self._is_after_unit_or_pi(run)
    )
    if after_quantity:
      half_day = _HALF_DAY.match(self.text, self.position - len(run))
      if half_day:
        self.position = half_day.end()
        self._add('word', half_day[1].lower() + 'm')
        return
    if run == 'to' and previous.kind == 'number':  # a ratio: 3 to 2
      self._add('word', run)
      return

    joined = letter_runs.joined_conjunction(run) if after_quantity else ''
    if joined:  # `1orx=2`
      self.position -= len(run) - len(joined)
      self._add('operator', joined)
      return
    if (
      in_text
      or after_quantity
      or previous.kind == 'word'
      or previous.text == '('
    ):
      compound = _COMPOUND_WORD.match(self.text, self.position)
      if compound and letter_runs.is_compound_word(run + compound.group()):
        self.position = compound.end()
        self._add('word', run + compound.group())
        return

    if self._is_plain_word(run):
      self._add('word', run)
      return
    following = self.text[self.position : self.position + 1]
    if run == 'Matrix' and following == '(':
      return  # sympy's notation
    if in_text or (previous.kind == 'word' and len(run) > 1):
      self._add(*letter_runs.classify_text(run, after_quantity))
      return
    before_argument = bool(_ARGUMENT_START.match(self.text, self.position))
    for kind, text in letter_runs.classify_math(
      run, after_quantity, before_argument
    ):
      self._add(kind, text)

  def _is_plain_word(self, run: str) -> bool:
    """Returns True for a short word between words or numbers, and a unit in brackets."""
    previous = self._previous()
    if previous.text == '(' and len(self.tokens) > 1:
      is_apart = self.text.startswith((')', '.', ' ', '/', '\\'), self.position)
      is_unit = run.lower() in english_words.UNIT_WORDS or len(run) > 3
      return is_apart and is_unit and self.tokens[-2].kind in ('number', 'word')
    if run not in english_words.PLAIN_WORDS or not self.gap:
      return False
    return bool(_PLAIN_WORD_CONTEXT.match(self.text, self.position))

  def _previous(self) -> Token:
    return self.tokens[-1] if self.tokens else Token('start', '', False)

  def _is_after_unit_or_pi(self, run: str) -> bool:
    """Returns True after a constant, or after the `/` of `km/h`."""
    previous = self._previous()
    if previous.text == '/':
      return len(self.tokens) > 1 and self.tokens[-2].kind == 'word'
    return previous.text == 'pi' and run != 'in'

  def _read_operator(self, text: str) -> None:
    text = _OPERATOR_SPELLINGS.get(text, text)
    kind = None  # of a brace
    if text == '{':
      kind = self.wrapper or 'group'
      self.braces.append(kind)
    elif text == '}' and self.braces:
      kind = self.braces.pop()

    if kind in ('text', 'math'):
      self.gap = True  # the braces of a wrapper are layout
    else:
      self._add('operator', text)
    self.wrapper = None
    if text in ('(', '[', '\\{'):
      self.depth += 1
    elif text in (')', ']', '\\}'):
      self.depth -= 1
    self._check_depth()

  def _check_depth(self) -> None:
    if self.depth + len(self.braces) > MAX_DEPTH:
      raise AnswerTooLong(
        f'The answer has more than {MAX_DEPTH} open brackets.'
      )

  def _read_other(self, character: str) -> None:
    ends_abbreviation = character == '.' and self._previous().kind == 'word'
    if character == '"' and self._is_after_minutes():
      self._add('operator', "'")
      self._add('operator', "'")
    elif character not in '$%`"' and not ends_abbreviation:
      self._read_other_letters(character)

  def _is_after_minutes(self) -> bool:
    """Returns True after the seconds of an angle: 45'30"."""
    if self._previous().kind != 'number' or len(self.tokens) < 2:
      return False
    return self.tokens[-2].text in ("'", '°', '∘', '}')

  def _read_other_letters(self, character: str) -> None:
    """Adds one character, or a run of letters of another script: 平方米 is one word."""
    if not character.isalpha():
      self._add('other', character)
      return
    end = self.position
    while (
      end < len(self.text)
      and self.text[end].isalpha()
      and not self.text[end].isascii()
    ):
      end += 1
    word = character + self.text[self.position : end]
    self.position = end
    scale = english_words.SCALE_CHARACTERS.get(character)
    if scale and self._previous().kind == 'number':  # 5万元
      self._add('operator', '*')
      self._add('number', str(scale))
      word = word[1:]
    if word:
      self._add('word', word)
