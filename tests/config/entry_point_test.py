"""What people type, and what they are told when it is wrong."""

import importlib
import json
import logging
import os
import pathlib
import re
import subprocess
import sys

import gin
import pytest

from mathft_jax import __main__ as list_of_programs
from mathft_jax import grade, rerank, sample, train
from mathft_jax.config import (
  data_paths,
  entry_point,
  flags,
  gin_files,
  program_calls,
  t5x_names,
)
from mathft_jax.monitoring import native_logs

REPOSITORY = pathlib.Path(__file__).parents[2]

TOY = '''
"""A toy trainer, for tests."""
import dataclasses

CALLS = []

@dataclasses.dataclass(frozen=True)
class Loss:
  margin: float = 1.0
  over: str = 'words'
  def __post_init__(self):
    if self.over not in ('words', 'vocabulary'):
      raise ValueError(f'over is {self.over!r}')

def train(workdir, *, loss, train_steps: int, name: str | None = 'x', size: float = 0.5,
          examples=None):
  """Trains a toy."""
  CALLS.append(dict(workdir=workdir, loss=loss, train_steps=train_steps, name=name, size=size,
                    examples=examples))
  return workdir

def recipe(workdir, *, stages):
  for name, stage in stages.items():
    stage(f'{workdir}/{name}', examples=name)

def score(workdir, *, checkpoint, model, vocabulary):
  CALLS.append((checkpoint, model, vocabulary))

def reader(*, path, count: int = 3):
  CALLS.append((path, count))

if __name__ == '__main__':
  from mathft_jax.config import entry_point
  entry_point.run_program(train)
'''
HEAD = 'from __gin__ import dynamic_registration\nimport toy\n'
FORM = (
  HEAD
  + """
toy.train.workdir = %MODEL_DIR
toy.train.loss = @toy.Loss()
toy.train.train_steps = %TRAIN_STEPS
toy.train.name = %NAME
TRAIN_STEPS = 10
NAME = 'x'
"""
)


@pytest.fixture(scope='module')
def toy_module(tmp_path_factory):
  """Imported once: gin knows functions by their module's name."""
  folder = tmp_path_factory.mktemp('toy')
  (folder / 'toy.py').write_text(TOY)
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(folder))
    yield importlib.import_module('toy')


@pytest.fixture
def toy(toy_module, tmp_path, monkeypatch):
  """The toy module without calls, in an empty folder that has form.gin."""
  (tmp_path / 'form.gin').write_text(FORM)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(toy_module, 'CALLS', [])
  verbosity = logging.getLogger('absl').level
  yield toy_module
  gin.clear_config()
  logging.getLogger('absl').setLevel(verbosity)


def main(program, *arguments, **options):
  return entry_point.main(program, ['prog', *arguments], **options)


def environment(toy):
  """Of a fresh process that can import the package and the toy."""
  return {
    'PYTHONPATH': f'{REPOSITORY}:{pathlib.Path(toy.__file__).parent}',
    'PATH': '',
  }


def fails(capsys, program, *arguments):
  """The message of a command line that is refused before the program starts."""
  assert main(program, *arguments) == 2
  return capsys.readouterr().err


def test_a_program_gets_built_objects_and_the_config_is_saved(toy, tmp_path):
  assert main(toy.train, '--gin_file=form.gin', '--gin.MODEL_DIR=runs/x') == 0
  assert toy.CALLS == [
    dict(
      workdir='runs/x',
      loss=toy.Loss(),
      train_steps=10,
      name='x',
      size=0.5,
      examples=None,
    )
  ]
  assert type(toy.CALLS[0]['loss']) is toy.Loss
  assert 'toy.Loss.margin = 1.0' in (tmp_path / 'runs/x/config.gin').read_text()


def test_the_saved_config_repeats_the_run(toy):
  main(
    toy.train,
    '--gin_file=form.gin',
    '--gin.MODEL_DIR=runs/x',
    '--gin.toy.Loss.margin=3',
    '--gin.TRAIN_STEPS=7',
  )
  assert main(toy.train, '--gin_file=runs/x/config.gin') == 0
  assert toy.CALLS[0] == toy.CALLS[1] and toy.CALLS[1]['loss'].margin == 3


def test_a_changed_config_in_the_same_workdir_is_told(toy, caplog):
  main(toy.train, '--gin_file=form.gin', '--gin.MODEL_DIR=runs/x')
  main(
    toy.train,
    '--gin_file=form.gin',
    '--gin.MODEL_DIR=runs/x',
    '--gin.TRAIN_STEPS=11',
  )
  assert 'which is now config.1.gin: TRAIN_STEPS: 10 -> 11\n' in caplog.text


