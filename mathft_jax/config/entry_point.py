"""Command-line entry point of all programs: parses flags and gin files and calls a function.

  python -m mathft_jax.train --gin_file=stages/ssft.gin --gin.MODEL_DIR=runs/x --gin.TRAIN_STEPS=100

Errors in flags and gin files are found before the program is called and reported in one message,
with file and line. Programs are plain functions with built objects as arguments; only this package
imports gin. Gin files start with `from __gin__ import dynamic_registration` and import the modules
whose names they use. The resolved configuration is written to `<workdir>/config.gin` when the
program has accepted the folder; a run with that file repeats the run.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import importlib
import inspect
import logging as python_logging
import os
import pathlib
import sys
import traceback

from absl import logging
import gin
from gin import config as gin_config
from gin import config_parser

from mathft_jax.config import (
  checkpoint_config,
  configured_programs,
  data_paths,
  flags,
  gin_files,
  help_text,
  number_limits,
  program_calls,
  resolved_config,
  t5x_files,
  terminal_text,
  unused_macros,
  vocabulary_size,
  warmup_default,
)
from mathft_jax.config.errors import ConfigError
from mathft_jax.distributed import stop_signals
from mathft_jax.monitoring import native_logs

PACKAGE = pathlib.Path(__file__).parent.parent

Program = Callable[..., object]
Arguments = dict[str, object]


def run_program(
  program: Program,
  *,
  plain_flags: Sequence[str] = (),
  stage_parameters: Mapping[str, Sequence[str]] | None = None,
) -> None:
  """Calls a program with the arguments that the command line gives, then exits.

  Args:
    program: a function of a module that was started as `python -m mathft_jax.<module>`.
    plain_flags: parameters that have their own flags, `--checkpoint=PATH`.
    stage_parameters: only for a program about other programs. It gets the programs that the gin
      files configure as its argument `stages`, with these parameters (see
      `configured_programs.build_configured_programs`). programs/<module>.gin is read first, and the
      program runs in one process.
  """
  program = _import_by_real_name(program)
  stop_signals.install(gin_name(program))
  status = main(
    program,
    sys.argv,
    plain_flags=plain_flags,
    stage_parameters=stage_parameters,
  )
  sys.exit(status)


def main(
  program: Program,
  argv: Sequence[str],
  *,
  plain_flags: Sequence[str] = (),
  stage_parameters: Mapping[str, Sequence[str]] | None = None,
) -> int:
  """Runs a program and returns its exit status; arguments as for `run_program`.

  The status is 0, 1 if the program rejects its input, 2 if the command line is wrong, or 75 if the
  program has stopped after SIGTERM or because another process is lost: run it again.
  """
  _log_to_stderr()
  name = gin_name(program)
  supplied = frozenset({'stages'} if stage_parameters else ())
  try:
    command_line = flags.parse_command_line(argv, plain_flags, name)
    if command_line.help:
      terminal_text.print_to_pipe(usage_text(program, plain_flags, supplied))
      return 0
    flags.apply_library_flags(command_line)
    logging.set_verbosity(command_line.verbosity)

    if stage_parameters:
      command_line = _read_own_gin_file_first(command_line, name)
    config = load_config(program, command_line, supplied)
    if command_line.dry_run:  # a run finds out when it reads its data
      data_paths.check_data_paths(config.macros())
      vocabulary_size.check_macros(config.macros())
    arguments: Arguments = resolved_config.build_arguments(program, config)
    if stage_parameters:
      arguments['stages'] = configured_programs.build_configured_programs(
        stage_parameters
      )
  except ConfigError as error:
    line = terminal_text.show_control_characters(f'{name}: {error}')
    print(line, file=sys.stderr)
    return 2

  if command_line.dry_run:
    return _print_dry_run(program, name, arguments, config)
  if stage_parameters:
    return program_calls.call_program(program, name, arguments)
  return program_calls.call_in_processes(
    program,
    name,
    arguments,
    command_line.process_config,
    config.text(),
    saved_config=(
      f'# python -m {program.__module__} --gin_file=config.gin\n{config.text()}'
    ),
  )


def load_config(
  program: Program,
  command_line: flags.CommandLine,
  supplied: frozenset[str] = frozenset(),
) -> resolved_config.ResolvedConfig:
  """Returns the checked configuration of a program.

  Args:
    program: the program.
    command_line: gin files and bindings.
    supplied: parameters that need no value in gin files.

  Raises:
    ConfigError: lists what is wrong.
  """
  reader = _read_gin_files(program, command_line)
  found = []
  for find in (checkpoint_config.find_source, warmup_default.find_source):
    source = find(reader)
    if source is not None:
      reader.read(source)
      found.append(source)
  _check_order(reader.assignments)
  unused_macros.check_macros(reader, gin_name(program))
  number_limits.check_assignments(reader.assignments)
  gin.clear_config()
  resolved_config.register_program(program)
  _parse_with_gin(reader, command_line, found)
  config = resolved_config.resolve_config(program, supplied)
  number_limits.check_bindings(config.bindings)
  return config


def usage_text(
  program: Program,
  plain_flags: Sequence[str] = (),
  supplied: frozenset[str] = frozenset(),
) -> str:
  """Returns the text of --help: what the program does, its flags and its parameters.

  Args:
    program: the program.
    plain_flags: parameters that have their own flags.
    supplied: parameters that users do not set; they are left out.
  """
  name = gin_name(program)
  module = importlib.import_module(program.__module__)
  return '\n'.join(
    [
      help_text.break_commands((module.__doc__ or '').strip()),
      '',
      'Flags:',
      flags.describe_flags(plain_flags, name),
      '',
      f'Parameters, to set in gin files or with --gin.{name}.PARAMETER=VALUE:',
      _describe_parameters(program, supplied),
      '',
      f'Gin files of the package: {gin_files.package_gin_directory()}',
    ]
  )


def _describe_parameters(program: Program, supplied: frozenset[str]) -> str:
  """Returns the parameters of a program with their descriptions and defaults."""
  descriptions = help_text.argument_descriptions(inspect.getdoc(program) or '')
  lines = []
  for parameter in gin_files.signature_parameters(program).values():
    if parameter.name in supplied:
      continue
    default = 'must be set'
    if parameter.default is not parameter.empty:
      default = f'default {help_text.short_value(parameter.default)}'
    text = descriptions.get(parameter.name, '')
    lines.append(help_text.entry(f'{parameter.name} ({default})', text))
  return '\n'.join(lines)


def gin_name(program: Program) -> str:
  """Returns the name of a program in gin files that import its module, such as `train.train`."""
  return f'{program.__module__.rpartition(".")[2]}.{program.__name__}'


def _print_dry_run(
  program: Program,
  name: str,
  arguments: Arguments,
  config: resolved_config.ResolvedConfig,
) -> int:
  """Prints the configuration and what the program says about it; returns the exit status."""
  try:
    comments = _describe_arguments(program, arguments, config)
  except ValueError as error:
    print(f'{name}: {error}', file=sys.stderr)
    return 2
  terminal_text.print_to_pipe(
    f'{config.text()}{comments}# Dry run: nothing was done.'
  )
  return 0


def _describe_arguments(
  program: Program,
  arguments: Arguments,
  config: resolved_config.ResolvedConfig,
) -> str:
  """Returns gin comments from `describe(**arguments)` of the program's and its stages' modules."""
  if 'jax' in sys.modules:  # a dry run does not initialize the accelerator
    sys.modules['jax'].config.update('jax_platforms', 'cpu')
  described = [('', program, arguments)]
  for subprogram in config.subprograms:
    scope = ''.join(f'{each}/' for each in subprogram.scope)
    described.append((scope, subprogram.function, subprogram.build_arguments()))

  text = ''
  for scope, function, values in described:
    describe = getattr(sys.modules[function.__module__], 'describe', None)
    if describe is None:
      continue
    description = f'{scope}{gin_name(function)}: {describe(**values)}'
    for line in description.splitlines():
      text += f'# {line}'.rstrip() + '\n'
  return text


def _read_own_gin_file_first(
  command_line: flags.CommandLine, name: str
) -> flags.CommandLine:
  own_file = f'programs/{name.partition(".")[0]}.gin'
  return dataclasses.replace(
    command_line, gin_files=(own_file, *command_line.gin_files)
  )


def _read_gin_files(
  program: Program, command_line: flags.CommandLine
) -> gin_files.GinReader:
  reader = gin_files.GinReader(command_line.search_paths)
  for name in command_line.gin_files:
    path = gin_files.find_gin_file(name, command_line.search_paths)
    source = gin_files.read_gin_file(path)
    t5x_files.check_not_t5x_file(source, command_line.search_paths)
    reader.read(source)

  module = program.__module__
  own_import = config_parser.ImportStatement(
    module, '.' in module, None, config_parser.Location(None, 0, None, '')
  )
  imported = [statement.bound_name() for statement in reader.imports]
  if own_import.bound_name() not in imported:
    reader.imports.append(own_import)
  reader.read(
    gin_files.command_line_source(command_line.bindings, reader.imports)
  )
  return reader


def _check_order(assignments: Sequence[gin_files.MacroAssignment]) -> None:
  """ConfigError if a later file resets a macro to %gin.REQUIRED that an earlier file has set."""
  last = {assignment.name: assignment for assignment in assignments}
  for assignment in assignments:
    reset = last[assignment.name]
    if reset.is_required and not assignment.is_required:
      raise ConfigError(
        f'{reset.where} resets {assignment.name} to %gin.REQUIRED, after {assignment.where} has '
        f'set it to {assignment.value!r}. Name {reset.source} before {assignment.source}.'
      )
    if assignment.name == 'TEMPLATE' and _is_plain_template(reset):
      if not _is_plain_template(assignment):
        raise ConfigError(
          f'{reset.where} resets TEMPLATE to the plain prompts, after {assignment.where} has set '
          f'it. Name {assignment.source} after {reset.source}.'
        )


def _is_plain_template(assignment: gin_files.MacroAssignment) -> bool:
  """Whether a macro is a template of the fields that gin files bind."""
  return getattr(assignment.value, 'name', '').endswith('Template')


def _parse_with_gin(
  reader: gin_files.GinReader,
  command_line: flags.CommandLine,
  found: Sequence[gin_files.GinSource],
) -> None:
  """Lets gin parse all sources, those that were found before the command line.

  What gin rejects is a ConfigError.
  """
  package = str(gin_files.package_gin_directory())
  for folder in (*command_line.search_paths, package):
    if folder not in gin_config._LOCATION_PREFIXES:
      gin.add_config_file_search_path(folder)
  bindings = gin_files.command_line_source(
    command_line.bindings, reader.imports
  )
  try:
    for name in command_line.gin_files:
      path = gin_files.find_gin_file(name, command_line.search_paths)
      gin.parse_config(gin_files.read_gin_file(path).text)
    for source in found:
      gin.parse_config(source.text)
    gin.parse_config(bindings.text)
  except (ValueError, SyntaxError, NameError, AttributeError, OSError) as error:
    raise ConfigError(str(error)) from error


def _import_by_real_name(program: Program) -> Program:
  """Returns the program from its module; with `python -m` it is defined in `__main__`."""
  if program.__module__ != '__main__':
    return program
  spec = sys.modules['__main__'].__spec__
  if spec is None:
    raise ConfigError(
      'Start programs as modules: python -m mathft_jax.<program>.'
    )
  return getattr(importlib.import_module(spec.name), program.__name__)


def _log_to_stderr() -> None:
  """Logs INFO of this package and WARNING of other libraries, with times."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  native_logs.skip_libtpu_without_tpu()
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  handler = logging.get_absl_handler()
  handler.setFormatter(terminal_text.LogFormatter())
  if _is_shown not in handler.filters:
    handler.addFilter(_is_shown)


def _is_shown(record: python_logging.LogRecord) -> bool:
  if record.module == 'resource_reader':
    return False  # gin logs an error for each search path without the file
  if '_CHECKPOINT_METADATA' in record.getMessage():
    return False  # orbax warns about each item that is read alone
  if record.exc_info and _is_of_save(record):
    return False  # the error of a background save; it is raised later, and printed as one line
  if record.levelno >= python_logging.WARNING:
    return True
  return pathlib.Path(record.pathname).is_relative_to(PACKAGE)


def _is_of_save(record: python_logging.LogRecord) -> bool:
  """Whether orbax logs an error, or asyncio logs that of a task that orbax has not awaited."""
  if 'orbax' in record.pathname:
    return True
  error = record.exc_info[1] if record.exc_info else None
  if record.name != 'asyncio' or error is None:
    return False
  frames = traceback.extract_tb(error.__traceback__)
  return any('orbax' in frame.filename for frame in frames)
