"""Checksums of arrays in checkpoint metadata, and errors of damaged checkpoints.

A checksum is the sum of bits_i * (2 i + 1) mod 2^32 over all elements: every flipped bit changes
it. It does not depend on how an array is sharded or compressed, so a checkpoint can be verified on
any mesh. It is computed on the devices.
"""

from collections.abc import Iterator, Mapping
import contextlib
import hashlib
import json
import re
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.checkpoints.lazy_params import ArrayTree
from mathft_jax.models.config import Json

METADATA_KEY = 'metadata_sha256'
CHUNK = 1 << 22  # elements that are summed at once on the host
# Errors of reading that do not show that a file is damaged.
OTHER_ERRORS = re.compile(
  'RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED|PERMISSION_DENIED|UNAUTHENTICATED'
  '|permission denied|out of memory|too many open files',
  re.I,
)


class DamagedCheckpointError(ValueError):
  """A checkpoint cannot be read, or its contents are not those that were saved."""


def array_checksums(arrays: ArrayTree) -> dict[str, int]:
  """Returns the checksum of each array of a tree, by its path (`layers/attention/query`)."""
  leaves = jax.tree_util.tree_flatten_with_path(arrays)[0]
  on_host, on_devices = {}, {}
  for path, array in leaves:
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    if isinstance(array, jax.Array):
      on_devices[name] = array
    else:
      on_host[name] = host_checksum(np.asarray(array))

  for name, total in jax.device_get(_device_checksums(on_devices)).items():
    on_host[name] = int(total)
  return dict(sorted(on_host.items()))


def check_arrays(
  path: epath.PathLike, arrays: ArrayTree, saved: Mapping[str, int] | None
) -> None:
  """Checks restored arrays; nothing is checked if there are no saved checksums.

  Raises:
    DamagedCheckpointError: an array differs from the one that was saved.
  """
  if saved is None:
    return
  wrong = []
  for name, total in array_checksums(arrays).items():
    if saved.get(name) != total:
      wrong.append(name)
  if wrong:
    raise damaged(path, f'{", ".join(wrong[:3])}: wrong checksum')


def host_checksum(array: np.ndarray) -> int:
  """Returns the checksum of an array in host memory."""
  flat = np.ascontiguousarray(array).reshape(-1)
  if flat.dtype == bool:
    flat = flat.astype(np.uint8)
  words = flat.view(np.dtype(f'u{min(flat.dtype.itemsize, 4)}'))
  total = 0
  for start in range(0, words.size, CHUNK):
    bits = words[start : start + CHUNK].astype(np.uint32)
    index = np.arange(start, start + bits.size, dtype=np.uint64)
    weights = (2 * index + 1).astype(np.uint32)
    total += int((bits * weights).sum(dtype=np.uint32))
  return total % (1 << 32)


@jax.jit
def _device_checksums(arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
  return {name: _device_checksum(array) for name, array in arrays.items()}


def _device_checksum(array: jax.Array) -> jax.Array:
  if array.dtype == jnp.bool_:
    array = array.astype(jnp.uint8)
  word = jnp.dtype(f'u{array.dtype.itemsize}')
  bits = jax.lax.bitcast_convert_type(array, word).astype(jnp.uint32)
  index = jnp.zeros(array.shape, jnp.uint32)
  stride = 1
  for axis in reversed(range(array.ndim)):
    position = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    index += position * np.uint32(stride % (1 << 32))
    stride *= array.shape[axis]
  return jnp.sum(bits * (2 * index + 1), dtype=jnp.uint32)


def seal_metadata(metadata: Json) -> Json:
  """Returns metadata with a checksum of itself."""
  return {**metadata, METADATA_KEY: _digest(metadata)}


def parse_metadata(path: epath.PathLike, text: str) -> dict[str, Any]:
  """Returns the metadata of a checkpoint, without its checksum.

  Raises:
    DamagedCheckpointError: it is not valid JSON, or differs from what was saved.
  """
  try:
    metadata = json.loads(text)
  except ValueError as error:
    raise damaged(path, f'its metadata is not valid JSON ({error})') from error
  if not isinstance(metadata, dict):
    raise damaged(path, 'its metadata is not a JSON object')
  saved = metadata.pop(METADATA_KEY, None)
  if saved is not None and saved != _digest(metadata):
    raise damaged(path, 'its metadata has a wrong checksum')
  return metadata


@contextlib.contextmanager
def reading(path: epath.PathLike) -> Iterator[None]:
  """Turns errors of libraries that read a damaged file into DamagedCheckpointError."""
  try:
    yield
  except (DamagedCheckpointError, MemoryError, PermissionError):
    raise
  except Exception as error:
    if OTHER_ERRORS.search(str(error)):
      raise
    first_line = str(error).strip().partition('\n')[0][:200]
    reason = f'{type(error).__name__}: {first_line}'
    raise damaged(path, reason) from error


def damaged(path: epath.PathLike, reason: str) -> DamagedCheckpointError:
  """Returns the error for a damaged checkpoint."""
  return DamagedCheckpointError(
    f'Checkpoint {path} is damaged ({reason}). Delete this folder and run its training again: it '
    'resumes from the checkpoint before, if there is one.'
  )


def _digest(metadata: Json) -> str:
  text = json.dumps(metadata, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
