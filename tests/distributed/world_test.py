"""Processes meet, refuse a world that is not the one expected, and end together."""

import contextlib
import os
import signal
import socket
import time

import pytest

SECONDS = 120  # far more than processes need to import jax on a busy machine


@pytest.fixture
def do(start_processes, tmp_path):
  """do(what, count=2, devices=1, ...): a World of `deeds`."""

  def start(what, *flags, count=2, devices=1, of=None, **settings):
    def arguments(index):
      return [
        '-m',
        'deeds',
        f'--gin.deeds.do.workdir={tmp_path / "work"}',
        f'--gin.deeds.do.what={what}',
        *flags,
        *((of or {}).get(index, ())),
      ]

    return start_processes(count, devices, arguments, **settings)

  return start


def test_several_processes_are_one_machine_and_one_of_them_talks(do):
  ended = do('all:add_up,all:lay_out', count=4, devices=2).ended(SECONDS)
  assert [each.status for each in ended] == [0] * 4
  assert all(
    'the sum is 28' in each.output for each in ended
  )  # 0 + 1 + ... + 7
  assert all(
    'rows [[0, 0], [1, 1], [2, 2], [3, 3]]' in each.output for each in ended
  )
  first, *others = [each.output for each in ended]
  assert '4 processes on 1 hosts' in first
  assert (
    '8 devices (cpu), 2 in each of 4 processes; mesh data 8 x model 1' in first
  )
  assert 'deeds.do: done by 4' in first
  assert not any('done by' in output for output in others)
  assert 'W process 2: here' in others[1]


def test_config_is_written_once_and_no_trace_of_the_check_is_left(do, tmp_path):
  assert {each.status for each in do('all:add_up').ended(SECONDS)} == {0}
  assert [path.name for path in (tmp_path / 'work').iterdir()] == ['config.gin']


@pytest.mark.parametrize('dead', [0, 1])
def test_a_process_that_is_killed_in_a_step_ends_the_others_who_say_so(
  do, dead
):
  world = do('all:add_for_ever', count=3)
  for index in range(3):
    world.wait_for(index, 'the sum is 3', SECONDS)
  world.processes[dead].send_signal(signal.SIGKILL)
  killed = time.monotonic()
  ended = world.ended(SECONDS)
  assert (
    time.monotonic() - killed < 60
  )  # it takes milliseconds where nothing else runs
  for index in {0, 1, 2} - {dead}:
    assert ended[index].status == 75
    assert f'process {dead} (' in ended[index].output.splitlines()[-1]
    assert ended[index].output.endswith(
      'is gone. Run the same command again to resume.\n'
    )
    assert (
      'Traceback' not in ended[index].output
      and '***' not in ended[index].output
    )


@pytest.mark.parametrize('stopped', [0, 1])
def test_a_process_that_hangs_ends_the_others_within_the_heartbeat_timeout(
  do, stopped
):
  world = do('all:add_for_ever', '--heartbeat_timeout_s=6')
  for index in range(2):
    world.wait_for(index, 'the sum is 1', SECONDS)
  world.processes[stopped].send_signal(signal.SIGSTOP)
  began = time.monotonic()
  other = world.processes[1 - stopped]
  assert other.wait(SECONDS) == 75
  assert time.monotonic() - began < 60
  assert f'process {stopped} (' in world.output(1 - stopped)
  assert 'has given no sign of life for' in world.output(1 - stopped)
  world.kill()


@pytest.mark.parametrize('dead', [0, 1])
def test_a_death_while_all_take_leave_ends_the_others(do, dead):
  ended = do(f'all:add_up,{dead}:die_at_the_end').ended(SECONDS)
  assert (ended[dead].status, ended[1 - dead].status) == (-9, 75)
  assert f'process {dead} (' in ended[1 - dead].output.splitlines()[-1]


@pytest.mark.parametrize('what', ['add_for_ever', 'work_alone'])
def test_sigterm_ends_a_process_at_once_and_with_it_the_others(do, what):
  world = do(f'all:{what}')
  for index in range(2):
    world.wait_for(
      index,
      'the sum is 1' if what == 'add_for_ever' else 'working alone',
      SECONDS,
    )
  world.processes[1].send_signal(signal.SIGTERM)
  first, second = world.ended(SECONDS)
  assert (first.status, second.status) == (75, -15)


def test_bad_input_of_one_process_ends_all_with_the_reason(do):
  first, second = do('0:work_alone,1:refuse').ended(SECONDS)
  assert first.status == second.status == 1
  assert second.output.splitlines()[-1].startswith(
    'deeds.do: Partitioner: num_partitions = 7 does'
  )
  last = first.output.splitlines()[-1]
  assert (
    last.startswith('process 0 of 2: process 1 (')
    and 'num_partitions = 7 does not' in last
  )


def test_what_all_refuse_the_first_says_in_full(do):
  first, second = do('all:refuse').ended(SECONDS)
  assert first.status == second.status == 1
  assert first.output.splitlines()[-1].startswith(
    'deeds.do: Partitioner: num_partitions = 7 does'
  )
  assert second.output.splitlines()[-1].startswith(
    'process 1 of 2: process 0 ('
  )


def test_processes_that_read_different_things_are_refused(do):
  first, second = do('all:differ,all:wait').ended(SECONDS)
  assert first.status == second.status == 1
  for each in (first, second):
    assert 'The number: process 1 has 1, process 0 has 0.' in each.output


