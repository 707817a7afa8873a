"""Equivalence of answers is an equivalence relation, and clusters are its classes."""

import itertools
import json
import random
import threading

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from mathft_jax import grading

_CONSTANTS = st.sampled_from(
  ['2', '3', '0.5', r'\frac{1}{3}', r'\pi', r'\sqrt{2}', '7', 'i']
)
_VARIABLES = st.sampled_from(['x', 'y', 'n', r'\theta'])


def _combined(parts):
  return st.one_of(
    st.tuples(st.just('+'), parts, parts),
    st.tuples(st.just('*'), parts, parts),
    st.tuples(st.just('/'), parts, parts),
    st.tuples(st.just('-'), parts, parts),
    st.tuples(st.just('^'), parts, st.sampled_from(['2', '3', '-1'])),
    st.tuples(st.sampled_from(['sqrt', 'sin', 'cos', 'ln']), parts),
  )


EXPRESSIONS = st.recursive(
  st.one_of(_CONSTANTS, _VARIABLES), _combined, max_leaves=6
)
BARE_LISTS = st.lists(
  EXPRESSIONS.map(lambda tree: latex(tree)), min_size=2, max_size=3
).map(', '.join)
POINTS = BARE_LISTS.map(lambda items: f'({items})')
OTHER_ANSWERS = st.one_of(
  EXPRESSIONS.map(lambda tree: latex(tree)),
  st.tuples(EXPRESSIONS, EXPRESSIONS).map(
    lambda pair: f'{latex(pair[0])} = {latex(pair[1])}'
  ),
  st.tuples(EXPRESSIONS, EXPRESSIONS).map(
    lambda pair: f'{latex(pair[0])} < {latex(pair[1])}'
  ),
  st.integers(-(10**12), 10**12).map(str),
  st.decimals(-1000, 1000, places=10).map(str),
  st.sampled_from(
    ['', 'no solution', 'B', '(B)', '\\frac{', '9^{9^{9^9}}', '12:30', '1101_2']
  ),
)


def latex(tree):
  """Returns the expression in LaTeX, fully bracketed."""
  if isinstance(tree, str):
    return tree
  head, *parts = tree
  texts = list(map(latex, parts))
  if head == '/':
    return rf'\frac{{{texts[0]}}}{{{texts[1]}}}'
  if head == '^':
    return rf'\left({texts[0]}\right)^{{{texts[1]}}}'
  if head == 'sqrt':
    return rf'\sqrt{{{texts[0]}}}'
  if len(texts) == 1:
    return rf'\{head}\left({texts[0]}\right)'
  return rf'\left({texts[0]}\right) {head.replace("*", chr(92) + "cdot")} \left({texts[1]}\right)'


def plain(tree):
  """Returns the expression in ASCII, fully bracketed."""
  if isinstance(tree, str):
    return {
      r'\frac{1}{3}': '1/3',
      r'\pi': 'pi',
      r'\sqrt{2}': 'sqrt(2)',
      r'\theta': 'theta',
    }.get(tree, tree)
  head, *parts = tree
  texts = [f'({plain(part)})' for part in parts]
  return (
    f'{head}{texts[0]}'
    if len(texts) == 1
    else texts[0] + head.replace('^', '**') + texts[1]
  )


def commuted(tree):
  """Returns the expression with the operands of sums and products exchanged."""
  if isinstance(tree, str):
    return tree
  head, *parts = tree
  parts = list(map(commuted, parts))
  if head in '+*':
    return (head, *reversed(parts))
  return (
    ('+', ('*', '-1', parts[1]), parts[0]) if head == '-' else (head, *parts)
  )


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS)
def test_spellings_of_an_expression_are_equivalent(tree):
  assert grading.is_equivalent(latex(tree), plain(tree))
  assert grading.is_equivalent(latex(tree), f'${latex(commuted(tree))}$')


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS)
def test_an_expression_plus_one_is_not_equivalent(tree):
  assert not grading.is_equivalent(latex(tree), f'{latex(tree)} + 1')


@settings(max_examples=100, deadline=None)
@given(
  # A reference that is a point reads a bare list as a point, but not the other way round: among
  # lists and points together the relation is not symmetric (docs/grading_specification.md).
  st.one_of(
    st.lists(st.one_of(OTHER_ANSWERS, BARE_LISTS), min_size=2, max_size=6),
    st.lists(st.one_of(OTHER_ANSWERS, POINTS), min_size=2, max_size=6),
  )
)
def test_generated_answers_have_an_equivalence_relation(answers):
  _assert_relation(answers)


def test_labelled_answers_have_an_equivalence_relation(labelled):
  strings = sorted(
    {text for case in labelled for text in (case['gold'], case['pred'])}
  )
  rng = random.Random(0)
  for _ in range(60):
    _assert_relation(rng.sample(strings, 12))


def _assert_relation(answers):
  """Asserts reflexivity, symmetry, transitivity and agreement with the clusters."""
  equal = {
    (a, b): grading.is_equivalent(a, b)
    for a, b in itertools.product(answers, repeat=2)
  }
  labels = dict(zip(answers, grading.cluster_answers(answers)))
  for a, b in equal:
    assert equal[a, b] == equal[b, a]
    assert equal[a, b] == (labels[a] is not None and labels[a] == labels[b])
  for a in answers:
    assert equal[a, a] == (grading.answer_key(a) is not None)
  for a, b, c in itertools.product(answers, repeat=3):
    assert not (equal[a, b] and equal[b, c]) or equal[a, c]


def test_labelled_pairs_are_graded_as_labelled(labelled):
  wrong = [
    case['id']
    for case in labelled
    if grading.is_equivalent(case['gold'], case['pred']) != case['equal']
  ]
  assert len(wrong) <= 0.01 * len(labelled), wrong


def test_cluster_labels_are_in_order_of_first_appearance():
  answers = ['4', None, '5', r'\frac{8}{2}', '', '5.0', '{{{', 'four']
  assert grading.cluster_answers(answers) == [0, None, 1, 0, None, 1, None, 0]


@pytest.mark.parametrize(
  'text',
  [
    '',
    ' ',
    '$$',
    '%',
    '{{{{',
    '\\',
    '\\frac',
    '^',
    '_',
    '[]',
    '\x00',
    '()',
    '\\frac{}{}',
    '...',
  ],
)
def test_text_without_content_equals_nothing(text):
  assert grading.answer_key(text) is None
  assert not grading.is_equivalent(text, text)


def test_a_decimal_of_nine_digits_equals_the_number_that_it_approximates():
  spellings = [r'3\pi', '9.42477796', '9.424777961', '9.42477796076938']
  assert len(set(grading.cluster_answers(spellings))) == 1
  assert not grading.is_equivalent('9.4247', r'3\pi')
  assert not grading.is_equivalent(r'3\pi', r'3\pi + 10^{-12}')


def test_threads_compute_the_same_keys():
  answers = [rf'\sin({n}) + \sqrt{{{n}}}' for n in range(2, 40)]
  expected = [grading.answer_key(answer) for answer in answers]
  grading.equivalence.clear_cache()
  found = {}

  def read(worker):
    found[worker] = [grading.answer_key(answer) for answer in answers]

  threads = [
    threading.Thread(target=read, args=(worker,)) for worker in range(4)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert all(keys == expected for keys in found.values()) and len(found) == 4


@pytest.fixture(scope='module')
def labelled(shared_data):
  """Returns the labelled pairs of the shared data folder."""
  lines = (shared_data / 'grading' / 'dev_cases.jsonl').read_text().splitlines()
  return list(map(json.loads, lines))
