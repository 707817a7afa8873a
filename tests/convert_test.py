"""A checkpoint as one file and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax import checkpoints, convert, gin_utils

PARAMS = {'embedding': jnp.arange(12.0).reshape(3, 4),
          'layers': {'mlp': {'up': jnp.ones((2, 4, 8)) / 3}}}


@pytest.fixture
def checkpoint(tmp_path):
  with checkpoints.Checkpoints(tmp_path / 'run' / 'checkpoints') as store:
    store.save(5, PARAMS, {'m': PARAMS}, {'model': {'embed_dim': 4}, 'fingerprint': {'a': 'b'}})
  return tmp_path / 'run' / 'checkpoints' / '5'


def test_the_file_has_the_parameters_and_the_metadata(checkpoint, tmp_path):
  path = convert.convert(checkpoint=checkpoint, output=tmp_path / 'out.safetensors')
  params = checkpoints.load_params(path, checkpoints.shapes(path))
  jax.tree.map(np.testing.assert_array_equal, params, PARAMS)
  assert checkpoints.read_metadata(path) == checkpoints.read_metadata(checkpoint)


def test_a_file_in_bfloat16_is_half_as_large_and_converts_back(checkpoint, tmp_path):
  path = convert.convert(checkpoint=checkpoint, output=tmp_path / 'half.safetensors',
                         dtype='bfloat16')
  assert {x.dtype for x in jax.tree.leaves(checkpoints.shapes(path))} == {jnp.dtype('bfloat16')}
  back = convert.convert(checkpoint=path, output=tmp_path / 'whole.safetensors', dtype='float32')
  params = checkpoints.load_params(back, checkpoints.shapes(back))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2), params, PARAMS)


def test_the_command_line_has_plain_flags(checkpoint, tmp_path, capsys):
  output = str(tmp_path / 'cli.safetensors')
  flags = ['convert', f'--checkpoint={checkpoint}', f'--output={output}']
  assert gin_utils.main(convert.convert, flags, plain_flags=('checkpoint', 'output')) == 0
  assert checkpoints.read_metadata(output)['step'] == 5
  assert gin_utils.main(convert.convert, flags[:2], plain_flags=('checkpoint', 'output')) == 2
  assert 'convert needs a value for: output' in capsys.readouterr().err
