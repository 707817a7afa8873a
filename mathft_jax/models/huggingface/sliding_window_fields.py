"""Sliding windows in config.json: which layers are local, and the size of their window."""

from collections.abc import Callable, Sequence
import functools

from mathft_jax.models import config as config_lib
from mathft_jax.models.config import Fields, Json
from mathft_jax.models.huggingface.field_conversion import FieldConversion

DEFAULT_WINDOW = 4096
# Entry of `layer_types` -> kind of layer in TransformerConfig.
KIND_BY_LAYER_TYPE = {'sliding_attention': 'local', 'full_attention': 'global'}
LAYER_TYPE_BY_KIND = {'local': 'sliding_attention', 'global': 'full_attention'}
# Published models have these keys even if no layer uses a window; they are kept unchanged then.
DISABLED_WINDOW_KEYS = (
  'use_sliding_window',
  'sliding_window',
  'max_window_layers',
)


def read_window_of_all_layers(default_window: int | None, keys: Json) -> Fields:
  """Mistral, Phi-3: all layers are local if there is a window."""
  window = keys.get('sliding_window', default_window)
  return _window_fields(['global' if window is None else 'local'], window)


def write_window_of_all_layers(
  config: config_lib.TransformerConfig,
) -> Fields:
  """Returns the key that `read_window_of_all_layers` reads."""
  is_local = 'local' in config.attention_pattern
  return {'sliding_window': config.sliding_window if is_local else None}


def read_optional_window(keys: Json) -> Fields:
  """Qwen3-MoE: all layers are local if windows are used."""
  if not keys.get('use_sliding_window', False):
    return _window_fields(['global'], None)
  return read_window_of_all_layers(DEFAULT_WINDOW, keys)


def write_optional_window(config: config_lib.TransformerConfig) -> Fields:
  """Returns the keys that `read_optional_window` reads."""
  keys = write_window_of_all_layers(config)
  return {'use_sliding_window': keys['sliding_window'] is not None, **keys}


def read_window_of_upper_layers(keys: Json) -> Fields:
  """Qwen: if windows are used, layers from `max_window_layers` on are local."""
  window = None
  if keys.get('use_sliding_window', False):
    window = keys.get('sliding_window', DEFAULT_WINDOW)
  first = keys.get('max_window_layers', 28)

  def is_local(layer: int) -> bool:
    return window is not None and layer >= first

  return _read_layer_types(keys, window, is_local)


def write_window_of_upper_layers(
  config: config_lib.TransformerConfig,
) -> Fields:
  """Returns the keys that `read_window_of_upper_layers` reads."""
  kinds = list(config.layer_kinds)
  if 'local' not in kinds:
    return {
      'use_sliding_window': False,
      'sliding_window': None,
      'max_window_layers': len(kinds),
    }
  return {
    'use_sliding_window': True,
    'max_window_layers': kinds.index('local'),
    **write_periodic_windows(config),
  }


def read_periodic_windows(default_period: int, keys: Json) -> Fields:
  """Gemma: the last layer of each period is global; `layer_types` takes precedence."""
  period = keys.get('sliding_window_pattern', default_period)

  def is_local(layer: int) -> bool:
    return (layer + 1) % period != 0

  window = keys.get('sliding_window', DEFAULT_WINDOW)
  return _read_layer_types(keys, window, is_local)


def write_periodic_windows(
  config: config_lib.TransformerConfig,
) -> Fields:
  """Returns the keys that `read_periodic_windows` reads.

  `sliding_window_pattern`, for older versions of transformers, only if the layers are periodic.
  """
  kinds = list(config.layer_kinds)
  if not set(kinds) <= set(LAYER_TYPE_BY_KIND):
    raise ValueError('the model has layers without rotary embeddings.')
  period = len(kinds) + 1
  if 'global' in kinds:
    period = kinds.index('global') + 1

  keys: Fields = {}
  pattern = ('local',) * (period - 1) + ('global',)
  periodic = config_lib.repeat_attention_pattern(pattern, len(kinds))
  if config.layer_kinds == periodic:
    keys['sliding_window_pattern'] = period
  keys['sliding_window'] = config.sliding_window
  keys['layer_types'] = [LAYER_TYPE_BY_KIND[kind] for kind in kinds]
  return keys


