"""Tests of the extraction of final answers from solutions."""

import json
import pathlib

import pytest

from mathft_jax import grading

ANNOUNCED = grading.AnswerSearch('announced')

FOUND = [
  ('box', '5', 'so $\\boxed{5}$.'),
  ('box', '\\frac{1}{2}', 'maybe \\boxed{1}, no: \\boxed{\\frac{1}{2}} it is'),
  ('box', '\\{a : a > 1\\}', '\\boxed{\\{a : a > 1\\}}'),
  ('box', '5', '\\boxed{5} and then \\boxed{}'),
  ('box', '5', '\\boxed{5} and then \\boxed{6'),
  ('box', '7', 'The answer is 5. \\fbox{7}'),
  ('box', '5', 'Answer is \\boxed 5.'),
  ('box', '5', '\\boxed {5}'),
  ('box', '5', '\\\\boxed{5}'),
  ('box', '5', '\x08oxed{5}'),
  ('box', '6', '<think>\\boxed{5}</think> so \\boxed{6}'),
  ('box', '5', '\\boxed{\\boxed{5}}'),
  ('box', '6\\sqrt{5}', '\\boxed{\\text{The area is } 6\\sqrt{5}}'),
  ('box', '25', '\\boxed{\\text{最大值为 } 25}'),
  ('heading', 'x^2 + 1', 'work\n\n# Answer\n\nx^2 + 1\n'),
  ('heading', '6', '# Answer\n5\nWait.\n# Answer\n6'),
  ('heading', '5', '**Final Answer**\n\n$5$'),
  ('heading', '5', '### Final Answer:\n\\[\n5\n\\]'),
  ('hash', '72', 'She has 72 eggs left.\n#### 72'),
  ('hash', '2', '#### 1\nmore\n####2'),
  ('tag', '\\frac{2}{3}', 'so\n<answer> \\frac{2}{3} </answer>'),
  ('tag', '2', '<answer>1</answer> no, <Answer>2</Answer>'),
  ('phrase', '7', 'The answer is 7.'),
  ('phrase', '3.5', 'the answer is 3.5. I hope so'),
  ('phrase', 'D', 'The answer is A. Wait, the answer is D.'),
  ('phrase', '1,000', 'The answer is $1,000$.'),
  ('phrase', '$26', 'The answer is $26. I hope it is correct.'),
  ('phrase', '2\\pi', 'Thus, the answer is \\[ 2\\pi \\]'),
  ('phrase', '9', 'Answer $$ 9 $$'),
  ('phrase', '73', 'Final Answer: **73**'),
  ('phrase', '73', '**Answer:** 73'),
  (
    'phrase',
    '19',
    'Final Answer: The largest number of points in the domain of $f$ is 19.',
  ),
  ('phrase', '12', 'The answer to this problem is 12.'),
  ('phrase', '(B)', 'So the correct option is (B).'),
  ('phrase', '18', 'She makes 9 * 2 = $<<9*2=18>>18 a day.\nA: 18'),
  ('phrase', '12', 'Answer: There must have been 12 apples in it'),
  ('phrase', '5', 'The answer is 5. Check that the answer is correct.'),
  ('phrase', '5', 'Ans: 5'),
  ('phrase', '5', 'The answer is 5. The answer should be in \\boxed{}.'),
]


@pytest.mark.parametrize('method, text, solution', FOUND)
def test_final_answer_and_its_method_are_found(method, text, solution):
  assert grading.find_final_answer(solution) == grading.FinalAnswer(
    text, method
  )


@pytest.mark.parametrize(
  'solution',
  [
    '',
    'no conclusion was reached',
    '\\boxed{}',
    '\\boxed{ }',
    'The answer is to be \\boxed{} with its unit.',
    'The answer should be written in \\boxed{ }.',
    'the box \\boxed{5',
    '#### ',
    '<answer></answer>',
    '<think>\\boxed{5}</think>',
    'This answer is wrong.',
    '# Answer\n',
  ],
)
def test_solution_without_a_final_answer(solution):
  assert grading.extract_answer(solution, ANNOUNCED) is None


def read_jsonl(path):
  return list(map(json.loads, path.read_text(encoding='utf-8').splitlines()))


def wrongly_extracted(cases):
  """Returns the cases whose extracted answer is not the labelled answer."""
  wrong = []
  for case in cases:
    answer = grading.extract_answer(case['solution'], ANNOUNCED)
    if strip_markup(answer) != strip_markup(case['answer']):
      wrong.append(case)
  return wrong


def strip_markup(answer):
  """Removes what the labels ignore."""
  if answer is None:
    return None
  return ''.join(answer.replace('$', '').replace('**', '').split()).rstrip('.')


def test_all_solutions_of_the_collection():
  cases = read_jsonl(pathlib.Path(__file__).parent / 'solutions.jsonl')
  assert len(cases) > 150
  assert wrongly_extracted(cases) == []


def test_labelled_solutions(shared_data):
  cases = read_jsonl(shared_data / 'grading' / 'dev_extraction.jsonl')
  wrong = [case['id'] for case in wrongly_extracted(cases)]
  assert len(wrong) <= 0.02 * len(cases), wrong


@pytest.mark.parametrize(
  'find, text, solution',
  [
    ('auto', ('5', 'box'), 'It is \\boxed{5}. So 6 remain.'),
    ('auto', ('18', 'final_sentence'), 'Therefore, the farm has 18 cows left.'),
    (
      'auto',
      ('5', 'final_sentence'),
      '25 - 20 = 5\n\nSo, 5 cars left in the first 15 minutes.',
    ),
    ('auto', ('40', 'final_sentence'), 'Girls not in it = 120 - 80 = 40'),
    (
      'auto',
      ('72', 'final_sentence'),
      '48 + 24 = 72 clips.\n\nThe final answer is: $\\boxed',
    ),
    ('auto', None, 'I do not know.'),
    ('announced', None, 'Therefore, the farm has 18 cows left.'),
    (
      'last_number',
      ('15', 'last_number'),
      'So, 5 cars left in the first 15 minutes.',
    ),
    ('last_line', ('5 apples', 'last_line'), '3 apples\n\n5 apples\n'),
  ],
)
def test_a_rule_says_how_answers_are_found(find, text, solution):
  found = grading.find_final_answer(solution, grading.AnswerSearch(find))
  assert (found and (found.text, found.method)) == text


def test_a_solution_that_was_cut_has_only_announced_answers():
  def find(solution):
    return grading.find_final_answer(solution, is_cut=True)

  assert find('So there are 18 cows and 5') is None
  assert find('The answer is 18. To check, 5') == grading.FinalAnswer(
    '18', 'phrase'
  )


def test_an_unknown_rule_is_refused():
  with pytest.raises(ValueError, match="find is 'last'"):
    grading.AnswerSearch('last')
