"""Main program of one worker process of a `WorkerPool`.

The pool starts `python -m mathft_jax.grading.pool_worker PIPE_FD MEMORY_BYTES`. The worker sends
`(None, TaskResult())` when it is ready, then one `(task number, result)` for each
`(task number, pickled (function, argument))` that it receives. It exits when the pipe is closed.
"""

from multiprocessing import connection
import pickle
import resource
import sys

from mathft_jax.grading import worker_pool
from mathft_jax.grading.canonical import sympy_closed_forms


def run_worker(pipe_fd: int, memory_bytes: int) -> None:
  """Runs tasks from the pipe until the pool closes it.

  Args:
    pipe_fd: file descriptor of this worker's end of the pipe.
    memory_bytes: limit of the process's address space.
  """
  sympy_closed_forms.warm_up()
  resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

  with connection.Connection(pipe_fd) as pipe:
    pipe.send((None, worker_pool.TaskResult()))
    while True:
      try:
        number, task = pipe.recv()
      except EOFError:
        return
      pipe.send((number, _run_task(task)))


def _run_task(task: bytes) -> worker_pool.TaskResult:
  try:
    function, argument = pickle.loads(task)
    return worker_pool.TaskResult(function(argument))
  except MemoryError:
    return worker_pool.TaskResult(limit='memory')
  except Exception as error:  # pylint: disable=broad-exception-caught (reported by name)
    return worker_pool.TaskResult(limit=type(error).__name__)


if __name__ == '__main__':
  run_worker(int(sys.argv[1]), int(sys.argv[2]))
