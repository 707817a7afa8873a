"""Worker pool: order of results, limits, replacement of workers, forks and interrupts."""

from concurrent import futures
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mathft_jax import grading
from mathft_jax.grading import equivalence, worker_pool, worker_process


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


def test_after_an_exception_the_busy_worker_is_replaced(
  one_worker, monkeypatch
):
  one_worker.run(grading.answer_key, '5', 10.0)
  before = _process_ids(one_worker)

  def fail(*_):
    raise RuntimeError('in the parent')

  with monkeypatch.context() as patch:
    patch.setattr(one_worker, '_collect', fail)
    with pytest.raises(RuntimeError, match='in the parent'):
      one_worker.run(time.sleep, 60.0, 100.0)
  start = time.monotonic()
  assert one_worker.run(grading.answer_key, '8', 10.0).value == 8
  assert time.monotonic() - start < 30.0  # the 60 s are not waited for
  assert _process_ids(one_worker) != before


@pytest.mark.parametrize('delay_s', [0.02, 0.2, 0.4])
def test_ctrl_c_does_not_change_later_results(one_worker, delay_s):
  one_worker.run(grading.answer_key, '5', 10.0)
  timer = threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGINT))
  timer.start()
  with pytest.raises(KeyboardInterrupt):
    one_worker.map(_sleep_then_key, ['7'] * 100, 60.0)
    time.sleep(60.0)
  assert one_worker.run(grading.answer_key, '8', 10.0).value == 8


def _sleep_then_key(answer):
  time.sleep(0.05)
  return grading.answer_key(answer)


def test_the_result_of_another_task_is_never_used(one_worker):
  one_worker.run(grading.answer_key, '5', 10.0)
  (worker,) = one_worker._workers
  old = worker_process.Task(10**9, grading.answer_key, 'old answer')
  worker.start_tasks([old])
  worker.tasks.clear()  # as if the pool had forgotten the task
  with pytest.raises(RuntimeError, match='result of task 1000000000'):
    one_worker.run(grading.answer_key, '8', 10.0)
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


INTEGRALS = [(rf'\int_0^{n} x dx', f'{n * n}/2') for n in range(2, 10)]


def _is_equivalent(pair):
  return grading.is_equivalent(*pair)


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_integrals_are_right_in_process_pools(method):
  # The parent has used its worker before the children exist.
  assert grading.is_equivalent(r'\int_0^1 x dx', r'\frac12')
  equivalence.clear_cache()
  context = multiprocessing.get_context(method)
  with context.Pool(2) as processes:
    assert all(processes.map(_is_equivalent, INTEGRALS, chunksize=1))


def test_integrals_are_right_in_threads():
  equivalence.clear_cache()
  with futures.ThreadPoolExecutor(8) as threads:
    assert all(threads.map(_is_equivalent, INTEGRALS))


def test_a_fork_during_a_call_of_another_thread_does_not_hang(one_worker):
  thread = threading.Thread(
    target=one_worker.run, args=(time.sleep, 1.0, 10.0), daemon=True
  )
  thread.start()
  while not one_worker._lock.locked():
    time.sleep(0.01)
  pid = os.fork()
  if not pid:
    status = 1
    try:
      status = one_worker.run(grading.answer_key, '6', 60.0).value != 6
      one_worker.close()
    finally:
      os._exit(status)
  assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
  thread.join()


def test_a_killed_worker_does_not_change_the_results_of_its_batch(workers):
  answers = [str(n) for n in range(400)]
  timer = threading.Timer(0.1, _kill_workers, [workers])
  timer.start()
  results = workers.map(_slow_key, answers, 10.0)
  assert [result.value for result in results] == list(range(400))


def _slow_key(answer):
  time.sleep(0.002)
  return grading.answer_key(answer)


def _kill_workers(pool):
  for pid in _process_ids(pool):
    os.kill(pid, signal.SIGKILL)


def test_a_worker_that_is_killed_while_it_starts_is_started_again():
  pool = worker_pool.WorkerPool(1)
  pool._workers.append(worker_process.Worker(pool.memory_bytes, 'grading'))
  _kill_workers(pool)
  assert pool.run(grading.answer_key, '5', 10.0).value == 5
  pool.close()


def test_workers_that_cannot_start_are_an_error(monkeypatch):
  monkeypatch.setattr(sys, 'executable', '/bin/false')
  with worker_pool.WorkerPool(1) as pool:
    with pytest.raises(RuntimeError, match='3 grading workers exited'):
      pool.run(grading.answer_key, '5', 10.0)


def test_a_busy_worker_exits_when_its_pool_is_gone(tmp_path):
  program = (
    'import os, sys, threading, time\n'
    'from mathft_jax.grading import worker_pool\n'
    'pool = worker_pool.WorkerPool(1)\n'
    'pool.run(abs, 1, 60.0)\n'
    'print(pool._workers[0].process.pid, flush=True)\n'
    'pool.run(time.sleep, 600.0, 600.0)\n'
  )
  parent = subprocess.Popen(
    [sys.executable, '-c', program], stdout=subprocess.PIPE, text=True
  )
  assert parent.stdout is not None
  worker = int(parent.stdout.readline())
  time.sleep(0.3)
  parent.kill()
  parent.wait()
  for _ in range(100):
    if not os.path.exists(f'/proc/{worker}/cmdline'):
      return
    if not open(f'/proc/{worker}/cmdline').read():  # exited, not yet reaped
      return
    time.sleep(0.1)
  pytest.fail('the worker is still running')


def test_deadlines_in_processor_time_do_not_count_waiting(one_worker):
  one_worker.run(_sleep_and_return, 0.0, 60.0)  # imports this module
  result = one_worker.run(_sleep_and_return, 0.5, 0.2, processor_time=True)
  assert result == worker_process.TaskResult(0.5)
  result = one_worker.run(_compute_and_return, 60.0, 0.1, processor_time=True)
  assert result.limit == 'deadline'
  result = one_worker.run(time.sleep, 60.0, 0.1, processor_time=True)
  assert result.limit == 'stalled'


def _sleep_and_return(seconds):
  time.sleep(seconds)
  return seconds


def _compute_and_return(seconds):
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    pass
  return seconds


def test_a_value_that_cannot_be_sent_is_named(one_worker):
  assert one_worker.run(_make_lambda, 1, 10.0).limit is not None
  assert one_worker.run(grading.answer_key, '5', 10.0).value == 5


def _make_lambda(value):
  return lambda: value


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
