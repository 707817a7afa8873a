r"""Lexer of answers: text to tokens, one token for all spellings of a symbol, none for layout.

  tokenize_text(r'\left(\dfrac{1}{2}\right)')    # ( frac { 1 } { 2 } )

A token is a number, a name (one variable or constant), a function, an English word, an operator or
a structure (`frac`, `sqrt`, `begin:pmatrix`). Tokens are not nested: `\text{...}` becomes the
tokens of its words.
"""

import re
from typing import NamedTuple

from mathft_jax.grading.parsing import english_words, notation

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 40  # open brackets; answers of the MATH dataset have at most 5

_TOKEN = re.compile(
  r'(?P<space>[\s~]+)'
  r'|(?P<environment>\\(?:begin|end)\s*\{\s*[a-zA-Z]+\*?\s*\})'
  r'|\\(?P<command>[a-zA-Z]+|.)'
  r'|(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+(?![\d.a-zA-Z]))?)'
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
_ESCAPED_COMMAND = re.compile(r'\\\\([a-zA-Z]+)')
_COLUMN_FORMAT = re.compile(r'\s*\{[clr|\s]*\}')
_HALF_DAY = re.compile(r'([apAP])\.?\s?[mM]\b\.?')
_INVISIBLE_BRACKET = re.compile(r'\.')
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
_SET_WORDS = {'in': '∈', 'union': '∪', 'intersection': '∩', 'intersect': '∩'}
_CLOSING = frozenset({')', ']', '}', '\\}', '°', '⟩'})


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
  text = _unescape_commands(notation.unicode_to_latex(text))
  return _Lexer(text).tokenize()


def _unescape_commands(text: str) -> str:
  r"""Replaces `\\frac` by `\frac`: commands that were escaped twice."""
  if '\\\\' not in text or '\\begin' in text:
    return text
  return _ESCAPED_COMMAND.sub(_unescape_command, text)


def _unescape_command(match: re.Match[str]) -> str:
  escaped = match.group()
  return escaped[1:] if notation.is_known_command(match[1]) else escaped


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
    if name == 'not' and self.text.startswith('=', self.position):
      self.position += 1
      self._read_operator('≠')
    elif name in notation.COMMAND_TOKENS:
      self._read_operator(notation.COMMAND_TOKENS[name])
    elif name in notation.IGNORED_COMMANDS:
      self.gap = True
      if name in ('left', 'right'):
        self._skip(_INVISIBLE_BRACKET)
    elif name in notation.TEXT_WRAPPERS:
      self.wrapper = 'text'
    elif name in notation.MATH_WRAPPERS:
      self.wrapper = 'math'
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
    else:
      kind = 'name' if name.isalpha() else 'other'
      self._add(kind, notation.SYMBOL_NAMES.get(name, name))

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

    following = self.text[self.position : self.position + 1]
    if run == 'Matrix' and following == '(':
      return  # sympy's notation
    if in_text or (previous.kind == 'word' and len(run) > 1):
      self._add(*_classify_text(run, after_quantity))
      return
    before_argument = following in ('(', '^', '\\', '{')
    for kind, text in _classify_math(run, after_quantity, before_argument):
      self._add(kind, text)

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
    if character not in '$%`"' and not ends_abbreviation:
      self._add('other', character)


def _classify_text(run: str, after_quantity: bool) -> tuple[str, str]:
  """Returns kind and text of a run of letters in English text."""
  lower = run.lower()
  if after_quantity and lower in english_words.UNIT_WORDS:
    return 'word', run
  if run in notation.FUNCTION_NAMES:
    return 'function', notation.FUNCTION_NAMES[run]
  if lower in ('and', 'or', 'mod'):
    return 'operator', lower
  if run in notation.SYMBOL_NAMES or run in notation.GREEK_LETTERS:
    return 'name', notation.SYMBOL_NAMES.get(run, run)
  return 'word', run


def _classify_math(
  run: str, after_quantity: bool, before_argument: bool
) -> list[tuple[str, str]]:
  """Returns kinds and texts of a run of letters in mathematics.

  Args:
    run: the letters.
    after_quantity: whether they follow a number or a closing bracket.
    before_argument: whether the argument of a function may follow.
  """
  lower = run.lower()
  is_initials = run.isupper() and len(run) <= 2
  if after_quantity and lower in english_words.UNIT_WORDS and not is_initials:
    return [('word', run)]
  function = notation.FUNCTION_NAMES.get(lower)
  if function and (len(run) > 2 or run in notation.FUNCTION_NAMES):
    return [('function', notation.FUNCTION_NAMES.get(run, function))]
  if lower in ('and', 'or', 'mod') and not run.isupper():
    return [('operator', lower)]
  if run in notation.FRACTION_COMMANDS:
    return [('structure', 'frac')]
  if run in _SET_WORDS:
    return [('operator', _SET_WORDS[run])]
  if run in notation.SYMBOL_NAMES or run in notation.GREEK_LETTERS:
    return [('name', notation.SYMBOL_NAMES.get(run, run))]

  pieces = _split_functions(run)
  has_function = len(pieces) < len(run)
  is_short = before_argument or len(run) < 6
  if has_function and is_short and not english_words.is_listed_word(lower):
    return pieces  # sinx, xsin(x)
  if len(run) > 1 and english_words.is_english_word(run):
    return [('word', run)]
  return pieces


def _split_functions(run: str) -> list[tuple[str, str]]:
  """Splits a run of letters such as `xsin` into functions and names of one letter."""
  for start in range(len(run)):
    for length in (6, 4, 3, 2):
      end = start + length
      piece = run[start:end]
      if len(piece) == length and _is_split_function(piece):
        names = [('name', letter) for letter in run[:start]]
        function = ('function', notation.FUNCTION_NAMES[piece])
        return [*names, function, *_split_functions(run[end:])]
  return [('name', letter) for letter in run]


def _is_split_function(name: str) -> bool:
  is_trigonometric = name in notation.TRIGONOMETRIC_FUNCTIONS
  return is_trigonometric or name in ('ln', 'log', 'sqrt')
