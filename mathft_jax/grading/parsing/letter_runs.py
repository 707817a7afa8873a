"""Classifies runs of letters: words, units, functions, names, or products of names.

classify_math('xsin', ...)   # the name x and the function sin
classify_math('apples', ...)   # a word
"""

from mathft_jax.grading.parsing import english_words, notation

_SET_WORDS = {'in': '∈', 'union': '∪', 'intersection': '∩', 'intersect': '∩'}
_PLAIN_CONDITION_WORDS = ('if', 'for', 'when', 'where')


def is_symbol_command(name: str) -> bool:
  """Returns True for the name of a LaTeX command that is a variable or constant."""
  return (
    name in notation.SYMBOL_NAMES
    or name in notation.GREEK_LETTERS
    or name in notation.SYMBOL_COMMANDS
  )


def joined_conjunction(run: str) -> str:
  """Returns the `or` or `and` at the start of letters such as `orW`, else ''."""
  for word in ('or', 'and'):
    rest = run[len(word) :]
    if run.startswith(word) and rest and (len(rest) == 1 or rest[0].isupper()):
      return word
  return ''


def is_compound_word(text: str) -> bool:
  """Returns True for a word with hyphens; False for a number in words or a difference."""
  parts = text.split('-')
  num_words = num_long = 0
  for part in parts:
    lower = part.lower()
    if lower in notation.FUNCTION_NAMES:
      return False
    num_long += len(part) > 2
    num_words += not english_words.is_number_word(lower) and len(part) > 2
  is_pair_of_numbers = not num_words
  return not is_pair_of_numbers and (num_long > 1 or len(text) > 4)


def classify_text(run: str, after_quantity: bool) -> tuple[str, str]:
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


def classify_math(
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
  if run in _PLAIN_CONDITION_WORDS:
    return [('word', run)]
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
