"""Decompression of `.gz` and `.zst` files, and errors of damaged files that name the file."""

from collections.abc import Iterator
import contextlib
import csv
import gzip
import io
from typing import Any, BinaryIO, cast
import zlib

from etils import epath

_COMPRESSIONS = ('.gz', '.zst')
_LFS_POINTER = b'version https://git-lfs'


def inner_suffix(path: epath.Path) -> str:
  """Returns the suffix of the format: `.csv` for `a.csv` and for `a.csv.gz`."""
  name = path.name.lower()
  for suffix in _COMPRESSIONS:
    name = name.removesuffix(suffix)
  return epath.Path(name).suffix if name else ''


def decompress(binary: Any, path: epath.Path) -> BinaryIO:
  """Returns a stream of the decompressed bytes of an open file, by the suffix of its name."""
  check_no_lfs_pointer(binary, path)
  suffix = path.suffix.lower()
  if suffix == '.gz':
    return cast(BinaryIO, gzip.open(binary))
  if suffix == '.zst':
    pyarrow = require_pyarrow(path)
    source = pyarrow.PythonFile(binary, mode='r')
    stream = pyarrow.CompressedInputStream(source, 'zstd')
    return cast(BinaryIO, io.BufferedReader(stream, 2**20))
  return binary


def check_no_lfs_pointer(binary: Any, path: epath.Path) -> None:
  """Raises ValueError if an open file is a git lfs pointer; the stream is at its start after it."""
  if binary.read(len(_LFS_POINTER)) == _LFS_POINTER:
    raise ValueError(
      f'{path} is a git lfs pointer, not the file; run `git lfs pull` in its repository.'
    )
  binary.seek(0)


def require_pyarrow(path: epath.PathLike) -> Any:
  """Returns the module pyarrow; ValueError if it is not installed."""
  try:
    import pyarrow
    import pyarrow.ipc
  except ImportError as error:
    raise ValueError(
      f"{path} needs pyarrow: pip install 'mathft_jax[arrow]'. Or convert the file to .jsonl."
    ) from error
  return pyarrow


@contextlib.contextmanager
def named_errors(path: epath.Path) -> Iterator[None]:
  """Context in which errors of decompression, csv and pyarrow become a ValueError with the file."""
  try:
    yield
  except Exception as error:
    if is_damage(error):
      raise damaged_file(path, error) from error
    raise


def damaged_file(
  path: epath.Path, error: Exception, line: str = ''
) -> ValueError:
  """Returns the error of a damaged file; `line` is the place in it, such as ':12'."""
  reason = ' '.join(str(error).split())[:200]
  if isinstance(error, UnicodeDecodeError):
    return ValueError(
      f'{path}{line}: the text is not UTF-8 ({reason}); it may be cut, or in another encoding. '
      'Wanted UTF-8: `iconv -f <encoding> -t UTF-8`.'
    )
  kind = 'file'
  hint = ''
  if path.suffix.lower() in _COMPRESSIONS:
    kind = f'{path.suffix[1:]} file'.replace('gz', 'gzip')
    hint = f' If it is plain text, remove {path.suffix} from its name.'
  return ValueError(
    f'{path}{line}: the {kind} is truncated or damaged ({reason}); wanted a whole file.{hint}'
  )


def is_damage(error: Exception) -> bool:
  """Returns whether an error is about the content of a file, not about its place."""
  kinds = (
    EOFError,
    gzip.BadGzipFile,
    zlib.error,
    csv.Error,
    UnicodeDecodeError,
  )
  if isinstance(error, kinds):
    return True
  from_pyarrow = type(error).__module__.partition('.')[0] == 'pyarrow'
  words = str(error)
  is_zstd = 'ZSTD' in words or 'Truncated compressed stream' in words
  return from_pyarrow or (type(error) is OSError and is_zstd)
