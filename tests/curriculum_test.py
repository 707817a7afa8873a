"""Training stages run in a row; the weights of the last are exported."""

import pathlib

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints, curriculum


def adding(amount):
  """A training stage that adds a number to its only weight and records where it started."""

  def stage(workdir, *, init_from):
    start = (
      0.0
      if init_from == 'random'
      else float(weights(init_from)['layer']['scale'][0])
    )
    with checkpoints.CheckpointManager(workdir / 'checkpoints') as store:
      store.save(
        1,
        {'layer': {'scale': np.full(3, start + amount, np.float32)}},
        {'count': np.zeros(1, np.int32)},
        {
          'model': {'embed_dim': 3},
          'fingerprint': {},
          'settings': {'loss': 'l'},
          'optimizer': 'o',
          'place': str(workdir),
        },
      )
    return store.step_path(1)

  return stage


def weights(path):
  abstract = {'layer': {'scale': jax.ShapeDtypeStruct((3,), np.float32)}}
  return jax.tree.map(np.asarray, checkpoints.load_params(path, abstract))


def test_each_stage_starts_from_the_one_before_and_the_last_is_exported(
  tmp_path,
):
  path = curriculum.curriculum(
    tmp_path,
    stages={'facts': adding(1.0), 'reviews': adding(10.0)},
    export=str(tmp_path / 'model.safetensors'),
  )
  assert pathlib.Path(path).name == 'model.safetensors'
  np.testing.assert_array_equal(
    weights(path)['layer']['scale'], np.full(3, 11.0)
  )
  assert checkpoints.read_metadata(path)['model'] == {'embed_dim': 3}
  # No path of this machine.
  assert str(tmp_path) not in str(checkpoints.read_metadata(path))


def test_without_export_the_last_checkpoint_is_returned(tmp_path):
  path = curriculum.curriculum(tmp_path, stages={'facts': adding(2.0)})
  assert path == tmp_path / 'facts' / 'checkpoints' / '1'


def test_no_stages_are_an_error(tmp_path):
  with pytest.raises(ValueError, match='no stages'):
    curriculum.curriculum(tmp_path, stages={})
