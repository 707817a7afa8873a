"""Finds and checks gin files and gin flags before gin parses them.

  reader = GinReader(search_paths)
  reader.read(read_gin_file(path))

Gin reports unknown names without a location, and it accepts a file that resets what an earlier file
has set. This module checks both and reports file and line.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import importlib
import inspect
import io
import pathlib
import tokenize
import types
from typing import Any, TypeVar

from etils import epath
from gin import config_parser

from mathft_jax.config import gin_imports, renamed_names, t5x_names
from mathft_jax.config.errors import ConfigError, did_you_mean, names_after_hint
from mathft_jax.storage import local_and_remote_paths

PACKAGE = pathlib.Path(__file__).parent.parent
T = TypeVar('T')

DYNAMIC_REGISTRATION = 'from __gin__ import dynamic_registration\n'

Modules = dict[str, types.ModuleType]  # by the name that a gin file uses


@dataclasses.dataclass(frozen=True)
class GinSource:
  """Gin text: a file, or all bindings of the command line.

  Attributes:
    name: file name, or 'command line'.
    text: what gin parses.
    first_line: first line that the user wrote; earlier lines are generated imports.
  """

  name: str
  text: str
  first_line: int = 1


@dataclasses.dataclass(frozen=True)
class GinReference:
  """@scope/selector, @scope/selector() or %macro, as written."""

  name: str
  is_macro: bool = False


@dataclasses.dataclass(frozen=True)
class MacroAssignment:
  """`NAME = value` of a macro.

  Attributes:
    where: file and line.
    source: the file on the command line that contains or includes it.
  """

  name: str
  value: object
  where: str
  source: str

  @property
  def is_required(self) -> bool:
    """Whether the value is %gin.REQUIRED."""
    return self.value == GinReference('gin.REQUIRED', is_macro=True)


def package_gin_directory() -> pathlib.Path:
  """Returns the folder of the package's gin files, installed or in a checkout."""
  installed = PACKAGE / 'gin_configs'
  return installed if installed.is_dir() else PACKAGE.parent / 'gin_configs'


def find_gin_file(name: str, search_paths: Sequence[str]) -> epath.Path:
  """Returns the path of a gin file.

  Args:
    name: path relative to the current folder, a search path or the package's gin files; or a URL.
    search_paths: folders between the current folder and the package's gin files.

  Raises:
    ConfigError: there is no such file; the message lists the files that exist.
  """
  if local_and_remote_paths.is_remote(name):
    return _find_remote_file(name)

  folders = [*search_paths, str(package_gin_directory())]
  for folder in ('.', *folders):
    path = epath.Path(folder) / name
    if path.is_file():
      return path

  known = []
  for folder in folders:
    for path in sorted(pathlib.Path(folder).rglob('*.gin')):
      known.append(str(path.relative_to(folder)))
  hint = did_you_mean(name, known)
  raise ConfigError(
    f'No gin file {name!r} in {[".", *folders]}.{hint}'
    f'{names_after_hint(hint, "Known gin files", known)}'
  )


def read_gin_file(path: epath.Path) -> GinSource:
  """Returns the text of a gin file; ConfigError if it is no UTF-8 text."""
  try:
    text = path.read_bytes().decode('utf-8')
  except UnicodeDecodeError as error:
    raise ConfigError(
      f'{path}: byte {error.start} is not UTF-8; wanted a gin file, which is UTF-8 text.'
    ) from error
  if text.startswith('\ufeff'):
    raise ConfigError(
      f'{path} starts with a byte order mark; save it as UTF-8 without one.'
    )
  return GinSource(str(path), text.replace('\r\n', '\n'))


def _find_remote_file(name: str) -> epath.Path:
  try:
    local_and_remote_paths.check_remote_clients(name)
  except ValueError as error:
    raise ConfigError(str(error)) from error
  path = epath.Path(name)
  if not path.is_file():
    raise ConfigError(f'No gin file {name}.')
  return path


