"""What a decoder-only language model is, as fields: every trait of a family is a value here."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

RopeScaling = Callable[
  [np.ndarray], np.ndarray
]  # inverse wavelengths of the rotations, [H/2]

ACTIVATIONS = ('silu', 'gelu', 'gelu_tanh', 'relu', 'relu2')
NORMS = ('rms', 'layer')
REMAT_MODES = ('none', 'dots', 'full')
LAYER_KINDS = ('global', 'local')
ATTENTION_KERNELS = ('einsum', 'xla', 'cudnn', 'splash')
# Fields that say how to compute or how to lay out, not what the model is.
NON_ARCHITECTURE_FIELDS = frozenset(
  {'dtype', 'remat', 'scan_unroll', 'attention_kernel', 'vocab_multiple'}
)


@dataclasses.dataclass(frozen=True)
class LinearRopeScaling:
  """Rotations `factor` times slower (Gemma 3: 8 on its global layers)."""

  factor: float

  def __call__(self, inverse_wavelengths):
    return inverse_wavelengths / self.factor


@dataclasses.dataclass(frozen=True)
class Llama3RopeScaling:
  """Slow rotations slowed by `factor`, fast ones kept, a ramp between (Llama 3.1 and later)."""

  factor: float = 8.0
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  original_max_position: int = 8192

  def __call__(self, inverse_wavelengths):
    turns = self.original_max_position * inverse_wavelengths / (2 * math.pi)
    span = self.high_freq_factor - self.low_freq_factor
    kept = np.clip((turns - self.low_freq_factor) / span, 0.0, 1.0)
    return inverse_wavelengths * (kept + (1 - kept) / self.factor)


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Sizes and traits; the defaults describe a plain Llama-like model.

  Attributes:
    num_kv_heads: key/value heads; None: one per query head, 1: multi-query (PaLM).
    head_dim: None: embed_dim / num_heads.
    mlp_activation: 'silu', 'gelu' (exact), 'gelu_tanh', 'relu' or 'relu2' (squared).
    gated_mlp: activation(x gate) * (x up), against activation(x up).
    norm: 'rms', or 'layer' (mean removed, no bias: PaLM).
    norm_unit_offset: the scale is 1 + w (Gemma).
    post_norms: also normalise what attention and MLP give back (Gemma 2 and 3).
    qk_norm: normalise each query and key head (Qwen 3, Gemma 3).
    parallel_block: x + attention(norm(x)) + mlp(norm(x)), with one norm (PaLM).
    attention_pattern: 'global' or 'local' for each layer, repeated over the depth.
    sliding_window: tokens a 'local' layer sees, itself included.
    local_rope_theta: another theta, and no scaling, for 'local' layers (Gemma 3).
    rope_fraction: share of each head that is rotated, from the front.
    query_scale: None: 1 / sqrt(head_dim).
    attention_softcap, final_softcap: cap * tanh(x / cap) of scores, of logits (Gemma 2).
    scaled_embeddings: inputs times sqrt(embed_dim) (Gemma, PaLM).
    vocab_multiple: embeddings get rows up to a multiple of it, so that a mesh can split them;
      no logit sees the rows from vocab_size on, and an export leaves them out.
    dtype: of the computation; parameters stay float32 unless loaded otherwise.
    remat: what the backward pass computes again: 'none', 'dots' (all but matmuls), 'full'.
    scan_unroll: pattern periods unrolled in one step of the scan over layers.
    attention_kernel: 'einsum', or 'xla' / 'cudnn' of jax.nn.dot_product_attention, which serve
      full rows without soft cap, or 'splash' (models/flash.py), which serves full rows without
      branches, and prompts that fill a new cache, on TPU; all else falls back to 'einsum'.
  """

  vocab_size: int
  embed_dim: int
  num_layers: int
  num_heads: int
  mlp_dim: int
  num_kv_heads: int | None = None
  head_dim: int | None = None
  mlp_activation: str = 'silu'
  gated_mlp: bool = True
  norm: str = 'rms'
  norm_eps: float = 1e-6
  norm_unit_offset: bool = False
  post_norms: bool = False
  qk_norm: bool = False
  qkv_bias: bool = False
  parallel_block: bool = False
  attention_pattern: tuple[str, ...] = ('global',)
  sliding_window: int | None = None
  rope_theta: float = 10_000.0
  rope_scaling: RopeScaling | None = None
  rope_fraction: float = 1.0
  local_rope_theta: float | None = None
  query_scale: float | None = None
  attention_softcap: float | None = None
  final_softcap: float | None = None
  tied_embeddings: bool = True
  scaled_embeddings: bool = False
  vocab_multiple: int = 1
  dtype: str = 'float32'
  remat: str = 'none'
  scan_unroll: int = 1
  attention_kernel: str = 'einsum'

  def __post_init__(self):
    object.__setattr__(self, 'attention_pattern', tuple(self.attention_pattern))
    for name, allowed in (
      ('mlp_activation', ACTIVATIONS),
      ('norm', NORMS),
      ('remat', REMAT_MODES),
      ('attention_kernel', ATTENTION_KERNELS),
    ):
      if getattr(self, name) not in allowed:
        raise ValueError(
          f'TransformerConfig.{name} is {getattr(self, name)!r}; wanted one of {allowed}.'
        )
    self._check_heads()
    self._check_pattern()

  def _check_heads(self):
    if self.head_dim is None and self.embed_dim % self.num_heads:
      raise ValueError(
        f'embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}; set head_dim.'
      )
    if self.num_heads % self.kv_heads:
      raise ValueError(
        f'num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}.'
      )
    if self.rotated_dim % 2 or not 0 <= self.rotated_dim <= self.head_size:
      raise ValueError(
        f'rope_fraction {self.rope_fraction} rotates {self.rotated_dim} of '
        f'{self.head_size} numbers of a head; wanted an even share within it.'
      )

  def _check_pattern(self):
    unknown = set(self.attention_pattern) - set(LAYER_KINDS)
    if unknown or not self.attention_pattern:
      raise ValueError(
        f'attention_pattern {self.attention_pattern}; wanted at least one of {LAYER_KINDS}.'
      )
    if 'local' in self.attention_pattern and not self.sliding_window:
      raise ValueError(
        "attention_pattern has 'local' layers; set sliding_window, in tokens."
      )

  @property
  def kv_heads(self) -> int:
    return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

  @property
  def head_size(self) -> int:
    return (
      self.embed_dim // self.num_heads
      if self.head_dim is None
      else self.head_dim
    )

  @property
  def rotated_dim(self) -> int:
    return round(self.head_size * self.rope_fraction)

  @property
  def embedding_rows(self) -> int:
    return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

  @property
  def layer_kinds(self) -> tuple[str, ...]:
    """'local' or 'global' for each layer."""
    return repeat_attention_pattern(self.attention_pattern, self.num_layers)