def assert_gin_file_is_refused(toy, folder, capsys, text, message):
  (folder / 'bad.gin').write_text(HEAD.splitlines()[0] + '\n' + text)
  error = fails(
    capsys,
    toy.train,
    '--gin_file=form.gin',
    '--gin_file=bad.gin',
    '--gin.MODEL_DIR=a',
  )
  assert message in error and 'Traceback' not in error


@pytest.mark.parametrize(
  'given, read',
  [
    ('runs/x', 'runs/x'),
    ('gs://bucket/x', 'gs://bucket/x'),
    ('math_ssft', 'math_ssft'),
    ('2024-01-01', '2024-01-01'),
    ('1-2', '1-2'),
    ("it's", "it's"),
    ('a=b', 'a=b'),
    ('{split}.jsonl', '{split}.jsonl'),
    ('', ''),
    ("'quoted'", 'quoted'),
    ('None', None),
  ],
)
def test_strings_need_no_quotes(toy, given, read):
  assert (
    main(
      toy.train,
      '--gin_file=form.gin',
      '--gin.MODEL_DIR=runs/x',
      f'--gin.NAME={given}',
    )
    == 0
  )
  assert toy.CALLS[0]['name'] == read


@pytest.mark.parametrize(
  'given',
  [
    '12',
    '-3',
    '1e-3',
    'True',
    'None',
    '[1, 2]',
    "{'a': 1}",
    '(1,)',
    '@toy.Loss()',
    '%NAME',
    "'12'",
  ],
)
def test_gin_values_stay_gin_values(given):
  assert flags.quote_as_gin_literal(given) == given


def test_bindings_override_files_and_later_files_override_earlier(
  toy, tmp_path
):
  (tmp_path / 'more.gin').write_text("TRAIN_STEPS = 20\nNAME = 'more'\n")
  main(
    toy.train,
    '--gin_file=form.gin',
    '--gin_file=more.gin',
    "--gin_bindings=NAME = 'last'",
    '--gin.MODEL_DIR=a',
    '--gin.toy.train.size=2',
  )
  assert [toy.CALLS[0][key] for key in ('train_steps', 'name', 'size')] == [
    20,
    'last',
    2,
  ]


def test_a_program_without_a_gin_file_is_configured_by_flags(toy):
  assert (
    main(
      toy.train,
      '--gin.toy.train.workdir=a',
      '--gin.toy.train.loss=@toy.Loss()',
      '--gin.toy.train.train_steps=1',
    )
    == 0
  )
  assert toy.CALLS[0]['loss'] == toy.Loss()


def test_plain_flags_are_parameters(toy):
  assert (
    main(toy.reader, '--path=a/b', '--count=4', plain_flags=('path', 'count'))
    == 0
  )
  assert toy.CALLS == [('a/b', 4)]


def test_everything_unset_is_listed_at_once(toy, capsys):
  error = fails(
    capsys,
    toy.train,
    '--gin_file=form.gin',
    '--gin_bindings=toy.train.name = %OTHER',
  )
  assert (
    'not set: MODEL_DIR (for train.workdir), OTHER (for train.name)' in error
  )
  assert toy.CALLS == []


def test_a_macro_that_stays_required_is_not_set(toy, tmp_path, capsys):
  (tmp_path / 'must.gin').write_text('MODEL_DIR = %gin.REQUIRED\n')
  error = fails(capsys, toy.train, '--gin_file=must.gin', '--gin_file=form.gin')
  assert 'not set: MODEL_DIR' in error


def test_parameters_without_a_value_are_listed(toy, capsys):
  error = fails(capsys, toy.train, '--gin.toy.train.workdir=a')
  assert 'train needs a value for: loss, train_steps.' in error


def test_a_file_that_takes_back_what_was_set_must_come_first(
  toy, tmp_path, capsys
):
  (tmp_path / 'base.gin').write_text('MODEL_DIR = %gin.REQUIRED\n')
  (tmp_path / 'late.gin').write_text("include 'base.gin'\n")
  (tmp_path / 'early.gin').write_text("MODEL_DIR = 'runs/x'\n")
  error = fails(
    capsys,
    toy.train,
    '--gin_file=form.gin',
    '--gin_file=early.gin',
    '--gin_file=late.gin',
  )
  assert (
    'base.gin:1 resets MODEL_DIR to %gin.REQUIRED, after early.gin:1 has set it to '
    "'runs/x'. Name late.gin before early.gin."
  ) in error
  assert (
    main(
      toy.train,
      '--gin_file=form.gin',
      '--gin_file=late.gin',
      '--gin_file=early.gin',
    )
    == 0
  )


