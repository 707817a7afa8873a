"""Pool of persistent worker processes with a deadline for every task.

  with WorkerPool(num_workers=2) as pool:
    results = pool.map(grading.answer_key, answers, deadline_s=5.0)

A worker is `python -m mathft_jax.grading.pool_worker`. It gets several tasks in one message, runs
them one after the other and returns each result with the number of its task. The deadline of a task
starts when the worker begins it. A worker that exceeds the deadline or the memory limit, exits, or
is interrupted is replaced; its other tasks go to the next worker. The result names the limit, and
the pool counts the results by limit.

A pool belongs to one process: after `os.fork()`, the child starts its own workers. It may be used
from several threads, one call at a time.
"""

import atexit
import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
import functools
import itertools
from multiprocessing import connection
import os
import sys
import threading
import time
from typing import Self, TypeVar
import weakref

from mathft_jax.grading.worker_process import (
  START_TIMEOUT_S,
  Kind,
  Task,
  TaskResult,
  Worker,
)

DEFAULT_MEMORY_BYTES = 2 << 30  # address space of one worker
MAX_ATTEMPTS = 2  # of a task whose worker exits
MAX_FAILED_STARTS = 3  # in a row
MAX_BATCH_SIZE = 64  # tasks in one message to a worker
# Limits that another attempt may not exceed; the other limits depend on the task only.
UNCERTAIN_LIMITS = frozenset({'died', 'stalled'})
_MAX_HIT_CHARACTERS = 200
_Argument = TypeVar('_Argument')
_Value = TypeVar('_Value')


