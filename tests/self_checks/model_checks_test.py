"""Faults planted into model, batch or programs are found with the embedded base weights."""

import dataclasses
import functools

import pytest

from mathft_jax import checkpoints
from mathft_jax.models import transformer
from mathft_jax.self_checks import compute_checks, loss_checks
from mathft_jax.training import losses
from tests.self_checks import checked_runs


@pytest.fixture(scope='module')
def run(quick_compiles):
  return checked_runs.make_run()


@pytest.fixture(scope='module')
def packed(quick_compiles):
  data = checked_runs.make_data(pack=True, max_length=116)
  return checked_runs.make_run(data=data)


@pytest.fixture(scope='module')
def params():
  model = checkpoints.load_model_config(checked_runs.BASE)
  return checkpoints.load_params(
    checked_runs.BASE, transformer.abstract_params(model)
  )


def with_model(run, **changes):
  config = checked_runs.make_step_config(**changes)
  return dataclasses.replace(run, step_config=config)


def test_the_loss_of_the_base_is_far_below_chance(run, params):
  assert loss_checks.check_loss(run, params).status == 'ok'


def test_a_wrong_norm_is_found_by_the_loss(run, params):
  wrong = with_model(run, norm_unit_offset=True)
  assert loss_checks.check_loss(wrong, params).status != 'ok'


def test_other_weights_are_found_by_the_loss(run):
  random = transformer.init_params(run.model, loss_checks.jax.random.key(0))
  assert loss_checks.check_loss(run, random).status == 'failure'
  started = dataclasses.replace(run, init_from='random')
  assert loss_checks.check_loss(started, random).status == 'skipped'


@pytest.mark.parametrize(
  'changes, status, text',
  [
    ({}, 'ok', ''),
    (
      {'rope_theta': 100_000.0},
      'failure',
      'rope_theta 10000.0 instead of 100000.0',
    ),
    (
      {'norm_unit_offset': True},
      'failure',
      'norm_unit_offset False instead of True',
    ),
  ],
)
def test_a_wrong_architecture_is_found_by_a_better_one(
  run, params, monkeypatch, changes, status, text
):
  all_alternatives = loss_checks.alternatives

  def few(model):  # each one compiles the model
    for name, other in all_alternatives(model):
      if 'rope_theta 1' in name or 'unit_offset' in name:
        yield name, other

  monkeypatch.setattr(loss_checks, 'alternatives', few)
  finding = loss_checks.check_architecture(with_model(run, **changes), params)
  assert finding.status == status, finding.line()
  assert text in finding.action


def test_packed_examples_are_separate(packed, params):
  finding = compute_checks.check_packing(packed, params)
  assert finding.status == 'ok', finding.line()


def test_packed_examples_with_one_mask_fail(packed, params):
  segments = packed.batch['decoder_segment_ids']
  joined = checked_runs.with_batch(
    packed, decoder_segment_ids=(segments > 0).astype('int32')
  )
  finding = compute_checks.check_packing(joined, params)
  assert finding.status == 'failure', finding.line()


def test_positions_that_go_on_fail(packed, params):
  positions = packed.batch['decoder_positions'].copy()
  positions[:] = range(positions.shape[1])
  wrong = checked_runs.with_batch(packed, decoder_positions=positions)
  finding = compute_checks.check_packing(wrong, params)
  assert finding.status == 'failure' and 'positions' in finding.found


def test_decoding_equals_the_forward_pass(run, params):
  finding = compute_checks.check_decoding(run, params)
  assert finding.status == 'ok', finding.line()


def test_decoding_that_reads_one_token_off_fails(run, params, monkeypatch):
  right = compute_checks.decoding.decode

  @functools.wraps(right)
  def one_off(config, params, prompts, **settings):
    cut = [each._replace(ids=each.ids[:-1]) for each in prompts]
    return right(config, params, cut, **settings)

  monkeypatch.setattr(compute_checks.decoding, 'decode', one_off)
  assert compute_checks.check_decoding(run, params).status == 'failure'


@dataclasses.dataclass(frozen=True)
class MeanOfMeans(losses.Mle):
  """Divides by the targets of its own microbatch."""

  def __call__(self, log_probs, batch, weight):
    return super().__call__(log_probs, batch, self.weight(batch))


@pytest.mark.parametrize(
  'loss, status', [(losses.Mle(), 'ok'), (MeanOfMeans(), 'failure')]
)
def test_gradient_accumulation_is_checked(run, params, loss, status):
  config = dataclasses.replace(run.step_config, loss=loss)
  changed = dataclasses.replace(run, step_config=config)
  finding = compute_checks.check_accumulation(changed, params)
  assert finding.status == status, finding.line()


def test_model_checks_run_on_a_mesh(params, run):
  """Every check on a mesh with both axes."""
  mesh = checked_runs.partitioning.Partitioner(num_partitions=2).mesh(
    loss_checks.jax.devices()[:4]
  )
  config = dataclasses.replace(run.step_config, mesh=mesh)
  data = checked_runs.make_data(pack=True, max_length=116)
  sharded = checked_runs.make_run(data=data, step_config=config)
  placed = checkpoints.load_params(
    checked_runs.BASE,
    transformer.abstract_params(run.model),
    compute_checks.step_lib.train_state_shardings(config).params,
  )
  for check in (
    loss_checks.check_loss,
    compute_checks.check_packing,
    compute_checks.check_decoding,
    compute_checks.check_accumulation,
  ):
    finding = check(sharded, placed)
    assert finding.status == 'ok', finding.line()
