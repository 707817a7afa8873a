"""Keys and values of decode rows. All arrays have fixed shapes.

  prompts  for each place of a prompt in a group of rows: the prompt, without its last token
  chunks   the tokens of the finished blocks of each row

A decode step reads them as prefixes of its KV cache; its own tokens are appended to a block, and
the block to the chunks at the end (`append_block`).
"""

from collections.abc import Sequence
import functools
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from mathft_jax.distributed import partitioning
from mathft_jax.inference.decode_config import DecodeConfig
from mathft_jax.models import kv_cache

Tree = TypeVar('Tree')


class Caches(NamedTuple):
  """Keys and values of all rows."""

  prompts: tuple[kv_cache.KeyValues, ...]  # by place; P = groups
  chunks: tuple[kv_cache.Suffix, ...]
  # Of layers with a sliding window, if they need fewer chunks than others: chunk n of a row is
  # stored instead of chunk n - len(local_chunks), which has left the window.
  local_chunks: tuple[kv_cache.Suffix, ...]


def empty_caches(config: DecodeConfig) -> Caches:
  """Returns caches without tokens."""

  def allocate(
    batch_size: int, slots: int, kind: str | None = None
  ) -> kv_cache.KeyValues:
    return kv_cache.allocate_key_values(
      config.model,
      batch_size,
      slots,
      config.stacked,
      kind,
      config.model.cache_dtype,
    )

  def allocate_chunks(
    all_slots: Sequence[int], kind: str | None
  ) -> tuple[kv_cache.Suffix, ...]:
    chunks = []
    for slots in all_slots:
      chunk = allocate(config.num_rows, slots, kind)
      chunks.append((chunk.key, chunk.value))
    return tuple(chunks)

  prompts = [
    allocate(config.num_groups, config.prompt_slots)
    for _ in range(config.places_per_group)
  ]
  slots = config.chunk_slots
  if config.local_chunks is None:
    return Caches(tuple(prompts), allocate_chunks(slots, None), ())
  local_slots = slots[: config.local_chunks]
  if 'global' not in config.model.layer_kinds:
    slots = []
  return Caches(
    tuple(prompts),
    allocate_chunks(slots, 'global'),
    allocate_chunks(local_slots, 'local'),
  )


def cache_shardings(config: DecodeConfig, caches: Any) -> Any:
  """The sharding of each array: rows and groups over `data`, heads by the axis rules."""

  def shard(array: jax.Array) -> NamedSharding:
    if array.ndim < 4:
      axes = ('batch', None)
    else:  # keys and values, with or without a first axis for layers
      axes = (None, 'batch', 'kv_heads', None, None)[-array.ndim :]
    spec = partitioning.logical_to_partition_spec(
      axes, array.shape, mesh=config.mesh, rules=config.rules
    )
    return NamedSharding(config.mesh, spec)

  return jax.tree.map(shard, caches)


def cache_bytes_per_device(config: DecodeConfig) -> int:
  """Bytes of the caches on a device."""
  return partitioning.bytes_per_device(abstract_caches(config))


def abstract_caches(config: DecodeConfig) -> Caches:
  """The shapes, dtypes and shardings of the caches."""
  shapes = jax.eval_shape(lambda: empty_caches(config))

  def place(shape: jax.ShapeDtypeStruct, sharding: NamedSharding):
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

  return jax.tree.map(place, shapes, cache_shardings(config, shapes))


@functools.partial(jax.jit, static_argnums=0)
def allocate(config: DecodeConfig) -> Caches:
  """Returns caches without tokens on the devices."""
  return constrain(config, empty_caches(config))


def constrain(config: DecodeConfig, tree: Tree) -> Tree:
  """Constrains the shardings of arrays of the caches."""
  shardings = cache_shardings(config, tree)
  return jax.lax.with_sharding_constraint(tree, shardings)


# --- prefixes of a block of steps


def prompt_prefixes(
  caches: Caches, places_B: jax.Array
) -> tuple[kv_cache.Prefix, ...]:
  """The prompts; a row attends to that of its own place."""
  return tuple(
    kv_cache.Prefix(prompts, visible_B=places_B == place)
    for place, prompts in enumerate(caches.prompts)
  )


