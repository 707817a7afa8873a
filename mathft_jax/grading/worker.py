"""The process of a worker of pool.Pool: one task after the other, until the pipe closes."""

from collections.abc import Callable
from multiprocessing import connection
import resource
import sys
import time
from typing import Any

from mathft_jax.grading import answers
from mathft_jax.grading import equivalence
from mathft_jax.grading import peers
from mathft_jax.grading import pool
from mathft_jax.grading import symbolic

def _timed(grade: Callable[[tuple[str, str]], bool]) -> Callable[[tuple[str, str]], Any]:
  """The verdict on a fresh pair, and its seconds."""

  def run(pair: tuple[str, str]) -> tuple[bool, float]:
    equivalence.forget()
    start = time.perf_counter()
    verdict = grade(pair)
    return verdict, time.perf_counter() - start

  return run


def _grade(pair: tuple[str, str]) -> bool:
  return equivalence.is_equivalent(*pair)


TASKS: dict[str, Callable[[Any], Any]] = {
    'closed_form': symbolic.closed_form,
    'key': equivalence.key,
    'extract': answers.find_answer,
    **peers.PEERS,
    'timed mathft': _timed(_grade),
    'timed math-verify': _timed(peers.math_verify),
}


def main(descriptor: int, memory_bytes: int) -> None:
  import sympy  # noqa: F401  pylint: disable=import-outside-toplevel,unused-import (before the first deadline)
  resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  with connection.Connection(descriptor) as pipe:
    pipe.send('ready')
    while True:
      try:
        task, argument = pipe.recv()
      except EOFError:
        return
      pipe.send(_result(task, argument))


def _result(task: str, argument: Any) -> pool.Result:
  try:
    return pool.Result(TASKS[task](argument))
  except MemoryError:
    return pool.Result(limit='memory')
  except Exception as error:  # pylint: disable=broad-exception-caught (it is reported by its name)
    return pool.Result(limit=type(error).__name__)


if __name__ == '__main__':
  main(int(sys.argv[1]), int(sys.argv[2]))
