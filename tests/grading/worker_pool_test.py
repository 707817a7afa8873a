"""Worker pool: order of results, limits, replacement of workers, forks and interrupts."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mathft_jax import grading
from mathft_jax.grading import worker_pool


@pytest.fixture(scope='module')
def workers():
  with worker_pool.WorkerPool(2) as pool:
    yield pool


@pytest.fixture(scope='module')
def one_worker():
  with worker_pool.WorkerPool(1) as pool:
    yield pool


def _process_ids(pool):
  return [worker.process.pid for worker in pool._workers]


def test_results_are_in_the_order_of_the_arguments(workers):
  answers = ['4', r'\frac{8}{2}', None, 'x+1', '']
  results = workers.map(grading.answer_key, answers, 10.0)
  assert [result.value for result in results] == list(
    map(grading.answer_key, answers)
  )
  assert not any(result.limit for result in results)


def test_a_task_over_its_deadline_is_stopped_and_the_others_finish(workers):
  before = workers.counts['deadline']
  results = workers.map(time.sleep, [0.0, 60.0, 0.0, 0.0], 2.0)
  assert [result.limit for result in results] == [None, 'deadline', None, None]
  assert workers.counts['deadline'] == before + 1
  assert workers.run(grading.answer_key, '5', 10.0).value == 5


def test_a_task_whose_worker_exits_is_tried_twice(workers):
  before = workers.counts['restarted']
  results = workers.map(os._exit, [3], 10.0)
  assert [result.limit for result in results] == ['died']
  assert workers.counts['restarted'] == before + 1
  assert workers.run(grading.answer_key, '5', 10.0).value == 5


def test_a_killed_worker_is_replaced_and_its_next_task_has_a_result(one_worker):
  assert one_worker.run(grading.answer_key, '5', 10.0).value == 5
  before = one_worker.counts['restarted']
  (killed,) = _process_ids(one_worker)
  os.kill(killed, signal.SIGKILL)
  one_worker._workers[0].process.wait()
  assert one_worker.run(grading.answer_key, '6', 10.0) == (
    worker_pool.TaskResult(6)
  )
  assert one_worker.counts['restarted'] == before + 1
  assert _process_ids(one_worker) != [killed]


def test_an_interrupted_call_does_not_change_later_results(
  one_worker, monkeypatch
):
  one_worker.run(grading.answer_key, '5', 10.0)
  collect = one_worker._collect

  def interrupt():
    raise KeyboardInterrupt

  monkeypatch.setattr(one_worker, '_collect', interrupt)
  with pytest.raises(KeyboardInterrupt):
    one_worker.run(grading.answer_key, '7', 10.0)
  monkeypatch.setattr(one_worker, '_collect', collect)
  assert one_worker.run(grading.answer_key, '8', 10.0).value == 8


def test_the_result_of_a_task_that_the_pool_forgot_is_ignored(one_worker):
  one_worker.run(grading.answer_key, '5', 10.0)
  (worker,) = one_worker._workers
  worker.start_task(
    worker_pool._Task(10**9, grading.answer_key, 'old answer'), 10.0
  )
  worker.task = None  # as after an interrupt between the two assignments
  assert one_worker.run(grading.answer_key, '8', 10.0).value == 8


def test_a_forked_process_starts_its_own_workers(one_worker):
  one_worker.run(grading.answer_key, '5', 10.0)
  of_parent = _process_ids(one_worker)
  pid = os.fork()
  if not pid:  # the child reports by its exit status and runs no other test
    status = 1
    try:
      value = one_worker.run(grading.answer_key, '6', 60.0).value
      has_own_worker = _process_ids(one_worker) != of_parent
      one_worker.close()
      status = 0 if value == 6 and has_own_worker else 2
    finally:
      os._exit(status)
  assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
  assert one_worker.run(grading.answer_key, '7', 10.0).value == 7
  assert _process_ids(one_worker) == of_parent


def test_a_task_over_the_memory_limit_is_stopped(workers):
  results = workers.map(bytearray, [1 << 10, 8 << 30], 10.0)
  assert [result.limit for result in results] == [None, 'memory']
  assert workers.run(grading.answer_key, '5', 10.0).value == 5


def test_an_exception_is_named_and_the_worker_is_kept(workers):
  before = _process_ids(workers)
  assert workers.run(time.sleep, 'long', 10.0).limit == 'TypeError'
  assert _process_ids(workers) == before


def test_a_pool_of_no_workers_is_an_error():
  with pytest.raises(ValueError, match='num_workers is 0'):
    worker_pool.WorkerPool(0)


def test_closing_stops_the_processes():
  pool = worker_pool.WorkerPool(1)
  pool.run(grading.answer_key, '5', 10.0)
  (process,) = [worker.process for worker in pool._workers]
  pool.close()
  assert process.poll() is not None


def test_a_worker_imports_neither_jax_nor_tensorflow():
  program = (
    'import sys, mathft_jax.grading.pool_worker; '
    'print(sorted({"jax", "tensorflow", "flax", "gin", "sympy"} & sys.modules.keys()))'
  )
  output = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert output.stdout.strip() == '[]'
