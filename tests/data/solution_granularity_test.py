"""Tests of solutions in other granularities."""

import pytest

from mathft_jax.data import solution_granularity as granularity
from mathft_jax.data.schema import Problem

GSM8K = (
  'Mr. Fox sold 48/2 = <<48/2=24>>24 clips for $1.50. He sold more.\n'
  'Altogether 48+24 = <<48+24=72>>72 clips.\n#### 72'
)
LATEX = 'We have $\\frac{1}{2}\\,x = 3$. So $x = 6. Then$ **stop**.\n\n# Answer\n\n\\boxed{6}'


def rewritten(form, *solutions):
  problems = [
    Problem(id=str(i), question='?', solution=s)
    for i, s in enumerate(solutions)
  ]
  source = granularity.RewrittenProblems(lambda split: problems, form)
  return [problem.solution for problem in source('train')]


def test_steps_are_joined_and_the_answer_keeps_its_line():
  (solution,) = rewritten('one_line', GSM8K)
  assert solution == GSM8K.replace('.\nAl', '. Al')
  (latex,) = rewritten('one_line', LATEX)
  assert latex.endswith('**stop**.\n# Answer\n\n\\boxed{6}')


def test_each_sentence_gets_a_line():
  (solution,) = rewritten('sentence_per_line', GSM8K)
  assert solution.splitlines() == [
    'Mr. Fox sold 48/2 = <<48/2=24>>24 clips for $1.50.',
    'He sold more.',
    'Altogether 48+24 = <<48+24=72>>72 clips.',
    '#### 72',
  ]
  (latex,) = rewritten('sentence_per_line', LATEX)
  assert latex.splitlines()[1] == 'So $x = 6. Then$ **stop**.'


def test_formatting_is_stripped_but_no_currency():
  (gsm8k,) = rewritten('plain', GSM8K)
  assert gsm8k.startswith('Mr. Fox sold 48/2 = 24 clips for $1.50. He')
  (latex,) = rewritten('plain', LATEX)
  assert latex.startswith('We have \\frac{1}{2}x = 3. So x = 6. Then stop.')
  assert latex.endswith('\\boxed{6}')


def test_calculator_notes_can_be_removed_or_kept_alone():
  assert '<<' not in rewritten('without_notes', GSM8K)[0]
  assert rewritten('calculations', GSM8K) == ['48/2=24\n48+24=72\n#### 72']


def test_solutions_without_the_form_are_left_out():
  assert len(rewritten('calculations', GSM8K, 'No notes.\n#### 1')) == 1
  with pytest.raises(ValueError, match='none of 1 solutions'):
    rewritten('calculations', 'No notes.\n#### 1')


def test_an_unknown_form_is_an_error():
  with pytest.raises(ValueError, match="form is 'verse'"):
    rewritten('verse', GSM8K)


def test_the_numbers_of_real_solutions_do_not_change(shared_data):
  from mathft_jax.data import own_solutions, published_sets
  from mathft_jax.data.problem_sources import JsonlProblems

  gsm8k = JsonlProblems(
    str(shared_data / 'gsm8k' / '{split}.jsonl.gz'),
    mapping=published_sets.published_mapping('gsm8k'),
    limit=200,
  )
  originals = gsm8k('train')
  for form in ('one_line', 'sentence_per_line'):
    source = granularity.RewrittenProblems(gsm8k, form)
    for original, problem in zip(originals, source('train'), strict=True):
      key = own_solutions.derivation_key
      assert key(problem.solution) == key(original.solution)
