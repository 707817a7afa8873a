"""Sizes equal published facts; config.json converts to TransformerConfig and back."""

import dataclasses
import math
import pathlib

import gin
import numpy as np
import pytest

from mathft_jax.checkpoints import lazy_params
from mathft_jax.models import config as config_lib
from mathft_jax.models import transformer
from mathft_jax.models.huggingface import config_json, tensor_names
from tests.models import make_goldens

CONFIGS = pathlib.Path(__file__).parents[3] / 'gin_configs'
# Parameters in billions, tied embeddings once, as model cards and reports give them.
BILLIONS = {
  'llama3_2_1b': 1.24,
  'llama3_2_3b': 3.21,
  'llama3_1_8b': 8.03,
  'llama3_3_70b': 70.6,
  'mistral_7b': 7.25,
  'qwen2_5_0_5b': 0.49,
  'qwen2_5_1_5b': 1.54,
  'qwen2_5_3b': 3.09,
  'qwen2_5_7b': 7.61,
  'qwen2_5_14b': 14.7,
  'qwen2_5_32b': 32.5,
  'qwen2_5_72b': 72.7,
  'qwen2_5_math_1_5b': 1.54,
  'qwen2_5_math_7b': 7.61,
  'qwen2_5_math_72b': 72.7,
  'qwen3_0_6b': 0.6,
  'qwen3_1_7b': 1.7,
  'qwen3_4b': 4.0,
  'qwen3_8b': 8.2,
  'qwen3_14b': 14.8,
  'qwen3_32b': 32.8,
  'qwen3_30b_a3b': 30.5,
  'gemma2_2b': 2.61,
  'gemma2_9b': 9.24,
  'gemma2_27b': 27.2,
  'gemma3_1b': 1.0,
  'gemma3_4b': 3.88,
  'gemma3_12b': 11.77,
  'gemma3_27b': 27.0,
  'gemma4_31b': 30.7,
  'gemma4_12b': 11.95,
  'gemma4_e2b': 5.1 - 0.15 - 0.3,  # without the encoders of images and sound
  'gemma4_e4b': 8.0 - 0.15 - 0.3,
  'smollm2_135m': 0.135,
  'smollm2_360m': 0.362,
  'smollm2_1_7b': 1.71,
  'smollm3_3b': 3.08,
  'deepseek_r1_qwen_1_5b': 1.78,
  'deepseek_r1_qwen_7b': 7.62,
  'deepseek_r1_qwen_14b': 14.8,
  'deepseek_r1_qwen_32b': 32.8,
  'deepseek_r1_llama_8b': 8.03,
  'deepseek_r1_llama_70b': 70.6,
  'qwen3_4b_2507': 4.0,
  'mistral_small_24b': 23.6,
  'ministral3_8b': 8.5,
  'phi4_14b': 14.7,
  'granite3_3_2b': 2.53,
  'granite3_3_8b': 8.17,
  'olmo2_1b': 1.48,
  'olmo2_7b': 7.3,
  'olmo2_13b': 13.7,
  'olmo2_32b': 32.2,
  'olmo3_7b': 7.3,
  'olmo3_32b': 32.2,
  'palm_8b': 8.6,
  'palm_62b': 62.5,
}
# The first family that has all traits of a size.
FIRST_FAMILY = {
  'qwen2': 'qwen2',
  'llama3': 'llama',
  'mistral': 'llama',  # without a window
  'smollm2': 'llama',
  'phi4': 'llama',  # with projections that are not fused
  'granite3': 'granite',
  'qwen3_30b_a3b': 'qwen3_moe',
  'deepseek_r1_qwen': 'qwen2',
  'deepseek_r1_llama': 'llama',
}
LLAMA3 = dict(
  model_type='llama',
  hidden_act='silu',
  vocab_size=128256,
  rms_norm_eps=1e-5,
  head_dim=128,
  num_key_value_heads=8,
  rope_theta=500000.0,
  attention_bias=False,
  mlp_bias=False,
)
QWEN = dict(
  hidden_act='silu',
  use_sliding_window=False,
  rms_norm_eps=1e-6,
  rope_theta=1000000.0,
)
SCALING = dict(
  low_freq_factor=1.0,
  high_freq_factor=4.0,
  rope_type='llama3',
  original_max_position_embeddings=8192,
)
PUBLISHED = {  # what stands in the published config.json files, as far as we read it
  'llama3_1_8b': {
    **LLAMA3,
    'hidden_size': 4096,
    'intermediate_size': 14336,
    'num_attention_heads': 32,
    'num_hidden_layers': 32,
    'rope_scaling': {**SCALING, 'factor': 8.0},
    'tie_word_embeddings': False,
  },
  'llama3_2_3b': {
    **LLAMA3,
    'hidden_size': 3072,
    'intermediate_size': 8192,
    'num_attention_heads': 24,
    'num_hidden_layers': 28,
    'rope_scaling': {**SCALING, 'factor': 32.0},
    'tie_word_embeddings': True,
  },
  'qwen2_5_3b': {
    **QWEN,
    'model_type': 'qwen2',
    'hidden_size': 2048,
    'intermediate_size': 11008,
    'max_window_layers': 36,
    'num_attention_heads': 16,
    'num_hidden_layers': 36,
    'num_key_value_heads': 2,
    'sliding_window': 32768,
    'vocab_size': 151936,
    'tie_word_embeddings': True,
  },
  'qwen2_5_14b': {
    **QWEN,
    'model_type': 'qwen2',
    'hidden_size': 5120,
    'intermediate_size': 13824,
    'max_window_layers': 48,
    'num_attention_heads': 40,
    'num_hidden_layers': 48,
    'num_key_value_heads': 8,
    'sliding_window': 131072,
    'vocab_size': 152064,
    'tie_word_embeddings': False,
    'rms_norm_eps': 1e-5,
  },
  'qwen3_4b': {
    **QWEN,
    'model_type': 'qwen3',
    'hidden_size': 2560,
    'intermediate_size': 9728,
    'head_dim': 128,
    'max_window_layers': 36,
    'num_attention_heads': 32,
    'num_hidden_layers': 36,
    'num_key_value_heads': 8,
    'rope_scaling': None,
    'sliding_window': None,
    'tie_word_embeddings': True,
    'vocab_size': 151936,
  },
  'qwen3_30b_a3b': {
    **QWEN,
    'model_type': 'qwen3_moe',
    'decoder_sparse_step': 1,
    'hidden_size': 2048,
    'intermediate_size': 6144,
    'head_dim': 128,
    'max_window_layers': 48,
    'mlp_only_layers': [],
    'moe_intermediate_size': 768,
    'norm_topk_prob': True,
    'num_attention_heads': 32,
    'num_experts': 128,
    'num_experts_per_tok': 8,
    'num_hidden_layers': 48,
    'num_key_value_heads': 4,
    'output_router_logits': False,
    'rope_scaling': None,
    'router_aux_loss_coef': 0.001,
    'sliding_window': None,
    'tie_word_embeddings': False,
    'vocab_size': 151936,
  },
  'gemma3_4b': {
    'model_type': 'gemma3',
    'text_config': {
      'hidden_size': 2560,
      'intermediate_size': 10240,
      'model_type': 'gemma3_text',
      'num_hidden_layers': 34,
      'sliding_window': 1024,
      'rope_scaling': {'factor': 8.0, 'rope_type': 'linear'},
    },
  },
}


