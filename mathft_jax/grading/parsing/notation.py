"""The spellings of one thing: LaTeX commands, Unicode characters and plain words by their meaning."""

import re
import unicodedata

IGNORED_COMMANDS = frozenset(
  {  # presentation: none of these changes what is said
    *',;:!> ()[]%$-/',
    '\n',
    '\t',
    'left',
    'right',
    'middle',
    'big',
    'Big',
    'bigg',
    'Bigg',
    'bigl',
    'bigr',
    'Bigl',
    'Bigr',
    'biggl',
    'biggr',
    'Biggl',
    'Biggr',
    'bigm',
    'quad',
    'qquad',
    'enspace',
    'thinspace',
    'displaystyle',
    'textstyle',
    'scriptstyle',
    'limits',
    'nolimits',
    'rm',
    'bf',
    'it',
    'sf',
    'tt',
    'cal',
    'hfill',
    'hline',
    'nonumber',
    'strut',
    'mathstrut',
    'small',
    'large',
    'Large',
    'tiny',
    'boldmath',
    'protect',
    'therefore',
    'textdollar',
    'textpercent',
    'dollar',
    'percent',
    'pounds',
    'euro',
    'texteuro',
    'textsterling',
  }
)
IGNORED_COMMANDS_WITH_ARGUMENT = frozenset(
  {
    'phantom',
    'hphantom',
    'vphantom',
    'hspace',
    'vspace',
    'color',
    'label',
    'tag',
    'textcolor',
    'colorbox',
  }
)

TEXT_WRAPPERS = frozenset(
  {  # \\wrapper{words} says its words
    'text',
    'textbf',
    'textit',
    'textrm',
    'textnormal',
    'textsf',
    'texttt',
    'textsc',
    'textup',
    'emph',
    'mbox',
    'hbox',
    'mathrm',
    'mathit',
    'mathsf',
    'mathtt',
    'mathnormal',
    'operatorname',
    'mathop',
    'symrm',
  }
)
MATH_WRAPPERS = frozenset(
  {  # \\wrapper{mathematics} says the mathematics
    'boxed',
    'fbox',
    'mathbf',
    'bm',
    'boldsymbol',
    'pmb',
    'underline',
    'mathcal',
    'mathscr',
    'mathfrak',
    'vec',
    'hat',
    'widehat',
    'tilde',
    'widetilde',
    'overrightarrow',
    'overleftrightarrow',
    'ensuremath',
    'mathord',
    'mathrel',
    'mathbin',
    'symbf',
    'cancel',
    'framebox',
    'num',
  }
)

COMMAND_TOKENS = {  # what a command means, as the token a plain writer would use
  'cdot': '*',
  'times': '*',
  'ast': '*',
  'star': '*',
  'bullet': '*',
  'div': '/',
  'slash': '/',
  'pm': '±',
  'mp': '∓',
  'lt': '<',
  'gt': '>',
  'le': '≤',
  'leq': '≤',
  'leqslant': '≤',
  'leqq': '≤',
  'ge': '≥',
  'geq': '≥',
  'geqslant': '≥',
  'geqq': '≥',
  'ne': '≠',
  'neq': '≠',
  'equiv': '≡',
  'approx': '=',
  'doteq': '=',
  'simeq': '=',
  'colon': ':',
  'in': '∈',
  'cup': '∪',
  'cap': '∩',
  'bigcup': '∪',
  'bigcap': '∩',
  'setminus': '∖',
  'smallsetminus': '∖',
  'backslash': '∖',
  'vert': '|',
  'lvert': '|',
  'rvert': '|',
  'mid': '|',
  '|': '‖',
  'Vert': '‖',
  'lVert': '‖',
  'rVert': '‖',
  '{': '\\{',
  '}': '\\}',
  'lbrace': '\\{',
  'rbrace': '\\}',
  'lbrack': '[',
  'rbrack': ']',
  'lparen': '(',
  'rparen': ')',
  'langle': '⟨',
  'rangle': '⟩',
  'lfloor': '⌊',
  'rfloor': '⌋',
  'lceil': '⌈',
  'rceil': '⌉',
  'degree': '°',
  'circ': '°',
  'prime': "'",
  'land': 'and',
  'wedge': 'and',
  'lor': 'or',
  'vee': 'or',
  'ldots': '…',
  'dots': '…',
  'cdots': '…',
  'dotsc': '…',
  'dotsb': '…',
  'vdots': '…',
  'ddots': '…',
  '\\': '\\\\',
  'cr': '\\\\',
  'bmod': 'mod',
  'mod': 'mod',
  'pmod': 'pmod',
  'And': 'and',
  'over': '\\over',
  'choose': '\\choose',
  '_': '_',
  '&': 'and',
  'lnot': 'not',
  'neg': 'not',
  'to': '→',
  'rightarrow': '→',
  'implies': '→',
  'Rightarrow': '→',
}