@pytest.mark.parametrize(
  'flag, message',
  [
    ('--gin.MODELDIR=a', 'nothing uses MODELDIR. Did you mean MODEL_DIR?'),
    (
      '--gin.toy.train.train_step=1',
      "toy.train has no parameter 'train_step'. Did you mean train_steps? It has: workdir, loss,",
    ),
    ('--gin.toy.tran.size=1', "toy has no 'tran'. Did you mean train?"),
    (
      '--gin.toi.train.size=1',
      "no import of 'toi' in this file. Did you mean toy?",
    ),
    ('--gin.toy.train.loss=@toy.Los()', "toy has no 'Los'. Did you mean Loss?"),
    ('--gin.toy.train.loss=@toy.Loss(', 'a bracket or quote is not closed'),
    ('--gin_fil=form.gin', 'Did you mean: gin_file'),
    ('--gin.MODEL_DIR', '--gin.MODEL_DIR has no value'),
    ('form.gin', 'arguments without a name'),
    (
      '--gin.TRAIN_STEPS=ten',
      "train.train_steps = 'ten' (str); it must be int.",
    ),
    (
      '--gin.toy.train.name=3',
      'train.name = 3 (int); it must be str or NoneType.',
    ),
    ('--gin.toy.Loss.over=labels', "over is 'labels'"),
    ('--gin_file=fomr.gin', "No gin file 'fomr.gin'"),
    # names of t5x
    (
      '--gin.utils.SaveCheckpointConfig.period=10',
      'there is no utils.SaveCheckpointConfig.period. Did you mean CHECKPOINT_PERIOD?',
    ),
    (
      '--gin.utils.RestoreCheckpointConfig.path=x',
      'Did you mean INITIAL_CHECKPOINT_PATH?',
    ),
    (
      '--gin.partitioning.PjitPartitioner.model_parallel_submesh=(2, 1, 1, 1)',
      'Did you mean ICI_MESH_SHAPE?',
    ),
    ('--gin.toy.eval_period=100', 'toy is a module, which has no parameters.'),
    ('--gin.train.eval_period=100', 'Did you mean EVAL_PERIOD?'),
    (
      '--gin.LOSS_NORMALIZING_FACTOR=1',
      "nothing uses LOSS_NORMALIZING_FACTOR. t5x's",
    ),
    ('--gin.USE_CACHED_TASKS=True', 'It is used with data/math.gin'),
  ],
)
def test_mistakes_are_named_with_what_was_meant(toy, capsys, flag, message):
  error = fails(
    capsys, toy.train, '--gin_file=form.gin', '--gin.MODEL_DIR=a', flag
  )
  assert message in error and 'Traceback' not in error
  assert toy.CALLS == []


@pytest.mark.parametrize(
  'text, message',
  [
    ('import tooy\n', 'bad.gin:2: import tooy: no such module'),
    (
      'from mathft_jax.training import loses\n',
      'no such module. Did you mean losses?',
    ),
    (
      'toy.train.size = 1\n',
      "bad.gin:2: 'toy.train': no import of 'toy' in this file",
    ),
    (
      'import toy\ntoy.train:\n  sise = 1\n',
      "bad.gin:4: toy.train has no parameter 'sise'",
    ),
    ('import toy\ntoy.train.size = = 1\n', 'bad.gin:3'),
    ("include 'form.gni'\n", "No gin file 'form.gni'"),
  ],
)
def test_mistakes_in_files_come_with_file_and_line(
  toy, tmp_path, capsys, text, message
):
  assert_gin_file_is_refused(toy, tmp_path, capsys, text, message)


def test_a_near_name_in_a_file_is_warned_of(toy, tmp_path, caplog):
  (tmp_path / 'typo.gin').write_text('TRAIN_STEP = 5\n')
  main(
    toy.train, '--gin_file=form.gin', '--gin_file=typo.gin', '--gin.MODEL_DIR=a'
  )
  assert (
    'typo.gin:1: TRAIN_STEP is set and not used. Did you mean TRAIN_STEPS?'
    in caplog.text
  )


def test_macros_of_own_files_that_nothing_uses_are_reported(
  toy, tmp_path, caplog
):
  (tmp_path / 'own.gin').write_text(
    'USE_HARDWARE_RNG = True\nSOMETHING_ELSE = 3\nTRAIN_STEPS = 3\n'
  )
  main(
    toy.train, '--gin_file=form.gin', '--gin_file=own.gin', '--gin.MODEL_DIR=a'
  )
  assert 'own.gin:1: USE_HARDWARE_RNG is set and not used. t5x' in caplog.text
  assert 'own.gin:2: SOMETHING_ELSE is set and not used.' in caplog.text
  assert 'TRAIN_STEPS is set' not in caplog.text


STOCK = """
from __gin__ import dynamic_registration
import __main__ as train_script
import seqio
from t5x import utils

include 't5x/examples/t5/t5_1_1/base.gin'

MODEL_DIR = %gin.REQUIRED
BATCH_SIZE = 128
BATCH_SIZE = 64
RANDOM_SEED = None
TRAIN_STEPS = 1_020_000
USE_HARDWARE_RNG = False
OWN = 3
train_script.train:
  eval_period = %EVAL_PERIOD
  total_steps = 7
seqio.Evaluator.logger_cls = [@seqio.JSONLogger]
utils.SaveCheckpointConfig.period = 5000
infer_eval/utils.DatasetConfig.batch_size = 32
"""


