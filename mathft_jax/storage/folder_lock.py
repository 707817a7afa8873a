"""Locks of output folders: two runs must not write to one folder.

  lock = FolderLock(folder, program='train.train', on_lost=stop_this_process)
  lock.acquire()     # ValueError if a running process holds the lock
  ...
  lock.release()

A lock is a lease, stored as `<folder>/run.lock`: a JSON object that names the holder. A thread of
the holder renews it every RENEW_S. A lock that is not renewed for STALE_S is taken over. Processes
of this machine are looked up by pid instead, so the lock of a dead one is taken over at once. A pid
of another machine or container proves nothing. Works on local and shared disks and in buckets.
"""

from collections.abc import Callable
import datetime
import json
import os
import pathlib
import socket
import sys
import threading
import time
import uuid

from absl import logging
from etils import epath

from mathft_jax.storage import local_and_remote_paths, write_errors

LOCK_FILE = 'run.lock'
RENEW_S = 10.0
STALE_S = 60.0
POLL_S = 1.0
# After a lock is replaced: by then, every other process that found the old one has replaced it too.
SETTLE_S = 0.5

Version = tuple[bytes, int]  # contents of a lock file, modification time in ns


class FolderLock:
  """The lock of one folder.

  Args:
    folder: local or in a bucket; it is created if it does not exist.
    program: name of the program, for messages of other processes.
    on_lost: is called with a message, in a thread, if another process has taken the lock over.
  """

  def __init__(
    self,
    folder: epath.PathLike,
    *,
    program: str,
    on_lost: Callable[[str], None],
  ):
    self.folder = local_and_remote_paths.absolute_path(folder)
    self._path = self.folder / LOCK_FILE
    self._is_remote = local_and_remote_paths.is_remote(folder)
    self._on_lost = on_lost
    self._released = threading.Event()
    # A renewal that overlaps with the release would create the deleted file again.
    self._mutex = threading.RLock()
    self._made_folder = False
    self._owner = uuid.uuid4().hex
    self._holder: dict[str, object] = {
      'owner': self._owner,
      'program': program,
      'pid': os.getpid(),
      'host': socket.gethostname(),
      'started': f'{datetime.datetime.now(datetime.timezone.utc):%F %T} UTC',
      'machine': _machine(),
      'process_started': _process_state(os.getpid())[1],
    }

  def acquire(self) -> None:
    """Takes the lock and starts to renew it.

    Waits at most STALE_S if the holder may be a process of another machine that no longer runs.

    Raises:
      ValueError: another process holds the lock, or the folder cannot be written.
    """
    try:
      self._made_folder = not self._is_remote and not self.folder.exists()
      self.folder.mkdir(parents=True, exist_ok=True)
      while not self._create():
        found = self._read()
        if found is None:
          continue  # released meanwhile
        self._wait_until_abandoned(found)
        if self._take_over():
          break
      self._remove_temporary_files()
    except OSError as error:
      reason = write_errors.explain(error, self.folder)
      raise ValueError(reason or f'{self.folder}: {error}') from error
    threading.Thread(target=self._renew_until_released, daemon=True).start()

  def release(self) -> None:
    """Deletes the lock file, if it is still that of this lock, and a new folder that is empty."""
    self._released.set()
    with self._mutex:
      try:
        if self._is_mine(self._read()):
          self._path.unlink(missing_ok=True)
          if self._made_folder and not any(self.folder.iterdir()):
            self.folder.rmdir()  # of a run that was refused
      except OSError as error:
        logging.warning('%s cannot be deleted: %s', self._path, error)

  def _contents(self, renewals: int = 0) -> bytes:
    return json.dumps(self._holder | {'renewals': renewals}).encode() + b'\n'

  def _create(self) -> bool:
    """Creates the lock file; False if there is one."""
    if self._is_remote:
      return _create_object(str(self._path), self._contents())
    try:
      descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
      return False
    try:
      with os.fdopen(descriptor, 'wb') as file:
        file.write(self._contents())
    except OSError:
      os.unlink(self._path)
      raise
    return True

  def _read(self) -> Version | None:
    """Returns the lock file; None if there is none. Opening it makes shared disks show changes."""
    try:
      if self._is_remote:
        return self._path.read_bytes(), 0
      with open(self._path, 'rb') as file:
        return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
      return None

  def _is_mine(self, found: Version | None) -> bool:
    return found is not None and _parse(found).get('owner') == self._owner

  def _wait_until_abandoned(self, found: Version) -> None:
    """Returns if the holder no longer runs; raises ValueError if it runs."""
    holder = _parse(found)
    if holder.get('machine') == self._holder['machine']:
      if _is_running(holder):
        raise ValueError(self._refusal(holder))
      logging.warning(
        '%s: process %s of an earlier run no longer runs; its lock is taken over.',
        self.folder,
        holder.get('pid'),
      )
      return

    logging.warning(
      '%s is locked by %s. It has stopped if it does not renew the lock within %.0f s: waiting.',
      self.folder,
      _describe(holder),
      STALE_S,
    )
    end = time.monotonic() + STALE_S
    while time.monotonic() < end:
      time.sleep(POLL_S)
      now = self._read()
      if now is None:
        return
      if now != found:
        raise ValueError(self._refusal(_parse(now)))

  def _refusal(self, holder: dict[str, object]) -> str:
    return (
      f'{self.folder} is in use by another run: {_describe(holder)}. Wait for its end or stop it, '
      'or use another folder.'
    )

  def _take_over(self) -> bool:
    """Replaces the lock file; False if another process was faster."""
    if self._is_remote:
      self._path.write_bytes(self._contents())
    else:
      temporary = f'{self._path}.{self._owner}'
      pathlib.Path(temporary).write_bytes(self._contents())
      os.replace(temporary, self._path)
    time.sleep(SETTLE_S)
    return self._is_mine(self._read())

  def _remove_temporary_files(self) -> None:
    if not self._is_remote:
      for path in self.folder.glob(f'{LOCK_FILE}.*'):  # of killed processes
        path.unlink(missing_ok=True)

  def _renew_until_released(self) -> None:
    renewals = 0
    while not self._released.wait(RENEW_S):
      renewals += 1
      try:
        other = self._renew(renewals)
      except Exception as error:  # noqa: BLE001 (each client raises its own exceptions)
        logging.warning('%s cannot be renewed: %s', self._path, error)
        continue
      if other is not None:
        self._on_lost(self._refusal(_parse(other)))
        return

  def _renew(self, renewals: int) -> Version | None:
    """Renews the lock file; returns it instead if it is another process's."""
    with self._mutex:
      if self._released.is_set():
        return None
      found = self._read()
      if found is None:
        self._create()  # someone has deleted the file
      elif not self._is_mine(found):
        return found
      elif self._is_remote:
        self._path.write_bytes(self._contents(renewals))
      else:
        os.utime(self._path)  # needs no space on the disk
      return None


