"""Conversion of a checkpoint to one file and back."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax import checkpoints, convert
from mathft_jax.config import entry_point

GOLDENS = pathlib.Path(__file__).parent / 'models' / 'goldens'
PARAMS = {
  'embedding': jnp.arange(12.0).reshape(3, 4),
  'layers': {'mlp': {'up': jnp.ones((2, 4, 8)) / 3}},
}


@pytest.fixture
def checkpoint(tmp_path):
  with checkpoints.CheckpointManager(tmp_path / 'run' / 'checkpoints') as store:
    store.save(
      5,
      PARAMS,
      {'m': PARAMS},
      {'model': {'embed_dim': 4}, 'fingerprint': {'a': 'b'}},
    )
  return tmp_path / 'run' / 'checkpoints' / '5'


def test_native_file_has_parameters_and_metadata(checkpoint, tmp_path):
  path = convert.convert(
    checkpoint=checkpoint, output=tmp_path / 'out.safetensors'
  )
  params = checkpoints.load_params(path, checkpoints.load_abstract_params(path))
  jax.tree.map(np.testing.assert_array_equal, params, PARAMS)
  assert checkpoints.read_metadata(path) == checkpoints.read_metadata(
    checkpoint
  )


def test_bfloat16_file_is_half_as_large_and_converts_back(checkpoint, tmp_path):
  path = convert.convert(
    checkpoint=checkpoint,
    output=tmp_path / 'half.safetensors',
    dtype='bfloat16',
  )
  assert {
    x.dtype for x in jax.tree.leaves(checkpoints.load_abstract_params(path))
  } == {jnp.dtype('bfloat16')}
  back = convert.convert(
    checkpoint=path, output=tmp_path / 'whole.safetensors', dtype='float32'
  )
  params = checkpoints.load_params(back, checkpoints.load_abstract_params(back))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2), params, PARAMS
  )


def test_command_line_has_plain_flags(checkpoint, tmp_path, capsys):
  output = str(tmp_path / 'cli.safetensors')
  flags = ['convert', f'--checkpoint={checkpoint}', f'--output={output}']
  assert (
    entry_point.main(
      convert.convert, flags, plain_flags=('checkpoint', 'output')
    )
    == 0
  )
  assert checkpoints.read_metadata(output)['step'] == 5
  assert (
    entry_point.main(
      convert.convert, flags[:2], plain_flags=('checkpoint', 'output')
    )
    == 2
  )
  assert 'convert needs a value for: output' in capsys.readouterr().err


@pytest.mark.parametrize('dtype', ['int32', 'bf16', 'float8', ''])
def test_unsupported_dtype_raises_an_error_first(dtype, tmp_path):
  with pytest.raises(
    ValueError, match=f'{dtype!r}.*float32, bfloat16, float16, float64'
  ):
    convert.convert(
      checkpoint=tmp_path / 'missing',
      output=tmp_path / 'x.safetensors',
      dtype=dtype,
    )


def test_existing_native_file_is_not_overwritten(checkpoint, tmp_path):
  output = tmp_path / 'x.safetensors'
  output.write_text('mine')
  with pytest.raises(ValueError, match='exists.*Delete it or name another'):
    convert.convert(checkpoint=checkpoint, output=output)
  assert output.read_text() == 'mine'


@pytest.mark.parametrize(
  'flags', [{'tokenizer': '.'}, {'shard_bytes': 5}], ids=str
)
def test_flags_for_hugging_face_folders_raise_an_error_for_other_outputs(
  flags, checkpoint, tmp_path
):
  with pytest.raises(
    ValueError, match=f'{next(iter(flags))} given.*native file'
  ):
    convert.convert(
      checkpoint=checkpoint, output=tmp_path / 'x.safetensors', **flags
    )
  with pytest.raises(ValueError, match=f'{next(iter(flags))} given.*orbax'):
    convert.convert(
      checkpoint=GOLDENS / 'mistral', output=tmp_path / 'step', **flags
    )
  assert (
    not (tmp_path / 'x.safetensors').exists()
    and not (tmp_path / 'step').exists()
  )


@pytest.mark.parametrize(
  'files, message',
  [
    (None, 'is not a folder'),
    ([], 'none of tokenizer.json'),
    (['generation_config.json', 'merges.txt'], 'none of tokenizer.json'),
  ],
)
def test_folder_without_a_tokenizer_raises_an_error_before_writing(
  files, message, tmp_path
):
  native = convert.convert(
    checkpoint=GOLDENS / 'mistral', output=tmp_path / 'x.safetensors'
  )
  folder = tmp_path / 'tokenizer'
  if files is not None:
    folder.mkdir()
  for name in files or ():
    (folder / name).write_text('{}')
  with pytest.raises(ValueError, match=message):
    convert.convert(
      checkpoint=native, output=tmp_path / 'out', tokenizer=folder
    )
  assert not (tmp_path / 'out').exists()
