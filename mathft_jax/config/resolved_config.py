"""The resolved configuration of a program: checked, built into objects and written as a gin file.

  config = resolve_config(program)        raises if something is missing or has a wrong type
  arguments = build_arguments(program, config)
  text = config.text()                    a gin file that repeats the run

Starting from the program, `resolve_config` follows every reference and reports all macros without a
value, parameters without a value and values of a wrong type at once, before any work is done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import copy
import dataclasses
import inspect
import sys
import types
import typing
from typing import Any, TypeAlias, cast

import gin
from gin import config as gin_config

from mathft_jax.config import unset_macros
from mathft_jax.config.errors import ConfigError
from mathft_jax.config.gin_files import iter_nested, signature_parameters

# Parameters that a program gets from its caller if it is a value (`@ssft/train.train` in a recipe).
CALLER_SUPPLIED = frozenset(
  {
    'workdir',
    'init_from',
    'examples',
    'eval_examples',
    'checkpoint',
    'problems',
    'candidates',
    'greedy',
    'train_steps',
    'seed',
  }
)
SIMPLE_TYPES = (bool, int, float, str, type(None))

Scope = list[str]
Reference: TypeAlias = gin_config.ConfigurableReference


@dataclasses.dataclass(frozen=True)
class Subprogram:
  """A function that is the value of a parameter, such as a stage of a recipe.

  Attributes:
    scope: gin scope of its bindings.
    function: the function.
    bindings: values and references by parameter, without those that callers supply.
  """

  scope: Scope
  function: Callable
  bindings: dict[str, Any]

  def build_arguments(self) -> dict[str, Any]:
    """Returns the arguments as objects."""
    with gin.config_scope(self.scope):
      # Gin builds the object of a reference when the reference is copied.
      return copy.deepcopy(self.bindings)


@dataclasses.dataclass
class ResolvedConfig:
  """Everything that a program uses.

  Attributes:
    bindings: {(scope, gin selector): {parameter: value}}, defaults included.
    unset: macros without a value; the parameter that needs each of them.
    problems: error messages.
    subprograms: functions that are values.
    caller_supplied: macros without a value that are not needed, because callers supply the values.
  """

  bindings: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  unset: dict[str, str] = dataclasses.field(default_factory=dict)
  problems: list[str] = dataclasses.field(default_factory=list)
  subprograms: list[Subprogram] = dataclasses.field(default_factory=list)
  caller_supplied: set[str] = dataclasses.field(default_factory=set)

  def macros(self) -> dict[str, object]:
    """Returns the values of the macros in use; references stay references."""
    found = {}
    for (name, selector), values in self.bindings.items():
      if selector == 'gin.macro':
        found[name] = values['value']
    return found

  def text(self) -> str:
    """Returns a gin file that repeats the run."""
    in_order = {}
    for key, values in self.bindings.items():
      in_order[key] = _keep_order(values)
    # gin's public functions print either all bindings or those of functions that have run
    return gin_config._config_str(in_order)


class _OrderedDict(dict):
  """A dict that is printed in its own order; gin sorts plain dicts."""

  def __repr__(self):
    items = [f'{key!r}: {value!r}' for key, value in self.items()]
    return f'{{{", ".join(items)}}}'


def _keep_order(value: Any) -> Any:
  if isinstance(value, Mapping):
    ordered = _OrderedDict()
    for key, item in value.items():
      ordered[key] = _keep_order(item)
    return ordered
  if type(value) in (list, tuple):
    return type(value)(map(_keep_order, value))
  return value


def register_program(program: Callable) -> None:
  """Registers the program with gin, unless a gin file has done so."""
  try:
    gin.get_bindings(program, resolve_references=False)
  except ValueError:
    gin.external_configurable(program, module=program.__module__)


def resolve_config(
  program: Callable, supplied: frozenset[str] = frozenset()
) -> ResolvedConfig:
  """Returns everything that a program uses.

  Args:
    program: a function that gin has registered.
    supplied: parameters that get their values elsewhere.

  Raises:
    ConfigError: lists everything that is missing or wrong.
  """
  config = ResolvedConfig()
  _visit(program, [], supplied, config)
  if config.unset:
    config.problems.append(
      unset_macros.describe(config.unset, _is_set, _macro_value)
    )
  if config.problems:
    raise ConfigError('\n'.join(config.problems))
  for name in config.caller_supplied:
    # gin builds all values of a subprogram, also those that its caller supplies
    gin.bind_parameter(f'{name}/gin.macro.value', None)
  return config


def build_arguments(
  program: Callable, config: ResolvedConfig
) -> dict[str, Any]:
  """Returns the program's arguments as objects.

  Arguments of subprograms are also built once, so that a value that a constructor or the
  `check_arguments` of a module rejects is found now and not after hours of earlier stages.

  Raises:
    ConfigError: a value is rejected.
  """
  for subprogram in config.subprograms:
    function = subprogram.function
    try:
      _check_arguments(function, subprogram.build_arguments())
    except ValueError as error:
      module = function.__module__.rpartition('.')[2]
      where = '/'.join([*subprogram.scope, f'{module}.{function.__name__}'])
      raise ConfigError(f'{where}: {strip_gin_trailer(error)}') from error
  try:
    arguments = gin.get_bindings(program)
    _check_arguments(program, arguments)
  except ValueError as error:
    raise ConfigError(strip_gin_trailer(error)) from error
  return arguments


def _check_arguments(function: Callable, arguments: Mapping[str, Any]) -> None:
  """Calls `check_arguments(**arguments)` of the function's module, if it has that function."""
  check = getattr(sys.modules[function.__module__], 'check_arguments', None)
  if check is not None:
    check(**arguments)


