"""Locks on the output folders of a run, held by the primary process for all processes.

  with locked_folders.hold(workdir):
    ...

A folder that this run holds already is not locked again, so stages of a recipe may write to the
folder of the recipe.
"""

from collections.abc import Iterator
import contextlib
import os
import sys

from etils import epath

from mathft_jax.distributed import processes
from mathft_jax.storage import folder_lock, local_and_remote_paths

# The locks of this run by folder; None in processes that are not the primary one.
_held: dict[str, folder_lock.FolderLock | None] = {}


@contextlib.contextmanager
def hold(folder: epath.PathLike, program: str = '') -> Iterator[None]:
  """Holds the lock of an output folder.

  All processes of the run call this.

  Args:
    folder: is created if it does not exist.
    program: name for messages of other processes.

  Raises:
    ValueError: another run writes to this folder, or the folder cannot be written.
  """
  key = os.fspath(local_and_remote_paths.absolute_path(folder))
  if key in _held:
    yield
    return

  lock = folder_lock.FolderLock(
    folder,
    program=program or os.path.basename(sys.argv[0]) or 'python',
    on_lost=_stop_this_run,
  )
  processes.run_on_primary(f'lock of {key}', lock.acquire)
  _held[key] = lock if processes.is_primary() else None
  try:
    yield
  finally:
    del _held[key]
    if processes.is_primary():
      lock.release()


def _stop_this_run(reason: str) -> None:
  print(f'This run has lost its lock. {reason}', file=sys.stderr, flush=True)
  processes.abort_all_processes(reason, 1)
  processes.exit_now(1)


def _release_all() -> None:
  for lock in list(_held.values()):
    if lock is not None:
      lock.release()


processes.call_before_exit(_release_all)