def test_a_gin_file_of_t5x_gives_a_list_of_what_carries_over(
  toy, tmp_path, capsys
):
  (tmp_path / 'finetune.gin').write_text(STOCK)
  error = fails(
    capsys, toy.train, '--gin_file=form.gin', '--gin_file=finetune.gin'
  )
  expected = """
toy.train: finetune.gin is a gin file of t5x (line 3: import __main__ as train_script); programs of
mathft_jax do not read it.
Carries over:
  BATCH_SIZE = 64
Has another name, value or meaning:
  TRAIN_STEPS = 1020000: steps of this run only: subtract the steps of the initial checkpoint
  train_script.train.total_steps = 7: TRAIN_STEPS = 7 (steps of this run only: subtract the steps of
the initial checkpoint)
  utils.SaveCheckpointConfig.period = 5000: CHECKPOINT_PERIOD = 5000
Has no counterpart:
  USE_HARDWARE_RNG = False: random numbers are the same on every mesh
Not known here:
  OWN = 3
Included, but not found:
  t5x/examples/t5/t5_1_1/base.gin
"""
  assert ' '.join(error.split()).startswith(' '.join(expected.split()))
  assert toy.CALLS == []


def test_the_names_that_replace_those_of_t5x_are_macros_of_the_package():
  macros = set()
  for path in gin_files.package_gin_directory().rglob('*.gin'):
    macros |= set(re.findall(r'^([A-Z_]+) = ', path.read_text(), re.MULTILINE))
    macros |= set(re.findall(r'%([A-Z_]+)', path.read_text()))
  for table in t5x_names.tables().values():
    for name, here in table.items():
      assert here.name or here.note, name
      if here.name and '.' not in here.name:
        assert here.name in macros, f'{name}: {here.name}'


def test_the_docs_have_all_names_of_t5x():
  page = (REPOSITORY / 'docs' / 't5x.md').read_text()
  for table in t5x_names.tables().values():
    for name, here in table.items():
      assert f'| `{name}` | {t5x_names.table_cells(here)} |' in page, name


def test_package_configs_are_found_from_anywhere_and_near_names_are_listed(
  toy, capsys
):
  (
    entry_point.gin_files.package_gin_directory() / 'programs' / 'grade.gin'
  ).read_text()
  error = fails(capsys, toy.train, '--gin_file=programs/grad.gin')
  assert 'Did you mean programs/grade.gin' in error
  assert 'Known gin files' not in error


def test_own_search_paths_come_before_the_packages(toy, tmp_path):
  (tmp_path / 'mine' / 'programs').mkdir(parents=True)
  (tmp_path / 'mine' / 'programs' / 'grade.gin').write_text(
    FORM + "MODEL_DIR = 'mine'\n"
  )
  assert (
    main(toy.train, '--gin_search_paths=mine', '--gin_file=programs/grade.gin')
    == 0
  )
  assert toy.CALLS[0]['workdir'] == 'mine'


RECIPE = (
  HEAD
  + """
include 'form.gin'
toy.recipe.workdir = %MODEL_DIR
toy.recipe.stages = {'ssft': @ssft/toy.train, 'scr': @scr/toy.train}
ssft/toy.train.train_steps = 5
scr/toy.train.loss = @scr/toy.Loss()
scr/toy.Loss.margin = %MARGIN
toy.train.workdir = %STAGE_DIR
toy.train.examples = %STAGE_EXAMPLES
"""
)


def test_scoped_programs_are_values_with_objects_of_their_own(toy, tmp_path):
  (tmp_path / 'recipe.gin').write_text(RECIPE)
  arguments = ('--gin_file=recipe.gin', '--gin.MARGIN=2', '--gin.MODEL_DIR=a')
  assert main(toy.recipe, *arguments) == 0
  first, second = toy.CALLS
  assert (first['workdir'], first['train_steps'], first['loss'].margin) == (
    'a/ssft',
    5,
    1.0,
  )
  assert (second['workdir'], second['train_steps'], second['loss'].margin) == (
    'a/scr',
    10,
    2,
  )
  main(toy.recipe, '--gin_file=a/config.gin')
  assert toy.CALLS[2:] == toy.CALLS[:2]