class WorkerPool:
  """Worker processes that run importable functions; a context manager.

  Attributes:
    counts: number of results by limit (`done` without one), and `restarted`: the workers that
      exited and whose task was tried again.
    hits: (limit, task as text) of each result with a limit.
  """

  def __init__(
    self,
    num_workers: int = 1,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    kind: Kind = 'grading',
  ):
    if num_workers < 1:
      raise ValueError(f'num_workers is {num_workers}; it must be at least 1.')
    self.memory_bytes = memory_bytes
    self._num_workers = num_workers
    self._kind: Kind = kind
    self._task_numbers = itertools.count()
    self._start_without_workers()
    os.register_at_fork(
      after_in_child=functools.partial(_reset_in_child, weakref.ref(self))
    )

  def _start_without_workers(self) -> None:
    self.counts: collections.Counter[str] = collections.Counter()
    self.hits: list[tuple[str, str]] = []
    self._workers: list[Worker] = []
    self._failed_starts = 0
    self._lock = threading.Lock()

  def reset_in_child(self) -> None:
    """Resets the pool in a forked process: the workers belong to the parent process."""
    for worker in self._workers:
      worker.forget()
    self._start_without_workers()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Stops the workers."""
    with self._lock:
      for worker in self._workers:
        worker.stop()
      self._workers = []

  def start(self) -> None:
    """Starts a worker and waits until it is ready, unless there is one."""
    if not any(worker.ready for worker in self._workers):
      self.run(abs, 0, START_TIMEOUT_S)

  def record_hits(self, hits: Iterable[tuple[str, str]]) -> None:
    """Adds limits that the tasks themselves report."""
    self.hits.extend(hits)

  def run(
    self,
    function: Callable[[_Argument], _Value],
    argument: _Argument,
    deadline_s: float,
    processor_time: bool = False,
  ) -> TaskResult[_Value]:
    """Returns the result of one task; see `map`."""
    return self.map(function, [argument], deadline_s, processor_time)[0]

  def map(
    self,
    function: Callable[[_Argument], _Value],
    arguments: Iterable[_Argument],
    deadline_s: float,
    processor_time: bool = False,
  ) -> list[TaskResult[_Value]]:
    """Returns the results of `function(argument)` in the order of the arguments.

    Args:
      function: a function that the worker can import by its name.
      arguments: one per task.
      deadline_s: seconds for each task.
      processor_time: count the seconds in the worker's processor time where the system reports it,
        so that results do not depend on the load of the machine. The wall-clock time is then
        limited to MAX_WALL_CLOCK_RATIO times as much.
    """
    with self._lock:
      tasks = []
      for argument in arguments:
        tasks.append(Task(next(self._task_numbers), function, argument))
      try:
        return self._run_tasks(tasks, deadline_s, processor_time)
      finally:
        # After an exception or Ctrl-C, workers still have tasks of this call.
        self._stop_busy_workers()

  def _run_tasks(
    self, tasks: Sequence[Task], deadline_s: float, processor_time: bool
  ) -> list[TaskResult]:
    self._stop_busy_workers()  # of a call that was interrupted twice
    batch_size = min(MAX_BATCH_SIZE, len(tasks) // (4 * self._num_workers))
    queue = collections.deque(tasks)
    results: dict[int, TaskResult] = {
      task.number: TaskResult() for task in tasks
    }
    num_left = len(tasks)
    while num_left:
      while len(self._workers) < min(self._num_workers, len(tasks)):
        self._workers.append(Worker(self.memory_bytes, self._kind))
      self._start_tasks(queue, max(batch_size, 1))
      for task, result in self._collect(queue, deadline_s, processor_time):
        if result.limit == 'died':
          task.attempts += 1
          if task.attempts < MAX_ATTEMPTS:
            self.counts['restarted'] += 1
            queue.appendleft(task)
            continue
        results[task.number] = result
        num_left -= 1
        self.counts[result.limit or 'done'] += 1
        if result.limit:
          self.hits.append((result.limit, _describe_task(task)))
    return list(results.values())

  def _start_tasks(
    self, queue: collections.deque[Task], batch_size: int
  ) -> None:
    for worker in self._workers:
      if queue and worker.ready and not worker.tasks:
        count = min(batch_size, len(queue))
        worker.start_tasks([queue.popleft() for _ in range(count)])

  def _collect(
    self,
    queue: collections.deque[Task],
    deadline_s: float,
    processor_time: bool,
  ) -> Iterator[tuple[Task, TaskResult]]:
    """Waits for the next event and yields the tasks that ended, with their results."""
    busy = []
    for worker in self._workers:
      if worker.tasks or not worker.ready:
        busy.append(worker)
    first_deadline = min(worker.deadline for worker in busy)
    timeout_s = max(0.0, first_deadline - time.monotonic())
    readable = connection.wait([worker.pipe for worker in busy], timeout_s)

    for worker in busy:
      task = worker.tasks[0] if worker.tasks else None
      if worker.pipe in readable:
        result = self._receive(worker, queue, deadline_s)
      elif time.monotonic() < worker.deadline:
        continue
      elif processor_time and task and worker.extend_deadline(deadline_s):
        continue
      else:
        is_stalled = processor_time and worker.has_stalled(deadline_s)
        result = TaskResult(limit='stalled' if is_stalled else 'deadline')
        self._remove(worker, queue)
      if task is not None and result is not None:
        yield task, result

  def _receive(
    self, worker: Worker, queue: collections.deque[Task], deadline_s: float
  ) -> TaskResult | None:
    """Returns the result of the worker's first task; None for any other message."""
    try:
      number, result = worker.pipe.recv()
    except Exception:  # pylint: disable=broad-exception-caught (end of file, or a broken message)
      self._remove(worker, queue)
      return TaskResult(limit='died')

    if number is None:
      worker.ready = True
      self._failed_starts = 0
      return None
    if not worker.tasks or number != worker.tasks[0].number:
      raise RuntimeError(
        f'A grading worker returned the result of task {number}, which it does not have.'
      )
    if result is None:
      worker.begin_task(deadline_s)
      return None
    worker.tasks.popleft()
    if result.limit == 'memory':
      self._remove(worker, queue, ended_task=False)
    elif worker.tasks:
      worker.await_task()
    return result

  def _remove(
    self,
    worker: Worker,
    queue: collections.deque[Task],
    ended_task: bool = True,
  ) -> None:
    """Stops a worker and puts the tasks that it has not begun back into the queue.

    Raises:
      RuntimeError: several workers in a row were never ready.
    """
    worker.stop()
    self._workers.remove(worker)
    if ended_task and worker.tasks:
      worker.tasks.popleft()
    queue.extendleft(reversed(worker.tasks))
    if worker.ready:
      return
    self._failed_starts += 1
    if self._failed_starts >= MAX_FAILED_STARTS:
      raise RuntimeError(
        f'{self._failed_starts} grading workers exited or were not ready within '
        f'{START_TIMEOUT_S:g} s; the last one has the exit status {worker.process.returncode}. '
        f'Run `{sys.executable} -m mathft_jax.grading.pool_worker` to see why.'
      )

  def _stop_busy_workers(self) -> None:
    """Stops the workers that have tasks; the next call starts others."""
    for worker in list(self._workers):
      if worker.tasks:
        worker.stop()
        self._workers.remove(worker)


def _reset_in_child(pool_reference: weakref.ref[WorkerPool]) -> None:
  pool = pool_reference()
  if pool is not None:
    pool.reset_in_child()


def _describe_task(task: Task) -> str:
  """Returns function and argument as text, without control characters."""
  argument = repr(task.argument)
  if len(argument) > _MAX_HIT_CHARACTERS:
    argument = (
      f'{argument[:_MAX_HIT_CHARACTERS]}... ({len(argument)} characters)'
    )
  return f'{task.function.__name__} {argument}'


_shared_pool = WorkerPool(kind='sympy')
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
