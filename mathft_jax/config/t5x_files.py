"""Gin files of t5x that are named on the command line: what carries over, as one message.

  check_not_t5x_file(GinSource('finetune.gin', text), search_paths=[])

A gin file of t5x imports its modules and binds its classes, which programs of this package do not
have. The message lists the macros to keep, those with another name or meaning, and those without a
counterpart.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import importlib.util
import pathlib

from etils import epath
from gin import config_parser

from mathft_jax.config import gin_files, t5x_names
from mathft_jax.config.errors import ConfigError
from mathft_jax.config.gin_files import GinReference, GinSource


@dataclasses.dataclass
class _Settings:
  """Settings of t5x files by kind: name -> text of the value."""

  kept: dict[str, str] = dataclasses.field(default_factory=dict)
  changed: dict[str, str] = dataclasses.field(default_factory=dict)
  without: dict[str, str] = dataclasses.field(default_factory=dict)
  unknown: dict[str, str] = dataclasses.field(default_factory=dict)
  unread: list[str] = dataclasses.field(default_factory=list)
  read: list[str] = dataclasses.field(default_factory=list)


def check_not_t5x_file(source: GinSource, search_paths: Sequence[str]) -> None:
  """Checks that a gin file is not one of t5x.

  Args:
    source: the file.
    search_paths: folders in which included files are searched.

  Raises:
    ConfigError: lists what carries over and what does not.
  """
  reason = _sign_of_t5x(source)
  if not reason:
    return
  settings = _Settings()
  _collect(source, search_paths, settings)
  raise ConfigError(
    f'{source.name} is a gin file of t5x ({reason}); programs of mathft_jax do not read it.\n'
    f'{_describe(settings)}'
    'Model, data and objective are gin files of this package: --gin_file=stages/ssft.gin '
    '--gin_file=models/<one>.gin --gin_file=data/math.gin. docs/t5x.md has all names.'
  )


def _sign_of_t5x(source: GinSource) -> str:
  """Returns the first statement that only gin files of t5x have; '' without one."""
  for statement in gin_files.parse_statements(source):
    line = f'line {statement.location.line_num}'
    if isinstance(statement, config_parser.ImportStatement):
      if statement.module.partition('.')[0] in ('t5x', '__main__'):
        return f'{line}: {statement.format()}'
    if isinstance(statement, config_parser.IncludeStatement):
      if statement.filename.startswith('t5x/'):
        return f'{line}: include {statement.filename!r}'
  return ''


def _collect(
  source: GinSource, search_paths: Sequence[str], settings: _Settings
) -> None:
  """Adds the settings of a file and of those that it includes; later ones replace earlier ones."""
  for statement in gin_files.parse_statements(source):
    if isinstance(statement, config_parser.IncludeStatement):
      path = _find(statement.filename, search_paths)
      if path is None:
        settings.unread.append(statement.filename)
        continue
      included = gin_files.read_gin_file(path)
      if included.name not in settings.read:
        settings.read.append(included.name)
        _collect(included, search_paths, settings)
    elif isinstance(statement, config_parser.BindingStatement):
      _add(statement, settings)


def _find(name: str, search_paths: Sequence[str]) -> epath.Path | None:
  """Returns an included file; those of t5x are also searched in its installed package."""
  folders = ['.', *search_paths]
  installed = importlib.util.find_spec('t5x')
  for location in (installed and installed.submodule_search_locations) or []:
    folders.append(str(pathlib.Path(location).parent))
  for folder in folders:
    path = epath.Path(folder) / name
    if path.is_file():
      return path
  return None


def _add(
  statement: config_parser.BindingStatement, settings: _Settings
) -> None:
  value = statement.value
  if statement.arg_name:
    has_reference = any(gin_files.iter_nested(value, GinReference))
    if has_reference or statement.scope not in ('', 'train'):
      return  # a macro, which has its own line, an object of t5x, or a setting of its evaluations
    name = f'{statement.selector}.{statement.arg_name}'
    here = t5x_names.find_parameter(statement.selector, statement.arg_name)
  else:
    name = statement.selector
    here = t5x_names.find_macro(name)
    if value == GinReference('gin.REQUIRED', is_macro=True):
      return

  for kind in (settings.kept, settings.changed, settings.without):
    kind.pop(name, None)  # the last value counts
  if value is None:
    return  # the default
  text = f'{name} = {_text(value)}'
  if here is None:
    settings.unknown[name] = text
  elif here.name is None:
    settings.without[name] = f'{text}: {here.note}'
  elif isinstance(value, GinReference):
    settings.changed[name] = f'{text}: {here.note or here.name}'
  elif here.name == name and not here.note:
    settings.kept[name] = text
  elif here.name == name:
    settings.changed[name] = f'{text}: {here.note}'
  else:
    line = f'{here.name} = {_text(value)}'
    note = f' ({here.note})' if here.note else ''
    settings.changed[name] = f'{text}: {line}{note}'


def _text(value: object) -> str:
  if isinstance(value, GinReference):
    return f'{"%" if value.is_macro else "@"}{value.name}'
  return repr(value)


def _describe(settings: _Settings) -> str:
  parts = (
    ('Carries over', settings.kept.values()),
    ('Has another name, value or meaning', settings.changed.values()),
    ('Has no counterpart', settings.without.values()),
    ('Not known here', settings.unknown.values()),
    ('Included, but not found', settings.unread),
  )
  return ''.join(_list(title, lines) for title, lines in parts)


def _list(title: str, lines: Iterable[str]) -> str:
  indented = [f'  {line}\n' for line in lines]
  return f'{title}:\n{"".join(indented)}' if indented else ''
