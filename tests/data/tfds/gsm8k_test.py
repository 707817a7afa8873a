import json

import pytest

pytest.importorskip('tensorflow_datasets')

from mathft_jax.data import boxed_answers  # noqa: E402
from mathft_jax.data.tfds import gsm8k  # noqa: E402


def write(folder, **files):
  (folder / 'gsm8k').mkdir()
  for name, rows in files.items():
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (folder / 'gsm8k' / f'{name}.jsonl').write_text(text)
  return folder


def row(number):
  return {
    'question': f'{number} apples and one?',
    'answer': f'There are {number}+1 = <<{number}+1={number + 1}>>{number + 1}.\n#### {number + 1}',
  }


def test_calculator_notes_are_removed_and_the_answer_is_boxed(tmp_path):
  problems = gsm8k.read_gsm8k_problems(
    write(tmp_path, train=[row(1)], test=[row(1234)])
  )
  assert (
    problems[0].solution
    == 'There are 1+1 = 2.\nThe final answer is $\\boxed{2}$.'
  )
  assert [p.answer for p in problems] == ['2', '1235']
  assert problems[1].split == 'test' and problems[0].split != 'test'
  assert [p.id for p in problems] == ['gsm8k/train/1', 'gsm8k/test/1']


def test_the_error_for_a_record_without_answer_mark_has_its_line(tmp_path):
  folder = write(
    tmp_path,
    train=[row(1), {'question': 'Q?', 'answer': 'no mark'}],
    test=[row(2)],
  )
  with pytest.raises(ValueError, match='train.jsonl:2'):
    gsm8k.read_gsm8k_problems(folder)


def test_the_error_for_a_missing_file_says_what_to_download(tmp_path):
  with pytest.raises(
    ValueError, match='no test.jsonl.*\n.*openai/grade-school-math|grade_school'
  ):
    gsm8k.read_gsm8k_problems(write(tmp_path, train=[row(1)]))


def test_real_gsm8k_has_only_boxed_answers(shared_data):
  problems = gsm8k.read_gsm8k_problems(shared_data)
  assert len(problems) == 7473 + 1319
  assert all(
    boxed_answers.last_boxed_answer(p.solution) == p.answer
    and '<<' not in p.solution
    for p in problems
  )
