"""Rotations in a config.json: `rope_theta` and `rope_scaling`, or the newer `rope_parameters`."""

from collections.abc import Mapping
from typing import Any

from mathft_jax.models import config as config_lib

Json = Mapping[str, Any]
DEFAULT_THETA = 10_000.0
GLOBAL, LOCAL = (
  'full_attention',
  'sliding_attention',
)  # keys of nested rope_parameters
LLAMA3 = {
  'factor': 'factor',
  'low_freq_factor': 'low_freq_factor',  # our field, their key
  'high_freq_factor': 'high_freq_factor',
  'original_max_position': 'original_max_position_embeddings',
}


def read_rope(found: Json) -> dict[str, Any]:
  """`rope_theta` and `rope_scaling` of a model whose layers all rotate alike."""
  parameters = {
    'rope_theta': found.get('rope_theta', DEFAULT_THETA),
    **(found.get('rope_scaling') or {}),
    **(found.get('rope_parameters') or {}),
  }
  return {
    'rope_theta': float(parameters['rope_theta']),
    'rope_scaling': _scaling(parameters),
  }


def write_rope(config: config_lib.TransformerConfig) -> dict[str, Any]:
  """The keys that `read` reads, in the form that every version of transformers takes."""
  return {
    'rope_theta': config.rope_theta,
    'rope_scaling': _their_scaling(config.rope_scaling),
  }


def read_rope_by_layer_kind(found: Json) -> dict[str, Any]:
  """The same with another theta, and no scaling, in local layers (Gemma 3)."""
  nested = found.get('rope_parameters') or {}
  inner = {
    'rope_theta': found.get('rope_theta', 1_000_000.0),
    **(found.get('rope_scaling') or {}),
    **nested.get(GLOBAL, {}),
  }
  local = {
    'rope_theta': found.get('rope_local_base_freq', 10_000.0),
    **nested.get(LOCAL, {}),
  }
  if _scaling(local) is not None:
    raise ValueError(
      f'rope_parameters of {LOCAL} layers are {local}; wanted no scaling there.'
    )
  return {
    'rope_theta': float(inner['rope_theta']),
    'rope_scaling': _scaling(inner),
    'local_rope_theta': float(local['rope_theta']),
  }


def write_rope_by_layer_kind(
  config: config_lib.TransformerConfig,
) -> dict[str, Any]:
  """The keys that `read_by_kind` reads."""
  local = (
    config.rope_theta
    if config.local_rope_theta is None
    else config.local_rope_theta
  )
  return {**write_rope(config), 'rope_local_base_freq': local}


def _scaling(parameters: Json) -> config_lib.RopeScaling | None:
  kind = parameters.get('rope_type', parameters.get('type', 'default'))
  if parameters.get('partial_rotary_factor', 1.0) != 1.0:
    raise ValueError(
      f'partial_rotary_factor is {parameters["partial_rotary_factor"]}; wanted 1.'
    )
  if kind == 'default':
    return None
  if kind == 'linear':
    return config_lib.LinearRopeScaling(float(parameters['factor']))
  if kind == 'llama3':
    return config_lib.Llama3RopeScaling(
      **{ours: parameters[key] for ours, key in LLAMA3.items()}
    )
  raise ValueError(
    f"rope_type is {kind!r}; wanted 'default', 'linear' or 'llama3'. Set it to null "
    'where the model was trained without.'
  )


def _their_scaling(
  scaling: config_lib.RopeScaling | None,
) -> dict[str, Any] | None:
  if scaling is None:
    return None
  if isinstance(scaling, config_lib.LinearRopeScaling):
    return {'rope_type': 'linear', 'factor': scaling.factor}
  if isinstance(scaling, config_lib.Llama3RopeScaling):
    return {
      'rope_type': 'llama3',
      **{key: getattr(scaling, ours) for ours, key in LLAMA3.items()},
    }
  raise ValueError(f'rope_scaling {scaling} has no name in a config.json.')
