"""Families of texts that state an answer: each rule with several values and marks."""

import itertools

import pytest

from mathft_jax import grading

ANNOUNCED = grading.AnswerSearch('announced')
VALUES = (
  '72',
  '-3',
  '1,200',
  '3.5',
  '3/4',
  '$18',
  '$\\frac{3}{4}$',
  '\\(x = 5\\)',
  '**40**',
)
ANNOUNCEMENTS = (
  'The answer is {}.',
  'So the final answer is: {}',
  '**Answer:** {}',
  '__Final Answer:__ {}',
  '**Final Answer**\n\n{}',
  '# Answer\n\n{}',
  '#### {}',
  'Answer - {}.',
  'The answer to this question is {}.',
  'The answer, in simplest form, is {}.',
  'The answer turns out to be {}.',
  'The answer comes to {}.',
  'Our answer must be {}!',
  'The correct answer is therefore {}.',
  '**Answer:**\n\nThe final answer is {}.',
  '<answer>{}</answer>',
  '<answer>Therefore, {}.</answer>',
  '\\boxed{{The answer is {}}}',
  'The answer is not 71 but {}.',
)
REMARKS = (
  ', altogether',
  ', overall',
  ', in total',
  ' since 48 + 24 is the sum',
  ' because of the two months',
  ', which is the total',
  ', so she did well',
  ', as 48 + 24 is that',
  ' as required',
  ' – all of them',
  ' - that is all',
  ' and that is enough',
  ' (see above)',
  ' when rounded',
  ', I believe',
  ', giving us the total',
)
SENTENCES = (
  'Therefore, {} cows are left.',
  'So, {} cars drove by in the first 15 minutes.',
  'Thus she needs {} bags for 7 days.',
  'Since 32 is more than 20, it takes {} days.',
  'If you buy 2 tubs and 4 packets, you will save {}.',
  'You will save {} if you buy 2 tubs.',
  'The total after 3 years is {}.',
  'She sold 48 + 24 = {} clips in April and May.',
  'Step 4: The total is {}.',
  'So she has **{}** of the 100 left.',
  'In total, 48 + 24 = {}\n\nI hope this helps!',
  '- Total = 48 + 24 = {}',
)


def _found(text, search=ANNOUNCED):
  answer = grading.find_final_answer(text, search)
  return answer.text if answer else ''


@pytest.mark.parametrize('announcement', ANNOUNCEMENTS)
def test_every_announcement_states_every_value(announcement):
  for value in VALUES:
    found = _found(f'48 + 24 = 72, or 5?\n\n{announcement.format(value)}')
    assert grading.is_equivalent(value.strip('*'), found), (value, found)


@pytest.mark.parametrize('remark', REMARKS)
def test_a_remark_behind_the_value_is_cut(remark):
  for value, unit in itertools.product(VALUES, ('', ' clips')):
    found = _found(f'The answer is {value}{unit}{remark}.')
    assert grading.is_equivalent(value.strip('*'), found), (value, unit, found)


@pytest.mark.parametrize('sentence', SENTENCES)
def test_the_final_sentence_gives_its_main_value(sentence):
  for value in ('72', '3.5', '$18', '1,200'):
    text = f'First 5 * 3 = 15.\n\n{sentence.format(value)}'
    answer = grading.find_final_answer(text)
    assert answer is not None and answer.method == 'final_sentence'
    assert grading.is_equivalent(value, answer.text), (value, answer)
    cut = grading.find_final_answer(text, is_cut=True)
    assert cut is None


@pytest.mark.parametrize(
  'text, answer',
  [
    ('The answer is 5!', '5'),
    ('#### 5!', '5'),
    ('The answer is $5!$.', '120'),
    ('The answer is 5! = 120.', '120'),
    ('\\boxed{5!}', '120'),
    ('**Answer:** 120 pounds of carrots were used for the soup.', '120'),
    ('The final answer is: $80 ÷ $40 = 2', '2'),
    ('Final answer:\n48 + 24 = 72\n72 * 2 = 144', '144'),
    ('The answer is 118 000.', '118000'),
    ('The answer is 48g.', '48'),
    ('The answer is 2 hours and 30 minutes.', '2 hours and 30 minutes'),
    ('The answers are $1$ and $3$.', '1, 3'),
    ('The answer is x = 1, y = 2.', '(1, 2)'),
    ('\\boxed{\\text{The area is } 42 \\text{ square units}}', '42'),
    ('\\boxed{n = 3k \\text{ for some positive integer } k}', 'n = 3k'),
  ],
)
def test_statements_that_were_read_wrongly(text, answer):
  assert grading.is_equivalent(answer, _found(text))


@pytest.mark.parametrize(
  'text',
  [
    'The final answer is: $\\boxed',
    'The final answer is: $\\boxed{12',
    'Answer: Mark has many more apples than Mary does after the two trips',
    'This answer is correct.',
    'The answer is in the form of a fraction.',
  ],
)
def test_what_is_cut_or_states_nothing_is_no_answer(text):
  assert _found(text) == ''


@pytest.mark.parametrize('direction', ['up', 'down', 'off'])
def test_a_result_that_is_rounded_counts(direction):
  sentence = f'Then divide: 768 / 50 = 15.36 minutes, which rounds {direction} to 15 minutes.'
  assert grading.extract_answer(sentence) == '15'


def test_a_number_before_a_unit_with_a_number_has_no_thousands():
  sentence = 'The drive can store 2400 / 200 = 12 200-kilobyte videos.'
  assert grading.extract_answer(sentence) == '12'
  assert grading.extract_answer('The city has 12 200 people.') == '12 200'


@pytest.mark.parametrize(
  'joint', ['so', 'and so', 'thus', 'hence', 'therefore,']
)
def test_the_conclusion_of_a_statement_counts(joint):
  text = f'Final Answer: The cyclist covers 84 km in 3 hours, {joint} her speed is 28 km/h.'
  assert grading.extract_answer(text) == '28'
  assert (
    grading.extract_answer(f'The answer is 42, {joint} half of it is 21.')
    == '42'
  )


def test_the_value_of_an_earlier_sentence_counts_if_the_last_was_cut():
  text = 'So 48 + 24 = 72 clips.\n\nThe final answer is: $\\boxed{7'
  assert grading.extract_answer(text) == '72'
