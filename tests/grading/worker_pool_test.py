"""Workers: results in order, limits that are hit and counted, workers that are replaced."""

import os
import subprocess
import sys
import time

import pytest

from mathft_jax import grading
from mathft_jax.grading import worker_pool


@pytest.fixture(scope='module')
def workers():
  with worker_pool.WorkerPool(2) as processes:
    yield processes


def test_results_come_in_the_order_of_the_items(workers):
  answers = ['4', r'\frac{8}{2}', None, 'x+1', '']
  results = workers.map(grading.answer_key, answers, 10.0)
  assert [result.value for result in results] == list(
    map(grading.answer_key, answers)
  )
  assert not any(result.limit for result in results)


def test_an_item_over_its_deadline_is_given_up_and_the_others_are_done(workers):
  before = workers.counts['deadline']
  results = workers.map(time.sleep, [0.0, 60.0, 0.0, 0.0], 2.0)
  assert [result.limit for result in results] == [None, 'deadline', None, None]
  assert workers.counts['deadline'] == before + 1
  assert workers.run(grading.answer_key, '5', 10.0).value == 5


def test_a_worker_that_dies_is_replaced(workers):
  results = workers.map(os._exit, [3], 10.0)
  assert [result.limit for result in results] == ['died']
  assert workers.run(grading.answer_key, '5', 10.0).value == 5


def test_an_item_over_the_limit_on_memory_is_given_up(workers):
  results = workers.map(bytearray, [1 << 10, 8 << 30], 10.0)
  assert [result.limit for result in results] == [None, 'memory']
  assert workers.run(grading.answer_key, '5', 10.0).value == 5


def test_an_error_is_named_and_the_worker_lives(workers):
  processes = [each.process.pid for each in workers._workers]
  assert workers.run(time.sleep, 'long', 10.0).limit == 'TypeError'
  assert [each.process.pid for each in workers._workers] == processes


def test_a_pool_needs_a_worker():
  with pytest.raises(ValueError, match='0 workers'):
    worker_pool.WorkerPool(0)


def test_closing_ends_the_processes():
  processes = worker_pool.WorkerPool(1)
  processes.run(grading.answer_key, '5', 10.0)
  (process,) = [each.process for each in processes._workers]
  processes.close()
  assert process.poll() is not None


def test_workers_and_the_wing_import_neither_jax_nor_tensorflow():
  program = (
    'import sys, mathft_jax.grading.worker_process; '
    'print(sorted({"jax", "tensorflow", "flax", "gin", "sympy"} & sys.modules.keys()))'
  )
  output = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert output.stdout.strip() == '[]'