FRACTION_COMMANDS = frozenset(
  {'frac', 'dfrac', 'tfrac', 'cfrac', 'nicefrac', 'sfrac', 'flatfrac'}
)
BINOMIAL_COMMANDS = frozenset({'binom', 'dbinom', 'tbinom'})
STRUCTURE_COMMANDS = frozenset(
  {
    *FRACTION_COMMANDS,
    *BINOMIAL_COMMANDS,
    'sqrt',
    'overline',
    'bar',
    'mathbb',
    'Bbb',
    'dot',
    'sum',
    'prod',
    'int',
    'lim',
  }
)

FUNCTION_NAMES = {  # spelling of a function -> the name under which it is computed
  'sin': 'sin',
  'cos': 'cos',
  'tan': 'tan',
  'cot': 'cot',
  'sec': 'sec',
  'csc': 'csc',
  'cosec': 'csc',
  'tg': 'tan',
  'ctg': 'cot',
  'arcsin': 'asin',
  'arccos': 'acos',
  'arctan': 'atan',
  'asin': 'asin',
  'acos': 'acos',
  'atan': 'atan',
  'arccot': 'acot',
  'arcsec': 'asec',
  'arccsc': 'acsc',
  'arctg': 'atan',
  'sinh': 'sinh',
  'cosh': 'cosh',
  'tanh': 'tanh',
  'coth': 'coth',
  'sech': 'sech',
  'csch': 'csch',
  'arcsinh': 'asinh',
  'arccosh': 'acosh',
  'arctanh': 'atanh',
  'asinh': 'asinh',
  'acosh': 'acosh',
  'atanh': 'atanh',
  'exp': 'exp',
  'ln': 'ln',
  'log': 'log',
  'lg': 'log',
  'abs': 'abs',
  'floor': 'floor',
  'ceil': 'ceil',
  'ceiling': 'ceil',
  'gcd': 'gcd',
  'lcm': 'lcm',
  'max': 'max',
  'min': 'min',
  'binomial': 'binomial',
  'binom': 'binomial',
  'factorial': 'factorial',
  'sqrt': 'sqrt',
  'cbrt': 'cbrt',
  'Re': 're',
  'Im': 'im',
  'arg': 'arg',
  'det': 'det',
  'sgn': 'sgn',
  'sign': 'sgn',
  'conj': 'conj',
  'cis': 'cis',
}
TRIGONOMETRIC_FUNCTIONS = frozenset({'sin', 'cos', 'tan', 'cot', 'sec', 'csc'})

SYMBOL_NAMES = {  # constants and names that a single token stands for
  'pi': 'pi',
  'infty': '∞',
  'infinity': '∞',
  'Infinity': '∞',
  'inf': '∞',
  'oo': '∞',
  'emptyset': '∅',
  'varnothing': '∅',
  'imath': 'i',
  'varepsilon': 'epsilon',
  'vartheta': 'theta',
  'varphi': 'phi',
  'varrho': 'rho',
  'varsigma': 'sigma',
  'ell': 'l',
  'measuredangle': 'angle',
}
GREEK_LETTERS = frozenset(
  (
    'alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon '
    'phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega'
  ).split()
)

