"""GGUF files of the llama architecture: made from a reference model, and a real one."""

import json
import os
import pathlib

import numpy as np
import pytest

from mathft_jax import checkpoints, convert
from mathft_jax.checkpoints import gguf_files, safetensors_format
from mathft_jax.data import vocabularies
from tests.models import parity_test

gguf = pytest.importorskip('gguf', reason='the extra [gguf] is not installed')
pytestmark = pytest.mark.usefixtures('quick_compiles')
GOLDENS = pathlib.Path(parity_test.GOLDENS)
HEAD_SIZE = 8


def join_halves(tensor):
  """Rows as llama.cpp stores them: rotated dimensions are neighbours."""
  heads = tensor.reshape(-1, 2, HEAD_SIZE // 2, tensor.shape[-1])
  return heads.swapaxes(1, 2).reshape(tensor.shape)


def write_header(writer, keys):
  writer.add_vocab_size(keys['vocab_size'])
  writer.add_context_length(64)
  writer.add_embedding_length(keys['hidden_size'])
  writer.add_block_count(keys['num_hidden_layers'])
  writer.add_feed_forward_length(keys['intermediate_size'])
  writer.add_head_count(keys['num_attention_heads'])
  writer.add_head_count_kv(keys['num_key_value_heads'])
  writer.add_layer_norm_rms_eps(keys['rms_norm_eps'])
  writer.add_rope_freq_base(keys['rope_theta'])
  writer.add_rope_dimension_count(keys['head_dim'])


def write_tokenizer(writer, tokenizer_json, pre):
  content = json.loads(pathlib.Path(tokenizer_json).read_text())
  ids = {**content['model']['vocab']}
  kinds = dict.fromkeys(ids.values(), 1)
  for token in content['added_tokens']:
    ids[token['content']] = token['id']
    kinds[token['id']] = gguf_files.CONTROL
  names = sorted(ids, key=ids.get)
  merges = [' '.join(pair) for pair in content['model']['merges']]
  writer.add_tokenizer_model('gpt2')
  writer.add_tokenizer_pre(pre)
  writer.add_token_list(names)
  writer.add_token_types([kinds[index] for index in sorted(kinds)])
  writer.add_token_merges(merges)
  writer.add_eos_token_id(ids['<|eot_id|>'])
  writer.add_chat_template('{{ messages }}')


@pytest.fixture(name='make_gguf')
def _make_gguf(tmp_path, tokenizer_paths):
  """make_gguf(...): a file with the model of the golden case llama_untied, in float32."""

  def make(architecture='llama', pre='llama-bpe', without=(), **changes):
    folder = GOLDENS / 'llama_untied'
    keys = json.loads((folder / 'config.json').read_text()) | changes
    header, _ = safetensors_format.read_header(folder / 'model.safetensors')
    path = tmp_path / 'model.gguf'
    writer = gguf.GGUFWriter(path, architecture)
    write_header(writer, keys)
    write_tokenizer(writer, tokenizer_paths['llama3'], pre)
    for name, entry in header.items():
      layer = next((part for part in name.split('.') if part.isdigit()), '')
      pattern = name.replace(f'.{layer}.', '.{}.') if layer else name
      tensor = np.asarray(entry.read(), np.float32)
      if name.endswith(('q_proj.weight', 'k_proj.weight')):
        tensor = join_halves(tensor)
      stored = gguf_files.TENSOR_NAMES[pattern].format(layer)
      if stored not in without:
        writer.add_tensor(stored, np.ascontiguousarray(tensor))
    writer.add_tensor('rope_freqs.weight', rope_divisors(folder))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

  return make


def rope_divisors(folder):
  config = checkpoints.load_model_config(folder)
  unscaled = config.rope_theta ** -(np.arange(0, HEAD_SIZE, 2) / HEAD_SIZE)
  divisors = unscaled / config.rope_scaling(unscaled)
  return divisors.astype(np.float32)


@pytest.fixture(name='original_length')
def _original_length(monkeypatch):
  """The original length of the golden case."""
  monkeypatch.setattr(gguf_files, 'ORIGINAL_LENGTH', 16)


def test_logits_are_those_of_the_reference(make_gguf, original_length):
  config, params = parity_test.load(make_gguf())
  golden = parity_test.expected('llama_untied')
  logits = parity_test.full_logits(config, params, golden['tokens'])
  assert parity_test.difference(logits, golden['logits']) < 1e-4


def test_a_file_becomes_a_folder_with_its_tokenizer(
  make_gguf, original_length, tmp_path, tokenizer_paths
):
  folder = convert.convert(
    checkpoint=make_gguf(), output=tmp_path / 'folder', dtype='bfloat16'
  )
  published = GOLDENS / 'llama_untied'
  for name in ('model.safetensors',):
    header, _ = safetensors_format.read_header(folder / name)
    wanted, _ = safetensors_format.read_header(published / name)
    assert set(header) == set(wanted)
    for tensor, entry in header.items():
      np.testing.assert_array_equal(entry.read(), wanted[tensor].read())

  names = dict(eos='<|eot_id|>', pad='<|end_of_text|>')
  found = vocabularies.TokenizerVocabulary(str(folder), **names)
  wanted = vocabularies.TokenizerVocabulary(
    str(tokenizer_paths['llama3']), **names
  )
  assert found.special_ids == wanted.special_ids
  for text in ('Find $x^{12}$.\n\nIt is  3456 é.', ' a\tb'):
    assert found.encode(text) == wanted.encode(text)
    assert found.decode(found.encode(text)) == text


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'architecture': 'qwen35'}, "architecture 'qwen35'.*only 'llama'"),
    ({'without': ('blk.1.ffn_up.weight',)}, r"missing \(\['blk.1.ffn_up"),
    ({'intermediate_size': 41}, 'blk.0.ffn_down.weight has shape'),
  ],
)
def test_unsupported_files_are_named(
  make_gguf, original_length, changes, message
):
  with pytest.raises(ValueError, match=message):
    parity_test.load(make_gguf(**changes))


def test_a_cut_file_and_an_unknown_tokenizer_are_errors(
  make_gguf, original_length, tmp_path
):
  path = make_gguf(pre='another')
  with pytest.raises(ValueError, match="pre-tokenizer 'another'"):
    gguf_files.write_tokenizer_files(path, tmp_path)
  path.write_bytes(path.read_bytes()[:5000])
  with pytest.raises(ValueError, match='not a complete GGUF file'):
    parity_test.load(path)


@pytest.mark.slow
def test_the_real_smollm2_continues_text_and_has_its_tokenizer(tmp_path):
  folder = pathlib.Path(os.environ.get('MATHFT_PUBLISHED', 'not set'))
  files = sorted(folder.glob('SmolLM2*.gguf'))
  if not files:
    pytest.skip('no SmolLM2*.gguf: set MATHFT_PUBLISHED to a folder with one')
  out = convert.convert(checkpoint=files[0], output=tmp_path / 'out')
  vocabulary = vocabularies.TokenizerVocabulary(
    str(out), eos='<|im_end|>', pad='<repo_name>'
  )
  ids = vocabulary.encode('The capital of France is')
  assert ids == [504, 3575, 282, 4649, 314]
  config, params = parity_test.load(out)
  tokens = np.array([ids])
  logits = parity_test.full_logits(config, params, tokens)
  assert vocabulary.decode([int(logits[0, -1].argmax())]) == ' Paris'
