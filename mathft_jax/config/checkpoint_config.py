"""Model, vocabulary and template of a checkpoint, for programs that name only the checkpoint.

  python -m mathft_jax.score --gin_file=programs/score.gin --gin.CHECKPOINT_PATH=runs/scr ...

If MODEL, VOCABULARY or TEMPLATE is not set, it is that of the checkpoint; also TEMPLATE if it is
the default of a file in data/. A training gets them from INITIAL_CHECKPOINT_PATH. For a checkpoint
without them in its metadata (an older one, or one with a vocabulary of the user's own), they are
read from the `config.gin` that the training run or the recipe has written. Whether they fit the
checkpoint is checked when the checkpoint is read.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
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
CHECKPOINT_MACROS = ('CHECKPOINT_PATH', 'INITIAL_CHECKPOINT_PATH')
PROMPTS = 'prompts'  # in metadata: vocabulary and template
MAX_HEADER_BYTES = 100_000_000  # limit of the format

SCOPE = 'of_checkpoint'
VALUES = {
  'MODEL': 'checkpoints.load_model_config',
  'VOCABULARY': 'checkpoint_prompts.load_vocabulary',
  'TEMPLATE': 'checkpoint_prompts.load_template',
}
# Macros that change a value of the checkpoint if they are set: macro -> (value, parameter).
CHANGES = {
  'ATTENTION_KERNEL': ('MODEL', 'attention_kernel'),
  'DROPOUT_RATE': ('MODEL', 'dropout_rate'),
  'TOKENIZER_PATH': ('VOCABULARY', 'tokenizer_path'),
}


def find_source(reader: gin_files.GinReader) -> GinSource | None:
  """Returns what gin must also read for macros that are used and not set; None if nothing.

  Args:
    reader: has read all gin files and the command line.
  """
  last = {each.name: each for each in reader.assignments}
  unset = []
  for name in MACROS:
    if name in reader.macros_used and not _is_set(last.get(name), reader):
      unset.append(name)
  if not unset:
    return None

  for macro in CHECKPOINT_MACROS:
    path = _checkpoint_of(last.get(macro))
    if path and macro in reader.macros_used and _has_prompts(path):
      logging.info('%s: of the checkpoint %s', ', '.join(unset), path)
      return GinSource(path, _read_at_start(unset, macro, last))
  checkpoint = _checkpoint_of(last.get('CHECKPOINT_PATH'))
  return _of_config(checkpoint, unset) if checkpoint else None


def _checkpoint_of(assignment: gin_files.MacroAssignment | None) -> str | None:
  """Returns the path that a macro has; None if it is not set, or no text."""
  if assignment is None or not isinstance(assignment.value, str):
    return None
  return assignment.value


def _has_prompts(checkpoint: str) -> bool:
  """Whether the metadata of a checkpoint has its vocabulary and template."""
  folder = epath.Path(checkpoint)
  try:
    if folder.suffix == '.safetensors' and folder.is_file():
      return PROMPTS in _metadata_of_file(folder)
    steps = [folder]
    for parent in (folder, folder / CHECKPOINTS):
      numbers = []
      for path in parent.iterdir() if parent.is_dir() else ():
        if path.name.isdigit():
          numbers.append(int(path.name))
      steps += [parent / str(step) for step in sorted(numbers, reverse=True)]
    for step in steps:
      file = step / 'metadata' / 'metadata'
      if file.is_file():
        return PROMPTS in json.loads(file.read_text())
  except (OSError, ImportError, ValueError, AttributeError):
    pass  # the program reports it when it reads the checkpoint
  return False


def _metadata_of_file(path: epath.Path) -> Mapping[str, Any]:
  """Returns the metadata in the header of a safetensors file; {} if it has none."""
  with path.open('rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    if length > MAX_HEADER_BYTES:
      return {}
    header = json.loads(file.read(length))
  return json.loads(header.get('__metadata__', {}).get('metadata', '{}'))


def _read_at_start(
  unset: Sequence[str],
  checkpoint_macro: str,
  last: Mapping[str, gin_files.MacroAssignment],
) -> str:
  """Returns gin text that reads values from a checkpoint when the arguments are built."""
  lines = [
    'from __gin__ import dynamic_registration',
    'from mathft_jax import checkpoints',
    'from mathft_jax.inference import checkpoint_prompts',
  ]
  for name in unset:
    function = f'{SCOPE}/{VALUES[name]}'
    lines.append(f'{name} = @{function}()')
    lines.append(f'{function}.path = %{checkpoint_macro}')
  for macro, (name, parameter) in CHANGES.items():
    if name in unset and macro in last and not last[macro].is_required:
      lines.append(f'{SCOPE}/{VALUES[name]}.{parameter} = %{macro}')
  return '\n'.join(lines) + '\n'


def _of_config(checkpoint: str, unset: Sequence[str]) -> GinSource | None:
  """Returns the macros as in the config.gin of the run that wrote a checkpoint."""
  path = _find_config(checkpoint)
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
