"""Multi-head attention with rotary embeddings, masks and an optional KV cache.

For one call of the model, `make_attention_inputs` computes what all layers of one kind share: the
rotary table and the masks. `Attention` then maps [B, T, D] to [B, T, D] and returns the KV cache
with the keys and values of the new tokens appended.

  inputs = make_attention_inputs(config, 'global', positions_BT)
  out_BTD, cache = attention(x_BTD, inputs, cache)

Shapes: B sequences, T new tokens, S keys, N query heads, K key/value heads, H head size, P shared
prompts, X = T * B / P new tokens per prompt.
"""

import math
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp

from mathft_jax.models import config as config_lib
from mathft_jax.models import kv_cache, splash_attention
from mathft_jax.models.lora import einsum_with_lora
from mathft_jax.models.norm import Norm, normalise_heads_jointly
from mathft_jax.models.rotary_embedding import (
  RotaryTable,
  apply_rotary,
  query_factor_by_position,
  rotary_table,
)

# Score of a masked key. It is finite: a set of keys without a visible key gets weight 0, not NaN.
MASKED_SCORE = -1e30

scaled_init = jax.nn.initializers.variance_scaling


# --- masks: True where a query may attend to a key


def causal_mask(query_index_T: jax.Array, key_index_S: jax.Array) -> jax.Array:
  """[T, S]: the key is not after the query."""
  return key_index_S <= query_index_T[:, None]


def sliding_window_mask(
  window: int | None, query_position_BT: jax.Array, key_position_BS: jax.Array
) -> jax.Array:
  """[B, T, S]: the key is fewer than `window` positions before the query; None: no limit."""
  if window is None:
    return jnp.ones((1, 1, 1), bool)
  return query_position_BT[:, :, None] - key_position_BS[:, None] < window


def segment_mask(segment_ids_BT: jax.Array) -> jax.Array:
  """[B, T, T]: key and query are of one packed example."""
  return segment_ids_BT[:, :, None] == segment_ids_BT[:, None]


def branch_mask(branch_ids_BT: jax.Array) -> jax.Array:
  """[B, T, T]: the key is on the trunk (branch 0) or on the query's branch."""
  on_trunk = branch_ids_BT[:, None] == 0
  on_same_branch = branch_ids_BT[:, :, None] == branch_ids_BT[:, None]
  return on_trunk | on_same_branch


def new_tokens_mask(
  window: int | None,
  positions_BT: jax.Array,
  segment_ids_BT: jax.Array | None,
  branch_ids_BT: jax.Array | None,
) -> jax.Array:
  """[B or 1, T, T]: which of the new tokens each new token attends to, without a cache."""
  index_T = jnp.arange(positions_BT.shape[1])
  mask = sliding_window_mask(window, positions_BT, positions_BT)
  mask &= causal_mask(index_T, index_T)
  if segment_ids_BT is not None:
    mask &= segment_mask(segment_ids_BT)
  if branch_ids_BT is not None:
    mask &= branch_mask(branch_ids_BT)
  return mask


def suffix_mask(
  window: int | None,
  positions_BT: jax.Array,
  cache: kv_cache.KVCache,
  key_position_BS: jax.Array,
) -> jax.Array:
  """[B, T, S]: which slots of the cache's suffix each new token attends to."""
  query_index_T = cache.length + jnp.arange(positions_BT.shape[1])
  key_index_S = jnp.arange(key_position_BS.shape[1])

  mask = (key_position_BS >= 0)[:, None]
  mask &= sliding_window_mask(window, positions_BT, key_position_BS)
  return mask & causal_mask(query_index_T, key_index_S)