def repeat_attention_pattern(
  pattern: Sequence[str], num_layers: int
) -> tuple[str, ...]:
  """The pattern repeated over the depth."""
  return tuple(pattern[layer % len(pattern)] for layer in range(num_layers))


def canonical_model_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Fields of a TransformerConfig as two spellings of one model have them alike.

  What None stands for is filled in, the attention pattern stands for each layer, and the fields of
  HOW_TO_COMPUTE are left out.
  """
  fields = {
    name: value
    for name, value in fields.items()
    if name not in NON_ARCHITECTURE_FIELDS
  }
  if 'num_heads' not in fields:
    return fields
  head = fields['head_dim'] or fields['embed_dim'] // fields['num_heads']
  kinds = list(
    repeat_attention_pattern(fields['attention_pattern'], fields['num_layers'])
  )
  local = (
    {}
    if 'local' in kinds
    else {'sliding_window': None, 'local_rope_theta': None}
  )
  return {
    **fields,
    'head_dim': head,
    'num_kv_heads': fields['num_kv_heads'] or fields['num_heads'],
    'query_scale': fields['query_scale'] or head**-0.5,
    'attention_pattern': kinds,
    **local,
  }


def diff_model_configs(
  left: TransformerConfig, right: TransformerConfig
) -> dict[str, tuple[Any, Any]]:
  """{field: (left, right)} where two models differ."""
  left, right = (
    canonical_model_fields(
      {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
      }
    )
    for config in (left, right)
  )
  return {
    name: (left[name], right[name])
    for name in left
    if not _same(left[name], right[name])
  }


def model_config_from_json(fields: Mapping[str, Any]) -> TransformerConfig:
  """The config whose fields a checkpoint's metadata has as json."""
  fields = dict(fields)
  unknown = sorted(
    set(fields)
    - {field.name for field in dataclasses.fields(TransformerConfig)}
  )
  if unknown:
    raise ValueError(
      f'The checkpoint has a model with fields {unknown}, which this version of '
      'mathft_jax does not know; use the version that wrote it.'
    )
  if (scaling := fields.get('rope_scaling')) is not None:
    kind = (
      LinearRopeScaling if set(scaling) == {'factor'} else Llama3RopeScaling
    )
    fields['rope_scaling'] = kind(**scaling)
  return TransformerConfig(**fields)


def _same(left: Any, right: Any) -> bool:
  if isinstance(left, float) and isinstance(right, float):
    return math.isclose(left, right, rel_tol=1e-12)
  return left == right
