"""Generated problems are true, splits are disjoint, seeds are reproducible."""

import re

import pytest

from mathft_jax import grading
from mathft_jax.dials import dial_problems

SPLITS = ('train', 'validation', 'test')


def small(**fields):
  return dial_problems.DialProblems(
    **{'num_train': 200, 'num_validation': 100, 'num_test': 100, **fields}
  )


def simulated(question: str) -> list[int]:
  """The final positions, read from the text of a problem."""
  return [
    (int(start) + int(first) + int(second)) % 16
    for start, first, second in re.findall(
      r'[ABC] (\d+) ([+-]\d+) and then ([+-]\d+) \.', question
    )
  ]


@pytest.mark.parametrize('style', dial_problems.STYLES)
def test_answers_are_the_final_positions(style):
  for problem in small(style=style)('train'):
    ends = simulated(problem.question)
    assert problem.answer == f'({ends[0]}, {ends[1]}, {ends[2]})'
    assert problem.solution.endswith(f'( {ends[0]} , {ends[1]} , {ends[2]} )}}')


def test_every_step_of_a_fine_solution_is_true():
  for problem in small()('train'):
    for start, first, middle, second, end in re.findall(
      r'(\d+) ([+-]\d+) = (\d+) ([+-]\d+) = (\d+)', problem.solution
    ):
      assert (int(start) + int(first)) % 16 == int(middle)
      assert (int(middle) + int(second)) % 16 == int(end)


def test_a_terse_solution_has_no_middle_and_the_same_length():
  fine, terse = small()('test'), small(style='terse')('test')
  assert [p.question for p in fine] == [p.question for p in terse]
  assert all(p.solution.count('=') == 3 for p in terse)
  assert all(p.solution.count('=') == 6 for p in fine)
  assert {len(p.solution.split()) for p in fine + terse} == {31}


def test_mix_alternates_between_both_styles():
  fine, terse, mix = (
    small(style=style)('train') for style in ('fine', 'terse', 'mix')
  )
  assert mix[::2] == fine[::2] and mix[1::2] == terse[1::2]


def test_splits_share_no_problem_whatever_the_seed():
  # Of 262,144 that exist.
  sizes = {
    'num_train': 2000,
    'num_validation': 2000,
    'num_test': 2000,
  }
  questions = [
    {p.question for p in small(turn_range=(1, 1), seed=seed, **sizes)(split)}
    for seed, split in ((0, 'train'), (1, 'validation'), (2, 'test'))
  ]
  assert not questions[0] & questions[1]
  assert not questions[2] & (questions[0] | questions[1])


def test_problems_are_distinct_and_a_smaller_split_is_a_prefix():
  many = small(num_train=2000, turn_range=(1, 1))('train')
  assert len({p.question for p in many}) == 2000
  assert small(num_train=50, turn_range=(1, 1))('train') == many[:50]


def test_too_many_problems_are_an_error():
  with pytest.raises(ValueError, match='allows 262144 in all'):
    small(num_test=60_000, turn_range=(1, 1))('test')


def test_a_seed_is_reproducible_and_seeds_differ():
  assert small(seed=3)('train') == small(seed=3)('train')
  assert small(seed=3)('train') != small(seed=4)('train')


def test_the_level_counts_turns_that_the_base_was_not_trained_on():
  assert {p.level for p in small(turn_range=(1, 5))('train')} == {'0'}
  assert {p.level for p in small(turn_range=(6, 10))('train')} == {'6'}


def test_the_grader_distinguishes_the_order_of_positions():
  for problem in small()('test')[:30]:
    assert grading.is_equivalent(
      problem.answer, grading.extract_answer(problem.solution)
    )
  assert not grading.is_equivalent(
    '(0, 2, 3)', grading.extract_answer('\\boxed{( 3 , 2 , 0 )}')
  )
  assert not grading.is_equivalent(
    '(1, 12, 3)', grading.extract_answer('\\boxed{( 11 , 2 , 3 )}')
  )


def test_the_vocabulary_has_every_word():
  vocabulary = dial_problems.dial_vocabulary()
  for style in dial_problems.STYLES:
    for problem in small(style=style)('train'):
      for text in (problem.question, problem.solution):
        assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.parametrize(
  'fields',
  [{'style': 'coarse'}, {'turn_range': (0, 5)}, {'turn_range': (1, 11)}],
)
def test_impossible_fields_are_an_error(fields):
  with pytest.raises(ValueError, match='wanted one of'):
    small(**fields)


def test_an_unknown_split_is_an_error():
  with pytest.raises(ValueError, match="split 'dev'"):
    small()('dev')
