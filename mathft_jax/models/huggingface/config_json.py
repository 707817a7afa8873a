"""Conversion between config.json and TransformerConfig for all supported families.

  family, config = from_config_json(json.loads(text), where='gemma/config.json')
  family, keys = family_and_config_json(config)

To add a family without new traits, add a row to FAMILIES. PaLM has no row: its weights are not
published; its sizes are in gin files (`models/palm_8b.gin`).
"""

from mathft_jax.models import config as config_lib
from mathft_jax.models.config import Fields, Json
from mathft_jax.models.huggingface import (
  expert_fields,
  gemma4_fields,
  rope_fields,
  sliding_window_fields,
  tensor_names,
)
from mathft_jax.models.huggingface.family_conversion import ModelFamily

SIZE_KEYS = (
  'hidden_size',
  'intermediate_size',
  'num_attention_heads',
  'num_hidden_layers',
  'vocab_size',
)
GEMMA_TRAITS = {
  'norm_unit_offset': True,
  'post_norms': True,
  'scaled_embeddings': True,
}
GEMMA_DEFAULTS = {
  'hidden_size': 2304,
  'intermediate_size': 9216,
  'num_hidden_layers': 26,
  'num_attention_heads': 8,
  'num_key_value_heads': 4,
  'head_dim': 256,
  'query_pre_attn_scalar': 256,
}
GEMMA4_TRAITS = {
  'post_norms': True,
  'qk_norm': True,
  'value_norm': True,
  'output_scale': True,
  'scaled_embeddings': True,
  'query_scale': 1.0,
}
OLMO_TRAITS = {'pre_norms': False, 'post_norms': True, 'joint_qk_norm': True}


def _gemma4(model_type: str, architecture: str, **defaults: int) -> ModelFamily:
  """Returns a row of Gemma 4; the two differ in these defaults."""
  return ModelFamily(
    model_type,
    architecture,
    GEMMA4_TRAITS,
    tensor_names.GEMMA4_TENSORS,
    gemma4_fields.ROPE,
    gemma4_fields.WINDOWS,
    tied=True,
    activation=('hidden_activation', 'gelu_pytorch_tanh'),
    sizes_by_layer=gemma4_fields.SIZES,
    defaults={
      'hidden_size': 2304,
      'intermediate_size': 9216,
      'num_hidden_layers': 30,
      'num_attention_heads': 8,
      'num_key_value_heads': 4,
      'head_dim': 256,
      'vocab_size': 262_144,
      **defaults,
    },
  )


FAMILIES = (
  ModelFamily('llama', 'LlamaForCausalLM'),
  ModelFamily(
    'mistral', 'MistralForCausalLM', windows=sliding_window_fields.ALL_LAYERS
  ),
  ModelFamily(
    'ministral3',
    'Ministral3ForCausalLM',
    rope=rope_fields.ROPE_WITH_QUERY_SCALE,
    windows=sliding_window_fields.ALL_LAYERS_OR_NONE,
    defaults={'head_dim': 128, 'rms_norm_eps': 1e-5},
  ),
  ModelFamily(
    'smollm3',
    'SmolLM3ForCausalLM',
    windows=sliding_window_fields.LAYERS_WITHOUT_ROPE,
    tied=True,
    defaults={'rope_theta': 2_000_000.0},
  ),
  ModelFamily(
    'phi3',
    'Phi3ForCausalLM',
    tensors=tensor_names.FUSED_TENSORS,
    windows=sliding_window_fields.ALL_LAYERS_OR_NONE,
    defaults={'rms_norm_eps': 1e-5},
  ),
  ModelFamily(
    'granite',
    'GraniteForCausalLM',
    multipliers=True,
  ),
  ModelFamily(
    'olmo2',
    'Olmo2ForCausalLM',
    OLMO_TRAITS,
    tensor_names.POST_NORM_TENSORS,
    defaults={'rms_norm_eps': 1e-5},
  ),
  ModelFamily(
    'olmo3',
    'Olmo3ForCausalLM',
    OLMO_TRAITS,
    tensor_names.POST_NORM_TENSORS,
    rope_fields.ROPE_WITHOUT_SCALING_IN_WINDOWS,
    sliding_window_fields.periodic_windows(4),
    defaults={'rms_norm_eps': 1e-5, 'rope_theta': 500_000.0},
  ),
  ModelFamily(
    'qwen2',
    'Qwen2ForCausalLM',
    {'qkv_bias': True},
    windows=sliding_window_fields.UPPER_LAYERS,
  ),
  ModelFamily(
    'qwen3',
    'Qwen3ForCausalLM',
    {'qk_norm': True},
    windows=sliding_window_fields.UPPER_LAYERS,
    defaults={'head_dim': 128},
  ),
  ModelFamily(
    'qwen3_moe',
    'Qwen3MoeForCausalLM',
    {'qk_norm': True},
    tensor_names.EXPERT_TENSORS,
    windows=sliding_window_fields.OPTIONAL_WINDOW,
    experts=expert_fields.EXPERTS,
    defaults={'intermediate_size': 6144},
  ),
  ModelFamily(
    'gemma2',
    'Gemma2ForCausalLM',
    GEMMA_TRAITS,
    tensor_names.PRE_AND_POST_NORM_TENSORS,
    windows=sliding_window_fields.periodic_windows(2),
    tied=True,
    gemma_scales=True,
    activation=('hidden_activation', 'gelu_pytorch_tanh'),
    defaults={
      **GEMMA_DEFAULTS,
      'vocab_size': 256_000,
      'attn_logit_softcapping': 50.0,
      'final_logit_softcapping': 30.0,
    },
  ),
  ModelFamily(
    'gemma3_text',
    'Gemma3ForCausalLM',
    {**GEMMA_TRAITS, 'qk_norm': True},
    tensor_names.PRE_AND_POST_NORM_TENSORS,
    rope_fields.ROPE_BY_LAYER_KIND,
    sliding_window_fields.periodic_windows(6),
    tied=True,
    gemma_scales=True,
    activation=('hidden_activation', 'gelu_pytorch_tanh'),
    defaults={
      **GEMMA_DEFAULTS,
      'vocab_size': 262_208,
      'attn_logit_softcapping': None,
      'final_logit_softcapping': None,
    },
  ),
  _gemma4(  # 31B, E4B, E2B
    'gemma4_text',
    'Gemma4ForCausalLM',
    sliding_window=512,
    hidden_size_per_layer_input=256,
  ),
  _gemma4(  # 12B
    'gemma4_unified_text',
    'Gemma4UnifiedForCausalLM',
    sliding_window=1024,
  ),
)

