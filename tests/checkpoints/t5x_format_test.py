"""Checkpoints of t5x, read and written without t5x.

t5x_checkpoints.zip has the same parameters in both formats of t5x; `make_t5x_fixture.py` wrote it.
"""

import pathlib
import shutil

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints, convert
from mathft_jax.data import prompt_templates, vocabularies
from mathft_jax.models import config as config_lib
from mathft_jax.models import transformer

ARCHIVE = pathlib.Path(__file__).parent / 't5x_checkpoints.zip'
VOCABULARY = vocabularies.WordVocabulary(('correct', 'incorrect', '1', '2'))
TEMPLATE = prompt_templates.Template()
# An untied head, padding rows of the vocabulary, and one key/value head.
MODEL = config_lib.TransformerConfig(
  vocab_size=VOCABULARY.vocab_size,
  vocab_multiple=16,
  embed_dim=4,
  num_layers=2,
  num_heads=2,
  num_kv_heads=1,
  head_dim=2,
  mlp_dim=4,
  tied_embeddings=False,
)
GIVEN = {'model': MODEL, 'vocabulary': VOCABULARY, 'template': TEMPLATE}


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
  folder = tmp_path_factory.mktemp('t5x')
  shutil.unpack_archive(ARCHIVE, folder)
  return folder


def make_params() -> transformer.Params:
  """Returns parameters that need no random numbers."""
  shapes = transformer.abstract_params(MODEL)
  leaves, structure = jax.tree.flatten(shapes)
  arrays = []
  for index, shape in enumerate(leaves):
    values = np.arange(shape.size, dtype=np.float32) / 7 + index
    arrays.append(values.reshape(shape.shape))
  return structure.unflatten(arrays)


def assert_equal(found, wanted=None):
  jax.tree.map(np.testing.assert_array_equal, found, wanted or make_params())


@pytest.mark.parametrize('name', ['orbax', 'legacy'])
@pytest.mark.parametrize('path', ['', 'checkpoint_7'])
def test_parameters_are_read_bitwise(stored, name, path):
  params = checkpoints.load_params(
    stored / name / path, transformer.abstract_params(MODEL)
  )
  assert_equal(params)
  assert checkpoints.is_t5x_checkpoint(stored / name / path)


@pytest.mark.parametrize('name', ['orbax', 'legacy'])
@pytest.mark.parametrize('output', ['run', 'run.safetensors'])
def test_a_t5x_checkpoint_becomes_ours_with_the_model_that_is_named(
  stored, name, output, tmp_path
):
  path = convert.convert(
    checkpoint=stored / name, output=tmp_path / output, **GIVEN
  )
  assert checkpoints.load_model_config(path) == MODEL
  checkpoints.check_metadata(
    path,
    model=MODEL,
    fingerprint=prompt_templates.template_fingerprint(TEMPLATE, VOCABULARY),
  )
  assert_equal(
    checkpoints.load_params(path, transformer.abstract_params(MODEL))
  )


def test_there_and_back_is_bitwise_equal(stored, tmp_path):
  """t5x -> ours -> t5x -> ours."""
  ours = convert.convert(
    checkpoint=stored / 'orbax', output=tmp_path / 'ours', **GIVEN
  )
  theirs = convert.convert(
    checkpoint=ours, output=tmp_path / 't5x' / 'checkpoint_3'
  )
  assert checkpoints.is_t5x_checkpoint(theirs)
  back = convert.convert(
    checkpoint=theirs, output=tmp_path / 'back.safetensors', **GIVEN
  )
  assert_equal(
    checkpoints.load_params(back, transformer.abstract_params(MODEL))
  )


def test_a_checkpoint_without_a_model_needs_one(stored, tmp_path):
  with pytest.raises(ValueError, match='programs/convert.gin'):
    convert.convert(
      checkpoint=stored / 'orbax', output=tmp_path / 'run.safetensors'
    )
  with pytest.raises(ValueError, match='set MODEL to one of'):
    checkpoints.load_model_config(stored / 'orbax')


def test_another_model_is_refused_by_names_and_shapes(stored, tmp_path):
  fields = {
    **GIVEN,
    'model': config_lib.TransformerConfig(
      vocab_size=VOCABULARY.vocab_size,
      embed_dim=4,
      num_layers=2,
      num_heads=2,
      mlp_dim=4,
    ),
  }
  with pytest.raises(ValueError, match="(?s)do not fit the model.*'head'"):
    convert.convert(
      checkpoint=stored / 'legacy', output=tmp_path / 'run', **fields
    )
  assert not (tmp_path / 'run').exists()


def test_our_checkpoints_contain_their_model(stored, tmp_path):
  ours = convert.convert(
    checkpoint=stored / 'orbax', output=tmp_path / 'ours', **GIVEN
  )
  with pytest.raises(ValueError, match='Leave out programs/convert.gin'):
    convert.convert(checkpoint=ours, output=tmp_path / 'x.safetensors', **GIVEN)


def test_a_tensorflow_index_is_named(tmp_path):
  (tmp_path / 'checkpoint').write_text('model_checkpoint_path: "model.ckpt-0"')
  with pytest.raises(ValueError, match='TensorFlow'):
    checkpoints.load_abstract_params(tmp_path)
