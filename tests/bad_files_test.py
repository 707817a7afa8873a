"""Catalogue of bad files: each program refuses each file, with place, field and value.

The programs run as on the command line, in this process; none loads or compiles a model.
"""

import json
import logging

import numpy as np
import pytest

from mathft_jax import (
  convert,
  curriculum,
  doctor,
  evaluate,
  experiments,
  grade,
  measure,
  recipe,
  rerank,
  sample,
  score,
  sweep,
  train,
)
from mathft_jax.aot import training_estimate
from mathft_jax.config import entry_point
from mathft_jax.data import (
  examples,
  problem_sources,
  prompt_templates,
  schema,
  vocabularies,
)
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
# Programs whose stages read the files.
STAGES_GIN = {
  'recipe': """
from __gin__ import dynamic_registration
from mathft_jax import train
from mathft_jax.data import examples
from mathft_jax.training import optimizers
from mathft_jax.training import train_config
include 'recipes/mtsf.gin'
include 'models/tiny.gin'
include 'data/jsonl.gin'
SOLUTIONS = {'own': @examples.SolutionExamples()}
STYLE = 'own'
INITIAL_CHECKPOINT_PATH = 'random'
BATCH_SIZE = 8
MAX_LENGTH = 64
MAX_DECODE_LENGTH = 8
train_config.OptimizationConfig.optimizer = @optimizers.AdamW()
ssft/train.train.train_steps = 1
ssft_again/train.train.train_steps = 1
scr_margin/train.train.train_steps = 1
scr_xent/train.train.train_steps = 1
control/train.train.train_steps = 2
""",
  'experiments': """
from __gin__ import dynamic_registration
from mathft_jax import experiments
from mathft_jax import train
include 'stages/ssft.gin'
include 'models/tiny.gin'
include 'data/jsonl.gin'
INITIAL_CHECKPOINT_PATH = 'random'
experiments.experiments:
  workdir = %MODEL_DIR
  stages = {'first': (@train.train, {})}
""",
  'curriculum': """
from __gin__ import dynamic_registration
from mathft_jax import curriculum
from mathft_jax import train
include 'stages/ssft.gin'
include 'models/tiny.gin'
include 'data/jsonl.gin'
INITIAL_CHECKPOINT_PATH = 'random'
curriculum.curriculum:
  workdir = %MODEL_DIR
  stages = {'first': @train.train}
""",
}
STAGE_PROGRAMS = {
  'recipe': recipe.recipe,
  'experiments': experiments.experiments,
  'curriculum': curriculum.curriculum,
}
DOCTOR = (
  doctor.doctor,
  'MODEL_DIR',
  [TINY, JSONL, '--gin_file=stages/ssft.gin', FROM_RANDOM],
)


def _run(capsys, program, arguments):
  """Returns the exit status and the lines on stderr that are no log lines."""
  capsys.readouterr()
  options = {}
  if program is doctor.doctor:
    options['stage_parameters'] = doctor.PARAMETERS_BY_PROGRAM
  status = entry_point.main(program, ['program', *arguments], **options)
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


@pytest.mark.parametrize('program', [*STAGE_PROGRAMS, 'doctor'])
def test_bad_problem_files_of_stages_are_refused(program, tmp_path, capsys):
  folder = tmp_path / 'files'
  folder.mkdir()
  files = list(bad_files.write_bad_problem_files(folder))
  if program == 'doctor':
    function, output, arguments = DOCTOR
  else:
    if program != 'recipe':  # they call `train`, whose catalogue is complete
      files = files[program == 'curriculum' :: 2]
    gin_file = folder / 'stages.gin'
    gin_file.write_text(STAGES_GIN[program])
    function, output = STAGE_PROGRAMS[program], 'MODEL_DIR'
    arguments = [f'--gin_file={gin_file}']
  _check_catalogue(
    capsys, tmp_path, files, function, output, arguments, 'DATA_PATH'
  )


def test_a_plan_says_which_file_it_cannot_read(tmp_path, caplog):
  caplog.set_level(logging.INFO)
  bad = []
  for kind, path, words, place in bad_files.write_bad_problem_files(tmp_path):
    caplog.clear()
    source = examples.SolutionExamples(
      problems=problem_sources.JsonlProblems(path=str(path)),
      vocabulary=vocabularies.ByteVocabulary(),
      template=prompt_templates.Template(),
    )
    size = training_estimate.epoch_size({'examples': source})
    if size['epoch_tokens'] is not None or not (
      place in caplog.text and words in caplog.text
    ):
      bad.append((kind, caplog.text[-300:]))
  assert not bad


