"""Pool of persistent worker processes with a deadline for every task.

  with WorkerPool(num_workers=2) as pool:
    results = pool.map(grading.answer_key, answers, deadline_s=5.0)

A worker is `python -m mathft_jax.grading.pool_worker`. It runs one task at a time until the pool
is closed. The deadline of a task starts when a ready worker gets it. A worker that exceeds the
deadline or the memory limit, or exits, is replaced; the result names the limit, and the pool counts
the results by limit.
"""

import atexit
import collections
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import itertools
import multiprocessing
from multiprocessing import connection
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time
from typing import Any, Generic, Self, TypeVar

DEFAULT_MEMORY_BYTES = 2 << 30  # address space of one worker
START_TIMEOUT_S = 300.0
MAX_ATTEMPTS = 2  # of a task whose worker exits
Function = Callable[[Any], Any]

_PACKAGE_PARENT = pathlib.Path(__file__).resolve().parent.parent.parent
_Argument = TypeVar('_Argument')
_Value = TypeVar('_Value')


@dataclasses.dataclass(frozen=True)
class TaskResult(Generic[_Value]):
  """The value of a task, or the limit that stopped it.

  Attributes:
    value: what the function returned; None if a limit was exceeded.
    limit: `deadline`, `memory`, `died` or the name of the exception; None for a value.
  """

  value: _Value | None = None
  limit: str | None = None


@dataclasses.dataclass
class _Task:
  number: int  # unique in the pool
  function: Function
  argument: Any
  attempts: int = 0


class _Worker:
  """One worker process and the pipe to it."""

  def __init__(self, memory_bytes: int):
    self.pipe, worker_end = multiprocessing.Pipe()
    search_path = [str(_PACKAGE_PARENT)]
    if os.environ.get('PYTHONPATH'):
      search_path.append(os.environ['PYTHONPATH'])
    self.process = subprocess.Popen(
      [
        sys.executable,
        '-m',
        'mathft_jax.grading.pool_worker',
        str(worker_end.fileno()),
        str(memory_bytes),
      ],
      pass_fds=[worker_end.fileno()],
      env={**os.environ, 'PYTHONPATH': os.pathsep.join(search_path)},
      stdin=subprocess.DEVNULL,
    )
    worker_end.close()
    self.ready = False
    self.task: _Task | None = None
    self.deadline = time.monotonic() + START_TIMEOUT_S

  def start_task(self, task: _Task, deadline_s: float) -> None:
    message = (task.number, pickle.dumps((task.function, task.argument)))
    task.attempts += 1
    self.task = task
    self.deadline = time.monotonic() + deadline_s
    try:
      self.pipe.send(message)
    except BrokenPipeError:
      pass  # the worker has exited; reading from the pipe reports it

  def stop(self) -> None:
    self.pipe.close()
    self.process.kill()
    self.process.wait()


