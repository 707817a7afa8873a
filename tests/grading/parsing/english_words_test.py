"""Tests of numbers in words."""

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
def test_number_words_have_a_value(text, value):
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
def test_invalid_number_words_have_no_value(text):
  assert english_words.number_words_value(text.split()) is None


def test_number_ends_at_the_first_other_word():
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
