"""The process of a worker of pool.Pool: one item after the other, until the pipe closes."""

from multiprocessing import connection
import resource
import sys

from mathft_jax.grading import worker_pool
from mathft_jax.grading.canonical import sympy_closed_forms


def run_worker(descriptor: int, memory_bytes: int) -> None:
  """Answers every (function, argument) that the pipe brings with a pool.Result."""
  sympy_closed_forms.warm_up()
  resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  with connection.Connection(descriptor) as pipe:
    pipe.send('ready')
    while True:
      try:
        pipe.send(_result(pipe))
      except EOFError:
        return


def _result(pipe: connection.Connection) -> worker_pool.TaskResult:
  try:
    function, argument = pipe.recv()
    return worker_pool.TaskResult(function(argument))
  except EOFError:
    raise
  except MemoryError:
    return worker_pool.TaskResult(limit='memory')
  except Exception as error:  # pylint: disable=broad-exception-caught (it is reported by its name)
    return worker_pool.TaskResult(limit=type(error).__name__)


if __name__ == '__main__':
  run_worker(int(sys.argv[1]), int(sys.argv[2]))
