"""The families of published models, as rows; a config.json to a TransformerConfig and back.

To add a family that has no trait of its own, add a row. PaLM has no row: its sizes are gin files
(`models/palm_8b.gin`), and no program but this one reads such weights.
"""

from collections.abc import Mapping
from typing import Any

from mathft_jax.models import config as config_lib
from mathft_jax.models.huggingface import (
  rope_fields,
  sliding_window_fields,
  tensor_names,
)
from mathft_jax.models.huggingface.model_family import ModelFamily

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

FAMILIES = (
  ModelFamily(
    'llama',
    'LlamaForCausalLM',
    {},
    tensor_names.PRE_NORM_TENSORS,
    rope_fields.read_rope,
    rope_fields.write_rope,
    sliding_window_fields.read_no_window,
    sliding_window_fields.write_no_window,
  ),
  ModelFamily(
    'mistral',
    'MistralForCausalLM',
    {},
    tensor_names.PRE_NORM_TENSORS,
    rope_fields.read_rope,
    rope_fields.write_rope,
    sliding_window_fields.read_window_of_all_layers,
    sliding_window_fields.write_window_of_all_layers,
  ),
  ModelFamily(
    'qwen2',
    'Qwen2ForCausalLM',
    {'qkv_bias': True},
    tensor_names.PRE_NORM_TENSORS,
    rope_fields.read_rope,
    rope_fields.write_rope,
    sliding_window_fields.read_window_of_upper_layers,
    sliding_window_fields.write_window_of_upper_layers,
  ),
  ModelFamily(
    'qwen3',
    'Qwen3ForCausalLM',
    {'qk_norm': True},
    tensor_names.PRE_NORM_TENSORS,
    rope_fields.read_rope,
    rope_fields.write_rope,
    sliding_window_fields.read_window_of_upper_layers,
    sliding_window_fields.write_window_of_upper_layers,
    defaults={'head_dim': 128},
  ),
  ModelFamily(
    'gemma2',
    'Gemma2ForCausalLM',
    GEMMA_TRAITS,
    tensor_names.PRE_AND_POST_NORM_TENSORS,
    rope_fields.read_rope,
    rope_fields.write_rope,
    sliding_window_fields.read_periodic_windows(2),
    sliding_window_fields.write_periodic_windows,
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
    rope_fields.read_rope_by_layer_kind,
    rope_fields.write_rope_by_layer_kind,
    sliding_window_fields.read_periodic_windows(6),
    sliding_window_fields.write_periodic_windows,
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
)


# What a model that also sees says of its language model at the outer level of config.json alone.
OUTER_KEYS = (
  'bos_token_id',
  'eos_token_id',
  'pad_token_id',
  'torch_dtype',
  'dtype',
)


def text_model_config(found: Mapping[str, Any]) -> dict[str, Any]:
  """The config.json of the language model in it: of Gemma 3 that also sees, its `text_config`.

  Special tokens and the dtype are those of the outer level where it has them.
  """
  if found.get('model_type') == 'gemma3' and 'text_config' in found:
    outer = {
      key: found[key] for key in OUTER_KEYS if found.get(key) is not None
    }
    return {**found['text_config'], **outer, 'model_type': 'gemma3_text'}
  return dict(found)


def from_config_json(
  found: Mapping[str, Any], *, where: str
) -> tuple[ModelFamily, config_lib.TransformerConfig]:
  """(family, model) of a config.json; ValueError for another family or an unsupported value."""
  found = text_model_config(found)
  known = {family.model_type: family for family in FAMILIES}
  family = known.get(found.get('model_type'))
  if family is None:
    raise ValueError(
      f'{where}: model_type is {found.get("model_type")!r}; the families known are '
      f'{", ".join(known)}.'
    )
  try:
    return family, family.read(found)
  except KeyError as error:
    raise ValueError(
      f'{where}: no {error} in it; wanted the config.json of a whole model.'
    ) from error
  except ValueError as error:
    raise ValueError(f'{where}: {error}') from error


def to_config_json(
  config: config_lib.TransformerConfig,
  published: Mapping[str, Any] | None = None,
) -> tuple[ModelFamily, dict[str, Any]]:
  """(family, config.json) of a model.

  A family fits when what it writes reads back as the same model. `published` is the config.json
  that the weights once came with: its family is tried first, and what we do not know of it kept.
  """
  published = text_model_config(published or {})
  told = []
  first = lambda family: family.model_type != published.get('model_type')
  for family in sorted(FAMILIES, key=first):
    try:
      keys = family.write(config)
      differ = config_lib.diff_model_configs(family.read(keys), config)
    except ValueError as error:
      told.append(f'{family.model_type}: {error}')
      continue
    if not differ:
      kept = (
        published if family.model_type == published.get('model_type') else {}
      )
      return family, _with_published(family, config, keys, kept)
    told.append(f'{family.model_type}: {differ}')
  raise ValueError(
    'No family of Hugging Face transformers has this model; what each would change '
    '(theirs, ours):\n  ' + '\n  '.join(told)
  )


def _with_published(
  family: ModelFamily,
  config: config_lib.TransformerConfig,
  keys: Mapping[str, Any],
  published: Mapping[str, Any],
) -> dict[str, Any]:
  """`keys` with what the published config.json says besides, or says of windows that are off."""
  old = {
    'rope_parameters',
    'torch_dtype',
    'dtype',
    'layer_types',
    'sliding_window_pattern',
  }
  besides = {key: value for key, value in published.items() if key not in old}
  idle = {
    key: published[key]
    for key in sliding_window_fields.DISABLED_WINDOW_KEYS
    if key in published
  }
  counts = 'local' in config.layer_kinds or config_lib.diff_model_configs(
    family.read({**keys, **idle}), config
  )
  return {**besides, **keys, **({} if counts else idle)}
