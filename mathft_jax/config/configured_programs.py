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
    wanted: by gin name of a program, the parameters whose values are needed. A name that begins
      with '?' is left out where its value cannot be made.
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
  with gin.config_scope(scope or None):
    bound = dict(gin.get_bindings(function, resolve_references=False))
    known, values = signature_parameters(function), {}
    for each in wanted:
      name, is_needed = each.removeprefix('?'), not each.startswith('?')
      try:
        values.update(
          _value(
            name, known[name], bound, f'{scope}/{function.__name__}.{name}'
          )
        )
      except Exception:
        if is_needed:
          raise
  return values


def _value(
  name: str, parameter: Any, bound: Mapping[str, Any], where: str
) -> dict[str, Any]:
  """{name: value}; nothing for a parameter without value or default."""
  where = where.removeprefix('/')
  if name not in bound:
    if parameter.default is parameter.empty:
      raise ConfigError(
        f'{where} has no value; set it in a gin file or by --gin.'
      )
    return {name: parameter.default}
  if resolved_config.depends_on_unset_macro(bound[name]):
    unset = (
      ', '.join(sorted(set(resolved_config.iter_unset_macros(bound[name]))))
      or 'a macro'
    )
    raise ConfigError(
      f'{where} needs {unset}; set it by --gin.NAME=VALUE or in a gin file.'
    )
  try:
    return {name: copy.deepcopy(bound[name])}  # copying a reference builds it
  except ValueError as error:
    raise ConfigError(resolved_config.strip_gin_trailer(error)) from error
