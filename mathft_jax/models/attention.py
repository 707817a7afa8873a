"""What the tokens of one call may see: masks and rotations of each kind of layer, and the cache."""

import functools

import jax
import jax.numpy as jnp

from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import layers as layers_lib
from mathft_jax.models import splash_attention


class LookBack:
  """What the tokens of one call may see; the arguments are those of `transformer.hidden_states`."""

  def __init__(
    self,
    config,
    positions_BT,
    segment_ids_BT,
    branch_ids_BT,
    cache,
    kernel_sharding,
  ):
    self.length = positions_BT.shape[1]
    self.start = 0 if cache is None else cache.length
    own = None if cache is None else cache.suffix
    prefix = None if cache is None else cache.prefix
    self.prefix = None if prefix is None else (prefix.key, prefix.value)
    self.prefix_position_BS = None if prefix is None else prefix.position_BS
    self.slots = self.own_position_BS = None
    if own is not None:
      _check_room(own, self.length, branch_ids_BT)
      self.slots = own.key, own.value
      new = (
        positions_BT
        if segment_ids_BT is None
        else jnp.where(segment_ids_BT != 0, positions_BT, -1)
      )
      self.own_position_BS = jax.lax.dynamic_update_slice(
        own.position_BS, new, (0, self.start)
      )
    kinds = sorted(set(config.attention_pattern))
    self.rotations = {
      kind: layers_lib.rotary_table(config, kind, positions_BT)
      for kind in kinds
    }
    windows = {
      kind: config.sliding_window if kind == 'local' else None for kind in kinds
    }
    self.visible = {
      kind: self._new_visible(
        window, positions_BT, segment_ids_BT, branch_ids_BT
      )
      for kind, window in windows.items()
    }
    self.prefix_visible = {
      kind: self._prefix_visible(window, positions_BT)
      for kind, window in windows.items()
    }
    self.flash = dict.fromkeys(kinds)
    whole = branch_ids_BT is None and (
      cache is None or cache_lib.is_empty(cache)
    )
    if (
      config.attention_kernel == 'splash'
      and whole
      and splash_attention.is_supported(kernel_sharding)
    ):
      if own is not None and segment_ids_BT is not None:
        segment_ids_BT = (segment_ids_BT != 0).astype(jnp.int32)
      self.flash = {
        kind: functools.partial(
          splash_attention.splash_attention,
          segment_ids_BT=segment_ids_BT,
          window=window,
          kernel_sharding=kernel_sharding,
        )
        for kind, window in windows.items()
      }

  def parts(self, kind, prefix_layer, slots, layer, key_BKTH, value_BKTH):
    """The parts that a layer's queries see, and the own slots with the new keys written."""
    parts = []
    if prefix_layer is not None:
      parts.append(layers_lib.Keys(*prefix_layer, self.prefix_visible[kind]))
    if slots is not None:
      new = key_BKTH, value_BKTH
      if layer is None:
        slots = tuple(
          jax.lax.dynamic_update_slice(slot, x, (0, 0, self.start, 0))
          for slot, x in zip(slots, new)
        )
        key_BKTH, value_BKTH = slots
      else:
        slots = tuple(
          jax.lax.dynamic_update_slice(
            slot, x[None], (layer, 0, 0, self.start, 0)
          )
          for slot, x in zip(slots, new)
        )
        key_BKTH, value_BKTH = (slot[layer] for slot in slots)
    return [
      *parts,
      layers_lib.Keys(
        key_BKTH, value_BKTH, self.visible[kind], self.flash[kind]
      ),
    ], slots

  def cache(self, slots) -> cache_lib.KVCache | None:
    """The cache with the new slots in it."""
    if slots is None:
      return None
    own = cache_lib.KeyValues(*slots, self.own_position_BS)
    prefix = (
      None
      if self.prefix is None
      else cache_lib.KeyValues(*self.prefix, self.prefix_position_BS)
    )
    return cache_lib.KVCache(own, prefix, jnp.int32(self.start + self.length))

  def _new_visible(self, window, positions_BT, segment_ids_BT, branch_ids_BT):
    """[B, T, S]: which of the own slots, or of the new tokens where there are none, are seen."""
    queries = self.start + jnp.arange(self.length)
    if self.own_position_BS is not None:
      seen = (self.own_position_BS >= 0)[:, None]
      seen &= _near(window, positions_BT, self.own_position_BS)
      return seen & (
        jnp.arange(self.own_position_BS.shape[1]) <= queries[:, None]
      )
    seen = _near(window, positions_BT, positions_BT) & (
      queries <= queries[:, None]
    )
    if segment_ids_BT is not None:
      seen &= segment_ids_BT[:, :, None] == segment_ids_BT[:, None]
    if branch_ids_BT is not None:
      seen &= (branch_ids_BT[:, None] == 0) | (
        branch_ids_BT[:, :, None] == branch_ids_BT[:, None]
      )
    return seen

  def _prefix_visible(self, window, positions_BT):
    """[rows of the prefix, queries or 1, S]: which of the prefix is seen."""
    if self.prefix_position_BS is None:
      return None
    rows = self.prefix_position_BS.shape[0]
    written = (self.prefix_position_BS >= 0)[:, None]
    if window is None:
      return written
    return written & _near(
      window, positions_BT.reshape(rows, -1), self.prefix_position_BS
    )


def _near(window: int | None, query_RX, key_RS):
  """[R, X, S] or [1, 1, 1]: whether the key's position is within the window of the query's."""
  if window is None:
    return jnp.ones((1, 1, 1), bool)
  return query_RX[:, :, None] - key_RS[:, None] < window


def _check_room(own: cache_lib.KeyValues, length: int, branch_ids_BT):
  if length > own.position_BS.shape[1]:
    raise ValueError(
      f'{length} tokens for a cache of {own.position_BS.shape[1]} own slots; make '
      'it with more `slots`.'
    )
  if branch_ids_BT is not None:
    raise ValueError(
      'branch_ids_BT with own slots; use cache.shared(..., slots=0) for branches.'
    )
