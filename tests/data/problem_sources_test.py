import gzip
import json

import pytest

from mathft_jax.data import problem_sources, schema


def write(path, rows):
  opened = gzip.open(path, 'wt') if path.suffix == '.gz' else path.open('w')
  with opened as stream:
    stream.writelines(json.dumps(row) + '\n' for row in rows)
  return str(path)


def row(number, **more):
  return {
    'problem': f'What is {number}?',
    'solution': f'\\boxed{{{number}}}',
    **more,
  }


def test_user_records_become_problems(tmp_path):
  path = write(
    tmp_path / 'mine.jsonl',
    [row(1), row(2, answer=7, id=5, type='Algebra', level=3)],
  )
  first, second = problem_sources.JsonlProblems(path)('train')
  assert first == schema.Problem(
    'mine.jsonl:1', 'What is 1?', r'\boxed{1}', '1', split='train'
  )
  assert second == schema.Problem(
    '5', 'What is 2?', r'\boxed{2}', '7', 'Algebra', '3', 'train'
  )


def test_files_of_write_jsonl_are_read(tmp_path):
  problems = [
    schema.Problem('a', 'Q?', r'\boxed{1}', '1', 'Algebra', '2', 'test')
  ]
  schema.write_jsonl(tmp_path / 'p.jsonl', problems)
  assert (
    problem_sources.JsonlProblems(str(tmp_path / 'p.jsonl'))('test') == problems
  )


def test_a_file_for_each_split_is_found_by_its_name(tmp_path):
  for split, number in (('train', 1), ('test', 2)):
    write(tmp_path / f'{split}.jsonl.gz', [row(number)])
  source = problem_sources.JsonlProblems(str(tmp_path / '{split}.jsonl.gz'))
  assert [problem.answer for problem in source('test')] == ['2']
  with pytest.raises(ValueError, match='validation.jsonl.gz does not exist'):
    source('validation')


def test_a_solution_that_does_not_state_its_answer_gets_it_in_a_box(
  tmp_path, caplog
):
  solutions = {
    'Add 3 and 4.': ('7', 'Add 3 and 4.\nThe final answer is $\\boxed{7}$.'),
    'It is\n$x = 7$.\n': (
      '$7$',
      'It is\n$x = 7$.\nThe final answer is $\\boxed{7}$.',
    ),
    'Our answer is even.\nSo 7.': (
      '7',
      'Our answer is even.\nSo 7.\nThe final answer is $\\boxed{7}$.',
    ),
    'Hence \\boxed{0.5}.': ('1/2', None),
    'Add.\n#### 7': ('7', None),
    'The answer is 7.': ('7', None),
    '': ('7', None),
    'No answer at all.': (None, None),
  }
  rows = [
    row(0, solution=solution, answer=answer)
    for solution, (answer, _) in solutions.items()
  ]
  path = write(tmp_path / 'p.jsonl', rows)
  caplog.set_level('INFO')
  made = problem_sources.JsonlProblems(path)('train')
  assert [problem.solution for problem in made] == [
    completed or solution for solution, (_, completed) in solutions.items()
  ]
  assert '3 of 7 solutions did not state their answer' in caplog.text
  assert '1 of 7 solutions have no answer' in caplog.text

  plain = problem_sources.JsonlProblems(path, append_answer=False)('train')
  assert [problem.solution for problem in plain] == list(solutions)


@pytest.mark.parametrize('name', ['all.jsonl', '{split}.jsonl'])
def test_a_fraction_of_the_training_problems_becomes_validation(tmp_path, name):
  path = write(
    tmp_path / name.replace('{split}', 'train'), [row(n) for n in range(200)]
  )
  source = problem_sources.JsonlProblems(
    path.replace('train.jsonl', name), validation_fraction=0.2
  )
  train, validation = source('train'), source('validation')
  assert len(train) + len(validation) == 200 and 20 < len(validation) < 60
  assert not {p.id for p in train} & {p.id for p in validation}


def test_test_problems_keep_their_split(tmp_path):
  path = write(
    tmp_path / 'all.jsonl', [row(n, split='test') for n in range(50)]
  )
  assert (
    len(problem_sources.JsonlProblems(path, validation_fraction=0.9)('test'))
    == 50
  )


def test_the_error_for_a_missing_split_says_what_to_do(tmp_path):
  path = write(tmp_path / 'all.jsonl', [row(1)])
  with pytest.raises(
    ValueError, match="no problem of split 'validation'.*VALIDATION_SHARE"
  ):
    problem_sources.JsonlProblems(path)('validation')
  with pytest.raises(
    ValueError, match='--gin.SPLIT=train, or --gin.DEFAULT_SPLIT=test'
  ):
    problem_sources.JsonlProblems(path)('test')


def test_the_log_and_errors_name_the_file_of_the_split(tmp_path, caplog):
  write(tmp_path / 'my_train.jsonl', [row(1)])
  source = problem_sources.JsonlProblems(str(tmp_path / 'my_{split}.jsonl'))
  caplog.set_level('INFO')
  source('train')
  assert 'my_train.jsonl: 1 problems of split train' in caplog.text
  with pytest.raises(ValueError, match='Did you mean .*my_train.jsonl?'):
    problem_sources.JsonlProblems(str(tmp_path / 'mytrain.jsonl'))('train')


def test_the_error_for_a_record_without_question_has_file_and_line(tmp_path):
  path = write(tmp_path / 'bad.jsonl', [row(1), {'solution': 'x'}])
  with pytest.raises(ValueError, match='bad.jsonl:2: no field "problem"'):
    problem_sources.JsonlProblems(path)('train')


def test_a_limit_keeps_the_order_and_selects_by_id_only(
  tmp_path,
):
  rows = [row(n, id=f'id{n}') for n in range(50)]
  few = problem_sources.JsonlProblems(
    write(tmp_path / 'a.jsonl', rows), limit=10
  )('train')
  assert len(few) == 10
  assert [p.id for p in few] == [
    f'id{n}' for n in range(50) if f'id{n}' in {p.id for p in few}
  ]
  fewer = problem_sources.JsonlProblems(
    write(tmp_path / 'b.jsonl', rows[::-1]), limit=5
  )('train')
  assert {p.id for p in fewer} < {p.id for p in few}


def test_demonstrations_are_solved_problems_of_the_source():
  problems = [
    schema.Problem(f'p{n}', f'Q{n}', f'S{n}' if n % 2 else '')
    for n in range(20)
  ]
  chosen = problem_sources.select_demonstrations(
    lambda split: problems, count=4
  )
  assert len(chosen) == 4
  assert all(question[1:] == solution[1:] for question, solution in chosen)
  with pytest.raises(
    ValueError, match='10 problems with a solution; wanted at least 11'
  ):
    problem_sources.select_demonstrations(lambda split: problems, count=11)


def test_concatenated_sources_are_in_order():
  parts = [
    lambda split, n=n: [schema.Problem(f'{split}{n}', 'Q?')] for n in (1, 2)
  ]
  assert [
    p.id for p in problem_sources.ConcatenatedProblems(parts)('test')
  ] == [
    'test1',
    'test2',
  ]