@pytest.mark.parametrize(
  'flag, message',
  [
    ('--gin.toy.train.size=1', 'not set: MARGIN (for scr/Loss.margin)'),
    ('--gin.MARGIN=big', "scr/Loss.margin = 'big' (str); it must be float."),
    ('--gin_bindings=scr/toy.Loss.over = "x"', 'not set: MARGIN'),
  ],
)
def test_mistakes_of_late_stages_are_found_before_the_first(
  toy, tmp_path, capsys, flag, message
):
  (tmp_path / 'recipe.gin').write_text(RECIPE)
  assert message in fails(
    capsys, toy.recipe, '--gin_file=recipe.gin', '--gin.MODEL_DIR=a', flag
  )
  assert 'over is' in fails(
    capsys,
    toy.recipe,
    '--gin_file=recipe.gin',
    '--gin.MODEL_DIR=a',
    '--gin.MARGIN=1',
    '--gin_bindings=scr/toy.Loss.over = "x"',
  )
  assert toy.CALLS == []


def test_a_dry_run_prints_the_config_and_does_nothing(toy, tmp_path, capsys):
  assert (
    main(toy.train, '--gin_file=form.gin', '--gin.MODEL_DIR=a', '--dry_run')
    == 0
  )
  assert 'toy.train.train_steps = %TRAIN_STEPS' in capsys.readouterr().out
  assert toy.CALLS == [] and not (tmp_path / 'a').exists()


def test_a_dry_run_says_what_program_and_stages_describe(
  toy, tmp_path, capsys, monkeypatch
):
  def describe(loss=None, **_):
    return f'margin\n{loss.margin if loss else "-"}'

  monkeypatch.setattr(toy, 'describe', describe, raising=False)
  (tmp_path / 'recipe.gin').write_text(RECIPE)
  assert (
    main(
      toy.recipe,
      '--gin_file=recipe.gin',
      '--gin.MARGIN=2',
      '--gin.MODEL_DIR=a',
      '--dry_run',
    )
    == 0
  )
  said = [
    line
    for line in capsys.readouterr().out.splitlines()
    if line.startswith('# ')
  ]
  first = said.index('# toy.recipe: margin')
  assert said[first : first + 6] == [
    '# toy.recipe: margin',
    '# -',
    '# ssft/toy.train: margin',
    '# 1.0',
    '# scr/toy.train: margin',
    '# 2',
  ]
  assert not toy.CALLS


def test_help_tells_the_program_its_flags_and_its_parameters(toy, capsys):
  assert main(toy.train, '--help') == 0
  text = capsys.readouterr().out
  for part in (
    'A toy trainer',
    '  --gin_file\n      Gin file. Repeat the flag',
    '  --dry_run\n',
    '  train_steps (must be set)',
    '  size (default 0.5)',
  ):
    assert part in text


def test_help_has_the_descriptions_of_arguments():
  text = entry_point.usage_text(grade.grade)
  assert '  candidates (must be set)\n      jsonl of candidate sets' in text
  assert 'TurnMarkers(...)' in text
  assert 'programs/grade.gin \\\n      --gin.CANDIDATES=' in text


def test_flags_of_absl_are_known(toy):
  arguments = ('--gin_file=form.gin', '--gin.MODEL_DIR=a', '--alsologtostderr')
  assert main(toy.train, *arguments, '--multiprocess_gpu', '-v=-1') == 0
  assert logging.getLogger('absl').getEffectiveLevel() == logging.WARNING


@pytest.mark.parametrize(
  'arguments, status, part',
  [
    (['--help'], 0, '  train  '),
    ([], 0, '  grade  '),
    (['train'], 2, 'Write python -m mathft_jax.train.'),
    (['trian'], 2, 'Did you mean train?'),
  ],
)
def test_the_package_lists_its_programs(arguments, status, part, capsys):
  assert list_of_programs.main(arguments) == status
  captured = capsys.readouterr()
  assert part in captured.out + captured.err


def test_native_noise_is_not_shown_and_other_lines_are(capfd, monkeypatch):
  monkeypatch.setattr(native_logs, '_is_installed', lambda module: True)
  monkeypatch.delitem(sys.modules, 'tensorflow', raising=False)
  with native_logs.without_noise():
    os.write(2, b'I0000 00:00:1 2 port.cc:153] oneDNN operations are on.\n')
    os.write(2, b'E0000 00:00:1 2 cuda_platform.cc:52] failed call\n')
    os.write(2, b'E0000 00:00:1 2 disk.cc:3] full\n')
    os.write(2, b'a warning of a user module\n')
  error = capfd.readouterr().err
  assert (
    error == 'E0000 00:00:1 2 disk.cc:3] full\na warning of a user module\n'
  )


SCORER = (
  HEAD
  + """
toy.score.workdir = %INFER_OUTPUT_DIR
toy.score.checkpoint = %CHECKPOINT_PATH
toy.score.model = %MODEL
toy.score.vocabulary = %VOCABULARY
"""
)
TRAINED = (
  HEAD
  + """
import json
MODEL = @small/toy.Loss()
VOCABULARY = %TOKENS
TOKENS = 'words'
MODEL_DIR = 'runs/x'
small/toy.Loss.margin = %WIDTH
small/toy.Loss.over = 'vocabulary'
WIDTH = 3.0
toy.train.workdir = %MODEL_DIR
"""
)