def strip_gin_trailer(error: Exception) -> str:
  """Returns the message of an error without the lines that gin appends."""
  lines = str(error).split('\n')
  kept = [line for line in lines if not line.startswith('  In call to config')]
  return '\n'.join(kept)


def _visit(
  configurable: Callable,
  scope: Scope,
  supplied: frozenset[str],
  config: ResolvedConfig,
) -> None:
  """Records the bindings of a function or class in a scope and follows their references."""
  selector = cast(Any, gin_config._inverse_lookup(configurable)).selector
  key = ('/'.join(scope), selector)
  if key in config.bindings:
    return
  with gin.config_scope(scope):
    bound = dict(gin.get_bindings(configurable, resolve_references=False))

  where = '/'.join([*scope, configurable.__name__])
  known = signature_parameters(configurable)
  bindings, missing = {}, []
  for name, parameter in known.items():
    default = parameter.default
    if default is not parameter.empty:
      if gin_config._is_literally_representable(default):
        bindings[name] = default
      continue
    is_variadic = parameter.kind in (
      parameter.VAR_POSITIONAL,
      parameter.VAR_KEYWORD,
    )
    if name not in bound and name not in supplied and not is_variadic:
      missing.append(name)
  config.bindings[key] = {**bindings, **bound}
  if missing:
    config.problems.append(f'{where} needs a value for: {", ".join(missing)}.')

  for name, value in bound.items():
    if name in supplied and depends_on_unset_macro(value):
      config.caller_supplied.update(iter_unset_macros(value))
      continue
    _check_type(known.get(name), value, f'{where}.{name}', config)
    for reference in iter_references(value):
      _follow(reference, scope, f'{where}.{name}', config)


def _follow(
  reference: Reference, scope: Scope, needed_by: str, config: ResolvedConfig
) -> None:
  name = _macro_name(reference)
  if name is not None:
    _follow_macro(name, reference, needed_by, config)
  elif _is_required(reference):
    config.problems.append(f'{needed_by} is %gin.REQUIRED; set it.')
  elif reference.evaluate:
    function = referenced_function(reference)
    _visit(function, reference.scopes or scope, frozenset(), config)
  else:
    _follow_subprogram(reference, reference.scopes or scope, config)


