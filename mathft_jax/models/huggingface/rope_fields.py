"""Rotary embeddings in config.json: `rope_theta`, `rope_scaling`, newer `rope_parameters`."""

import math

from mathft_jax.models import config as config_lib
from mathft_jax.models import rope_scaling
from mathft_jax.models.config import Fields, Json
from mathft_jax.models.huggingface.field_conversion import FieldConversion

DEFAULT_THETA = 10_000.0
# Keys of rope_parameters if it has an entry for each kind of layer.
GLOBAL, LOCAL = 'full_attention', 'sliding_attention'
# Field of Llama3RopeScaling -> key in config.json.
LLAMA3_KEYS = {
  'factor': 'factor',
  'low_freq_factor': 'low_freq_factor',
  'high_freq_factor': 'high_freq_factor',
  'original_max_position': 'original_max_position_embeddings',
}
# Field of YarnRopeScaling -> (key in config.json, default).
YARN_KEYS = {
  'factor': ('factor', None),
  'original_max_position': ('original_max_position_embeddings', None),
  'beta_fast': ('beta_fast', 32.0),
  'beta_slow': ('beta_slow', 1.0),
  'magnitude': ('attention_factor', None),
  'whole_dimensions': ('truncate', True),
}
BETA_KEY = 'llama_4_scaling_beta'  # of QueryScaleByPosition


def read_rope(keys: Json) -> Fields:
  """Returns `rope_theta` and `rope_scaling` of a model whose layers all have the same."""
  parameters = _all_parameters(keys)
  return {
    'rope_theta': _read_theta(parameters),
    'rope_scaling': _read_scaling(parameters),
  }


def write_rope(config: config_lib.TransformerConfig) -> Fields:
  """Returns the keys that `read_rope` reads, in the form that all versions of transformers read."""
  return {
    'rope_theta': config.rope_theta,
    'rope_scaling': write_scaling(config.rope_scaling),
  }


def read_rope_with_query_scale(keys: Json) -> Fields:
  """Returns the fields of `read_rope` and `query_scale_by_position` (Ministral 3)."""
  parameters = _all_parameters(keys)
  by_position = None
  if parameters.get(BETA_KEY) is not None:
    by_position = rope_scaling.QueryScaleByPosition(
      float(parameters[BETA_KEY]),
      int(parameters['original_max_position_embeddings']),
    )
  return {**read_rope(keys), 'query_scale_by_position': by_position}


def write_rope_with_query_scale(
  config: config_lib.TransformerConfig,
) -> Fields:
  """Returns the keys that `read_rope_with_query_scale` reads."""
  parameters = write_scaling(config.rope_scaling) or {'rope_type': 'default'}
  parameters['rope_theta'] = config.rope_theta
  by_position = config.query_scale_by_position
  if by_position is not None:
    parameters[BETA_KEY] = by_position.beta
    parameters.setdefault(
      'original_max_position_embeddings', by_position.original_max_position
    )
  return {'rope_parameters': parameters}


def read_rope_without_scaling_in_windows(keys: Json) -> Fields:
  """Returns the fields of a model with one theta, and scaling in global layers only (OLMo 3)."""
  parameters = {**_all_parameters(keys)}
  by_kind = keys.get('rope_parameters') or {}
  local_theta = None
  if GLOBAL in by_kind:
    parameters = {'rope_theta': keys.get('rope_theta', DEFAULT_THETA)}
    parameters.update(by_kind[GLOBAL] or {})
    local_theta = (by_kind.get(LOCAL) or {}).get('rope_theta')
  theta = _read_theta(parameters)
  return {
    'rope_theta': theta,
    'rope_scaling': _read_scaling(parameters),
    'local_rope_theta': float(local_theta or theta),
  }


def write_rope_without_scaling_in_windows(
  config: config_lib.TransformerConfig,
) -> Fields:
  """Returns the keys that `read_rope_without_scaling_in_windows` reads."""
  local_theta = config.local_rope_theta
  if local_theta not in (None, config.rope_theta):
    raise ValueError(
      f'local_rope_theta is {local_theta}; it must be rope_theta, {config.rope_theta}.'
    )
  return write_rope(config)


def read_rope_by_layer_kind(keys: Json) -> Fields:
  """Returns the fields of a model with another theta and no scaling in local layers (Gemma 3)."""
  by_kind = keys.get('rope_parameters') or {}
  global_parameters = {
    'rope_theta': keys.get('rope_theta', 1_000_000.0),
    **(keys.get('rope_scaling') or {}),
    **by_kind.get(GLOBAL, {}),
  }
  local_parameters = {
    'rope_theta': keys.get('rope_local_base_freq', 10_000.0),
    **by_kind.get(LOCAL, {}),
  }
  if _read_scaling(local_parameters) is not None:
    raise ValueError(
      f'rope_parameters of {LOCAL} layers are {local_parameters}; scaling is not '
      'supported there.'
    )
  return {
    'rope_theta': _read_theta(global_parameters),
    'rope_scaling': _read_scaling(global_parameters),
    'local_rope_theta': _read_theta(local_parameters),
  }


