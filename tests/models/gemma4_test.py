"""Gemma 4: stacks of layers in parameters, LoRA and folders; which config.json is refused."""

import dataclasses
import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax import checkpoints, convert
from mathft_jax.checkpoints import safetensors_format
from mathft_jax.models import config as config_lib
from mathft_jax.models import kv_cache, layer_stacks, transformer
from mathft_jax.models.huggingface import config_json
from mathft_jax.training import lora as lora_lib
from tests.models import make_goldens

CONFIG = transformer.TransformerConfig(
  vocab_size=40,
  embed_dim=16,
  num_layers=5,
  num_heads=4,
  num_kv_heads=2,
  mlp_dim=24,
  qk_norm=True,
  value_norm=True,
  output_scale=True,
  attention_pattern=('local', 'global'),
  global_attention=transformer.GlobalAttention(
    head_dim=8, num_kv_heads=1, keys_as_values=True
  ),
  sliding_window=3,
  rope_scaling=transformer.ProportionalRopeScaling(),
  local_rope_theta=100.0,
  query_scale=1.0,
)
SHARED = dataclasses.replace(
  CONFIG,
  num_layers=7,
  shared_keys=transformer.SharedKeys(num_layers=3, mlp_dim=32),
  layer_input_dim=6,
)
each_config = pytest.mark.parametrize('config', [CONFIG, SHARED])
KEYS = make_goldens.config_json('gemma4')
GOLDENS = pathlib.Path(__file__).parent / 'goldens'


@functools.lru_cache
def random_params(config=CONFIG):
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: jnp.asarray(rng.normal(0.3, 0.4, leaf.shape), leaf.dtype),
    transformer.abstract_params(config),
  )


@functools.partial(jax.jit, static_argnums=0)
def hidden_of(config, params):
  tokens = jnp.arange(14).reshape(2, 7)
  positions = jnp.broadcast_to(jnp.arange(7), tokens.shape)
  return transformer.hidden_states(
    config, params, tokens, positions_BT=positions
  )[0]


def test_each_kind_of_layer_has_a_stack_with_its_own_shapes():
  layers = transformer.abstract_params(CONFIG)['layers']
  axes = transformer.param_logical_axes(CONFIG)['layers']
  assert layers['local']['attention']['key'].shape == (3, 16, 2, 4)
  assert layers['local']['attention']['value'].shape == (3, 16, 2, 4)
  assert layers['global']['attention']['key'].shape == (2, 16, 1, 8)
  assert 'value' not in layers['global']['attention']
  assert layers['global']['output_scale'].shape == (2,)
  assert axes['global']['output_scale'] == ('layers',)
  assert axes['local']['mlp']['up'] == ('layers', 'embed', 'mlp')


def test_layers_with_shared_keys_have_stacks_of_their_own():
  layers = transformer.abstract_params(SHARED)['layers']
  assert layers['local']['mlp']['up'].shape == (2, 16, 24)
  assert layers['shared_local']['mlp']['up'].shape == (2, 16, 32)
  assert set(layers['shared_global']['attention']) == {
    'query',
    'query_norm',
    'out',
  }
  assert layers['shared_global']['attention']['query'].shape == (1, 16, 4, 8)
  assert layers['shared_global']['layer_input']['gate'].shape == (1, 16, 6)

  cache = kv_cache.allocate_cache(SHARED, batch_size=2, max_length=9)
  assert {name: array.shape for name, array in cache.suffix.key.items()} == {
    'local': (2, 2, 2, 9, 4),
    'global': (2, 2, 1, 9, 8),
  }
  with pytest.raises(ValueError, match='must have all kinds'):
    dataclasses.replace(
      SHARED, shared_keys=transformer.SharedKeys(num_layers=6, mlp_dim=32)
    )


def test_new_parameters_differ_between_all_layers():
  layers = transformer.init_params(CONFIG, jax.random.key(0))['layers']
  ups = [layers[kind]['mlp']['up'] for kind in ('local', 'global')]
  ups = np.concatenate(ups)
  assert len(np.unique(ups, axis=0)) == CONFIG.num_layers


