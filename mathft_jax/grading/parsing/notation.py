"""Tables of spellings: LaTeX commands, function names and Unicode characters of mathematics."""

from collections.abc import Callable
import re
import unicodedata


def _words(text: str) -> frozenset[str]:
  return frozenset(text.split())


def _by_spelling(
  spellings: dict[str, str],
  split: Callable[[str], list[str]] = str.split,
) -> dict[str, str]:
  """Returns spelling -> meaning for a table meaning -> spellings, separated by spaces."""
  table = {}
  for meaning, text in spellings.items():
    table.update(dict.fromkeys(split(text), meaning))
  return table


# Commands of layout and commands without a mathematical meaning.
IGNORED_COMMANDS = _words(
  ', ; : ! > ( ) [ ] % $ - / left right middle big Big bigg Bigg bigl bigr Bigl Bigr '
  'biggl biggr Biggl Biggr bigm quad qquad enspace thinspace displaystyle textstyle '
  'scriptstyle limits nolimits rm bf it sf tt cal hfill hline nonumber strut mathstrut '
  'small large Large tiny boldmath protect therefore textdollar textpercent dollar percent '
  'pounds euro texteuro textsterling'
) | {' ', '\n', '\t'}
IGNORED_COMMANDS_WITH_ARGUMENT = _words(
  'phantom hphantom vphantom hspace vspace color label tag textcolor colorbox'
)

# Commands that only change the font or the look of their argument.
TEXT_WRAPPERS = _words(
  'text textbf textit textrm textnormal textsf texttt textsc textup emph mbox hbox mathrm '
  'mathit mathsf mathtt mathnormal operatorname mathop symrm'
)
MATH_WRAPPERS = _words(
  'boxed fbox mathbf bm boldsymbol pmb underline mathcal mathscr mathfrak vec hat widehat '
  'tilde widetilde overrightarrow overleftrightarrow ensuremath mathord mathrel mathbin '
  'symbf cancel framebox num'
)

# LaTeX command -> operator token.
COMMAND_TOKENS = _by_spelling(
  {
    '*': 'cdot times ast star bullet',
    '/': 'div slash',
    '±': 'pm',
    '∓': 'mp',
    '<': 'lt',
    '>': 'gt',
    '≤': 'le leq leqslant leqq',
    '≥': 'ge geq geqslant geqq',
    '≠': 'ne neq',
    '≡': 'equiv',
    '=': 'approx doteq simeq',
    ':': 'colon',
    '∈': 'in',
    '∪': 'cup bigcup',
    '∩': 'cap bigcap',
    '∖': 'setminus smallsetminus backslash',
    '|': 'vert lvert rvert mid',
    '‖': '| Vert lVert rVert',
    '\\{': '{ lbrace',
    '\\}': '} rbrace',
    '[': 'lbrack',
    ']': 'rbrack',
    '(': 'lparen',
    ')': 'rparen',
    '⟨': 'langle',
    '⟩': 'rangle',
    '⌊': 'lfloor',
    '⌋': 'rfloor',
    '⌈': 'lceil',
    '⌉': 'rceil',
    '°': 'degree circ',
    "'": 'prime',
    'and': 'land wedge And &',
    'or': 'lor vee',
    'not': 'lnot neg',
    '…': 'ldots dots cdots dotsc dotsb vdots ddots',
    '\\\\': '\\ cr',
    'mod': 'bmod mod',
    'pmod': 'pmod',
    '\\over': 'over',
    '\\choose': 'choose',
    '_': '_',
    '→': 'to rightarrow implies Rightarrow',
  }
)

FRACTION_COMMANDS = _words('frac dfrac tfrac cfrac nicefrac sfrac flatfrac')
BINOMIAL_COMMANDS = _words('binom dbinom tbinom')
STRUCTURE_COMMANDS = (
  FRACTION_COMMANDS
  | BINOMIAL_COMMANDS
  | _words('sqrt overline bar mathbb Bbb dot sum prod int lim')
)

# Spelling of a function -> name of the function in the expression tree.
FUNCTION_NAMES = {
  name: name
  for name in (
    'sin cos tan cot sec csc asin acos atan sinh cosh tanh coth sech csch asinh acosh atanh '
    'exp ln log abs floor ceil gcd lcm max min binomial factorial sqrt cbrt arg det sgn conj cis'
  ).split()
} | _by_spelling(
  {
    'tan': 'tg',
    'cot': 'ctg',
    'csc': 'cosec',
    'asin': 'arcsin',
    'acos': 'arccos',
    'atan': 'arctan arctg',
    'acot': 'arccot',
    'asec': 'arcsec',
    'acsc': 'arccsc',
    'asinh': 'arcsinh',
    'acosh': 'arccosh',
    'atanh': 'arctanh',
    'log': 'lg',
    'ceil': 'ceiling',
    'binomial': 'binom',
    're': 'Re',
    'im': 'Im',
    'sgn': 'sign',
  }
)
TRIGONOMETRIC_FUNCTIONS = _words('sin cos tan cot sec csc')

# Spelling of a constant or variable -> its name in the expression tree.
SYMBOL_NAMES = _by_spelling(
  {
    'pi': 'pi',
    '∞': 'infty infinity Infinity inf oo',
    '∅': 'emptyset varnothing',
    'i': 'imath',
    'epsilon': 'varepsilon',
    'theta': 'vartheta',
    'phi': 'varphi',
    'rho': 'varrho',
    'sigma': 'varsigma',
    'l': 'ell',
    'angle': 'measuredangle',
  }
)
GREEK_LETTERS = _words(
  'alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau '
  'upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega'
)

