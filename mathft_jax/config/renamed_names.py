"""Old Python names that gin files may contain, and their new names.

`renamed_names.json` has three tables: modules, symbols (functions and classes by the new name of
their module) and parameters (by the new name of their function or class). The names are from before
version 0.2. An old name is an error that states the new name.
"""

from collections.abc import Callable
import functools
import inspect
import json
import pathlib


def new_module_name(module: str) -> str | None:
  """Returns the new name of a module, or None if it is not an old name."""
  return _tables()['modules'].get(module)


def new_symbol_name(module: str, name: str) -> str | None:
  """Returns the new name of a function or class of a module, or None."""
  return _tables()['symbols'].get(f'{module}.{name}')


def new_parameter_name(configurable: Callable, parameter: str) -> str | None:
  """Returns the new name of a parameter of a function or class, or None.

  A result with dots is the parameter of another class: 'train_config.DataConfig.pack'.
  """
  owners = [configurable]
  if inspect.isclass(configurable):
    owners = inspect.getmro(configurable)
  for owner in owners:
    name = f'{owner.__module__}.{owner.__qualname__}.{parameter}'
    if name in _tables()['parameters']:
      return _tables()['parameters'][name]
  return None


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
  path = pathlib.Path(__file__).with_name('renamed_names.json')
  return json.loads(path.read_text())