def _create_object(path: str, contents: bytes) -> bool:
  """Creates an object in a bucket; False if there is one."""
  import fsspec  # only installed with the clients of buckets

  filesystem, name = fsspec.url_to_fs(path)
  if filesystem.exists(name):
    return False
  try:
    filesystem.pipe_file(name, contents, mode='create')
  except FileExistsError:
    return False
  return True


def _parse(found: Version) -> dict[str, object]:
  """Returns the holder that a lock file names; {} if the file is damaged."""
  try:
    holder = json.loads(found[0])
  except ValueError:
    return {}
  return holder if isinstance(holder, dict) else {}


def _describe(holder: dict[str, object]) -> str:
  if not holder:
    return 'an unknown process (the lock file is damaged)'
  return (
    f'process {holder.get("pid")} on {holder.get("host")}, {holder.get("program")}, started '
    f'{holder.get("started")}'
  )


def _machine() -> str:
  """Identifies the processes whose pids this process can look up: machine, boot, container."""
  if not sys.platform.startswith('linux'):
    return socket.gethostname()
  boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
  return f'{boot} {os.readlink("/proc/self/ns/pid")}'


def _is_running(holder: dict[str, object]) -> bool:
  """Whether the holder, a process of this machine, runs. A pid may have been reused."""
  pid = holder.get('pid')
  if not isinstance(pid, int):
    return False
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    pass  # a process of another user
  state, started = _process_state(pid)
  if state in ('Z', 'X'):  # killed; its parent has not read its status
    return False
  known = started is not None and holder.get('process_started') is not None
  return not known or started == holder['process_started']


def _process_state(pid: int) -> tuple[str | None, int | None]:
  """Returns state and start time (ticks since boot) of a process; None where unknown."""
  try:
    text = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except OSError:
    return None, None
  fields = text.rpartition(')')[2].split()
  return fields[0], int(fields[19])
