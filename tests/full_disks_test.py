"""Disks that are full or read-only, and paths that cannot be output folders."""

import asyncio
import gc
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from mathft_jax.config import entry_point
from mathft_jax.storage import write_errors
from tests import train_test

REPOSITORY = pathlib.Path(__file__).parent.parent
GIB = 1 << 30
TRAIN = (
  '--gin_file=models/dials.gin',
  '--gin_file=data/generated.gin',
  '--gin_file=stages/ssft.gin',
  '--gin.INITIAL_CHECKPOINT_PATH=random',
  '--gin.TENSORBOARD=False',
  '--gin.dial_problems.DialProblems.num_train=16',
  '--gin.BATCH_SIZE=8',
  '--gin.MAX_LENGTH=64',
  '--gin.WARMUP_STEPS=1',
  '--gin.TRAIN_STEPS=4',
)
# Files of more than this many bytes cannot be written.
LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
runpy.run_module('mathft_jax.train', run_name='__main__', alter_sys=True)
"""


def test_free_space_is_checked_before_a_save_and_earlier_checkpoints_stay(
  tmp_path, monkeypatch
):
  saves = []

  def free_bytes(folder):
    saves.append(folder)
    return GIB if len(saves) < 4 else 1000  # start, steps 2 and 4

  monkeypatch.setattr(write_errors, 'free_bytes', free_bytes)
  with pytest.raises(
    ValueError,
    match=r'run/checkpoints needs \S+ GiB for the next checkpoint, and 9.31e-07 GiB are free',
  ):
    train_test.train(tmp_path / 'run', checkpoint_period=2)
  saved = [path.name for path in (tmp_path / 'run/checkpoints').iterdir()]
  assert sorted(saved) == ['2', '4']

  monkeypatch.undo()
  path = train_test.train(tmp_path / 'run', checkpoint_period=2)
  whole = train_test.train(tmp_path / 'whole', checkpoint_period=2)
  train_test.assert_same(path, whole)


def test_a_disk_without_room_for_one_checkpoint_is_refused_before_any_work(
  tmp_path, monkeypatch
):
  def refuse(split):
    raise AssertionError('examples were read')

  refuse.group_size = 1
  monkeypatch.setattr(write_errors, 'free_bytes', lambda folder: 1000)
  with pytest.raises(ValueError, match='are free. Make room'):
    train_test.train(tmp_path, examples=refuse)


def run_train(*head, workdir, **settings):
  return subprocess.run(
    [sys.executable, *head, *TRAIN, f'--gin.MODEL_DIR={workdir}'],
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
    env=os.environ
    | {
      'JAX_DISABLE_MOST_OPTIMIZATIONS': 'true',
      'JAX_ENABLE_COMPILATION_CACHE': 'false',
      'XLA_FLAGS': os.environ['XLA_FLAGS']  # the last of two flags holds
      + ' --xla_force_host_platform_device_count=1',
    },
    **settings,
  )


def assert_one_line(done, *texts):
  assert done.returncode == 1, done.stderr
  assert 'Traceback' not in done.stderr
  last = done.stderr.strip().splitlines()[-1]
  assert last.startswith('train.train: ')
  for text in texts:
    assert text in last


@pytest.mark.slow
def test_a_write_that_fails_is_one_line_and_the_run_resumes_after_room_is_made(
  tmp_path,
):
  workdir = tmp_path / 'run'
  done = run_train('-c', LIMITED, workdir=workdir)
  assert done.returncode == 1, done.stderr
  assert f'train.train: {workdir}/checkpoints/' in done.stderr
  assert 'File too large. Such large files' in done.stderr
  assert 'thread=' not in done.stderr  # what orbax logs in its threads
  assert 'never retrieved' not in done.stderr  # what asyncio logs of its tasks
  assert not [
    path for path in workdir.glob('checkpoints/*') if path.name.isdigit()
  ]
  done = run_train('-m', 'mathft_jax.train', workdir=workdir)
  assert done.returncode == 0, done.stderr


def _fail_in(filename):
  """Raises an error in a function that a file of this name seems to define."""
  names = {}
  source = "async def save():\n  raise ValueError('No space left')"
  exec(compile(source, filename, 'exec'), names)
  return names['save']()


@pytest.mark.parametrize(
  'filename, is_shown',
  [('/x/orbax/checkpoint/handlers.py', False), ('/x/mine.py', True)],
)
def test_a_task_of_a_save_that_nobody_awaits_prints_nothing(filename, is_shown):
  shown = []
  handler = logging.Handler()
  handler.addFilter(entry_point._is_shown)  # of the handler of programs
  handler.emit = shown.append
  logging.getLogger('asyncio').addHandler(handler)

  async def start():
    task = asyncio.create_task(_fail_in(filename))
    await asyncio.sleep(0)
    del task

  asyncio.run(start())
  gc.collect()
  logging.getLogger('asyncio').removeHandler(handler)
  messages = [record.getMessage() for record in shown]
  assert any('never retrieved' in text for text in messages) == is_shown


def test_a_folder_without_permission_is_one_line(tmp_path):
  if os.getuid() == 0:
    pytest.skip('root may write everywhere; run the tests as another user')
  tmp_path.chmod(0o500)
  done = run_train('-m', 'mathft_jax.train', workdir=tmp_path / 'run')
  tmp_path.chmod(0o700)
  assert_one_line(done, str(tmp_path), 'no permission')


@pytest.mark.skipif(not os.access('/proc/self', os.R_OK), reason='needs Linux')
def test_a_folder_that_no_account_can_write_is_one_line():
  done = run_train('-m', 'mathft_jax.train', workdir='/proc/self/task/run')
  assert_one_line(done, '/proc/self/task/run')


@pytest.mark.parametrize(
  'error, text',
  [
    (OSError(28, 'No space left on device', '/dev/full'), 'The disk is full'),
    (OSError(30, 'Read-only file system', '/x'), 'read-only'),
    (OSError(20, 'Not a directory', '/x'), 'is a file'),
    (
      ValueError('RESOURCE_EXHAUSTED: No space left on device [x]'),
      'disk is full',
    ),
    (KeyError('hole'), ''),
  ],
)
def test_errors_of_file_systems_have_an_explanation(error, text):
  line = write_errors.explain(error)
  assert text in line and '\n' not in line
  assert bool(line) == bool(text)


def test_a_real_full_device_is_explained():
  if not pathlib.Path('/dev/full').exists():
    pytest.skip('needs /dev/full')
  with pytest.raises(OSError) as found, open('/dev/full', 'w') as file:
    file.write('x')
    file.flush()
  line = write_errors.explain(found.value, '/dev/full')
  assert line.startswith('/dev/full: No space left on device. The disk is full')
  free = shutil.disk_usage('/dev').free / GIB
  assert f'{free:.3g} GiB are free' in line
