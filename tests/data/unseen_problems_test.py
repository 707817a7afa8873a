"""Tests of the filter that leaves out test problems whose question was seen in training."""

import pytest

from mathft_jax.data import published_sets
from mathft_jax.data.equation_problems import EquationProblems
from mathft_jax.data.schema import Problem
from mathft_jax.data.unseen_problems import (
  SeenQuestions,
  UnseenProblems,
  normalize_question,
)

SEEN = (
  "paige had 43 math problems . she finished 8 of them but did n't finish the others . how many "
  'are left ?'
)
EQUAL = (
  "Paige had forty-three math problems. She finished eight of them but didn't finish the others. "
  'How many are left?'
)
SIMILAR = EQUAL.replace('Paige', 'Isabel')
OTHER = 'Paige had 43 apples and gave 8 of them away. How many are left?'


def source(*questions):
  problems = [Problem(id=q, question=q) for q in questions]
  return lambda split: problems


def unseen(*questions, **settings):
  filtered = UnseenProblems(
    problems=source(*questions), seen=(source(SEEN),), **settings
  )
  return [problem.question for problem in filtered('test')]


def test_case_punctuation_and_number_words_do_not_matter():
  assert normalize_question(SEEN) == normalize_question(EQUAL)
  assert normalize_question('the 1st of 1,200.5 cats') == 'the # of # cats'


def test_seen_and_similar_questions_are_left_out():
  questions = (EQUAL, SIMILAR, OTHER)
  assert unseen(*questions) == [OTHER]
  assert unseen(*questions, max_overlap=1.0) == [SIMILAR, OTHER]


def test_the_limit_counts_the_problems_that_are_left():
  assert len(unseen(EQUAL, OTHER, 'Why?', limit=2)) == 2


def test_no_problem_left_is_an_error():
  with pytest.raises(ValueError, match='has seen all 1 problems'):
    unseen(EQUAL)


def test_an_overlap_out_of_range_is_an_error():
  with pytest.raises(ValueError, match='max_overlap is 0'):
    unseen(OTHER, max_overlap=0)


def test_asdiv_has_what_the_folds_have_and_svamp_has_not(shared_data):
  folder = str(shared_data / 'benchmarks')
  files = ('asdiv_a_fold0_train.csv*', 'mawps_fold0_train.csv*')
  training = EquationProblems(files, folder)('train')
  seen = SeenQuestions([problem.question for problem in training])
  counts = {}
  for name in ('asdiv', 'svamp'):
    problems = published_sets.BenchmarkProblems(folder, name)('test')
    overlaps = [seen.overlap(problem.question) for problem in problems]
    equal = sum(overlap == 1 for overlap in overlaps)
    similar = sum(0.8 <= overlap < 1 for overlap in overlaps)
    counts[name] = (len(problems), equal, similar)
  assert counts == {'asdiv': (2215, 1047, 15), 'svamp': (1000, 0, 9)}
