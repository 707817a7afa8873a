"""The search for a batch, and what is tried where one does not fit, with a made-up compiler."""

import dataclasses

import pytest

from mathft_jax.aot import batch_size_search, report
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


def compiler(bytes_of, tried):
  """A `make` whose memory is a function of the batch size and of what is changed besides."""

  def make(batch_size=64, **changes):
    if batch_size % 4:
      raise ValueError('rows do not divide')
    tried.append(batch_size)
    used = bytes_of(batch_size, changes)
    return report.StageEstimate(
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

  return make


@pytest.mark.parametrize(
  'bytes_of, largest',
  [
    (lambda size: 100 + 2.0 * size, 448),
    (lambda size: 10 + 13.0 * size, 76),
    (lambda size: 900 + 0.01 * size**1.5, 460),
    (lambda size: 1000.0 * (size > 64) + 9, 64),
  ],
)
def test_the_largest_batch_is_found(bytes_of, largest):
  tried = []
  make = compiler(lambda size, _: bytes_of(size), tried)
  found = batch_size_search.find_largest_batch_size(make(), make, CHIP)
  assert bytes_of(found['batch_size']) <= 1000
  assert (
    found['used_bytes'] > (1 - batch_size_search.MAX_FREE_FRACTION) * 1000
    or found['batch_size'] == largest
  )
  assert (
    found['batch_size'] % 4 == 0
    and len(tried) <= batch_size_search.MAX_COMPILATIONS + 1
  )


def test_a_search_that_never_meets_the_memory_says_so(capsys):
  make = compiler(lambda size, _: 1.0, [])
  found = batch_size_search.find_largest_batch_size(make(), make, CHIP)
  assert (
    found['does_not_fit'] is None
    and 'a larger one may fit' in capsys.readouterr().out
  )


def test_what_helps_is_told_with_its_numbers():
  def bytes_of(size, changes):
    fsdp = 'partitioner' in changes and changes['partitioner'].fsdp
    return (2000.0 if not fsdp else 500.0) + size * (
      1 + ('model' not in changes)
    )

  make = compiler(bytes_of, [])
  tried, line = batch_size_search.try_memory_savings(
    make(), make, ARGUMENTS, CHIP
  )
  by_change = {each['change']: each for each in tried}
  assert by_change['FSDP = True']['fits'] and not by_change[REMAT]['fits']
  assert by_change[REMAT]['used_bytes'] == 2000 + 64
  assert {
    'BATCH_SIZE = 32',
    'NUM_MICROBATCHES = 2',
    'NUM_PARTITIONS = 2',
  } <= set(by_change)
  assert line.startswith('What would help, each alone: FSDP = True (')


def test_a_kernel_of_tpus_is_no_advice_for_gpus():
  make = compiler(lambda size, changes: 5000.0 + size, [])
  for chip, is_advised in ((CHIP, True), (hardware.CHIPS['h100'], False)):
    tried, _ = batch_size_search.try_memory_savings(
      make(), make, ARGUMENTS, chip
    )
    assert (
      "ATTENTION_KERNEL = 'splash'" in {each['change'] for each in tried}
    ) == is_advised


def test_where_nothing_suffices_that_is_said_too():
  make = compiler(lambda size, changes: 5000.0 + size, [])
  _, line = batch_size_search.try_memory_savings(make(), make, ARGUMENTS, CHIP)
  assert line.startswith(
    'Nothing alone suffices; less is needed with: BATCH_SIZE = 32'
  )
