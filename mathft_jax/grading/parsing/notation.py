"""Tables of spellings: LaTeX commands, function names and Unicode characters of mathematics."""

from collections.abc import Callable


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
  'because qed qedsymbol blacksquare normalsize Huge huge LARGE footnotesize scriptsize '
  'centering noindent newline relax mathopen mathclose mathpunct mathinner '
  'pounds euro texteuro textsterling'
) | {' ', '\n', '\t'}
IGNORED_COMMANDS_WITH_ARGUMENT = _words(
  'phantom hphantom vphantom hspace vspace color label tag textcolor colorbox si unit mspace '
  'hskip kern mkern mskip'
)

# Commands that only change the font or the look of their argument.
TEXT_WRAPPERS = _words(
  'text textbf textit textrm textnormal textsf texttt textsc textup emph mbox hbox mathrm '
  'mathit mathsf mathtt mathnormal operatorname mathop symrm symup textmd textsl'
)
MATH_WRAPPERS = _words(
  'boxed fbox mathbf bm boldsymbol pmb underline mathcal mathscr mathfrak vec hat widehat '
  'tilde widetilde overrightarrow overleftrightarrow ensuremath mathord mathrel mathbin '
  'symbf cancel bcancel xcancel framebox num uline underbar'
)

# LaTeX command -> operator token.
COMMAND_TOKENS = _by_spelling(
  {
    '*': 'cdot times ast bullet',
    '/': 'div slash',
    '±': 'pm',
    '∓': 'mp',
    '<': 'lt',
    '>': 'gt',
    '≤': 'le leq leqslant leqq',
    '≥': 'ge geq geqslant geqq',
    '≠': 'ne neq',
    '≡': 'equiv',
    '≈': 'approx doteq simeq thickapprox approxeq fallingdotseq risingdotseq',
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
    '°': 'degree',
    '∘': 'circ circledcirc',
    "'": 'prime',
    'and': 'And &',
    '∧': 'land wedge',
    '∨': 'lor vee',
    '¬': 'lnot neg',
    '…': 'ldots dots cdots dotsc dotsb vdots ddots',
    '\\\\': '\\ cr',
    'mod': 'bmod mod',
    'pmod': 'pmod',
    '\\over': 'over',
    '\\choose': 'choose',
    '_': '_',
    '→': 'to rightarrow implies Rightarrow longrightarrow Longrightarrow',
    '←': 'gets leftarrow impliedby Leftarrow longleftarrow Longleftarrow',
    '⇔': 'iff Leftrightarrow leftrightarrow Longleftrightarrow longleftrightarrow',
    '↦': 'mapsto longmapsto',
    **{
      sign: commands
      for sign, commands in (
        ('∉', 'notin nin'),
        ('∋', 'ni owns'),
        ('⊂', 'subset subsetneq subsetneqq varsubsetneq'),
        ('⊆', 'subseteq subseteqq'),
        ('⊃', 'supset supsetneq supsetneqq varsupsetneq'),
        ('⊇', 'supseteq supseteqq'),
        ('⊄', 'nsubset'),
        ('⊈', 'nsubseteq'),
        ('≪', 'll lll'),
        ('≫', 'gg ggg'),
        ('≺', 'prec'),
        ('≻', 'succ'),
        ('⪯', 'preceq preccurlyeq'),
        ('⪰', 'succeq succcurlyeq'),
        ('≲', 'lesssim lessapprox'),
        ('≳', 'gtrsim gtrapprox'),
        ('⊲', 'lhd vartriangleleft triangleleft'),
        ('⊳', 'rhd vartriangleright triangleright'),
        ('⊢', 'vdash'),
        ('⊨', 'models vDash'),
        ('∝', 'propto varpropto'),
        ('∼', 'sim thicksim'),
        ('≅', 'cong'),
        ('∥', 'parallel'),
        ('⊥', 'perp bot'),
        ('≢', 'nequiv'),
        ('∤', 'nmid'),
        ('∦', 'nparallel'),
        ('≁', 'nsim'),
        ('≇', 'ncong'),
      )
    },
  }
)
# Relation with a stroke through it, as in `\\not\\in`.
NEGATED_RELATIONS = {
  '=': '≠',
  '∈': '∉',
  '≡': '≢',
  '⊂': '⊄',
  '⊆': '⊈',
  '<': '≥',
  '>': '≤',
  '≤': '>',
  '≥': '<',
  '|': '∤',
  '∥': '∦',
  '∼': '≁',
  '≅': '≇',
}
# LaTeX command -> operator without a value. All but COMMUTING_OPERATORS keep their order.
ORDERED_COMMANDS = _by_spelling(
  {
    '×': 'crossproduct',
    '⊕': 'oplus',
    '⋆': 'star bigstar',
    '⊖': 'ominus',
    '⊘': 'oslash',
    '⊗': 'otimes',
    '⊙': 'odot',
    '⋊': 'rtimes',
    '⋉': 'ltimes',
    '≀': 'wr',
    '⊎': 'uplus',
  }
)
COMMUTING_OPERATORS = ('⊕',)
ORDERED_OPERATORS = frozenset('∘×⋆⊖⊘⊗⊙⋊⋉≀⊎⊕')