def command_line_source(
  bindings: Sequence[str], imports: Sequence[config_parser.ImportStatement]
) -> GinSource:
  """Returns the bindings of the command line; they may use modules that gin files import."""
  lines = list(dict.fromkeys(statement.format() for statement in imports))
  text = DYNAMIC_REGISTRATION + '\n'.join([*lines, *bindings]) + '\n'
  return GinSource('command line', text, len(lines) + 2)


def parse_statements(source: GinSource) -> Iterator[Any]:
  """Yields the statements of a gin source; ConfigError with file and line for a syntax error."""
  try:
    yield from config_parser.ConfigParser(
      io.StringIO(source.text), _KeepReferences()
    )
  except SyntaxError as error:
    location = config_parser.Location(None, error.lineno or 0, None, '')
    raise ConfigError(f'{_location(source, location)}: {error.msg}') from error
  except RecursionError as error:
    raise ConfigError(
      f'{source.name}: a value is nested too deeply.'
    ) from error
  except tokenize.TokenError as error:
    line = error.args[1][0] - 1
    location = config_parser.Location(None, line, None, '')
    raise ConfigError(
      f'{_location(source, location)}: {error.args[0]}: a bracket or quote is not closed.'
    ) from error


class GinReader:
  """Checks the names in gin sources and collects macros and imports.

  Attributes:
    assignments: macros that are set, in order.
    macros_used: where each macro is used first.
    imports: import statements, one for each bound name.
    bound: functions and classes of which a parameter is set.
  """

  def __init__(self, search_paths: Sequence[str]):
    self._search_paths = search_paths
    self._including: list[str] = []  # sources that are being read
    self.assignments: list[MacroAssignment] = []
    self.macros_used: dict[str, str] = {}
    self.imports: list[config_parser.ImportStatement] = []
    self.bound: set[str] = set()

  def read(self, source: GinSource, top: str | None = None) -> None:
    """Checks one source and the files that it includes.

    Args:
      source: the text.
      top: name of the source that includes it; None if none does.

    Raises:
      ConfigError: a syntax error, or a name that does not exist.
    """
    modules: Modules = {}
    top = top or source.name
    self._including.append(source.name)
    for statement in parse_statements(source):
      where = _location(source, statement.location)
      match statement:
        case config_parser.ImportStatement():
          self._import(statement, modules, where)
        case config_parser.IncludeStatement():
          try:
            path = find_gin_file(statement.filename, self._search_paths)
          except ConfigError as error:
            raise ConfigError(f'{where}: {error}') from error
          if str(path) in self._including:
            raise ConfigError(f'{where}: {path} includes itself.')
          self.read(read_gin_file(path), top)
        case config_parser.BlockDeclaration():
          resolve_selector(statement.selector, modules, where)
        case _:
          self._bind(statement, modules, where, top)
    self._including.pop()

  def _import(
    self,
    statement: config_parser.ImportStatement,
    modules: Modules,
    where: str,
  ) -> None:
    if statement.module.startswith('__gin__.'):
      return
    name = statement.bound_name()
    module = gin_imports.import_module(statement, where)
    if not statement.is_from and not statement.alias:
      module = importlib.import_module(name)
    modules[name] = module
    if all(name != known.bound_name() for known in self.imports):
      self.imports.append(statement)

  def _bind(
    self,
    statement: config_parser.BindingStatement,
    modules: Modules,
    where: str,
    top: str,
  ) -> None:
    if statement.arg_name:
      _check_binding(statement, modules, where)
      self.bound.add(statement.selector)
    else:
      name = statement.selector
      if statement.scope:
        name = f'{statement.scope}/{name}'
      self.assignments.append(
        MacroAssignment(name, statement.value, where, top)
      )

    for reference in iter_nested(statement.value, GinReference):
      if reference.is_macro:
        self.macros_used.setdefault(reference.name, where)
      else:
        resolve_selector(reference.name.split('/')[-1], modules, where)