# model_type of multimodal models -> that of the language model; None: it is in `text_config`.
MULTIMODAL_TYPES = {
  'gemma3': 'gemma3_text',
  'gemma4': 'gemma4_text',
  'gemma4_unified': 'gemma4_unified_text',
  'mistral3': None,
}
# Keys of a multimodal config.json that are not in its `text_config`.
OUTER_KEYS = (
  'bos_token_id',
  'eos_token_id',
  'pad_token_id',
  'torch_dtype',
  'dtype',
)
# Keys that an export writes anew, whatever the published config.json contains.
REPLACED_KEYS = (
  'rope_parameters',
  'torch_dtype',
  'dtype',
  'layer_types',
  'sliding_window_pattern',
  'per_layer_config',
)


def text_model_config(keys: Json) -> Fields:
  """Returns the config.json of the language model in it: `text_config` of a multimodal model.

  Special tokens and the dtype are taken from the outer level if it has them.
  """
  outer_type = keys.get('model_type')
  if not isinstance(outer_type, str) or outer_type not in MULTIMODAL_TYPES:
    return dict(keys)
  if 'text_config' not in keys:
    return dict(keys)
  text_keys = dict(keys['text_config'])
  for key in OUTER_KEYS:
    if keys.get(key) is not None:
      text_keys[key] = keys[key]
  text_type = MULTIMODAL_TYPES[outer_type]
  if text_type is not None:
    text_keys['model_type'] = text_type
  if 'tie_word_embeddings' in keys:
    text_keys.setdefault('tie_word_embeddings', keys['tie_word_embeddings'])
  return text_keys


def family_and_model_config(
  keys: Json, *, where: str
) -> tuple[ModelFamily, config_lib.TransformerConfig]:
  """Returns the family and the model of a config.json.

  Args:
    where: path of the config.json, for error messages.

  Raises:
    ValueError: the family is unknown, or a value is missing or not supported.
  """
  keys = text_model_config(keys)
  model_type = keys.get('model_type')
  families = {family.model_type: family for family in FAMILIES}
  if not isinstance(model_type, str) or model_type not in families:
    raise ValueError(
      f'{where}: model_type is {model_type!r}; it must be one of '
      f'{", ".join(families)}.'
    )

  family = families[model_type]
  for key in SIZE_KEYS:
    if key in keys and (type(keys[key]) is not int or keys[key] < 1):
      raise ValueError(
        f'{where}: {key} is {keys[key]!r}; it must be an integer from 1.'
      )
  try:
    return family, family.from_config_json(keys)
  except KeyError as error:
    raise ValueError(
      f'{where}: key {error} is missing; this must be the config.json of a complete model.'
    ) from error
  except ValueError as error:
    raise ValueError(f'{where}: {error}') from error
  except TypeError as error:
    raise ValueError(
      f'{where}: a value has a wrong type, such as null ({error}); this must be the config.json of '
      'a complete model.'
    ) from error


def family_and_config_json(
  config: config_lib.TransformerConfig, published: Json | None = None
) -> tuple[ModelFamily, Fields]:
  """Returns a family and a config.json that describe a model.

  A family describes the model if its config.json reads back as the same model.

  Args:
    published: the config.json that the weights once came with. Its family is tried first, and its
      other keys are kept.

  Raises:
    ValueError: no family describes the model.
  """
  published = text_model_config(published or {})
  published_type = published.get('model_type')
  families = list(FAMILIES)
  families.sort(key=lambda family: family.model_type != published_type)

  reasons = []
  for family in families:
    try:
      keys = family.to_config_json(config)
      differences = config_lib.diff_model_configs(
        family.from_config_json(keys), config
      )
    except ValueError as error:
      reasons.append(f'{family.model_type}: {error}')
      continue
    if differences:
      reasons.append(f'{family.model_type}: {differences}')
      continue
    if family.model_type == published_type:
      keys = _with_published_keys(family, config, keys, published)
    return family, keys

  raise ValueError(
    'No family of Hugging Face transformers can describe this model. What each '
    'would change (its value, value of this model):\n  ' + '\n  '.join(reasons)
  )


def _with_published_keys(
  family: ModelFamily,
  config: config_lib.TransformerConfig,
  keys: Json,
  published: Json,
) -> Fields:
  """Returns `keys` and the other keys of the published config.json.

  Published keys of windows that no layer uses replace those in `keys`.
  """
  merged = dict(published)
  for key in REPLACED_KEYS:
    merged.pop(key, None)
  merged.update(keys)

  disabled = {}
  for key in sliding_window_fields.DISABLED_WINDOW_KEYS:
    if key in published:
      disabled[key] = published[key]
  if 'local' not in config.layer_kinds and not config_lib.diff_model_configs(
    family.from_config_json({**keys, **disabled}), config
  ):
    merged.update(disabled)
  return merged