def chunk_prefixes(
  caches: Caches,
  prompt_lengths_B: jax.Array,
  lengths_B: jax.Array,
  active_B: jax.Array,
) -> tuple[kv_cache.Prefix, ...]:
  """The tokens of earlier blocks. A chunk beyond the longest active row is not needed.

  Args:
    lengths_B: tokens that each row has. The one with index 0 is the last one of the prompt.
  """
  longest = jnp.max(jnp.where(active_B, lengths_B, 0))
  prefixes, first = [], 0
  kind = 'global' if caches.local_chunks else None
  for chunk in caches.chunks:
    index_1S = first + jnp.arange(_num_slots(chunk))[None]
    keys = _chunk_keys(chunk, index_1S, prompt_lengths_B, lengths_B)
    prefixes.append(kv_cache.Prefix(keys, is_needed=longest > first, kind=kind))
    first += _num_slots(chunk)

  for number, chunk in enumerate(caches.local_chunks):
    slots = _num_slots(chunk)
    # The last chunk of the row that has begun and is stored here; before it, the index is negative.
    last_B = (lengths_B - 1) // slots
    stored_B = last_B - (last_B - number) % len(caches.local_chunks)
    index_BS = stored_B[:, None] * slots + jnp.arange(slots)
    keys = _chunk_keys(chunk, index_BS, prompt_lengths_B, lengths_B)
    is_needed = longest > number * slots
    prefixes.append(kv_cache.Prefix(keys, is_needed=is_needed, kind='local'))
  return tuple(prefixes)


def _num_slots(chunk: kv_cache.Suffix) -> int:
  return jax.tree.leaves(chunk)[0].shape[-2]


def _chunk_keys(
  chunk: kv_cache.Suffix,
  index_BS: jax.Array,
  prompt_lengths_B: jax.Array,
  lengths_B: jax.Array,
) -> kv_cache.KeyValues:
  """The chunk with the positions of its slots; `index_BS` among the tokens of a row."""
  position_BS = (prompt_lengths_B - 1)[:, None] + index_BS
  is_written_BS = (index_BS >= 0) & (index_BS < lengths_B[:, None])
  position_BS = jnp.where(is_written_BS, position_BS, -1)
  return kv_cache.KeyValues(*chunk, position_BS)


def append_block(
  config: DecodeConfig,
  caches: Caches,
  block: kv_cache.KeyValues,
  lengths_B: jax.Array,
) -> Caches:
  """Writes a block to the chunks, after the `lengths_B` tokens that each row had before it.

  Candidates start with a block, so `lengths_B` of active rows are multiples of the block size.
  """
  index_B = lengths_B // config.block_size
  chunks = _write_blocks(config, caches.chunks, block, index_B)
  local_chunks = caches.local_chunks
  if local_chunks:
    slots = sum(map(_num_slots, local_chunks))
    local_index_B = index_B % (slots // config.block_size)
    local_chunks = _write_blocks(config, local_chunks, block, local_index_B)
  return caches._replace(chunks=chunks, local_chunks=local_chunks)


def _write_blocks(
  config: DecodeConfig,
  chunks: tuple[kv_cache.Suffix, ...],
  block: kv_cache.KeyValues,
  index_B: jax.Array,
) -> tuple[kv_cache.Suffix, ...]:
  """Writes the block of row b as block number `index_B[b]` of the chunks."""
  block_size = config.block_size

  def write(
    chunk: jax.Array | None, new: jax.Array, first_block: int
  ) -> jax.Array | None:
    """[..., B, K, S, H] and [..., B, K, block size, H]."""
    if chunk is None:
      return None
    *outer, batch, heads, slots, head_size = chunk.shape
    num_blocks = slots // block_size
    shape = *outer, batch, heads, num_blocks, block_size, head_size
    rows = len(outer)
    blocks = write_entries(
      chunk.reshape(shape),
      new,
      index_B - first_block,
      row_axis=rows,
      entry_axis=rows + 2,
    )
    return blocks.reshape(chunk.shape)

  new_chunks, first_block = [], 0
  for chunk in chunks:
    write_here = functools.partial(write, first_block=first_block)
    new_chunks.append(
      jax.tree.map(
        write_here,
        chunk,
        (block.key, block.value),
        is_leaf=lambda leaf: leaf is None,
      )
    )
    first_block += _num_slots(chunk) // block_size
  return tuple(new_chunks)


def write_entries(
  array: jax.Array,
  new: jax.Array,
  index_B: jax.Array,
  *,
  row_axis: int,
  entry_axis: int,
) -> jax.Array:
  """Returns the array with entry `index_B[b]` of each row b replaced.

  Rows are a batching dimension of the scatter, so devices that hold different rows do not
  communicate. A donated array is updated in place: only the new entries are written.

  Args:
    array: [..., B, ..., E, ...].
    new: the same without E.
    index_B: below 0 or at least E: the row does not change.
    row_axis, entry_axis: of B and E in `array`.
  """
  window = tuple(axis for axis in range(new.ndim) if axis != row_axis)
  dimensions = jax.lax.ScatterDimensionNumbers(
    update_window_dims=window,
    inserted_window_dims=(entry_axis,),
    scatter_dims_to_operand_dims=(entry_axis,),
    operand_batching_dims=(row_axis,),
    scatter_indices_batching_dims=(0,),
  )
  return jax.lax.scatter(
    array,
    index_B[:, None],
    new.astype(array.dtype),
    dimensions,
    indices_are_sorted=True,
    unique_indices=True,
    mode=jax.lax.GatherScatterMode.FILL_OR_DROP,
  )
