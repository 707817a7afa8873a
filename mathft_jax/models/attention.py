"""Multi-head attention with rotary embeddings, masks and an optional KV cache.

For one call of the model, `make_attention_inputs` computes what all layers of one kind share: the
rotary table and the masks. `Attention` then maps [B, T, D] to [B, T, D] and returns the KV cache
with the keys and values of the new tokens appended.

  inputs = make_attention_inputs(config, 'global', positions_BT)
  out_BTD, cache = attention(x_BTD, inputs, cache)

Shapes: B sequences, T new tokens, S keys, N query heads, K key/value heads, H head size, P entries
of a prefix (shared prompts), X = T * B / P new tokens per entry.
"""

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
from mathft_jax.models.softmax_attention import (
  KeySet,
  attend,
  attend_with_prefixes,
)

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


def attend_to_all(
  config: config_lib.TransformerConfig,
  q_BTNH: jax.Array,
  new: kv_cache.KeyValuePair,
  own: KeySet,
  inputs: AttentionInputs,
  cache: kv_cache.LayerCache | None,
) -> jax.Array:
  """Returns the attention output [B, T, N, H], by the kernel of the config if it can be used.

  Args:
    new: keys and values [B, T, K, H] of the new tokens.
    own: the keys of the cache's suffix, or of the new tokens if there is no suffix.
    cache: its prefixes are attended to.
  """
  scale = config.query_scale or 1 / math.sqrt(config.head_size)
  cap = config.attention_softcap
  kernel = config.attention_kernel
  prefixes = () if cache is None else cache.prefixes
  has_slots = cache is not None and (cache.suffix is not None or prefixes)

  if inputs.splash is not None:
    return splash_attention.splash_attention(
      q_BTNH, *new, scale=scale, cap=cap, **inputs.splash._asdict()
    )
  if inputs.is_blockwise:
    return blockwise_attention.blockwise_attention(
      q_BTNH, *new, inputs.mask_BTS, scale=scale, cap=cap
    )
  if kernel in ('xla', 'cudnn') and cap is None and not has_slots:
    return jax.nn.dot_product_attention(
      q_BTNH,
      *new,
      mask=inputs.mask_BTS[:, None],
      scale=scale,
      implementation=kernel,
    )
  if not prefixes:
    return attend(q_BTNH, own, scale=scale, cap=cap)

  sets = zip(prefixes, inputs.prefix_masks, inputs.prefixes_needed)
  prefix_sets = [
    KeySet(*pair, mask, is_needed) for pair, mask, is_needed in sets
  ]
  return attend_with_prefixes(q_BTNH, prefix_sets, own, scale=scale, cap=cap)


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

    new = kv_cache.KeyValuePair(k_BTKH, v_BTKH)
    own = KeySet(key_BKSH, value_BKSH, inputs.mask_BTS)
    out_BTNH = attend_to_all(self.config, q_BTNH, new, own, inputs, cache)
    if cache is not None and cache.keeps_new:
      cache = cache._replace(new=new)
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


class SharedKeysAttention(nnx.Module):
  """Attention to the keys and values of a lower layer (`TransformerConfig.shared_keys`)."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    D, N, H = config.embed_dim, config.num_heads, config.head_size
    init = scaled_init(
      1.0, 'fan_in', 'truncated_normal', in_axis=0, out_axis=(1, 2)
    )
    init_out = scaled_init(
      1 / (2 * config.num_layers),
      'fan_in',
      'truncated_normal',
      in_axis=(0, 1),
      out_axis=2,
    )
    self.query = nnx.Param(
      init(rngs.params(), (D, N, H)), axes=('embed', 'heads', 'kv')
    )
    self.out = nnx.Param(
      init_out(rngs.params(), (N, H, D)), axes=('heads', 'kv', 'embed')
    )
    if config.qk_norm:
      self.query_norm = Norm(config, H, 'kv')
    self.config = config

  def __call__(
    self,
    x_BTD: jax.Array,
    inputs: AttentionInputs,
    cache: kv_cache.LayerCache | None,
  ) -> tuple[jax.Array, kv_cache.LayerCache]:
    """Returns the attention output [B, T, D] and the cache, unchanged.

    Args:
      cache: of the lower layer, with the new tokens appended.
    """
    assert cache is not None and cache.new is not None
    q_BTNH = einsum_with_lora('BTD,DNH->BTNH', x_BTD, self.query)
    if self.config.qk_norm:
      q_BTNH = self.query_norm(q_BTNH)
    q_BTNH = apply_rotary(q_BTNH, inputs.rotary)
    q_BTNH = checkpoint_name(q_BTNH, remat.QKV)

    key_BKSH = jnp.swapaxes(cache.new.key, 1, 2)
    value_BKSH = jnp.swapaxes(cache.new.value, 1, 2)
    if cache.suffix is not None:
      key_BKSH, value_BKSH = cache.suffix
    own = KeySet(key_BKSH, value_BKSH, inputs.mask_BTS)
    out_BTNH = attend_to_all(self.config, q_BTNH, cache.new, own, inputs, cache)
    return einsum_with_lora('BTNH,NHD->BTD', out_BTNH, self.out), cache
