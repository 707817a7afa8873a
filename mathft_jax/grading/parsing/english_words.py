"""English words in answers: numbers, units, and words as opposed to products of letters."""

from collections.abc import Sequence

_SMALL_NUMBERS = (
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen '
  'fifteen sixteen seventeen eighteen nineteen'
).split()
_TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split()
_NUMBERS = {
  **{word: value for value, word in enumerate(_SMALL_NUMBERS)},
  **{word: 10 * tens for tens, word in enumerate(_TENS, start=2)},
}
SCALE_WORDS = {
  'hundred': 100,
  'thousand': 10**3,
  'million': 10**6,
  'billion': 10**9,
  'trillion': 10**12,
}
NUMBER_WORDS = frozenset({*_NUMBERS, *SCALE_WORDS})
MAX_NUMBER_TOKENS = 24  # tokens of one number in words

_FRACTIONS = {
  'half': 2,
  'third': 3,
  'quarter': 4,
  'fourth': 4,
  'fifth': 5,
  'sixth': 6,
  'seventh': 7,
  'eighth': 8,
  'ninth': 9,
  'tenth': 10,
}
_LONG_FRACTIONS = {
  'eleventh': 11,
  'twelfth': 12,
  'thirteenth': 13,
  'fourteenth': 14,
  'fifteenth': 15,
  'sixteenth': 16,
  'seventeenth': 17,
  'eighteenth': 18,
  'nineteenth': 19,
  'twentieth': 20,
  'thirtieth': 30,
  'fortieth': 40,
  'fiftieth': 50,
  'hundredth': 100,
  'thousandth': 10**3,
  'millionth': 10**6,
  'billionth': 10**9,
}
_SINGULAR_FRACTIONS = {**_FRACTIONS, **_LONG_FRACTIONS}
# Word -> denominator.
FRACTION_WORDS = {
  **_SINGULAR_FRACTIONS,
  **{f'{word}s': value for word, value in _SINGULAR_FRACTIONS.items()},
  'halves': 2,
}
# Words that are a fraction only after a number (one twelfth); without one they are ordinals.
ORDINALS = {
  'first': 1,
  'second': 2,
  **{word: value for word, value in _FRACTIONS.items() if value > 4},
  'third': 3,
  'fourth': 4,
  **_LONG_FRACTIONS,
}
# Word -> factor: five dozen, two score.
MULTIPLE_WORDS = {
  'dozen': 12,
  'dozens': 12,
  'score': 20,
  'scores': 20,
  'gross': 144,
}
POWER_WORDS = {'squared': 2, 'cubed': 3}
# After "a", which then means one: a third, a hundred.
FRACTION_OR_SCALE_WORDS = frozenset(
  {*_SINGULAR_FRACTIONS, *SCALE_WORDS, *MULTIPLE_WORDS}
)

OPERATOR_WORDS = {
  'minus': '-',
  'negative': '-',
  'to': ':',
  'choose': '\\choose',
  'except': '∖',
  'excluding': '∖',
}
# Words between two operands, longest first, and the operator that they mean.
INFIX_PHRASES = (
  (('raised', 'to', 'the', 'power', 'of'), '^'),
  (('raised', 'to', 'the', 'power'), '^'),
  (('to', 'the', 'power', 'of'), '^'),
  (('to', 'the', 'power'), '^'),
  (('raised', 'to'), '^'),
  (('divided', 'by'), '/'),
  (('multiplied', 'by'), '*'),
  (('out', 'of'), '/'),
  (('times',), '*'),
  (('plus',), '+'),
  (('over',), '/'),
  (('equals',), '='),
  (('is', 'equal', 'to'), '='),
)
# Words before an operand, and the function that they mean.
PREFIX_PHRASES = (
  (('the', 'square', 'root', 'of'), 'sqrt'),
  (('square', 'root', 'of'), 'sqrt'),
  (('the', 'cube', 'root', 'of'), 'cbrt'),
  (('cube', 'root', 'of'), 'cbrt'),
)
# Words before the condition of a value: x^2 if x > 0.
CONDITION_WORDS = frozenset('if when whenever for provided where with'.split())
OTHERWISE_WORDS = frozenset('otherwise else elsewhere'.split())
QUANTIFIERS = frozenset('all any every each some'.split())
ORDINAL_SUFFIXES = ('st', 'nd', 'rd', 'th')
# Words of two letters that are no product of variables.
_TWO_LETTER_WORDS = frozenset(
  'am an as at be by do go he if in is it me mm my no of ok on or pm so to up us we'.split()
)
# Short words that are products of letters unless they stand between words.
PLAIN_WORDS = frozenset(
  'an as at be by is it no of on out per the any are all than not'.split()
)
# Words after a variable that state a property of it: n is even.
PROPERTY_WORDS = frozenset(
  'is are even odd prime composite positive negative nonnegative nonzero rational irrational '
  'divisible real imaginary undefined infinite finite integer increasing decreasing true false '
  'not never always impossible'.split()
)
SCALE_CHARACTERS = {'万': 10**4, '亿': 10**8, '萬': 10**4, '億': 10**8}
# Characters of Chinese and Japanese words after a number that change it.
_NUMBER_CHANGING_CHARACTERS = frozenset('折成半多余几上下左右不负之点万亿千百')
_CJK_UNITS_WITH_THESE = ('千米', '千克', '千瓦', '百分')
ARTICLES = ('a', 'an', 'the')
CHOICE_WORDS = ('option', 'choice')
EMPTY_SET_PHRASES = (('empty', 'set'), ('null', 'set'))
ALL_REALS_PHRASES = (
  ('all', 'real', 'numbers'),
  ('all', 'reals'),
  ('real', 'numbers'),
  ('reals',),
)
HEDGE_WORDS = frozenset(
  'about approximately approx roughly around exactly only just either'.split()
)
HALF_DAYS = {'am': 'am', 'pm': 'pm', 'a.m': 'am', 'p.m': 'pm'}