def model(name):
  """MODEL of a gin file."""
  gin.clear_config()
  gin.add_config_file_search_path(str(CONFIGS))
  gin.parse_config_file(str(CONFIGS / 'models' / f'{name}.gin'))
  built = gin.query_parameter('%MODEL').scoped_configurable_fn()
  gin.clear_config()
  return built


@pytest.mark.parametrize('size', ['1_5b', '7b', '72b'])
def test_qwen_math_models_differ_from_their_base_in_theta_only(size):
  differ = config_lib.diff_model_configs(
    model(f'qwen2_5_math_{size}'), model(f'qwen2_5_{size}')
  )
  assert differ == {'rope_theta': (10_000.0, 1_000_000.0)}


def test_every_published_size_has_a_parameter_count_below():
  named = {
    path.stem
    for path in (CONFIGS / 'models').glob('*.gin')
    if "include 'models/" in path.read_text()
  }
  assert named - {'palm_1b', 'llama_1b', 'dials_small'} == set(BILLIONS)


@pytest.mark.parametrize('name', BILLIONS)
def test_sizes_have_the_published_number_of_parameters(name):
  shapes = lazy_params.flatten_params(transformer.abstract_params(model(name)))
  count = sum(math.prod(array.shape) for array in shapes.values()) / 1e9
  assert count == pytest.approx(BILLIONS[name], rel=0.02)  # as they are rounded


@pytest.mark.parametrize('name', PUBLISHED)
def test_sizes_equal_their_published_config_json(name):
  _, found = config_json.family_and_model_config(PUBLISHED[name], where=name)
  assert not config_lib.diff_model_configs(found, model(name))


