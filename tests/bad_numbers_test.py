"""Catalogue of bad numbers: `--dry_run` refuses each, with the name of its macro and its value."""

import pathlib
import re

import pytest

from mathft_jax import (
  curriculum,
  doctor,
  evaluate,
  experiments,
  grade,
  measure,
  plan,
  recipe,
  rerank,
  sample,
  score,
  train,
)
from mathft_jax.config import entry_point, number_limits

GIN_CONFIGS = pathlib.Path(__file__).parent.parent / 'gin_configs'
TINY = ['--gin_file=models/tiny.gin', '--gin_file=data/jsonl.gin']
DATA = f'--gin.DATA_PATH="{__file__}"'
CHECKPOINT = '--gin.CHECKPOINT_PATH="none"'
BAD_INTEGERS = ('0', '-1', '1.5', 'True', '1000000000000', 'None')
BAD_NUMBERS = ('-1.0', 'True', '1e999', 'None')

PROGRAMS = {
  'train': (
    train.train,
    [*TINY, '--gin_file=stages/ssft.gin', DATA, '--gin.MODEL_DIR="runs/x"']
    + ['--gin.INITIAL_CHECKPOINT_PATH="random"'],
    'BATCH_SIZE CHECKPOINT_PERIOD EVAL_STEPS KEEP_CHECKPOINTS MAX_LENGTH '
    'NUM_MICROBATCHES NUM_PARTITIONS PROBLEM_LIMIT TRAIN_STEPS',
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
  'measure': (
    measure.measure,
    [*TINY, '--gin_file=programs/measure.gin', DATA, CHECKPOINT]
    + ['--gin.EVAL_OUTPUT_DIR="runs/x"'],
    'NUM_DECODES INFERENCE_PARTITIONS TOP_CANDIDATES',
    'TEMPERATURE GRADE_DEADLINE_S',
  ),
  'rerank': (
    rerank.rerank,
    [*TINY, '--gin_file=programs/rerank.gin', DATA, CHECKPOINT]
    + ['--gin.EVAL_OUTPUT_DIR="runs/x"', '--gin.TEST_CANDIDATES="unused"'],
    'SCORE_BATCH_SIZE INFERENCE_PARTITIONS TOP_CLUSTERS',
    '',
  ),
  'plan': (
    plan.plan,
    [*TINY, '--gin_file=stages/ssft.gin', '--gin.TOPOLOGY="v5p:2x2x1"']
    + [DATA, '--gin.MODEL_DIR="x"', '--gin.INITIAL_CHECKPOINT_PATH="random"'],
    'NUM_PROBLEMS NUM_TEXTS NUM_TRAINING_PROBLEMS PROMPT_LENGTH TEXT_LENGTH',
    '',
  ),
  'doctor': (
    doctor.doctor,
    [*TINY, '--gin_file=stages/ssft.gin', DATA, '--gin.MODEL_DIR="x"']
    + ['--gin.INITIAL_CHECKPOINT_PATH="random"'],
    'BATCH_SIZE EXPECTED_DEVICES MAX_LENGTH PROBLEM_LIMIT',
    'LEARNING_RATE VALIDATION_SHARE',
  ),
  'recipe': (
    recipe.recipe,
    ['--gin_file=recipes/tiny_cpu.gin', '--gin.MODEL_DIR="x"'],
    'BATCH_SIZE CURVE_PROBLEMS DECODE_BATCH_SIZE EVAL_STEPS EXAMPLES_PER_PROBLEM '
    'KEEP_CHECKPOINTS MAX_DECODE_LENGTH MAX_LENGTH NUM_DECODES NUM_TRAIN_DECODES '
    'SCORE_BATCH_SIZE TOP_CANDIDATES TOP_CLUSTERS',
    '',
  ),
  'experiments': (
    experiments.experiments,
    ['--gin_file=recipes/tiny_cpu_rounds.gin', '--gin.MODEL_DIR="x"'],
    'NUM_REFERENCES NUM_UNSOLVED SSFT_STEPS ROUND_STEPS',
    '',
  ),
  'curriculum': (
    curriculum.curriculum,
    ['--gin_file=recipes/base.gin', '--gin.MODEL_DIR="x"'],
    'BATCH_SIZE MAX_LENGTH',
    '',
  ),
}
OPTIONS = {
  'plan': {'stage_parameters': plan.PARAMETERS_BY_PROGRAM},
  'doctor': {'stage_parameters': doctor.PARAMETERS_BY_PROGRAM},
}
MAY_BE_NONE = (
  'EVAL_STEPS KEEP_CHECKPOINTS MAX_GRAD_NORM PROBLEM_LIMIT TOP_CLUSTERS '
  'CURVE_PROBLEMS EXPECTED_DEVICES'.split()
)
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
  ('train', ['ICI_MESH_SHAPE=(0, 8)'], 'ICI_MESH_SHAPE is (0, 8)'),
  ('train', ['ICI_MESH_SHAPE=(8,)'], 'ICI_MESH_SHAPE is (8,)'),
  ('sample', ['DCN_MESH_SHAPE=(1.5, 1)'], 'DCN_MESH_SHAPE is (1.5, 1)'),
  ('score', ['ICI_MESH_SHAPE=8'], 'ICI_MESH_SHAPE is 8'),
  ('train', ['PROFILE_STEPS=(0, 5)'], 'PROFILE_STEPS is (0, 5)'),
  ('train', ['PROFILE_STEPS=(5, 2)'], '(5, 2)'),
  ('train', ['NUM_MICROBATCHES=2', 'BATCH_SIZE=7'], 'BATCH_SIZE is 7'),
  ('doctor', ['PRINTED_EXAMPLES=-1'], 'PRINTED_EXAMPLES is -1'),
  ('doctor', ['MODEL_DIR=""'], 'MODEL_DIR is'),
  ('recipe', ['RANDOM_SEEDS=(0, 0)'], 'RANDOM_SEEDS is (0, 0)'),
  ('recipe', ['MODEL_DIR=""'], 'MODEL_DIR is'),
  ('curriculum', ['RANDOM_SEED=-1'], 'RANDOM_SEED is -1'),
  ('experiments', ['NUM_DECODES=0'], 'NUM_DECODES is 0'),
  # A warm-up that is longer than a stage of the program.
  (
    'recipe',
    ['scr_xent/train.train.train_steps=5'],
    'scr_xent/train.train: warmup_steps is 10 and train_steps is 5',
  ),
  (
    'recipe',
    ['control/train.train.train_steps=9'],
    'control/train.train: warmup_steps is 10 and train_steps is 9',
  ),
  (
    'recipe',
    ['optimizers.Cosine.warmup_steps=100'],
    'ssft/train.train: Cosine(peak=0.0003, decay_steps=80, warmup_steps=100',
  ),
  (
    'experiments',
    ['THIRD_STEPS=5'],
    'third/train.train: ',
  ),
  (
    'curriculum',
    ['trails/train.train.train_steps=5'],
    'trails/train.train: warmup_steps is 20 and train_steps is 5',
  ),
  (
    'train',
    ['optimizers.Cosine.warmup_steps=20', 'train.train.train_steps=5'],
    'warmup_steps is 20 and train_steps is 5',
  ),
]