def resolve_selector(
  selector: str, modules: Mapping[str, types.ModuleType], where: str
) -> Any:
  """Returns the function or class of a selector such as `losses.Mle`; None for gin's own.

  Args:
    selector: as written in a gin file.
    modules: modules that the file imports, by name.
    where: file and line, for the error message.

  Raises:
    ConfigError: there is no such name.
  """
  first, *names = selector.split('.')
  if first == 'gin':
    return None
  if first not in modules:
    hint = did_you_mean(first, modules) or ' Add `from mathft_jax import ...`.'
    raise ConfigError(
      f'{where}: {selector!r}: no import of {first!r} in this file.{hint}'
    )
  value: Any = modules[first]
  for name in names:
    if not hasattr(value, name):
      new = renamed_names.new_symbol_name(getattr(value, '__name__', ''), name)
      if new:
        raise ConfigError(f'{where}: {first}.{name} is now {first}.{new}.')
      public = [each for each in dir(value) if not each.startswith('_')]
      raise ConfigError(
        f'{where}: {first} has no {name!r}.{did_you_mean(name, public)}'
      )
    value = getattr(value, name)
  return value


def signature_parameters(
  configurable: Callable,
) -> dict[str, inspect.Parameter]:
  """Returns the parameters of a function or of a class's constructor, by name."""
  return dict(inspect.signature(configurable).parameters)


class _KeepReferences(config_parser.ParserDelegate):
  """Keeps references as they are written."""

  def configurable_reference(self, scoped_configurable_name, evaluate):
    return GinReference(scoped_configurable_name)

  def macro(self, macro_name):
    return GinReference(macro_name, is_macro=True)


def _location(source: GinSource, location: config_parser.Location) -> str:
  if source.first_line == 1:
    return f'{source.name}:{location.line_num}'
  lines = source.text.splitlines()
  line = lines[min(location.line_num, len(lines)) - 1]
  return f'{source.name}: {line}'


def _check_binding(
  statement: config_parser.BindingStatement, modules: Modules, where: str
) -> None:
  """Checks the names of `selector.parameter = value`; names of t5x are explained."""
  selector, name = statement.selector, statement.arg_name
  explanation = t5x_names.explain_parameter(selector, name)
  try:
    configurable = resolve_selector(selector, modules, where)
  except ConfigError as error:
    if not explanation:
      raise
    raise ConfigError(
      f'{where}: there is no {selector}.{name}.{explanation}'
    ) from error
  if configurable is None:
    return
  if not callable(configurable):
    hint = f' Write {selector}.<function or class>.{name}.'
    raise ConfigError(
      f'{where}: {selector} is a module, which has no parameters.{explanation or hint}'
    )
  _check_parameter(configurable, statement, where, explanation)


def _check_parameter(
  configurable: Callable,
  statement: config_parser.BindingStatement,
  where: str,
  explanation: str,
) -> None:
  name, known = statement.arg_name, signature_parameters(configurable)
  if name in known:
    return
  kinds = [parameter.kind for parameter in known.values()]
  if inspect.Parameter.VAR_KEYWORD in kinds:
    return
  new = renamed_names.new_parameter_name(configurable, name)
  if new:
    new = new if '.' in new else f'{statement.selector}.{new}'
    raise ConfigError(f'{where}: {statement.selector}.{name} is now {new}.')
  hint = explanation or did_you_mean(name, known)
  raise ConfigError(
    f'{where}: {statement.selector} has no parameter {name!r}.'
    f'{hint}{names_after_hint(hint, "It has", known)}'
  )


def iter_nested(value: object, kind: type[T]) -> Iterator[T]:
  """Yields the objects of one type in a value of a binding, at any depth."""
  if isinstance(value, kind):
    yield value
  elif isinstance(value, Mapping):
    for key, item in value.items():
      yield from iter_nested(key, kind)
      yield from iter_nested(item, kind)
  elif isinstance(value, (list, tuple)):
    for item in value:
      yield from iter_nested(item, kind)
