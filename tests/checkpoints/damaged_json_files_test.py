"""Json files of published models that are cut off, pointers or wrong: named in one line."""

import json
import pathlib
import shutil

import pytest

from mathft_jax import checkpoints
from mathft_jax.data import published_templates
from mathft_jax.storage import json_files

GOLDEN = (
  pathlib.Path(__file__).parent.parent / 'models' / 'goldens' / 'llama_tied'
)
INDEX = 'model.safetensors.index.json'
DAMAGED = {
  'cut off': (b'{"model_type": "llama", "hid', 'cut off'),
  'empty': (b'', 'is not valid JSON'),
  'a git lfs pointer': (b'version https://git-lfs.github.com/spec/v1\n', 'lfs'),
  'a list': (b'[]', 'has a list'),
  'UTF-16': ('{}'.encode('utf-16'), 'is not valid JSON'),
}


@pytest.fixture
def folder(tmp_path):
  return pathlib.Path(shutil.copytree(GOLDEN, tmp_path / 'model'))


@pytest.mark.parametrize('kind', DAMAGED)
@pytest.mark.parametrize('name', ['config.json', INDEX])
def test_damaged_files_are_named(folder, kind, name):
  content, words = DAMAGED[kind]
  (folder / name).write_bytes(content)
  with pytest.raises(ValueError, match=words) as found:
    checkpoints.open_lazy_params(folder)
  assert str(folder / name) in str(found.value)
  assert '\n' not in str(found.value)


@pytest.mark.parametrize('kind', DAMAGED)
@pytest.mark.parametrize('name', ['config.json', 'tokenizer_config.json'])
def test_damaged_files_beside_a_tokenizer_are_named(
  tmp_path, tokenizer_paths, kind, name
):
  shutil.copy(tokenizer_paths['qwen'], tmp_path / 'tokenizer.json')
  contents = {
    'config.json': b'{"vocab_size": 608}',
    'tokenizer_config.json': b'{"eos_token": "<|im_end|>"}',
  }
  for each, content in contents.items():
    (tmp_path / each).write_bytes(b'\xef\xbb\xbf' + content)
  vocabulary = published_templates.load_vocabulary(tmp_path, chat=False)
  assert vocabulary.eos == '<|im_end|>'

  content, words = DAMAGED[kind]
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=words) as found:
    published_templates.load_vocabulary(tmp_path, chat=False)
  assert str(tmp_path / name) in str(found.value)


def test_weights_that_are_a_git_lfs_pointer_are_named(folder):
  path = folder / 'model.safetensors'
  path.write_bytes(DAMAGED['a git lfs pointer'][0])
  with pytest.raises(ValueError, match=f'{path} is a git lfs pointer'):
    checkpoints.open_lazy_params(folder)


@pytest.mark.parametrize(
  'content',
  ['{"metadata": {}}', '{"weight_map": []}', '{"weight_map": {"a": 1}}'],
)
def test_an_index_without_files_is_named(folder, content):
  (folder / INDEX).write_text(content)
  with pytest.raises(ValueError, match=f'{INDEX} has no weight_map'):
    checkpoints.open_lazy_params(folder)


@pytest.mark.parametrize(
  'key, value, words',
  [
    ('rope_theta', None, 'rope_theta is None; it must be a number over 0'),
    ('rope_theta', -1, 'rope_theta is -1'),
    ('rope_parameters', {'rope_theta': None}, 'rope_theta is None'),
    ('model_type', ['llama'], r"model_type is \['llama'\]"),
    ('hidden_size', None, 'hidden_size is None; it must be an integer'),
    ('num_hidden_layers', 0, 'num_hidden_layers is 0'),
  ],
)
def test_wrong_values_of_config_json_are_named(folder, key, value, words):
  path = folder / 'config.json'
  keys = json.loads(path.read_text())
  keys.pop('rope_parameters', None)
  path.write_text(json.dumps(keys | {key: value}))
  with pytest.raises(ValueError, match=words) as found:
    checkpoints.open_lazy_params(folder)
  assert str(path) in str(found.value)


def test_a_byte_order_mark_is_accepted(folder):
  path = folder / 'config.json'
  path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
  assert json_files.read_json_object(path)['model_type'] == 'llama'
  checkpoints.open_lazy_params(folder)