def _error_of_dry_run(program, bindings, capsys):
  function, arguments, *_ = PROGRAMS[program]
  capsys.readouterr()
  flags = [f'--gin.{binding}' for binding in bindings]
  argv = ['program', *arguments, *flags, '--dry_run']
  status = entry_point.main(function, argv, **OPTIONS.get(program, {}))
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


@pytest.mark.parametrize(
  'program, binding, words',
  [
    ('train', 'train_config.LoopConfig.log_period=0', 'log_period is 0'),
    ('train', 'train_config.LoopConfig.checkpoint_period=0', 'period is 0'),
    ('train', 'train_config.OptimizationConfig.num_microbatches=0', 'is 0'),
    ('train', 'train_config.DataConfig.batch_size=0', 'batch_size is 0'),
    ('train', 'train_config.DataConfig.max_length=0', 'max_length is 0'),
    ('train', 'TASK_FEATURE_LENGTHS={"inputs": 0, "targets": 8}', 'from 1'),
    ('sample', 'sample.sample.num_decodes=0', 'num_decodes is 0'),
    ('sample', 'sample.sample.max_decode_length=-1', 'length is -1'),
    ('measure', 'greedy/sample.sample.num_decodes=0', 'num_decodes is 0'),
  ],
)
def test_a_dry_run_refuses_bad_numbers_of_parameters(
  program, binding, words, capsys
):
  status, text = _error_of_dry_run(program, [binding], capsys)
  assert status == 2 and words in text
  assert binding.partition('=')[0] in text and 'Traceback' not in text


