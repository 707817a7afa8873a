"""The processes of one run, usually one per host: start, barriers, broadcasts, abort and shutdown.

  processes.initialize(config, settings)     # before jax touches a device
  text = processes.broadcast_from_primary('name', text)
  processes.run_on_primary('name', write_file)
  processes.shutdown()

Everything goes through jax's coordination service (`jax.distributed`), not through the devices. If
a process exits or its host is lost, jax aborts the others: at once if it is the primary process
(index 0), else after the heartbeat timeout.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import contextlib
import json
import os
import socket
import sys
import threading
import time
from typing import Any, TypeVar

from absl import logging

from mathft_jax.distributed import cluster_detection

T = TypeVar('T')

# Exit status if another process is lost: the command may be run again.
RESTART_STATUS = 75
RESTART = 'Run the same command again to resume.'
# In the key-value store: why all processes must exit.
ABORT_KEY = 'mathft_jax/abort'
DAY_S = 24 * 3600.0
# How late a shared disk may show a file that another host has written.
VISIBLE_S = 100.0
GRACE_S = 1.0  # by which the primary process is first to report what all processes refuse
# How long an aborting process waits for the others to read the reason.
ABORT_S = 3.0

CALLBACK_S = 3.0  # how long callbacks may take when a process exits at once

# Calls by name; equal on all processes.
_uses: collections.Counter[str] = collections.Counter()
_key_threads: dict[str, threading.Thread] = {}
_exit_callbacks: list[Callable[[], None]] = []
_heartbeat_timeout_s = 0.0


def initialize(
  config: cluster_detection.ProcessConfig = cluster_detection.ProcessConfig(),
  settings: Mapping[str, str] | None = None,
) -> None:
  """Connects the processes of the run, if there are several. Call it before any device is used.

  Exits with `RESTART_STATUS` if not all processes connect in time.
  Args:
    config: the flags of this process.
    settings: texts by name that must be equal on all processes, such as the configuration.

  Raises:
    ValueError: the port is in use, or a setting differs from that of the primary process.
  """
  global _heartbeat_timeout_s
  cluster = cluster_detection.detect_cluster(config)
  if cluster is None:
    return
  import jax  # not at the top: grade and evaluate run without jax

  if cluster.process_index == 0:
    _check_port_is_free(cluster.coordinator_address)
  _heartbeat_timeout_s = config.heartbeat_timeout_s
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  # The preemption service would catch SIGTERM.
  jax.config.update('jax_enable_preemption_service', False)

  reason = (
    f'not all of {cluster.process_count} processes connected to process 0 at '
    f'{cluster.coordinator_address} within {config.start_timeout_s:.0f} s. Check that all are '
    f'running and can reach this address. {RESTART}'
  )
  timer = threading.Timer(
    config.start_timeout_s, _exit, [reason, RESTART_STATUS]
  )
  timer.daemon = True
  timer.start()
  jax.distributed.initialize(
    cluster.coordinator_address,
    cluster.process_count,
    cluster.process_index,
    local_device_ids=cluster.local_device_ids,
    cluster_detection_method='deactivate',
    initialization_timeout=int(config.start_timeout_s) + 60,  # after the timer
    heartbeat_timeout_seconds=max(1, int(config.heartbeat_timeout_s)),
  )
  timer.cancel()

  call_when_set(ABORT_KEY, _exit_when_aborted)
  count = {'process count': str(cluster.process_count)}
  _check_settings({**(settings or {}), **count})
  _log_hosts()


def shutdown() -> None:
  """Disconnects this process when all processes have called it."""
  if process_count() == 1:
    return
  wait_at_barrier('shutdown')
  for key, thread in _key_threads.items():
    if is_primary():
      set_key(key, '')  # ends the thread
    thread.join()  # a thread inside jax must not outlive the interpreter

  try:
    sys.modules['jax'].distributed.shutdown()
  except Exception as error:  # noqa: BLE001 (jax raises different types)
    _exit(
      f'a process was lost during shutdown ({error}). {RESTART}', RESTART_STATUS
    )


def abort_all_processes(reason: str, status: int) -> None:
  """Exits all processes; the others print the reason. Returns if there is only one process."""
  if process_count() == 1:
    return
  message = {
    'process': process_index(),
    'reason': f'process {process_index()} ({socket.gethostname()}) stopped: {reason}',
    'status': status,
  }

  try:
    _client().key_value_set(ABORT_KEY, json.dumps(message))
  except Exception:  # noqa: BLE001 (another process was first)
    time.sleep(3 * ABORT_S)  # `_exit_when_aborted` exits with its reason
  _exit_together(status)


def call_when_set(key: str, callback: Callable[[str], None]) -> None:
  """Calls `callback(text)`, in a thread, when any process sets a key to a text that is not ''."""

  def wait() -> None:
    try:
      text = _client().blocking_key_value_get(key, int(1000 * DAY_S * 1000))
    except Exception as error:  # noqa: BLE001 (jax raises different types)
      _exit(f'lost process 0 ({_first_line(error)}). {RESTART}', RESTART_STATUS)
    if text:
      callback(text)

  _key_threads[key] = threading.Thread(target=wait, daemon=True)
  _key_threads[key].start()


def set_key(key: str, text: str) -> None:
  """Sets a key for all processes, unless one has set it before."""
  with contextlib.suppress(Exception):  # jax raises different types
    _client().key_value_set(key, text)


def gather_from_all(name: str, text: str) -> list[str]:
  """Returns the texts of all processes, in the order of their indices."""
  if process_count() == 1:
    return [text]
  key = _unique_key(name)
  _client().key_value_set(f'{key}/{process_index()}', text)
  texts = []
  for index in range(process_count()):
    found = _client().blocking_key_value_get(
      f'{key}/{index}', int(DAY_S * 1000)
    )
    texts.append(found)
  return texts


def call_before_exit(callback: Callable[[], None]) -> None:
  """Registers a callback for `exit_now` and other exits that run no `finally` blocks."""
  _exit_callbacks.append(callback)


def exit_now(status: int) -> None:
  """Exits this process at once, from any thread, whatever its main thread does."""
  _exit('', status)


def wait_for_lost_processes(error: BaseException) -> None:
  """Waits until jax must have noticed a lost process and aborted this one.

  Call it if an error may be the result of a lost connection. It returns if no process is lost.
  """
  seconds = _heartbeat_timeout_s + 10
  print(
    f'process {process_index()}: a connection may be lost ({_first_line(error)}). If another '
    f'process has failed, jax aborts this one within {seconds:.0f} s. {RESTART}',
    file=sys.stderr,
    flush=True,
  )
  time.sleep(seconds)


def delay_unless_primary() -> None:
  """Waits for a moment on other processes, so that the primary process reports a common error."""
  if not is_primary():
    time.sleep(GRACE_S)


def process_index() -> int:
  """The index of this process, from 0."""
  return _state().process_id if _is_connected() else 0


def process_count() -> int:
  """The number of processes in the run."""
  return _state().num_processes if _is_connected() else 1


def is_primary() -> bool:
  """Whether this is process 0, which writes files and logs for all."""
  return process_index() == 0


def wait_at_barrier(
  name: str, *, among: Sequence[int] | None = None, seconds: float = DAY_S
) -> None:
  """Returns when all processes, or those in `among`, have called this.

  Raises:
    RuntimeError: not all have called it within `seconds`.
  """
  if process_count() > 1:
    _client().wait_at_barrier(
      _unique_key(f'{name}/{among}'),
      int(seconds * 1000),
      process_ids=None if among is None else list(among),
    )


def broadcast_from_primary(
  name: str, text: str, *, seconds: float = DAY_S
) -> str:
  """The `text` of the primary process. The `text` of other processes is ignored."""
  if process_count() == 1:
    return text
  key = _unique_key(name)
  if is_primary():
    _client().key_value_set(key, text)
    return text
  return _client().blocking_key_value_get(key, int(seconds * 1000))


def wait_until_visible(
  is_visible: Callable[[], bool], *, seconds: float = VISIBLE_S
) -> bool:
  """Whether a file that another process has written becomes visible within `seconds`."""
  deadline = time.monotonic() + seconds
  while not (visible := is_visible()) and time.monotonic() < deadline:
    time.sleep(0.2)
  return visible


def assert_equal_across_processes(what: str, value: str) -> None:
  """Raises ValueError if a value differs from that of the primary process."""
  primary_value = broadcast_from_primary(what, value)
  if value != primary_value:
    raise ValueError(
      f'{what}: process {process_index()} has {value}, process 0 has {primary_value}. All '
      'processes must read the same files: put them on a shared disk or in a bucket.'
    )


def run_on_primary(name: str, work: Callable[[], T]) -> T | None:
  """Runs `work` on the primary process only. Returns its result there, and None elsewhere.

  The other processes wait for it. A ValueError of `work` is raised on all processes.
  """
  if not is_primary():
    if error_text := broadcast_from_primary(name, ''):
      raise ValueError(error_text)
    return None

  try:
    result = work()
  except ValueError as error:
    broadcast_from_primary(name, str(error) or repr(error))
    raise
  broadcast_from_primary(name, '')
  return result


def _check_port_is_free(address: str) -> None:
  port = int(address.rpartition(':')[2])
  try:
    socket.create_server(('', port)).close()
  except OSError as error:
    raise ValueError(
      f'Process 0 cannot listen at port {port} ({error}). If this run is already running, wait '
      'for its end; else choose another port.'
    ) from error


def _check_settings(settings: Mapping[str, str]) -> None:
  """Raises ValueError if a setting differs from that of the primary process."""
  primary = json.loads(broadcast_from_primary('settings', json.dumps(settings)))
  for name in sorted(settings):
    here = set(settings[name].splitlines())
    there = set(primary.get(name, '').splitlines())
    if here != there:
      raise ValueError(
        f'process {process_index()} has another {name} than process 0:\n'
        f'  process 0: {"; ".join(sorted(there - here))}\n'
        f'  process {process_index()}: {"; ".join(sorted(here - there))}\n'
        'Start all processes with the same code and flags.'
      )


def _log_hosts() -> None:
  """Logs the hosts on the primary process, after all processes have accepted the settings."""
  _client().key_value_set(
    f'mathft_jax/hosts/{process_index()}', socket.gethostname()
  )
  wait_at_barrier('settings are equal')
  if is_primary():
    entries = _client().key_value_dir_get('mathft_jax/hosts/')
    hosts = collections.Counter(host for _, host in entries)
    text = ', '.join(f'{host} x {times}' for host, times in hosts.items())
    logging.info(
      '%d processes on %d hosts: %s', process_count(), len(hosts), text
    )


def _exit_when_aborted(text: str) -> None:
  """Exits this process when another one calls `abort_all_processes`."""
  message = json.loads(text)
  if message['process'] != process_index():
    _print(message['reason'])
    _exit_together(message['status'])


def _exit_together(status: int) -> None:
  """Exits when all processes do, or after `ABORT_S`; the primary process, which serves, last."""
  with contextlib.suppress(Exception):  # a process may be lost
    _client().wait_at_barrier('mathft_jax/aborted', int(ABORT_S * 1000))
  if is_primary():
    time.sleep(GRACE_S)
  _exit('', status)


def _exit(reason: str, status: int) -> None:
  """Exits this process at once, whatever its main thread waits for."""
  if reason:
    _print(reason)

  def finish() -> None:
    for callback in _exit_callbacks:
      with contextlib.suppress(Exception):
        callback()
    sys.stdout.flush()
    sys.stderr.flush()

  # The main thread may hold a lock that one of these needs.
  finishing = threading.Thread(target=finish, daemon=True)
  finishing.start()
  finishing.join(CALLBACK_S)
  os._exit(status)


def _print(reason: str) -> None:
  state = _state()
  line = f'process {state.process_id} of {state.num_processes}: {reason}'
  print(line, file=sys.stderr, flush=True)


def _first_line(error: BaseException) -> str:
  return str(error).partition('\n')[0]


def _unique_key(name: str) -> str:
  _uses[name] += 1
  return f'mathft_jax/{name}/{_uses[name]}'


def _is_connected() -> bool:
  return getattr(_state(), 'client', None) is not None


def _client() -> Any:
  """The client of jax's coordination service."""
  return _state().client


def _state() -> Any:
  """The state of jax's coordination service; None while jax is not imported.

  jax has no public access to it; orbax does the same. Nothing is imported here: a thread calls this
  while the main thread may be importing jax.
  """
  return getattr(sys.modules.get('jax._src.distributed'), 'global_state', None)
