"""Numbers in words."""

import pytest

from mathft_jax.grading.parsing import english_words


@pytest.mark.parametrize(
  'text, value',
  [
    ('seven', 7),
    ('nineteen', 19),
    ('ninety nine', 99),
    ('one hundred', 100),
    ('three hundred seven', 307),
    ('one thousand six hundred twenty five', 1625),
    ('two million three thousand', 2_003_000),
    ('twelve hundred', 1200),
  ],
)
def test_words_make_numbers(text, value):
  assert english_words.number_words_value(text.split()) == value


@pytest.mark.parametrize(
  'text',
  [
    'one two',
    'hundred',
    'twenty ten',
    'thousand million',
    'five hundred hundred',
  ],
)
def test_words_that_make_no_number_are_none(text):
  assert english_words.number_words_value(text.split()) is None


def test_a_number_ends_where_the_words_end():
  assert english_words.parse_number_words(['twenty', '-', 'one', 'cats']) == (
    21,
    3,
  )
  assert english_words.parse_number_words(
    ['one', 'hundred', 'and', 'cats']
  ) == (
    100,
    2,
  )
  assert english_words.parse_number_words(['cats']) == (0, 0)
