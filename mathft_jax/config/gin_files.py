"""Gin files and flags, found and read statement by statement before gin sees them.

Gin says little about names that it does not know and nothing about a file that undoes an earlier
one, so both are looked for here, with file and line.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import importlib
import inspect
import io
import pathlib
import tokenize
from typing import Any

from etils import epath
from gin import config_parser

from mathft_jax.config.errors import ConfigError, did_you_mean
from mathft_jax.storage import remote_paths

PACKAGE = pathlib.Path(__file__).parent.parent
DYNAMIC = 'from __gin__ import dynamic_registration\n'


@dataclasses.dataclass(frozen=True)
class GinSource:
  """A gin text to parse: a file, or all of the command line's bindings."""

  name: str
  text: str
  first_line: int = 1  # of what the person wrote, after our imports


@dataclasses.dataclass(frozen=True)
class GinReference:
  """@scope/selector, @scope/selector() or %macro, as written."""

  name: str
  is_macro: bool = False


@dataclasses.dataclass(frozen=True)
class MacroAssignment:
  """NAME = value, of a macro."""

  name: str
  value: Any
  where: str
  source: str  # the file named on the command line that this came with

  @property
  def is_required(self) -> bool:
    return self.value == GinReference('gin.REQUIRED', is_macro=True)


def package_gin_directory() -> pathlib.Path:
  """The package's own gin files: inside it when installed, beside it in a checkout."""
  inside = PACKAGE / 'gin_configs'
  return inside if inside.is_dir() else PACKAGE.parent / 'gin_configs'


def find_gin_file(name: str, search_paths: Sequence[str]) -> epath.Path:
  """The gin file of that name in the current folder, on a search path, or in a bucket."""
  if remote_paths.is_remote(name):
    return _remote_file(name)
  places = ['.', *search_paths, str(package_gin_directory())]
  for place in places:
    path = epath.Path(place) / name
    if path.is_file():
      return path
  known = [
    str(path.relative_to(place))
    for place in places[1:]
    if epath.Path(place).is_dir()
    for path in sorted(pathlib.Path(place).rglob('*.gin'))
  ]
  raise ConfigError(
    f'No gin file {name!r} in {places}.{did_you_mean(name, known)}\nThere are: {", ".join(known)}'
  )


def _remote_file(name: str) -> epath.Path:
  try:
    remote_paths.check_remote_clients(name)
  except ValueError as error:
    raise ConfigError(str(error)) from error
  if not epath.Path(name).is_file():
    raise ConfigError(f'No gin file {name}.')
  return epath.Path(name)


def command_line_source(
  bindings: Sequence[str], imports: Sequence[config_parser.ImportStatement]
) -> GinSource:
  """The bindings of the command line, which know the modules that the gin files import."""
  lines = list(dict.fromkeys(statement.format() for statement in imports))
  return GinSource(
    'command line',
    DYNAMIC + '\n'.join([*lines, *bindings]) + '\n',
    len(lines) + 2,
  )


