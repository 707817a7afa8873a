"""Tests of the tokenizer: one token for all spellings of a symbol, none for layout."""

import pytest

from mathft_jax.grading.parsing import answer_tokenizer, lexer


def token_texts(text):
  return [token.text for token in answer_tokenizer.tokenize_answer(text)]


@pytest.mark.parametrize(
  'text, expected',
  [
    (
      r'\left( \dfrac{1}{2} \right)',
      ['(', 'frac', '{', '1', '}', '{', '2', '}', ')'],
    ),
    (r'$\boxed{5}$.', ['5']),
    (r'\text{two \textbf{or} three}', ['2', 'or', '3']),
    ('**73**', ['73']),
    ('2**3', ['2', '^', '3']),
    (r'1 & \phantom -1', ['1', '&', '1']),
    (r'\textcolor{red}{5}', ['{', '5', '}']),
    ('x²+y¹⁰', ['x', '^', '{', '2', '}', '+', 'y', '^', '{', '10', '}']),
    ('3½', ['3', 'frac', '{', '1', '}', '{', '2', '}']),
  ],
)
def test_layout_has_no_tokens(text, expected):
  assert token_texts(text) == expected


@pytest.mark.parametrize(
  'text, number',
  [
    ('1,234,567', '1234567'),
    (r'11,\! 111,\! 111', '11111111'),
    ('1{,}234.5', '1234.5'),
    (r'33\,800\,000', '33800000'),
    ('33 800 000', '33800000'),
    ('2.5e-3', '2.5e-3'),
  ],
)
def test_separators_of_thousands_are_part_of_the_number(text, number):
  assert token_texts(text) == [number]


@pytest.mark.parametrize(
  'text, numbers',
  [
    ('12,34', ['12', '34']),
    ('1,2,345', ['1', '2', '345']),
    ('(1,234)', ['1', '234']),
    ('0,123', ['0', '123']),
    ('1,2345', ['1', '2345']),
    ('1234,567', ['1234', '567']),
  ],
)
def test_other_commas_are_separators(text, numbers):
  assert [
    t.text for t in answer_tokenizer.tokenize_answer(text) if t.kind == 'number'
  ] == numbers


@pytest.mark.parametrize(
  'text, kinds',
  [
    ('xy', ['name', 'name']),
    ('yes', ['word']),
    ('circle', ['word']),
    ('abcd', ['name'] * 4),
    ('sinx', ['function', 'name']),
    ('5 cm', ['number', 'word']),
    ('cm', ['name', 'name']),
    ('5 min', ['number', 'word']),
    ('min(1,2)', ['function', *['operator', 'number'] * 2, 'operator']),
  ],
)
def test_letters_are_names_functions_or_words(text, kinds):
  assert [
    token.kind for token in answer_tokenizer.tokenize_answer(text)
  ] == kinds


@pytest.mark.parametrize(
  'text', ['4' * 2001, '(' * 41, '{' * 41, r'\begin{matrix}' * 41]
)
def test_long_or_deeply_nested_text_raises_an_error(text):
  with pytest.raises(lexer.AnswerTooLong):
    answer_tokenizer.tokenize_answer(text)