@pytest.mark.parametrize(
  'path', ['runs/x', 'runs/x/checkpoints/40', 'runs/x/ssft/checkpoints/40']
)
def test_a_checkpoint_alone_gives_the_model_and_vocabulary_of_its_run(
  toy, tmp_path, path
):
  (tmp_path / 'score.gin').write_text(SCORER)
  for folder in ('runs/x/checkpoints', 'runs/x/ssft/checkpoints'):
    (tmp_path / folder).mkdir(parents=True)
  (tmp_path / 'runs/x/config.gin').write_text(TRAINED)
  arguments = (
    '--gin_file=score.gin',
    f'--gin.CHECKPOINT_PATH={path}',
    '--gin.INFER_OUTPUT_DIR=runs/y',
  )
  assert main(toy.score, *arguments) == 0
  assert main(toy.score, *arguments, '--gin.VOCABULARY=bytes') == 0
  first, second = toy.CALLS
  assert first == (path, toy.Loss(3.0, 'vocabulary'), 'words')
  assert second[2] == 'bytes'
  text = (tmp_path / 'runs/y/config.gin').read_text()
  assert 'MODEL_DIR' not in text and 'import json' not in text


def test_without_a_run_of_the_checkpoint_what_is_missing_is_listed(
  toy, tmp_path, capsys
):
  (tmp_path / 'score.gin').write_text(SCORER)
  (tmp_path / 'model.safetensors').touch()
  error = fails(
    capsys,
    toy.score,
    '--gin_file=score.gin',
    '--gin.CHECKPOINT_PATH=model.safetensors',
    '--gin.INFER_OUTPUT_DIR=y',
  )
  assert 'not set: MODEL (for score.model), VOCABULARY' in error
  assert 'MODEL: --gin_file=models/of_checkpoint.gin --gin.MODEL_FROM=' in error
  assert '--gin_file=templates/of_folder.gin --gin.TOKENIZER_PATH=' in error


def test_a_checkpoint_that_does_not_exist_is_named_with_a_similar_one(
  toy, tmp_path, capsys
):
  (tmp_path / 'score.gin').write_text(SCORER)
  (tmp_path / 'runs/evaluator').mkdir(parents=True)
  error = fails(
    capsys,
    toy.score,
    '--gin_file=score.gin',
    '--gin.CHECKPOINT_PATH=runs/evaluatr',
    '--gin.INFER_OUTPUT_DIR=y',
  )
  assert (
    'CHECKPOINT_PATH is runs/evaluatr, which does not exist. Did you mean runs/evaluator?'
    in error
  )
  assert 'not set' not in error and 'MODEL_FROM' not in error


@pytest.mark.parametrize(
  'given, message',
  [
    ([], 'set --gin.CHECKPOINT_PATH=runs/mine instead'),
    (['--gin.CHECKPOINT_PATH=x'], 'which is set: leave out MODEL_DIR'),
  ],
)
def test_a_second_folder_is_the_checkpoint_if_there_is_none(
  capsys, given, message
):
  error = fails(
    capsys,
    sample.sample,
    '--gin_file=programs/sample.gin',
    '--gin.MODEL_DIR=runs/mine',
    '--gin.INFER_OUTPUT_DIR=y',
    *given,
  )
  assert message in error and 'set --gin.INFER_OUTPUT_DIR' not in error


@pytest.mark.parametrize(
  'flag, message',
  [
    ('--learning_rate=1e-4', 'Did you mean --gin.LEARNING_RATE=1e-4?'),
    ('--learning-rate', 'Did you mean --gin.LEARNING_RATE=VALUE?'),
    ('--no_macro=1', 'are set with --gin.NAME=VALUE.'),
  ],
)
def test_a_macro_written_as_a_flag_gets_its_spelling(capsys, flag, message):
  assert message in fails(capsys, train.train, flag)


@pytest.mark.parametrize(
  'program, given, right',
  [
    (sample.sample, 'MODEL_DIR', 'sample writes to INFER_OUTPUT_DIR'),
    (sample.sample, 'OUTPUT_DIR', 'sample writes to INFER_OUTPUT_DIR'),
    (sample.sample, 'INITIAL_CHECKPOINT_PATH', 'checkpoint CHECKPOINT_PATH'),
    (grade.grade, 'EVAL_OUTPUT_DIR', 'grade writes to INFER_OUTPUT_DIR'),
    (grade.grade, 'TEST_CANDIDATES', 'grade reads CANDIDATES'),
    (rerank.rerank, 'MODEL_DIR', 'rerank writes to EVAL_OUTPUT_DIR'),
    (rerank.rerank, 'CANDIDATES', 'this program reads TEST_CANDIDATES'),
    (rerank.rerank, 'INFER_OUTPUT_DIR', 'program writes to EVAL_OUTPUT_DIR'),
  ],
)
def test_a_macro_of_another_program_names_that_of_this_one(
  capsys, program, given, right
):
  file = f'programs/{program.__name__}.gin'
  arguments = [f'--gin_file={file}', f'--gin.{given}=x']
  error = fails(capsys, program, *arguments)
  macro = right.split()[-1]
  assert re.search(rf'{right}: set --gin.{macro}=\w+ instead', error)


