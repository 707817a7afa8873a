"""Configuration of decoder-only Transformers. Each trait of a model family is a field."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

from mathft_jax.models import layer_sizes
from mathft_jax.models import rope_scaling as rope_lib

Json = Mapping[str, Any]
Fields = dict[str, Any]

ACTIVATIONS = ('silu', 'gelu', 'gelu_tanh', 'relu', 'relu2')
NORMS = ('rms', 'layer')
REMAT_MODES = (
  'none',
  'dots',
  'save_qkv_out',
  'save_qkv',
  'save_out',
  'offload_qkv_out',
  'full',
  'auto',
)
CACHE_DTYPES = (None, 'float32', 'bfloat16', 'float8_e4m3fn', 'float8_e5m2')
LAYER_KINDS = ('global', 'local', 'nope')
ATTENTION_KERNELS = ('auto', 'einsum', 'blockwise', 'xla', 'cudnn', 'splash')
# Fields that say how the model is computed or stored. Checkpoints fit whatever their values are.
NON_ARCHITECTURE_FIELDS = frozenset(
  {
    'dtype',
    'cache_dtype',
    'remat',
    'scan_unroll',
    'attention_kernel',
    'vocab_multiple',
    'dropout_rate',
    'load_balance_weight',
  }
)


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Sizes and traits of a decoder-only Transformer. Defaults: a Llama-like model.

  Attributes:
    num_kv_heads: key/value heads. None: one per query head; 1: multi-query attention (PaLM).
    head_dim: None: embed_dim / num_heads.
    mlp_activation: 'silu', 'gelu' (exact), 'gelu_tanh', 'relu' or 'relu2' (squared).
    gated_mlp: activation(x gate) * (x up) instead of activation(x up).
    experts: a mixture of experts in each layer; `mlp_dim` is then not used. None: an MLP.
    norm: 'rms', or 'layer' (layer norm without bias: PaLM).
    norm_unit_offset: the scale is 1 + w (Gemma).
    pre_norms: normalise the inputs of attention and MLP; False in OLMo 2 and 3.
    post_norms: normalise the outputs of attention and MLP (Gemma 2 and 3, OLMo 2 and 3).
    qk_norm: normalise each query and key head (Qwen 3, Gemma 3).
    joint_qk_norm: normalise the queries of all heads together, and the keys (OLMo 2 and 3).
    value_norm: normalise each value head, without a scale (Gemma 4).
    keys_as_values: values are the projected keys, before norm and rotation; there is no value
      projection (Gemma 4, global layers).
    has_keys: layers have projections of keys and values; False in layers of `shared_keys`.
    qkv_bias: add biases to queries, keys and values (Qwen 2).
    parallel_block: x + attention(norm(x)) + mlp(norm(x)), with one norm (PaLM).
    output_scale: outputs of a layer are multiplied by a scalar of the layer, which is not trained
      (Gemma 4).
    attention_pattern: 'global', 'local' or 'nope' (global, without rotary embeddings: SmolLM3) for
      each layer, repeated over the depth.
    global_attention: other sizes for 'global' layers. None: all layers have the same.
    shared_keys: upper layers that use keys and values of lower ones. None: there are none.
    layer_input_dim: size of a second embedding for each layer, which is added after its MLP
      (Gemma 4 E2B and E4B). 0: there is none.
    sliding_window: tokens that a token of a 'local' layer attends to, itself included.
    rope_theta, rope_scaling: base and scaling of the rotary embeddings.
    rope_fraction: fraction of each head that is rotated, from its first dimension on.
    local_rope_theta: another base, without scaling, for 'local' layers (Gemma 3).
    query_scale: None: 1 / sqrt(head_dim).
    query_scale_by_position: a further factor of queries, for long inputs (Ministral 3).
    attention_softcap, final_softcap: cap * tanh(x / cap) of scores and logits (Gemma 2).
    tied_embeddings: the output head is the embedding.
    scaled_embeddings: inputs are multiplied by sqrt(embed_dim) (Gemma, PaLM).
    embedding_multiplier: inputs are multiplied by it (Granite).
    residual_multiplier: outputs of attention and MLP are multiplied by it (Granite).
    logits_divisor: logits are divided by it (Granite).
    vocab_multiple: embedding rows are padded to a multiple of it, so that a mesh can shard them.
      Logits and exports do not contain the padding.
    dtype: of the computation. Parameters are float32 unless they are loaded in another dtype.
    cache_dtype: of the keys and values of prompts and finished blocks in decoding; None: `dtype`.
    remat: what the backward pass recomputes: 'none'; 'dots': all except matmuls; 'save_qkv': all
      except queries, keys and values; 'save_out': all except the outputs of attention and MLP;
      'save_qkv_out': all except both; 'offload_qkv_out': the same, and both are in host memory
      between the passes; 'full': all from the inputs of the layers; 'auto': the least of 'none',
      'dots', 'save_qkv_out' and 'full' with which the step fits (training/remat_choice.py). Only
      `train` and `plan` choose; elsewhere 'auto' is 'full'.
    scan_unroll: pattern periods per step of the scan over layers.
    attention_kernel: 'einsum'; 'blockwise' (models/blockwise_attention.py), for whole sequences;
      'auto': 'blockwise' on CPU; 'xla' or 'cudnn' of jax.nn.dot_product_attention, for whole
      sequences without soft cap; 'splash' (TPU, models/splash_attention.py), for whole sequences
      without branches and prompts in an empty cache. All other calls use 'einsum'.
    dropout_rate: in training, fraction of the embeddings and of the outputs of attention and MLP
      that is set to 0.
    load_balance_weight: in training, weight of the load-balance loss of a mixture of experts
      (`mixture_of_experts.load_balance_loss`).
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
  experts: layer_sizes.Experts | None = None
  norm: str = 'rms'
  norm_eps: float = 1e-6
  norm_unit_offset: bool = False
  pre_norms: bool = True
  post_norms: bool = False
  qk_norm: bool = False
  joint_qk_norm: bool = False
  value_norm: bool = False
  keys_as_values: bool = False
  has_keys: bool = True
  qkv_bias: bool = False
  parallel_block: bool = False
  output_scale: bool = False
  attention_pattern: tuple[str, ...] = ('global',)
  global_attention: layer_sizes.GlobalAttention | None = None
  shared_keys: layer_sizes.SharedKeys | None = None
  layer_input_dim: int = 0
  sliding_window: int | None = None
  rope_theta: float = 10_000.0
  rope_scaling: rope_lib.RopeScaling | None = None
  rope_fraction: float = 1.0
  local_rope_theta: float | None = None
  query_scale: float | None = None
  query_scale_by_position: rope_lib.QueryScaleByPosition | None = None
  attention_softcap: float | None = None
  final_softcap: float | None = None
  tied_embeddings: bool = True
  scaled_embeddings: bool = False
  embedding_multiplier: float = 1.0
  residual_multiplier: float = 1.0
  logits_divisor: float = 1.0
  vocab_multiple: int = 1
  dtype: str = 'float32'
  cache_dtype: str | None = None
  remat: str = 'none'
  scan_unroll: int = 1
  attention_kernel: str = 'auto'
  dropout_rate: float = 0.0
  load_balance_weight: float = 0.001

  def __post_init__(self):
    object.__setattr__(self, 'attention_pattern', tuple(self.attention_pattern))
    _check_choice('mlp_activation', self.mlp_activation, ACTIVATIONS)
    _check_choice('norm', self.norm, NORMS)
    _check_choice('remat', self.remat, REMAT_MODES)
    _check_choice('cache_dtype', self.cache_dtype, CACHE_DTYPES)
    _check_choice('attention_kernel', self.attention_kernel, ATTENTION_KERNELS)
    if not 0 <= self.dropout_rate < 1:
      raise ValueError(
        f'dropout_rate (DROPOUT_RATE) is {self.dropout_rate}; it must be at least 0 and under 1.'
      )
    if self.load_balance_weight < 0:
      raise ValueError(
        f'load_balance_weight (LOAD_BALANCE_WEIGHT) is {self.load_balance_weight}; it must be at '
        'least 0.'
      )
    if self.experts is not None and not self.gated_mlp:
      raise ValueError(
        'experts is set and gated_mlp is False; experts have a gate.'
      )
    self._check_heads()
    self._check_pattern()
    self._check_norms()

  def _check_heads(self) -> None:
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
        f'{self.head_size} dimensions of a head; it must rotate an even number.'
      )

  def _check_pattern(self) -> None:
    unknown = set(self.attention_pattern) - set(LAYER_KINDS)
    if unknown or not self.attention_pattern:
      raise ValueError(
        f'attention_pattern is {self.attention_pattern}; it must contain at least one '
        f'of {LAYER_KINDS}, and nothing else.'
      )
    if {'local', 'nope'} <= set(
      self.attention_pattern
    ):  # decoding keeps caches of two kinds
      raise ValueError(
        f"attention_pattern is {self.attention_pattern}; 'local' and 'nope' layers cannot be "
        'combined.'
      )
    if self.global_attention is not None:
      if set(self.attention_pattern) != {'global', 'local'}:
        raise ValueError(
          f'global_attention is set and attention_pattern is {self.attention_pattern}; it must '
          "contain 'local' and 'global'."
        )
      self.layer_config('global')  # checks the sizes
    if self.shared_keys is not None:
      kinds = self.layer_kinds
      num_layers = self.num_layers_with_keys
      if num_layers < 1 or set(kinds[:num_layers]) != set(kinds):
        raise ValueError(
          f'shared_keys.num_layers is {self.shared_keys.num_layers} of {self.num_layers}; the '
          f'other layers must have all kinds, {sorted(set(kinds))}.'
        )
    if 'local' in self.attention_pattern and not self.sliding_window:
      raise ValueError(
        "attention_pattern has 'local' layers; set sliding_window (in tokens)."
      )

  def _check_norms(self) -> None:
    if not self.pre_norms and (self.parallel_block or not self.post_norms):
      raise ValueError(
        'pre_norms is False; then post_norms must be True and parallel_block False.'
      )
    if self.qk_norm and self.joint_qk_norm:
      raise ValueError('qk_norm and joint_qk_norm are both True; set one.')

  @property
  def has_one_stack(self) -> bool:
    """Whether all layers have the same shapes (`layer_stacks`)."""
    return self.global_attention is None and self.shared_keys is None

  @property
  def num_layers_with_keys(self) -> int:
    if self.shared_keys is None:
      return self.num_layers
    return self.num_layers - self.shared_keys.num_layers

  def layer_config(
    self, kind: str, has_keys: bool = True
  ) -> 'TransformerConfig':
    """Returns the config with the sizes of the layers of one kind."""
    if self.has_one_stack:
      return self
    fields: Fields = {'global_attention': None, 'shared_keys': None}
    if self.global_attention is not None and kind == 'global':
      fields.update(vars(self.global_attention))
    if self.shared_keys is not None and not has_keys:
      fields.update(has_keys=False, mlp_dim=self.shared_keys.mlp_dim)
    return dataclasses.replace(self, **fields)

  @property
  def kv_heads(self) -> int:
    return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

  @property
  def head_size(self) -> int:
    if self.head_dim is None:
      return self.embed_dim // self.num_heads
    return self.head_dim

  @property
  def rotated_dim(self) -> int:
    """Dimensions of a head that rotary embeddings rotate."""
    return round(self.head_size * self.rope_fraction)

  @property
  def embedding_rows(self) -> int:
    """Vocabulary size with padding."""
    return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

  @property
  def layer_kinds(self) -> tuple[str, ...]:
    """'local', 'global' or 'nope' for each layer."""
    return repeat_attention_pattern(self.attention_pattern, self.num_layers)


def repeat_attention_pattern(
  pattern: Sequence[str], num_layers: int
) -> tuple[str, ...]:
  """Returns the kind of each layer."""
  repeats = -(-num_layers // len(pattern))
  return (tuple(pattern) * repeats)[:num_layers]


def canonical_model_fields(fields: Json) -> Fields:
  """Returns fields of a TransformerConfig so that equal models have equal fields.

  Fields that older checkpoints do not have and values that None stands for are filled in, the
  attention pattern has an entry for each layer, and NON_ARCHITECTURE_FIELDS are left out. Fields of
  another class are returned without the latter.
  """
  canonical = dict(fields)
  if 'num_heads' in fields:
    canonical = {**_default_fields(), **fields}
  for name in NON_ARCHITECTURE_FIELDS:
    canonical.pop(name, None)
  if 'num_heads' not in fields:
    return canonical

  num_heads = fields['num_heads']
  head_dim = fields['head_dim'] or fields['embed_dim'] // num_heads
  kinds = repeat_attention_pattern(
    fields['attention_pattern'], fields['num_layers']
  )
  canonical['head_dim'] = head_dim
  canonical['num_kv_heads'] = fields['num_kv_heads'] or num_heads
  canonical['query_scale'] = fields['query_scale'] or head_dim**-0.5
  canonical['attention_pattern'] = list(kinds)
  if 'local' not in kinds:
    canonical['sliding_window'] = None
    canonical['local_rope_theta'] = None
  return canonical


def _default_fields() -> Fields:
  """Returns the fields of TransformerConfig that have a default."""
  defaults = {}
  for field in dataclasses.fields(TransformerConfig):
    if field.default is not dataclasses.MISSING:
      defaults[field.name] = field.default
  return defaults


def diff_model_configs(
  left: TransformerConfig, right: TransformerConfig
) -> dict[str, tuple[Any, Any]]:
  """Returns {field: (left value, right value)} of the fields in which two models differ."""
  left_fields = canonical_model_fields(vars(left))
  right_fields = canonical_model_fields(vars(right))
  differences = {}
  for name, left_value in left_fields.items():
    right_value = right_fields[name]
    if not _is_equal(left_value, right_value):
      differences[name] = left_value, right_value
  return differences


def model_config_from_json(fields: Json) -> TransformerConfig:
  """Returns the config that a checkpoint's metadata contains.

  Raises:
    ValueError: a field is unknown.
  """
  fields = dict(fields)
  known = {field.name for field in dataclasses.fields(TransformerConfig)}
  unknown = sorted(set(fields) - known)
  if unknown:
    raise ValueError(
      f'The model config in the checkpoint has unknown fields {unknown}. Use the '
      'version of mathft_jax that wrote the checkpoint.'
    )

  scaling = fields.get('rope_scaling')
  if scaling is not None:
    fields['rope_scaling'] = rope_lib.rope_scaling_from_json(scaling)
  global_attention = fields.get('global_attention')
  if global_attention is not None:
    fields['global_attention'] = layer_sizes.GlobalAttention(**global_attention)
  shared_keys = fields.get('shared_keys')
  if shared_keys is not None:
    fields['shared_keys'] = layer_sizes.SharedKeys(**shared_keys)
  experts = fields.get('experts')
  if experts is not None:
    fields['experts'] = layer_sizes.Experts(**experts)
  by_position = fields.get('query_scale_by_position')
  if by_position is not None:
    fields['query_scale_by_position'] = rope_lib.QueryScaleByPosition(
      **by_position
    )
  return TransformerConfig(**fields)


def _check_choice(
  name: str, value: str | None, allowed: Sequence[str | None]
) -> None:
  if value not in allowed:
    raise ValueError(
      f'TransformerConfig.{name} is {value!r}; it must be one of {allowed}.'
    )


def _is_equal(left: object, right: object) -> bool:
  if isinstance(left, float) and isinstance(right, float):
    return math.isclose(left, right, rel_tol=1e-12)
  return left == right
