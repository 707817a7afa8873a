"""Persistent worker processes with a deadline for every item.

A worker is `python -m mathft_jax.grading.worker_process`; it imports this wing and nothing else, lives until
the pool is closed, and takes one item at a time. The deadline of an item counts from when a ready
worker gets it. A worker that exceeds it, or the limit on its memory, or dies, is replaced; the item's
result says which limit it hit, and the pool counts them.
"""

import atexit
import collections
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import multiprocessing
from multiprocessing import connection
import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any, Self

DEFAULT_MEMORY_BYTES = 2 << 30  # of address space, for each worker
START_TIMEOUT_S = 300.0  # a worker that is not ready by then will never be
Function = Callable[[Any], Any]

_PACKAGE_PARENT = pathlib.Path(__file__).resolve().parent.parent.parent


@dataclasses.dataclass(frozen=True)
class TaskResult:
  """The value of an item, or the limit that it hit: `deadline`, `memory`, `died`, or an error."""

  value: Any = None
  limit: str | None = None


class _Worker:
  """One process and the pipe to it."""

  def __init__(self, memory_bytes: int):
    self.pipe, other = multiprocessing.Pipe()
    path = os.pathsep.join(
      [str(_PACKAGE_PARENT), *filter(None, [os.environ.get('PYTHONPATH')])]
    )
    self.process = subprocess.Popen(
      [
        sys.executable,
        '-m',
        'mathft_jax.grading.worker_process',
        str(other.fileno()),
        str(memory_bytes),
      ],
      pass_fds=[other.fileno()],
      env={**os.environ, 'PYTHONPATH': path},
      stdin=subprocess.DEVNULL,
    )
    other.close()
    self.ready = False
    self.item: int | None = None
    self.ends = time.monotonic() + START_TIMEOUT_S

  def give(
    self, index: int, function: Function, argument: Any, deadline_s: float
  ) -> None:
    self.item = index
    self.ends = time.monotonic() + deadline_s
    self.pipe.send((function, argument))

  def stop(self) -> None:
    self.pipe.close()
    self.process.kill()
    self.process.wait()


class WorkerPool:
  """Workers for functions that a module has by name; use as a context manager, or close it."""

  def __init__(
    self, workers: int = 1, memory_bytes: int = DEFAULT_MEMORY_BYTES
  ):
    if workers < 1:
      raise ValueError(f'a pool of {workers} workers; wanted 1 or more.')
    self.memory_bytes = memory_bytes
    self.counts: collections.Counter[str] = collections.Counter()
    self.hits: list[tuple[str, str]] = []  # (limit, the item that hit it)
    self._size = workers
    self._workers: list[_Worker] = []
    self._lock = threading.Lock()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Ends the workers."""
    with self._lock:
      for worker in self._workers:
        worker.stop()
      self._workers = []

  def run(
    self, function: Function, argument: Any, deadline_s: float
  ) -> TaskResult:
    """The result of one item."""
    return self.map(function, [argument], deadline_s)[0]

  def map(
    self, function: Function, arguments: Iterable[Any], deadline_s: float
  ) -> list[TaskResult]:
    """The results in order; every item has the deadline for itself, in seconds of the clock."""
    with self._lock:
      items = list(arguments)
      results: list[TaskResult | None] = [None] * len(items)
      waiting = iter(enumerate(items))
      left = len(items)
      while len(self._workers) < min(self._size, len(items)):
        self._workers.append(_Worker(self.memory_bytes))
      while left:
        self._hand_out(function, waiting, deadline_s)
        for index, result in self._collect():
          results[index] = result
          self.counts[result.limit or 'done'] += 1
          if result.limit:
            self.hits.append(
              (result.limit, f'{function.__name__} {items[index]!r}')
            )
          left -= 1
      return results

  def _hand_out(
    self,
    function: Function,
    waiting: Iterator[tuple[int, Any]],
    deadline_s: float,
  ) -> None:
    for worker in self._workers:
      if worker.ready and worker.item is None:
        index, argument = next(waiting, (None, None))
        if index is None:
          return
        worker.give(index, function, argument, deadline_s)

  def _collect(self) -> Iterator[tuple[int, TaskResult]]:
    """The items that end next: results, and what went over its deadline or with its worker."""
    busy = [
      worker
      for worker in self._workers
      if worker.item is not None or not worker.ready
    ]
    timeout = max(0.0, min(worker.ends for worker in busy) - time.monotonic())
    ready = set(connection.wait([worker.pipe for worker in busy], timeout))
    for worker in busy:
      item = worker.item
      if worker.pipe in ready:
        result = self._receive(worker)
      elif time.monotonic() >= worker.ends:
        result = TaskResult(limit='deadline')
        self._replace(worker)
      else:
        continue
      if item is not None and result is not None:
        yield item, result

  def _receive(self, worker: _Worker) -> TaskResult | None:
    """The result that a worker sent; None when it says that it is ready."""
    try:
      result = worker.pipe.recv()
    except (EOFError, OSError):
      if not worker.ready:
        raise RuntimeError(
          f'a grading worker ended with status {worker.process.wait()} before it was '
          f'ready; does `{sys.executable} -m mathft_jax.grading.worker_process` start?'
        )
      self._replace(worker)
      return TaskResult(limit='died')
    worker.item, worker.ready = None, True
    if isinstance(result, TaskResult) and result.limit == 'memory':
      self._replace(worker)
    return result

  def _replace(self, worker: _Worker) -> None:
    """Puts a new worker in the place of one that is lost; one that never started is an error."""
    if not worker.ready:
      worker.stop()
      raise RuntimeError(
        f'a grading worker was not ready after {START_TIMEOUT_S} s.'
      )
    worker.stop()
    self._workers[self._workers.index(worker)] = _Worker(self.memory_bytes)


_shared: list[WorkerPool] = []
_shared_lock = threading.Lock()


def shared_pool() -> WorkerPool:
  """The pool of one worker for what single answers need; it starts at its first use."""
  with _shared_lock:
    if not _shared:
      _shared.append(WorkerPool())
      atexit.register(_shared[0].close)
    return _shared[0]


def shared_pool_counts() -> collections.Counter[str]:
  """How the items of the shared pool ended, since the process began."""
  with _shared_lock:
    return collections.Counter(_shared[0].counts if _shared else {})


def shared_pool_limit_hits() -> list[tuple[str, str]]:
  """The limits that items of the shared pool have hit, since the process began."""
  with _shared_lock:
    return list(_shared[0].hits if _shared else ())
