"""Compiled programs are stored in the user's cache directory, elsewhere, or not at all."""

import os
import pathlib
import subprocess
import sys

import pytest

from mathft_jax.config import compilation_cache

REPOSITORY = pathlib.Path(__file__).parents[2]
PROGRAM = """
from mathft_jax.config import compilation_cache
from mathft_jax.monitoring import progress
import jax
if {flag!r}:
  compilation_cache.set_folder({flag!r})
compilation_cache.use_default_folder()
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
counter = progress.CompilationCounter()
jax.jit(lambda x: x * 2 + 1)(3.0).block_until_ready()
print(counter.describe())
"""


def compile_in_new_process(home: pathlib.Path, flag: str = '') -> str:
  """What the counter says after one compilation."""
  environment = {'PYTHONPATH': str(REPOSITORY), 'HOME': str(home)}
  environment['JAX_PLATFORMS'] = 'cpu'
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM.format(flag=flag)],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  assert 'rror' not in done.stderr
  return done.stdout


def test_a_second_process_reads_what_the_first_has_compiled(tmp_path):
  assert 'read from the cache' not in compile_in_new_process(tmp_path)
  folder, *others = tmp_path.glob('.cache/mathft_jax/compiled/*')
  assert not others and any(folder.iterdir())
  assert 'read from the cache' in compile_in_new_process(tmp_path)


def test_a_flag_switches_the_cache_off(tmp_path):
  compile_in_new_process(tmp_path, compilation_cache.OFF)
  assert not list(tmp_path.rglob('*-cache'))


def test_the_oldest_files_are_deleted(tmp_path):
  for age in range(4):
    path = tmp_path / str(age)
    path.write_bytes(bytes(10))
    os.utime(path, (1e9 - age, 1e9 - age))
  compilation_cache.delete_oldest_files(tmp_path, max_bytes=25)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['0', '1']


def test_a_folder_that_cannot_be_made_is_told(tmp_path, monkeypatch, caplog):
  (tmp_path / 'mathft_jax').write_text('a file')
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.delenv(compilation_cache.FOLDER_VARIABLE)
  compilation_cache.use_default_folder()
  assert '--compilation_cache_dir' in caplog.text
  assert compilation_cache.FOLDER_VARIABLE not in os.environ


@pytest.mark.parametrize('variable', ['flags', 'Features'])
def test_folders_differ_by_the_instructions_of_the_cpu(
  monkeypatch, tmp_path, variable
):
  folders = set()
  for features in ('sse avx2', 'sse avx2 avx512f'):
    monkeypatch.setattr(
      pathlib.Path, 'read_text', lambda self: f'{variable}\t: {features}\n'
    )
    folders.add(compilation_cache.default_folder())
  assert len(folders) == 2
