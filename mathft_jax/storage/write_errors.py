"""Messages for outputs that cannot be written, and the free space of a disk.

explain(error, path)              one line for an OSError
check_free_space(folder, bytes)   ValueError before a large file is written
"""

import errno
import os
import pathlib
import re
import shutil

from etils import epath

from mathft_jax.storage import local_and_remote_paths

GIB = 1 << 30
# What to do, by error number.
ADVICE = {
  errno.ENOSPC: 'The disk is full. Make room, then run the same command again.',
  errno.EDQUOT: 'The disk quota is used up. Make room, then run the same command again.',
  errno.EFBIG: 'Such large files are not allowed here (`ulimit -f`). Raise the limit, then run '
  'the same command again.',
  errno.EROFS: 'The file system is read-only. Use another folder.',
  errno.EACCES: 'This account has no permission there. Change that or use another folder.',
  errno.EPERM: 'This account has no permission there. Change that or use another folder.',
  errno.ENOTDIR: 'A part of this path is a file. Use another folder or delete that file.',
  errno.EEXIST: 'This path or a part of it is a file. Use another folder or delete that file.',
  errno.EISDIR: 'A file is wanted. Name a file.',
  errno.EIO: 'The disk reports an error. Use another disk.',
  errno.ENAMETOOLONG: 'The name is too long. Use a shorter one.',
}
# The same errors in the messages of libraries that write checkpoints.
LIBRARY_ERRORS = {
  errno.ENOSPC: re.compile('no space left on device', re.I),
  errno.EDQUOT: re.compile('quota exceeded', re.I),
  errno.EFBIG: re.compile('file too large', re.I),
  errno.EROFS: re.compile('read-only file system', re.I),
  errno.EACCES: re.compile('permission denied', re.I),
}
LIBRARY_PATH = re.compile('local file "([^"]+)"')


def explain(error: BaseException, path: epath.PathLike = '') -> str:
  """Returns one line for an error of a file system: path, problem, free space, what to do.

  Returns '' for other errors.

  Args:
    error: an OSError, or an error of a library that contains the text of one.
    path: is named if the error names no file.
  """
  number = _error_number(error)
  if number is None:
    return ''
  named = getattr(error, 'filename', None)
  if in_text := LIBRARY_PATH.search(str(error)):
    named = in_text[1]
  where = os.fspath(named if isinstance(named, str) else path) or 'The output'
  line = f'{where}: {os.strerror(number)}. {ADVICE[number]}'
  if number in (errno.ENOSPC, errno.EDQUOT) and where != 'The output':
    free = free_bytes(where)
    if free is not None:
      line += f' {_gib(free)} are free.'
  if not isinstance(error, OSError):
    first_line = str(error).strip().partition('\n')[0]
    line += f' ({type(error).__name__}: {first_line[:300]})'
  return line


def check_free_space(folder: epath.PathLike, num_bytes: int) -> None:
  """Checks that a local folder's disk has room for an output, before it is written.

  Raises:
    ValueError: it has not; names the bytes needed and free.
  """
  free = free_bytes(folder)
  if free is not None and free < num_bytes:
    raise ValueError(
      f'{folder} needs {_gib(num_bytes)} for the next checkpoint, and {_gib(free)} are free. Make '
      'room, then run the same command again: it resumes.'
    )


def free_bytes(path: epath.PathLike) -> int | None:
  """Returns the free bytes of the disk of a path that may not exist yet; None for a bucket."""
  if local_and_remote_paths.is_remote(path):
    return None
  folder = pathlib.Path(os.path.abspath(path))
  while not folder.exists() and folder != folder.parent:
    folder = folder.parent
  try:
    return shutil.disk_usage(folder).free
  except OSError:
    return None


def _error_number(error: BaseException) -> int | None:
  if isinstance(error, OSError) and error.errno in ADVICE:
    return error.errno
  for number, pattern in LIBRARY_ERRORS.items():
    if pattern.search(str(error)):
      return number
  return None


def _gib(num_bytes: int) -> str:
  return f'{num_bytes / GIB:.3g} GiB'
