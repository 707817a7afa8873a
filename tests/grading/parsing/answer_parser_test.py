"""Tests of the answer parser: precedence, brackets, and syntax errors."""

import pytest

from mathft_jax.grading import expression_tree
from mathft_jax.grading.canonical import answer_keys
from mathft_jax.grading.parsing import (
  answer_parser,
  answer_tokenizer,
  token_cursor,
)


def parse(text):
  return answer_parser.parse_answer(answer_tokenizer.tokenize_answer(text))


@pytest.mark.parametrize(
  'text, explicit',
  [
    ('-3^2', '-(3^2)'),
    ('2^3^2', '2^(3^2)'),
    ('1/2x', '(1/2)x'),
    ('6/2*3', '(6/2)*3'),
    (r'-2\frac13', '-(7/3)'),
    ('10^-2', '10^(-2)'),
    ('x^2y', '(x^2)y'),
    (r'\frac12x', r'(\frac12)x'),
    (r'\sin x\cos x', r'(\sin(x))(\cos(x))'),
    (r'\sin 2x + 1', r'(\sin(2x))+1'),
    (r'\sin^2 x', r'(\sin(x))^2'),
    (r'\ln x^2', r'\ln(x^2)'),
    ('5!^2', '(5!)^2'),
    ('2*-3', '2*(-3)'),
    (r'3\frac12 + 1', '(7/2)+1'),
    (r'{3\over 4}', '(3)/(4)'),
    (r'\sqrt2x', r'(\sqrt{2})x'),
  ],
)
def test_precedence(text, explicit):
  assert answer_keys.tree_key(parse(text)) == answer_keys.tree_key(
    parse(explicit)
  )


@pytest.mark.parametrize(
  'text, kind',
  [
    ('1, 2', 'list'),
    (r'\{1, 2\}', 'set'),
    ('{1, 2}', 'set'),
    ('(1, 2)', 'tuple'),
    ('(1; 2; 3)', 'tuple'),
    ('1 and 2', 'list'),
    (r'\langle 1, 2 \rangle', 'tuple'),
  ],
)
def test_brackets_and_separators_create_collections(text, kind):
  assert parse(text).kind == kind


def test_square_bracket_creates_an_interval():
  one, two = expression_tree.integer(1), expression_tree.integer(2)
  assert parse('[1, 2)') == expression_tree.Interval(one, two, True, False)


def test_conditions_joined_by_words_are_set_operations():
  assert parse('x < 1 or x > 2').operator == '∪'
  assert parse('x > 1 and x < 2').operator == '∩'
  assert parse('x = 1 and y = 2').kind == 'list'


@pytest.mark.parametrize(
  'text',
  [
    '1 +',
    '(1',
    '1)',
    r'\frac{1}',
    '1 2',
    '[1, 2',
    r'\begin{pmatrix} 1 \\ 2 & 3 \end{pmatrix}',
    'x = ',
    r'\sqrt',
    '^2',
    r'\text{abc} + 1',
    '!',
    '((1)',
    r'\sum k',
    '(1]',
    '1 _',
    '5 the 6',
    '...',
  ],
)
def test_invalid_syntax_raises_an_error(text):
  with pytest.raises(token_cursor.ParseError):
    parse(text)
