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
    (r'\boxed{}', None),
    ('no box', None),
  ],
)
def test_the_last_box_is_the_answer(solution, answer):
  assert boxed_answers.last_boxed_answer(solution) == answer


MATH_ANSWERS_IN_SEVERAL_BOXES = 21


def test_the_boxes_of_math_are_its_answers(shared_data):
  several = []
  for name in ('train', 'test'):
    for where, line in schema.read_jsonl(
      shared_data / 'math' / f'{name}.jsonl.gz'
    ):
      answer = boxed_answers.last_boxed_answer(line['solution'])
      if (answer or '') == (line['answer'] or '').strip():
        continue
      boxes = boxed_answers.answer_boxes(line['solution'])
      assert len(boxes) > 1, where
      several.append(where)
  assert len(several) == MATH_ANSWERS_IN_SEVERAL_BOXES, several


JOINED = [
  (r'The answers are $\boxed{-2}$ and $\boxed{1}$.', '-2, 1'),
  (r'The primes are $\boxed{2}$, $\boxed{3}$, $\boxed{5}$.', '2, 3, 5'),
  (r'$\boxed{x = 1}$, $\boxed{x = 3}$', 'x = 1, x = 3'),
  (r'$x=\boxed{1}$ or $x=\boxed{3}$', '1, 3'),
  (r'$x=\boxed{1}$ and $y=\boxed{3}$', 'x= 1, y= 3'),
  (r'$(x, y) = (\boxed{1}, \boxed{2})$', '(1, 2)'),
  (r'\[\boxed{1}\]and\[\boxed{2}\]', '1, 2'),
  ('The width is $\\boxed{5}$ cm, and the length is $\\boxed{7}$ cm.', '5, 7'),
  (r'\boxed{5} or maybe \boxed{7}', '5, 7'),
  (r'If $r=1$, $b=\boxed{4}.$ If $r=2$, $b=\boxed{5}.$', '4, 5'),
  (r'a = \boxed{4}, \\ b = \boxed{5}', 'a = 4, b = 5'),
  (r'$\boxed{4}$ 或 $\boxed{5}$', '4, 5'),
  (r'$\boxed{4}$, и $\boxed{5}$', '4, 5'),
]
SEPARATE = [
  (r'\boxed{3} no no no, I mean \boxed{5}', '5'),
  (r'$\boxed{5}$ is wrong, and it should be $\boxed{7}$.', '7'),
  (r'Earlier: $\boxed 5$ was a guess. Final: $\boxed{7}$.', '7'),
  ('**Part 1:** $\\boxed{3}$\n\n**Part 2:** $\\boxed{4}$', '4'),
  (r'$\boxed{12}$ (or equivalently $\boxed{12.0}$)', '12.0'),
  (r'$\boxed{3}+\boxed{4}=\boxed{7}$', '7'),
  (r'$\boxed{\frac13} \approx \boxed{0.333}$', r'\frac13'),
  (r'$\boxed{28}$ or $\boxed{28_9}$', '28_9'),
  (r'\boxed{1} and \boxed{2}. (Either point is an acceptable answer.)', '2'),
  (r'We use \boxed to mark it. It is \boxed{7}.', '7'),
  (r'\boxed{7}, so put it here: \boxed{...}', '7'),
  (r'\boxed{7} \boxed{\text{your answer}}', '7'),
  (r'\boxed{7} \boxed{?} \boxed{\_\_\_} \boxed{\ldots}', '7'),
  (r'\framebox{17}', '17'),
  (r'boxed{17}', '17'),
]


@pytest.mark.parametrize('solution, answer', JOINED + SEPARATE)
def test_joined_boxes_are_one_answer(solution, answer):
  assert boxed_answers.last_boxed_answer(solution) == answer


def test_of_very_many_boxes_the_last_are_read():
  boxes = [f'\\boxed{{{n}}}.' for n in range(3_000)]
  assert boxed_answers.last_boxed_answer(' '.join(boxes)) == '2999'
  empty = ' '.join(['\\boxed{}'] * 900)
  assert boxed_answers.last_boxed_answer('\\boxed{5} ' + empty) == '5'


@pytest.mark.parametrize(
  'content', ['', ' ' * 5_000, '.' * 5_000, '\\ldots' * 900]
)
def test_long_boxes_without_content_do_not_count(content):
  assert boxed_answers.last_boxed_answer(f'\\boxed{{{content}}}') is None
