"""SIGTERM and SIGINT: what is saved, what is printed, the exit status, and how a run resumes."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

REPOSITORY = pathlib.Path(__file__).parent.parent.parent
SECONDS = 200
TRAIN = (
  '-m',
  'mathft_jax.train',
  '--gin_file=models/dials.gin',
  '--gin_file=data/generated.gin',
  '--gin_file=stages/ssft.gin',
  '--gin.INITIAL_CHECKPOINT_PATH=random',
  '--gin.TENSORBOARD=False',
  '--gin.dial_problems.DialProblems.num_train=16',
  '--gin.BATCH_SIZE=8',
  '--gin.MAX_LENGTH=64',
  '--gin.WARMUP_STEPS=1',
)
QUICK = {
  'XLA_FLAGS': os.environ['XLA_FLAGS']  # the last of two flags holds
  + ' --xla_force_host_platform_device_count=1',
  'JAX_DISABLE_MOST_OPTIMIZATIONS': 'true',
}
# Steps take 50 ms, so that a signal comes between the first and the last one.
SLOW = """
import runpy, sys, time
from mathft_jax.distributed import stop_signals
stop_signals.install('train.train')
from mathft_jax.training import train_loop
check = train_loop.metrics_lib.check_batch_has_targets
def slow(*arguments):
  time.sleep(0.05)
  return check(*arguments)
train_loop.metrics_lib.check_batch_has_targets = slow
runpy.run_module('mathft_jax.train', run_name='__main__', alter_sys=True)
"""


def start(arguments, log, **environment):
  with log.open('w') as output:
    return subprocess.Popen(
      [sys.executable, *arguments],
      cwd=REPOSITORY,
      env=os.environ | QUICK | environment,
      stdin=subprocess.DEVNULL,
      stdout=output,
      stderr=subprocess.STDOUT,
    )


def wait_for(process, log, text):
  end = time.monotonic() + SECONDS
  while text not in log.read_text():
    assert process.poll() is None, log.read_text()
    assert time.monotonic() < end, log.read_text()
    time.sleep(0.02)


def train_arguments(workdir, steps):
  return [
    *TRAIN[2:],
    f'--gin.MODEL_DIR={workdir}',
    f'--gin.TRAIN_STEPS={steps}',
  ]


def metric_lines(workdir):
  """The lines of metrics.jsonl without times, memory and compilations."""
  import json

  kept = []
  for line in (workdir / 'metrics.jsonl').read_text().splitlines():
    record = json.loads(line)
    kept.append(
      {
        name: value
        for name, value in record.items()
        if name in ('step', 'split', 'loss', 'gradient_norm', 'learning_rate')
      }
    )
  return kept


def test_sigterm_saves_at_once_and_the_run_resumes_to_the_same_parameters(
  tmp_path,
):
  log = tmp_path / 'log'
  stopped = tmp_path / 'stopped'
  process = start(['-c', SLOW, *train_arguments(stopped, 60)], log)
  wait_for(process, log, 'first step done')
  time.sleep(0.3)
  for _ in range(2):  # the second one changes nothing
    process.send_signal(signal.SIGTERM)
    time.sleep(0.01)
  assert process.wait(SECONDS) == 75, log.read_text()
  output = log.read_text()
  assert 'train.train: SIGTERM: saving a checkpoint, then stopping.' in output
  assert 'is saved. Run the same command again to resume.' in output
  assert 'Traceback' not in output
  [saved] = [
    int(path.name)
    for path in (stopped / 'checkpoints').iterdir()
    if path.name.isdigit()
  ]
  assert 1 < saved < 60
  assert not (stopped / 'run.lock').exists()

  process = start(
    ['-m', 'mathft_jax.train', *train_arguments(stopped, 60)], log
  )
  assert process.wait(SECONDS) == 0, log.read_text()
  assert f'at step {saved}' in log.read_text()
  whole = tmp_path / 'whole'
  process = start(['-m', 'mathft_jax.train', *train_arguments(whole, 60)], log)
  assert process.wait(SECONDS) == 0, log.read_text()

  from mathft_jax import checkpoints

  left = checkpoints.read_metadata(stopped / 'checkpoints' / '60')
  right = checkpoints.read_metadata(whole / 'checkpoints' / '60')
  assert left == right  # with the checksums of all arrays
  assert metric_lines(stopped) == metric_lines(whole)


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes_stops_both_at_the_same_step(
  start_processes, tmp_path
):
  arguments = train_arguments(tmp_path / 'run', 200)
  started = start_processes(2, 1, ['-c', SLOW, *arguments])
  started.wait_for(0, 'first step done', SECONDS)
  time.sleep(0.5)
  started.processes[1].send_signal(signal.SIGTERM)
  first, second = started.ended(SECONDS)
  assert first.status == second.status == 75, first.output + second.output
  assert 'process 1 (' in first.output
  assert 'is saved. Run the same command again to resume.' in first.output
  assert 'Traceback' not in first.output + second.output
  [saved] = (tmp_path / 'run' / 'checkpoints').glob('[0-9]*')

  # One process resumes from what two have saved.
  log = tmp_path / 'log'
  steps = int(saved.name) + 1
  arguments = train_arguments(tmp_path / 'run', steps)
  process = start(['-m', 'mathft_jax.train', *arguments], log)
  assert process.wait(SECONDS) == 0, log.read_text()
  assert f'at step {saved.name}' in log.read_text()


@pytest.mark.parametrize(
  'number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 75)]
)
@pytest.mark.parametrize('moment', ['imports', 'compiling'])
def test_a_signal_before_the_first_step_ends_with_one_line(
  tmp_path, number, status, moment
):
  log = tmp_path / 'log'
  arguments = ['-m', 'mathft_jax.train', *train_arguments(tmp_path / 'run', 9)]
  process = start(
    arguments,
    log,
    JAX_ENABLE_COMPILATION_CACHE='false',
    PYTHONPROFILEIMPORTTIME='1' if moment == 'imports' else '',
  )
  if moment == 'imports':
    wait_for(process, log, ' numpy\n')  # jax comes next
  else:
    wait_for(process, log, 'Initializing random parameters')
    time.sleep(0.5)
  process.send_signal(number)
  assert process.wait(60) == status, log.read_text()
  own_lines = []
  for line in log.read_text().splitlines():
    if line.startswith(('train', 'Traceback', '  File', 'Fatal')):
      own_lines.append(line)
  assert len(own_lines) == 1, own_lines
  assert own_lines[0].endswith('Run the same command again to resume.')
  assert not (tmp_path / 'run' / 'run.lock').exists()
