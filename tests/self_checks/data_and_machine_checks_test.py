"""Planted faults of the examples and of the machine are found."""

import dataclasses
import os

import numpy as np
import pytest

from mathft_jax.data.example_types import SolutionExample
from mathft_jax.self_checks import data_checks, machine_checks
from tests.self_checks import checked_runs


@pytest.fixture(scope='module')
def run():
  return checked_runs.make_run()


def test_supervised_tokens_are_counted(run):
  finding = data_checks.check_supervised_tokens(run)
  assert finding.status == 'ok'
  assert finding.found == 'minimum 32, median 32, 0 of 40 have none'


@pytest.mark.parametrize(
  'num_masked, status', [(1, 'warning'), (40, 'failure')]
)
def test_examples_without_supervised_tokens_are_reported(
  run, num_masked, status
):
  examples = []
  for index, example in enumerate(run.examples):
    weights = np.full(len(example.targets), float(index >= num_masked))
    examples.append(SolutionExample(example.inputs, example.targets, weights))
  masked = dataclasses.replace(run, examples=examples)
  assert data_checks.check_supervised_tokens(masked).status == status


@pytest.mark.parametrize(
  'num_longer, status', [(0, 'ok'), (5, 'warning'), (30, 'failure')]
)
def test_truncated_examples_are_reported(run, num_longer, status):
  examples = []
  for index, example in enumerate(run.examples):
    repeats = 2 if index < num_longer else 1
    targets = np.tile(example.targets, repeats)
    examples.append(SolutionExample(example.inputs, targets))
  longer = dataclasses.replace(run, examples=examples)
  finding = data_checks.check_truncation(longer)
  assert finding.status == status
  if num_longer:
    assert (
      f'{num_longer} of 40' in finding.found
      and 'MAX_LENGTH = 90' in finding.action
    )


def test_mostly_empty_batches_are_a_warning(run):
  data = checked_runs.make_data(max_length=1000)
  sparse = checked_runs.make_run(data=data)
  finding = data_checks.check_padding_share(sparse)
  assert finding.status == 'warning' and 'PACK' in finding.action
  assert data_checks.check_padding_share(run).status == 'ok'


@pytest.mark.parametrize(
  'environment, status',
  [
    ({}, 'ok'),
    ({'TPU_WORKER_HOSTNAMES': 'host-0'}, 'ok'),
    ({'TPU_WORKER_HOSTNAMES': 'host-0,host-1'}, 'failure'),
  ],
)
def test_hosts_that_would_train_alone_fail(run, environment, status):
  assert machine_checks.check_processes(run, environment).status == status


def test_hosts_without_a_part_of_the_batch_are_a_warning(run, monkeypatch):
  monkeypatch.setattr(machine_checks.processes, 'process_count', lambda: 2)
  assert machine_checks.check_processes(run, {}).status == 'warning'


def test_the_number_of_devices_is_checked(run):
  assert machine_checks.check_devices(run, expected=1).status == 'ok'
  assert machine_checks.check_devices(run, expected=8).status == 'failure'


def test_a_gpu_that_jax_does_not_use_fails(run, tmp_path, monkeypatch):
  (tmp_path / 'nvidia0').touch()
  files = str(tmp_path / 'nvidia*')
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  assert machine_checks.check_devices(run, gpu_files=files).status == 'failure'
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  assert machine_checks.check_devices(run, gpu_files=files).status == 'ok'


@pytest.mark.parametrize(
  'share, status', [(3, 'ok'), (1.1, 'warning'), (0.5, 'failure')]
)
def test_a_run_that_does_not_fit_fails(run, monkeypatch, share, status):
  needed = 16 * 450_000  # four float32 arrays of the size of the parameters
  monkeypatch.setattr(
    machine_checks, '_device_bytes', lambda run: share * needed
  )
  assert machine_checks.check_memory(run).status == status


def test_a_full_disk_fails(run, tmp_path, monkeypatch):
  run = dataclasses.replace(run, workdir=tmp_path / 'new' / 'run')
  assert machine_checks.check_disk(run).status == 'ok'
  usage = machine_checks.shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
    machine_checks.shutil, 'disk_usage', lambda path: usage._replace(free=2**20)
  )
  finding = machine_checks.check_disk(run)
  assert finding.status == 'failure' and 'GiB' in finding.found


def test_a_workdir_that_cannot_be_written_fails(run, tmp_path):
  (tmp_path / 'file').write_text('')
  run = dataclasses.replace(run, workdir=tmp_path / 'file' / 'run')
  assert machine_checks.check_disk(run).status == 'failure'


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_read_only_folder_fails(run, tmp_path):
  tmp_path.chmod(0o500)
  run = dataclasses.replace(run, workdir=tmp_path / 'run')
  assert machine_checks.check_disk(run).status == 'failure'
