"""The programs that gin files configure, for a program that is about other programs.

A recipe's stages are the programs that it names as values (`ssft = @ssft/train.train`); files that
configure a program and name it nowhere are one stage with it.
"""

from collections.abc import Iterator, Mapping, Sequence
import copy
import dataclasses
from typing import Any

import gin

from mathft_jax.config import resolved_config
from mathft_jax.config.errors import ConfigError
from mathft_jax.config.gin_files import signature_parameters


@dataclasses.dataclass(frozen=True)
class ConfiguredProgram:
  """One program with what was asked for of its arguments.

  Attributes:
    scope: of its bindings: 'ssft', or '' where there is one use of the program.
    program: its gin name, 'train.train'.
    arguments: as objects; defaults too.
  """

  scope: str
  program: str
  arguments: Mapping[str, Any]

  @property
  def name(self) -> str:
    return self.scope or self.program.partition('.')[0]


def find_configured_programs(
  wanted: Mapping[str, Sequence[str]],
) -> list[ConfiguredProgram]:
  """The stages, in the files' order; ConfigError for an argument that is wanted and not set.

  Args:
    wanted: by gin name of a program, the parameters whose values are needed. 'data.batch_size' is the
      parameter `batch_size` of the object that is the argument `data`; its value is returned as
      'batch_size'. A name that begins with '?' is left out if its value cannot be built.
  """
  functions = {}
  for _, selector in gin.config._CONFIG:
    found = gin.config._REGISTRY.get_match(selector)
    if found is not None and (name := _gin_name(found.wrapped)) in wanted:
      functions[found.wrapped] = name
  uses = list(dict.fromkeys(_uses(functions)))
  named = {function for _, function in uses}
  uses += [('', function) for function in functions if function not in named]
  return [
    ConfiguredProgram(scope, name, _arguments(scope, function, wanted[name]))
    for scope, function in uses
    for name in [functions[function]]
  ]


def _gin_name(function: Any) -> str:
  return f'{function.__module__.rpartition(".")[2]}.{function.__name__}'


def _uses(functions: Mapping[Any, str]) -> Iterator[tuple[str, Any]]:
  """(scope, function) wherever one of the functions is a value."""
  for bindings in gin.config._CONFIG.values():
    for reference in resolved_config.iter_references(list(bindings.values())):
      function = reference.configurable.wrapped
      if not reference.evaluate and function in functions:
        yield '/'.join(reference.scopes), function


def _arguments(
  scope: str, function: Any, wanted: Sequence[str]
) -> dict[str, Any]:
  """What is wanted of the function's arguments in a scope, as objects."""
  values = {}
  for each in wanted:
    path, is_needed = (
      each.removeprefix('?').split('.'),
      not each.startswith('?'),
    )
    where = '/'.join(filter(None, (scope, function.__name__)))
    try:
      values.update(_value(function, scope, path, where))
    except Exception:
      if is_needed:
        raise
  return values


def _value(
  function: Any, scope: str, path: Sequence[str], where: str
) -> dict[str, Any]:
  """{name: value} of a parameter; a longer path goes through objects that are arguments."""
  name, *inner = path
  where = f'{where}.{name}'
  with gin.config_scope(scope or None):
    bound = gin.get_bindings(function, resolve_references=False)
    if name not in bound:
      parameter = signature_parameters(function)[name]
      if parameter.default is parameter.empty:
        raise ConfigError(
          f'{where} has no value. Set it in a gin file or with --gin.{where}=VALUE.'
        )
      value = parameter.default
      for field in inner:
        value = getattr(value, field)
      return {path[-1]: value}
    value = bound[name]
    unset = sorted(set(resolved_config.iter_unset_macros(value)))
    if resolved_config.depends_on_unset_macro(value):
      raise ConfigError(
        f'{where} needs {", ".join(unset) or "a macro"}. Set it with --gin.NAME=VALUE or in a gin '
        'file.'
      )
    if inner:
      value, scope = resolved_config.follow_macros(value, scope)
      return _value(
        value.configurable.wrapped,
        '/'.join(value.scopes) or scope,
        inner,
        where,
      )
    try:
      return {
        name: copy.deepcopy(value)
      }  # copying a reference builds its object
    except ValueError as error:
      raise ConfigError(resolved_config.strip_gin_trailer(error)) from error
