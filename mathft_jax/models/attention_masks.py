"""Attention masks: True where a query may attend to a key.

Shapes: B sequences, T new tokens, S keys, P entries of a prefix, X = T * B / P new tokens per
entry.
"""

import jax
import jax.numpy as jnp

from mathft_jax.models import kv_cache


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
  """[B, T, T]: the key is on the trunk (branch 0) or on the query's branch.

  With ids [B, T, Y] of branches of branches, at each of the Y levels.
  """
  ids_BTY = branch_ids_BT.reshape(*branch_ids_BT.shape[:2], -1)
  key_ids_B1TY, query_ids_BT1Y = ids_BTY[:, None], ids_BTY[:, :, None]
  is_visible_BTTY = (key_ids_B1TY == 0) | (key_ids_B1TY == query_ids_BT1Y)
  return jnp.all(is_visible_BTTY, axis=-1)


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
  window: int | None, positions_BT: jax.Array, prefix: kv_cache.Prefix
) -> jax.Array:
  """[P, X or 1, S]: which slots of its entry of a prefix each new token attends to."""
  key_position_PS = prefix.keys.position_BS
  mask = (key_position_PS >= 0)[:, None]
  num_entries = key_position_PS.shape[0]
  if window is not None:
    position_PX = positions_BT.reshape(num_entries, -1)
    mask &= sliding_window_mask(window, position_PX, key_position_PS)
  if prefix.visible_B is not None:
    visible_BT = jnp.broadcast_to(prefix.visible_B[:, None], positions_BT.shape)
    mask &= visible_BT.reshape(num_entries, -1, 1)
  return mask
