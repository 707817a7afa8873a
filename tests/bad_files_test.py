"""Catalogue of bad files: each program refuses each file, with place, field and value.

The programs run as on the command line, in this process; none loads or compiles a model.
"""

import pytest

from mathft_jax import evaluate, grade, measure, rerank, sample, score, train
from mathft_jax.config import entry_point
from mathft_jax.data import schema
from tests.data import bad_files

TINY = '--gin_file=models/tiny.gin'
JSONL = '--gin_file=data/jsonl.gin'
WITHOUT_CHECKPOINT = '--gin.CHECKPOINT_PATH=none'
FROM_RANDOM = '--gin.INITIAL_CHECKPOINT_PATH=random'

CANDIDATE_PROGRAMS = {
  'grade': (grade.grade, 'INFER_OUTPUT_DIR', ['--gin_file=programs/grade.gin']),
  'evaluate': (
    evaluate.evaluate,
    'EVAL_OUTPUT_DIR',
    ['--gin_file=programs/evaluate.gin'],
  ),
  'score': (
    score.score,
    'INFER_OUTPUT_DIR',
    [TINY, JSONL, '--gin_file=programs/score.gin', WITHOUT_CHECKPOINT],
  ),
  'train': (
    train.train,
    'MODEL_DIR',
    [TINY, JSONL, '--gin_file=stages/scr_xent.gin', FROM_RANDOM],
  ),
  'rerank': (
    rerank.rerank,
    'EVAL_OUTPUT_DIR',
    [TINY, JSONL, '--gin_file=programs/rerank.gin', WITHOUT_CHECKPOINT],
  ),
}
PROBLEM_PROGRAMS = {
  'sample': (
    sample.sample,
    'INFER_OUTPUT_DIR',
    [TINY, JSONL, '--gin_file=programs/sample.gin', WITHOUT_CHECKPOINT]
    + ['--gin.SPLIT="train"'],
  ),
  'train': (
    train.train,
    'MODEL_DIR',
    [TINY, JSONL, '--gin_file=stages/ssft.gin', FROM_RANDOM],
  ),
  'measure': (
    measure.measure,
    'EVAL_OUTPUT_DIR',
    [TINY, JSONL, '--gin_file=programs/measure.gin', WITHOUT_CHECKPOINT]
    + ['--gin.SPLIT="train"'],
  ),
}


def _run(capsys, program, arguments):
  """Returns the exit status and the lines on stderr that are no log lines."""
  capsys.readouterr()
  status = entry_point.main(program, ['program', *arguments])
  return status, capsys.readouterr().err


def _check_catalogue(
  capsys, tmp_path, files, program, output, arguments, macro
):
  name = entry_point.gin_name(program)
  bad = []
  for number, (kind, path, words, place) in enumerate(files):
    status, text = _run(
      capsys,
      program,
      [
        *arguments,
        f'--gin.{macro}="{path}"',
        f'--gin.{output}="{tmp_path}/{number}"',
      ],
    )
    lines = [line for line in text.splitlines() if line.startswith(name)]
    is_good = (
      status in (1, 2)
      and len(lines) == 1
      and place in lines[0]
      and words in lines[0]
      and len(lines[0]) < 600
      and lines[0].isprintable()
      and 'Traceback' not in text
    )
    if not is_good:
      bad.append((kind, status, text[-400:]))
  assert not bad, f'{len(bad)} of {len(files)}: {bad}'


@pytest.mark.parametrize('program', CANDIDATE_PROGRAMS)
def test_bad_candidate_files_are_refused(program, tmp_path, capsys):
  folder = tmp_path / 'files'
  folder.mkdir()
  files = list(bad_files.write_bad_candidate_files(folder))
  function, output, arguments = CANDIDATE_PROGRAMS[program]
  if program in ('score', 'train', 'rerank'):
    arguments = [*arguments, '--gin.DATA_PATH="unused"']
  _check_catalogue(
    capsys,
    tmp_path,
    files,
    function,
    output,
    arguments,
    'TEST_CANDIDATES' if program == 'rerank' else 'CANDIDATES',
  )


@pytest.mark.parametrize('program', PROBLEM_PROGRAMS)
def test_bad_problem_files_are_refused(program, tmp_path, capsys):
  folder = tmp_path / 'files'
  folder.mkdir()
  files = list(bad_files.write_bad_problem_files(folder))
  function, output, arguments = PROBLEM_PROGRAMS[program]
  _check_catalogue(
    capsys, tmp_path, files, function, output, arguments, 'DATA_PATH'
  )


def test_a_byte_order_mark_is_accepted(tmp_path):
  path = tmp_path / 'bom.jsonl'
  path.write_bytes(b'\xef\xbb\xbf{"id": "1", "question": "q"}\n')
  assert schema.read_problems(path)[0].id == '1'