@each_config
def test_numbers_of_layers_are_unique(config):
  numbers = set()
  for name, layers in layer_stacks.layers_by_stack(config).items():
    for index in range(len(layers)):
      numbers.add(layer_stacks.unique_number(config, name, index))
  assert numbers == set(range(config.num_layers))


@each_config
def test_rematerialisation_does_not_change_the_gradient(config):
  def gradient(config):
    def loss(params):
      return jnp.sum(hidden_of(config, params) ** 2)

    return jax.grad(loss)(random_params(config))

  wanted = gradient(config)
  found = gradient(dataclasses.replace(config, remat='save_qkv'))
  for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
  for kind in ('local', 'global'):
    assert not np.any(wanted['layers'][kind]['output_scale'])
    assert np.all(wanted['layers'][kind]['attention']['key_norm']['scale'])


def test_lora_adapts_the_matrices_of_both_stacks():
  lora = lora_lib.Lora(rank=2, matrices='attention/.*')
  rng = np.random.default_rng(1)
  adapters = jax.tree.map(
    lambda leaf: jnp.asarray(rng.normal(0, 0.1, leaf.shape), leaf.dtype),
    lora.abstract_params(random_params()).adapters,
  )
  layers = adapters['layers']
  assert set(layers['local']['attention']) == {'query', 'key', 'value', 'out'}
  assert set(layers['global']['attention']) == {'query', 'key', 'out'}
  axes = lora.logical_axes(transformer.param_logical_axes(CONFIG)).adapters
  assert axes['layers']['global']['attention']['key']['b'] == (
    'layers',
    None,
    'kv_heads',
    'kv',
  )

  params = lora_lib.LoraParams(random_params(), adapters)
  merged = lora.merge(params)
  found = hidden_of(CONFIG, lora.attach(params))
  np.testing.assert_allclose(
    found, hidden_of(CONFIG, merged), rtol=2e-4, atol=2e-4
  )
  assert np.abs(found - hidden_of(CONFIG, random_params())).max() > 1e-2

  def read(name, layer):
    assert layer is None
    return functools.reduce(
      lambda tree, key: tree[key], name.split('/'), merged
    )

  lora.check_merged(params, read, where='x')
  with pytest.raises(ValueError, match='layers/.*/attention/.* differs'):
    lora.check_merged(
      params, lambda name, layer: read(name, layer) + 1, where='x'
    )


def test_import_and_export_through_orbax_give_the_same_folder(tmp_path):
  step = convert.convert(
    checkpoint=GOLDENS / 'gemma4', output=tmp_path / 'step'
  )
  out = convert.convert(checkpoint=step, output=tmp_path / 'out')
  wanted = checkpoints.load_model_config(GOLDENS / 'gemma4')
  assert checkpoints.load_model_config(step) == wanted
  assert checkpoints.load_model_config(out) == wanted
  shapes = transformer.abstract_params(wanted)
  jax.tree.map(
    np.testing.assert_array_equal,
    checkpoints.load_params(out, shapes),
    checkpoints.load_params(GOLDENS / 'gemma4', shapes),
  )


@each_config
def test_config_survives_the_metadata_of_a_checkpoint(config):
  fields = json.loads(json.dumps(dataclasses.asdict(config)))
  assert config_lib.model_config_from_json(fields) == config


@pytest.mark.parametrize(
  'outer, case', [('gemma4', 'gemma4'), ('gemma4_unified', 'gemma4_unified')]
)
def test_language_model_of_a_multimodal_folder(outer, case):
  text = make_goldens.config_json(case)
  family, config = config_json.family_and_model_config(
    {'model_type': outer, 'text_config': text, 'vision_config': {}}, where='x'
  )
  assert config == config_json.family_and_model_config(text, where='x')[1]
  assert family.model_type == text['model_type']


