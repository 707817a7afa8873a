"""Checks of the data paths of a configuration for `--dry_run`, which reads no data."""

from collections.abc import Mapping
import glob

from etils import epath

from mathft_jax.config.errors import ConfigError
from mathft_jax.storage import local_and_remote_paths

_SPLITS = ('train', 'validation', 'test')


def check_data_paths(macros: Mapping[str, object]) -> None:
  """Checks that local data files exist and are files.

  `CANDIDATES` may be missing: an earlier program of the same pipeline writes it. Paths in buckets
  are not checked.

  Args:
    macros: values by name.

  Raises:
    ConfigError: names macro and path.
  """
  for name in ('DATA_PATH', 'CANDIDATES', 'TEST_CANDIDATES'):
    value = macros.get(name)
    paths = value.values() if isinstance(value, Mapping) else [value]
    for path in paths:
      if isinstance(path, str) and '://' not in path:
        _check_path(name, path)


def _check_path(name: str, path: str) -> None:
  paths = list(dict.fromkeys(path.replace('{split}', s) for s in _SPLITS))
  exists = False
  for each in filter(None, paths):
    if epath.Path(each).is_dir() and not _is_dataset(each):
      raise ConfigError(
        f'{name} is {each!r}, a folder; it must be a file, a glob such as {each}/*.jsonl, or a '
        'folder that `datasets` saved.'
      )
    exists = exists or epath.Path(each).exists()
    exists = exists or glob.has_magic(each) and bool(glob.glob(each))
  if name == 'DATA_PATH' and not exists:
    raise ConfigError(
      f'{name} is {path!r}; there is no such file. Name an existing file (.jsonl, .json, .csv, '
      '.parquet), a glob or a folder of `datasets`.'
      f'{local_and_remote_paths.similar_file_hint(paths[0])}'
    )


def _is_dataset(folder: str) -> bool:
  """Returns whether a folder was written by `save_to_disk` of `datasets`."""
  names = ('state.json', 'dataset_dict.json')
  return any((epath.Path(folder) / name).exists() for name in names)