@pytest.mark.parametrize('name', BILLIONS)
def test_sizes_survive_conversion_to_config_json_and_back(name):
  config = model(name)
  if name.startswith('palm'):
    with pytest.raises(ValueError, match='(?s)No family.*llama: .*norm'):
      config_json.family_and_config_json(config)
    return
  family, keys = config_json.family_and_config_json(config)
  assert family.model_type.removesuffix('_text') in (
    name.partition('_')[0],
    FIRST_FAMILY.get(name.partition('_')[0]),
    FIRST_FAMILY.get('_'.join(name.split('_')[:3])),
  )
  assert not config_lib.diff_model_configs(
    config_json.family_and_model_config(keys, where=name)[1], config
  )


def test_export_keeps_the_family_of_the_published_weights():
  config = model('mistral_7b')
  # No window: the same model.
  assert config_json.family_and_config_json(config)[0].model_type == 'llama'
  assert (
    config_json.family_and_config_json(config, {'model_type': 'mistral'})[
      0
    ].model_type
    == 'mistral'
  )


def test_language_model_of_multimodal_gemma_keeps_its_special_tokens():
  text = {
    **PUBLISHED['gemma3_4b']['text_config'],
    'eos_token_id': 1,
    'pad_token_id': 0,
  }
  outer = {
    'model_type': 'gemma3',
    'bos_token_id': None,
    'eos_token_id': [1, 106],
    'torch_dtype': 'bfloat16',
    'image_token_index': 262144,
    'vision_config': {'a': 1},
  }
  nested = {**outer, 'text_config': text}
  assert config_json.text_model_config(nested) == {
    **text,
    'model_type': 'gemma3_text',
    'eos_token_id': [1, 106],
    'torch_dtype': 'bfloat16',
  }
  _, keys = config_json.family_and_config_json(model('gemma3_4b'), nested)
  assert (keys['eos_token_id'], keys['pad_token_id']) == ([1, 106], 0)
  assert not {
    'bos_token_id',
    'image_token_index',
    'vision_config',
    'text_config',
  } & set(keys)


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('case', ['mistral', 'ministral3'])
def test_language_model_of_multimodal_mistral(case, tied):
  text = make_goldens.config_json(case)
  del text['tie_word_embeddings']
  outer = {
    'model_type': 'mistral3',
    'text_config': text,
    'tie_word_embeddings': tied,
    'vision_config': {'a': 1},
  }
  family, config = config_json.family_and_model_config(outer, where='x')
  _, wanted = config_json.family_and_model_config(text, where='x')
  assert family.model_type == case
  assert config == dataclasses.replace(wanted, tied_embeddings=tied)
  family, keys = config_json.family_and_config_json(config, outer)
  assert family.model_type == keys['model_type'] == case


YARN = {
  'rope_type': 'yarn',
  'factor': 8.0,
  'original_max_position_embeddings': 16,
}


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'rope_theta': None}, 'rope_theta is None'),
    ({'rope_scaling': {'rope_type': 'longrope'}}, "rope_type is 'longrope'"),
    ({'rope_scaling': {**YARN, 'factor': None}}, 'factor and original'),
    (
      {'rope_scaling': {**YARN, 'mscale': 1.0, 'mscale_all_dim': 0.5}},
      'must be equal',
    ),
  ],
)
def test_unsupported_rotary_embeddings_raise_an_error(changes, message):
  keys = {**make_goldens.config_json('olmo2'), **changes}
  with pytest.raises(ValueError, match=message):
    config_json.family_and_model_config(keys, where='x')


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'decoder_sparse_step': 2}, 'decoder_sparse_step is 2'),
    ({'mlp_only_layers': [0]}, r'mlp_only_layers is \[0\]'),
    ({'num_local_experts': 7}, r'are \[6, 7\]'),
    (
      {'num_experts_per_tok': 7},
      r'per_token is 7; it must be 1 to count \(6\)',
    ),
    ({'num_experts': 0}, r'are \[0\]'),
  ],
)
def test_unsupported_experts_raise_an_error(changes, message):
  keys = {**make_goldens.config_json('qwen3_moe'), **changes}
  with pytest.raises(ValueError, match=message):
    config_json.family_and_model_config(keys, where='x')


def test_number_of_experts_has_two_names_in_config_json():
  keys = make_goldens.config_json('qwen3_moe')
  _, wanted = config_json.family_and_model_config(keys, where='x')
  keys['num_local_experts'] = keys.pop('num_experts')
  assert config_json.family_and_model_config(keys, where='x')[1] == wanted


