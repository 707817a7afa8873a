r"""Replaces spellings in the text of an answer before it is split into tokens.

  normalize_text('x² − √3')        # x^{2} - sqrt 3
  normalize_text(r'\qty{5}{cm}')   # {5}

Unicode mathematics becomes LaTeX or ASCII; invisible characters, thousands separators `_` and the
prefix of `math.pi` are removed; commands that were escaped twice lose one backslash.
"""

import re
import unicodedata

from mathft_jax.grading.parsing import notation

_SUPERSCRIPTS = str.maketrans('⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ', '0123456789+-=()ni')
_SUBSCRIPTS = str.maketrans('₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₙₓₖₘ', '0123456789+-=()aenxkm')
_COMBINING_OVERLINE = '\u0305'
_OVERLINED_DIGITS = re.compile(f'(?:\\d{_COMBINING_OVERLINE})+')
_SUPERSCRIPT_RUN = re.compile(f'[{"".join(map(chr, _SUPERSCRIPTS))}]+')
_SUBSCRIPT_RUN = re.compile(f'[{"".join(map(chr, _SUBSCRIPTS))}]+')
_ESCAPED_COMMAND = re.compile(r'\\\\([a-zA-Z]+)')
_QUANTITY = re.compile(
  r'\\(?:qty|SI|SIrange)\s*(?:\[[^\[\]]*\])?\s*\{([^{}]*)\}\s*\{[^{}]*\}'
)
_ROOT_OF = re.compile(r'\\root\s*([^{}\\]*|\{[^{}]*\})\s*\\of')
_MODULE_PREFIX = re.compile(r'\b(?:math|cmath|np|numpy|sympy|sp)\.(?=[a-z])')
_UNDERSCORED_THOUSANDS = re.compile(r'(?<![\w.])\d{1,3}(?:_\d{3})+(?!\w)')
# Characters without a glyph, and their meaning where they have one.
_INVISIBLE_MEANINGS = {'\u2063': ',', '\u2064': ' '}
_VARIATION_SELECTORS = '\ufe0e\ufe0f'


def normalize_text(text: str) -> str:
  """Returns the text with one spelling for each symbol."""
  text = unicode_to_latex(text)
  if '_' in text:
    text = _UNDERSCORED_THOUSANDS.sub(_without_underscores, text)
  if '.' in text:
    text = _MODULE_PREFIX.sub('', text)
  if '\\' not in text:
    return text
  if '\\\\' in text and '\\begin' not in text:
    text = _ESCAPED_COMMAND.sub(_unescape_command, text)
  text = _QUANTITY.sub(r'{\1}', text)
  return _ROOT_OF.sub(r'\\sqrt[\1]', text)


def _without_underscores(match: re.Match[str]) -> str:
  return match.group().replace('_', '')


def _unescape_command(match: re.Match[str]) -> str:
  escaped = match.group()
  return escaped[1:] if notation.is_known_command(match[1]) else escaped


def unicode_to_latex(text: str) -> str:
  """Returns the text with Unicode mathematics as LaTeX or ASCII; other characters are kept."""
  if text.isascii():
    return text
  text = unicodedata.normalize('NFC', text)
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
  if character in notation.UNICODE_CHARACTERS:
    return notation.UNICODE_CHARACTERS[character]

  category = unicodedata.category(character)
  if category == 'Cf' or character in _VARIATION_SELECTORS:
    return _INVISIBLE_MEANINGS.get(character, '')
  if category == 'Zs':
    return ' '
  if category == 'No':  # perhaps a fraction such as ½
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
