"""Runs of several real processes on this machine, each with pretend CPU devices of its own."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

REPOSITORY = pathlib.Path(__file__).parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Ended:
  """How a process ended, and what it wrote to standard output and standard error."""

  status: int
  output: str


@dataclasses.dataclass
class StartedProcesses:
  """Processes that were started together. Their output lies in files, so that none ever blocks."""

  processes: list[subprocess.Popen]
  logs: list[pathlib.Path]
  address: str

  def output(self, index: int) -> str:
    return self.logs[index].read_text(errors='replace')

  def wait_for(self, index: int, text: str, seconds: float = 60) -> None:
    """Returns when a process has written `text`; fails when it ends before or takes too long."""
    end = time.monotonic() + seconds
    while text not in self.output(index):
      assert self.processes[index].poll() is None and time.monotonic() < end, (
        f'process {index} did not write {text!r}:\n{self.output(index)}'
      )
      time.sleep(0.05)

  def ended(self, seconds: float = 60) -> list[Ended]:
    """How all have ended; fails, with what they wrote, when one goes on after `seconds`."""
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in self.processes):
      if time.monotonic() > end:
        left = [
          i
          for i, process in enumerate(self.processes)
          if process.poll() is None
        ]
        self.kill()
        pytest.fail(
          f'After {seconds} s processes {left} were still running.\n'
          + '\n'.join(
            f'--- {i}\n{self.output(i)}' for i in range(len(self.logs))
          )
        )
      time.sleep(0.02)
    return [
      Ended(process.returncode, self.output(i))
      for i, process in enumerate(self.processes)
    ]

  def kill(self) -> None:
    for process in self.processes:
      if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture(scope='session')
def start_processes(tmp_path_factory) -> Iterator[Any]:
  """start_processes(count, devices, arguments): StartedProcesses, killed after the tests.

  `arguments` follow `python`: ['-m', 'mathft_jax.train', ...] or [script, ...]; with more than one
  process each gets its --coordinator_address, --process_count and --process_index before its other
  flags. `devices` of each process; `environment` adds to ours, `folder` is that to work in. Of
  `arguments`, `environment` and `folder` functions give those of process i.
  """
  started_so_far: list[StartedProcesses] = []
  cache = tmp_path_factory.mktemp('compiled')

  def start(
    count: int,
    devices: int,
    arguments: Any,
    *,
    environment: Any = None,
    folder: Any = REPOSITORY,
    flags: bool = True,
  ) -> StartedProcesses:
    logs, address = (
      tmp_path_factory.mktemp('processes'),
      f'localhost:{free_port()}',
    )
    started = StartedProcesses(
      [], [logs / f'{index}.log' for index in range(count)], address
    )
    started_so_far.append(started)
    for index in range(count):
      own, added, place = (
        each(index) if callable(each) else each
        for each in (arguments, environment, folder)
      )
      head = 2 if own[0] in ('-m', '-c') else 1
      where = (
        [
          f'--coordinator_address={address}',
          f'--process_count={count}',
          f'--process_index={index}',
        ]
        if count > 1 and flags
        else []
      )
      started.processes.append(
        _start(
          [*own[:head], *where, *own[head:]],
          devices,
          started.logs[index],
          cache,
          added or {},
          place,
        )
      )
    return started

  yield start
  for started in started_so_far:
    started.kill()


@pytest.fixture(scope='session')
def run_processes(start_processes) -> Any:
  """run_processes(count, devices, arguments, seconds=60): a list of Ended, one for each."""

  def run(
    count: int,
    devices: int,
    arguments: Any,
    *,
    seconds: float = 60,
    **settings: Any,
  ) -> list[Ended]:
    return start_processes(count, devices, arguments, **settings).ended(seconds)

  return run


def free_port() -> int:
  with socket.socket() as found:
    found.bind(('localhost', 0))
    return found.getsockname()[1]


def with_devices(count: int) -> str:
  """XLA_FLAGS of the tests with another number of devices; of repeated flags the last one holds."""
  flags = os.environ.get('XLA_FLAGS', '')
  return f'{flags} --xla_force_host_platform_device_count={count}'


def _start(
  arguments: Sequence[str],
  devices: int,
  log: pathlib.Path,
  cache: pathlib.Path,
  environment: Mapping[str, str],
  folder: pathlib.Path,
) -> subprocess.Popen:
  settings = (
    os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': with_devices(devices),
      'JAX_COMPILATION_CACHE_DIR': str(cache),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
      'PYTHONPATH': f'{REPOSITORY}:{pathlib.Path(__file__).parent}',
    }
    | dict(environment)
  )
  with log.open('w') as output:
    return subprocess.Popen(
      [sys.executable, *map(str, arguments)],
      cwd=folder,
      env=settings,
      stdin=subprocess.DEVNULL,
      stdout=output,
      stderr=subprocess.STDOUT,
    )
