"""local.sh with real processes: small shell programs in the place of ours."""

import os
import shlex
import signal
import subprocess
import time

import pytest

from tests.launch import conftest


@pytest.fixture
def script(bench):
  """A program that does what `text` says; $index is its --process_index."""

  def write(text):
    path = bench.folder / 'bin' / 'program'
    path.write_text(
      '#!/bin/bash\nindex=${@: -1}; index=${index##*=}\n' + text + '\n'
    )
    path.chmod(0o755)
    return bench

  return write


def test_each_process_gets_the_coordinator_the_count_and_its_index(script):
  bench = script(r"""printf '%s|' "$@" >"got.$index" """)
  done = bench.run(
    'local.sh',
    '--processes=3',
    '--port=1234',
    '--',
    'program',
    '--gin.NAME=a b',
    "--gin.X='q'",
  )
  assert done.returncode == 0, done.stderr
  for index in range(3):
    assert (bench.folder / f'got.{index}').read_text().split('|') == [
      '--gin.NAME=a b',
      "--gin.X='q'",
      '--coordinator_address=localhost:1234',
      '--process_count=3',
      f'--process_index={index}',
      '',
    ]


def test_one_process_gets_no_flags_and_may_have_devices_of_its_own(script):
  bench = script('echo "$# $JAX_PLATFORMS $XLA_FLAGS"')
  done = bench.run(
    'local.sh', '--devices=4', '--', 'program', XLA_FLAGS='--xla_other=1'
  )
  assert (
    done.stdout
    == '[0] 0 cpu --xla_other=1 --xla_force_host_platform_device_count=4\n'
  )


def test_gpus_are_dealt_out_in_turn(script):
  bench = script('echo "$CUDA_VISIBLE_DEVICES"')
  done = bench.run('local.sh', '--processes=2', '--gpus=2', '--', 'program')
  assert sorted(done.stdout.splitlines()) == ['[0] 0,1', '[1] 2,3']


def test_all_lines_are_labelled_also_the_last_without_an_end(script):
  bench = script('printf "one\\ntwo" >&2')
  assert bench.run('local.sh', '--', 'program').stdout == '[0] one\n[0] two\n'


def test_a_failed_process_ends_the_others_and_gives_the_status(script):
  bench = script(
    'trap "touch ended.$index; exit 1" TERM\n'
    'if [[ $index == 1 ]]; then sleep 0.5; exit 7; fi\n'
    'for _ in {1..300}; do sleep 0.1; done; touch finished'
  )
  start = time.monotonic()
  done = bench.run('local.sh', '--processes=3', '--', 'program')
  assert done.returncode == 7 and 'process 1 ended with status 7' in done.stderr
  assert time.monotonic() - start < 25
  assert {path.name for path in bench.folder.glob('ended.*')} == {
    'ended.0',
    'ended.2',
  }
  assert not (bench.folder / 'finished').exists()


@pytest.mark.parametrize('lost', [75, 134])
def test_the_status_is_that_of_the_process_that_failed_first(script, lost):
  bench = script(
    'if [[ $index == 1 ]]; then echo $$ >pid; sleep 0.3; exit 7; fi\n'
    'until [[ -s pid ]]; do sleep 0.05; done\n'
    f'while kill -0 "$(cat pid)" 2>/dev/null; do sleep 0.01; done; exit {lost}'
  )
  done = bench.run('local.sh', '--processes=3', '--', 'program')
  assert done.returncode == 7 and 'process 1 ended with status 7' in done.stderr


def _default_hangup():
  """libtpu ignores SIGHUP in processes that compile for TPUs; no shell can trap it then."""
  signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _start(bench, *arguments):
  """Starts local.sh in a process group of its own; returns it."""
  path = f'{bench.folder / "bin"}:{bench.folder / "tools"}'
  return subprocess.Popen(
    ['bash', str(conftest.LAUNCH / 'local.sh'), *arguments],
    env={'PATH': path, 'HOME': str(bench.folder)},
    cwd=bench.folder,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    start_new_session=True,
    preexec_fn=_default_hangup,
  )


def _wait_for(paths):
  end = time.monotonic() + 30
  while not all(path.exists() and path.read_text() for path in paths):
    assert time.monotonic() < end, paths
    time.sleep(0.02)


def _runs(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True


@pytest.mark.parametrize(
  'number, status',
  [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_after_a_signal_no_process_is_left(script, number, status):
  # Each process has a child that does not know of the signal, and says a last line.
  bench = script(
    'sleep 60 & echo $! >child.$index\n'
    'trap "sleep 0.3; echo saved $index; exit 75" TERM INT\n'
    'echo $$ >parent.$index\nwhile true; do sleep 0.05; done'
  )
  files = [
    bench.folder / f'{name}.{index}'
    for name in ('child', 'parent')
    for index in range(2)
  ]
  started = _start(bench, '--processes=2', '--', 'program')
  _wait_for(files)
  started.send_signal(number)
  for pause in (0, 0, 0.002, 0.01, 0.1):
    time.sleep(pause)
    started.send_signal(number)  # more signals do not end the clean-up
  output, _ = started.communicate(timeout=30)
  assert started.returncode == status, output
  assert '[0] saved 0' in output and '[1] saved 1' in output
  assert not [path.name for path in files if _runs(int(path.read_text()))]


def test_a_dry_run_prints_commands_that_can_be_pasted(script):
  bench = script('touch ran')
  done = bench.run(
    'local.sh',
    '--processes=2',
    '--port=9',
    '--devices=2',
    '--dry_run',
    '--',
    'program',
    '--gin.NAME=a b',
  )
  assert [shlex.split(line) for line in done.stdout.splitlines()] == [
    [
      'env',
      'JAX_PLATFORMS=cpu',
      'XLA_FLAGS=--xla_force_host_platform_device_count=2',
      'program',
      '--gin.NAME=a b',
      '--coordinator_address=localhost:9',
      '--process_count=2',
      f'--process_index={index}',
    ]
    for index in range(2)
  ]
  assert not (bench.folder / 'ran').exists()


@pytest.mark.parametrize(
  'flags',
  [
    (),
    ('--processes=two', '--', 'x'),
    ('--processes=0', '--', 'x'),
    ('--process=2', '--', 'x'),
  ],
)
def test_a_wrong_command_line_starts_nothing(bench, flags):
  assert bench.run('local.sh', *flags).returncode == 2


def test_a_program_that_does_not_exist_is_an_error(bench):
  assert (
    bench.run('local.sh', '--processes=2', '--', 'no_such_program').returncode
    == 127
  )
