"""Finds the programs that gin files configure, for a program that is about other programs.

  programs = build_configured_programs({'train.train': ('model', 'data.batch_size')})

The stages of a recipe are programs that are values (`ssft = @ssft/train.train`). A program that is
configured but is no value counts once, without a scope.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import copy
import dataclasses
from typing import Any

import gin
from gin import config as gin_config

from mathft_jax.config import resolved_config
from mathft_jax.config.errors import ConfigError
from mathft_jax.config.gin_files import signature_parameters


@dataclasses.dataclass(frozen=True)
class ConfiguredProgram:
  """A program with the arguments that gin files give it.

  Attributes:
    scope: gin scope of its bindings, such as 'ssft'; '' if there is only one use of the program.
    program: gin name, such as 'train.train'.
    arguments: built values by name, defaults included.
  """

  scope: str
  program: str
  arguments: Mapping[str, Any]

  @property
  def name(self) -> str:
    """The scope, or the program's module if there is no scope."""
    return self.scope or self.program.partition('.')[0]


def build_configured_programs(
  wanted_parameters: Mapping[str, Sequence[str]],
) -> list[ConfiguredProgram]:
  """Returns the configured programs in the order of the gin files.

  Args:
    wanted_parameters: by gin name of a program, the parameters whose values are needed.
      'data.batch_size' is the parameter `batch_size` of the object that is the argument `data`;
      its value is returned as 'batch_size'. A name that starts with '?' is left out if its value
      cannot be built.

  Raises:
    ConfigError: a parameter that is needed has no value.
  """
  functions = {}
  for _, selector in gin_config._CONFIG:
    match = gin_config._REGISTRY.get_match(selector)
    if match is None:
      continue
    function = match.wrapped
    module = function.__module__.rpartition('.')[2]
    name = f'{module}.{function.__name__}'
    if name in wanted_parameters:
      functions[function] = name

  uses = list(dict.fromkeys(_find_uses(functions)))
  functions_with_scope = {function for _, function in uses}
  for function in functions:
    if function not in functions_with_scope:
      uses.append(('', function))

  programs = []
  for scope, function in uses:
    name = functions[function]
    arguments = _build_arguments(function, scope, wanted_parameters[name])
    programs.append(ConfiguredProgram(scope, name, arguments))
  return programs


def _find_uses(
  functions: Mapping[Callable, str],
) -> Iterator[tuple[str, Callable]]:
  """Yields (scope, function) where one of the functions is a value."""
  for bindings in gin_config._CONFIG.values():
    for reference in resolved_config.iter_references(list(bindings.values())):
      function = resolved_config.referenced_function(reference)
      if not reference.evaluate and function in functions:
        yield '/'.join(reference.scopes), function


def _build_arguments(
  function: Callable, scope: str, parameters: Sequence[str]
) -> dict[str, Any]:
  where = f'{scope}/{function.__name__}' if scope else function.__name__
  arguments = {}
  for parameter in parameters:
    path = parameter.removeprefix('?').split('.')
    try:
      arguments[path[-1]] = _build_value(function, scope, path, where)
    except Exception:
      if not parameter.startswith('?'):
        raise
  return arguments


def _build_value(
  configurable: Callable, scope: str, path: Sequence[str], where: str
) -> Any:
  """Returns the value of a parameter; a longer path leads through objects that are arguments."""
  name, *inner = path
  where = f'{where}.{name}'
  with gin.config_scope(scope or None):
    bindings = gin.get_bindings(configurable, resolve_references=False)
    if name not in bindings:
      return _default_value(configurable, path, where)

    value = bindings[name]
    if resolved_config.depends_on_unset_macro(value):
      unset = sorted(set(resolved_config.iter_unset_macros(value)))
      raise ConfigError(
        f'{where} needs {", ".join(unset) or "a macro"}. Set it with --gin.NAME=VALUE or in a gin '
        'file.'
      )
    if inner:
      reference, scope = resolved_config.final_value_and_scope(value, scope)
      scope = '/'.join(reference.scopes) or scope
      return _build_value(
        resolved_config.referenced_function(reference), scope, inner, where
      )
    try:
      return copy.deepcopy(value)  # gin builds a reference when it is copied
    except ValueError as error:
      raise ConfigError(resolved_config.strip_gin_trailer(error)) from error


def _default_value(
  configurable: Callable, path: Sequence[str], where: str
) -> Any:
  name, *inner = path
  parameter = signature_parameters(configurable)[name]
  if parameter.default is parameter.empty:
    raise ConfigError(
      f'{where} has no value. Set it in a gin file or with --gin.NAME=VALUE.'
    )
  value = parameter.default
  for field in inner:
    value = getattr(value, field)
  return value