@pytest.mark.parametrize('name', MAY_BE_NONE[:4])
def test_a_dry_run_accepts_none_where_it_means_all(name, capsys):
  status, text = _error_of_dry_run('train', [f'{name}=None'], capsys)
  assert status == 0, text


@pytest.mark.parametrize('program', ['train', 'sample', 'score'])
def test_a_dry_run_refuses_a_vocabulary_larger_than_the_model(program, capsys):
  binding = 'transformer.TransformerConfig.vocab_size=100'
  status, text = _error_of_dry_run(program, [binding], capsys)
  assert status == 2
  assert 'The vocabulary has 259 ids and the model 100.' in text


def test_a_dry_run_refuses_wrong_data_paths(tmp_path, capsys):
  (tmp_path / 'train.jsonl').touch()
  missing, by_split = tmp_path / 'x.jsonl', tmp_path / '{split}.jsonl'
  wrong = [
    ('train', f'DATA_PATH="{missing}"', 'no such file'),
    ('train', f'DATA_PATH="{tmp_path}"', 'a folder'),
    ('sample', f'DATA_PATH="{tmp_path}/{{split}}/x"', 'no such file'),
    ('sample', 'DATA_PATH=""', 'no such file'),
    ('grade', f'CANDIDATES="{tmp_path}"', 'a folder'),
    ('evaluate', f"CANDIDATES={{'a': '{tmp_path}'}}", 'a folder'),
    ('rerank', f'TEST_CANDIDATES="{tmp_path}"', 'a folder'),
  ]
  for program, binding, words in wrong:
    status, text = _error_of_dry_run(program, [binding], capsys)
    assert status == 2 and words in text, (binding, text)
    assert binding.partition('=')[0] in text
  right = [
    ('train', f'DATA_PATH="{by_split}"'),
    ('grade', f'CANDIDATES="{missing}"'),  # an earlier program writes it
  ]
  for program, binding in right:
    assert _error_of_dry_run(program, [binding], capsys)[0] == 0


# Numeric macros of the package's gin files that have no limits here, and why.
WITHOUT_LIMITS = {
  'EXPORT': 'a path',
  'GREEDY_CANDIDATES': 'a path',
  'MANUAL_DIR': 'a path',
  'MIXTURE_OR_TASK_MODULE': 'a module',
  'TEST_GREEDY': 'a path',
  'TFDS_DATA_DIR': 'a path',
  'WANDB_PROJECT': 'a name',
  'STREAM_DIR': 'a path',
  'BENCHMARKS': 'names',
  'CANDIDATE_FORMAT': 'a name',
  'LOOKUP_PROBLEMS': 'a source of problems',
  'QUESTION_FIELD': 'a field',
  'ID_FIELD': 'a field',
  'SUBJECT_FIELD': 'a field',
  'CANDIDATE_QUESTION_FIELD': 'a field',
  'CANDIDATE_ID_FIELD': 'a field',
  'CORRECT_FIELD': 'a field',
  'FINISHED_FIELD': 'a field',
  'FOUND_ANSWER_FIELD': 'a field',
  'LOG_PROB_FIELD': 'a field',
  'SCORE_FIELD': 'a field',
  'THOUGHTS_FIELD': 'a field',
  'EVALUATOR_TRAINING': 'a program',
  'CACHE_DIRS': 'paths',
  'COMPARE': 'names',
  'COMPARE_WITH': 'names',
  'COMPARED_STYLES': 'names',
  'EVALUATOR_COLUMNS': 'names',
  'GENERATOR_COLUMNS': 'names',
  'MATH_DEMONSTRATIONS': 'ids',
  'PRM800K_DEMONSTRATIONS': 'ids',
  'SYSTEM_TURN': 'a text',
  'WORD_PROBLEM_FILES': 'paths',
}


def test_every_numeric_macro_has_limits():
  assignment = re.compile(r'^([A-Z][A-Z0-9_]*) *= *([-0-9(]|None)', re.M)
  found = set()
  for path in GIN_CONFIGS.rglob('*.gin'):
    if path.parent.name == 't5x':  # for the programs of t5x
      continue
    for name, _ in assignment.findall(path.read_text()):
      found.add(name)
  unlimited = set()
  for name in found - WITHOUT_LIMITS.keys():
    is_field = name.endswith('_FIELD')  # names of fields
    if not is_field and not number_limits.has_limits(name):
      unlimited.add(name)
  assert len(found) > 40
  assert not unlimited
