"""The folder in which jax stores compiled programs for later processes.

  set_folder('runs/compiled')     # --compilation_cache_dir
  use_default_folder()            # unless a flag or jax's own variables say something else

jax reads these settings at its import and before its first compilation.
"""

import hashlib
import os
import pathlib
import platform
import sys

from absl import logging

from mathft_jax.distributed import processes

OFF = 'off'  # value of --compilation_cache_dir
FOLDER_VARIABLE = 'JAX_COMPILATION_CACHE_DIR'
ENABLE_VARIABLE = 'JAX_ENABLE_COMPILATION_CACHE'
MIN_SECONDS_VARIABLE = 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'

# Faster compilations are not stored: reading them takes about as long.
MIN_COMPILE_SECONDS = 0.1
# At the start of a program the default folder is reduced to this size.
MAX_BYTES = 4 * 2**30


def set_folder(folder: str) -> None:
  """Stores compiled programs in a folder, which may be a bucket; 'off': nowhere."""
  if folder == OFF:
    _set_variable(ENABLE_VARIABLE, 'false', False)
    return
  _set_variable(FOLDER_VARIABLE, folder, folder)


def use_default_folder() -> None:
  """Stores compiled programs in the user's cache directory if no folder has been set.

  Runs with several processes do not use it: jax writes the cache on the primary process only, so
  the other machines would compile what it reads.
  """
  if os.environ.get(FOLDER_VARIABLE) or processes.process_count() > 1:
    return
  folder = default_folder()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    delete_oldest_files(folder, MAX_BYTES)
  except OSError as error:
    logging.warning(
      'Compiled programs are not stored: %s. Set --compilation_cache_dir to a folder that '
      'can be written, or to %s.',
      error,
      OFF,
    )
    return

  _set_variable(FOLDER_VARIABLE, str(folder), str(folder))
  if MIN_SECONDS_VARIABLE not in os.environ:
    _set_variable(
      MIN_SECONDS_VARIABLE, str(MIN_COMPILE_SECONDS), MIN_COMPILE_SECONDS
    )


def default_folder() -> pathlib.Path:
  """Returns $XDG_CACHE_HOME/mathft_jax/compiled/<kind of CPU>; ~/.cache without the variable.

  Programs for CPUs use the instructions of the CPU that compiled them. jax's keys do not contain
  these, and machines with different CPUs may share a home directory.
  """
  root = os.environ.get('XDG_CACHE_HOME')
  parent = pathlib.Path(root) if root else pathlib.Path.home() / '.cache'
  digest = hashlib.sha256(_cpu_features().encode()).hexdigest()[:8]
  return parent / 'mathft_jax' / 'compiled' / f'{platform.machine()}-{digest}'


def delete_oldest_files(folder: pathlib.Path, max_bytes: int) -> None:
  """Deletes the files that were not used for the longest time, until `max_bytes` are left."""
  files = []
  for path in folder.iterdir():
    stat = path.stat()
    files.append((max(stat.st_atime, stat.st_mtime), stat.st_size, path))

  num_bytes = sum(size for _, size, _ in files)
  for _, size, path in sorted(files):
    if num_bytes <= max_bytes:
      return
    path.unlink(missing_ok=True)
    num_bytes -= size


def _cpu_features() -> str:
  """Returns the line of /proc/cpuinfo with the CPU's instructions, or the processor's name."""
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text()
  except OSError:
    return platform.processor()
  for line in text.splitlines():
    if line.startswith(('flags', 'Features')):
      return line
  return platform.processor()


def _set_variable(name: str, text: str, value: object) -> None:
  """Sets a variable of jax, also if jax has already read the environment."""
  os.environ[name] = text
  if 'jax' in sys.modules:
    sys.modules['jax'].config.update(name.lower(), value)
