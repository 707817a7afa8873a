"""Checks of the data paths of a configuration for `--dry_run`, which reads no data."""

from collections.abc import Mapping

from etils import epath

from mathft_jax.config.errors import ConfigError

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
  for each in paths:
    if each and epath.Path(each).is_dir():
      raise ConfigError(f'{name} is {each!r}, a folder; it must be a file.')
  exists = [epath.Path(each).exists() for each in paths if each]
  if name == 'DATA_PATH' and not any(exists):
    raise ConfigError(
      f'{name} is {path!r}; there is no such file. Name an existing .jsonl or .jsonl.gz file.'
    )
