"""Hugging Face folders: same bytes after import and export, padding, errors for invalid folders."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax import checkpoints, convert
from mathft_jax.checkpoints import restore_sharded, safetensors_format
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer

GOLDENS = pathlib.Path(__file__).parent.parent / 'models' / 'goldens'
CASES = sorted(path.name for path in GOLDENS.iterdir())


def tensors(folder):
  """All tensors of a folder's files, as bytes with dtype and shape."""
  found = {}
  for file in sorted(folder.glob('model*.safetensors')):
    for name, entry in safetensors_format.read_header(file)[0].items():
      found[name] = (str(entry.dtype), entry.shape, entry.read().tobytes())
  return found


def load(path, config=None, shardings=None):
  config = config or checkpoints.load_model_config(path)
  return checkpoints.load_params(
    path, transformer.abstract_params(config), shardings
  )


def assert_same(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize('case', CASES)
def test_import_and_export_give_the_same_bytes(case, tmp_path):
  native = convert.convert(
    checkpoint=GOLDENS / case, output=tmp_path / 'x.safetensors'
  )
  folder = convert.convert(checkpoint=native, output=tmp_path / 'out')
  assert tensors(folder) == tensors(GOLDENS / case)
  assert checkpoints.load_model_config(folder) == checkpoints.load_model_config(
    GOLDENS / case
  )
  header, _ = safetensors_format.read_header(folder / 'model.safetensors')
  assert str(header['model.norm.weight'].dtype) == 'bfloat16'


def test_import_and_export_through_orbax_give_the_same_bytes(tmp_path):
  step = convert.convert(
    checkpoint=GOLDENS / 'gemma3', output=tmp_path / 'step'
  )
  assert {
    x.dtype for x in jax.tree.leaves(checkpoints.load_abstract_params(step))
  } == {jnp.dtype('bfloat16')}
  assert_same(load(step), load(GOLDENS / 'gemma3'))
  assert tensors(
    convert.convert(checkpoint=step, output=tmp_path / 'out')
  ) == tensors(GOLDENS / 'gemma3')


def test_export_keeps_other_keys_of_the_published_config_json(tmp_path):
  folder = copied(
    'qwen2_tied',
    tmp_path,
    json_changes={'eos_token_id': 5, 'max_position_embeddings': 77},
  )
  native = convert.convert(checkpoint=folder, output=tmp_path / 'x.safetensors')
  out = convert.convert(
    checkpoint=native, output=tmp_path / 'out', dtype='float32'
  )
  found = json.loads((out / 'config.json').read_text())
  assert (found['eos_token_id'], found['max_position_embeddings']) == (5, 77)
  assert (found['torch_dtype'], found['vocab_size']) == ('float32', 67)


def test_padding_of_the_vocabulary_changes_no_logit_and_is_not_exported(
  tmp_path,
):
  folder, plain = (
    GOLDENS / 'llama_untied',
    checkpoints.load_model_config(GOLDENS / 'llama_untied'),
  )
  padded = checkpoints.load_model_config(folder, vocab_multiple=32)
  params = load(folder, padded)
  assert (params['embedding'].shape[0], params['head'].shape[1]) == (96, 96)
  hidden = jnp.ones((2, plain.embed_dim))
  np.testing.assert_array_equal(
    transformer.logits(padded, params, hidden),
    transformer.logits(plain, load(folder), hidden),
  )
  native = checkpoints.save_safetensors(
    tmp_path / 'padded.safetensors', params, {'model': padded}
  )
  out = convert.convert(
    checkpoint=native, output=tmp_path / 'out', dtype='bfloat16'
  )
  assert tensors(out) == tensors(folder)
  # And a later stage may do without.
  assert_same(load(native, plain), load(folder))


def test_export_in_several_files_has_an_index(tmp_path):
  native = convert.convert(
    checkpoint=GOLDENS / 'gemma2', output=tmp_path / 'x.safetensors'
  )
  out = convert.convert(
    checkpoint=native, output=tmp_path / 'out', shard_bytes=8000
  )
  files = sorted(out.glob('*.safetensors'))
  assert len(files) > 3 and all(file.stat().length < 10_000 for file in files)
  index = json.loads((out / 'model.safetensors.index.json').read_text())
  assert set(index['weight_map']) == set(tensors(out))
  assert tensors(out) == tensors(GOLDENS / 'gemma2')
  assert_same(load(out), load(GOLDENS / 'gemma2'))


@pytest.mark.parametrize(
  'prefix', ['language_model.model.', 'model.language_model.']
)
def test_language_model_of_a_multimodal_folder(prefix, tmp_path):
  folder = copied('gemma3', tmp_path)
  entries, _ = safetensors_format.read_header(folder / 'model.safetensors')
  renamed = {
    prefix + name.removeprefix('model.'): entry.read()
    for name, entry in entries.items()
  }
  renamed = {
    'vision_tower.patch.weight': np.ones((3, 3), np.float32),
    **renamed,
  }
  safetensors_format.write_safetensors(
    folder / 'model.safetensors', renamed, renamed.values(), {}
  )
  text = json.loads((folder / 'config.json').read_text())
  (folder / 'config.json').write_text(
    json.dumps(
      {
        'model_type': 'gemma3',
        'text_config': text,
        'vision_config': {'hidden_size': 3},
        'eos_token_id': [1, 106],
        'pad_token_id': 0,
        'torch_dtype': 'float32',
      }
    )
  )
  assert_same(load(folder), load(GOLDENS / 'gemma3'))
  native = convert.convert(checkpoint=folder, output=tmp_path / 'x.safetensors')
  out = convert.convert(checkpoint=native, output=tmp_path / 'out')
  assert tensors(out) == tensors(GOLDENS / 'gemma3')
  found = json.loads((out / 'config.json').read_text())
  assert (
    found['model_type'],
    found['eos_token_id'],
    found['pad_token_id'],
  ) == (
    'gemma3_text',
    [1, 106],
    0,
  )
  # Of the numbers written, whatever was said of them.
  assert found['torch_dtype'] == 'bfloat16'


def test_streamed_layers_equal_arrays_copied_at_once(monkeypatch):
  folder = GOLDENS / 'qwen2_windows'
  config = checkpoints.load_model_config(folder)
  partitioner = partitioning.Partitioner(num_partitions=2, fsdp=True)
  shapes = transformer.abstract_params(config)
  shardings = partitioning.logical_to_shardings(
    transformer.param_logical_axes(config),
    shapes,
    mesh=partitioner.mesh(),
    rules=partitioner.rules,
  )
  whole = load(folder, shardings=shardings)
  monkeypatch.setattr(restore_sharded, 'STREAM_BYTES', 0)
  streamed = load(folder, shardings=shardings)
  assert_same(whole, streamed)
  assert_same(whole, load(folder))
  assert jax.tree.map(lambda x: x.sharding, streamed) == shardings


def copied(case, tmp_path, json_changes=None):
  folder = tmp_path / case
  shutil.copytree(GOLDENS / case, folder)
  found = json.loads((folder / 'config.json').read_text())
  (folder / 'config.json').write_text(
    json.dumps({**found, **(json_changes or {})})
  )
  return folder


def rewritten(folder, change):
  """The folder with its tensors changed by `change(dict of arrays)`."""
  entries, _ = safetensors_format.read_header(folder / 'model.safetensors')
  arrays = {name: np.array(entry.read()) for name, entry in entries.items()}
  change(arrays)
  safetensors_format.write_safetensors(
    folder / 'model.safetensors', arrays, arrays.values(), {}
  )


def cut_off(folder):
  file = folder / 'model.safetensors'
  file.write_bytes(file.read_bytes()[:-100])


def without_a_shard(folder):
  names = list(safetensors_format.read_header(folder / 'model.safetensors')[0])
  where = dict.fromkeys(names, 'model-00001-of-00002.safetensors')
  where['model.norm.weight'] = 'model-00002-of-00002.safetensors'
  (folder / 'model.safetensors').rename(
    folder / 'model-00001-of-00002.safetensors'
  )
  (folder / 'model.safetensors.index.json').write_text(
    json.dumps({'weight_map': where})
  )


DOWN = 'model.layers.2.mlp.down_proj.weight'
DAMAGES = {
  'a missing shard': (
    without_a_shard,
    {},
    ['model-00002-of-00002.safetensors is missing', 'model.norm.weight'],
  ),
  'a cut file': (cut_off, {}, ['is truncated', 'ends at byte']),
  'no file': (
    lambda folder: (folder / 'model.safetensors').unlink(),
    {},
    ['neither'],
  ),
  'a tensor of another shape': (
    lambda folder: rewritten(
      folder, lambda x: x.update({DOWN: x[DOWN][:, 1:]})
    ),
    {},
    [DOWN, '(24, 39)', '(24, 40)'],
  ),
  'a missing tensor': (
    lambda folder: rewritten(folder, lambda x: x.pop(DOWN)),
    {},
    [f'{DOWN}: missing', '(24, 40)'],
  ),
  'a tensor too many': (
    lambda folder: rewritten(
      folder, lambda x: x.update({'model.adapter': x[DOWN]})
    ),
    {},
    ['model.adapter', 'not in the model'],
  ),
  'an unknown family': (
    None,
    {'model_type': 'mamba'},
    ["'mamba'", 'llama', 'gemma2'],
  ),
  'another rope_type': (
    None,
    {'rope_scaling': {'rope_type': 'longrope', 'factor': 4.0}},
    ["'longrope'", 'llama3'],
  ),
  'another activation': (None, {'hidden_act': 'swish2'}, ["'swish2'", 'silu']),
  'biases': (None, {'attention_bias': True}, ['attention_bias is True']),
  'quantised': (
    None,
    {'quantization_config': {'bits': 4}},
    ['quantization_config'],
  ),
  'a config.json of other sizes': (
    None,
    {'num_hidden_layers': 5},
    ['model.layers.4.', 'missing'],
  ),
}


@pytest.mark.parametrize(
  'damage, changes, words', DAMAGES.values(), ids=DAMAGES
)
def test_invalid_folders_raise_an_error_before_arrays_are_created(
  damage, changes, words, tmp_path, monkeypatch
):
  folder = copied('llama_untied', tmp_path, changes)
  if damage:
    damage(folder)
  monkeypatch.setattr(restore_sharded, 'create_sharded_arrays', None)
  config = checkpoints.load_model_config(GOLDENS / 'llama_untied')
  for attempt in (
    lambda: load(folder, config),
    lambda: checkpoints.check_metadata(folder, model=config),
    lambda: convert.convert(
      checkpoint=folder, output=tmp_path / 'o.safetensors'
    ),
  ):
    with pytest.raises(ValueError) as error:
      attempt()
    assert str(folder) in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)
  assert not (tmp_path / 'o.safetensors').exists()