CHARACTERS = {  # Unicode -> LaTeX or ASCII
  '−': '-',
  '–': '-',
  '—': '-',
  '‐': '-',
  '‑': '-',
  '⁄': '/',
  '∕': '/',
  '÷': '/',
  '×': '*',
  '·': '*',
  '⋅': '*',
  '∙': '*',
  '•': '*',
  '∗': '*',
  '±': '\\pm ',
  '∓': '\\mp ',
  '≤': '\\le ',
  '≥': '\\ge ',
  '⩽': '\\le ',
  '⩾': '\\ge ',
  '≠': '\\ne ',
  '≈': '\\approx ',
  '≡': '\\equiv ',
  '∞': '\\infty ',
  '√': ' sqrt ',
  '∛': ' cbrt ',
  '∈': '\\in ',
  '∪': '\\cup ',
  '∩': '\\cap ',
  '∖': '\\setminus ',
  '∅': '\\emptyset ',
  'Ø': '\\emptyset ',
  'ℝ': '\\mathbb{R}',
  'ℤ': '\\mathbb{Z}',
  'ℕ': '\\mathbb{N}',
  'ℚ': '\\mathbb{Q}',
  'ℂ': '\\mathbb{C}',
  '°': '\\degree ',
  'º': '\\degree ',
  '′': "'",
  '’': "'",
  '‘': "'",
  '″': "''",
  '…': '...',
  '⋯': '...',
  '“': '"',
  '”': '"',
  '€': '',
  '£': '',
  '¥': '',
  '₹': '',
  '¢': '',
  '∣': '|',
  '∠': '\\angle ',
  '△': '\\triangle ',
  '⟨': '\\langle ',
  '⟩': '\\rangle ',
  '〈': '\\langle ',
  '〉': '\\rangle ',
  '⌊': '\\lfloor ',
  '⌋': '\\rfloor ',
  '⌈': '\\lceil ',
  '⌉': '\\rceil ',
  '∧': ' and ',
  '∨': ' or ',
  '→': '\\to ',
  '⇒': '\\to ',
  'µ': '\\mu ',
  'ϕ': '\\phi ',
  'ϵ': '\\epsilon ',
  '∑': '\\sum ',
  '∏': '\\prod ',
  '∫': '\\int ',
  '\u200b': '',
  '\ufeff': '',
  '，': ',',
  '；': ';',
  '：': ':',
  '∶': ':',
  '（': '(',
  '）': ')',
  '。': '.',
  '【': '[',
  '】': ']',
  '✓': '',
  '✅': '',
}
_KNOWN = frozenset(
  {
    *IGNORED_COMMANDS,
    *TEXT_WRAPPERS,
    *MATH_WRAPPERS,
    *COMMAND_TOKENS,
    *STRUCTURE_COMMANDS,
    *FUNCTION_NAMES,
    *SYMBOL_NAMES,
    *GREEK_LETTERS,
  }
)
_SUPERSCRIPTS = dict(zip('⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ', '0123456789+-=()ni'))
_SUBSCRIPTS = dict(zip('₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₙₓₖₘ', '0123456789+-=()aenxkm'))
_OVERLINE = '\u0305'
_OVERLINED = re.compile(f'(?:\\d{_OVERLINE})+')
_RAISED = re.compile(f'[{"".join(_SUPERSCRIPTS)}]+')
_LOWERED = re.compile(f'[{"".join(_SUBSCRIPTS)}]+')


def is_known_command(name: str) -> bool:
  """True for the name of a LaTeX command that is listed here."""
  return name in _KNOWN


def unicode_to_latex(text: str) -> str:
  """The text with Unicode mathematics written in LaTeX or ASCII; other characters stay."""
  if text.isascii():
    return text
  text = _OVERLINED.sub(
    lambda run: f'\\overline{{{run.group().replace(_OVERLINE, "")}}}', text
  )
  text = _RAISED.sub(
    lambda run: f'^{{{"".join(map(_SUPERSCRIPTS.get, run.group()))}}}', text
  )
  text = _LOWERED.sub(
    lambda run: f'_{{{"".join(map(_SUBSCRIPTS.get, run.group()))}}}', text
  )
  return ''.join(c if c < '\x80' else _character(c) for c in text)


def _character(character: str) -> str:
  if character in CHARACTERS:
    return CHARACTERS[character]
  if (
    unicodedata.category(character) == 'No'
  ):  # vulgar fractions: a half is 1, fraction slash, 2
    numerator, slash, denominator = unicodedata.normalize(
      'NFKD', character
    ).partition('⁄')
    if slash:
      return f'\\frac{{{numerator}}}{{{denominator}}}'
  name = unicodedata.name(character, '')
  if (
    name.startswith('GREEK ')
    and ' LETTER ' in name
    and name.split()[-1].isalpha()
  ):
    letter = name.split()[-1].lower().replace('lamda', 'lambda')
    return f'\\{letter.capitalize() if "CAPITAL" in name else letter} '
  plain = unicodedata.normalize('NFKC', character)
  if plain.isascii() or plain == character:
    return plain
  return unicode_to_latex(plain)
