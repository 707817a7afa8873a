"""Catalogue of bad numbers: `--dry_run` refuses each, with the name of its macro and its value."""

import pytest

from mathft_jax import evaluate, grade, sample, score, train
from mathft_jax.config import entry_point

TINY = ['--gin_file=models/tiny.gin', '--gin_file=data/jsonl.gin']
DATA = '--gin.DATA_PATH="unused.jsonl"'
CHECKPOINT = '--gin.CHECKPOINT_PATH="none"'
BAD_INTEGERS = ('0', '-1', '1.5', 'True', '1000000000000', 'None')
BAD_NUMBERS = ('-1.0', 'True', '1e999', 'None')

PROGRAMS = {
  'train': (
    train.train,
    [*TINY, '--gin_file=stages/ssft.gin', DATA, '--gin.MODEL_DIR="runs/x"']
    + ['--gin.INITIAL_CHECKPOINT_PATH="random"'],
    'BATCH_SIZE CHECKPOINT_PERIOD KEEP_CHECKPOINTS NUM_MICROBATCHES NUM_PARTITIONS TRAIN_STEPS',
    'LEARNING_RATE MAX_GRAD_NORM WEIGHT_DECAY VALIDATION_SHARE',
  ),
  'sample': (
    sample.sample,
    [*TINY, '--gin_file=programs/sample.gin', DATA, CHECKPOINT]
    + ['--gin.INFER_OUTPUT_DIR="runs/x"'],
    'DECODE_BATCH_SIZE MAX_DECODE_LENGTH NUM_DECODES NUM_PARTITIONS',
    'TEMPERATURE TOP_P',
  ),
  'score': (
    score.score,
    [*TINY, '--gin_file=programs/score.gin', DATA, CHECKPOINT]
    + ['--gin.INFER_OUTPUT_DIR="runs/x"', '--gin.CANDIDATES="unused"'],
    'SCORE_BATCH_SIZE TOP_CLUSTERS',
    '',
  ),
  'grade': (
    grade.grade,
    ['--gin_file=programs/grade.gin', '--gin.INFER_OUTPUT_DIR="runs/x"']
    + ['--gin.CANDIDATES="unused"'],
    '',
    'GRADE_DEADLINE_S',
  ),
  'evaluate': (
    evaluate.evaluate,
    ['--gin_file=programs/evaluate.gin', '--gin.EVAL_OUTPUT_DIR="runs/x"']
    + ['--gin.CANDIDATES="unused"'],
    'TOP_CLUSTERS TOP_CANDIDATES',
    '',
  ),
}
MAY_BE_NONE = ('TOP_CLUSTERS', 'MAX_GRAD_NORM', 'KEEP_CHECKPOINTS')
CONTRADICTIONS = [
  ('train', ['WARMUP_STEPS=200', 'TRAIN_STEPS=100'], 'WARMUP_STEPS is 200'),
  ('train', ['BATCH_SIZE=48', 'NUM_MICROBATCHES=10'], 'BATCH_SIZE is 48'),
  ('train', ['MODEL_DIR=""'], 'MODEL_DIR is'),
  ('train', ['RANDOM_SEED=-1'], 'RANDOM_SEED is -1'),
  ('train', ['EVAL_PERIOD=0'], 'EVAL_PERIOD is 0'),
  ('train', ['VALIDATION_SHARE=1.5'], 'VALIDATION_SHARE is 1.5'),
  ('sample', ['TOP_P=1.5'], 'TOP_P is 1.5'),
  ('sample', ['TEMPERATURE=0.0'], 'TEMPERATURE is 0.0'),
  ('grade', ['GRADE_WORKERS=-1'], 'GRADE_WORKERS is -1'),
]


def _error_of_dry_run(program, bindings, capsys):
  function, arguments, *_ = PROGRAMS[program]
  capsys.readouterr()
  flags = [f'--gin.{binding}' for binding in bindings]
  argv = ['program', *arguments, *flags, '--dry_run']
  status = entry_point.main(function, argv)
  return status, capsys.readouterr().err


@pytest.mark.parametrize('program', PROGRAMS)
def test_a_dry_run_refuses_bad_numbers(program, capsys):
  _, _, integers, numbers = PROGRAMS[program]
  accepted = []
  for names, values in ((integers, BAD_INTEGERS), (numbers, BAD_NUMBERS)):
    for name in names.split():
      for value in values:
        if value == 'None' and name in MAY_BE_NONE:
          continue
        status, text = _error_of_dry_run(program, [f'{name}={value}'], capsys)
        if status != 2 or f'{name} is ' not in text or 'Traceback' in text:
          accepted.append((name, value, status, text[-200:]))
  assert not accepted


@pytest.mark.parametrize('program, bindings, words', CONTRADICTIONS)
def test_a_dry_run_refuses_contradictions(program, bindings, words, capsys):
  status, text = _error_of_dry_run(program, bindings, capsys)
  assert status == 2
  assert words in text