def prefix_mask(
  window: int | None, positions_BT: jax.Array, key_position_PS: jax.Array
) -> jax.Array:
  """[P, X or 1, S]: which slots of its prompt's cache each new token attends to."""
  mask = (key_position_PS >= 0)[:, None]
  if window is None:
    return mask
  position_PX = positions_BT.reshape(key_position_PS.shape[0], -1)
  return mask & sliding_window_mask(window, position_PX, key_position_PS)


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
    prefix_mask_PXS: over the shared prompts in the cache; empty without prompts.
    query_factor_BT11: a further factor of queries, by position; None without one.
    splash: if set, the TPU kernel is used instead of the masks.
  """

  rotary: RotaryTable
  mask_BTS: jax.Array
  prefix_mask_PXS: jax.Array
  query_factor_BT11: jax.Array | None = None
  splash: SplashInputs | None = None


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
    mask = new_tokens_mask(window, positions_BT, segment_ids_BT, branch_ids_BT)
  else:
    mask = suffix_mask(window, positions_BT, cache, key_position_BS)

  mask_of_prefix = jnp.zeros((1, 1, 0), bool)
  if cache is not None and cache.prefix is not None:
    positions_PS = cache.prefix.position_BS
    mask_of_prefix = prefix_mask(window, positions_BT, positions_PS)

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

  query_factor = query_factor_by_position(config, positions_BT)
  return AttentionInputs(rotary, mask, mask_of_prefix, query_factor, splash)


# --- softmax attention


class PartialAttention(NamedTuple):
  """Softmax sums over one set of keys, [B, T, K, G, 1 or H] in float32.

  Sets are combined by scaling `total` and `weighted` to a common maximum and adding them.
  """

  maximum: jax.Array  # of the scores
  total: jax.Array  # sum of exp(score - maximum)
  weighted: jax.Array  # sum of exp(score - maximum) * value


class KeySet(NamedTuple):
  """Keys and values of P prompts or, with P = B, of B sequences, and which of them are visible."""

  key_PKSH: jax.Array
  value_PKSH: jax.Array
  mask_PXS: jax.Array


def attend(
  q_BTNH: jax.Array, keys: KeySet, *, scale: float, cap: float | None = None
) -> jax.Array:
  """Returns softmax(cap(q k scale)) v, [B, T, N, H]; scores and sums are float32."""
  sums = _attend_partially(q_BTNH * scale, keys, cap)
  out = sums.weighted / sums.total
  return out.astype(q_BTNH.dtype).reshape(q_BTNH.shape)


def attend_with_shared_prefix(
  q_BTNH: jax.Array,
  prefix: KeySet,
  own: KeySet,
  *,
  scale: float,
  cap: float | None = None,
) -> jax.Array:
  """Returns `attend` over the keys of a prompt that B / P sequences share, and their own keys.

  The scores of all sequences of a prompt are one matmul: the prompt's keys are read once.
  """
  left = _attend_partially(q_BTNH * scale, prefix, cap)
  right = _attend_partially(q_BTNH * scale, own, cap)

  maximum = jnp.maximum(left.maximum, right.maximum)
  left_factor = jnp.exp(left.maximum - maximum)
  right_factor = jnp.exp(right.maximum - maximum)
  total = left_factor * left.total + right_factor * right.total
  weighted = left_factor * left.weighted + right_factor * right.weighted

  out = weighted / total
  return out.astype(q_BTNH.dtype).reshape(q_BTNH.shape)


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
    q_BTNH, k_BTKH, v_BTKH = self._project(x_BTD, inputs)

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
      if cache is None or cache.prefix is None:
        out_BTNH = attend(q_BTNH, own, scale=scale, cap=cap)
      else:
        prefix = KeySet(*cache.prefix, inputs.prefix_mask_PXS)
        out_BTNH = attend_with_shared_prefix(
          q_BTNH, prefix, own, scale=scale, cap=cap
        )

    return einsum_with_lora('BTNH,NHD->BTD', out_BTNH, self.out), cache

  def _project(
    self, x_BTD: jax.Array, inputs: AttentionInputs
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns rotated queries and keys, and values."""
    q_BTNH = einsum_with_lora('BTD,DNH->BTNH', x_BTD, self.query)
    k_BTKH = einsum_with_lora('BTD,DKH->BTKH', x_BTD, self.key)
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

    q_BTNH = apply_rotary(q_BTNH, inputs.rotary)
    k_BTKH = apply_rotary(k_BTKH, inputs.rotary)
    if inputs.query_factor_BT11 is not None:
      q_BTNH *= inputs.query_factor_BT11.astype(q_BTNH.dtype)
    return q_BTNH, k_BTKH, v_BTKH