def test_windows_and_layers_without_rope_cannot_be_combined():
  with pytest.raises(ValueError, match='cannot be combined'):
    dataclasses.replace(
      model('smollm3_3b'),
      attention_pattern=('local', 'nope'),
      sliding_window=8,
    )


def test_unsupported_layers_without_rope_raise_an_error():
  keys = make_goldens.config_json('smollm3')
  with pytest.raises(ValueError, match='has 2 entries'):
    config_json.family_and_model_config(
      {**keys, 'no_rope_layers': [1, 0]}, where='x'
    )
  with pytest.raises(ValueError, match='use_sliding_window is True'):
    config_json.family_and_model_config(
      {**keys, 'use_sliding_window': True}, where='x'
    )


@pytest.mark.parametrize('name', ['qwen2_5_3b', 'qwen2_5_14b', 'qwen3_4b'])
def test_export_keeps_published_keys_of_disabled_windows(name):
  published = {**PUBLISHED[name], 'max_window_layers': 21}
  _, keys = config_json.family_and_config_json(model(name), published)
  assert {key: keys[key] for key in published} == published


def test_export_drops_a_published_window_that_would_have_an_effect():
  published = {
    **PUBLISHED['qwen2_5_3b'],
    'use_sliding_window': True,
    'max_window_layers': 21,
  }
  _, keys = config_json.family_and_config_json(model('qwen2_5_3b'), published)
  assert (keys['use_sliding_window'], keys['sliding_window']) == (False, None)
  _, windowed = config_json.family_and_model_config(published, where='x')
  _, keys = config_json.family_and_config_json(
    windowed, PUBLISHED['qwen2_5_3b']
  )
  assert (keys['use_sliding_window'], keys['max_window_layers']) == (True, 21)


NEWER = {  # as transformers 5 writes them
  'llama_untied': {
    'rope_parameters': {
      **SCALING,
      'factor': 8.0,
      'rope_theta': 500_000.0,
      'original_max_position_embeddings': 16,
    }
  },
  'gemma3': {
    'rope_parameters': {
      'full_attention': {
        'rope_type': 'linear',
        'factor': 8.0,
        'rope_theta': 1e6,
      },
      'sliding_attention': {'rope_type': 'default', 'rope_theta': 1e4},
    }
  },
}


@pytest.mark.parametrize('case', NEWER)
def test_rope_parameters_and_older_keys_give_the_same_model(case):
  older = make_goldens.config_json(case)
  newer = {
    key: value for key, value in older.items() if not key.startswith('rope_')
  } | NEWER[case]
  assert (
    config_json.family_and_model_config(newer, where='x')[1]
    == config_json.family_and_model_config(older, where='x')[1]
  )


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {
        'rope_parameters': {
          'rope_type': 'default',
          'rope_theta': 1.0,
          'partial_rotary_factor': 0.5,
        }
      },
      'partial_rotary_factor',
    ),
    ({'layer_types': ['chunked_attention'] * 4}, 'chunked_attention'),
    ({'layer_types': ['full_attention'] * 3}, '3 entries'),
    ({'hidden_size': None}, 'x: '),
  ],
)
def test_unsupported_config_json_raises_an_error(changes, message):
  found = {**make_goldens.config_json('qwen2_tied'), **changes}
  if found['hidden_size'] is None:
    del found['hidden_size']
  with pytest.raises(ValueError, match=message):
    config_json.family_and_model_config(found, where='x')


@pytest.mark.parametrize(
  'inputs, shape',
  [(None, (5, 3)), (0, (2, 4)), (1, (3, 2, 4)), (2, (2, 4, 3)), (0, (6,))],
)
def test_tensor_layouts_convert_back_to_the_same_parameter(inputs, shape):
  row = tensor_names.TensorMapping('layers/x', 'x.{}', inputs)
  array = np.arange(math.prod(shape)).reshape(shape)
  theirs = row.to_tensor(array)
  assert theirs.shape == row.tensor_shape(shape)
  np.testing.assert_array_equal(row.to_param(theirs, shape), array)
  if inputs == 1:
    np.testing.assert_array_equal(
      theirs @ np.ones(3), array.reshape(3, 8).T @ np.ones(3)
    )


def test_configs_survive_conversion_to_json_and_back():
  for name in (
    'llama3_2_1b',
    'qwen3_30b_a3b',
    'gemma3_4b',
    'palm_8b',
    'ministral3_8b',
  ):
    config = model(name)
    assert (
      config_lib.model_config_from_json(dataclasses.asdict(config)) == config
    )
  with pytest.raises(ValueError, match='depths'):
    config_lib.model_config_from_json(
      {**dataclasses.asdict(config), 'depths': 3}
    )