def test_another_model_raises_an_error_with_both_values():
  config = checkpoints.load_model_config(GOLDENS / 'llama_untied')
  other = dataclasses.replace(config, rope_theta=1e4)
  with pytest.raises(
    ValueError, match=r"(?s)rope_theta': 500000.0.*rope_theta': 10000.0"
  ):
    checkpoints.check_metadata(GOLDENS / 'llama_untied', model=other)
  spelt = dataclasses.replace(config, attention_pattern=('global', 'global'))
  checkpoints.check_metadata(GOLDENS / 'llama_untied', model=spelt)


def test_export_does_not_overwrite(tmp_path):
  native = convert.convert(
    checkpoint=GOLDENS / 'mistral', output=tmp_path / 'x.safetensors'
  )
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'mine.txt').write_text('mine')
  with pytest.raises(ValueError, match='not empty'):
    convert.convert(checkpoint=native, output=tmp_path / 'out')
  with pytest.raises(ValueError, match='exists'):
    convert.convert(checkpoint=GOLDENS / 'mistral', output=tmp_path / 'out')
  assert (tmp_path / 'out' / 'mine.txt').read_text() == 'mine'


def test_export_copies_tokenizer_files(tmp_path):
  native = convert.convert(
    checkpoint=GOLDENS / 'mistral', output=tmp_path / 'x.safetensors'
  )
  (tmp_path / 'tokenizer.json').write_text('{}')
  (tmp_path / 'notes.txt').write_text('not mine')
  out = convert.convert(
    checkpoint=native, output=tmp_path / 'out', tokenizer=tmp_path
  )
  assert sorted(file.name for file in out.iterdir()) == [
    'config.json',
    'model.safetensors',
    'tokenizer.json',
  ]