# Unicode characters by their spelling in LaTeX or ASCII; the table maps each character to it.
UNICODE_CHARACTERS = _by_spelling(
  {
    '-': '−–—‐‑',
    '/': '⁄∕÷',
    '*': '×·⋅∙•∗',
    "'": '′’‘',
    '"': '“”',
    '...': '…⋯',
    ':': '：∶',
    '': '€£¥₹¢\u200b\ufeff✓✅',
    '\\le ': '≤⩽',
    '\\ge ': '≥⩾',
    '\\emptyset ': '∅Ø',
    '\\degree ': '°º',
    '\\langle ': '⟨〈',
    '\\rangle ': '⟩〉',
    '\\to ': '→⇒',
    "''": '″',
    '\\pm ': '±',
    '\\mp ': '∓',
    '\\ne ': '≠',
    '\\approx ': '≈',
    '\\equiv ': '≡',
    '\\infty ': '∞',
    ' sqrt ': '√',
    ' cbrt ': '∛',
    '\\in ': '∈',
    '\\cup ': '∪',
    '\\cap ': '∩',
    '\\setminus ': '∖',
    '\\mathbb{R}': 'ℝ',
    '\\mathbb{Z}': 'ℤ',
    '\\mathbb{N}': 'ℕ',
    '\\mathbb{Q}': 'ℚ',
    '\\mathbb{C}': 'ℂ',
    '|': '∣',
    '\\angle ': '∠',
    '\\triangle ': '△',
    '\\lfloor ': '⌊',
    '\\rfloor ': '⌋',
    '\\lceil ': '⌈',
    '\\rceil ': '⌉',
    ' and ': '∧',
    ' or ': '∨',
    '\\mu ': 'µ',
    '\\phi ': 'ϕ',
    '\\epsilon ': 'ϵ',
    '\\sum ': '∑',
    '\\prod ': '∏',
    '\\int ': '∫',
    ',': '，',
    ';': '；',
    '(': '（',
    ')': '）',
    '.': '。',
    '[': '【',
    ']': '】',
  },
  split=list,
)
_KNOWN_COMMANDS = frozenset().union(
  IGNORED_COMMANDS,
  TEXT_WRAPPERS,
  MATH_WRAPPERS,
  COMMAND_TOKENS,
  STRUCTURE_COMMANDS,
  FUNCTION_NAMES,
  SYMBOL_NAMES,
  GREEK_LETTERS,
)
_SUPERSCRIPTS = str.maketrans('⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ', '0123456789+-=()ni')
_SUBSCRIPTS = str.maketrans('₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₙₓₖₘ', '0123456789+-=()aenxkm')
_COMBINING_OVERLINE = '\u0305'
_OVERLINED_DIGITS = re.compile(f'(?:\\d{_COMBINING_OVERLINE})+')
_SUPERSCRIPT_RUN = re.compile(f'[{"".join(map(chr, _SUPERSCRIPTS))}]+')
_SUBSCRIPT_RUN = re.compile(f'[{"".join(map(chr, _SUBSCRIPTS))}]+')


def is_known_command(name: str) -> bool:
  """Returns True if this module has a LaTeX command of this name."""
  return name in _KNOWN_COMMANDS


def unicode_to_latex(text: str) -> str:
  """Returns the text with Unicode mathematics as LaTeX or ASCII; other characters are kept."""
  if text.isascii():
    return text
  text = _OVERLINED_DIGITS.sub(_overlined_to_latex, text)
  text = _SUPERSCRIPT_RUN.sub(_superscripts_to_latex, text)
  text = _SUBSCRIPT_RUN.sub(_subscripts_to_latex, text)
  return ''.join(map(_character_to_latex, text))


def _overlined_to_latex(run: re.Match[str]) -> str:
  digits = run.group().replace(_COMBINING_OVERLINE, '')
  return f'\\overline{{{digits}}}'


def _superscripts_to_latex(run: re.Match[str]) -> str:
  return f'^{{{run.group().translate(_SUPERSCRIPTS)}}}'


def _subscripts_to_latex(run: re.Match[str]) -> str:
  return f'_{{{run.group().translate(_SUBSCRIPTS)}}}'


def _character_to_latex(character: str) -> str:
  if character.isascii():
    return character
  if character in UNICODE_CHARACTERS:
    return UNICODE_CHARACTERS[character]

  if unicodedata.category(character) == 'No':  # perhaps a fraction such as ½
    parts = unicodedata.normalize('NFKD', character).partition('⁄')
    numerator, slash, denominator = parts
    if slash:
      return f'\\frac{{{numerator}}}{{{denominator}}}'

  name = unicodedata.name(character, '')
  letter = name.rpartition(' ')[2].lower().replace('lamda', 'lambda')
  if name.startswith('GREEK ') and ' LETTER ' in name and letter.isalpha():
    return f'\\{letter.capitalize() if "CAPITAL" in name else letter} '

  plain = unicodedata.normalize('NFKC', character)
  if plain.isascii() or plain == character:
    return plain
  return unicode_to_latex(plain)
