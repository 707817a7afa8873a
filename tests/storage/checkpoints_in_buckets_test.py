"""Checkpoints, safetensors files and Hugging Face folders in a bucket."""

import dataclasses
import pathlib

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax import checkpoints, convert
from mathft_jax.checkpoints import safetensors_format

GOLDENS = pathlib.Path(__file__).parent.parent / 'models' / 'goldens'


def make_params(scale=1.0):
  return {
    'a': jnp.arange(12.0).reshape(3, 4) * scale,
    'b': {'c': jnp.ones(5) * scale},
  }


def save_all(directory, steps, metrics=None, **options):
  with checkpoints.CheckpointManager(directory, **options) as store:
    for step in steps:
      store.save(
        step,
        make_params(step),
        {'m': make_params(step)},
        {},
        (metrics or {}).get(step),
      )


def steps_in(folder):
  return sorted(int(child.name) for child in epath.Path(folder).iterdir())


def assert_same(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


def test_restored_params_and_opt_state_equal_the_saved_ones(bucket):
  folder = f'{bucket[0]}/run/checkpoints'
  save_all(folder, [3])
  shapes = jax.eval_shape(make_params)
  with checkpoints.CheckpointManager(folder) as store:
    params, optimizer = store.restore(3, shapes, {'m': shapes})
  assert_same(params, make_params(3))
  assert_same(optimizer, {'m': make_params(3)})
  for path in (f'{bucket[0]}/run', folder, f'{folder}/3'):
    assert str(checkpoints.resolve_checkpoint(path)) == f'{folder}/3'
    assert_same(checkpoints.load_params(path, shapes), make_params(3))


def test_the_last_and_the_best_are_kept_also_over_a_restart(bucket):
  folder = f'{bucket[0]}/checkpoints'
  losses = {1: {'loss': 3.0}, 2: {'loss': 1.0}, 4: {'loss': 2.0}}
  save_all(folder, [1, 2, 4], losses, best_metric='loss')
  assert steps_in(folder) == [2, 4]
  save_all(folder, [6, 8], {}, best_metric='loss')
  assert steps_in(folder) == [2, 8]
  assert {name.split('/')[1] for name in bucket[1]} == {'2', '8'}


def test_a_step_that_was_not_written_to_its_end_is_not_there(bucket):
  folder = f'{bucket[0]}/checkpoints'
  save_all(folder, [1, 2], keep=2)
  for name in list(bucket[1]):
    # The step's own marks.
    if name.startswith('checkpoints/2/') and name.count('/') == 2:
      del bucket[1][name]
  assert str(checkpoints.resolve_checkpoint(bucket[0])).endswith('/1')
  with checkpoints.CheckpointManager(folder) as store:
    assert store.latest_step() == 1
  with pytest.raises(
    ValueError, match='2 contains no checkpoint .*without commit_success.txt'
  ):
    checkpoints.resolve_checkpoint(f'{folder}/2')
  save_all(folder, [2])  # over what is left of it
  assert_same(
    checkpoints.load_params(folder, jax.eval_shape(make_params)), make_params(2)
  )


def test_a_run_copied_from_a_disk_is_found_and_resumed(bucket, tmp_path):
  save_all(tmp_path, [3])
  for path in tmp_path.rglob('*'):
    if path.is_file():
      epath.Path(path).copy(
        f'{bucket[0]}/checkpoints/{path.relative_to(tmp_path)}'
      )
  shapes = jax.eval_shape(make_params)
  assert_same(checkpoints.load_params(bucket[0], shapes), make_params(3))
  with checkpoints.CheckpointManager(f'{bucket[0]}/checkpoints') as store:
    assert_same(store.restore(3, shapes, {'m': shapes})[0], make_params(3))


def test_the_mark_of_a_whole_step_is_deleted_before_anything_else_of_it(
  bucket, bucket_server
):
  folder, deleted = f'{bucket[0]}/checkpoints', []
  save_all(folder, [1, 2], keep=2)

  def note(method, name):
    if method == 'DELETE' and '/o/checkpoints/1/' in name:
      deleted.append(name.partition('/o/checkpoints/1/')[2])

  bucket_server[0].watch = note
  save_all(folder, [4], keep=2)
  assert deleted[0] == checkpoints.COMMIT_MARKER
  assert len(deleted) > 10 and steps_in(folder) == [2, 4]


@pytest.fixture
def published(bucket):
  """A Hugging Face folder in the bucket, and its parameters."""
  local = GOLDENS / 'llama_untied'
  for name in ('config.json', 'model.safetensors'):
    epath.Path(local / name).copy(f'{bucket[0]}/published/{name}')
  shapes = checkpoints.load_abstract_params(local)
  return f'{bucket[0]}/published', checkpoints.load_params(local, shapes)


def test_weights_go_from_form_to_form_inside_a_bucket(bucket, published):
  folder, params = published
  step = convert.convert(checkpoint=folder, output=f'{bucket[0]}/step')
  native = convert.convert(
    checkpoint=step, output=f'{bucket[0]}/native.safetensors'
  )
  exported = convert.convert(
    checkpoint=native, output=f'{bucket[0]}/exported', shard_bytes=20000
  )
  assert len(list(exported.glob('model-*.safetensors'))) > 1
  shapes = jax.eval_shape(lambda: params)
  for path in (folder, step, native, exported):
    assert str(path).startswith(bucket[0])
    assert_same(checkpoints.load_params(path, shapes), params)
  assert not [name for name in bucket[1] if name.endswith('.partial')]


def test_an_export_that_was_stopped_is_no_folder_of_weights_and_is_made_again(
  bucket, published, monkeypatch
):
  native = convert.convert(
    checkpoint=published[0], output=f'{bucket[0]}/native.safetensors'
  )
  real = safetensors_format.write_safetensors

  def stop_at_the_second(path, *arguments):
    if '00002-of' in path.name:
      raise KeyboardInterrupt
    return real(path, *arguments)

  monkeypatch.setattr(
    safetensors_format, 'write_safetensors', stop_at_the_second
  )
  with pytest.raises(KeyboardInterrupt):
    convert.convert(
      checkpoint=native, output=f'{bucket[0]}/exported', shard_bytes=20000
    )
  monkeypatch.undo()
  assert 'exported/model-00001-of-00003.safetensors' in bucket[1]
  with pytest.raises(ValueError, match='contains no checkpoint'):
    checkpoints.resolve_checkpoint(f'{bucket[0]}/exported')
  exported = convert.convert(checkpoint=native, output=f'{bucket[0]}/exported')
  assert sorted(child.name for child in exported.iterdir()) == [
    'config.json',
    'model.safetensors',
  ]
  with pytest.raises(ValueError, match='exists and is not empty'):
    convert.convert(checkpoint=native, output=exported)


def test_a_file_that_was_cut_off_is_refused(bucket, published):
  whole = bucket[1]['published/model.safetensors']
  bucket[1]['published/model.safetensors'] = dataclasses.replace(
    whole, content=whole.content[:-1000]
  )
  with pytest.raises(ValueError, match='is truncated'):
    checkpoints.open_lazy_params(published[0])
