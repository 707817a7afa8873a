"""Model, vocabulary and template of a checkpoint's run, for programs that name only the checkpoint.

  python -m mathft_jax.score --gin_file=programs/score.gin --gin.CHECKPOINT_PATH=runs/scr ...

If MODEL, VOCABULARY or TEMPLATE is not set, it is read from the `config.gin` that the training run
or the recipe has written; also TEMPLATE if it is the default of a file in data/. Whether it fits
the checkpoint is checked when the checkpoint is read.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

from absl import logging
from etils import epath
from gin import config_parser

from mathft_jax.config import gin_files
from mathft_jax.config.errors import ConfigError
from mathft_jax.config.gin_files import GinReference, GinSource

MACROS = ('MODEL', 'VOCABULARY', 'TEMPLATE')
DEFAULT_TEMPLATE = GinReference('prompt_templates.Template')
CHECKPOINTS = 'checkpoints'  # <recipe>/<stage>/checkpoints/<step>


def find_source(reader: gin_files.GinReader) -> GinSource | None:
  """Returns what gin must also read for macros that are used and not set; None if nothing.

  Args:
    reader: has read all gin files and the command line.
  """
  last = {each.name: each for each in reader.assignments}
  checkpoint = last.get('CHECKPOINT_PATH')
  if checkpoint is None or not isinstance(checkpoint.value, str):
    return None
  unset = []
  for name in MACROS:
    if name in reader.macros_used and not _is_set(last.get(name), reader):
      unset.append(name)
  path = _find_config(checkpoint.value) if unset else None
  if path is None:
    return None

  source = gin_files.read_gin_file(path)
  text, found = _select(source, unset)
  if not found:
    return None
  logging.info('%s: as in %s', ', '.join(found), path)
  return GinSource(str(path), text)


def _is_set(
  assignment: gin_files.MacroAssignment | None, reader: gin_files.GinReader
) -> bool:
  """Whether a macro has a value that is not the default template of a file in data/."""
  if assignment is None or assignment.is_required:
    return False
  folder = gin_files.package_gin_directory() / 'data'
  is_default = (
    os.path.abspath(assignment.where).startswith(f'{folder}{os.sep}')
    and assignment.value == DEFAULT_TEMPLATE
    and DEFAULT_TEMPLATE.name not in reader.bound
  )
  return not is_default


def _find_config(checkpoint: str) -> epath.Path | None:
  """Returns the config.gin of the run that wrote a checkpoint; of a recipe, in the folder above."""
  folder = epath.Path(checkpoint)
  if folder.parent.name == CHECKPOINTS:
    folder = folder.parent
  if folder.name == CHECKPOINTS:
    folder = folder.parent
  try:
    if not (folder / CHECKPOINTS).is_dir():
      return None
    for path in (folder / 'config.gin', folder.parent / 'config.gin'):
      if path.is_file():
        return path
  except (OSError, ImportError, ValueError):
    pass  # the program reports it when it reads the checkpoint
  return None


@dataclasses.dataclass(frozen=True)
class _Part:
  """A statement and its lines."""

  statement: Any
  text: str


def _select(source: GinSource, names: Sequence[str]) -> tuple[str, list[str]]:
  """Returns the text of some macros with all that they refer to, and the macros that exist."""
  try:
    parts = _split(source)
  except ConfigError:
    return '', []
  macros, scopes = set(names), set(names)
  selected: list[_Part] = []
  modules = {'dynamic_registration'}
  while True:
    found = [part for part in parts if _is_needed(part, macros, scopes)]
    if len(found) == len(selected):
      break
    selected = found
    for part in found:
      if part.statement.arg_name:
        modules.add(part.statement.selector.partition('.')[0])
      for reference in gin_files.iter_nested(
        part.statement.value, GinReference
      ):
        scope, _, selector = reference.name.rpartition('/')
        if reference.is_macro:
          macros.add(reference.name)
          scope = reference.name
        else:
          modules.add(selector.partition('.')[0])
        if scope:
          scopes.add(scope)

  existing = []
  for part in selected:
    if not part.statement.arg_name and part.statement.selector in names:
      existing.append(part.statement.selector)
  imports = [part for part in parts if _is_import(part, modules)]
  return ''.join(part.text for part in [*imports, *selected]), existing


def _split(source: GinSource) -> list[_Part]:
  lines = source.text.splitlines(keepends=True)
  statements = list(gin_files.parse_statements(source))
  starts = [each.location.line_num - 1 for each in statements] + [len(lines)]
  parts = []
  for statement, start, end in zip(statements, starts, starts[1:]):
    parts.append(_Part(statement, ''.join(lines[start:end])))
  return parts


def _is_import(part: _Part, modules: set[str]) -> bool:
  statement = part.statement
  is_import = isinstance(statement, config_parser.ImportStatement)
  return is_import and statement.bound_name() in modules


def _is_needed(part: _Part, macros: set[str], scopes: set[str]) -> bool:
  """Whether a statement sets one of the macros, or a parameter in one of the scopes."""
  statement = part.statement
  if not isinstance(statement, config_parser.BindingStatement):
    return False
  if statement.arg_name:
    return statement.scope in scopes
  scope = f'{statement.scope}/' if statement.scope else ''
  return f'{scope}{statement.selector}' in macros