def test_bad_checkpoints_are_refused_by_convert(tmp_path, capsys):
  bad = []
  files = list(bad_files.write_bad_checkpoints(tmp_path))
  for number, (kind, path, words) in enumerate(files):
    for output in (f'{number}.safetensors', f'folder_{number}'):
      capsys.readouterr()
      status = entry_point.main(
        convert.convert,
        ['convert', f'--checkpoint={path}', f'--output={tmp_path}/{output}'],
        plain_flags=convert.CONVERT_FLAGS,
      )
      text = capsys.readouterr().err
      lines = [
        line for line in text.splitlines() if 'convert.convert: ' in line
      ]
      is_good = (
        status == 1
        and len(lines) == 1
        and str(path) in lines[0]
        and words in lines[0]
        and len(lines[0]) < 600
        and 'Traceback' not in text
        and not (tmp_path / output).exists()
      )
      if not is_good:
        bad.append((kind, output, status, text[-500:]))
  assert not bad, f'{len(bad)} of {2 * len(files)}: {bad}'


@pytest.mark.parametrize(
  'flag, words',
  [
    ('--shard_bytes=0', 'shard_bytes is 0'),
    ('--shard_bytes=-5', 'shard_bytes is -5'),
    ('--shard_bytes=x', "shard_bytes = 'x' (str); it must be int"),
    ('--shard_bytes=1.5', 'shard_bytes = 1.5 (float); it must be int'),
    ('--dtype=int8', "dtype is 'int8'"),
    ('--output=', "output is ''"),
    ('--checkpoint=', 'Checkpoint '),
  ],
)
def test_bad_values_of_convert_are_refused(flag, words, tmp_path, capsys):
  np.save(tmp_path / 'x.npy', np.zeros(1))
  flags = [f'--checkpoint={tmp_path}/x.npy', f'--output={tmp_path}/out', flag]
  name = flag.partition('=')[0]
  flags = [each for each in flags if not each.startswith(name)] + [flag]
  status = entry_point.main(
    convert.convert, ['convert', *flags], plain_flags=convert.CONVERT_FLAGS
  )
  text = capsys.readouterr().err
  assert status in (1, 2) and 'Traceback' not in text
  assert words in text.splitlines()[-1]


def test_bad_gin_files_are_refused(tmp_path, capsys):
  bad = []
  for name, content, words in bad_files.BAD_GIN_FILES:
    path = tmp_path / name
    path.write_bytes(content.replace(b'THIS', str(path).encode()))
    status, text = _run(
      capsys, evaluate.evaluate, [f'--gin_file={path}', '--dry_run']
    )
    first = text.splitlines()[0]
    is_good = (
      status == 2
      and first.startswith(f'evaluate.evaluate: {path}')
      and words in first
      and 'Traceback' not in text
    )
    if not is_good:
      bad.append((name, status, text[-300:]))
  assert not bad


def test_bad_reports_are_refused_by_a_sweep(tmp_path, capsys):
  questions = tmp_path / 'margin'
  questions.mkdir()
  (questions / '1.gin').touch()
  bad = []
  for kind, name, content, words in bad_files.BAD_REPORTS:
    folder = tmp_path / 'runs' / '1' / 'report'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'report.json').write_text(json.dumps(bad_files.REPORT))
    (folder / 'outcomes.jsonl').write_text('')
    (folder / name).write_bytes(content)
    status = sweep.main(
      ['sweep', f'--question={questions}', f'--workdir={tmp_path}/runs']
      + ['--collect', '--', 'python', '-m', 'mathft_jax.evaluate']
    )
    text = capsys.readouterr().err
    is_good = (
      status == 1
      and len(text.splitlines()) == 1
      and f'{folder}/{name}' in text
      and words in text
      and 'Delete' in text
    )
    if not is_good:
      bad.append((kind, status, text[-400:]))
  assert not bad


def test_a_byte_order_mark_is_accepted(tmp_path):
  path = tmp_path / 'bom.jsonl'
  path.write_bytes(b'\xef\xbb\xbf{"id": "1", "question": "q"}\n')
  assert schema.read_problems(path)[0].id == '1'
