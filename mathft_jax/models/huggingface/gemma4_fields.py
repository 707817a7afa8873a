"""Keys of Gemma 4 in config.json: sizes of global layers, rotary embeddings, refused variants."""

from mathft_jax.models import config as config_lib
from mathft_jax.models.config import Fields, Json
from mathft_jax.models.huggingface import rope_fields, sliding_window_fields
from mathft_jax.models.huggingface.field_conversion import FieldConversion

PERIOD = 6  # five local layers, then a global one
GLOBAL_HEAD_DIM = 512
# Keys of variants that are not supported -> (values of the supported models, variant).
REFUSED_KEYS = {
  'enable_moe_block': ((False, None), 'a mixture of experts (26B-A4B)'),
  'num_kv_shared_layers': (
    (0, None),
    'keys and values shared between layers (E2B, E4B)',
  ),
  'hidden_size_per_layer_input': (
    (0, None),
    'embeddings for each layer (E2B, E4B)',
  ),
}
DEFAULT_ROPE = {
  rope_fields.GLOBAL: {
    'rope_type': 'proportional',
    'partial_rotary_factor': 0.25,
    'rope_theta': 1_000_000.0,
  },
  rope_fields.LOCAL: {'rope_type': 'default', 'rope_theta': 10_000.0},
}


def read_global_attention(keys: Json) -> Fields:
  """Returns the sizes of global layers and the soft cap of logits.

  The sizes are `global_head_dim` and `num_global_key_value_heads`, or in the folders that
  transformers writes, `per_layer_config`.
  """
  for key, (supported, variant) in REFUSED_KEYS.items():
    if keys.get(key) not in supported:
      raise ValueError(
        f'{key} is {keys[key]!r}: {variant}; of Gemma 4 only the dense models with '
        f'{supported[0]!r} (31B, 12B) are supported.'
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

  return {
    'global_attention': config_lib.GlobalAttention(
      head_dim, kv_heads, keys_as_values
    ),
    'final_softcap': keys.get('final_logit_softcapping'),
  }


def write_global_attention(config: config_lib.TransformerConfig) -> Fields:
  """Returns the keys that `read_global_attention` reads."""
  sizes = config.global_attention
  if sizes is None:
    raise ValueError('global_attention is not set.')
  if not sizes.keys_as_values and sizes.num_kv_heads != config.kv_heads:
    raise ValueError(
      f'global layers have {sizes.num_kv_heads} key/value heads and values of their own; then they '
      f'must have as many as local layers, {config.kv_heads}.'
    )
  keys: Fields = {
    'global_head_dim': sizes.head_dim,
    'num_global_key_value_heads': sizes.num_kv_heads,
    'attention_k_eq_v': sizes.keys_as_values,
    'final_logit_softcapping': config.final_softcap,
  }
  for key, (supported, _) in REFUSED_KEYS.items():
    keys[key] = supported[0]
  return keys


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


GLOBAL_ATTENTION = FieldConversion(
  read_global_attention, write_global_attention
)
ROPE = FieldConversion(read_rope, write_rope)
WINDOWS = FieldConversion(
  read_windows, sliding_window_fields.write_periodic_windows
)