def test_the_default_warmup_fits_a_short_training(tmp_path, caplog, capsys):
  caplog.set_level('INFO')
  arguments = [
    '--gin_file=models/tiny.gin',
    '--gin_file=data/generated.gin',
    '--gin_file=stages/ssft.gin',
    '--gin.MODEL_DIR=x',
    '--gin.INITIAL_CHECKPOINT_PATH=random',
    '--dry_run',
  ]
  assert main(train.train, *arguments, '--gin.TRAIN_STEPS=20') == 0
  assert 'WARMUP_STEPS = 2\n' in capsys.readouterr().out
  assert 'WARMUP_STEPS is 2 instead of the default 20' in caplog.text
  assert main(train.train, *arguments, '--gin.TRAIN_STEPS=21') == 0
  assert 'WARMUP_STEPS = 20\n' in capsys.readouterr().out
  both = '--gin.TRAIN_STEPS=4', '--gin.WARMUP_STEPS=9'
  assert 'WARMUP_STEPS is 9' in fails(capsys, train.train, *arguments, *both)


def test_a_typing_error_in_a_data_path_gets_a_suggestion(tmp_path):
  (tmp_path / 'problems.jsonl').write_text('')
  with pytest.raises(ValueError, match='Did you mean .*/problems.jsonl?'):
    data_paths.check_data_paths({'DATA_PATH': f'{tmp_path}/problem.jsonl'})


def test_long_lists_of_names_are_left_out_where_a_name_is_suggested(capsys):
  file = '--gin_file=programs/rerank.gin'
  error = fails(capsys, rerank.rerank, file, '--gin.TEST_CANDIDATE=a')
  assert 'Did you mean TEST_CANDIDATES' in error and 'In use' not in error
  error = fails(capsys, rerank.rerank, file, '--gin.XYZ=a')
  assert 'nothing uses XYZ. In use: ' in error and 'TEST_CANDIDATES' in error


class Refusing:
  def append(self, call):
    raise ValueError('no such checkpoint')


def test_input_that_the_package_refuses_is_told_without_a_traceback(
  toy, capsys, monkeypatch
):
  monkeypatch.setattr(toy, 'CALLS', Refusing())
  # From outside of the package: with its traceback.
  with pytest.raises(ValueError):
    main(toy.train, '--gin_file=form.gin', '--gin.MODEL_DIR=a')
  monkeypatch.setattr(
    program_calls, 'PACKAGE', pathlib.Path(__file__).parents[1]
  )
  assert main(toy.train, '--gin_file=form.gin', '--gin.MODEL_DIR=a') == 1
  assert 'toy.train: no such checkpoint' in capsys.readouterr().err


def test_a_run_that_is_refused_does_not_change_the_config(
  toy, tmp_path, capsys, monkeypatch
):
  form = ('--gin_file=form.gin', '--gin.MODEL_DIR=a')
  monkeypatch.setattr(
    program_calls, 'PACKAGE', pathlib.Path(__file__).parents[1]
  )
  with monkeypatch.context() as patch:
    patch.setattr(toy, 'CALLS', Refusing())
    assert main(toy.train, *form) == 1
  assert not list((tmp_path / 'a').glob('config*'))

  assert main(toy.train, *form) == 0
  written = (tmp_path / 'a/config.gin').read_text()
  monkeypatch.setattr(toy, 'CALLS', Refusing())
  assert main(toy.train, *form, '--gin.TRAIN_STEPS=7') == 1
  assert [path.name for path in (tmp_path / 'a').glob('*.gin')] == [
    'config.gin'
  ]
  assert (tmp_path / 'a/config.gin').read_text() == written


@pytest.mark.parametrize(
  'argument',
  ['--gin.CHECKPOINT_PATH=runs/x', '--gin.INFER_OUTPUT_DIR=runs/y'],
)
def test_without_the_gin_file_of_the_program_it_is_named(
  tmp_path, capsys, argument
):
  from mathft_jax import sample

  error = fails(capsys, sample.sample, argument)
  assert 'Add --gin_file=programs/sample.gin, which uses it.' in error


def test_without_a_recipe_the_recipes_are_named(capsys):
  from mathft_jax import recipe

  error = fails(capsys, recipe.recipe, '--gin.MODEL_DIR=runs/x')
  assert 'nothing uses MODEL_DIR. Add --gin_file=recipes/<one>.gin' in error


