"""Damaged checkpoints: a run resumes from the one before, other programs refuse them."""

import json
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax import checkpoints
from mathft_jax.checkpoints import checksums
from mathft_jax.models import transformer
from mathft_jax.training import train_config
from tests import train_test

STEPS = ('3', '6')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A run with the checkpoints of steps 3 and 6."""
  workdir = tmp_path_factory.mktemp('finished')
  train_test.train(workdir, checkpoint_period=3)
  return workdir


@pytest.fixture
def workdir(finished, tmp_path):
  shutil.copytree(finished, tmp_path / 'run')
  return tmp_path / 'run'


def newest(workdir):
  return workdir / 'checkpoints' / '6'


def data_files(folder):
  """The files with the values of arrays; some are copies that orbax does not read."""
  return [path for path in folder.rglob('d/*') if path.stat().st_size]


def truncate(folder):
  for path in data_files(folder):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_one_bit_of_each_file(folder):
  for path in data_files(folder):
    flip_bit(path)


def flip_bit(path, position=0.5, bit=3):
  data = bytearray(path.read_bytes())
  data[min(len(data) - 1, int(len(data) * position))] ^= 1 << bit
  path.write_bytes(data)


def change_metadata(path):
  text = path.read_text().replace('"step": 6', '"step": 7')
  path.write_text(text)


DAMAGES = {
  'truncated array': lambda step: truncate(step / 'params'),
  'truncated optimizer': lambda step: truncate(step / 'optimizer'),
  'no metadata': lambda step: shutil.rmtree(step / 'metadata'),
  'empty metadata': lambda step: (step / 'metadata/metadata').write_text(''),
  'changed metadata': lambda step: change_metadata(step / 'metadata/metadata'),
  'no manifest': lambda step: (step / 'params/manifest.ocdbt').unlink(),
  'no optimizer': lambda step: shutil.rmtree(step / 'optimizer'),
  'no params': lambda step: shutil.rmtree(step / 'params'),
  'one bit': lambda step: flip_one_bit_of_each_file(step / 'params'),
  'one bit of the optimizer': lambda step: flip_one_bit_of_each_file(
    step / 'optimizer'
  ),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(
  finished, workdir, damage, caplog
):
  DAMAGES[damage](newest(workdir))
  path = train_test.train(workdir, train_steps=7)
  assert path.name == '7'
  assert f'THE RUN CONTINUES FROM {workdir}/checkpoints/3.' in caplog.text
  whole = finished.parent / 'whole_of_7'
  if not whole.exists():
    shutil.copytree(finished, whole)
    train_test.train(whole, train_steps=7)
  train_test.assert_same(path, whole / 'checkpoints' / '7')
  assert train_test.train(workdir, train_steps=7) == path


@pytest.mark.parametrize(
  'damage', ['no metadata', 'truncated array', 'one bit']
)
def test_without_another_checkpoint_the_error_says_what_to_delete(
  workdir, damage
):
  shutil.rmtree(workdir / 'checkpoints' / '3')
  DAMAGES[damage](newest(workdir))
  with pytest.raises(ValueError, match=r'checkpoints/6.*is damaged.*delete'):
    train_test.train(workdir, train_steps=7)
  assert newest(workdir).exists()


@pytest.mark.parametrize(
  'damage', [name for name in DAMAGES if 'optimizer' not in name]
)
def test_a_program_that_reads_a_damaged_checkpoint_refuses_it(workdir, damage):
  DAMAGES[damage](newest(workdir))
  with pytest.raises(ValueError, match='damaged|contains no checkpoint'):
    checkpoints.read_metadata(newest(workdir))
    train_test.params_of(newest(workdir))
  with pytest.raises(ValueError, match='damaged|contains no checkpoint'):
    source = checkpoints.open_lazy_params(newest(workdir))
    for name in source.shapes:
      source.read_array(name, None)


def test_a_bit_flipped_anywhere_never_gives_other_weights(finished, workdir):
  """Files contain bytes that do not matter; then the weights are those that were saved."""
  generator = random.Random(0)
  expected = train_test.params_of(newest(finished))
  refused = 0
  files = [path for path in newest(finished).rglob('*') if path.is_file()]
  for path in [each for each in files if each.stat().st_size] * 2:
    copy = workdir / path.relative_to(finished)
    flip_bit(copy, generator.random(), generator.randrange(8))
    try:
      checkpoints.read_metadata(newest(workdir))
      jax.tree.map(
        np.testing.assert_array_equal,
        train_test.params_of(newest(workdir)),
        expected,
      )
    except ValueError:
      refused += 1
    shutil.copy(path, copy)
  assert refused > 5


def test_weights_cast_to_another_dtype_are_verified_too(workdir):
  wanted = jax.tree.map(
    lambda array: jax.ShapeDtypeStruct(array.shape, jnp.bfloat16),
    transformer.abstract_params(train_test.MODEL),
  )
  whole = checkpoints.load_params(newest(workdir), wanted)
  expected = train_test.params_of(newest(workdir))
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a, b.astype(jnp.bfloat16)),
    whole,
    expected,
  )
  DAMAGES['one bit'](newest(workdir))
  with pytest.raises(ValueError, match='damaged'):
    checkpoints.load_params(newest(workdir), wanted)


def test_checkpoints_without_checksums_still_load(workdir):
  path = newest(workdir) / 'metadata/metadata'
  metadata = json.loads(path.read_text())
  del metadata['checksums'], metadata[checksums.METADATA_KEY]
  path.write_text(json.dumps(metadata))
  assert train_test.train(workdir, train_steps=7).name == '7'


@pytest.mark.parametrize(
  'dtype', ['float32', 'bfloat16', 'float16', 'int32', 'uint8', 'bool']
)
def test_a_checksum_changes_with_every_bit_and_is_equal_on_host_and_devices(
  dtype,
):
  values = np.random.default_rng(0).integers(0, 2, size=(3, 5, 4))
  array = values.astype(jnp.dtype(dtype))
  total = checksums.host_checksum(array)
  assert checksums.array_checksums({'x': jnp.asarray(array)}) == {'x': total}
  if dtype == 'bool':
    return
  seen = {total}
  words = array.reshape(-1).view(np.uint8)
  for byte in range(words.size):
    for bit in range(8):
      words[byte] ^= 1 << bit
      seen.add(checksums.host_checksum(array))
      assert checksums.host_checksum(array) != total
      words[byte] ^= 1 << bit
  assert len(seen) > 8


@pytest.mark.parametrize('count', [0, -1])
def test_keeping_no_checkpoint_is_refused(count):
  with pytest.raises(ValueError, match=rf'is {count}.*KEEP_CHECKPOINTS'):
    train_config.CheckpointConfig(max_to_keep=count)
