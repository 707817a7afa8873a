"""SIGTERM and SIGINT: programs save what they have, say so in one line, and exit.

  install('train.train')        # at the start of a program; libraries and notebooks do not
  with TrainingStop() as stop:
    for step in ...:
      stop.can_save()           # from now on SIGTERM is deferred to the next should_stop()
      if stop.should_stop():
        save()
        raise StopRequested('step 12 is saved')

| signal | in a training loop | elsewhere |
|---|---|---|
| SIGTERM | a checkpoint is saved within `SAVE_S`, exit status 75 | exits at once, status 75 |
| SIGINT | exits at once, status 130 | exits at once, status 130 |

An exit at once is safe at any moment, like `kill -9`: files are written atomically. Signals are
handled in a thread, because the main thread may be inside XLA for minutes. With several processes a
signal to one of them stops all: they agree on the step, as in jax's preemption service.
"""

import os
import signal
import socket
import sys
import threading
from typing import Self

from mathft_jax.distributed import processes

TERMINATED_STATUS = processes.RESTART_STATUS
INTERRUPTED_STATUS = 130
# The longest time from SIGTERM to the exit.
SAVE_S = 120.0
STOP_KEY = 'mathft_jax/stop'


class StopRequested(BaseException):
  """A loop has saved its state after SIGTERM. The program exits with `TERMINATED_STATUS`."""


class _State:
  """State of this process, shared by the main thread and the thread of the signals."""

  def __init__(self):
    self.program = 'mathft_jax'
    self.installed = False
    self.lock = threading.Lock()
    self.can_save = False
    # The number of calls of `should_stop`; equal on all processes at the same step.
    self.calls = 0
    # The call that returns True; None without a request.
    self.stop_call: int | None = None


_state = _State()


def install(program: str) -> None:
  """Handles SIGTERM and SIGINT from now on. Call it in the main thread.

  Args:
    program: starts the lines that are printed.
  """
  _state.program = program
  if _state.installed:
    return
  _state.installed = True
  signals, wakeup = os.pipe()
  os.set_blocking(wakeup, False)
  signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
  for number in (signal.SIGTERM, signal.SIGINT):
    if signal.getsignal(number) is not signal.SIG_IGN:  # as in `nohup`
      signal.signal(number, _do_nothing)
  os.register_at_fork(after_in_child=_restore_defaults)
  threading.Thread(target=_handle_signals, args=[signals], daemon=True).start()


def join_processes() -> None:
  """Stops this process when another one gets SIGTERM. Call it after `processes.initialize`."""
  if _state.installed and processes.process_count() > 1:
    processes.call_when_set(STOP_KEY, _agree_on_stop)


class TrainingStop:
  """A loop that can save its state between two of its steps.

  When it ends, and a stop was requested meanwhile, it raises StopRequested.
  """

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    with _state.lock:
      is_stopping = _state.stop_call is not None
      _state.can_save = is_stopping
    if kind is None and is_stopping:
      raise StopRequested('The last step is saved.')

  def can_save(self) -> None:
    """The state is worth saving: defer SIGTERM until the next `should_stop`."""
    with _state.lock:
      _state.can_save = True

  def should_stop(self) -> bool:
    """Whether to save and stop now. All processes call it equally often and get the same answer."""
    with _state.lock:
      _state.calls += 1
      return _state.stop_call is not None and _state.calls >= _state.stop_call


def exit_message(stop: StopRequested) -> str:
  """Returns the line to print for a stop after a save."""
  return f'stopped by SIGTERM. {stop} {processes.RESTART}'


def _do_nothing(number: int, frame: object) -> None:
  """Python calls this later in the main thread; `_handle_signals` has done the work."""
  del number, frame


def _restore_defaults() -> None:
  """Forked processes, such as workers, do not share the pipe of this process."""
  signal.set_wakeup_fd(-1)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  signal.signal(signal.SIGINT, signal.default_int_handler)


def _handle_signals(signals: int) -> None:
  while True:
    for number in os.read(signals, 1):
      if number == signal.SIGINT:
        _exit('interrupted.', INTERRUPTED_STATUS)
      elif number == signal.SIGTERM:
        _handle_sigterm()


def _handle_sigterm() -> None:
  with _state.lock:
    is_first = _state.stop_call is None
    can_save = _state.can_save
  if not is_first:
    _print('SIGTERM again: the program is already stopping.')
  elif not can_save:
    _exit('stopped by SIGTERM; finished work is kept.', TERMINATED_STATUS)
  else:
    _print('SIGTERM: saving a checkpoint, then stopping.')
    if processes.process_count() > 1:
      where = f'process {processes.process_index()} ({socket.gethostname()})'
      processes.set_key(STOP_KEY, where)
    else:
      _agree_on_stop('')


def _agree_on_stop(origin: str) -> None:
  """Sets the call of `should_stop` that stops all processes: one after the furthest process.

  No process can be past that call: `should_stop` waits for the lock meanwhile. Each one gets there,
  because no process waits for a step that another one will not make.
  """
  if origin and processes.is_primary():
    _print(f'{origin} got SIGTERM: all processes save a checkpoint and stop.')
  timer = threading.Timer(SAVE_S, _exit_without_checkpoint)
  timer.daemon = True
  timer.start()
  with _state.lock:
    calls = processes.gather_from_all('calls of should_stop', str(_state.calls))
    _state.stop_call = 1 + max(map(int, calls))
    can_save = _state.can_save
  if not can_save:  # between two loops, or before the first step of one
    _exit('stopped by SIGTERM; finished work is kept.', TERMINATED_STATUS)


def _exit_without_checkpoint() -> None:
  _exit(
    f'stopped by SIGTERM; no checkpoint could be saved within {SAVE_S:.0f} s.',
    TERMINATED_STATUS,
  )


def _exit(reason: str, status: int) -> None:
  """Exits all processes at once. Nothing but this line is printed."""
  reason = f'{reason} {processes.RESTART}'
  if processes.is_primary() or status != INTERRUPTED_STATUS:
    _print(reason)
  processes.abort_all_processes(reason, status)
  processes.exit_now(status)


def _print(line: str) -> None:
  # Not `print`: the main thread may hold the lock of sys.stderr.
  start = '\r\n' if os.isatty(2) else ''
  os.write(2, f'{start}{_state.program}: {line}\n'.encode())


def program_from_command_line() -> str | None:
  """Returns 'train' if this process was started as `python -m mathft_jax.train`, else None."""
  arguments = sys.orig_argv
  if '-m' not in arguments[:-1]:
    return None
  package, _, program = arguments[arguments.index('-m') + 1].partition('.')
  is_program = package == 'mathft_jax' and program and '.' not in program
  return program if is_program else None
