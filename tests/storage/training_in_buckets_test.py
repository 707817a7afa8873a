"""Trainings whose workdir is in a bucket: killed, gone on with, refused before time is wasted."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints
from mathft_jax.monitoring import metrics

pytestmark = pytest.mark.usefixtures('quick_compiles')
# The same in other processes.
QUICK = {'JAX_DISABLE_MOST_OPTIMIZATIONS': 'true'}
TESTS = pathlib.Path(__file__).parent.parent
RUN = """
import sys
sys.path.insert(0, {tests!r})
import train_test
train_test.train({workdir!r}, checkpoint_period=2, log_period=1)
"""


TRAIN = (
  '-m',
  'mathft_jax.train',
  '--gin_file=models/dials.gin',
  '--gin_file=data/generated.gin',
  '--gin_file=stages/ssft.gin',
  '--gin.INITIAL_CHECKPOINT_PATH=random',
  '--gin.TENSORBOARD=False',
  '--gin.dial_problems.DialProblems.num_train=16',
  '--gin.TRAIN_STEPS=4',
  '--gin.BATCH_SIZE=8',
  '--gin.MAX_LENGTH=64',
  '--gin.WARMUP_STEPS=1',
  '--gin.train_config.LoopConfig.checkpoint_period=2',
  '--gin.train_config.LoopConfig.log_period=1',
)


@pytest.fixture
def train_test(monkeypatch):
  """The trainings of tests/train_test.py, of a few hundred parameters and six steps."""
  monkeypatch.syspath_prepend(str(TESTS))
  import train_test

  return train_test


def logged_steps(objects):
  return [
    json.loads(line)['step']
    for line in objects['run/metrics.jsonl'].content.splitlines()
  ]


def kill_at(bucket_server, workdir, uploaded):
  """Starts the training, and kills it when it is about to write that object."""
  process = subprocess.Popen(
    [sys.executable, '-c', RUN.format(tests=str(TESTS), workdir=workdir)],
    cwd=TESTS.parent,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | QUICK,
  )

  def kill(method, name):
    if method == 'POST' and name.endswith(uploaded):
      os.kill(process.pid, signal.SIGKILL)
      process.wait()

  bucket_server[0].watch = kill
  assert process.wait() == -signal.SIGKILL, process.stderr.read()
  bucket_server[0].watch = lambda method, name: None


@pytest.mark.slow
def test_a_training_killed_while_it_saves_ends_with_the_same_bytes(
  bucket, bucket_server, tmp_path, train_test
):
  workdir = f'{bucket[0]}/run'
  kill_at(bucket_server, workdir, 'run/checkpoints/4/commit_success.txt')
  assert 'run/checkpoints/4/params/commit_success.txt' in bucket[1]
  assert (
    str(checkpoints.resolve_checkpoint(workdir)) == f'{workdir}/checkpoints/2'
  )
  # It may have been at a later step already.
  assert logged_steps(bucket[1])[:4] == [
    1,
    2,
    3,
    4,
  ]
  done = train_test.train(workdir, checkpoint_period=2, log_period=1)
  assert str(done) == f'{workdir}/checkpoints/6'
  assert logged_steps(bucket[1]) == [1, 2, 3, 4, 5, 6]
  assert {
    name.split('/')[2] for name in bucket[1] if 'checkpoints' in name
  } == {'4', '6'}
  train_test.assert_same(done, train_test.train(tmp_path / 'whole'))


@pytest.mark.slow
def test_two_processes_train_in_a_bucket_by_way_of_the_launcher(
  bucket, bucket_server
):
  done = subprocess.run(
    [
      'bash',
      TESTS.parent / 'launch' / 'local.sh',
      '--processes=2',
      '--devices=2',
      '--',
      sys.executable,
      *TRAIN,
      f'--gin.MODEL_DIR={bucket[0]}/run',
    ],
    cwd=TESTS.parent,
    capture_output=True,
    text=True,
    timeout=300,
    env=os.environ | QUICK,
  )
  assert done.returncode == 0, done.stderr + done.stdout
  assert logged_steps(bucket[1]) == [1, 2, 3, 4]
  assert {
    name.split('/')[2] for name in bucket[1] if 'checkpoints' in name
  } == {'2', '4'}
  path = f'{bucket[0]}/run'
  params = checkpoints.load_params(path, checkpoints.load_abstract_params(path))
  assert all(
    np.isfinite(each).all() and np.any(each) for each in jax.tree.leaves(params)
  )


@pytest.mark.slow
def test_the_next_stage_starts_from_a_checkpoint_in_a_bucket(
  bucket, train_test
):
  first = train_test.train(f'{bucket[0]}/first')
  second = train_test.train(
    f'{bucket[0]}/second',
    init_from=first,
    train_steps=7,
    output_checkpoint='best',
    eval_period=3,
  )
  assert str(second).startswith(f'{bucket[0]}/second/checkpoints/')
  found = checkpoints.read_metadata(second)
  assert found['settings']['init_from'] == str(first)


def test_lines_and_events_are_in_the_bucket_when_a_checkpoint_is_saved(bucket):
  pytest.importorskip('clu')
  with metrics.MetricWriter(f'{bucket[0]}/run', start_step=0) as writer:
    writer.write(1, 'train', {'loss': 2.0})
    writer.copy()
    assert logged_steps(bucket[1]) == [1]
    events = [name for name in bucket[1] if 'tfevents' in name]
    assert len(events) == 1
    size = len(bucket[1][events[0]].content)
    writer.write(2, 'train', {'loss': 1.0})
  assert logged_steps(bucket[1]) == [1, 2]
  assert len(bucket[1][events[0]].content) > size
  with metrics.MetricWriter(
    f'{bucket[0]}/run', start_step=1, tensorboard=False
  ):
    assert logged_steps(bucket[1]) == [1]


def test_lines_are_not_copied_again_and_again(bucket, bucket_server):
  with metrics.MetricWriter(
    f'{bucket[0]}/run', start_step=0, tensorboard=False
  ) as writer:
    before = len(bucket_server[0].calls)
    for step in range(50):
      writer.write(step, 'train', {'loss': 2.0})
    assert len(bucket_server[0].calls) == before
  assert logged_steps(bucket[1]) == list(np.arange(50))