def _follow_macro(
  name: str, reference: Reference, needed_by: str, config: ResolvedConfig
) -> None:
  if not _is_set(name):
    config.unset.setdefault(name, needed_by)
    return
  value = _macro_value(name)
  config.bindings[name, 'gin.macro'] = {'value': value}
  for inner in iter_references(value):
    # gin builds the value of a macro in the scope of the macro
    _follow(inner, list(reference.scopes), needed_by, config)


def _follow_subprogram(
  reference: Reference, scope: Scope, config: ResolvedConfig
) -> None:
  """Visits a function that is a value; callers supply some (programs) or all of its arguments."""
  function = referenced_function(reference)
  known = frozenset(signature_parameters(function))
  is_program = 'workdir' in known
  supplied = CALLER_SUPPLIED if is_program else known
  _visit(function, scope, supplied, config)

  bindings = {}
  with gin.config_scope(scope):
    bound = gin.get_bindings(function, resolve_references=False)
    for name, value in bound.items():
      if not depends_on_unset_macro(value):
        bindings[name] = value
  config.subprograms.append(Subprogram(scope, function, bindings))


def iter_references(value: object) -> Iterator[Reference]:
  """Yields the gin references in a value, at any depth."""
  return iter_nested(value, Reference)


def referenced_function(reference: Reference) -> Callable:
  """Returns the function or class that a reference names."""
  return cast(Any, reference.configurable).wrapped


def depends_on_unset_macro(value: object) -> bool:
  """Whether a value needs a macro that has no value."""
  for reference in iter_references(value):
    if _is_required(reference):
      return True
    name = _macro_name(reference)
    if name is None:
      continue
    if not _is_set(name) or depends_on_unset_macro(_macro_value(name)):
      return True
  return False


def iter_unset_macros(value: object) -> Iterator[str]:
  """Yields the macros without a value that a value needs."""
  for reference in iter_references(value):
    name = _macro_name(reference)
    if name is None:
      continue
    if _is_set(name):
      yield from iter_unset_macros(_macro_value(name))
    else:
      yield name


def final_value_and_scope(value: Any, scope: str) -> tuple[Any, str]:
  """Returns the value at the end of a chain of macros and the scope in which gin builds it."""
  while isinstance(value, Reference):
    name = _macro_name(value)
    if name is None or not _is_set(name):
      break
    value, scope = _macro_value(name), name
  return value, scope


def _macro_name(reference: Reference) -> str | None:
  is_macro = referenced_function(reference) is gin_config.macro
  return '/'.join(reference.scopes) if is_macro else None


def _is_required(reference: Reference) -> bool:
  return repr(reference) == '%gin.REQUIRED'


def _macro_value(name: str) -> Any:
  return gin.query_parameter(f'{name}/gin.macro.value')


def _is_set(name: str) -> bool:
  try:
    value = _macro_value(name)
  except ValueError:
    return False
  return not any(map(_is_required, iter_references(value)))


def _check_type(
  parameter: inspect.Parameter | None,
  value: object,
  where: str,
  config: ResolvedConfig,
) -> None:
  """Records a problem if a number, string or None does not have the annotated type."""
  value, _ = final_value_and_scope(value, '')
  if parameter is None or not isinstance(value, SIMPLE_TYPES):
    return
  accepted = _simple_types(parameter.annotation)
  if not accepted or type(value) in accepted:
    return
  if float in accepted and type(value) is int:
    return
  names = ' or '.join(each.__name__ for each in accepted)
  config.problems.append(
    f'{where} = {value!r} ({type(value).__name__}); it must be {names}.'
  )


def _simple_types(annotation: Any) -> Sequence[type]:
  """Returns the types that an annotation accepts if all of them are simple, else ()."""
  if isinstance(annotation, types.UnionType):
    accepted = typing.get_args(annotation)
    is_simple = all(each in SIMPLE_TYPES for each in accepted)
    return accepted if is_simple else ()
  return (annotation,) if annotation in SIMPLE_TYPES else ()
