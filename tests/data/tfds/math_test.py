import json
import tarfile

import pytest

pytest.importorskip('tensorflow_datasets')

from mathft_jax.data.tfds import math, splits  # noqa: E402

TEST_QUESTION = 'Which of these is held out?'


@pytest.fixture(autouse=True)
def held_out(monkeypatch):
  monkeypatch.setattr(
    splits,
    'load_math500_digests',
    lambda: {splits.question_digest(TEST_QUESTION): 'test/algebra/0'},
  )


def original(number, question=None):
  """Returns a json file of the original archive."""
  return {
    'problem': question or f'What is ${number}$?',
    'level': f'Level {number % 5 + 1}',
    'type': 'Algebra',
    'solution': f'It is $\\boxed{{{number}}}$. ',
  }


ROWS = {
  f'{split}/algebra/{number}.json': original(number)
  for split, numbers in (('train', range(30)), ('test', range(30, 60)))
  for number in numbers
}
ROWS['test/algebra/60.json'] = original(60, TEST_QUESTION)


def unpack(folder):
  for name, row in ROWS.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(row))
  # As macOS leaves them.
  (folder / 'train' / 'algebra' / '._0.json').write_bytes(b'\x00\x05')


def write_folder(folder):
  unpack(folder / 'MATH')


def write_archive(folder):
  unpack(folder / 'unpacked' / 'MATH')
  with tarfile.open(folder / 'MATH.tar', 'w') as archive:
    archive.add(folder / 'unpacked' / 'MATH', 'MATH')


def write_lines(folder, name='math'):
  (folder / name).mkdir(parents=True)
  for split in ('train', 'test'):
    rows = [
      {**row, 'unique_id': name}
      for name, row in ROWS.items()
      if name.startswith(split)
    ]
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (folder / name / f'{split}.jsonl').write_text(text)


def write_clone(folder):
  write_lines(folder, 'prm800k/prm800k/math_splits')


@pytest.mark.parametrize(
  'write', [write_folder, write_archive, write_lines, write_clone]
)
def test_every_accepted_form_gives_the_same_problems(tmp_path, write):
  write(tmp_path)
  problems = {
    problem.id: problem for problem in math.read_math_problems(tmp_path)
  }
  assert problems.keys() == ROWS.keys()
  problem = problems['train/algebra/7.json']
  assert (
    problem.question,
    problem.solution,
    problem.answer,
    problem.subject,
    problem.level,
  ) == (
    'What is $7$?',
    'It is $\\boxed{7}$.',
    '7',
    'Algebra',
    '3',
  )
  assert problems['test/algebra/60.json'].split == 'test'
  assert {
    p.split for name, p in problems.items() if name != 'test/algebra/60.json'
  } == {
    'train',
    'validation',
  }


def test_the_error_for_an_empty_folder_says_what_to_download(tmp_path):
  with pytest.raises(ValueError, match='hendrycks/math'):
    math.read_math_problems(tmp_path)


def test_problems_that_share_an_id_are_an_error(tmp_path):
  (tmp_path / 'math').mkdir()
  for name in ('train', 'test'):
    (tmp_path / 'math' / f'{name}.jsonl').write_text(
      json.dumps({**original(1), 'unique_id': 'train/algebra/1.json'}) + '\n'
    )
  with pytest.raises(ValueError, match='2 problems with 1 different ids'):
    math.read_math_problems(tmp_path)


def test_real_math_has_all_its_problems(shared_data, monkeypatch):
  monkeypatch.undo()
  problems = math.read_math_problems(shared_data)
  assert [
    sum(p.split == split for p in problems) for split in splits.SPLITS
  ] == [11000, 1000, 500]
  assert {p.id for p in problems if not p.answer} == {
    'train/number_theory/7115.json',
    'train/number_theory/7117.json',
  }
  assert {p.level for p in problems} == {'1', '2', '3', '4', '5', '?'}
