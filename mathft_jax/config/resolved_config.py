"""The configuration that a program will really use: checked, built and written down.

A walk from the program over all references that it reaches finds macros that nobody set, parameters
without a value and values of a wrong kind, all at once and before any work is done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import copy
import dataclasses
import inspect
import types
import typing
from typing import Any

import gin

from mathft_jax.config.errors import ConfigError
from mathft_jax.config.gin_files import signature_parameters

# What one stage hands to the next; a program that is itself a value (`@ssft/train.train` in a
# recipe) gets these from its caller.
CALLER_SUPPLIED = frozenset(
  {
    'workdir',
    'init_from',
    'examples',
    'eval_examples',
    'checkpoint',
    'problems',
    'candidates',
    'greedy_candidates',
    'train_steps',
    'seed',
  }
)
SIMPLE = (bool, int, float, str, type(None))


@dataclasses.dataclass
class ResolvedConfig:
  """What a walk has found.

  Attributes:
    bindings: {(scope, gin selector): {parameter: value}} of all that is reached, defaults too.
    problems: sentences for the person.
    stages: (scope, function, parameters) of the programs that are values.
    supplied: macros that nobody set and nobody needs, as callers give what they stand for.
  """

  bindings: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  unset: dict[str, str] = dataclasses.field(
    default_factory=dict
  )  # macro -> one who needs it
  problems: list[str] = dataclasses.field(default_factory=list)
  stages: list[tuple[list[str], Any, dict[str, Any]]] = dataclasses.field(
    default_factory=list
  )
  supplied: set[str] = dataclasses.field(default_factory=set)

  def text(self) -> str:
    """As a gin file that repeats the run."""
    in_order = {
      key: {name: _in_order(value) for name, value in values.items()}
      for key, values in self.bindings.items()
    }
    return gin.config._config_str(
      in_order
    )  # the public ones tell all or what has run


class _InOrder(dict):
  """A dict that is printed in its own order; gin sorts plain ones."""

  def __repr__(self):
    return (
      '{'
      + ', '.join(f'{key!r}: {value!r}' for key, value in self.items())
      + '}'
    )


def _in_order(value: Any) -> Any:
  if isinstance(value, Mapping):
    return _InOrder({key: _in_order(item) for key, item in value.items()})
  if type(value) in (list, tuple):
    return type(value)(_in_order(item) for item in value)
  return value


def register_program(program: Callable[..., Any]) -> None:
  """Makes the program known to gin when no gin file speaks of it."""
  try:
    gin.get_bindings(program, resolve_references=False)
  except ValueError:
    gin.external_configurable(program, module=program.__module__)


def resolve_config(
  program: Callable[..., Any], supplied: frozenset[str] = frozenset()
) -> ResolvedConfig:
  """What `program` will use; ConfigError that lists everything that is missing or wrong.

  `supplied` are parameters that get their values elsewhere.
  """
  found = ResolvedConfig()
  _visit(program, [], supplied, found)
  if found.unset:
    found.problems.append(
      'not set: '
      + ', '.join(
        f'{name} (for {needs})' for name, needs in sorted(found.unset.items())
      )
      + '. Set them by --gin.NAME=VALUE or in a gin file.'
    )
  if found.problems:
    raise ConfigError('\n'.join(found.problems))
  for name in (
    found.supplied
  ):  # gin builds all values of a stage, also those that its caller gives
    gin.bind_parameter(f'{name}/gin.macro.value', None)
  return found


def build_arguments(
  program: Callable[..., Any], found: ResolvedConfig
) -> dict[str, Any]:
  """The program's arguments as objects. Those of its stages are built once for trial.

  A value that a constructor refuses is found here and not after hours of earlier stages.
  """
  try:
    build_subprogram_arguments(found)
    return gin.get_bindings(program)
  except ValueError as error:
    raise ConfigError(strip_gin_trailer(error)) from error


def build_subprogram_arguments(
  found: ResolvedConfig,
) -> list[tuple[list[str], Any, dict[str, Any]]]:
  """(scope, function, arguments as objects) of the programs that are values."""
  built = []
  for scope, function, bound in found.stages:
    with gin.config_scope(scope):
      built.append(
        (scope, function, copy.deepcopy(bound))
      )  # copying a reference builds it
  return built


def strip_gin_trailer(error: Exception) -> str:
  """The message without the lines that gin appends for programmers."""
  lines = str(error).split('\n')
  return '\n'.join(
    line for line in lines if not line.startswith('  In call to configurable')
  )


def _visit(
  configurable: Any,
  scope: list[str],
  supplied: frozenset[str],
  found: ResolvedConfig,
) -> None:
  """Records what a function or class gets in a scope, then follows the references in it."""
  selector = gin.config._inverse_lookup(configurable).selector
  key = ('/'.join(scope), selector)
  if key in found.bindings:
    return
  with gin.config_scope(scope):
    bound = dict(gin.get_bindings(configurable, resolve_references=False))
  known = signature_parameters(configurable)
  defaults = {
    name: each.default
    for name, each in known.items()
    if each.default is not inspect.Parameter.empty
  }
  where = (
    f'{key[0]}/{configurable.__name__}' if key[0] else configurable.__name__
  )
  found.bindings[key] = {**_literal(defaults), **bound}
  missing = [
    name
    for name, each in known.items()
    if name not in bound
    and name not in defaults
    and name not in supplied
    and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
  ]
  if missing:
    found.problems.append(f'{where} needs a value for: {", ".join(missing)}.')
  for name, value in bound.items():
    if name in supplied and depends_on_unset_macro(value):
      found.supplied.update(iter_unset_macros(value))
      continue
    _check_kind(known.get(name), value, f'{where}.{name}', found)
    for reference in iter_references(value):
      _follow(reference, scope, f'{where}.{name}', found)


def _follow(
  reference: Any, scope: list[str], needed_by: str, found: ResolvedConfig
) -> None:
  """Goes on to what a reference names."""
  if (name := _macro_name(reference)) is not None:
    if not _is_set(name):
      found.unset.setdefault(name, needed_by)
      return
    value = _macro_value(name)
    found.bindings[name, 'gin.macro'] = {'value': value}
    for inner in iter_references(
      value
    ):  # gin builds what a macro names in the macro's own scope
      _follow(inner, list(reference.scopes), needed_by, found)
  elif _is_required(reference):
    found.problems.append(f'{needed_by} is %gin.REQUIRED; set it.')
  elif reference.evaluate:
    _visit(
      reference.configurable.wrapped,
      reference.scopes or scope,
      frozenset(),
      found,
    )
  else:
    _follow_stage(reference, reference.scopes or scope, found)


def _follow_stage(
  reference: Any, scope: list[str], found: ResolvedConfig
) -> None:
  """A function that is a value: a program gets what is handed over, others all from callers."""
  function = reference.configurable.wrapped
  known = signature_parameters(function)
  is_program = 'workdir' in known
  supplied = CALLER_SUPPLIED if is_program else frozenset(known)
  _visit(function, scope, supplied, found)
  with gin.config_scope(scope):
    bound = gin.get_bindings(function, resolve_references=False)
  found.stages.append(
    (
      scope,
      function,
      {
        name: value
        for name, value in bound.items()
        if not depends_on_unset_macro(value)
      },
    )
  )


def iter_references(value: Any) -> Iterator[Any]:
  """The gin references in a value, at any depth."""
  if isinstance(value, gin.config.ConfigurableReference):
    yield value
  elif isinstance(value, Mapping):
    for item in (*value.keys(), *value.values()):
      yield from iter_references(item)
  elif isinstance(value, (list, tuple)):
    for item in value:
      yield from iter_references(item)


def _macro_name(reference: Any) -> str | None:
  is_macro = reference.configurable.wrapped is gin.config.macro
  return '/'.join(reference.scopes) if is_macro else None


def _is_required(reference: Any) -> bool:
  return repr(reference) == '%gin.REQUIRED'


def _macro_value(name: str) -> Any:
  return gin.query_parameter(f'{name}/gin.macro.value')


def _is_set(name: str) -> bool:
  try:
    value = _macro_value(name)
  except ValueError:
    return False
  return not any(_is_required(each) for each in iter_references(value))


def depends_on_unset_macro(value: Any) -> bool:
  """Whether a value rests on a macro that nobody set."""
  for reference in iter_references(value):
    name = _macro_name(reference)
    if (
      _is_required(reference)
      or name is not None
      and (not _is_set(name) or depends_on_unset_macro(_macro_value(name)))
    ):
      return True
  return False


def iter_unset_macros(value: Any) -> Iterator[str]:
  """The macros under a value that nobody set."""
  for name in filter(None, map(_macro_name, iter_references(value))):
    if _is_set(name):
      yield from iter_unset_macros(_macro_value(name))
    else:
      yield name


def follow_macros(value: Any, scope: str) -> tuple[Any, str]:
  """Returns the value that a chain of macros names, and the scope in which gin builds it."""
  while isinstance(value, gin.config.ConfigurableReference):
    name = _macro_name(value)
    if name is None:
      break
    value, scope = _macro_value(name), name
  return value, scope


def _check_kind(
  parameter: inspect.Parameter | None,
  value: Any,
  where: str,
  found: ResolvedConfig,
) -> None:
  """Notes a number, string or None where the annotation wants something else."""
  while references_to_macro := [
    each
    for each in iter_references(value)
    if value is each and _macro_name(each) and _is_set(_macro_name(each))
  ]:
    value = _macro_value(_macro_name(references_to_macro[0]))
  if parameter is None or not isinstance(value, SIMPLE):
    return
  wanted = _simple_kinds(parameter.annotation)
  if (
    wanted
    and type(value) not in wanted
    and not (float in wanted and type(value) is int)
  ):
    names = ' or '.join(kind.__name__ for kind in wanted)
    found.problems.append(
      f'{where} = {value!r} ({type(value).__name__}); wanted {names}.'
    )


def _simple_kinds(annotation: Any) -> Sequence[type]:
  """The types an annotation allows when all of them are simple, else ()."""
  if isinstance(annotation, types.UnionType):
    kinds = typing.get_args(annotation)
    return kinds if all(kind in SIMPLE for kind in kinds) else ()
  return (annotation,) if annotation in SIMPLE else ()


def _literal(defaults: Mapping[str, Any]) -> dict[str, Any]:
  """Defaults that can stand in a gin file."""
  return {
    name: value
    for name, value in defaults.items()
    if gin.config._is_literally_representable(value)
  }
