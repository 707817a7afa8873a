"""Paths in buckets (`gs://`): whether they can be written, and what to do when not.

A bucket has objects and no folders. An object appears whole when its writing ends, so a file needs
no care; but nothing can be appended to it, and no folder be renamed in one step. So an output of
several objects has one that is written last, is deleted first, and without which it does not count:
`commit_success.txt` of a checkpoint, config.json of a Hugging Face folder, report.json of a report.
"""

import importlib.util
import os

from etils import epath

CLIENTS = {'gs': 'gcsfs'}  # the package that reads and writes such paths
INSTALL = "pip install 'mathft_jax[gcs]'"


def is_remote(path: epath.PathLike) -> bool:
  """Whether a path has a scheme, `gs://`."""
  return '://' in os.fspath(path)


def find_files(folder: epath.PathLike, name: str) -> list[epath.Path]:
  """All files of that name in a folder and below, sorted; none where there is no such folder."""
  folder = epath.Path(folder)
  found = [
    str(parent / name) for parent, _, names in folder.walk() if name in names
  ]
  scheme = f'{str(folder).partition("://")[0]}://' if is_remote(folder) else ''
  return sorted(
    epath.Path(path if is_remote(path) else scheme + path) for path in found
  )


def check_remote_clients(text: str, where: str = '') -> None:
  """ValueError where a path in the text needs a package that is not installed."""
  for scheme, package in CLIENTS.items():
    if f'{scheme}://' in text and importlib.util.find_spec(package) is None:
      raise ValueError(
        f'{where or text}: paths of {scheme}:// need the package {package}, which '
        f'is not installed: {INSTALL}'
      )


def check_writable(folder: epath.PathLike) -> None:
  """ValueError for a folder of a bucket that cannot be written, before time is wasted.

  Writes and deletes one small object. Folders on a disk are not tried.
  """
  if not is_remote(folder):
    return
  check_remote_clients(os.fspath(folder))
  trial = epath.Path(folder) / f'write_trial.{os.getpid()}'
  try:
    trial.write_text('')
    trial.unlink()
  except Exception as error:  # noqa: BLE001 (client, login and transport have their own)
    raise ValueError(
      f'{folder} cannot be written ({type(error).__name__}: {error}). Wanted a bucket that '
      'exists and an account that may create and delete objects in it. Sign in with `gcloud auth '
      'application-default login`; on a machine of Google Cloud its service account is used.'
    ) from error