def test_sizes_by_layer_are_read_as_transformers_writes_them():
  keys = dict(KEYS)
  sizes = {
    'head_dim': keys.pop('global_head_dim'),
    'num_key_value_heads': keys.pop('num_global_key_value_heads'),
  }
  keys['per_layer_config'] = {str(layer): sizes for layer in (0, 2, 4)}
  _, config = config_json.family_and_model_config(keys, where='x')
  assert config == config_json.family_and_model_config(KEYS, where='x')[1]

  _, written = config_json.family_and_config_json(config, keys)
  assert 'per_layer_config' not in written
  assert written['global_head_dim'] == sizes['head_dim']
  keys['per_layer_config']['1'] = sizes
  with pytest.raises(ValueError, match='global layers, 0, 2, 4'):
    config_json.family_and_model_config(keys, where='x')


def test_absent_keys_have_the_defaults_of_transformers():
  keys = {
    'model_type': 'gemma4_unified_text',
    'num_hidden_layers': 7,  # the last one is global
  }
  _, config = config_json.family_and_model_config(keys, where='x')
  assert config.layer_kinds == (*['local'] * 5, 'global', 'global')
  assert config.global_attention == transformer.GlobalAttention(512, 4, False)
  assert config.rope_scaling == transformer.ProportionalRopeScaling(0.25)
  assert (config.rope_theta, config.local_rope_theta) == (1e6, 1e4)
  assert (config.sliding_window, config.final_softcap) == (1024, None)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'enable_moe_block': True}, '26B-A4B'),
    ({'num_kv_shared_layers': 4}, 'must have all kinds'),
    (
      {'hidden_size_per_layer_input': 8, 'vocab_size_per_layer_input': 9},
      'must be vocab_size',
    ),
    ({'use_bidirectional_attention': 'all'}, "'all'; only False"),
    ({'layer_types': ['full_attention'] * 5}, "must contain 'local'"),
    ({'num_global_key_value_heads': 3}, 'not a multiple'),
  ],
)
def test_unsupported_variants_raise_an_error(changes, message):
  with pytest.raises(ValueError, match=message):
    config_json.family_and_model_config({**KEYS, **changes}, where='x')


def test_an_absent_key_of_embeddings_for_each_layer_has_its_default():
  keys = dict(KEYS)
  del keys['hidden_size_per_layer_input']
  _, config = config_json.family_and_model_config(keys, where='x')
  assert config.layer_input_dim == 256


def test_published_keys_of_layers_with_shared_keys_are_ignored(tmp_path):
  folder = tmp_path / 'published'
  shutil.copytree(GOLDENS / 'gemma4_e', folder)
  file = folder / 'model.safetensors'
  entries, _ = safetensors_format.read_header(file)
  tensors = {name: np.array(entry.read()) for name, entry in entries.items()}
  key = 'model.layers.{}.self_attn.k_proj.weight'
  tensors[key.format(5)] = tensors[key.format(3)]
  shapes = {
    name: jax.ShapeDtypeStruct(array.shape, array.dtype)
    for name, array in tensors.items()
  }
  safetensors_format.write_safetensors(file, shapes, iter(tensors.values()), {})
  shapes = transformer.abstract_params(checkpoints.load_model_config(folder))
  jax.tree.map(
    np.testing.assert_array_equal,
    checkpoints.load_params(folder, shapes),
    checkpoints.load_params(GOLDENS / 'gemma4_e', shapes),
  )


def test_padding_of_the_vocabulary_pads_both_embeddings(tmp_path):
  folder = GOLDENS / 'gemma4_e'
  config = checkpoints.load_model_config(folder, vocab_multiple=32)
  params = checkpoints.load_params(folder, transformer.abstract_params(config))
  assert params['layer_inputs']['embedding'].shape == (96, 7 * 6)
  native = checkpoints.save_safetensors(
    tmp_path / 'padded.safetensors', params, {'model': config}
  )
  out = convert.convert(checkpoint=native, output=tmp_path / 'out')
  shapes = transformer.abstract_params(checkpoints.load_model_config(out))
  jax.tree.map(
    np.testing.assert_array_equal,
    checkpoints.load_params(out, shapes),
    checkpoints.load_params(folder, shapes),
  )
