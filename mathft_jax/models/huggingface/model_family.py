"""What a family of published models is: how its config.json says what a TransformerConfig says."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Any

from mathft_jax.models import config as config_lib
from mathft_jax.models.huggingface import tensor_names

Json = Mapping[str, Any]
ACTIVATIONS = {
  'silu': 'silu',
  'gelu': 'gelu',
  'gelu_pytorch_tanh': 'gelu_tanh',
  'relu': 'relu',
}
SIZE_KEYS = {  # our field: their key, in every family
  'vocab_size': 'vocab_size',
  'embed_dim': 'hidden_size',
  'num_layers': 'num_hidden_layers',
  'num_heads': 'num_attention_heads',
  'mlp_dim': 'intermediate_size',
}
UNSUPPORTED_KEYS = {  # what no family here has; keys of a config.json that must be absent or so
  'attention_bias': (False, None),
  'mlp_bias': (False, None),
  'use_mrope': (False, None),
  'use_bidirectional_attention': (False, None),
  'partial_rotary_factor': (1.0, None),
  'quantization_config': (None,),
}


@dataclasses.dataclass(frozen=True)
class ModelFamily:
  """A row of the table of families.

  Attributes:
    model_type, architecture: of a config.json.
    traits: fields of TransformerConfig that all its models share.
    table: the names of its tensors.
    tied: `tie_word_embeddings` where a config.json does not say.
    activation: the key and the value where a config.json does not say.
    read_rope, write_rope, read_windows, write_windows: fields from keys, keys from fields.
    defaults: other values of transformers for keys that a config.json leaves out.
    gemma_scales: it has `query_pre_attn_scalar` and soft caps.
  """

  model_type: str
  architecture: str
  traits: Mapping[str, Any]
  table: Sequence[tensor_names.TensorMapping]
  read_rope: Callable[[Json], dict[str, Any]]
  write_rope: Callable[[config_lib.TransformerConfig], dict[str, Any]]
  read_windows: Callable[[Json], dict[str, Any]]
  write_windows: Callable[[config_lib.TransformerConfig], dict[str, Any]]
  tied: bool = False
  activation: tuple[str, str] = ('hidden_act', 'silu')
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  gemma_scales: bool = False

  def read(self, found: Json) -> config_lib.TransformerConfig:
    """The model that a config.json describes; ValueError for what is not supported."""
    found = {**self.defaults, **found}
    for key, allowed in UNSUPPORTED_KEYS.items():
      if found.get(key) not in allowed:
        raise ValueError(f'{key} is {found[key]!r}; supported is {allowed[0]}.')
    key, default = self.activation
    if found.get(key, default) not in ACTIVATIONS:
      raise ValueError(
        f'{key} is {found[key]!r}; wanted one of {list(ACTIVATIONS)}.'
      )
    heads = found['num_attention_heads']
    return config_lib.TransformerConfig(
      **{field: found[key] for field, key in SIZE_KEYS.items()},
      **self.traits,
      **self.read_rope(found),
      **self.read_windows(found),
      **self._read_scales(found),
      num_kv_heads=found.get('num_key_value_heads') or heads,
      head_dim=found.get('head_dim') or found['hidden_size'] // heads,
      norm_eps=found.get('rms_norm_eps', 1e-6),
      mlp_activation=ACTIVATIONS[found.get(key, default)],
      tied_embeddings=found.get('tie_word_embeddings', self.tied),
    )

  def write(self, config: config_lib.TransformerConfig) -> dict[str, Any]:
    """The keys that `read` reads."""
    names = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    return {
      'architectures': [self.architecture],
      'model_type': self.model_type,
      **{key: getattr(config, field) for field, key in SIZE_KEYS.items()},
      'num_key_value_heads': config.kv_heads,
      'head_dim': config.head_size,
      'rms_norm_eps': config.norm_eps,
      self.activation[0]: names.get(config.mlp_activation),
      'tie_word_embeddings': config.tied_embeddings,
      **self.write_rope(config),
      **self.write_windows(config),
      **self._write_scales(config),
    }

  def _read_scales(self, found: Json) -> dict[str, Any]:
    if not self.gemma_scales:
      return {}
    return {
      'query_scale': found['query_pre_attn_scalar'] ** -0.5,
      'attention_softcap': found['attn_logit_softcapping'],
      'final_softcap': found['final_logit_softcapping'],
    }

  def _write_scales(
    self, config: config_lib.TransformerConfig
  ) -> dict[str, Any]:
    if not self.gemma_scales:
      return {}
    scalar = (
      config.head_size if config.query_scale is None else config.query_scale**-2
    )
    whole = round(scalar)
    return {
      'query_pre_attn_scalar': whole if math.isclose(scalar, whole) else scalar,
      'attn_logit_softcapping': config.attention_softcap,
      'final_logit_softcapping': config.final_softcap,
    }
