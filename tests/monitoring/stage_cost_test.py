"""Tests of the cost of a stage: starts add up, processes merge, damaged files do not stop a run."""

import dataclasses
import json

import pytest

from mathft_jax.monitoring import stage_cost
from mathft_jax.monitoring.stage_cost import StageCost, StageMeter


@pytest.fixture
def clock(monkeypatch):
  """A clock that a test sets."""
  now = [100.0]
  monkeypatch.setattr(stage_cost.time, 'monotonic', lambda: now[0])
  return now


def run(folder, clock, seconds, **tokens):
  with StageMeter(folder, 'sample', inputs=[folder / 'weights']) as meter:
    meter.add(**tokens)
    clock[0] += seconds


def test_starts_of_a_stage_add_up(tmp_path, clock):
  import jax

  run(tmp_path, clock, 10.0, tokens_in=5, tokens_out=7)
  clock[0] += 1000  # between two starts
  run(tmp_path, clock, 2.0, tokens_out=3)
  cost = stage_cost.read_cost(tmp_path)
  assert cost.seconds == pytest.approx(12.0)
  assert cost.device_seconds == pytest.approx(12.0 * jax.device_count())
  assert (cost.tokens_in, cost.tokens_out, cost.starts) == (5, 10, 2)
  assert (cost.device_kind, cost.num_devices) == ('cpu', jax.device_count())
  assert cost.peak_host_bytes > 2**20
  assert cost.inputs == ('weights',)


def test_a_start_that_fails_has_a_cost(tmp_path, clock):
  with pytest.raises(RuntimeError):
    with StageMeter(tmp_path, 'train') as meter:
      meter.add(tokens_in=4)
      clock[0] += 3
      raise RuntimeError
  assert stage_cost.read_cost(tmp_path).seconds == pytest.approx(3)


def test_a_killed_start_keeps_what_was_saved_on_the_way(tmp_path, clock):
  meter = StageMeter(tmp_path, 'train').__enter__()  # and no exit
  clock[0] += 20
  meter.add(tokens_in=1)
  assert stage_cost.read_cost(tmp_path) is None
  clock[0] += 20
  meter.add(tokens_in=1)
  cost = stage_cost.read_cost(tmp_path)
  assert (cost.seconds, cost.tokens_in) == (pytest.approx(40), 2)
  run(tmp_path, clock, 5.0)
  assert stage_cost.read_cost(tmp_path).seconds == pytest.approx(45)


def test_a_stage_on_the_host_has_no_device_seconds(tmp_path, clock):
  with stage_cost.meter_on_host(tmp_path, 'grade', []):
    clock[0] += 4
  cost = stage_cost.read_cost(tmp_path)
  assert (cost.seconds, cost.device_seconds, cost.device_kind) == (4, 0, '')


def test_files_of_several_processes_are_merged(tmp_path):
  first = StageCost(
    program='sample', seconds=9, device_seconds=18, tokens_out=5, starts=1
  )
  second = dataclasses.replace(first, seconds=8, tokens_out=6)
  for name, cost in (('cost.json', first), ('cost.0001.json', second)):
    (tmp_path / name).write_text(json.dumps(dataclasses.asdict(cost)))
  merged = stage_cost.read_cost(tmp_path)
  assert (merged.seconds, merged.device_seconds) == (9, 18)
  assert (merged.tokens_out, merged.starts) == (11, 1)


def test_a_damaged_file_is_begun_anew(tmp_path, clock):
  (tmp_path / 'cost.json').write_text('{"program": ')
  assert stage_cost.read_cost(tmp_path) is None
  run(tmp_path, clock, 2.0)
  assert stage_cost.read_cost(tmp_path).seconds == pytest.approx(2)


def test_a_file_that_cannot_be_written_does_not_stop_the_stage(
  tmp_path, clock, monkeypatch
):
  def fail(path, text):
    raise OSError('no space left')

  monkeypatch.setattr(stage_cost.atomic_files, 'write_text_atomically', fail)
  run(tmp_path, clock, 1.0)
  assert stage_cost.read_cost(tmp_path) is None


def test_the_costs_of_a_file_follow_its_inputs(tmp_path, clock):
  chain = ('candidates', 'graded', 'scored')
  previous = tmp_path / 'weights'
  for name, program in zip(chain, ('sample', 'grade', 'score')):
    folder = tmp_path / name
    inputs = [tmp_path / 'checkpoint' / '7', previous]
    with StageMeter(folder, program, inputs=inputs):
      clock[0] += 1
    previous = folder / f'{name}.jsonl'
  costs = stage_cost.read_costs_of_file(previous)
  assert list(costs) == ['score', 'grade', 'sample']
  assert stage_cost.read_costs_of_file(tmp_path / 'x.jsonl') == {}