def read_layers_without_rope(keys: Json) -> Fields:
  """SmolLM3: the last of `no_rope_layer_interval` layers has no rotary embeddings.

  `no_rope_layers`, which has a 0 for such a layer, takes precedence.
  """
  if keys.get('use_sliding_window', False):
    raise ValueError(
      'use_sliding_window is True; only False is supported for this family.'
    )
  num_layers = keys['num_hidden_layers']
  has_rope = keys.get('no_rope_layers')
  if has_rope is None:
    interval = keys.get('no_rope_layer_interval', 4)
    has_rope = [(layer + 1) % interval for layer in range(num_layers)]
  if len(has_rope) != num_layers:
    raise ValueError(
      f'no_rope_layers has {len(has_rope)} entries; it must have one for each of {num_layers} '
      'layers.'
    )
  kinds = ['global' if rope else 'nope' for rope in has_rope]
  return {
    'attention_pattern': shortest_pattern(kinds),
    'sliding_window': None,
  }


def write_layers_without_rope(
  config: config_lib.TransformerConfig,
) -> Fields:
  """Returns the keys that `read_layers_without_rope` reads."""
  kinds = config.layer_kinds
  if 'local' in kinds:
    raise ValueError('the model has sliding windows.')
  return {
    'no_rope_layers': [int(kind != 'nope') for kind in kinds],
    'layer_types': ['full_attention'] * len(kinds),
    'use_sliding_window': False,
  }


def _read_layer_types(
  keys: Json, window: int | None, is_local: Callable[[int], bool]
) -> Fields:
  """Returns the fields from `layer_types`, or from `is_local` if it is absent."""
  num_layers = keys['num_hidden_layers']
  layer_types = keys.get('layer_types')
  if layer_types is None:
    layers = range(num_layers)
    kinds = ['local' if is_local(layer) else 'global' for layer in layers]
    return _window_fields(kinds, window)

  unknown = sorted(set(layer_types) - set(KIND_BY_LAYER_TYPE))
  if unknown or len(layer_types) != num_layers:
    raise ValueError(
      f'layer_types has {len(layer_types)} entries (unknown: {unknown}); it must have '
      f'one of {list(KIND_BY_LAYER_TYPE)} for each of {num_layers} layers.'
    )
  kinds = [KIND_BY_LAYER_TYPE[layer_type] for layer_type in layer_types]
  return _window_fields(kinds, window)


def _window_fields(kinds: Sequence[str], window: int | None) -> Fields:
  """Returns the fields of layers of these kinds."""
  if 'local' not in kinds:
    return {'attention_pattern': ('global',), 'sliding_window': None}

  return {
    'attention_pattern': shortest_pattern(kinds),
    'sliding_window': window,
  }


def shortest_pattern(kinds: Sequence[str]) -> tuple[str, ...]:
  """Returns the shortest pattern that repeats to `kinds`."""
  for size in range(1, len(kinds)):
    start = tuple(kinds[:size])
    if config_lib.repeat_attention_pattern(start, len(kinds)) == tuple(kinds):
      return start
  return tuple(kinds)


NO_WINDOW = FieldConversion(  # Llama
  lambda keys: _window_fields(['global'], None), lambda config: {}
)
ALL_LAYERS = FieldConversion(
  functools.partial(read_window_of_all_layers, DEFAULT_WINDOW),
  write_window_of_all_layers,
)
ALL_LAYERS_OR_NONE = FieldConversion(
  functools.partial(read_window_of_all_layers, None),
  write_window_of_all_layers,
)
LAYERS_WITHOUT_ROPE = FieldConversion(
  read_layers_without_rope, write_layers_without_rope
)
OPTIONAL_WINDOW = FieldConversion(read_optional_window, write_optional_window)
UPPER_LAYERS = FieldConversion(
  read_window_of_upper_layers, write_window_of_upper_layers
)


def periodic_windows(default_period: int) -> FieldConversion:
  """Returns the conversion of a family that has a global layer in each period."""
  read = functools.partial(read_periodic_windows, default_period)
  return FieldConversion(read, write_periodic_windows)
