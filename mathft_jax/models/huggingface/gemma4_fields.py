"""Keys of Gemma 4 in config.json: sizes that differ between layers, and rotary embeddings."""

from mathft_jax.models import config as config_lib
from mathft_jax.models import layer_sizes
from mathft_jax.models.config import Fields, Json
from mathft_jax.models.huggingface import rope_fields, sliding_window_fields
from mathft_jax.models.huggingface.field_conversion import FieldConversion

PERIOD = 6  # five local layers, then a global one
GLOBAL_HEAD_DIM = 512
DEFAULT_ROPE = {
  rope_fields.GLOBAL: {
    'rope_type': 'proportional',
    'partial_rotary_factor': 0.25,
    'rope_theta': 1_000_000.0,
  },
  rope_fields.LOCAL: {'rope_type': 'default', 'rope_theta': 10_000.0},
}


def read_sizes(keys: Json) -> Fields:
  """Returns the sizes that differ between layers, and the soft cap of logits.

  Those of global layers are `global_head_dim` and `num_global_key_value_heads`, or in the folders
  that transformers writes, `per_layer_config`.
  """
  if keys.get('enable_moe_block'):
    raise ValueError(
      'enable_moe_block is True: the mixture of experts (26B-A4B) is not supported; of Gemma 4 '
      'only 31B, 12B, E4B and E2B are.'
    )
  keys_as_values = bool(keys.get('attention_k_eq_v', False))
  kv_heads = keys.get('num_key_value_heads') or keys['num_attention_heads']
  sizes = keys.get('per_layer_config')
  if sizes is None:
    head_dim = keys.get('global_head_dim', GLOBAL_HEAD_DIM)
    if keys_as_values:
      kv_heads = keys.get('num_global_key_value_heads') or kv_heads
  else:
    sizes = _sizes_of_global_layers(keys, sizes)
    head_dim = sizes.get('head_dim', keys['head_dim'])
    kv_heads = sizes.get('num_key_value_heads', kv_heads)

  layer_input_dim = keys.get('hidden_size_per_layer_input') or 0
  rows = keys.get('vocab_size_per_layer_input', keys['vocab_size'])
  if layer_input_dim and rows != keys['vocab_size']:
    raise ValueError(
      f'vocab_size_per_layer_input is {rows}; it must be vocab_size, {keys["vocab_size"]}.'
    )
  return {
    'global_attention': layer_sizes.GlobalAttention(
      head_dim, kv_heads, keys_as_values
    ),
    'shared_keys': _read_shared_keys(keys),
    'layer_input_dim': layer_input_dim,
    'final_softcap': keys.get('final_logit_softcapping'),
  }


def write_sizes(config: config_lib.TransformerConfig) -> Fields:
  """Returns the keys that `read_sizes` reads."""
  sizes = config.global_attention
  if sizes is None:
    raise ValueError('global_attention is not set.')
  if not sizes.keys_as_values and sizes.num_kv_heads != config.kv_heads:
    raise ValueError(
      f'global layers have {sizes.num_kv_heads} key/value heads and values of their own; then they '
      f'must have as many as local layers, {config.kv_heads}.'
    )
  shared = config.shared_keys
  is_wide = shared is not None and shared.mlp_dim == 2 * config.mlp_dim
  return {
    'global_head_dim': sizes.head_dim,
    'num_global_key_value_heads': sizes.num_kv_heads,
    'attention_k_eq_v': sizes.keys_as_values,
    'final_logit_softcapping': config.final_softcap,
    'num_kv_shared_layers': 0 if shared is None else shared.num_layers,
    'use_double_wide_mlp': is_wide,
    'hidden_size_per_layer_input': config.layer_input_dim,
    'vocab_size_per_layer_input': config.vocab_size,
    'enable_moe_block': False,
  }


def _read_shared_keys(keys: Json) -> layer_sizes.SharedKeys | None:
  num_layers = keys.get('num_kv_shared_layers') or 0
  if not num_layers:
    return None
  is_wide = keys.get('use_double_wide_mlp', False)
  mlp_dim = keys['intermediate_size'] * (2 if is_wide else 1)
  return layer_sizes.SharedKeys(num_layers, mlp_dim)


def read_rope(keys: Json) -> Fields:
  """Returns the fields of rotary embeddings."""
  parameters = keys.get('rope_parameters') or DEFAULT_ROPE
  return rope_fields.read_rope_by_layer_kind({'rope_parameters': parameters})


def write_rope(config: config_lib.TransformerConfig) -> Fields:
  """Returns the keys that `read_rope` reads."""
  global_parameters = rope_fields.write_scaling(config.rope_scaling)
  local_theta = config.local_rope_theta or config.rope_theta
  return {
    'rope_parameters': {
      rope_fields.GLOBAL: {
        **(global_parameters or {'rope_type': 'default'}),
        'rope_theta': config.rope_theta,
      },
      rope_fields.LOCAL: {'rope_type': 'default', 'rope_theta': local_theta},
    }
  }


def read_windows(keys: Json) -> Fields:
  """Returns the kinds of layers and the window; as in transformers, the last layer is global."""
  layer_types = keys.get('layer_types')
  if layer_types is None:
    layer_types = []
    for layer in range(keys['num_hidden_layers']):
      is_local = (layer + 1) % PERIOD != 0
      kind = 'local' if is_local else 'global'
      layer_types.append(sliding_window_fields.LAYER_TYPE_BY_KIND[kind])
  last = sliding_window_fields.LAYER_TYPE_BY_KIND['global']
  layer_types = [*layer_types[:-1], last]
  return sliding_window_fields.read_periodic_windows(
    PERIOD, {**keys, 'layer_types': layer_types}
  )


def _sizes_of_global_layers(keys: Json, sizes_by_layer: Json) -> Fields:
  """Returns the sizes in `per_layer_config`, which must be those of all global layers."""
  fields = read_windows(keys)
  kinds = config_lib.repeat_attention_pattern(
    fields['attention_pattern'], keys['num_hidden_layers']
  )
  layers = [str(i) for i, kind in enumerate(kinds) if kind == 'global']
  by_layer = {str(layer): sizes for layer, sizes in sizes_by_layer.items()}
  sizes = by_layer.get(layers[0])
  unknown = set(sizes or {}) - {'head_dim', 'num_key_value_heads'}
  if by_layer != dict.fromkeys(layers, sizes) or unknown:
    raise ValueError(
      f'per_layer_config is {dict(sizes_by_layer)}; it must have the same head_dim and '
      f'num_key_value_heads for the global layers, {", ".join(layers)}, and no others.'
    )
  return dict(sizes or {})


SIZES = FieldConversion(read_sizes, write_sizes)
ROPE = FieldConversion(read_rope, write_rope)
WINDOWS = FieldConversion(
  read_windows, sliding_window_fields.write_periodic_windows
)
