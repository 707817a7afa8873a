"""`remat = 'auto'`: the least recomputation with which a train step fits, with pretended memory."""

import dataclasses

import jax
import numpy as np
import pytest

from mathft_jax.distributed import partitioning, processes
from mathft_jax.models import config as model_config
from mathft_jax.monitoring import progress
from mathft_jax.training import losses, optimizers, remat_choice
from mathft_jax.training import train_step as step_lib

CONFIG = step_lib.TrainStepConfig(
  model=model_config.TransformerConfig(
    vocab_size=16,
    embed_dim=8,
    num_layers=2,
    num_heads=2,
    mlp_dim=64,
    remat='auto',
  ),
  loss=losses.Mle(),
  optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
  mesh=partitioning.Partitioner().mesh(jax.devices()[:1]),
)
ROWS = 4, 128
BATCH = {
  'decoder_input_tokens': np.ones(ROWS, np.int32),
  'decoder_target_tokens': np.ones(ROWS, np.int32),
  'decoder_loss_weights': np.ones(ROWS, np.float32),
  'decoder_positions': np.tile(np.arange(ROWS[1], dtype=np.int32), (4, 1)),
  'decoder_segment_ids': np.ones(ROWS, np.int32),
}


def choose(limit_bytes, config=CONFIG):
  state = step_lib.abstract_train_state(config)
  chosen = remat_choice.choose_remat(
    config, state, BATCH, limit_bytes=limit_bytes
  )
  return chosen.model.remat


@pytest.fixture
def bytes_of(monkeypatch):
  """Pretended bytes of a train step with each policy; None: refused by the compiler."""
  found = {'none': 900, 'dots': 700, 'save_qkv_out': 400}
  monkeypatch.setattr(
    remat_choice,
    '_step_bytes',
    lambda config, state, batch: found[config.model.remat],
  )
  return found


@pytest.mark.parametrize(
  'limit, expected',
  [
    (1001, 'none'),
    (950, 'dots'),  # a share of the memory stays free
    (699, 'save_qkv_out'),
    (1, 'full'),
    (None, 'full'),  # the memory of a CPU is not known
  ],
)
def test_the_least_recomputation_that_fits_is_chosen(bytes_of, limit, expected):
  assert choose(limit) == expected


def test_a_policy_that_the_compiler_refuses_does_not_fit(bytes_of):
  bytes_of['none'] = None
  assert choose(10_000) == 'dots'


def test_a_policy_must_fit_on_all_processes(bytes_of, monkeypatch):
  answers = [['True', 'False'], ['True', 'True']]
  monkeypatch.setattr(
    processes, 'gather_from_all', lambda name, text: answers.pop(0)
  )
  assert choose(10_000) == 'dots'


def test_another_policy_is_kept(bytes_of):
  model = dataclasses.replace(CONFIG.model, remat='save_out')
  assert choose(1, dataclasses.replace(CONFIG, model=model)) == 'save_out'


def test_the_compiled_memory_decides_and_the_program_is_reused(monkeypatch):
  model = dataclasses.replace(CONFIG.model, remat='none')
  config = dataclasses.replace(CONFIG, model=model)
  sharding = partitioning.replicated_sharding(config.mesh)
  rate = partitioning.shard_array(np.float32(0.01), sharding)
  state = step_lib.init_train_state(
    config, step_lib.init_random_params(config, seed=0)
  )
  batch = partitioning.shard_batch(BATCH, config.mesh)
  compilations = progress.CompilationCounter()
  chosen = remat_choice.choose_remat(CONFIG, state, BATCH, limit_bytes=2**30)
  assert chosen == config and compilations.count == 1

  step = step_lib.make_train_step(chosen)
  memory = step.lower(state, batch, rate).compile().memory_analysis()
  saved_bytes = memory.temp_size_in_bytes
  _, metrics = step(state, batch, rate)
  assert np.isfinite(metrics['loss'][0]) and compilations.count == 1
  monkeypatch.setattr(remat_choice, 'CHOICES', ('none', 'full'))
  assert choose(saved_bytes) == 'full'  # the state needs memory, too