class WorkerPool:
  """Worker processes that run importable functions; a context manager.

  Attributes:
    counts: number of results by limit (`done` without one), and `restarted`: the workers that
      exited and whose task was tried again.
    hits: (limit, task as text) of each result with a limit.
  """

  def __init__(
    self, num_workers: int = 1, memory_bytes: int = DEFAULT_MEMORY_BYTES
  ):
    if num_workers < 1:
      raise ValueError(f'num_workers is {num_workers}; it must be at least 1.')
    self.memory_bytes = memory_bytes
    self._num_workers = num_workers
    self._task_numbers = itertools.count()
    self._reset()

  def _reset(self) -> None:
    self.counts: collections.Counter[str] = collections.Counter()
    self.hits: list[tuple[str, str]] = []
    self._workers: list[_Worker] = []
    self._lock = threading.Lock()
    self._process_id = os.getpid()

  def _reset_if_forked(self) -> None:
    """Resets the pool in a forked process: the workers belong to the parent process."""
    if self._process_id == os.getpid():
      return
    for worker in self._workers:
      worker.pipe.close()
      # No child of this process: never wait for it.
      worker.process.returncode = 0
    self._reset()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Stops the workers."""
    self._reset_if_forked()
    with self._lock:
      for worker in self._workers:
        worker.stop()
      self._workers = []

  def run(
    self,
    function: Callable[[_Argument], _Value],
    argument: _Argument,
    deadline_s: float,
  ) -> TaskResult[_Value]:
    """Returns the result of one task; see `map`."""
    return self.map(function, [argument], deadline_s)[0]

  def map(
    self,
    function: Callable[[_Argument], _Value],
    arguments: Iterable[_Argument],
    deadline_s: float,
  ) -> list[TaskResult[_Value]]:
    """Returns the results of `function(argument)` in the order of the arguments.

    Args:
      function: a function that the worker can import by its name.
      arguments: one per task.
      deadline_s: wall-clock seconds for each task.
    """
    self._reset_if_forked()
    with self._lock:
      tasks = []
      for argument in arguments:
        tasks.append(_Task(next(self._task_numbers), function, argument))
      queue = collections.deque(tasks)
      results: dict[int, TaskResult] = {
        task.number: TaskResult() for task in tasks
      }
      num_left = len(tasks)

      while len(self._workers) < min(self._num_workers, len(tasks)):
        self._workers.append(_Worker(self.memory_bytes))
      while num_left:
        self._start_tasks(queue, deadline_s)
        for task, result in self._collect():
          if task.number not in results:
            continue  # a task of an earlier call that was interrupted
          if result.limit == 'died' and task.attempts < MAX_ATTEMPTS:
            self.counts['restarted'] += 1
            queue.appendleft(task)
            continue
          results[task.number] = result
          num_left -= 1
          self.counts[result.limit or 'done'] += 1
          if result.limit:
            text = f'{function.__name__} {task.argument!r}'
            self.hits.append((result.limit, text))
      return list(results.values())

  def _start_tasks(
    self, queue: collections.deque[_Task], deadline_s: float
  ) -> None:
    for worker in self._workers:
      if queue and worker.ready and worker.task is None:
        worker.start_task(queue.popleft(), deadline_s)

  def _collect(self) -> Iterator[tuple[_Task, TaskResult]]:
    """Waits for the next event and yields the tasks that ended, with their results."""
    busy = []
    for worker in self._workers:
      if worker.task is not None or not worker.ready:
        busy.append(worker)
    first_deadline = min(worker.deadline for worker in busy)
    timeout_s = max(0.0, first_deadline - time.monotonic())
    readable = connection.wait([worker.pipe for worker in busy], timeout_s)

    for worker in busy:
      task = worker.task
      if worker.pipe in readable:
        result = self._receive(worker)
      elif time.monotonic() >= worker.deadline:
        result = TaskResult(limit='deadline')
        self._replace(worker)
      else:
        continue
      if task is not None and result is not None:
        yield task, result

  def _receive(self, worker: _Worker) -> TaskResult | None:
    """Returns the result of the worker's task; None for any other message."""
    try:
      number, result = worker.pipe.recv()
    except (EOFError, OSError):
      if not worker.ready:
        raise RuntimeError(
          f'A grading worker exited with status {worker.process.wait()} before it was ready. '
          f'Run `{sys.executable} -m mathft_jax.grading.pool_worker` to see why.'
        )
      self._replace(worker)
      return TaskResult(limit='died')

    if number is None:
      worker.ready = True
      return None
    if worker.task is None or number != worker.task.number:
      return None  # the result of a task of an interrupted call
    worker.task = None
    if result.limit == 'memory':
      self._replace(worker)
    return result

  def _replace(self, worker: _Worker) -> None:
    """Replaces a worker; raises RuntimeError if it was never ready."""
    worker.stop()
    if not worker.ready:
      raise RuntimeError(
        f'A grading worker was not ready after {START_TIMEOUT_S:g} s.'
      )
    index = self._workers.index(worker)
    self._workers[index] = _Worker(self.memory_bytes)


_shared_pool = WorkerPool()
atexit.register(_shared_pool.close)


def shared_pool() -> WorkerPool:
  """Returns the pool of one worker that answer keys use; the worker starts at its first task."""
  return _shared_pool


def shared_pool_counts() -> collections.Counter[str]:
  """Returns the counts of the shared pool since this process started."""
  return collections.Counter(_shared_pool.counts)


def shared_pool_limit_hits() -> list[tuple[str, str]]:
  """Returns the hits of the shared pool since this process started."""
  return list(_shared_pool.hits)
