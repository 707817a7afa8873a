"""Saves, resolves and restores checkpoints."""

import dataclasses
import json
import time

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest
import safetensors.numpy

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning


@dataclasses.dataclass(frozen=True)
class Config:
  embed_dim: int = 8
  pattern: tuple[str, ...] = ('global', 'local')
  dtype: type = jnp.float32


def make_params(scale=1.0):
  return {
    'embedding': jnp.arange(32.0).reshape(4, 8) * scale,
    'layers': {'mlp': {'up': jnp.full((2, 8, 16), scale, jnp.bfloat16)}},
  }


def abstract(tree, mesh=None, spec=P()):
  mesh = mesh or partitioning.Partitioner().mesh()
  sharding = jax.sharding.NamedSharding(mesh, spec)
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )


def assert_same(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)
  assert jax.tree.map(lambda x: x.dtype, left) == jax.tree.map(
    lambda x: x.dtype, right
  )


def save_all(directory, steps, metrics=None, **options):
  with checkpoints.CheckpointManager(directory, **options) as store:
    for step in steps:
      params = make_params(float(step))
      store.save(
        step,
        params,
        {'m': params},
        {'model': Config(), 'fingerprint': {'eos': '2'}},
        (metrics or {}).get(step),
      )
  return store


def test_restored_params_and_opt_state_equal_the_saved_ones(tmp_path):
  save_all(tmp_path / 'checkpoints', [3])
  with checkpoints.CheckpointManager(tmp_path / 'checkpoints') as store:
    assert store.latest_step() == 3
    params, optimizer = store.restore(
      3, abstract(make_params()), {'m': abstract(make_params())}
    )
  assert_same(params, make_params(3.0))
  assert_same(optimizer['m'], make_params(3.0))


def test_only_the_latest_checkpoints_are_kept(tmp_path):
  save_all(tmp_path, [1, 2, 3, 4], keep=2)
  assert sorted(p.name for p in tmp_path.iterdir()) == ['3', '4']


def test_best_and_latest_checkpoint_are_kept_after_a_restart(tmp_path):
  losses = {
    1: {'loss': 3.0},
    2: {'loss': 1.0},
    3: {'loss': 2.0},
    4: {'loss': 2.5},
    5: {},
  }
  save_all(tmp_path, [1, 2, 3], losses, keep=1, best_metric='loss')
  save_all(tmp_path, [4, 5], losses, keep=1, best_metric='loss')
  assert sorted(p.name for p in tmp_path.iterdir()) == ['2', '5']
  with checkpoints.CheckpointManager(tmp_path, best_metric='loss') as store:
    assert store.best_step() == 2 and store.latest_step() == 5


def test_higher_is_better_and_the_earlier_step_wins_ties(tmp_path):
  scores = {1: {'auc': 0.5}, 2: {'auc': 0.9}, 3: {'auc': 0.9}}
  save_all(
    tmp_path,
    [1, 2, 3],
    scores,
    keep=None,
    best_metric='auc',
    higher_is_better=True,
  )
  with checkpoints.CheckpointManager(
    tmp_path, keep=None, best_metric='auc', higher_is_better=True
  ) as store:
    assert store.best_step() == 2


def test_a_kill_during_deletion_leaves_no_partial_checkpoint(
  tmp_path, monkeypatch
):
  store = checkpoints.CheckpointManager(tmp_path, keep=1)
  monkeypatch.setattr(
    checkpoints.CheckpointManager, '_empty_trash', lambda self: None
  )
  for step in (1, 2):
    store.save(step, make_params(), make_params(), {})
    store.wait_until_finished()
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    '2',
    checkpoints.TRASH_FOLDER,
  ]
  monkeypatch.undo()
  with checkpoints.CheckpointManager(tmp_path) as reopened:
    assert reopened.latest_step() == 2
  assert [p.name for p in tmp_path.iterdir()] == ['2']


def test_an_empty_directory_has_no_step(tmp_path):
  with checkpoints.CheckpointManager(
    tmp_path / 'new', best_metric='loss'
  ) as store:
    assert store.latest_step() is None and store.best_step() is None


def test_params_restore_on_another_mesh_and_in_another_dtype(tmp_path):
  save_all(tmp_path / 'checkpoints', [1, 2])
  mesh = partitioning.Partitioner(num_partitions=4).mesh()
  wanted = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), make_params()
  )
  split = jax.tree.map(
    lambda _: jax.sharding.NamedSharding(mesh, P(None, 'model')), wanted
  )
  params = checkpoints.load_params(tmp_path, wanted, split)
  assert params['embedding'].addressable_shards[0].data.shape == (4, 2)
  np.testing.assert_array_equal(
    params['embedding'], make_params(2.0)['embedding']
  )
  assert params['layers']['mlp']['up'].dtype == jnp.float32


def test_a_step_a_folder_of_steps_and_a_workdir_resolve(tmp_path):
  save_all(tmp_path / 'checkpoints', [9, 10], keep=None)
  assert checkpoints.resolve_checkpoint(tmp_path).name == '10'
  assert checkpoints.resolve_checkpoint(tmp_path / 'checkpoints').name == '10'
  assert (
    checkpoints.resolve_checkpoint(tmp_path / 'checkpoints' / '9').name == '9'
  )


