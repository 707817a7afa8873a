"""Softmax attention of queries over one or more sets of keys, in float32.

Shapes: B sequences, T new tokens, S keys, N query heads, K key/value heads, H head size, P entries
of a prefix (shared prompts), X = T * B / P new tokens per entry.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Score of a masked key. It is finite: a set of keys without a visible key gets weight 0, not NaN.
MASKED_SCORE = -1e30


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
  # A cache may have a narrower dtype.
  key_PKSH = keys.key_PKSH.astype(q_BTNH.dtype)
  value_PKSH = keys.value_PKSH.astype(q_BTNH.dtype)
  q_PXKGH = q_BTNH.reshape(num_prompts, queries, kv_heads, groups, head_size)

  scores_PKGXS = jnp.einsum(
    'PXKGH,PKSH->PKGXS',
    q_PXKGH,
    key_PKSH,
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
    exps_PKGXS.astype(value_PKSH.dtype),
    value_PKSH,
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
