"""Where answers are found: the span of each method is that of the grader's answer."""

import pytest

from mathft_jax import grading
from mathft_jax.grading import answer_location


def located(solution):
  """The method and the marked texts of a solution."""
  found = grading.find_final_answer(solution)
  spans = answer_location.locate_answer(solution, found.text, found.method)
  return found.method, [solution[start:end] for start, end in spans], spans


@pytest.mark.parametrize(
  'solution, method, marked',
  [
    (r'First \boxed{3}. No, \boxed{4}.', 'box', ['4']),
    (r'$x=\boxed{1}$ or $x=\boxed{3}$', 'boxes', ['1', '3']),
    ('5 + 7 = 12\n#### 12', 'hash', ['12']),
    ('12 it is.\n# Answer\n\n12', 'heading', ['12']),
    ('7 or 8? <answer>8</answer>', 'tag', ['8']),
    ('The answer is 5. With 5 apples more: 5.', 'phrase', ['5']),
    ('So 4 cars came. So, 5 cars drove by.', 'final_sentence', ['5 cars']),
    (r'<think>\boxed{1}</think>It is \boxed{2}.', 'box', ['2']),
  ],
)
def test_the_span_is_that_of_the_announcement(solution, method, marked):
  found_method, texts, _ = located(solution)
  assert found_method == method
  assert len(texts) == len(marked)
  for text, wanted in zip(texts, marked):
    assert text in wanted and text


def test_the_announcement_counts_and_not_a_later_repetition():
  solution = 'The answer is 5. With 5 apples more: 5.'
  _, _, spans = located(solution)
  assert spans == [(14, 15)]


def test_an_answer_that_is_written_otherwise_marks_its_statement():
  spans = answer_location.locate_answer('x', '5', 'phrase')
  assert spans == []
  solution = 'The answer is **five** apples.'
  found = grading.find_final_answer(solution)
  (span,) = answer_location.locate_answer(solution, found.text, found.method)
  assert '**five** apples' in solution[slice(*span)]


def test_unknown_methods_have_no_span():
  assert answer_location.locate_answer('It is 5.', '5', 'by hand') == []
