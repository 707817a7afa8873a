"""Tests of word problems whose solutions are made from an equation."""

from fractions import Fraction

import pytest

from mathft_jax.data import equation_problems
from mathft_jax.data.equation_problems import EquationProblems

HEADER = 'Question,Numbers,Equation,Answer\n'
ROWS = (
  "she did n't eat number1 of number0 plums . she bought number2 times as many . how many has "
  'she ?,'
  '8.0 2.0 3,* - number0 number1 number2,18.0\n'
  'number0 men share number1 loaves . how many has each ?,4 6,/ number1 number0,1.5\n'
  'a third of number0 ?,10,/ number0 3.0,3.3333\n'
  'the wrong answer of number0 ?,10,+ number0 1.0,12\n'
  'no operation with number0 ?,10,number0,10\n'
)


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'fold.csv').write_text(HEADER + ROWS)
  return tmp_path


def test_a_solution_is_the_equation_or_a_sentence_for_each_operation(folder):
  bare = EquationProblems(('fold.csv*',), str(folder))('train')
  steps = EquationProblems(('fold.csv*',), str(folder), 'steps')('train')

  assert bare[0].question == (
    "She didn't eat 2 of 8 plums. She bought 3 times as many. How many has she?"
  )
  assert bare[0].solution == '(8 - 2) * 3 = 18\n#### 18'
  assert steps[0].solution == (
    'Subtract 2 from 8: 8 - 2 = 6.\nMultiply 6 by 3: 6 * 3 = 18.\n#### 18'
  )
  assert steps[1].solution == 'Divide 6 by 4: 6 / 4 = 1.5.\n#### 1.5'
  assert [each.answer for each in bare] == ['18', '1.5']
  assert [each.id for each in bare] == ['fold:2', 'fold:3']


def test_rows_without_a_short_exact_equation_are_left_out(folder):
  assert len(EquationProblems(('fold.csv',), str(folder))('train')) == 2


def test_the_validation_split_is_disjoint(folder):
  rows = ''.join(
    f'q{i} number0 ?,{i},+ number0 1.0,{i + 1}\n' for i in range(60)
  )
  (folder / 'many.csv').write_text(HEADER + rows)
  source = EquationProblems(('many.csv',), str(folder), validation_fraction=0.3)
  train, validation = source('train'), source('validation')
  assert len(train) + len(validation) == 60
  assert 5 < len(validation) < 35
  assert not {p.id for p in train} & {p.id for p in validation}


def test_a_split_without_problems_is_an_error(folder):
  with pytest.raises(ValueError, match="no problem of split 'test'"):
    EquationProblems(('fold.csv',), str(folder))('test')


@pytest.mark.parametrize(
  'equation, message',
  [
    ('+ number0', 'ends before'),
    ('+ number0 1.0 2.0', 'follows the expression'),
    ('+ number0 x', 'is no number'),
  ],
)
def test_a_malformed_equation_is_an_error_with_its_row(
  tmp_path, equation, message
):
  (tmp_path / 'a.csv').write_text(f'{HEADER}q number0 ?,1,{equation},2\n')
  with pytest.raises(ValueError, match=f'a.csv:2: .*{message}'):
    EquationProblems(('a.csv',), str(tmp_path))('train')


def test_an_unknown_style_is_an_error():
  with pytest.raises(ValueError, match="style is 'prose'"):
    EquationProblems((), style='prose')


def test_division_by_zero_has_no_expression():
  tokens = '/ number0 - number0 number0'.split()
  values = {'number0': Fraction(2)}
  assert equation_problems.read_prefix_equation(tokens, values) is None


def test_the_published_folds_give_their_own_answers(shared_data):
  source = EquationProblems(
    ('asdiv_a_fold0_train.csv*', 'mawps_fold0_train.csv*'),
    str(shared_data / 'benchmarks'),
    'steps',
  )
  problems = source('train')
  assert len(problems) == 2464  # of 2,516 rows
  assert not [p for p in problems if 'number0' in p.question]