def test_the_safetensors_package_reads_exported_files(tmp_path):
  package = pytest.importorskip(
    'safetensors.numpy', reason='the extra [test] is not installed'
  )
  arrays = {
    'a': np.arange(6, dtype=np.float32).reshape(2, 3),
    'b': np.zeros((0, 2), np.float16),
  }
  path = safetensors_format.write_safetensors(
    tmp_path / 'x.safetensors', arrays, arrays.values(), {'k': 'v'}
  )
  assert_same(package.load_file(path), arrays)
  package.save_file(arrays, tmp_path / 'y.safetensors')
  entries, _ = safetensors_format.read_header(tmp_path / 'y.safetensors')
  assert_same({name: entry.read() for name, entry in entries.items()}, arrays)


def test_headers_are_read_once_until_a_file_changes(tmp_path, monkeypatch):
  folder = copied('llama_untied', tmp_path, {})
  read_header, reads = safetensors_format.read_header, []

  def counted(path):
    reads.append(path)
    return read_header(path)

  monkeypatch.setattr(safetensors_format, 'read_header', counted)
  config = checkpoints.load_model_config(folder)
  checkpoints.check_metadata(folder, model=config)
  shapes = checkpoints.load_abstract_params(folder)
  before = checkpoints.load_params(folder, shapes)
  assert len(reads) == 1

  rewritten(folder, lambda x: x.update({DOWN: 2 * x[DOWN]}))
  reads.clear()
  after = checkpoints.load_params(folder, shapes)
  assert len(reads) == 1
  np.testing.assert_array_equal(
    after['layers']['mlp']['down'][2], 2 * before['layers']['mlp']['down'][2]
  )
