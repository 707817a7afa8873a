"""Tests of the batch-size search and of memory savings, with a fake compiler."""

import dataclasses

import pytest

from mathft_jax.aot import (
  batch_size_search,
  estimates,
  memory_savings,
  roofline,
)
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer
from mathft_jax.monitoring import hardware

CHIP = dataclasses.replace(hardware.CHIPS['v5e'], hbm_bytes=1000.0)
MODEL = transformer.TransformerConfig(
  vocab_size=8, embed_dim=8, num_layers=1, num_heads=1, mlp_dim=8
)
REMAT = "transformer.TransformerConfig.remat = 'full'"
ARGUMENTS = dict(
  model=MODEL,
  partitioner=partitioning.Partitioner(),
  batch_size=64,
  num_microbatches=1,
)


def fake_estimator(bytes_of, tried):
  """Returns an estimator whose memory is `bytes_of(batch_size, other changed arguments)`."""

  def estimate_with(batch_size=64, **changes):
    if batch_size % 4:
      raise ValueError('the batch size does not divide')
    tried.append(batch_size)
    used = bytes_of(batch_size, changes)
    return estimates.StageEstimate(
      stage='s',
      program='train',
      settings={'batch_size': batch_size, 'num_microbatches': 1},
      mesh=(4, 1),
      groups=1,
      num_devices=4,
      parameters=1,
      fits=used <= CHIP.hbm_bytes,
      used_bytes=used,
      hbm={},
      is_compiled=True,
    )

  return estimate_with


@pytest.mark.parametrize(
  'bytes_of, largest',
  [
    (lambda size: 100 + 2.0 * size, 448),
    (lambda size: 10 + 13.0 * size, 76),
    (lambda size: 900 + 0.01 * size**1.5, 460),
    (lambda size: 1000.0 * (size > 64) + 9, 64),
  ],
)
def test_the_search_finds_the_largest_batch_size(bytes_of, largest):
  tried = []
  estimate_with = fake_estimator(lambda size, _: bytes_of(size), tried)
  found = batch_size_search.search_largest_batch_size(
    estimate_with(), estimate_with, CHIP
  )
  assert bytes_of(found['batch_size']) <= 1000
  least_used = (1 - batch_size_search.MAX_FREE_FRACTION) * 1000
  assert found['used_bytes'] > least_used or found['batch_size'] == largest
  assert found['batch_size'] % 4 == 0
  assert len(tried) <= batch_size_search.MAX_COMPILATIONS + 1


def test_a_search_that_ends_below_the_capacity_says_so(capsys):
  estimate_with = fake_estimator(lambda size, _: 1.0, [])
  found = batch_size_search.search_largest_batch_size(
    estimate_with(), estimate_with, CHIP
  )
  assert found['does_not_fit'] is None
  assert 'a larger one may fit' in capsys.readouterr().out


def test_changes_that_make_a_stage_fit_are_recommended_with_their_memory():
  def bytes_of(size, changes):
    fsdp = 'partitioner' in changes and changes['partitioner'].fsdp
    parameters = 500.0 if fsdp else 2000.0
    return parameters + size * (1 + ('model' not in changes))

  estimate_with = fake_estimator(bytes_of, [])
  tried, line = memory_savings.try_memory_savings(
    estimate_with(), estimate_with, ARGUMENTS, CHIP
  )
  by_change = {each['change']: each for each in tried}
  assert by_change['FSDP = True']['fits'] and not by_change[REMAT]['fits']
  assert by_change[REMAT]['used_bytes'] == 2000 + 64
  expected = {'BATCH_SIZE = 32', 'NUM_MICROBATCHES = 2', 'NUM_PARTITIONS = 2'}
  assert expected <= set(by_change)
  assert line.startswith('Each of these changes makes it fit: FSDP = True (')


@pytest.mark.parametrize(
  'chip, is_tried', [(CHIP, True), (hardware.CHIPS['h100'], False)]
)
def test_the_splash_kernel_is_tried_on_tpu_only(chip, is_tried):
  estimate_with = fake_estimator(lambda size, changes: 5000.0 + size, [])
  tried, _ = memory_savings.try_memory_savings(
    estimate_with(), estimate_with, ARGUMENTS, chip
  )
  changes = {each['change'] for each in tried}
  assert ("ATTENTION_KERNEL = 'splash'" in changes) == is_tried


def test_if_no_single_change_suffices_the_line_says_so():
  estimate_with = fake_estimator(lambda size, changes: 5000.0 + size, [])
  _, line = memory_savings.try_memory_savings(
    estimate_with(), estimate_with, ARGUMENTS, CHIP
  )
  assert line.startswith(
    'No single change makes it fit. These reduce the memory: BATCH_SIZE = 32'
  )


def fake_rates(seconds_of, capacity=10_000):
  """Returns an estimator of a sampling stage with 16 batches of the configured 64 problems."""

  def estimate_with(batch_size=64):
    times = roofline.ResourceTimes(memory=seconds_of(batch_size))
    return estimates.StageEstimate(
      stage='s',
      program='sample',
      settings={'batch_size': batch_size},
      mesh=(4, 1),
      groups=2,
      num_devices=8,
      parameters=1,
      fits=batch_size <= capacity,
      used_bytes=batch_size,
      hbm={},
      is_compiled=True,
      tokens=100 * batch_size,
      times=times if batch_size <= capacity else None,
      batches=16 if batch_size == 64 else None,
    )

  return estimate_with


@pytest.mark.parametrize(
  'seconds_of, capacity, best, num_tried',
  [
    # Weights take 1 s to read; from 128 problems on, arithmetic takes longer.
    (lambda size: max(1.0, size / 128), 10_000, 128, 3),
    (lambda size: max(1.0, size / 16), 10_000, 16, 5),
    (lambda size: 1.0, 300, 256, 4),  # the next does not fit
    (lambda size: 1.0, 10_000, 1024, 5),  # there are 1024 problems
    (lambda size: size / 2.0, 10_000, 8, 5),  # not divisible by more
  ],
)
def test_the_number_of_rows_is_the_smallest_with_about_the_best_rate(
  seconds_of, capacity, best, num_tried, capsys
):
  estimate_with = fake_rates(seconds_of, capacity)
  found = batch_size_search.search_best_rate(
    estimate_with(), estimate_with, CHIP
  )
  assert found['batch_size'] == best
  assert len(found['tried']) == num_tried
  assert f'best rate     batch size {best}: ' in capsys.readouterr().out
