"""Settings of a run are compared by fields, also with metadata of older versions."""

import dataclasses
import json
import pathlib

import pytest

from mathft_jax.models import transformer
from mathft_jax.training import losses, optimizers, run_settings, train_config

MODEL = transformer.TransformerConfig(
  vocab_size=8, embed_dim=8, num_layers=1, num_heads=1, mlp_dim=8
)
VERSION_1 = pathlib.Path(__file__).parent / 'metadata_version_1.json'


def make_settings(
  init_from='random',
  workdir='runs/x',
  seed=0,
  model=MODEL,
  shuffle=True,
  **optimization,
):
  """Settings of the run that wrote metadata_version_1.json, unless changed."""
  data = train_config.DataConfig(
    vocabulary=None,
    template=None,
    batch_size=32,
    max_length=58,
    shuffle=shuffle,
  )
  arguments = {
    'loss': losses.Joint(verify=losses.VerifierMargin(), mle_weight=0.3),
    'optimizer': optimizers.AdamW(
      learning_rate=optimizers.Cosine(4e-4, decay_steps=300, warmup_steps=10),
      b2=0.98,
      weight_decay=0.01,
    ),
  }
  config = train_config.OptimizationConfig(**arguments | optimization)
  return run_settings.make_run_settings(
    workdir, init_from, data, config, seed, model
  )


def save_and_load(settings):
  return json.loads(json.dumps(run_settings.settings_to_json(settings)))


@dataclasses.dataclass(frozen=True)
class LossBefore:
  margin: float = 1.0


@dataclasses.dataclass(frozen=True)
class LossAfter:
  margin: float = 1.0
  temperature: float = 2.0


LossBefore.__name__ = LossAfter.__name__ = 'Loss'


def test_equal_settings_pass():
  saved = save_and_load(make_settings())
  assert saved['version'] == run_settings.VERSION
  run_settings.check_settings(saved, make_settings(), 'runs/x')


def test_the_learning_rate_may_change():
  saved = save_and_load(make_settings(optimizer=optimizers.AdamW(1e-3)))
  changed = make_settings(optimizer=optimizers.AdamW(1e-4))
  run_settings.check_settings(saved, changed, 'runs/x')


@pytest.mark.parametrize(
  'name, changes',
  [
    ('loss', dict(loss=losses.Mle())),
    ('loss', dict(loss=losses.Joint(mle_weight=0.5))),
    ('optimizer', dict(optimizer=optimizers.AdamW(b2=0.9))),
    ('max_grad_norm', dict(max_grad_norm=None)),
    ('seed', dict(seed=1)),
    (
      'dropout_rate',
      dict(model=dataclasses.replace(MODEL, dropout_rate=0.1)),
    ),
    (
      'load_balance_weight',
      dict(
        model=dataclasses.replace(MODEL, experts=transformer.Experts(2, 1, 8))
      ),
    ),
    ('shuffle', dict(shuffle=False)),
  ],
)
def test_different_settings_are_listed(name, changes):
  saved = save_and_load(make_settings())
  with pytest.raises(
    ValueError, match=f"runs/x was created .*\n.*saved: {{'{name}'"
  ):
    run_settings.check_settings(saved, make_settings(**changes), 'runs/x')


def test_a_new_field_counts_as_its_default_in_older_metadata():
  saved = save_and_load(make_settings(loss=LossBefore()))
  run_settings.check_settings(saved, make_settings(loss=LossAfter()), 'runs/x')
  with pytest.raises(ValueError, match='temperature'):
    run_settings.check_settings(
      saved, make_settings(loss=LossAfter(temperature=3.0)), 'runs/x'
    )


def test_a_field_that_no_longer_exists_is_a_difference():
  saved = save_and_load(make_settings(loss=LossAfter()))
  with pytest.raises(ValueError, match='temperature'):
    run_settings.check_settings(
      saved, make_settings(loss=LossBefore()), 'runs/x'
    )


def test_metadata_of_version_1_is_read():
  saved = json.loads(VERSION_1.read_text())['settings']
  settings = make_settings('runs/ssft_fine/checkpoints/80', 'runs/scr_margin')
  run_settings.check_settings(saved, settings, 'runs/x')

  settings['loss'] = losses.Joint(
    verify=losses.VerifierMargin(margin=2.0), mle_weight=0.3
  )
  with pytest.raises(ValueError, match="'margin': 1.0"):
    run_settings.check_settings(saved, settings, 'runs/x')


def test_a_new_field_counts_as_its_default_in_metadata_of_version_1():
  saved = {**json.loads(VERSION_1.read_text())['settings'], 'loss': 'Loss()'}
  settings = make_settings('runs/ssft_fine/checkpoints/80', 'runs/scr_margin')
  settings['loss'] = LossAfter()
  run_settings.check_settings(saved, settings, 'runs/x')


def test_a_file_of_the_package_that_has_moved_is_the_same_origin():
  old = {
    **json.loads(VERSION_1.read_text())['settings'],
    'init_from': '../../mathft_jax/data/dials_base.safetensors',
  }
  settings = make_settings(
    'mathft_jax/dials/base_weights.safetensors', 'runs/ssft'
  )
  run_settings.check_settings(old, settings, 'runs/ssft')


def test_a_text_that_is_not_the_repr_of_a_dataclass_is_compared_as_it_is():
  saved = {**save_and_load(make_settings()), 'loss': '<custom loss>'}
  saved.pop('version')

  class Custom:
    def __repr__(self):
      return '<custom loss>'

  settings = make_settings(loss=Custom())
  run_settings.check_settings(saved, settings, 'runs/x')
