"""Words in answers: numbers in words, units, and what is prose rather than a product of letters."""

from collections.abc import Sequence

_SMALL = (
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen '
  'fifteen sixteen seventeen eighteen nineteen'
).split()
_TENS = '_ _ twenty thirty forty fifty sixty seventy eighty ninety'.split()
_UNITS_OF_NUMBERS = {word: value for value, word in enumerate(_SMALL)}
_UNITS_OF_NUMBERS |= {
  word: 10 * value for value, word in enumerate(_TENS) if value > 1
}
SCALE_WORDS = {
  'hundred': 100,
  'thousand': 10**3,
  'million': 10**6,
  'billion': 10**9,
  'trillion': 10**12,
}
MAX_NUMBER_TOKENS = 24  # texts of one number in words
NUMBER_WORDS = frozenset({*_UNITS_OF_NUMBERS, *SCALE_WORDS})
_PARTS = {
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
FRACTION_WORDS = {
  **_PARTS,
  'halves': 2,
  **{f'{word}s': value for word, value in _PARTS.items()},
}
FRACTION_OR_SCALE_WORDS = frozenset(
  {*_PARTS, *SCALE_WORDS}
)  # behind `a` for one: a third, a hundred
OPERATOR_WORDS = {
  'minus': '-',
  'negative': '-',
  'to': ':',
  'choose': '\\choose',
  'except': '∖',
}
ARTICLES = ('a', 'an', 'the')
CHOICE_WORDS = ('option', 'choice')
EMPTY_SET_PHRASES = (('empty', 'set'), ('null', 'set'))

UNIT_WORDS = frozenset(
  (
    'mm cm dm km in ft yd mi mph kph kmh fps mg kg lb lbs oz ml cl ha sq cu sec secs min mins hr hrs am '
    'pm yr yrs rad deg rpm hz khz mhz kw kwh mol gal qt pt usd eur gbp cents cent percent pct gm gms '
    'inch inches foot feet yard yards mile miles meter meters metre metres degree degrees radians '
    'dollar dollars euro euros pound pounds ounce ounces gram grams liter liters litre litres '
    'second seconds minute minutes hour hours day days week weeks month months year years '
    'square squared cubic cubed unit units way ways pieces points people students integers '
    'per each total st nd rd th cup cups box bag jar can egg eggs pie pies pen car bus man men cat dog '
    'row rows lap laps hat toy toys bit bits'
  ).split()
)
HALF_DAYS = {'am': 'am', 'pm': 'pm', 'a.m': 'am', 'p.m': 'pm'}

ALL_REALS_PHRASES = (
  ('all', 'real', 'numbers'),
  ('all', 'reals'),
  ('real', 'numbers'),
  ('reals',),
)
HEDGE_WORDS = frozenset(
  'about approximately approx roughly around exactly only just either'.split()
)

_SHORT_PROSE = frozenset(
  (
    'yes no odd all any one two six ten the not dne nan max min red win tie mon tue wed thu fri sat '
    'sun dog cat boy him her his she'
  ).split()
)
_DATES = frozenset('Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split())
_PROSE = frozenset(
  'sing single since cost costs spin logic logs tangent cosine sine losing'.split()
)
_VOWELS = frozenset('aeiouy')
_LONG = 4  # letters: shorter runs are products of variables unless they are listed words


def is_english_word(run: str) -> bool:
  """True for a run of letters that is a word rather than a product of one-letter variables."""
  lower = run.lower()
  if (
    run in _DATES
    or lower in _SHORT_PROSE
    or lower in NUMBER_WORDS
    or lower in FRACTION_WORDS
  ):
    return not run.isupper() or len(run) > 2
  is_named = (
    len(run) == 3 and run.istitle() and bool(set(lower) & set('aeiou'))
  )  # Bob, Tom
  if is_named or len(run) < _LONG or run.isupper():
    return is_named
  in_order = all(
    a < b for a, b in zip(run, run[1:])
  )  # abcd, wxyz: named in order
  return bool(_VOWELS & set(lower)) and not in_order


def is_listed_word(run: str) -> bool:
  """True for a listed word, whatever its letters spell."""
  return (
    run in _SHORT_PROSE
    or run in NUMBER_WORDS
    or run in UNIT_WORDS
    or run in _PROSE
  )


def parse_number_words(texts: Sequence[str]) -> tuple[int, int]:
  """The value of the number words at the start of `texts`, and how many texts they are (0: none)."""
  found, length, index = [], 0, 0
  while index < len(texts):
    if texts[index] in NUMBER_WORDS:
      found.append(texts[index])
      index += 1
      if number_words_value(found) is None:
        break
      length = index
    elif found and (
      texts[index] == '-' or texts[index] == 'and' and found[-1] in SCALE_WORDS
    ):
      index += 1
    else:
      break
  return number_words_value(
    [text for text in texts[:length] if text in NUMBER_WORDS]
  ) or 0, length


def number_words_value(words: Sequence[str]) -> int | None:
  """The value of number words such as one, thousand, twenty, five; None when they make none."""
  total, current, last_scale = 0, 0, None
  for word in words:
    if word in _UNITS_OF_NUMBERS:
      value = _UNITS_OF_NUMBERS[word]
      if current % 100 and not (
        current % 10 == 0 and current % 100 >= 20 and 0 < value < 10
      ):
        return None
      current += value
    elif word == 'hundred':
      if not 0 < current < 100:
        return None
      current *= 100
    elif (
      word in SCALE_WORDS
      and current
      and (last_scale is None or SCALE_WORDS[word] < last_scale)
    ):
      last_scale = SCALE_WORDS[word]
      total, current = total + current * last_scale, 0
    else:
      return None
  return total + current
