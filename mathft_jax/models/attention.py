"""Multi-head attention with rotary embeddings, masks and an optional KV cache.

For one call of the model, `make_attention_inputs` computes what all layers of one kind share: the
rotary table and the masks. `Attention` then maps [B, T, D] to [B, T, D] and returns the KV cache
with the keys and values of the new tokens appended.

  inputs = make_attention_inputs(config, 'global', positions_BT)
  out_BTD, cache = attention(x_BTD, inputs, cache)

Shapes: B sequences, T new tokens, S keys, N query heads, K key/value heads, H head size, P entries
of a prefix (shared prompts), X = T * B / P new tokens per entry.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

from flax import nnx
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp

from mathft_jax.models import (
  attention_masks,
  blockwise_attention,
  kv_cache,
  remat,
  splash_attention,
)
from mathft_jax.models import config as config_lib
from mathft_jax.models.lora import einsum_with_lora
from mathft_jax.models.norm import (
  Norm,
  normalise_heads_jointly,
  normalise_without_scale,
)
from mathft_jax.models.rotary_embedding import (
  RotaryTable,
  apply_rotary,
  query_factor_by_position,
  rotary_table,
)

# Score of a masked key. It is finite: a set of keys without a visible key gets weight 0, not NaN.
MASKED_SCORE = -1e30

scaled_init = jax.nn.initializers.variance_scaling


# --- what the layers of one kind share in one call


class SplashInputs(NamedTuple):
  """Arguments of `splash_attention` other than queries, keys and values."""

  segment_ids_BT: jax.Array | None
  window: int | None
  kernel_sharding: splash_attention.KernelSharding | None


class AttentionInputs(NamedTuple):
  """Rotary table and masks of one call for all layers of one kind.

  Attributes:
    rotary: rotation angles of the new tokens.
    mask_BTS: over the suffix of the cache, or over the new tokens if there is no suffix.
    prefix_masks: [P, X or 1, S] over each prefix of the cache.
    prefixes_needed: whether each prefix is read; None: it is.
    query_factor_BT11: a further factor of queries, by position; None without one.
    splash: if set, the TPU kernel is used instead of the masks.
    is_blockwise: whether `blockwise_attention` is used, for whole sequences.
  """

  rotary: RotaryTable
  mask_BTS: jax.Array
  prefix_masks: tuple[jax.Array, ...] = ()
  prefixes_needed: tuple[jax.Array | None, ...] = ()
  query_factor_BT11: jax.Array | None = None
  splash: SplashInputs | None = None
  is_blockwise: bool = False


def make_attention_inputs(
  config: config_lib.TransformerConfig,
  kind: str,
  positions_BT: jax.Array,
  segment_ids_BT: jax.Array | None = None,
  branch_ids_BT: jax.Array | None = None,
  cache: kv_cache.KVCache | None = None,
  key_position_BS: jax.Array | None = None,
  kernel_sharding: splash_attention.KernelSharding | None = None,
) -> AttentionInputs:
  """Returns the rotary table and the masks of the layers of one kind.

  Args:
    key_position_BS: positions in the suffix of the cache, those of the new tokens included; None
      if the cache has no suffix.
    The others are the arguments of `transformer.hidden_states`.
  """
  window = config.sliding_window if kind == 'local' else None
  rotary = rotary_table(config, kind, positions_BT)

  if cache is None or key_position_BS is None:
    mask = attention_masks.new_tokens_mask(
      window, positions_BT, segment_ids_BT, branch_ids_BT
    )
  else:
    mask = attention_masks.suffix_mask(
      window, positions_BT, cache, key_position_BS
    )

  prefixes = () if cache is None else cache.prefixes_of_kind(kind)
  prefix_masks = tuple(
    attention_masks.prefix_mask(window, positions_BT, prefix)
    for prefix in prefixes
  )
  prefixes_needed = tuple(prefix.is_needed for prefix in prefixes)

  splash = None
  has_past = cache is not None and not kv_cache.is_empty(cache)
  if (
    config.attention_kernel == 'splash'
    and branch_ids_BT is None
    and not has_past
    and splash_attention.is_supported(kernel_sharding)
  ):
    if cache is not None and segment_ids_BT is not None:
      segment_ids_BT = (segment_ids_BT != 0).astype(jnp.int32)
    splash = SplashInputs(segment_ids_BT, window, kernel_sharding)

  factor = query_factor_by_position(config, positions_BT)
  is_blockwise = cache is None and blockwise_attention.is_used(
    config.attention_kernel, kernel_sharding
  )
  return AttentionInputs(
    rotary, mask, prefix_masks, prefixes_needed, factor, splash, is_blockwise
  )


# --- softmax attention


class PartialAttention(NamedTuple):
  """Softmax sums over one set of keys, [B, T, K, G, 1 or H] in float32.

  Sets are combined by scaling `total` and `weighted` to a common maximum and adding them.
  """

  maximum: jax.Array  # of the scores
  total: jax.Array  # sum of exp(score - maximum)
  weighted: jax.Array  # sum of exp(score - maximum) * value


class KeySet(NamedTuple):
  """Keys and values of P prompts or, with P = B, of B sequences, and which of them are visible.

  Attributes:
    is_needed: scalar, whether any is visible. If not, the set is not read. None: it is read.
  """

  key_PKSH: jax.Array
  value_PKSH: jax.Array
  mask_PXS: jax.Array
  is_needed: jax.Array | None = None


def attend(
  q_BTNH: jax.Array, keys: KeySet, *, scale: float, cap: float | None = None
) -> jax.Array:
  """Returns softmax(cap(q k scale)) v, [B, T, N, H]; scores and sums are float32."""
  sums = _attend_partially(q_BTNH * scale, keys, cap)
  out = sums.weighted / sums.total
  return out.astype(q_BTNH.dtype).reshape(q_BTNH.shape)


def attend_with_prefixes(
  q_BTNH: jax.Array,
  prefixes: Sequence[KeySet],
  own: KeySet,
  *,
  scale: float,
  cap: float | None = None,
) -> jax.Array:
  """Returns `attend` over the keys of all prefixes and the sequences' own keys.

  The scores of all sequences that share an entry of a prefix are one matmul: its keys are read
  once. A set without a key that a sequence sees does not change a bit of the sequence's output.
  """
  q_BTNH *= scale
  sums = _attend_if_needed(q_BTNH, prefixes[0], cap)
  for keys in (*prefixes[1:], own):
    sums = _combine(sums, _attend_if_needed(q_BTNH, keys, cap))

  out = sums.weighted / sums.total
  return out.astype(q_BTNH.dtype).reshape(q_BTNH.shape)


def _combine(
  left: PartialAttention, right: PartialAttention
) -> PartialAttention:
  """Returns the softmax sums over two sets of keys."""
  maximum = jnp.maximum(left.maximum, right.maximum)
  left_factor = jnp.exp(left.maximum - maximum)
  right_factor = jnp.exp(right.maximum - maximum)
  total = left_factor * left.total + right_factor * right.total
  weighted = left_factor * left.weighted + right_factor * right.weighted
  return PartialAttention(maximum, total, weighted)


def _attend_if_needed(
  q_BTNH: jax.Array, keys: KeySet, cap: float | None
) -> PartialAttention:
  """Returns `_attend_partially`, or sums of no keys if the set is not needed."""
  if keys.is_needed is None:
    return _attend_partially(q_BTNH, keys, cap)

  def attend_to_nothing() -> PartialAttention:
    sums = jax.eval_shape(lambda: _attend_partially(q_BTNH, keys, cap))
    return PartialAttention(
      maximum=jnp.full(sums.maximum.shape, MASKED_SCORE, jnp.float32),
      total=jnp.zeros(sums.total.shape, jnp.float32),
      weighted=jnp.zeros(sums.weighted.shape, jnp.float32),
    )

  return jax.lax.cond(
    keys.is_needed,
    lambda: _attend_partially(q_BTNH, keys, cap),
    attend_to_nothing,
  )


def _attend_partially(
  q_BTNH: jax.Array, keys: KeySet, cap: float | None
) -> PartialAttention:
  """Returns the softmax sums over one set of keys; P divides B, X = T * B / P."""
  batch, length, heads, head_size = q_BTNH.shape
  num_prompts, kv_heads, _, _ = keys.key_PKSH.shape
  queries = batch // num_prompts * length
  groups = heads // kv_heads
  q_PXKGH = q_BTNH.reshape(num_prompts, queries, kv_heads, groups, head_size)

  scores_PKGXS = jnp.einsum(
    'PXKGH,PKSH->PKGXS',
    q_PXKGH,
    keys.key_PKSH,
    preferred_element_type=jnp.float32,
  )
  scores_PKGXS = softcap(scores_PKGXS, cap)
  mask_PKGXS = keys.mask_PXS[:, None, None]
  scores_PKGXS = jnp.where(mask_PKGXS, scores_PKGXS, MASKED_SCORE)

  maximum = jnp.max(scores_PKGXS, axis=-1, keepdims=True)
  maximum = jax.lax.stop_gradient(maximum)
  exps_PKGXS = jnp.exp(scores_PKGXS - maximum)
  # XLA:CPU has no bfloat16 matmul with another order of the result's axes.
  weighted_PKGXH = jnp.einsum(
    'PKGXS,PKSH->PKGXH',
    exps_PKGXS.astype(keys.value_PKSH.dtype),
    keys.value_PKSH,
    preferred_element_type=jnp.float32,
  )

  def to_sequences(x_PKGX: jax.Array) -> jax.Array:
    """[P, K, G, X, 1 or H] -> [B, T, K, G, 1 or H]."""
    x_PXKG = jnp.moveaxis(x_PKGX, 3, 1)
    return x_PXKG.reshape(batch, length, kv_heads, groups, -1)

  return PartialAttention(
    to_sequences(maximum),
    to_sequences(jnp.sum(exps_PKGXS, axis=-1, keepdims=True)),
    to_sequences(weighted_PKGXH),
  )


def softcap(x: jax.Array, cap: float | None) -> jax.Array:
  """cap * tanh(x / cap), or x without a cap."""
  return x if cap is None else cap * jnp.tanh(x / cap)


class Attention(nnx.Module):
  """Grouped-query attention over the new tokens and, if given, a KV cache."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    D, N, K, H = (
      config.embed_dim,
      config.num_heads,
      config.kv_heads,
      config.head_size,
    )
    to_heads = scaled_init(
      1.0, 'fan_in', 'truncated_normal', in_axis=0, out_axis=(1, 2)
    )
    from_heads = scaled_init(
      1 / (2 * config.num_layers),
      'fan_in',
      'truncated_normal',
      in_axis=(0, 1),
      out_axis=2,
    )
    query_axes = 'embed', 'heads', 'kv'
    kv_axes = 'embed', 'kv_heads', 'kv'

    self.query = nnx.Param(to_heads(rngs.params(), (D, N, H)), axes=query_axes)
    self.key = nnx.Param(to_heads(rngs.params(), (D, K, H)), axes=kv_axes)
    if not config.keys_as_values:
      self.value = nnx.Param(to_heads(rngs.params(), (D, K, H)), axes=kv_axes)
    self.out = nnx.Param(
      from_heads(rngs.params(), (N, H, D)), axes=('heads', 'kv', 'embed')
    )
    if config.qkv_bias:
      self.query_bias = nnx.Param(jnp.zeros((N, H)), axes=query_axes[1:])
      self.key_bias = nnx.Param(jnp.zeros((K, H)), axes=kv_axes[1:])
      self.value_bias = nnx.Param(jnp.zeros((K, H)), axes=kv_axes[1:])
    if config.qk_norm:
      self.query_norm = Norm(config, H, 'kv')
      self.key_norm = Norm(config, H, 'kv')
    if config.joint_qk_norm:
      self.query_norm = Norm(config, N * H, 'heads')
      self.key_norm = Norm(config, K * H, 'kv_heads')
    self.config = config

  def __call__(
    self,
    x_BTD: jax.Array,
    inputs: AttentionInputs,
    cache: kv_cache.LayerCache | None = None,
  ) -> tuple[jax.Array, kv_cache.LayerCache | None]:
    """Returns the attention output [B, T, D] and the cache with the new tokens appended."""
    projections = self._project(x_BTD, inputs)
    q_BTNH, k_BTKH, v_BTKH = checkpoint_name(projections, remat.QKV)

    key_BKSH = jnp.swapaxes(k_BTKH, 1, 2)
    value_BKSH = jnp.swapaxes(v_BTKH, 1, 2)
    if cache is not None and cache.suffix is not None:
      cache, key_BKSH, value_BKSH = cache.append(key_BKSH, value_BKSH)

    scale = self.config.query_scale or 1 / math.sqrt(self.config.head_size)
    cap = self.config.attention_softcap
    kernel = self.config.attention_kernel
    if inputs.splash is not None:
      out_BTNH = splash_attention.splash_attention(
        q_BTNH, k_BTKH, v_BTKH, scale=scale, cap=cap, **inputs.splash._asdict()
      )
    elif inputs.is_blockwise:
      out_BTNH = blockwise_attention.blockwise_attention(
        q_BTNH, k_BTKH, v_BTKH, inputs.mask_BTS, scale=scale, cap=cap
      )
    elif kernel in ('xla', 'cudnn') and cap is None and cache is None:
      out_BTNH = jax.nn.dot_product_attention(
        q_BTNH,
        k_BTKH,
        v_BTKH,
        mask=inputs.mask_BTS[:, None],
        scale=scale,
        implementation=kernel,
      )
    else:
      own = KeySet(key_BKSH, value_BKSH, inputs.mask_BTS)
      if cache is None or not cache.prefixes:
        out_BTNH = attend(q_BTNH, own, scale=scale, cap=cap)
      else:
        sets = zip(cache.prefixes, inputs.prefix_masks, inputs.prefixes_needed)
        prefixes = [
          KeySet(*pair, mask, is_needed) for pair, mask, is_needed in sets
        ]
        out_BTNH = attend_with_prefixes(
          q_BTNH, prefixes, own, scale=scale, cap=cap
        )

    return einsum_with_lora('BTNH,NHD->BTD', out_BTNH, self.out), cache

  def _project(
    self, x_BTD: jax.Array, inputs: AttentionInputs
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns rotated queries and keys, and values."""
    q_BTNH = einsum_with_lora('BTD,DNH->BTNH', x_BTD, self.query)
    k_BTKH = einsum_with_lora('BTD,DKH->BTKH', x_BTD, self.key)
    v_BTKH = k_BTKH
    if not self.config.keys_as_values:
      v_BTKH = einsum_with_lora('BTD,DKH->BTKH', x_BTD, self.value)
    if self.config.qkv_bias:
      q_BTNH += self.query_bias.astype(q_BTNH.dtype)
      k_BTKH += self.key_bias.astype(k_BTKH.dtype)
      v_BTKH += self.value_bias.astype(v_BTKH.dtype)
    if self.config.qk_norm:
      q_BTNH = self.query_norm(q_BTNH)
      k_BTKH = self.key_norm(k_BTKH)
    elif self.config.joint_qk_norm:
      q_BTNH = normalise_heads_jointly(self.query_norm, q_BTNH)
      k_BTKH = normalise_heads_jointly(self.key_norm, k_BTKH)

    if self.config.value_norm:
      v_BTKH = normalise_without_scale(v_BTKH, self.config.norm_eps)

    q_BTNH = apply_rotary(q_BTNH, inputs.rotary)
    k_BTKH = apply_rotary(k_BTKH, inputs.rotary)
    if inputs.query_factor_BT11 is not None:
      q_BTNH *= inputs.query_factor_BT11.astype(q_BTNH.dtype)
    return q_BTNH, k_BTKH, v_BTKH
