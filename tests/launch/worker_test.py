"""worker.sh, what the machines of a TPU run, here on this machine with a home of its own."""

import pathlib
import subprocess
import time

import pytest

LAUNCH = pathlib.Path(__file__).parents[2] / 'launch'
COMMAND = [
  'bash',
  '-c',
  'echo "first: $1"; sleep 2; echo last; exit 7',
  'program',
  "a 'b' $HOME",
]


@pytest.fixture
def home(bench):
  yield bench
  bench.run('worker.sh', 'stop')


def start(home, *command):
  """A `run` that goes on by itself, once its command has begun."""
  env = {
    'PATH': f'{home.folder / "bin"}:{home.folder / "tools"}',
    'HOME': str(home.folder),
  }
  process = subprocess.Popen(
    ['bash', str(LAUNCH / 'worker.sh'), 'run', *command],
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  deadline = time.monotonic() + 20
  log = home.folder / 'mathft_jax_run' / 'log'
  while time.monotonic() < deadline and not (log.exists() and log.read_text()):
    time.sleep(0.05)
  return process


def test_run_shows_the_log_and_ends_with_the_status(home):
  done = home.run('worker.sh', 'run', *COMMAND)
  assert done.returncode == 7, done.stderr
  assert done.stdout == "first: a 'b' $HOME\nlast\n"


def test_after_a_lost_connection_the_same_run_follows_the_same_command(home):
  first = start(home, *COMMAND)
  first.kill()  # as sshd does when the connection is lost
  first.wait()
  assert home.run('worker.sh', 'running').returncode == 0
  again = home.run('worker.sh', 'run', *COMMAND)
  assert again.returncode == 7 and again.stdout.count('first') == 1
  assert 'following it' in again.stderr
  assert home.run('worker.sh', 'running').returncode == 1


def test_another_command_is_refused_while_one_runs_and_stop_ends_it(home):
  first = start(home, 'bash', '-c', 'echo up; sleep 60')
  other = home.run('worker.sh', 'run', 'echo', 'other')
  assert (
    other.returncode == 3
    and 'another command runs here: bash -c' in other.stderr
  )
  assert home.run('worker.sh', 'stop').returncode == 0
  _, errors = first.communicate(timeout=30)
  assert first.returncode == 1 and 'was killed' in errors
  assert home.run('worker.sh', 'run', 'echo', 'other').stdout == 'other\n'


def test_logs_are_those_of_all_commands_in_order(home):
  for word in ('one', 'two', 'three'):
    assert home.run('worker.sh', 'run', 'echo', word).returncode == 0
  assert home.run('worker.sh', 'logs').stdout.split()[-1] == 'three'
  assert sorted(home.run('worker.sh', 'logs').stdout.split()) == [
    'one',
    'three',
    'two',
  ]


def test_prepare_makes_an_environment_once_and_installs_the_project_with_extras(
  home,
):
  home.stub('python3')
  assert home.run('worker.sh', 'prepare', 'tpu,data').returncode == 0
  environment = home.folder / 'mathft_jax_env'
  install = [
    'python3',
    '-m',
    'uv',
    'pip',
    'install',
    '--python',
    f'{environment}/bin/python',
    '--editable',
    f'{LAUNCH.parent}[tpu,data]',
  ]
  assert home.calls == [
    ['python3', '-m', 'pip', 'install', '--quiet', '--user', '--upgrade', 'uv'],
    ['python3', '-m', 'uv', 'venv', '--python', '3.12', str(environment)],
    install,
  ]
  (environment / 'bin').mkdir(parents=True)
  (environment / 'bin' / 'python').touch(mode=0o755)
  assert home.run('worker.sh', 'prepare', 'tpu,data').returncode == 0
  assert len(home.called('venv')) == 1 and home.calls[-1] == install


def test_a_failed_installation_is_an_error(home):
  home.stub('python3')
  home.answer('uv venv', status=9)
  assert home.run('worker.sh', 'prepare').returncode == 9
  assert not home.called('--editable')
