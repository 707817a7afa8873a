"""Imports of gin files."""

import importlib
import pathlib
import types

from gin import config_parser

from mathft_jax.config import renamed_names
from mathft_jax.config.errors import ConfigError, did_you_mean
from mathft_jax.monitoring import native_logs


def import_module(
  statement: config_parser.ImportStatement, where: str
) -> types.ModuleType:
  """Returns the module of an import statement; ConfigError with what was meant if there is none."""
  try:
    with native_logs.without_noise():
      return importlib.import_module(statement.module)
  except ModuleNotFoundError as error:
    if not statement.module.startswith(error.name or ' '):
      raise ConfigError(f'{where}: {statement.format()}: {error}') from error
    new = renamed_names.new_module_name(statement.module)
    if new:
      parent, _, name = new.rpartition('.')
      raise ConfigError(
        f'{where}: {statement.module} is now {new}. Write `from {parent} import {name}` and '
        f'`{name}.` instead of `{statement.bound_name()}.`.'
      ) from error
    hint = did_you_mean(
      statement.module.split('.')[-1], _sibling_modules(statement.module)
    )
    raise ConfigError(
      f'{where}: {statement.format()}: no such module.{hint}'
    ) from error


def _sibling_modules(module: str) -> list[str]:
  """Returns names of the modules in the package of a module that does not exist."""
  try:
    paths = importlib.import_module(module.rpartition('.')[0]).__path__
  except (ImportError, AttributeError, ValueError):
    return []
  names = []
  for path in paths:
    names += [child.stem for child in pathlib.Path(path).iterdir()]
  return names