def write_rope_by_layer_kind(
  config: config_lib.TransformerConfig,
) -> Fields:
  """Returns the keys that `read_rope_by_layer_kind` reads."""
  local_theta = config.local_rope_theta
  if local_theta is None:
    local_theta = config.rope_theta
  return {**write_rope(config), 'rope_local_base_freq': local_theta}


def _all_parameters(keys: Json) -> Fields:
  """Returns all parameters of rotary embeddings of a model whose layers have the same."""
  return {
    'rope_theta': keys.get('rope_theta', DEFAULT_THETA),
    **(keys.get('rope_scaling') or {}),
    **(keys.get('rope_parameters') or {}),
  }


def _read_theta(parameters: Json) -> float:
  theta = parameters['rope_theta']
  is_number = isinstance(theta, (int, float)) and not isinstance(theta, bool)
  if not is_number or not 0 < theta < math.inf:
    raise ValueError(
      f'rope_theta is {theta!r}; it must be a number over 0. Leave it out for the default.'
    )
  return float(theta)


def _read_scaling(parameters: Json) -> rope_scaling.RopeScaling | None:
  rope_type = parameters.get('rope_type', parameters.get('type', 'default'))
  if rope_type == 'proportional':
    return rope_scaling.ProportionalRopeScaling(
      float(parameters.get('partial_rotary_factor', 1.0)),
      float(parameters.get('factor', 1.0)),
    )
  if parameters.get('partial_rotary_factor', 1.0) != 1.0:
    raise ValueError(
      f'partial_rotary_factor is {parameters["partial_rotary_factor"]}; only 1 is supported.'
    )
  if rope_type == 'default':
    return None
  if rope_type == 'linear':
    return rope_scaling.LinearRopeScaling(float(parameters['factor']))
  if rope_type == 'llama3':
    fields = {field: parameters[key] for field, key in LLAMA3_KEYS.items()}
    return rope_scaling.Llama3RopeScaling(**fields)
  if rope_type == 'yarn':
    return _read_yarn(parameters)
  raise ValueError(
    f"rope_type is {rope_type!r}; it must be 'default', 'linear', 'llama3', 'yarn' or "
    "'proportional'. If the model was trained without it, set it to null."
  )


def _read_yarn(parameters: Json) -> rope_scaling.YarnRopeScaling:
  fields: Fields = {}
  for field, (key, default) in YARN_KEYS.items():
    value = parameters.get(key)
    fields[field] = default if value is None else value
  mscales = parameters.get('mscale'), parameters.get('mscale_all_dim')
  if fields['magnitude'] is None and all(mscales):
    if mscales[0] != mscales[1]:
      raise ValueError(
        f'mscale and mscale_all_dim of yarn are {mscales}; they must be equal.'
      )
    fields['magnitude'] = 1.0
  if fields['factor'] is None or fields['original_max_position'] is None:
    raise ValueError(
      f'rope_type is yarn with {dict(parameters)}; factor and original_max_position_embeddings '
      'must be set.'
    )
  return rope_scaling.YarnRopeScaling(**fields)


def write_scaling(
  scaling: rope_scaling.RopeScaling | None,
) -> Fields | None:
  """Returns the parameters that `_read_scaling` reads; None without scaling."""
  if scaling is None:
    return None
  if isinstance(scaling, rope_scaling.LinearRopeScaling):
    return {'rope_type': 'linear', 'factor': scaling.factor}
  if isinstance(scaling, rope_scaling.Llama3RopeScaling):
    keys: Fields = {'rope_type': 'llama3'}
    for field, key in LLAMA3_KEYS.items():
      keys[key] = getattr(scaling, field)
    return keys
  if isinstance(scaling, rope_scaling.YarnRopeScaling):
    keys = {'rope_type': 'yarn'}
    for field, (key, _) in YARN_KEYS.items():
      keys[key] = getattr(scaling, field)
    return keys
  if isinstance(scaling, rope_scaling.ProportionalRopeScaling):
    return {
      'rope_type': 'proportional',
      'partial_rotary_factor': scaling.fraction,
      'factor': scaling.factor,
    }
  raise ValueError(f'rope_scaling {scaling} has no form in a config.json.')


SAME_ROPE = FieldConversion(read_rope, write_rope)
ROPE_BY_LAYER_KIND = FieldConversion(
  read_rope_by_layer_kind, write_rope_by_layer_kind
)
ROPE_WITH_QUERY_SCALE = FieldConversion(
  read_rope_with_query_scale, write_rope_with_query_scale
)
ROPE_WITHOUT_SCALING_IN_WINDOWS = FieldConversion(
  read_rope_without_scaling_in_windows, write_rope_without_scaling_in_windows
)
