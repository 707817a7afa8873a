"""Files of tensors in the safetensors format, read and written one tensor at a time.

  8 bytes: n, little endian | n bytes: json of names, dtypes, shapes, offsets | the numbers

The package of that name writes only what is in memory as a whole, and says of a file that was cut
off only that it was; both matter here.
"""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import json
import math
from typing import Any

from etils import epath
import jax
import ml_dtypes
import numpy as np

from mathft_jax.checkpoints import lazy_params
from mathft_jax.storage import atomic_files, remote_paths

DTYPES = {
  'F32': np.dtype('float32'),
  'F16': np.dtype('float16'),
  'F64': np.dtype('float64'),
  'BF16': np.dtype(ml_dtypes.bfloat16),
  'I64': np.dtype('int64'),
  'I32': np.dtype('int32'),
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 100_000_000  # bytes; the format's own limit
FORMAT_NAME = 'mathft_jax'  # the `format` of a header that we wrote


@dataclasses.dataclass(frozen=True)
class TensorEntry:
  """One tensor in a file."""

  path: epath.Path
  dtype: np.dtype
  shape: tuple[int, ...]
  start: int  # bytes from the beginning of the file

  def read(self) -> np.ndarray:
    """The numbers: a map of the file, or its bytes where the file is remote."""
    count = math.prod(self.shape)
    if not count:
      return np.zeros(self.shape, self.dtype)
    if not remote_paths.is_remote(self.path):
      return np.memmap(self.path, self.dtype, 'r', self.start, self.shape)
    with self.path.open('rb') as file:
      file.seek(self.start)
      return np.frombuffer(
        file.read(count * self.dtype.itemsize), self.dtype
      ).reshape(self.shape)


def read_header(
  path: epath.PathLike,
) -> tuple[dict[str, TensorEntry], dict[str, str]]:
  """(tensors by name, metadata); ValueError for a file that is cut off or of another format."""
  path = epath.Path(path)
  size = path.stat().length
  with path.open('rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
      raise ValueError(
        f'{path} has {size} bytes, its header would need {length + 8}; wanted a '
        'whole safetensors file: it was cut off, or is of another format.'
      )
    try:
      header = json.loads(file.read(length))
    except ValueError as error:
      raise ValueError(
        f'{path}: the header is no json ({error}); wanted a safetensors file.'
      ) from error
  metadata = header.pop('__metadata__', {})
  return {
    name: _entry(path, name, found, 8 + length, size)
    for name, found in header.items()
  }, metadata


def open_safetensors(path: epath.PathLike) -> lazy_params.LazyParams:
  """The parameters of a file that `write` made, or of any other with our flat names."""
  entries, header = read_header(path)

  def read(name: str, layer: int | None) -> np.ndarray:
    array = entries[name].read()
    return array if layer is None else array[layer]

  shapes = {
    name: jax.ShapeDtypeStruct(entry.shape, entry.dtype)
    for name, entry in entries.items()
  }
  return lazy_params.LazyParams(
    shapes, json.loads(header.get('metadata', '{}')), read
  )


def write_safetensors(
  path: epath.PathLike,
  shapes: Mapping[str, Any],
  parts: Iterable[np.ndarray],
  metadata: Mapping[str, str],
) -> epath.Path:
  """The path of a file that appears whole or not at all.

  Args:
    shapes: by name what has a shape and a dtype, in the order of writing.
    parts: the numbers of all tensors in that order; a tensor may come in several parts, by its
      first axis. Each is cast to the dtype of its tensor.
    metadata: of the header, strings.
  """
  path = epath.Path(path)
  with atomic_files.open_atomically(path) as file:
    file.write(_header(shapes, metadata))
    parts = iter(parts)
    for name, each in shapes.items():
      _write_tensor(file, name, each, parts)
  return path


def _write_tensor(
  file: Any, name: str, each: Any, parts: Iterator[np.ndarray]
) -> None:
  left = math.prod(each.shape)
  while left > 0:
    part = next(parts)
    left -= part.size
    array = np.ascontiguousarray(part, dtype=each.dtype)
    file.write(memoryview(array.reshape(-1).view(np.uint8)))
  if left:
    raise ValueError(
      f'{name}: {-left} numbers more than its shape {tuple(each.shape)} holds.'
    )


def _header(shapes: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
  header: dict[str, Any] = {'__metadata__': dict(metadata)}
  start = 0
  for name, each in shapes.items():
    dtype = np.dtype(each.dtype)
    if dtype not in DTYPE_NAMES:
      raise ValueError(
        f'{name} has dtype {dtype}; wanted one of {list(map(str, DTYPE_NAMES))}.'
      )
    end = start + math.prod(each.shape) * dtype.itemsize
    header[name] = {
      'dtype': DTYPE_NAMES[dtype],
      'shape': list(each.shape),
      'data_offsets': [start, end],
    }
    start = end
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)
  return len(text).to_bytes(8, 'little') + text


def _entry(
  path: epath.Path, name: str, found: Mapping[str, Any], first: int, size: int
) -> TensorEntry:
  """One tensor of a header, checked against the file's size."""
  dtype, shape = DTYPES.get(found['dtype']), tuple(found['shape'])
  if dtype is None:
    raise ValueError(
      f'{path}: {name} has dtype {found["dtype"]}; wanted one of {list(DTYPES)}. '
      'Quantised weights are not read.'
    )
  start, end = found['data_offsets']
  if end - start != math.prod(shape) * dtype.itemsize:
    raise ValueError(
      f'{path}: {name} of shape {shape} has {end - start} bytes; wanted '
      f'{math.prod(shape) * dtype.itemsize}.'
    )
  if first + end > size:
    raise ValueError(
      f'{path} is cut off: {name} of shape {shape} ends at byte {first + end}, the '
      f'file at byte {size}. Copy it again.'
    )
  return TensorEntry(path, dtype, shape, first + start)
