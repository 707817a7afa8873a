"""Prefill: writes the keys and values of prompts to places of groups of decode rows."""

from collections.abc import Sequence
import functools
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.distributed.kernel_sharding import KernelSharding
from mathft_jax.inference import decode_caches, decode_config, row_schedule
from mathft_jax.inference.decode_caches import Caches
from mathft_jax.inference.decode_config import DecodeConfig
from mathft_jax.models import kv_cache, transformer


class Prompt(NamedTuple):
  """A problem and the token ids of its prompt, at least one."""

  problem_id: str
  ids: Sequence[int]


ArrayT = TypeVar('ArrayT')  # np.ndarray, jax.Array or jax.ShapeDtypeStruct


class PromptBatch(NamedTuple, Generic[ArrayT]):
  """One prompt for each device along `data` (D), written to a place of one of its groups."""

  tokens_DS: ArrayT  # padded on the right
  lengths_D: ArrayT
  groups_D: ArrayT  # among those of the device; -1: none
  places_D: ArrayT


def prefill_prompts(
  config: DecodeConfig,
  params: transformer.Params,
  caches: Caches,
  prompts: Sequence[Prompt],
  starts: Sequence[row_schedule.PromptStart],
) -> Caches:
  """Prefills prompts. Their padded length depends on their own length and the slots only."""

  def length_of(start: row_schedule.PromptStart) -> int:
    num_tokens = len(prompts[start.problem].ids)
    return decode_config.prefill_length(num_tokens, config.prompt_slots)

  num_devices = config.mesh.shape['data']
  groups_per_device = config.num_groups // num_devices
  sharding = partitioning.batch_sharding(config.mesh)
  remaining = list(starts)
  while remaining:
    slots = length_of(remaining[0])
    batch = PromptBatch(
      tokens_DS=np.zeros((num_devices, slots), np.int32),
      lengths_D=np.ones(num_devices, np.int32),
      groups_D=np.full(num_devices, -1, np.int32),
      places_D=np.zeros(num_devices, np.int32),
    )
    others = []
    for start in remaining:
      ids = prompts[start.problem].ids
      device, group = divmod(start.group, groups_per_device)
      is_free = batch.groups_D[device] < 0
      if not is_free or length_of(start) != slots:
        others.append(start)
        continue
      batch.tokens_DS[device, : len(ids)] = ids
      batch.lengths_D[device] = len(ids)
      batch.groups_D[device] = group
      batch.places_D[device] = start.place

    arrays = [partitioning.shard_array(array, sharding) for array in batch]
    new_prompts = prefill(config, params, caches.prompts, PromptBatch(*arrays))
    caches = caches._replace(prompts=new_prompts)
    remaining = others
  return caches


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def prefill(
  config: DecodeConfig,
  params: transformer.Params,
  places: tuple[kv_cache.KeyValues, ...],
  batch: PromptBatch[jax.Array],
) -> tuple[kv_cache.KeyValues, ...]:
  """Writes the keys and values of prompts, without their last token, to their places."""
  keys = prompt_keys(config, params, batch.tokens_DS, batch.lengths_D)
  new_places = []
  for index, place in enumerate(places):
    groups_D = jnp.where(batch.places_D == index, batch.groups_D, -1)
    new_places.append(_write_prompts(place, keys, groups_D))
  return decode_caches.constrain(config, tuple(new_places))


def prompt_keys(
  config: DecodeConfig,
  params: transformer.Params,
  tokens_PS: jax.Array,
  lengths_P: jax.Array,
) -> kv_cache.KeyValues:
  """Returns the keys and values of prompts, without their last token."""
  num_prompts, slots = tokens_PS.shape
  positions_PS = jnp.broadcast_to(jnp.arange(slots), tokens_PS.shape)
  is_before_last_PS = positions_PS < lengths_P[:, None] - 1
  _, cache = transformer.hidden_states(
    config.model,
    params,
    tokens_PS,
    positions_BT=positions_PS,
    segment_ids_BT=is_before_last_PS.astype(jnp.int32),
    cache=kv_cache.allocate_cache(
      config.model,
      batch_size=num_prompts,
      max_length=slots,
      stacked=config.stacked,
    ),
    kernel_sharding=KernelSharding(config.mesh, config.rules),
  )
  assert cache is not None and cache.suffix is not None
  return cache.suffix


def _write_prompts(
  place: kv_cache.KeyValues, prompts: kv_cache.KeyValues, groups_D: jax.Array
) -> kv_cache.KeyValues:
  """Writes the prompt of device d to its group `groups_D[d]`; -1: to none."""
  num_devices = groups_D.shape[0]

  def write(
    old: jax.Array, new: jax.Array, slot_axis: int, padding: int
  ) -> jax.Array:
    batch_axis = slot_axis - 2 if old.ndim >= 4 else 0
    widths = [(0, 0)] * new.ndim
    widths[slot_axis] = 0, old.shape[slot_axis] - new.shape[slot_axis]
    new = jnp.pad(new, widths, constant_values=padding)

    shape = list(old.shape)
    groups_per_device = old.shape[batch_axis] // num_devices
    shape[batch_axis : batch_axis + 1] = num_devices, groups_per_device
    entries = decode_caches.write_entries(
      old.reshape(shape),
      new,
      groups_D,
      row_axis=batch_axis,
      entry_axis=batch_axis + 1,
    )
    return entries.reshape(old.shape)

  def write_heads(old: jax.Array, new: jax.Array) -> jax.Array:
    return write(old, new, slot_axis=old.ndim - 2, padding=0)

  key, value = jax.tree.map(
    write_heads, (place.key, place.value), (prompts.key, prompts.value)
  )
  positions = write(place.position_BS, prompts.position_BS, 1, -1)
  return kv_cache.KeyValues(key, value, positions)