FRACTION_COMMANDS = _words('frac dfrac tfrac cfrac nicefrac sfrac flatfrac')
BINOMIAL_COMMANDS = _words('binom dbinom tbinom')
STRUCTURE_COMMANDS = (
  FRACTION_COMMANDS
  | BINOMIAL_COMMANDS
  | _words('sqrt overline bar mathbb Bbb dot ddot dddot sum prod int lim')
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
    'deg': 'deg',
    'dim': 'dim',
    'ker': 'ker',
    'sup': 'sup',
    'Pr': 'Pr',
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
    'angle': 'measuredangle sphericalangle',
    'hbar': 'hslash',
  }
)
GREEK_LETTERS = _words(
  'alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau '
  'upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega'
)

# Other commands that are names. A command in no table is no factor: the answer is compared as text.
SYMBOL_COMMANDS = _words(
  'hbar partial aleph beth wp triangle square Box bigtriangleup jmath digamma mho eth Finv '
  'complement ell angle'
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
    '': '€£¥₹¢✓✅',
    '\\le ': '≤⩽',
    '\\ge ': '≥⩾',
    '\\emptyset ': '∅Ø',
    '\\degree ': '°º',
    '\\langle ': '⟨〈',
    '\\rangle ': '⟩〉',
    '\\to ': '→⇒⟶⟹',
    "''": '″',
    "'''": '‴',
    '\\pm ': '±',
    '\\mp ': '∓',
    '\\ne ': '≠',
    '\\approx ': '≈≃≅≐'.replace('≅', ''),
    '\\cong ': '≅',
    '\\sim ': '∼',
    '\\propto ': '∝',
    '\\notin ': '∉',
    '\\ni ': '∋',
    '\\subset ': '⊂⊊',
    '\\subseteq ': '⊆',
    '\\supset ': '⊃⊋',
    '\\supseteq ': '⊇',
    '\\not\\subset ': '⊄',
    '\\nsubseteq ': '⊈',
    '\\ll ': '≪',
    '\\gg ': '≫',
    '\\prec ': '≺',
    '\\succ ': '≻',
    '\\preceq ': '⪯≼',
    '\\succeq ': '⪰≽',
    '\\lesssim ': '≲',
    '\\gtrsim ': '≳',
    '\\parallel ': '∥',
    '\\perp ': '⊥',
    '\\mapsto ': '↦',
    '\\gets ': '←⇐',
    '\\iff ': '⇔↔⟺',
    '\\partial ': '∂',
    '\\hbar ': 'ℏ',
    '\\ell ': 'ℓ',
    '\\circ ': '∘',
    '\\oplus ': '⊕',
    '\\ominus ': '⊖',
    '\\otimes ': '⊗',
    '\\odot ': '⊙',
    '\\neg ': '¬',
    '\\nmid ': '∤',
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
    '\\land ': '∧',
    '\\lor ': '∨',
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
    '.': '。．',
    '[': '【［',
    ']': '】］',
    '\\{': '｛',
    '\\}': '｝',
    '<': '＜',
    '>': '＞',
    '=': '＝',
    '~': '～',
    '?': '？',
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
  SYMBOL_COMMANDS,
  GREEK_LETTERS,
  ORDERED_COMMANDS,
  ('vec', 'not', 'qty', 'SI', 'root'),
)


def is_known_command(name: str) -> bool:
  """Returns True if this module has a LaTeX command of this name."""
  return name in _KNOWN_COMMANDS
