"""Sliding windows in a config.json: which layers are local, and how far they see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mathft_jax.models import config as config_lib

Json = Mapping[str, Any]
KINDS = {'sliding_attention': 'local', 'full_attention': 'global'}
NAMES = {ours: theirs for theirs, ours in KINDS.items()}
# May say something of windows that are off; then they have no effect, and stay as published.
DISABLED_WINDOW_KEYS = (
  'use_sliding_window',
  'sliding_window',
  'max_window_layers',
)


def read_no_window(found: Json) -> dict[str, Any]:
  """Llama: every layer sees everything."""
  del found
  return {'attention_pattern': ('global',), 'sliding_window': None}


def write_no_window(config: config_lib.TransformerConfig) -> dict[str, Any]:
  """No key."""
  del config
  return {}


def read_window_of_all_layers(found: Json) -> dict[str, Any]:
  """Mistral: all layers are local when there is a window."""
  window = found.get('sliding_window', 4096)
  return _fields(['global' if window is None else 'local'], window)


def write_window_of_all_layers(
  config: config_lib.TransformerConfig,
) -> dict[str, Any]:
  """The key that `read_everywhere` reads."""
  return {
    'sliding_window': config.sliding_window
    if 'local' in config.attention_pattern
    else None
  }


def read_window_of_upper_layers(found: Json) -> dict[str, Any]:
  """Qwen: layers from `max_window_layers` on are local, when windows are used at all."""
  window = (
    found.get('sliding_window', 4096)
    if found.get('use_sliding_window', False)
    else None
  )
  first = found.get('max_window_layers', 28)
  return _read(
    found, window, lambda layer: window is not None and layer >= first
  )


def write_window_of_upper_layers(
  config: config_lib.TransformerConfig,
) -> dict[str, Any]:
  """The keys that `read_upper` reads."""
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


def read_periodic_windows(period: int) -> Callable[[Json], dict[str, Any]]:
  """Gemma: the last layer of each period is global; `layer_types` counts where it is given."""

  def read(found: Json) -> dict[str, Any]:
    every = found.get('sliding_window_pattern', period)
    return _read(
      found,
      found.get('sliding_window', 4096),
      lambda layer: (layer + 1) % every,
    )

  return read


def write_periodic_windows(
  config: config_lib.TransformerConfig,
) -> dict[str, Any]:
  """The keys that `read_periodic` reads, `sliding_window_pattern` for older versions."""
  kinds, keys = list(config.layer_kinds), {}
  every = kinds.index('global') + 1 if 'global' in kinds else len(kinds) + 1
  if all(
    (kind == 'local') == bool((layer + 1) % every)
    for layer, kind in enumerate(kinds)
  ):
    keys['sliding_window_pattern'] = every
  return {
    **keys,
    'sliding_window': config.sliding_window,
    'layer_types': [NAMES[kind] for kind in kinds],
  }


def _read(
  found: Json, window: int | None, is_local: Callable[[int], Any]
) -> dict[str, Any]:
  names = found.get('layer_types')
  if names is None:
    layers = range(found['num_hidden_layers'])
    kinds = ['local' if is_local(layer) else 'global' for layer in layers]
    return _fields(kinds, window)
  unknown = sorted(set(names) - set(KINDS))
  if unknown or len(names) != found['num_hidden_layers']:
    raise ValueError(
      f'layer_types has {len(names)} entries, unknown are {unknown}; wanted one of '
      f'{list(KINDS)} for each of {found["num_hidden_layers"]} layers.'
    )
  return _fields([KINDS[name] for name in names], window)


def _fields(kinds: Sequence[str], window: int | None) -> dict[str, Any]:
  """The fields, with the shortest pattern that repeats to `kinds`."""
  if 'local' not in kinds:
    return {'attention_pattern': ('global',), 'sliding_window': None}
  size = next(
    size
    for size in range(1, len(kinds) + 1)
    if all(kind == kinds[i % size] for i, kind in enumerate(kinds))
  )
  return {'attention_pattern': tuple(kinds[:size]), 'sliding_window': window}
