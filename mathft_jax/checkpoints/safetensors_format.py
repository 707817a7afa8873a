"""Reads and writes safetensors files one tensor at a time.

  8 bytes: header length n, little endian | n bytes: JSON of names, dtypes, shapes, offsets | data

The `safetensors` package only writes files that are completely in memory, and its error for a
truncated file names neither file nor tensor.
"""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import json
import math
from typing import Any, BinaryIO, Protocol

from etils import epath
import jax
import ml_dtypes
import numpy as np

from mathft_jax.checkpoints import lazy_params
from mathft_jax.storage import (
  atomic_files,
  json_files,
  local_and_remote_paths,
)

DTYPES = {
  'F32': np.dtype('float32'),
  'F16': np.dtype('float16'),
  'F64': np.dtype('float64'),
  'BF16': np.dtype(ml_dtypes.bfloat16),
  'I64': np.dtype('int64'),
  'I32': np.dtype('int32'),
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 100_000_000  # limit of the format
# `format` in the header of files that this package writes.
FORMAT_NAME = 'mathft_jax'


class HasShape(Protocol):
  """An array or a jax.ShapeDtypeStruct."""

  @property
  def shape(self) -> tuple[int, ...]: ...

  @property
  def dtype(self) -> np.dtype: ...


@dataclasses.dataclass(frozen=True)
class TensorEntry:
  """One tensor of a file; `start` is its offset from the beginning of the file, in bytes."""

  path: epath.Path
  dtype: np.dtype
  shape: tuple[int, ...]
  start: int

  def read(self) -> np.ndarray:
    """Returns the tensor: a memory map of a local file, or the bytes of a remote file."""
    size = math.prod(self.shape)
    if not size:
      return np.zeros(self.shape, self.dtype)
    if not local_and_remote_paths.is_remote(self.path):
      return np.memmap(self.path, self.dtype, 'r', self.start, self.shape)
    with self.path.open('rb') as file:
      file.seek(self.start)
      data = file.read(size * self.dtype.itemsize)
    return np.frombuffer(data, self.dtype).reshape(self.shape)


def read_header(
  path: epath.PathLike,
) -> tuple[dict[str, TensorEntry], dict[str, str]]:
  """Returns the tensors of a file by name, and the metadata of its header.

  Raises:
    ValueError: the file is truncated or not a safetensors file.
  """
  path = epath.Path(path)
  file_size = path.stat().length
  with path.open('rb') as file:
    start = file.read(len(json_files.LFS_POINTER))
    if start == json_files.LFS_POINTER:
      raise ValueError(
        f'{path} is a git lfs pointer, not the file; run `git lfs pull` in its repository.'
      )
    file.seek(8)
    header_size = int.from_bytes(start[:8], 'little')
    if file_size < 8 or header_size > min(MAX_HEADER_BYTES, file_size - 8):
      raise ValueError(
        f'{path} is not a complete safetensors file: it has {file_size} bytes, its '
        f'header would need {header_size + 8}. It is truncated or has another format.'
      )
    try:
      header = json.loads(file.read(header_size))
    except ValueError as error:
      raise ValueError(
        f'{path} is not a safetensors file: its header is not valid JSON ({error}).'
      ) from error

  if not isinstance(header, dict):
    raise ValueError(
      f'{path} is not a safetensors file: its header is no JSON object.'
    )
  metadata = header.pop('__metadata__', {})
  entries = {}
  for name, fields in header.items():
    try:
      entries[name] = _make_entry(
        path, name, fields, 8 + header_size, file_size
      )
    except (KeyError, TypeError) as error:
      raise ValueError(
        f'{path} is not a safetensors file: the entry of {name} in its header is '
        f'{str(fields)[:100]}; wanted dtype, shape and data_offsets.'
      ) from error
  return entries, metadata


def open_safetensors(path: epath.PathLike) -> lazy_params.LazyParams:
  """Returns the parameters of a file with flat parameter names."""
  entries, header = read_header(path)

  def read_array(name: str, layer: int | None) -> np.ndarray:
    array = entries[name].read()
    return array if layer is None else array[layer]

  shapes = {}
  for name, entry in entries.items():
    shapes[name] = jax.ShapeDtypeStruct(entry.shape, entry.dtype)
  try:
    metadata = json.loads(header.get('metadata', '{}'))
  except ValueError as error:
    raise ValueError(
      f'{path}: the metadata in its header are not valid JSON ({error}).'
    ) from error
  return lazy_params.LazyParams(shapes, metadata, read_array)


def write_safetensors(
  path: epath.PathLike,
  shapes: Mapping[str, HasShape],
  arrays: Iterable[np.ndarray],
  metadata: Mapping[str, str],
) -> epath.Path:
  """Writes a file atomically and returns its path.

  Args:
    shapes: shape and dtype by name, in the order of writing.
    arrays: the values of all tensors in this order. A tensor may be split on its first axis. Each
      array is cast to the dtype of its tensor.
    metadata: of the header.

  Raises:
    ValueError: the format does not have a dtype, or an array does not fit its tensor.
  """
  path = epath.Path(path)
  arrays = iter(arrays)
  with atomic_files.open_atomically(path) as file:
    file.write(_make_header(shapes, metadata))
    for name, tensor in shapes.items():
      _write_tensor(file, name, tensor, arrays)
  return path


def _write_tensor(
  file: BinaryIO, name: str, tensor: HasShape, arrays: Iterator[np.ndarray]
) -> None:
  missing = math.prod(tensor.shape)
  while missing > 0:
    array = next(arrays)
    missing -= array.size
    array = np.ascontiguousarray(array, dtype=tensor.dtype)
    file.write(array.reshape(-1).view(np.uint8).data)
  if missing:
    raise ValueError(
      f'{name}: its arrays have {-missing} values more than its shape '
      f'{tuple(tensor.shape)}.'
    )


def _make_header(
  shapes: Mapping[str, HasShape], metadata: Mapping[str, str]
) -> bytes:
  header: dict[str, Any] = {'__metadata__': dict(metadata)}
  start = 0
  for name, tensor in shapes.items():
    dtype = np.dtype(tensor.dtype)
    if dtype not in DTYPE_NAMES:
      raise ValueError(
        f'{name} has dtype {dtype}; it must be one of {list(map(str, DTYPE_NAMES))}.'
      )
    stop = start + math.prod(tensor.shape) * dtype.itemsize
    header[name] = {
      'dtype': DTYPE_NAMES[dtype],
      'shape': list(tensor.shape),
      'data_offsets': [start, stop],
    }
    start = stop

  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)
  return len(text).to_bytes(8, 'little') + text


def _make_entry(
  path: epath.Path,
  name: str,
  fields: Mapping[str, Any],
  data_start: int,
  file_size: int,
) -> TensorEntry:
  """Returns one tensor of a header after checks against its shape and the size of the file."""
  shape = tuple(fields['shape'])
  dtype = DTYPES.get(fields['dtype'])
  if dtype is None:
    raise ValueError(
      f'{path}: {name} has dtype {fields["dtype"]}; it must be one of {list(DTYPES)}. '
      'Quantized weights are not supported.'
    )

  start, stop = fields['data_offsets']
  num_bytes = math.prod(shape) * dtype.itemsize
  if stop - start != num_bytes:
    raise ValueError(
      f'{path}: {name} of shape {shape} has {stop - start} bytes; it must have {num_bytes}.'
    )
  if data_start + stop > file_size:
    raise ValueError(
      f'{path} is truncated: {name} of shape {shape} ends at byte {data_start + stop}, the '
      f'file at byte {file_size}. Copy it again.'
    )
  return TensorEntry(path, dtype, shape, data_start + start)
