"""Boxed answers of solutions."""

import pytest

from mathft_jax.data import boxed_answers, schema


@pytest.mark.parametrize(
  'solution, answer',
  [
    (r'so $\boxed{\frac{1}{2}}$.', r'\frac{1}{2}'),
    (r'first \boxed{1}, then \boxed{2}.', '2'),
    (r'\fbox{3}', '3'),
    (r'$\boxed 4$', '4'),
    (r'\boxed{a\}b}', r'a\}b'),
    (r'\boxed{\{1, 2\}}', r'\{1, 2\}'),
    (r'\boxed {5}', '5'),
    (r'\boxed{never closed', None),
    (r'\boxed{5} and \boxed{never closed', '5'),
    (r'\boxed\frac12', r'\frac12'),
    (r'\boxed{}', ''),
    ('no box', None),
  ],
)
def test_the_last_box_is_the_answer(solution, answer):
  assert boxed_answers.last_boxed_answer(solution) == answer


def test_the_boxes_of_math_are_its_answers(shared_data):
  for name in ('train', 'test'):
    for where, line in schema.read_jsonl(
      shared_data / 'math' / f'{name}.jsonl.gz'
    ):
      assert (
        boxed_answers.last_boxed_answer(line['solution']) == line['answer']
      ), where
