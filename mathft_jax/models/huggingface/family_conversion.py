"""Conversion between config.json and TransformerConfig for one family of published models."""

from collections.abc import Sequence
import dataclasses
import math

from mathft_jax.models import config as config_lib
from mathft_jax.models.config import Fields, Json
from mathft_jax.models.huggingface import (
  rope_fields,
  sliding_window_fields,
  tensor_names,
)
from mathft_jax.models.huggingface.field_conversion import (
  NO_FIELDS,
  FieldConversion,
)

# Value in config.json -> TransformerConfig.mlp_activation.
ACTIVATIONS = {
  'silu': 'silu',
  'gelu': 'gelu',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'relu': 'relu',
}
# Field of TransformerConfig -> key in config.json, in every family.
SIZE_KEYS = {
  'vocab_size': 'vocab_size',
  'embed_dim': 'hidden_size',
  'num_layers': 'num_hidden_layers',
  'num_heads': 'num_attention_heads',
  'mlp_dim': 'intermediate_size',
}
# Field of TransformerConfig -> key in config.json of Granite; the defaults are 1.
MULTIPLIER_KEYS = {
  'embedding_multiplier': 'embedding_multiplier',
  'residual_multiplier': 'residual_multiplier',
  'logits_divisor': 'logits_scaling',
  'query_scale': 'attention_multiplier',
}
# Key -> supported values; None: the key is absent.
UNSUPPORTED_KEYS = {
  'attention_bias': (False, None),
  'mlp_bias': (False, None),
  'use_mrope': (False, None),
  'use_bidirectional_attention': (False, None, 'vision'),  # of images only
  'partial_rotary_factor': (1.0, None),
  'quantization_config': (None,),
}


@dataclasses.dataclass(frozen=True)
class ModelFamily:
  """One family of published models: a row of `config_json.FAMILIES`.

  Attributes:
    model_type, architecture: values in config.json.
    traits: fields of TransformerConfig that all models of the family share.
    tensors: names and layouts of its tensors.
    rope: keys of rotary embeddings.
    windows: keys of sliding windows.
    tied: default of `tie_word_embeddings`.
    activation: key of the activation and its default.
    defaults: other defaults that transformers has for absent keys.
    gemma_scales: whether it has `query_pre_attn_scalar` and soft caps.
    multipliers: whether it has MULTIPLIER_KEYS (Granite).
    sizes_by_layer: keys of sizes that differ between layers (Gemma 4).
    experts: keys of a mixture of experts (Qwen3-MoE).
  """

  model_type: str
  architecture: str
  traits: Json = dataclasses.field(default_factory=dict)
  tensors: Sequence[tensor_names.TensorMapping] = tensor_names.PRE_NORM_TENSORS
  rope: FieldConversion = rope_fields.SAME_ROPE
  windows: FieldConversion = sliding_window_fields.NO_WINDOW
  tied: bool = False
  activation: tuple[str, str] = ('hidden_act', 'silu')
  defaults: Json = dataclasses.field(default_factory=dict)
  gemma_scales: bool = False
  multipliers: bool = False
  sizes_by_layer: FieldConversion = NO_FIELDS
  experts: FieldConversion = NO_FIELDS

  def from_config_json(self, keys: Json) -> config_lib.TransformerConfig:
    """Returns the model of a config.json.

    Raises:
      ValueError: a value is not supported.
      KeyError: a required key is absent.
    """
    keys = {**self.defaults, **keys}
    for key, supported in UNSUPPORTED_KEYS.items():
      if keys.get(key) not in supported:
        raise ValueError(
          f'{key} is {keys[key]!r}; only {supported[0]} is supported.'
        )
    key, default = self.activation
    activation = keys.get(key, default)
    if activation not in ACTIVATIONS:
      raise ValueError(
        f'{key} is {activation!r}; it must be one of {list(ACTIVATIONS)}.'
      )

    num_heads = keys['num_attention_heads']
    fields = {field: keys[key] for field, key in SIZE_KEYS.items()}
    for key in SIZE_KEYS.values():
      if type(keys[key]) is not int or keys[key] < 1:
        raise ValueError(f'{key} is {keys[key]!r}; it must be an integer >= 1.')
    fields.update(self.traits)
    fields.update(self.rope.read(keys))
    fields.update(self.windows.read(keys))
    fields.update(self.sizes_by_layer.read(keys))
    fields.update(self.experts.read(keys))
    if self.gemma_scales:
      fields['query_scale'] = keys['query_pre_attn_scalar'] ** -0.5
      fields['attention_softcap'] = keys['attn_logit_softcapping']
      fields['final_softcap'] = keys['final_logit_softcapping']
    if self.multipliers:
      for field, key in MULTIPLIER_KEYS.items():
        fields[field] = float(keys.get(key, 1.0))
    return config_lib.TransformerConfig(
      **fields,
      num_kv_heads=keys.get('num_key_value_heads') or num_heads,
      head_dim=keys.get('head_dim') or keys['hidden_size'] // num_heads,
      norm_eps=keys.get('rms_norm_eps', 1e-6),
      mlp_activation=ACTIVATIONS[activation],
      tied_embeddings=keys.get('tie_word_embeddings', self.tied),
    )

  def to_config_json(self, config: config_lib.TransformerConfig) -> Fields:
    """Returns the keys that `from_config_json` reads."""
    activations = {value: key for key, value in ACTIVATIONS.items()}
    keys = {
      'architectures': [self.architecture],
      'model_type': self.model_type,
    }
    for field, key in SIZE_KEYS.items():
      keys[key] = getattr(config, field)
    keys['num_key_value_heads'] = config.kv_heads
    keys['head_dim'] = config.head_size
    keys['rms_norm_eps'] = config.norm_eps
    keys[self.activation[0]] = activations.get(config.mlp_activation)
    keys['tie_word_embeddings'] = config.tied_embeddings
    keys.update(self.rope.write(config))
    keys.update(self.windows.write(config))
    keys.update(self.sizes_by_layer.write(config))
    keys.update(self.experts.write(config))
    if self.gemma_scales:
      keys['query_pre_attn_scalar'] = _query_pre_attn_scalar(config)
      keys['attn_logit_softcapping'] = config.attention_softcap
      keys['final_logit_softcapping'] = config.final_softcap
    if self.multipliers:
      for field, key in MULTIPLIER_KEYS.items():
        keys[key] = getattr(config, field)
      if config.query_scale is None:
        keys['attention_multiplier'] = config.head_size**-0.5
    return keys


def _query_pre_attn_scalar(config: config_lib.TransformerConfig) -> float:
  """Returns query_scale ** -2, as an integer if it is one up to rounding."""
  if config.query_scale is None:
    return config.head_size
  scalar = config.query_scale**-2
  whole = round(scalar)
  return whole if math.isclose(scalar, whole) else scalar
