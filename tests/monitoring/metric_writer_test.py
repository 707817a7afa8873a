"""What a metric writer leaves in a work directory, and Weights & Biases with a stand-in."""

import json
import sys
import types

import pytest

from mathft_jax.monitoring import metrics, profiling


class FakeRun:
  def __init__(self, **arguments):
    self.arguments, self.logged, self.exit_code = arguments, [], None

  def define_metric(self, name, step_metric):
    self.step_metric = step_metric

  def log(self, data):
    self.logged.append(data)

  def finish(self, exit_code):
    self.exit_code = exit_code


@pytest.fixture
def wandb(monkeypatch):
  """A stand-in for the module; `runs` has the runs that were started."""
  module = types.ModuleType('wandb')
  module.runs = []

  def init(**arguments):
    module.runs.append(FakeRun(**arguments))
    return module.runs[-1]

  module.init = init
  monkeypatch.setitem(sys.modules, 'wandb', module)
  return module


def write(folder, start_step=0, **settings):
  with metrics.MetricWriter(
    folder, start_step=start_step, tensorboard=False, **settings
  ) as writer:
    writer.write(start_step + 1, 'train', {'loss': 2.5})


def test_a_run_leaves_a_page_with_its_curves(tmp_path):
  write(tmp_path)
  write(tmp_path, start_step=1)
  page = (tmp_path / 'curves.html').read_text()
  assert page.count('<circle') == 2 and str(tmp_path) in page


def test_a_page_that_cannot_be_written_stops_nothing(tmp_path):
  (tmp_path / 'curves.html').mkdir()
  write(tmp_path)
  assert json.loads((tmp_path / 'metrics.jsonl').read_text())['loss'] == 2.5


def test_a_resumed_run_continues_its_wandb_run(tmp_path, wandb):
  write(tmp_path, wandb_project='math')
  write(tmp_path, start_step=1, wandb_project='math')
  first, second = wandb.runs
  assert first.arguments['id'] == second.arguments['id']
  assert first.arguments['project'] == 'math'
  assert second.logged == [{'train/loss': 2.5, 'step': 2}]
  assert first.step_metric == 'step' and first.exit_code == 0


def test_a_failed_run_is_marked_in_wandb(tmp_path, wandb):
  with pytest.raises(RuntimeError):
    with metrics.MetricWriter(
      tmp_path, start_step=0, tensorboard=False, wandb_project='math'
    ):
      raise RuntimeError('stop')
  assert wandb.runs[0].exit_code == 1


def test_wandb_that_is_missing_or_refuses_is_an_error_with_advice(
  tmp_path, wandb, monkeypatch
):
  def refuse(**arguments):
    raise RuntimeError('no API key')

  wandb.init = refuse
  with pytest.raises(ValueError, match='no API key.*WANDB_MODE=offline'):
    write(tmp_path, wandb_project='math')
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(ValueError, match=r"pip install 'mathft_jax\[wandb\]'"):
    write(tmp_path, wandb_project='math')


@pytest.mark.parametrize('steps', [(0, 3), (4, 3), (1,), (1.5, 2)])
def test_wrong_profile_steps_are_refused(steps):
  with pytest.raises(ValueError, match='PROFILE_STEPS'):
    profiling.check_profile_steps(steps)
