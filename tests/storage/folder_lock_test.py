"""Locks of folders: refused, taken over, renewed, lost, released; local and in a bucket."""

import json
import os
import subprocess
import sys
import threading
import time

from etils import epath
import pytest

from mathft_jax.distributed import locked_folders
from mathft_jax.storage import folder_lock

HOLDER = """
import sys, time
from mathft_jax.storage import folder_lock
lock = folder_lock.FolderLock(sys.argv[1], program='train', on_lost=print)
lock.acquire()
print('held', flush=True)
time.sleep(100)
"""
MADE = []


@pytest.fixture(autouse=True)
def made_locks(monkeypatch):
  """Makes all waits short, and releases the locks that a test has made."""
  monkeypatch.setattr(folder_lock, 'RENEW_S', 0.2)
  monkeypatch.setattr(folder_lock, 'STALE_S', 1.5)
  monkeypatch.setattr(folder_lock, 'POLL_S', 0.05)
  monkeypatch.setattr(folder_lock, 'SETTLE_S', 0.1)
  yield
  while MADE:
    MADE.pop().release()


@pytest.fixture(params=['disk', 'bucket'])
def folder(request, tmp_path):
  if request.param == 'disk':
    return epath.Path(tmp_path) / 'run'
  return epath.Path(request.getfixturevalue('bucket')[0]) / 'run'


def make_lock(folder, lost=None):
  on_lost = [].append if lost is None else lost.append
  lock = folder_lock.FolderLock(folder, program='score', on_lost=on_lost)
  MADE.append(lock)
  return lock


def on_another_machine(lock):
  lock._holder |= {'machine': 'another one', 'host': 'node7', 'pid': 123}
  return lock


def test_a_second_run_is_refused_at_once_with_the_first(tmp_path):
  process = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path)],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  assert process.stdout.readline() == 'held\n'
  start = time.monotonic()
  with pytest.raises(
    ValueError, match=f'process {process.pid} on .*started 20'
  ):
    make_lock(tmp_path).acquire()
  assert time.monotonic() - start < 1

  process.kill()
  # Not waited for yet: a killed process that its parent has not noticed counts as dead.
  while '(zombie)' not in _status(process.pid):
    time.sleep(0.01)
  lock = make_lock(tmp_path)
  start = time.monotonic()
  lock.acquire()
  assert time.monotonic() - start < 1
  process.wait()
  lock.release()
  assert list(tmp_path.iterdir()) == []


def _status(pid):
  return epath.Path(f'/proc/{pid}/status').read_text()


def test_a_reused_pid_does_not_keep_the_lock(tmp_path):
  old = make_lock(tmp_path)
  old._holder['process_started'] = 1
  (tmp_path / 'run.lock').write_bytes(old._contents())
  lock = make_lock(tmp_path)
  lock.acquire()
  lock.release()


def test_a_live_lease_of_another_machine_is_refused(folder):
  first = on_another_machine(make_lock(folder))
  first.acquire()
  with pytest.raises(ValueError, match='process 123 on node7, score, started'):
    make_lock(folder).acquire()
  first.release()
  make_lock(folder).acquire()


def test_a_lease_of_another_machine_is_taken_over_when_it_is_not_renewed(
  folder,
):
  folder.mkdir(parents=True, exist_ok=True)
  dead = on_another_machine(make_lock(folder))
  (folder / 'run.lock').write_bytes(dead._contents())
  lock = make_lock(folder)
  start = time.monotonic()
  lock.acquire()
  assert 1.5 <= time.monotonic() - start < 10
  lock.release()
  assert not (folder / 'run.lock').exists()


def test_one_of_two_that_wait_gets_the_lock(folder):
  folder.mkdir(parents=True, exist_ok=True)
  dead = on_another_machine(make_lock(folder))
  (folder / 'run.lock').write_bytes(dead._contents())
  results = []

  def acquire():
    try:
      make_lock(folder).acquire()
      results.append('held')
    except ValueError as error:
      results.append(str(error))

  threads = [threading.Thread(target=acquire) for _ in range(3)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert results.count('held') == 1
  assert sum('is in use by another run' in each for each in results) == 2


def test_a_holder_that_has_lost_its_lock_is_stopped(folder):
  lost = []
  lock = make_lock(folder, lost)
  lock.acquire()
  other = on_another_machine(make_lock(folder))
  (folder / 'run.lock').write_bytes(other._contents())
  end = time.monotonic() + 20
  while not lost and time.monotonic() < end:
    time.sleep(0.05)
  assert 'is in use by another run: process 123 on node7' in lost[0]
  lock.release()
  assert (folder / 'run.lock').exists()  # it is the other one's


def test_a_renewal_during_the_release_does_not_create_the_file_again(folder):
  lock = make_lock(folder)
  lock.acquire()
  read = lock._read
  reads = []

  def slow_read():
    found = read()
    reads.append(found)
    time.sleep(0.3)
    return found

  lock._read = slow_read
  while not reads:  # the thread has read the file and renews it soon
    time.sleep(0.01)
  lock.release()
  time.sleep(0.5)
  assert not (folder / 'run.lock').exists()


@pytest.mark.parametrize('contents', [b'', b'{"pid": ', b'[]', b'\xff\x00'])
def test_a_damaged_lock_file_counts_as_one_of_another_machine(
  tmp_path, contents
):
  (tmp_path / 'run.lock').write_bytes(contents)
  lock = make_lock(tmp_path)
  lock.acquire()
  assert json.loads((tmp_path / 'run.lock').read_bytes())['pid'] == os.getpid()
  lock.release()


def test_a_new_folder_is_deleted_if_nothing_was_written(tmp_path):
  (tmp_path / 'old').mkdir()
  for name in ('old', 'refused', 'used'):
    with locked_folders.hold(tmp_path / name):
      if name == 'used':
        (tmp_path / name / 'output').write_text('')
  assert sorted(path.name for path in tmp_path.iterdir()) == ['old', 'used']


def test_a_folder_held_by_this_run_is_not_locked_twice(tmp_path):
  with locked_folders.hold(tmp_path), locked_folders.hold(tmp_path):
    assert (tmp_path / 'run.lock').exists()
  assert not (tmp_path / 'run.lock').exists()


@pytest.mark.parametrize('below', [False, True])
def test_an_output_path_that_is_a_file_or_below_one_is_refused(tmp_path, below):
  file = tmp_path / 'file'
  file.write_text('')
  path = file / 'run' if below else file
  with pytest.raises(ValueError, match=r'file.*delete that file') as found:
    with locked_folders.hold(path):
      pass
  assert '\n' not in str(found.value)
