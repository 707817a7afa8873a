"""Several real processes: they start, refuse inconsistent settings, and stop together."""

import contextlib
import os
import signal
import socket
import time

import pytest

SECONDS = 120  # far more than processes need to import jax on a busy machine
HEARTBEAT = '--heartbeat_timeout_s=6'
# Exit statuses if another process is lost: ours, or SIGABRT by jax.
LOST = (75, -signal.SIGABRT)


@pytest.fixture
def start(start_processes, tmp_path):
  """start(actions, *flags, count=2, devices=1, flags_of={index: flags}): a StartedProcesses."""

  def start(actions, *flags, count=2, devices=1, flags_of=None, **settings):
    def arguments(index):
      return [
        '-m',
        'process_actions',
        f'--gin.process_actions.run.workdir={tmp_path / "work"}',
        f'--gin.process_actions.run.actions={actions}',
        *flags,
        *((flags_of or {}).get(index, ())),
      ]

    return start_processes(count, devices, arguments, **settings)

  return start


def test_all_processes_share_their_devices_and_only_the_primary_logs(start):
  started = start('all:add_up,all:print_mesh', count=4, devices=2)
  ended = started.ended(SECONDS)
  primary, *others = [each.output for each in ended]
  assert [each.status for each in ended] == [0] * 4
  for output in (primary, *others):
    assert 'the sum is 28' in output  # 0 + 1 + ... + 7
    assert 'mesh [[0, 0], [1, 1], [2, 2], [3, 3]]' in output
  assert '4 processes on 1 hosts' in primary
  assert (
    '8 devices (cpu), 2 in each of 4 processes; mesh data 8 x model 1'
    in primary
  )
  assert 'process_actions.run: done by 4' in primary
  assert not any('done by' in output for output in others)
  assert 'W process 2: started' in others[1]


def test_the_config_is_the_only_file_that_the_start_leaves(start, tmp_path):
  assert {each.status for each in start('all:add_up').ended(SECONDS)} == {0}
  assert [path.name for path in (tmp_path / 'work').iterdir()] == ['config.gin']


@pytest.mark.parametrize('dead', [0, 1])
def test_a_process_killed_in_a_step_stops_the_others(start, dead):
  started = start('all:add_forever', HEARTBEAT, count=3)
  for index in range(3):
    started.wait_for(index, 'the sum is 3', SECONDS)
  started.processes[dead].send_signal(signal.SIGKILL)
  killed = time.monotonic()
  ended = started.ended(SECONDS)
  assert time.monotonic() - killed < 60
  for index in {0, 1, 2} - {dead}:
    assert ended[index].status in LOST
    assert (
      'Run the same command again to resume.' in ended[index].output
      or 'another task died' in ended[index].output
    )


@pytest.mark.parametrize('stopped', [0, 1])
def test_a_process_that_hangs_stops_the_others_after_the_heartbeat_timeout(
  start, stopped
):
  started = start('all:add_forever', HEARTBEAT)
  for index in range(2):
    started.wait_for(index, 'the sum is 1', SECONDS)
  started.processes[stopped].send_signal(signal.SIGSTOP)
  began = time.monotonic()
  assert started.processes[1 - stopped].wait(SECONDS) in LOST
  assert time.monotonic() - began < 60
  output = started.output(1 - stopped)
  assert 'Run the same command again' in output or 'another task died' in output
  started.kill()


@pytest.mark.parametrize('dead', [0, 1])
def test_a_process_killed_in_the_shutdown_stops_the_others(start, dead):
  started = start(f'all:add_up,{dead}:die_in_shutdown', HEARTBEAT)
  ended = started.ended(SECONDS)
  assert ended[dead].status == -9
  assert ended[1 - dead].status in LOST


@pytest.mark.parametrize('action', ['add_forever', 'sleep_long'])
def test_sigterm_stops_a_process_at_once_and_then_the_others(start, action):
  started = start(f'all:{action}', HEARTBEAT)
  text = 'the sum is 1' if action == 'add_forever' else 'sleeping'
  for index in range(2):
    started.wait_for(index, text, SECONDS)
  started.processes[1].send_signal(signal.SIGTERM)
  first, second = started.ended(SECONDS)
  assert first.status == second.status == 75
  assert 'process_actions.run: stopped by SIGTERM' in second.output
  assert 'process 0 of 2: process 1 (' in first.output


def test_invalid_input_of_one_process_stops_all_with_the_reason(start):
  first, second = start('0:sleep_long,1:refuse').ended(SECONDS)
  assert first.status == second.status == 1
  assert second.output.splitlines()[-1].startswith(
    'process_actions.run: Partitioner: num_partitions = 7 does'
  )
  last = first.output.splitlines()[-1]
  assert last.startswith('process 0 of 2: process 1 (')
  assert 'num_partitions = 7 does not' in last


def test_an_error_of_all_processes_is_reported_in_full_by_the_primary(start):
  first, second = start('all:refuse').ended(SECONDS)
  assert first.status == second.status == 1
  assert first.output.splitlines()[-1].startswith(
    'process_actions.run: Partitioner: num_partitions = 7 does'
  )
  assert second.output.splitlines()[-1].startswith(
    'process 1 of 2: process 0 ('
  )


