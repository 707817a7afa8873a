import gzip
import json

from mathft_jax.data.tfds import splits


def rows(path):
  with gzip.open(path, 'rt', encoding='utf-8') as lines:
    return [json.loads(line) for line in lines]


def test_the_500_are_all_from_the_test_set_of_math():
  assert len(splits.load_math500_digests()) == 500
  assert all(
    name.startswith('test/') for name in splits.load_math500_digests().values()
  )


def test_white_space_does_not_change_the_split():
  question = 'What is $1+1$?\nAnd why?'
  assert splits.question_digest(question) == splits.question_digest(
    '  What is  $1+1$? And why?\n'
  )
  assert splits.assign_math_split(question) == splits.assign_math_split(
    question + ' '
  )


def test_a_problem_of_the_500_is_test_whatever_its_hash(monkeypatch):
  questions = [f'What is {number}?' for number in range(100)]
  assert {splits.assign_math_split(question) for question in questions} == {
    'train',
    'validation',
  }
  monkeypatch.setattr(
    splits,
    'load_math500_digests',
    lambda: {splits.question_digest(q): 'test/x' for q in questions},
  )
  assert {splits.assign_math_split(question) for question in questions} == {
    'test'
  }


def test_math_is_split_into_11000_1000_and_the_published_500(shared_data):
  problems = [
    row
    for name in ('train', 'test')
    for row in rows(shared_data / 'math' / f'{name}.jsonl.gz')
  ]
  ids = {
    split: {
      row['unique_id']
      for row in problems
      if splits.assign_math_split(row['problem']) == split
    }
    for split in splits.SPLITS
  }
  assert {split: len(names) for split, names in ids.items()} == {
    'train': 11_000,
    'validation': 1_000,
    'test': 500,
  }
  published = rows(shared_data / 'math' / 'split_lightman' / 'test500.jsonl.gz')
  assert ids['test'] == {row['unique_id'] for row in published}
  assert set(splits.load_math500_digests().values()) == ids['test']


def test_no_problem_of_the_500_is_in_training(shared_data):
  by_split = {split: set() for split in splits.SPLITS}
  for name in ('train', 'test'):
    for row in rows(shared_data / 'math' / f'{name}.jsonl.gz'):
      by_split[splits.assign_math_split(row['problem'])].add(
        ''.join(row['problem'].split())
      )
  assert not by_split['test'] & (by_split['train'] | by_split['validation'])
  assert not by_split['validation'] & by_split['train']


def test_gsm8k_has_473_validation_problems(shared_data):
  questions = [
    row['question'] for row in rows(shared_data / 'gsm8k' / 'train.jsonl.gz')
  ]
  cut = [
    splits.assign_train_or_validation(question, splits.GSM8K_VALIDATION_SHARE)
    for question in questions
  ]
  assert (cut.count('train'), cut.count('validation')) == (7_000, 473)
