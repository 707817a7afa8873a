"""config.gin is written when a folder is accepted, and what differs is told in one short line."""

import pytest

from mathft_jax.storage import run_config

OLD = """# python -m mathft_jax.train --gin_file=config.gin
from mathft_jax import train
# Macros:
LEARNING_RATE = 1e-05
MODEL = @models/transformer.TransformerConfig()
RULES = \\
    [1,
     2]
train.train.workdir = 'runs/x'
"""


@pytest.fixture(autouse=True)
def nothing_held():
  yield
  run_config.discard()


def test_differences_are_old_and_new_values_with_macros_first():
  new = OLD.replace('1e-05', '0.1').replace('     2', '     3')
  new = new.replace("'runs/x'", repr('y' * 200)) + 'NAME = 1\n'
  assert run_config.describe_differences(OLD, new) == (
    'LEARNING_RATE: 1e-05 -> 0.1; NAME: not set -> 1; RULES: [1, 2] -> [1, 3]; '
    f"train.train.workdir: 'runs/x' -> '{'y' * 59}..."
  )


def test_many_differences_are_counted():
  new = OLD
  for number in range(20):
    new += f'NAME_{number} = 1\n'
  text = run_config.describe_differences(OLD, new)
  assert text.endswith('; and 16 more') and len(text) < 200
  assert run_config.describe_differences(OLD, f'# \n{OLD}').startswith('only')


@pytest.mark.parametrize('folder', ['run', 'run/ssft', 'run/../run'])
def test_the_first_output_in_the_work_directory_writes_it(tmp_path, folder):
  run_config.hold(tmp_path / 'run', OLD)
  run_config.begin_output(tmp_path / 'running')
  run_config.begin_output(tmp_path)
  assert not (tmp_path / 'run').exists()
  run_config.begin_output(tmp_path / folder)
  assert (tmp_path / 'run/config.gin').read_text() == OLD


def test_complete_output_keeps_its_config(tmp_path):
  run_config.hold(tmp_path, OLD)
  run_config.keep_existing(tmp_path)  # there is none yet
  run_config.write()
  run_config.hold(tmp_path, OLD + 'NAME = 1\n')
  run_config.keep_existing(tmp_path / 'ssft')
  run_config.keep_existing(tmp_path)
  run_config.write()
  assert [path.name for path in tmp_path.iterdir()] == ['config.gin']
  assert (tmp_path / 'config.gin').read_text() == OLD
