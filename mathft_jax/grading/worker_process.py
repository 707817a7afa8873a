"""One worker process of a `WorkerPool`, its tasks and their results."""

import collections
from collections.abc import Callable, Sequence
import dataclasses
import math
import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from typing import Any, Generic, Literal, TypeVar

START_TIMEOUT_S = 300.0
# A deadline in processor time is also a deadline of this many times the wall-clock time.
MAX_WALL_CLOCK_RATIO = 10
Function = Callable[[Any], Any]
Kind = Literal['grading', 'sympy']

_PACKAGE_PARENT = pathlib.Path(__file__).resolve().parent.parent.parent
_Value = TypeVar('_Value')


@dataclasses.dataclass(frozen=True)
class TaskResult(Generic[_Value]):
  """The value of a task, or the limit that stopped it.

  Attributes:
    value: what the function returned; None if a limit was exceeded.
    limit: `deadline`, `memory`, `died` (the worker exited, twice), `stalled` (the worker got too
      little processor time) or the name of the exception; None for a value.
  """

  value: _Value | None = None
  limit: str | None = None


@dataclasses.dataclass
class Task:
  """One call of a function in a worker."""

  number: int  # unique in the pool
  function: Function
  argument: Any
  attempts: int = 0


class Worker:
  """One worker process and the pipe to it.

  Attributes:
    tasks: the tasks that the worker has; it runs the first one.
    deadline: when the first task, or the start of the process, must end.
  """

  def __init__(self, memory_bytes: int, kind: Kind):
    self.pipe, worker_end = multiprocessing.Pipe()
    search_path = [str(_PACKAGE_PARENT)]
    if os.environ.get('PYTHONPATH'):
      search_path.append(os.environ['PYTHONPATH'])
    # Workers of a worker belong to its group, so that they are killed together. Ctrl-C in a
    # terminal does not reach the group.
    self.owns_group = not _is_worker_process
    self.process = subprocess.Popen(
      [
        sys.executable,
        '-m',
        'mathft_jax.grading.pool_worker',
        str(worker_end.fileno()),
        str(memory_bytes),
        kind,
      ],
      pass_fds=[worker_end.fileno()],
      env={**os.environ, 'PYTHONPATH': os.pathsep.join(search_path)},
      stdin=subprocess.DEVNULL,
      process_group=0 if self.owns_group else None,
    )
    worker_end.close()
    self.ready = False
    self.tasks: collections.deque[Task] = collections.deque()
    self.deadline = time.monotonic() + START_TIMEOUT_S
    self._start_processor_s = 0.0
    self._start_s = 0.0

  def start_tasks(self, tasks: Sequence[Task]) -> None:
    """Sends tasks with the same function to the worker, which is idle."""
    arguments = [(task.number, task.argument) for task in tasks]
    self.tasks.extend(tasks)
    self.await_task()
    try:
      self.pipe.send_bytes(pickle.dumps((tasks[0].function, arguments)))
    except BrokenPipeError:
      pass  # the worker has exited; reading from the pipe reports it

  def await_task(self) -> None:
    """Waits for the message that the first task begins."""
    self.deadline = time.monotonic() + START_TIMEOUT_S

  def begin_task(self, deadline_s: float) -> None:
    """Starts the time of the first task."""
    self._start_s = time.monotonic()
    self._start_processor_s = _processor_seconds(self.process.pid)
    self.deadline = self._start_s + deadline_s

  def extend_deadline(self, deadline_s: float) -> bool:
    """Extends the deadline if the first task has not had `deadline_s` of processor time."""
    used_s = _processor_seconds(self.process.pid) - self._start_processor_s
    left_s = deadline_s - used_s
    if left_s <= 0.0 or self.has_stalled(deadline_s):
      return False
    self.deadline = time.monotonic() + max(left_s, 0.01)
    return True

  def has_stalled(self, deadline_s: float) -> bool:
    """Returns True if the first task takes too long by the clock on the wall."""
    longest_s = MAX_WALL_CLOCK_RATIO * deadline_s
    return time.monotonic() - self._start_s >= longest_s

  def forget(self) -> None:
    """Closes this process's copy of the pipe; the worker is the child of another process."""
    self.pipe.close()
    self.process.returncode = 0  # never wait for it

  def stop(self) -> None:
    """Kills the process and its own workers."""
    self.pipe.close()
    if self.process.poll() is None:
      try:
        if self.owns_group:
          os.killpg(self.process.pid, signal.SIGKILL)
      except (ProcessLookupError, PermissionError):
        pass  # it has just exited
      self.process.kill()
      self.process.wait()


def _processor_seconds(pid: int) -> float:
  """Returns the processor time that a process has used; infinity where it is not known."""
  try:
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
  except OSError:
    return math.inf
  user, system = fields.split()[11:13]
  return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


_is_worker_process = False


def mark_as_worker_process() -> None:
  """Makes this process a worker: the workers that it starts belong to its process group."""
  global _is_worker_process
  _is_worker_process = True