def test_without_a_stage_of_a_training_the_stages_are_named(capsys):
  from mathft_jax import train

  error = fails(capsys, train.train, '--gin.MODEL_DIR=runs/x')
  assert 'Add --gin_file=stages/<one>.gin; they include programs/tr' in error


def test_a_configuration_that_differs_keeps_the_one_before(
  toy, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  form = ('--gin_file=form.gin', '--gin.MODEL_DIR=a')
  for rest in (
    (),
    ('--gin.TRAIN_STEPS=7',),
    ('--gin.TRAIN_STEPS=7',),
    ('--gin.TRAIN_STEPS=8',),
  ):
    assert main(toy.train, *form, *rest) == 0
  found = {
    path.name: '= 7' in path.read_text()
    for path in (tmp_path / 'a').glob('*.gin')
  }
  assert found == {
    'config.gin': False,
    'config.1.gin': False,
    'config.2.gin': True,
  }


def test_a_module_that_is_started_runs_under_its_own_name(toy, tmp_path):
  command = [
    sys.executable,
    '-m',
    'toy',
    '--gin_file=form.gin',
    '--gin.MODEL_DIR=a',
  ]
  done = subprocess.run(
    command, cwd=tmp_path, capture_output=True, text=True, env=environment(toy)
  )
  assert done.returncode == 0, done.stderr
  assert 'toy.train: a' in done.stderr
  assert (
    'python -m toy --gin_file=config.gin'
    in (tmp_path / 'a' / 'config.gin').read_text()
  )
  wrong = subprocess.run(
    [*command, '--gin.TRAIN_STEPS=x'],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    env=environment(toy),
  )
  assert wrong.returncode == 2 and 'Traceback' not in wrong.stderr


def test_no_device_is_touched_before_the_program_starts(toy, tmp_path):
  code = (
    'import sys; from mathft_jax.config import entry_point; import toy; '
    'entry_point.main(toy.train, ["p", "--gin_file=form.gin", "--gin.MODEL_DIR=a"]); '
    'print("jax" in sys.modules)'
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    env=environment(toy),
  )
  assert done.stdout.strip() == 'False', done.stderr


def test_a_file_that_is_not_there_is_named_without_a_traceback(
  tmp_path, capsys
):
  from mathft_jax import grade

  status = entry_point.main(
    grade.grade,
    [
      'grade',
      '--gin_file=programs/grade.gin',
      f'--gin.CANDIDATES={tmp_path}/none.jsonl',
      f'--gin.INFER_OUTPUT_DIR={tmp_path}/graded',
    ],
  )
  assert status == 1
  assert f'{tmp_path}/none.jsonl: no such file' in capsys.readouterr().err


@pytest.mark.parametrize(
  'text, message',
  [
    (
      'from mathft_jax.data import tasks\n',
      'bad.gin:2: mathft_jax.data.tasks is now mathft_jax.data.seqio_tasks. Write '
      '`from mathft_jax.data import seqio_tasks` and `seqio_tasks.` instead of `tasks.`.',
    ),
    (
      'from mathft_jax import partitioning\n',
      'mathft_jax.partitioning is now mathft_jax.distributed.partitioning',
    ),
    (
      'from mathft_jax.data import examples\nX = @examples.Mixed()\n',
      'bad.gin:3: examples.Mixed is now examples.MixedExamples.',
    ),
    (
      'from mathft_jax import train\nssft/train.train.loss = 1\n',
      'bad.gin:3: train.train.loss is now train_config.OptimizationConfig.loss.',
    ),
    (
      'from mathft_jax import train\ntrain.train:\n  keep = 3\n',
      'train.train.keep is now train_config.CheckpointConfig.max_to_keep.',
    ),
    (
      'from mathft_jax import grade\ngrade.grade.workers = 3\n',
      'grade.grade.workers is now grade.grade.num_workers.',
    ),
    (
      "from mathft_jax.data import examples\nexamples.VerdictExamples.one_kind = 'skip'\n",
      'examples.VerdictExamples.one_kind is now '
      'examples.VerdictExamples.single_class_problems.',
    ),
  ],
)
def test_an_old_name_is_an_error_that_states_the_new_name(
  toy, tmp_path, capsys, text, message
):
  assert_gin_file_is_refused(toy, tmp_path, capsys, text, message)


def test_every_new_name_in_the_table_of_old_names_exists():
  path = pathlib.Path(entry_point.__file__).with_name('renamed_names.json')
  tables = json.loads(path.read_text())

  for new in tables['modules'].values():
    module = REPOSITORY / new.replace('.', '/')
    assert module.is_dir() or module.with_suffix('.py').exists(), new

  for old, new in tables['symbols'].items():
    module = old.rpartition('.')[0].replace('.', '/')
    files = (REPOSITORY / f'{module}.py', REPOSITORY / module / '__init__.py')
    [text] = [file.read_text() for file in files if file.exists()]
    assert re.search(rf'\b{new}\b', text), old