class GinReader:
  """Walks sources in order; checks names, remembers macros and imports."""

  def __init__(self, search_paths: Sequence[str]):
    self._search_paths = search_paths
    self.assignments: list[MacroAssignment] = []
    self.macros_used: dict[str, str] = {}  # name -> where first
    self.imports: list[config_parser.ImportStatement] = []

  def read(self, source: GinSource, top: str | None = None) -> None:
    """Checks one source and the files it includes."""
    modules: dict[str, Any] = {}
    for statement in self._statements(source):
      where = self._where(source, statement.location)
      if isinstance(statement, config_parser.ImportStatement):
        self._import(statement, modules, where)
      elif isinstance(statement, config_parser.IncludeStatement):
        path = find_gin_file(statement.filename, self._search_paths)
        self.read(GinSource(str(path), path.read_text()), top or source.name)
      elif isinstance(statement, config_parser.BlockDeclaration):
        resolve_selector(statement.selector, modules, where)
      else:
        self._binding(statement, modules, where, top or source.name)

  def _statements(self, source: GinSource) -> Iterator[Any]:
    try:
      yield from config_parser.ConfigParser(
        io.StringIO(source.text), _AsWritten()
      )
    except SyntaxError as error:
      where = self._where(
        source,
        config_parser.Location(None, error.lineno or 0, None, error.text or ''),
      )
      raise ConfigError(f'{where}: {error.msg}') from error
    except tokenize.TokenError as error:
      where = self._where(
        source, config_parser.Location(None, error.args[1][0] - 1, None, '')
      )
      raise ConfigError(
        f'{where}: {error.args[0]}: a bracket or quote is not closed.'
      ) from error

  def _where(self, source: GinSource, location: config_parser.Location) -> str:
    if source.first_line > 1:
      lines = source.text.splitlines()
      return f'{source.name}: {lines[min(location.line_num, len(lines)) - 1]}'
    return f'{source.name}:{location.line_num}'

  def _import(self, statement, modules: dict[str, Any], where: str) -> None:
    if statement.module.startswith('__gin__.'):
      return
    try:
      module = importlib.import_module(statement.module)
    except ModuleNotFoundError as error:
      if not statement.module.startswith(error.name or ' '):
        raise ConfigError(f'{where}: {statement.format()}: {error}') from error
      raise ConfigError(
        f'{where}: {statement.format()}: no such module.'
        f'{did_you_mean(statement.module.split(".")[-1], _siblings(statement))}'
      ) from error
    if statement.is_from or statement.alias:
      modules[statement.bound_name()] = module
    else:
      modules[statement.bound_name()] = importlib.import_module(
        statement.bound_name()
      )
    if statement.bound_name() not in {
      known.bound_name() for known in self.imports
    }:
      self.imports.append(statement)

  def _binding(
    self, statement, modules: Mapping[str, Any], where: str, top: str
  ) -> None:
    if statement.arg_name:
      configurable = resolve_selector(statement.selector, modules, where)
      _check_parameter(configurable, statement, where)
    else:
      name = '/'.join(filter(None, (statement.scope, statement.selector)))
      self.assignments.append(
        MacroAssignment(name, statement.value, where, top)
      )
    for reference in _references(statement.value):
      if reference.is_macro:
        self.macros_used.setdefault(reference.name, where)
      else:
        resolve_selector(reference.name.split('/')[-1], modules, where)


def resolve_selector(
  selector: str, modules: Mapping[str, Any], where: str
) -> Any:
  """The function or class that `module.name` names in a file with these imports."""
  first, *names = selector.split('.')
  if first == 'gin':
    return None
  if first not in modules:
    raise ConfigError(
      f'{where}: {selector!r}: no import of {first!r} in this file.'
      f'{did_you_mean(first, modules) or " Add `from mathft_jax import ...`."}'
    )
  found = modules[first]
  for name in names:
    if not hasattr(found, name):
      public = [each for each in dir(found) if not each.startswith('_')]
      raise ConfigError(
        f'{where}: {first} has no {name!r}.{did_you_mean(name, public)}'
      )
    found = getattr(found, name)
  return found


def signature_parameters(configurable: Any) -> dict[str, inspect.Parameter]:
  """The parameters of a function or of a class's constructor."""
  return dict(inspect.signature(configurable).parameters)


class _AsWritten(config_parser.ParserDelegate):
  """Keeps references as they are written."""

  def configurable_reference(self, scoped_configurable_name, evaluate):
    return GinReference(scoped_configurable_name)

  def macro(self, macro_name):
    return GinReference(macro_name, is_macro=True)


def _check_parameter(configurable: Any, statement, where: str) -> None:
  if configurable is None:
    return
  known = signature_parameters(configurable)
  takes_any = any(
    each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()
  )
  if statement.arg_name not in known and not takes_any:
    raise ConfigError(
      f'{where}: {statement.selector} has no parameter {statement.arg_name!r}.'
      f'{did_you_mean(statement.arg_name, known)} It has: {", ".join(known)}.'
    )


def _references(value: Any) -> Iterator[GinReference]:
  if isinstance(value, GinReference):
    yield value
  elif isinstance(value, Mapping):
    for item in (*value.keys(), *value.values()):
      yield from _references(item)
  elif isinstance(value, (list, tuple)):
    for item in value:
      yield from _references(item)


def _siblings(statement) -> list[str]:
  """Names of the modules beside one that does not exist."""
  parent = statement.module.rpartition('.')[0]
  try:
    paths = importlib.import_module(parent).__path__
  except (ImportError, AttributeError, ValueError):
    return []
  return [
    child.stem for path in paths for child in pathlib.Path(path).iterdir()
  ]
