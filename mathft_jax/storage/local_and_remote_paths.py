"""Functions of paths that may be local or in a bucket (`gs://`).

A bucket contains objects and no folders. An object appears complete when its upload ends. Nothing
can be appended to an object, and a folder cannot be renamed in one step. Therefore an output of
several objects has one object that is written last and deleted first; the output counts only if
that object exists: `commit_success.txt` of a checkpoint, `config.json` of a Hugging Face folder,
`report.json` of a report.
"""

import difflib
import importlib.util
import os
import re

from etils import epath

# URL scheme -> the Python package that reads and writes it.
CLIENTS = {'gs': 'gcsfs'}
INSTALL = "pip install 'mathft_jax[gcs]'"


def is_remote(path: epath.PathLike) -> bool:
  """Whether a path is a URL such as `gs://bucket/file`."""
  return '://' in os.fspath(path)


def absolute_path(path: epath.PathLike) -> epath.Path:
  """The absolute form of a local path; a remote path unchanged."""
  return epath.Path(path if is_remote(path) else os.path.abspath(path))


def relative_path(path: epath.PathLike, folder: epath.PathLike) -> str:
  """A local path relative to a local folder, so that both can be moved together.

  If one of them is remote, the path is returned unchanged.
  """
  if is_remote(path) or is_remote(folder):
    return str(path)
  return os.path.relpath(path, folder)


def find_files(folder: epath.PathLike, name: str) -> list[epath.Path]:
  """All files with this name in a folder and its subfolders, sorted; [] if there is no folder."""
  folder = epath.Path(folder)
  scheme, separator, _ = str(folder).rpartition('://')
  paths = []

  for parent, _, names in folder.walk():
    if name in names:
      path = str(parent / name)
      paths.append(path if is_remote(path) else scheme + separator + path)

  return sorted(map(epath.Path, paths))


def check_remote_clients(text: str, source: str = '') -> None:
  """Checks that the package for each kind of remote path in a text is installed.

  Args:
    text: a path, or a configuration that contains paths.
    source: what the error message names instead of the text.

  Raises:
    ValueError: a package is missing.
  """
  for scheme, package in CLIENTS.items():
    if f'{scheme}://' in text and importlib.util.find_spec(package) is None:
      raise ValueError(
        f'{source or text}: {scheme}:// paths need the package {package}, which '
        f'is not installed. Run: {INSTALL}'
      )


def check_writable(folder: epath.PathLike) -> None:
  """Checks that objects can be created and deleted in a folder of a bucket, before work starts.

  Writes and deletes one small object. Local folders are not checked.

  Raises:
    ValueError: the bucket does not accept the object.
  """
  if not is_remote(folder):
    return
  check_remote_clients(os.fspath(folder))

  probe = epath.Path(folder) / f'write_trial.{os.getpid()}'
  try:
    probe.write_text('')
    probe.unlink()
  except Exception as error:  # noqa: BLE001 (each client raises its own exceptions)
    raise ValueError(
      f'{folder} cannot be written ({type(error).__name__}: {error}). The bucket must exist and '
      'the account must have permission to create and delete objects. Sign in with `gcloud auth '
      'application-default login`; a Google Cloud machine uses its service account.'
    ) from error


def hub_name_hint(path: epath.PathLike) -> str:
  """Returns how to download a model if a path that does not exist may be its name on the hub."""
  text = str(path)
  if not re.fullmatch(r'[\w-][\w.-]*/[\w-][\w.-]*', text):
    return ''
  folder = epath.Path(text)
  if folder.exists() or folder.parent.exists():
    return ''
  return (
    f' Names of the Hugging Face hub are not read: if {text} is one, download it with '
    f'`hf download {text} --local-dir {folder.name}` and name the folder {folder.name}.'
  )


def missing_path_hint(path: epath.PathLike) -> str:
  """Returns what to do about a path that does not exist: a similar name, or the download."""
  if not is_remote(path) and epath.Path(path).exists():
    return ''
  return hub_name_hint(path) or similar_file_hint(path)


def similar_file_hint(path: epath.PathLike) -> str:
  """Returns ' Did you mean x?' if the local folder of a path has a file with a similar name."""
  if is_remote(path):
    return ''
  folder, name = os.path.split(os.fspath(path))
  try:
    names = os.listdir(folder or '.')
  except OSError:
    return ''
  similar = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
  return f' Did you mean {os.path.join(folder, similar[0])}?' if similar else ''
