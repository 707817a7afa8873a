"""Macros that are set and that nothing uses: typing errors, and names of t5x without an effect."""

import os
import re

from absl import logging

from mathft_jax.config import gin_files, macro_kinds, t5x_names
from mathft_jax.config.errors import ConfigError, did_you_mean, names_after_hint


def check_macros(reader: gin_files.GinReader, program: str = '') -> None:
  """Checks that all macros that the user sets are used.

  Macros of gin files are only reported in the log: a file may be shared by several programs. Those
  of the package's own files are not reported, unless their name is similar to one in use.

  Args:
    reader: has read all gin files and the command line.
    program: its gin name, such as 'sample.sample'.

  Raises:
    ConfigError: nothing uses a macro of the command line.
  """
  in_files, on_command_line = [], []
  for assignment in reader.assignments:
    is_flag = assignment.source == 'command line'
    (on_command_line if is_flag else in_files).append(assignment)

  known = {*reader.macros_used, *(each.name for each in in_files)}
  values = {}
  for assignment in reader.assignments:
    if not assignment.is_required:
      values[assignment.name] = assignment.value
  for assignment in on_command_line:
    if assignment.name not in known:
      module = program.partition('.')[0]
      other = macro_kinds.explain_unused(
        assignment.name, module, reader.macros_used, values
      )
      if other:
        raise ConfigError(
          f'{assignment.where}: nothing uses {assignment.name}.{other}'
        )
      hint = t5x_names.explain_macro(assignment.name)
      hint = hint or did_you_mean(assignment.name, reader.macros_used)
      hint = hint or _missing_gin_file(assignment.name, program, reader)
      used = names_after_hint(hint, 'In use', sorted(reader.macros_used))
      raise ConfigError(
        f'{assignment.where}: nothing uses {assignment.name}.{hint}{used}'
      )

  for assignment in reader.assignments:
    if assignment.name not in reader.macros_used:
      _warn(assignment, reader)


def _missing_gin_file(
  macro: str, program: str, reader: gin_files.GinReader
) -> str:
  """Returns which gin file of the package uses a macro; '' if no file is known."""
  name = program.partition('.')[0]
  package = gin_files.package_gin_directory()
  own_file = f'programs/{name}.gin'
  if name in ('recipe', 'experiments') and not reader.macros_used:
    return ' Add --gin_file=recipes/<one>.gin, or a gin file of your own.'
  if not (package / own_file).is_file():
    return ''
  text = (package / own_file).read_text()
  if not re.search(rf'%{re.escape(macro)}\b', text):
    return ''
  if name == 'train':
    return f' Add --gin_file=stages/<one>.gin; they include {own_file}, which uses it.'
  return f' Add --gin_file={own_file}, which uses it.'


def _warn(
  assignment: gin_files.MacroAssignment, reader: gin_files.GinReader
) -> None:
  """Logs that nothing uses a macro, if the user has set it or its name is similar to another."""
  hint = t5x_names.explain_macro(assignment.name)
  hint = hint or did_you_mean(assignment.name, reader.macros_used, 0.85)
  package = str(gin_files.package_gin_directory())
  if os.path.abspath(assignment.where).startswith(package):
    # the package's files are shared by programs that use other macros
    hint = did_you_mean(assignment.name, reader.macros_used, 0.85)
    if not hint:
      return
  logging.warning(
    '%s: %s is set and not used.%s', assignment.where, assignment.name, hint
  )