def test_an_error_nobody_foresaw_ends_all_too(do):
  first, second = do('0:crash,1:wait').ended(SECONDS)
  assert first.status == second.status == 1
  assert "KeyError: 'a hole'" in first.output and 'Traceback' in first.output
  assert (
    "stopped: KeyError: 'a hole'" in second.output
    and 'Traceback' not in second.output
  )


def test_a_process_that_never_comes_is_named_after_the_start_timeout(do):
  ended = do(
    'all:add_up', '--start_timeout_s=10', count=3, of={2: ['--help']}
  ).ended(SECONDS)
  assert ended[0].status == ended[1].status == 75
  for each in ended[:2]:
    assert '2 of 3 processes came in 10 s; missing: 2.' in each.output


def test_a_first_process_that_never_comes_is_named_with_its_address(do):
  _, ended = do('all:add_up', '--start_timeout_s=2', of={0: ['--help']}).ended(
    SECONDS
  )
  assert ended.status == 75
  assert 'process 0 does not answer at localhost:' in ended.output


def test_strangers_at_the_port_do_no_harm(do):
  world = do('all:work_alone')
  host, port = world.address.split(':')
  silent = _call(host, int(port))
  world.wait_for(0, 'working alone', SECONDS)
  for garbage in (
    b'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    b'\xff\x00' * 99,
    b'7\n',
    b'{}\n',
    b'[' * 9999 + b'\n',
    b'{"process": 1}\n',
    b'{"process": "1", "count": 2, "host": "x", "about": {}}\n',
  ):
    with (
      _call(host, int(port)) as stranger,
      contextlib.suppress(ConnectionError),
    ):
      stranger.sendall(garbage)
      stranger.shutdown(socket.SHUT_WR)
      assert stranger.recv(99) == b''
  assert [process.poll() for process in world.processes] == [None, None]
  assert not any('Exception' in world.output(index) for index in (0, 1))
  silent.close()


def test_a_process_that_comes_again_does_not_end_the_run_that_goes_on(do):
  world = do('all:work_alone')
  world.wait_for(0, 'working alone', SECONDS)
  index = [
    f'--coordinator_address={world.address}',
    '--process_count=2',
    '--process_index=1',
  ]
  [second] = do('all:work_alone', *index, count=1).ended(SECONDS)
  assert second.status == 75 and 'has all its 2 processes' in second.output
  [first] = do(
    'all:work_alone', *index[:2], '--process_index=0', count=1
  ).ended(SECONDS)
  assert first.status == 1 and 'is this run going on already?' in first.output
  assert [process.poll() for process in world.processes] == [None, None]


def _call(host, port):
  end = time.monotonic() + SECONDS
  while True:
    try:
      return socket.create_connection((host, port), timeout=SECONDS)
    except ConnectionRefusedError:  # not there yet
      assert time.monotonic() < end
      time.sleep(0.05)


@pytest.mark.parametrize(
  'of, message',
  [
    (
      {1: ['--gin.deeds.do.what=all:sleep']},
      'has another configuration than process 0',
    ),
    (
      {1: ['--process_count=3']},
      'was started as one of 3 processes, process 0 as one of 2',
    ),
    ({1: ['--gin.deeds.do.workdir=elsewhere']}, "workdir = 'elsewhere'"),
  ],
)
def test_a_world_that_is_not_the_one_expected_is_refused_by_all(
  do, of, message, tmp_path
):
  for each in do('all:add_up', of=of).ended(SECONDS):
    assert each.status == 1 and message in each.output


def test_devices_of_different_numbers_are_refused(do):
  world = do(
    'all:add_up',
    environment=lambda index: {
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={1 + index}'
    },
  )
  for each in world.ended(SECONDS):
    assert (
      each.status == 1 and 'process 0 has 1, process 1 has 2' in each.output
    )


def test_a_workdir_that_not_all_see_is_refused(do, tmp_path):
  """Two mounts of one name are played by a relative path and two working directories."""
  for name in ('0', '1'):
    (tmp_path / name).mkdir()
  world = do(
    'all:add_up',
    '--gin.deeds.do.workdir=runs',
    folder=lambda index: tmp_path / str(index),
  )
  for each in world.ended(SECONDS):
    assert (
      each.status == 1
      and 'runs is not the same place for all processes' in each.output
    )


def test_slurm_variables_are_enough(do):
  """As `srun --ntasks=2` sets them in the tasks of a step."""
  job = {
    'SLURM_JOB_ID': str(os.getpid()),
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '2',
    'SLURM_STEP_NUM_TASKS': '2',
  }
  world = do(
    'all:add_up',
    flags=False,
    environment=lambda index: {
      **job,
      'SLURM_PROCID': str(index),
      'SLURM_LOCALID': str(index),
    },
  )
  for each in world.ended(SECONDS):
    assert each.status == 0 and 'the sum is 1' in each.output


def test_a_single_slurm_task_starts_nothing(do):
  job = {
    'SLURM_JOB_ID': '7',
    'SLURM_STEP_NODELIST': 'localhost',
    'SLURM_NTASKS': '1',
    'SLURM_PROCID': '0',
    'SLURM_LOCALID': '0',
  }
  [ended] = do('all:add_up', count=1, devices=2, environment=job).ended(SECONDS)
  assert ended.status == 0 and 'done by 1' in ended.output
