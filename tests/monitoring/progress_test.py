"""Lines in a log, a bar on a terminal, counted compilations."""

import time

from absl import logging as absl_logging
import jax
import jax.numpy as jnp
import pytest

from mathft_jax.monitoring import progress


@pytest.fixture
def lines(monkeypatch):
  seen = []
  monkeypatch.setattr(
    absl_logging, 'info', lambda text, *values: seen.append(text % values)
  )
  return seen


def test_a_log_gets_one_last_line_and_lines_between_only_after_a_while(lines):
  with progress.ProgressBar(
    'train', total=3, unit='steps', terminal=False
  ) as bar:
    for loss in (3.0, 2.0, 1.23456):
      bar.advance(1, loss=loss)
  assert len(lines) == 1
  assert lines[0].startswith('train: 3/3 steps, ') and lines[0].endswith(
    'loss 1.235'
  )


def test_a_log_gets_a_line_each_period_with_the_time_left(lines):
  with progress.ProgressBar(
    'sample',
    total=4,
    unit='problems',
    terminal=False,
    seconds_between_lines=0.0,
  ) as bar:
    bar.advance(2)
    time.sleep(0.01)
  assert lines[0].startswith('sample: 2/4 problems') and 's left' in lines[0]


def test_work_of_an_earlier_run_counts_as_done_but_not_as_speed():
  bar = progress.ProgressBar(
    'sample', total=1000, unit='rows', done=900, terminal=False
  )
  time.sleep(0.05)
  bar.advance(1)
  assert bar.line().startswith('sample: 901/1000 rows') and bar.rate() < 25


def test_nothing_is_said_at_the_end_of_a_failed_run(lines):
  with pytest.raises(RuntimeError):
    with progress.ProgressBar(
      'train', total=2, unit='steps', terminal=False
    ) as bar:
      bar.advance(1)
      raise RuntimeError('stop')
  assert not lines


def test_a_terminal_gets_a_bar(capsys):
  with progress.ProgressBar(
    'train', total=2, unit='steps', terminal=True
  ) as bar:
    bar.advance(2, loss=1.5)
  assert '2/2' in capsys.readouterr().err


def test_compilations_are_counted_once_each():
  watch = progress.CompilationCounter()
  double = jax.jit(lambda x: x * 2 + 1.25)
  double(jnp.zeros(7)).block_until_ready()
  seen = watch.count
  double(jnp.ones(7)).block_until_ready()
  assert seen >= 1 and watch.seconds > 0
  after_same_shape = watch.count
  double(jnp.ones(9)).block_until_ready()
  assert watch.count > after_same_shape


def test_the_peak_of_an_unknown_chip_is_not_guessed():
  assert progress.model_flops_utilization(1e12) is None  # the tests run on CPU