def test_weights_are_described_by_step_and_digest(tmp_path):
  save_all(tmp_path / 'checkpoints', [9, 10], keep=None)
  last = checkpoints.describe_weights(tmp_path)
  assert last['checkpoint_step'] == 10
  step_9 = checkpoints.describe_weights(tmp_path / 'checkpoints' / '9')
  assert step_9['checkpoint_step'] == 9
  assert step_9['checkpoint_weights'] != last['checkpoint_weights']
  assert checkpoints.describe_weights(tmp_path / 'nowhere') == {}


def test_a_path_without_a_checkpoint_raises_an_error_with_accepted_paths(
  tmp_path,
):
  with pytest.raises(
    ValueError, match='contains no checkpoint.*INITIAL_CHECKPOINT_PATH'
  ):
    checkpoints.resolve_checkpoint(tmp_path)
  with pytest.raises(ValueError, match='does not exist'):
    checkpoints.resolve_checkpoint(tmp_path / 'nowhere')


def test_a_model_of_a_path_that_does_not_exist_names_its_macro(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'runs/mine').mkdir(parents=True)
  with pytest.raises(ValueError, match='does not exist') as caught:
    checkpoints.load_model_config('runs/nope')
  assert '(MODEL_FROM).' in str(caught.value)
  assert 'hf download' not in str(caught.value)


def test_a_safetensors_file_is_a_checkpoint(tmp_path):
  path = checkpoints.save_safetensors(
    tmp_path / 'base.safetensors',
    make_params(0.5),
    {'model': Config(), 'step': 7},
  )
  assert sorted(p.name for p in tmp_path.iterdir()) == ['base.safetensors']
  assert set(safetensors.numpy.load_file(path)) == {
    'embedding',
    'layers/mlp/up',
  }
  mesh = partitioning.Partitioner(num_partitions=2).mesh()
  split = jax.tree.map(
    lambda _: jax.sharding.NamedSharding(mesh, P('data')), make_params()
  )
  split['layers']['mlp']['up'] = jax.sharding.NamedSharding(
    mesh, P(None, None, 'model')
  )
  params = checkpoints.load_params(path, abstract(make_params()), split)
  assert_same(params, make_params(0.5))
  assert params['layers']['mlp']['up'].addressable_shards[0].data.shape == (
    2,
    8,
    8,
  )
  assert checkpoints.read_metadata(path)['step'] == 7
  checkpoints.check_metadata(path, model=Config())


@pytest.mark.parametrize('kind', ['orbax', 'safetensors'])
def test_params_of_another_model_raise_an_error_with_both_shapes(
  tmp_path, kind
):
  path = tmp_path
  if kind == 'orbax':
    save_all(tmp_path / 'checkpoints', [1])
  else:
    path = checkpoints.save_safetensors(
      tmp_path / 'a.safetensors', make_params(), {}
    )
  wanted = abstract(
    {**make_params(), 'embedding': jnp.zeros((4, 9)), 'head': jnp.zeros(3)}
  )
  with pytest.raises(ValueError) as error:
    checkpoints.load_params(path, wanted)
  assert "checkpoint: {'embedding': [4, 8], 'head': None}" in str(error.value)
  assert "model:      {'embedding': [4, 9], 'head': [3]}" in str(error.value)


def test_different_metadata_raises_an_error_with_both_values(tmp_path):
  save_all(tmp_path / 'checkpoints', [1])
  checkpoints.check_metadata(tmp_path, model=Config(), fingerprint={'eos': '2'})
  checkpoints.check_metadata(
    tmp_path, model=dataclasses.replace(Config(), dtype=jnp.bfloat16)
  )
  with pytest.raises(
    ValueError, match="another model:\n.*'embed_dim': 8.*\n.*'embed_dim': 16"
  ):
    checkpoints.check_metadata(tmp_path, model=Config(embed_dim=16))
  with pytest.raises(
    ValueError, match="another fingerprint:\n.*'eos': '2'.*\n.*'eos': '3'"
  ):
    checkpoints.check_metadata(
      tmp_path, model=Config(), fingerprint={'eos': '3'}
    )


def test_metadata_has_step_version_and_metrics(tmp_path):
  save_all(tmp_path, [4], {4: {'loss': 0.25}})
  metadata = checkpoints.read_metadata(tmp_path / '4')
  assert metadata['step'] == 4 and metadata['metrics'] == {'loss': 0.25}
  assert metadata['model'] == {
    'embed_dim': 8,
    'pattern': ['global', 'local'],
    'dtype': 'float32',
  }
  assert metadata['code_version']
  json.dumps(metadata)


def test_a_failed_background_save_raises_its_error(tmp_path, monkeypatch):
  def full(*args, **kwargs):
    raise OSError('disk full')

  store = checkpoints.CheckpointManager(tmp_path)
  monkeypatch.setattr('os.rename', full)
  monkeypatch.setattr('os.replace', full)
  store.save(2, make_params(), make_params(), {})
  with pytest.raises(OSError, match='disk full'):
    for _ in range(500):
      store.check_for_errors()
      time.sleep(0.01)


def test_a_small_checkpoint_is_saved_in_less_than_a_second(tmp_path):
  # 460k parameters.
  params = {f'layer{i}': jnp.ones((4, 96, 1200 // 4)) for i in range(4)}
  with checkpoints.CheckpointManager(tmp_path) as store:
    store.save(1, params, {'m': params, 'v': params}, {})
    # Of all threads; other load on the machine does not count.
    start = time.process_time()
    store.save(2, params, {'m': params, 'v': params}, {})
    store.wait_until_finished()
    assert time.process_time() - start < 1.0
