"""Atomic writes: a file appears under its name complete, or not at all.

  with open_atomically(path) as file:
    file.write(data)

The data is written to `<name>.partial` and then moved. This works on local disks and in buckets.
"""

from collections.abc import Iterator
import contextlib
from typing import BinaryIO, cast

from etils import epath


@contextlib.contextmanager
def open_atomically(path: epath.PathLike) -> Iterator[BinaryIO]:
  """Opens a binary file for writing. It gets its name when the block ends without an error.

  Args:
    path: local or in a bucket. Missing parent folders are created; an existing file is replaced.
  """
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.parent / f'{path.name}.partial'

  with partial.open('wb') as file:
    yield cast(BinaryIO, file)

  partial.replace(path)


def write_text_atomically(path: epath.PathLike, text: str) -> epath.Path:
  """Writes a text file in one step (UTF-8) and returns its path."""
  with open_atomically(path) as file:
    file.write(text.encode('utf-8'))

  return epath.Path(path)