def test_processes_that_read_different_data_are_refused(start):
  first, second = start('all:compare_indices,all:wait').ended(SECONDS)
  assert first.status == second.status == 1
  for each in (first, second):
    assert 'The number: process 1 has 1, process 0 has 0.' in each.output


def test_an_unexpected_error_of_one_process_stops_all(start):
  first, second = start('0:crash,1:wait').ended(SECONDS)
  assert first.status == second.status == 1
  assert "KeyError: 'a hole'" in first.output and 'Traceback' in first.output
  assert "stopped: KeyError: 'a hole'" in second.output
  assert 'Traceback' not in second.output


@pytest.mark.slow
def test_a_process_that_never_starts_ends_the_wait_of_the_others(start):
  started = start(
    'all:add_up', '--start_timeout_s=10', count=3, flags_of={2: ['--help']}
  )
  for each in started.ended(SECONDS)[:2]:
    assert each.status == 75
    assert 'not all of 3 processes connected to process 0 at' in each.output
    assert 'Traceback' not in each.output and '***' not in each.output


def test_a_primary_process_that_never_starts_is_named_with_its_address(start):
  started = start('all:add_up', '--start_timeout_s=2', flags_of={0: ['--help']})
  _, ended = started.ended(SECONDS)
  assert ended.status == 75
  assert 'connected to process 0 at localhost:' in ended.output


def test_other_clients_at_the_port_do_not_disturb_the_run(start):
  started = start('all:sleep_long')
  host, port = started.address.split(':')
  silent = _connect(host, int(port))
  started.wait_for(0, 'sleeping', SECONDS)
  for garbage in (
    b'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    b'\xff\x00' * 99,
    b'7\n',
    b'[' * 9999 + b'\n',
  ):
    with (
      _connect(host, int(port)) as stranger,
      contextlib.suppress(OSError),  # the server closes the connection
    ):
      stranger.sendall(garbage)
      stranger.shutdown(socket.SHUT_WR)
      stranger.recv(99)
  assert [process.poll() for process in started.processes] == [None, None]
  assert not any('Exception' in started.output(index) for index in (0, 1))
  silent.close()


def test_a_second_primary_process_is_refused_and_the_run_continues(start):
  started = start('all:sleep_long')
  started.wait_for(0, 'sleeping', SECONDS)
  flags = [
    f'--coordinator_address={started.address}',
    '--process_count=2',
    '--process_index=0',
  ]
  [second] = start('all:sleep_long', *flags, count=1).ended(SECONDS)
  assert second.status == 1 and 'is already running' in second.output
  assert [process.poll() for process in started.processes] == [None, None]


def _connect(host, port):
  end = time.monotonic() + SECONDS
  while True:
    try:
      return socket.create_connection((host, port), timeout=SECONDS)
    except ConnectionRefusedError:  # not listening yet
      assert time.monotonic() < end
      time.sleep(0.05)


@pytest.mark.parametrize(
  'flags_of, message',
  [
    (
      {1: ['--gin.process_actions.run.actions=all:sleep']},
      'has another configuration than process 0',
    ),
    ({1: ['--process_count=3']}, 'has another process count than process 0'),
    (
      {1: ['--gin.process_actions.run.workdir=elsewhere']},
      "workdir = 'elsewhere'",
    ),
  ],
)
def test_processes_with_different_settings_are_refused(
  start, flags_of, message, tmp_path
):
  for each in start('all:add_up', flags_of=flags_of).ended(SECONDS):
    assert each.status == 1 and message in each.output
  assert not (tmp_path / 'work').exists()


def test_processes_with_different_numbers_of_devices_are_refused(start):
  started = start(
    'all:add_up',
    environment=lambda index: {
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={1 + index}'
    },
  )
  for each in started.ended(SECONDS):
    assert each.status == 1
    assert 'process 0 has 1, process 1 has 2' in each.output


@pytest.mark.slow
def test_a_workdir_that_is_not_shared_is_refused(start, tmp_path):
  """A relative path in two working directories stands for two mounts with one name."""
  for name in ('0', '1'):
    (tmp_path / name).mkdir()
  started = start(
    'all:add_up',
    '--gin.process_actions.run.workdir=runs',
    folder=lambda index: tmp_path / str(index),
  )
  for each in started.ended(SECONDS):
    assert each.status == 1 and 'runs is not' in each.output


def test_slurm_variables_are_enough(start):
  """The variables are those that `srun --ntasks=2` sets in the tasks of a step."""
  job = {
    'SLURM_JOB_ID': str(os.getpid()),
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '2',
    'SLURM_STEP_NUM_TASKS': '2',
  }
  started = start(
    'all:add_up',
    flags=False,
    environment=lambda index: {
      **job,
      'SLURM_PROCID': str(index),
      'SLURM_LOCALID': str(index),
    },
  )
  for each in started.ended(SECONDS):
    assert each.status == 0 and 'the sum is 1' in each.output


def test_a_single_slurm_task_connects_to_nobody(start):
  job = {
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '1',
    'SLURM_PROCID': '0',
    'SLURM_LOCALID': '0',
  }
  started = start('all:add_up', count=1, devices=2, environment=job)
  [ended] = started.ended(SECONDS)
  assert ended.status == 0 and 'done by 1' in ended.output
