"""The caches of decode rows: entries are written in place, on the device that holds the row."""

import functools

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from mathft_jax.inference import decode_caches

LAYERS, ROWS, HEADS, ENTRIES, SIZE = 3, 8, 2, 5, 6
INDEX_B = np.array([4, -1, 5, 0, 2, 2, 0, 7], np.int32)


@functools.partial(jax.jit, donate_argnums=0)
def write(array: jax.Array, new: jax.Array, index_B: jax.Array) -> jax.Array:
  return decode_caches.write_entries(
    array, new, index_B, row_axis=1, entry_axis=3
  )


def test_writes_one_entry_of_each_row_and_none_outside() -> None:
  rng = np.random.default_rng(0)
  array = rng.normal(size=(LAYERS, ROWS, HEADS, ENTRIES, SIZE))
  new = rng.normal(size=(LAYERS, ROWS, HEADS, SIZE))
  wanted = array.astype(np.float32)
  for row, index in enumerate(INDEX_B):
    if 0 <= index < ENTRIES:
      wanted[:, row, :, index] = new[:, row]
  written = write(
    jax.numpy.asarray(array, np.float32),
    jax.numpy.asarray(new, np.float32),
    INDEX_B,
  )
  np.testing.assert_array_equal(written, wanted)


def test_devices_do_not_communicate() -> None:
  mesh = Mesh(np.array(jax.devices()[:8]).reshape(4, 2), ('data', 'model'))

  def array(
    axes: tuple[str | None, ...], *shape: int, dtype: type = np.float32
  ) -> jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  axes = None, 'data', 'model'
  program = write.lower(
    array(axes, LAYERS, ROWS, HEADS, ENTRIES, SIZE),
    array(axes, LAYERS, ROWS, HEADS, SIZE),
    array(('data',), ROWS, dtype=np.int32),
  ).compile()
  text, memory = program.as_text(), program.memory_analysis()
  assert text is not None and memory is not None
  for name in ('all-gather', 'all-reduce', 'all-to-all', 'collective-permute'):
    assert name not in text
  # The array is donated, and nothing of its size is allocated beside it.
  array_bytes = 4 * LAYERS * ROWS * HEADS * ENTRIES * SIZE // 8
  assert memory.alias_size_in_bytes == array_bytes
  assert memory.temp_size_in_bytes < array_bytes
