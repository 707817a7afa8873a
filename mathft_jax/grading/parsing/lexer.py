"""From characters to tokens: presentation is dropped here and every spelling becomes one token.

A token is a number, a name (one variable or constant), a function, a word (prose), an operator or
a structure (`frac`, `sqrt`, `begin:pmatrix`). Nothing nests: `\\text{...}` gives the tokens of its
words, so a thousand of them inside each other are one flat row.
"""

import re
from typing import NamedTuple

from mathft_jax.grading.parsing import english_words, notation

MAX_LENGTH = 2000  # characters
MAX_DEPTH = 40  # open brackets; answers of the MATH dataset open at most 5

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
_ESCAPED = re.compile(r'\\\\([a-zA-Z]+)')
_COLUMNS = re.compile(r'\s*\{[clr|\s]*\}')
_HALF_DAY = re.compile(r'([apAP])\.?\s?[mM]\b\.?')
_ARGUMENT = re.compile(r'\s*(?:\{[^{}]*\}|.)', re.DOTALL)
_SPELLINGS = {
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
_CLOSERS = frozenset({')', ']', '}', '\\}', '°', '⟩'})


class Token(NamedTuple):
  kind: str
  text: str
  gap: bool  # stands apart from the token before


class AnswerTooLong(ValueError):
  """More text or more open brackets than an answer has."""


def _without_escapes(text: str) -> str:
  """With `\\\\frac` as `\\frac`: commands that were escaped once too often."""
  if '\\\\' not in text or '\\begin' in text:
    return text
  return _ESCAPED.sub(
    lambda match: (
      match.group()[1:]
      if notation.is_known_command(match.group(1))
      else (match.group())
    ),
    text,
  )


def tokenize_text(text: str) -> list[Token]:
  """The tokens as they stand in the text; raises TooLong beyond MAX_LENGTH and MAX_DEPTH."""
  if len(text) > MAX_LENGTH:
    raise AnswerTooLong(
      f'{len(text)} characters; answers have at most {MAX_LENGTH}.'
    )
  reader = _Reader(_without_escapes(notation.unicode_to_latex(text)))
  reader.read()
  return reader.tokens


class _Reader:
  """The state of one pass over the text."""

  def __init__(self, text: str):
    self.text = text
    self.position = 0
    self.gap = False
    self.depth = (
      0  # open ( [ and set braces: a comma between digits separates there
    )
    self.braces: list[
      str
    ] = []  # what each open { is: 'group', 'text' or 'math'
    self.wrapper: str | None = None  # what the next { will be, after a wrapper
    self.tokens: list[Token] = []

  def read(self) -> None:
    while self.position < len(self.text):
      match = self._thousands() or _TOKEN.match(self.text, self.position)
      self.position = match.end()
      kind = match.lastgroup or 'number'
      getattr(self, f'_{kind}')(match.group(match.lastgroup or 0))

  def _thousands(self) -> re.Match[str] | None:
    if not self.text[self.position].isdigit():
      return None
    match = (
      None if self.depth else _PLAIN_THOUSANDS.match(self.text, self.position)
    )
    return match or _THOUSANDS.match(self.text, self.position)

  def _add(self, kind: str, text: str) -> None:
    self.tokens.append(Token(kind, text, self.gap))
    self.gap = False

  def _space(self, _: str) -> None:
    self.gap = True

  def _number(self, text: str) -> None:
    plain = re.sub(r'[^\d.eE+-]', '', text)
    before = self.tokens[-1] if self.tokens else None
    if (
      self.gap
      and before
      and before.kind == 'number'
      and re.fullmatch(r'\d{3}(?:\.\d+)?', plain)
    ):
      if re.fullmatch(
        r'[1-9]\d{0,2}(?:\d{3})*', before.text
      ):  # 33 800 000: spaced thousands
        self.tokens[-1] = Token('number', before.text + plain, before.gap)
        self.gap = False
        return
    self._add('number', plain)

  def _environment(self, text: str) -> None:
    name = text[text.index('{') + 1 : -1].strip().rstrip('*')
    begins = text.startswith('\\begin')
    if name == 'array' and begins:
      columns = _COLUMNS.match(self.text, self.position)
      self.position = columns.end() if columns else self.position
    self.depth += 1 if begins else -1
    self._check_depth()
    self._add('structure', f'{"begin" if begins else "end"}:{name}')

  def _command(self, name: str) -> None:
    if name == 'not' and self.text.startswith('=', self.position):
      self.position += 1
      self._operator('≠')
    elif name in notation.COMMAND_TOKENS:
      self._operator(notation.COMMAND_TOKENS[name])
    elif name in notation.IGNORED_COMMANDS:
      self.gap = True
      self.position += name in ('left', 'right') and self.text.startswith(
        '.', self.position
      )
    elif name in notation.TEXT_WRAPPERS:
      self.wrapper = 'text'
    elif name in notation.MATH_WRAPPERS:
      self.wrapper = 'math'
    elif name in notation.IGNORED_COMMANDS_WITH_ARGUMENT:
      argument = _ARGUMENT.match(self.text, self.position)
      self.position = argument.end() if argument else self.position
    elif name in notation.STRUCTURE_COMMANDS:
      name = 'frac' if name in notation.FRACTION_COMMANDS else name
      self._add(
        'structure', 'binom' if name in notation.BINOMIAL_COMMANDS else name
      )
    elif name in notation.FUNCTION_NAMES:
      self._add('function', notation.FUNCTION_NAMES[name])
    else:
      self._add(
        'name' if name.isalpha() else 'other',
        notation.SYMBOL_NAMES.get(name, name),
      )

  def _letters(self, run: str) -> None:
    in_text = 'text' in self.braces or self.wrapper == 'text'
    self.wrapper = None
    before = self.tokens[-1] if self.tokens else Token('start', '', False)
    counted = (
      before.kind == 'number'
      or before.text in _CLOSERS
      or self._is_measured(before, run)
    )
    half_day = (
      _HALF_DAY.match(self.text, self.position - len(run)) if counted else None
    )
    if half_day:
      self.position = half_day.end()
      return self._add('word', half_day.group(1).lower() + 'm')
    behind = self.text[self.position : self.position + 2]
    if run == 'to' and before.kind == 'number':  # 3 to 2
      return self._add('word', run)
    if run == 'Matrix' and behind.startswith('('):
      return None
    if in_text or before.kind == 'word' and len(run) > 1:
      return self._add(*_classify_prose(run, counted))
    applied = behind[:1] in ('(', '^', '\\', '{')
    for kind, text in _classify(run, counted, applied):
      self._add(kind, text)

  def _is_measured(self, before: Token, run: str) -> bool:
    """True behind a constant, and in `km/h` behind the line."""
    if before.text == '/':
      return len(self.tokens) > 1 and self.tokens[-2].kind == 'word'
    return before.text == 'pi' and run != 'in'

  def _operator(self, text: str) -> None:
    text = _SPELLINGS.get(text, text)
    if text == '{':
      self.braces.append(self.wrapper or 'group')
    closed = self.braces.pop() if text == '}' and self.braces else None
    if (text == '{' and self.wrapper) or (
      text == '}' and closed in ('text', 'math')
    ):
      self.gap = True  # the braces of a wrapper are presentation
    else:
      self._add('operator', text)
    self.wrapper = None
    self.depth += (text in ('(', '[', '\\{')) - (text in (')', ']', '\\}'))
    self._check_depth()

  def _check_depth(self) -> None:
    if self.depth + len(self.braces) > MAX_DEPTH:
      raise AnswerTooLong(f'more than {MAX_DEPTH} open brackets.')

  def _other(self, character: str) -> None:
    after_word = bool(self.tokens) and self.tokens[-1].kind == 'word'
    if character not in '$%`"' and not (character == '.' and after_word):
      self._add('other', character)


def _classify_prose(run: str, counted: bool) -> tuple[str, str]:
  """Kind and text of a run of letters among words."""
  lower = run.lower()
  if counted and lower in english_words.UNIT_WORDS:
    return 'word', run
  if run in notation.FUNCTION_NAMES:
    return 'function', notation.FUNCTION_NAMES[run]
  if lower in ('and', 'or', 'mod'):
    return 'operator', lower
  if run in notation.SYMBOL_NAMES or run in notation.GREEK_LETTERS:
    return 'name', notation.SYMBOL_NAMES.get(run, run)
  return 'word', run


def _classify(run: str, counted: bool, applied: bool) -> list[tuple[str, str]]:
  """Kinds and texts of a run of letters; `counted` behind a number, `applied` before an argument."""
  lower = run.lower()
  if (
    counted
    and lower in english_words.UNIT_WORDS
    and (not run.isupper() or len(run) > 2)
  ):
    return [('word', run)]
  if lower in notation.FUNCTION_NAMES and (
    run in notation.FUNCTION_NAMES or len(run) > 2
  ):
    return [
      (
        'function',
        notation.FUNCTION_NAMES.get(run) or notation.FUNCTION_NAMES[lower],
      )
    ]
  if lower in ('and', 'or', 'mod') and not run.isupper():
    return [('operator', lower)]
  if run in notation.FRACTION_COMMANDS:
    return [('structure', 'frac')]
  if run in _SET_WORDS:
    return [('operator', _SET_WORDS[run])]
  if run in notation.SYMBOL_NAMES or run in notation.GREEK_LETTERS:
    return [('name', notation.SYMBOL_NAMES.get(run, run))]
  pieces = _split(run)
  if (
    len(pieces) < len(run)
    and (applied or len(run) < 6)
    and not english_words.is_listed_word(lower)
  ):
    return pieces  # sinx, xsin(x)
  if len(run) > 1 and english_words.is_english_word(run):
    return [('word', run)]
  return pieces


def _split(run: str) -> list[tuple[str, str]]:
  """Functions and one-letter names of a run such as xsin or ab."""
  for start in range(len(run)):
    for length in (6, 4, 3, 2):
      piece = run[start : start + length]
      if len(piece) == length and (
        piece in notation.TRIGONOMETRIC_FUNCTIONS
        or piece in ('ln', 'log', 'sqrt')
      ):
        rest = run[start + length :]
        return [
          *(('name', letter) for letter in run[:start]),
          ('function', notation.FUNCTION_NAMES[piece]),
          *(_split(rest) if rest else ()),
        ]
  return [('name', letter) for letter in run]
