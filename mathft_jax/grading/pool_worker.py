"""Main program of one worker process of a `WorkerPool`.

The pool starts `python -m mathft_jax.grading.pool_worker PIPE_FD MEMORY_BYTES KIND`. KIND is
`sympy` for the worker that finds closed forms, else `grading`; a grading worker has its own sympy
worker.

The worker sends `(None, None)` when it is ready. A message to it is the pickled
`(function, [(task number, argument), ...])`. For each task it sends `(task number, None)` when it
begins the task and `(task number, result)` when it ends. It exits when the pipe is closed, also in
the middle of a task.
"""

from multiprocessing import connection
import os
import pickle
import queue
import resource
import signal
import sys
import threading

from mathft_jax.grading import worker_pool, worker_process
from mathft_jax.grading.canonical import sympy_closed_forms


def run_worker(
  pipe_fd: int, memory_bytes: int, kind: worker_process.Kind
) -> None:
  """Runs tasks from the pipe until the pool closes it.

  Args:
    pipe_fd: file descriptor of this worker's end of the pipe.
    memory_bytes: limit of the process's address space.
    kind: what the worker prepares before each task.
  """
  # The pool stops its workers.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  worker_process.mark_as_worker_process()
  if kind == 'sympy':
    sympy_closed_forms.warm_up()
  messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
  with connection.Connection(pipe_fd) as pipe:
    threading.Thread(
      target=_receive_messages, args=(pipe, messages), daemon=True
    ).start()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if kind == 'grading':
      worker_pool.shared_pool().start()
    pipe.send((None, None))
    while True:
      _run_tasks(pipe, messages.get(), kind)


def _receive_messages(
  pipe: connection.Connection, messages: queue.SimpleQueue[bytes]
) -> None:
  """Reads messages; exits the process when the pool closes the pipe or is gone."""
  try:
    while True:
      messages.put(pipe.recv_bytes())
  finally:
    os._exit(0)  # the main thread may be busy for long


def _run_tasks(
  pipe: connection.Connection, message: bytes, kind: worker_process.Kind
) -> None:
  """Runs the tasks of one message and sends each result as soon as it exists."""
  function, tasks = pickle.loads(message)
  for number, argument in tasks:
    if kind == 'grading':
      # Its start is not part of the next task.
      worker_pool.shared_pool().start()
    pipe.send((number, None))
    try:
      value = function(argument)
      answer = pickle.dumps((number, worker_process.TaskResult(value)))
    except MemoryError:
      answer = _limit_message(number, 'memory')
    except Exception as error:  # pylint: disable=broad-exception-caught (reported by name)
      answer = _limit_message(number, type(error).__name__)
    pipe.send_bytes(answer)


def _limit_message(number: int, limit: str) -> bytes:
  return pickle.dumps((number, worker_process.TaskResult(limit=limit)))


if __name__ == '__main__':
  worker_kind: worker_process.Kind = (
    'sympy' if sys.argv[3] == 'sympy' else 'grading'
  )
  run_worker(int(sys.argv[1]), int(sys.argv[2]), worker_kind)