UNIT_WORDS = frozenset(
  (
    'mm cm dm km in ft yd mi mph kph kmh fps mg kg lb lbs oz ml cl ha sq cu sec secs min mins '
    'hr hrs am pm yr yrs rad deg rpm hz khz mhz kw kwh mol gal qt pt usd eur gbp cents cent '
    'percent pct gm gms inch inches foot feet yard yards mile miles meter meters metre metres '
    'degree degrees radians dollar dollars euro euros pound pounds ounce ounces gram grams '
    'liter liters litre litres second seconds minute minutes hour hours day days week weeks '
    'month months year years square squared cubic cubed unit units way ways pieces points '
    'people students integers per each total st nd rd th cup cups box bag jar can egg eggs pie '
    'fl tsp tbsp kpa mpa psi mpg kcal btu revs '
    'pies pen car bus man men cat dog row rows lap laps hat toy toys bit bits pair pairs'
  ).split()
)

# Words of three letters or fewer; other short runs of letters are products of variables.
_SHORT_WORDS = frozenset(
  (
    'yes no odd all any one two six ten the not dne nan max min red win tie mon tue wed thu '
    'fri sat sun dog cat boy him her his she'
  ).split()
)
_MONTHS = frozenset('Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split())
# Words that contain the name of a function.
_WORDS_WITH_FUNCTIONS = frozenset(
  'sing single since cost costs spin logic logs tangent cosine sine losing'.split()
)
_VOWELS = frozenset('aeiou')
_MIN_WORD_LENGTH = 4  # letters of a word that is in no list


_NUMBER_TABLES = (
  NUMBER_WORDS,
  FRACTION_WORDS,
  ORDINALS,
  MULTIPLE_WORDS,
  POWER_WORDS,
)


def is_english_word(run: str) -> bool:
  """Returns True if a run of letters is a word, False if it is a product of variables."""
  lower = run.lower()
  is_listed = lower in _SHORT_WORDS or run in _MONTHS
  if is_listed or any(lower in words for words in _NUMBER_TABLES):
    return not run.isupper() or len(run) > 2

  has_vowel = bool(_VOWELS & set(lower))
  if len(run) == 3 and run.istitle() and has_vowel:
    return True  # a first name: Bob, Tom
  if len(run) < _MIN_WORD_LENGTH or run.isupper():
    return False
  # Letters in alphabetical order are names of points or variables: abcd, wxyz.
  is_alphabetical = all(map(str.__lt__, run, run[1:]))
  return (has_vowel or 'y' in lower) and not is_alphabetical


def is_product_of_letters(word: str) -> bool:
  """Returns True for two upright letters that are variables, such as `\\mathrm{gb}`."""
  is_pair = len(word) == 2 and word.isascii() and word.islower()
  return is_pair and word not in _TWO_LETTER_WORDS


def changes_number(word: str) -> bool:
  """Returns True for a word in another script that changes the number before it."""
  if word.isascii() or word.startswith(_CJK_UNITS_WITH_THESE):
    return False
  return not _NUMBER_CHANGING_CHARACTERS.isdisjoint(word)


def is_number_word(word: str) -> bool:
  """Returns True for a lower-case word that is a number, fraction, ordinal or multiple."""
  return any(word in words for words in _NUMBER_TABLES)


def is_listed_word(run: str) -> bool:
  """Returns True for a word in one of the lists, even if it contains the name of a function."""
  return (
    run in _SHORT_WORDS
    or run in NUMBER_WORDS
    or run in UNIT_WORDS
    or run in _WORDS_WITH_FUNCTIONS
  )


def parse_number_words(texts: Sequence[str]) -> tuple[int, int]:
  """Parses the number in words at the start of `texts`, the lower-case texts of tokens.

  Returns:
    The value of the number and how many texts it takes; (0, 0) if there is no number.
  """
  words: list[str] = []
  value, length = 0, 0
  for index, text in enumerate(texts):
    if text in NUMBER_WORDS:
      words.append(text)
      longer_value = number_words_value(words)
      if longer_value is None:
        break
      value, length = longer_value, index + 1
    elif not words:
      break
    elif text != '-' and not (text == 'and' and words[-1] in SCALE_WORDS):
      break
  return value, length


def number_words_value(words: Sequence[str]) -> int | None:
  """Returns the value of words such as one, thousand, twenty, five; None if they are no number."""
  total, current, last_scale = 0, 0, None
  for word in words:
    if word in _NUMBERS:
      value = _NUMBERS[word]
      tens, ones = divmod(current % 100, 10)
      follows_tens = tens >= 2 and ones == 0 and 0 < value < 10
      if current % 100 and not follows_tens:
        return None
      current += value
    elif word == 'hundred':
      if not 0 < current < 100:
        return None
      current *= 100
    elif word in SCALE_WORDS and current:
      scale = SCALE_WORDS[word]
      if last_scale is not None and scale >= last_scale:
        return None
      last_scale = scale
      total, current = total + current * scale, 0
    else:
      return None
  return total + current
