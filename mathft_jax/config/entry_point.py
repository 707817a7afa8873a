"""The door: flags and gin files in, one call of a program out. Gin is nowhere else.

  python -m mathft_jax.train --gin_file=stages/ssft.gin --gin.MODEL_DIR=runs/x --gin.TRAIN_STEPS=100

Everything that can be wrong with flags and files is found before the program is called and said in
one message, with file and line. Functions and dataclasses stay plain: gin files begin with `from
__gin__ import dynamic_registration` and import the modules they speak of. Programs get built
objects. The configuration that a run uses is written to `<workdir>/config.gin`; a run of that file
repeats it.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import importlib
import logging as python_logging
import os
import pathlib
import sys
import traceback
from typing import Any

from absl import logging
from etils import epath
import gin

from mathft_jax.config import (
  configured_programs,
  flags,
  gin_files,
  process_startup,
  resolved_config,
)
from mathft_jax.config.errors import ConfigError, did_you_mean
from mathft_jax.distributed import processes
from mathft_jax.storage import remote_paths

PACKAGE = pathlib.Path(__file__).parent.parent


def run_program(
  program: Callable[..., Any],
  *,
  plain_flags: Sequence[str] = (),
  of_stages: Mapping[str, Sequence[str]] | None = None,
) -> None:
  """Calls a program with what the command line says, and ends the process.

  Args:
    program: a function of a module that was started as `python -m mathft_jax.<module>`.
    plain_flags: its parameters that are flags of their own, `--checkpoint=PATH`.
    of_stages: for a program about programs: what it wants to know of those that the gin files
      configure (`stages.configured`), its parameter `stages`. Its own form, programs/<module>.gin,
      is then read first and need not be named, and it runs alone, whatever processes there are.
  """
  sys.exit(
    main(
      _under_real_name(program),
      sys.argv,
      plain_flags=plain_flags,
      of_stages=of_stages,
    )
  )


def main(
  program: Callable[..., Any],
  argv: Sequence[str],
  *,
  plain_flags: Sequence[str] = (),
  of_stages: Mapping[str, Sequence[str]] | None = None,
) -> int:
  """The exit status of a program: 0, 1 when it refused its input, 2 for a wrong command line."""
  _log_to_stderr()
  name, supplied = gin_name(program), frozenset({'stages'} if of_stages else ())
  try:
    arguments = flags.parse_command_line(argv, plain_flags, name)
    if arguments.help:
      print(usage_text(program, plain_flags, supplied))
      return 0
    flags.apply_library_flags(arguments)
    if of_stages:
      form = f'programs/{gin_name(program).partition(".")[0]}.gin'
      arguments = dataclasses.replace(
        arguments, gin_files=(form, *arguments.gin_files)
      )
    found = load_config(program, arguments, supplied)
    values = resolved_config.build_arguments(program, found)
    if of_stages:
      values['stages'] = configured_programs.find_configured_programs(of_stages)
  except ConfigError as error:
    print(f'{name}: {error}', file=sys.stderr)
    return 2
  if arguments.dry_run:
    print(
      found.text()
      + _shapes(program, values, found)
      + '# Dry run: nothing was done.'
    )
    return 0
  if of_stages:
    return _call(program, values)
  try:
    return _together(program, values, found.text(), arguments)
  except BaseException as error:
    process_startup.abort_all_processes(error)
    raise


def _together(
  program: Callable[..., Any],
  values: dict[str, Any],
  text: str,
  arguments: flags.CommandLine,
) -> int:
  """Calls the program in this process, which may be one of several."""
  name = gin_name(program)
  try:
    process_startup.start_process(arguments.place, name, text)
    remote_paths.check_remote_clients(text, name)
    process_startup.check_shared_workdir(values)
    if 'workdir' in values and processes.is_primary():
      remote_paths.check_writable(values['workdir'])
      save_config(values['workdir'], program, text)
  except ValueError as error:
    return process_startup.exit_with_message(name, str(error), 1)
  status = _call(program, values)
  processes.shutdown()
  return status


def load_config(
  program: Callable[..., Any],
  arguments: flags.CommandLine,
  supplied: frozenset[str] = frozenset(),
) -> resolved_config.ResolvedConfig:
  """The checked configuration of a program; `supplied` are parameters that need no value in it."""
  read = _read(program, arguments)
  _check_order(read.assignments)
  _check_macros(read, arguments)
  gin.clear_config()
  resolved_config.register_program(program)
  _parse(read, arguments)
  return resolved_config.resolve_config(program, supplied)


def save_config(
  workdir: epath.PathLike, program: Callable[..., Any], text: str
) -> None:
  """Writes <workdir>/config.gin; one of an earlier run that differs is kept as config.1.gin, ..."""
  path = epath.Path(workdir) / 'config.gin'
  text = f'# python -m {program.__module__} --gin_file=config.gin\n{text}'
  if path.exists() and (old := path.read_text()) != text:
    changed = sorted(set(text.splitlines()) ^ set(old.splitlines()))
    number = 1 + len(list(path.parent.glob('config.*.gin')))
    path.rename(path.parent / f'config.{number}.gin')
    logging.warning(
      '%s differs from that of the run before, which is config.%d.gin now: %s',
      path,
      number,
      '; '.join(changed)[:2000],
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


def usage_text(
  program: Callable[..., Any],
  plain_flags: Sequence[str] = (),
  supplied: frozenset[str] = frozenset(),
) -> str:
  """What the program does, its flags and its parameters, but for those that are `supplied`."""
  module = importlib.import_module(program.__module__)
  lines = []
  for name, each in gin_files.signature_parameters(program).items():
    if name in supplied:
      continue
    default = (
      'must be set' if each.default is each.empty else f'{each.default!r}'
    )
    lines.append(f'  {gin_name(program)}.{name}: {default}')
  return '\n'.join(
    [
      (module.__doc__ or '').strip(),
      '',
      'Flags:',
      flags.describe_flags(plain_flags, gin_name(program)),
      '',
      'Parameters, to set in gin files or by --gin.NAME=VALUE:',
      *lines,
      '',
      f'Gin files of the package: {gin_files.package_gin_directory()}',
      '',
      f'{gin_name(program)}: {(program.__doc__ or "").strip()}',
    ]
  )


def gin_name(program: Callable[..., Any]) -> str:
  """`train.train`: how gin files that import the program's module call it."""
  return f'{program.__module__.rpartition(".")[2]}.{program.__name__}'


def _shapes(
  program: Callable[..., Any],
  values: dict[str, Any],
  found: resolved_config.ResolvedConfig,
) -> str:
  """What the modules of the program and of its stages say of their arguments, as gin comments.

  A program's module may have `describe(**arguments) -> str`, which works on shapes alone.
  """
  if (
    'jax' in sys.modules
  ):  # whose backend is asked for constants: never the accelerator's
    sys.modules['jax'].config.update('jax_platforms', 'cpu')
  lines = []
  for scope, function, arguments in [
    ([], program, values),
    *resolved_config.build_subprogram_arguments(found),
  ]:
    describe = getattr(sys.modules[function.__module__], 'describe', None)
    if describe is not None:
      lines.append(
        f'{"/".join([*scope, gin_name(function)])}: {describe(**arguments)}'
      )
  return ''.join(
    f'# {line}'.rstrip() + '\n' for each in lines for line in each.splitlines()
  )


def _read(
  program: Callable[..., Any], arguments: flags.CommandLine
) -> gin_files.GinReader:
  reader = gin_files.GinReader(arguments.search_paths)
  for name in arguments.gin_files:
    path = gin_files.find_gin_file(name, arguments.search_paths)
    reader.read(gin_files.GinSource(str(path), path.read_text()))
  own = gin.config_parser.ImportStatement(
    program.__module__, '.' in program.__module__, None, None
  )
  if own.bound_name() not in {each.bound_name() for each in reader.imports}:
    reader.imports.append(own)
  reader.read(gin_files.command_line_source(arguments.bindings, reader.imports))
  return reader


def _check_order(assignments: Sequence[gin_files.MacroAssignment]) -> None:
  """ConfigError where a file takes back what an earlier one has set, and nothing sets it again."""
  last = {each.name: each for each in assignments}
  for each in assignments:
    reset = last[each.name]
    if reset.is_required and not each.is_required:
      raise ConfigError(
        f'{reset.where} resets {each.name} to %gin.REQUIRED, after {each.where} has set it to '
        f'{each.value!r}. Name {reset.source} before {each.source}.'
      )


def _check_macros(
  reader: gin_files.GinReader, arguments: flags.CommandLine
) -> None:
  """ConfigError for a macro on the command line that no file knows; a warning for one in a file."""
  in_files = {
    each.name for each in reader.assignments if each.source != 'command line'
  }
  for each in reader.assignments:
    if each.name in reader.macros_used:
      continue
    if each.source == 'command line' and each.name not in in_files:
      raise ConfigError(
        f'{each.where}: nothing uses {each.name}.'
        f'{did_you_mean(each.name, reader.macros_used)} In use: '
        f'{", ".join(sorted(reader.macros_used)) or "no macro"}.'
      )
    meant = did_you_mean(each.name, reader.macros_used, likeness=0.85)
    if each.source != 'command line' and meant:
      logging.warning(
        '%s: %s is set and used nowhere.%s', each.where, each.name, meant
      )


def _parse(reader: gin_files.GinReader, arguments: flags.CommandLine) -> None:
  """Gin's own reading of all sources; what it refuses is the person's mistake as well."""
  for place in (
    *arguments.search_paths,
    str(gin_files.package_gin_directory()),
  ):
    if place not in gin.config._LOCATION_PREFIXES:
      gin.add_config_file_search_path(place)
  try:
    for name in arguments.gin_files:
      path = gin_files.find_gin_file(name, arguments.search_paths)
      gin.parse_config(path.read_text())
    gin.parse_config(
      gin_files.command_line_source(arguments.bindings, reader.imports).text
    )
  except (ValueError, SyntaxError, NameError, AttributeError, OSError) as error:
    raise ConfigError(str(error)) from error


def _call(program: Callable[..., Any], values: dict[str, Any]) -> int:
  """Runs the program; what it refuses with ValueError is told without a traceback.

  So is a file that is not there: whatever library looked for it, its name is all that is to say.
  """
  try:
    result = program(**values)
  except FileNotFoundError as error:
    return process_startup.exit_with_message(
      gin_name(program),
      f'{error.filename or error}: no such file; wanted '
      'one that an earlier program has written, or data of yours.',
      1,
    )
  except ValueError as error:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not pathlib.Path(frames[-1].filename).is_relative_to(
      PACKAGE
    ):
      raise
    return process_startup.exit_with_message(
      gin_name(program), resolved_config.strip_gin_trailer(error), 1
    )
  logging.info('%s: %s', gin_name(program), result)
  return 0


def _under_real_name(program: Callable[..., Any]) -> Callable[..., Any]:
  """The program as its importers know it, also when its module was started as __main__."""
  if program.__module__ != '__main__':
    return program
  spec = sys.modules['__main__'].__spec__
  if spec is None:
    raise ConfigError(
      'Start programs as modules: python -m mathft_jax.<program>.'
    )
  return getattr(importlib.import_module(spec.name), program.__name__)


def _log_to_stderr() -> None:
  """Our lines from INFO on, other libraries' from WARNING on, each with its time."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  handler = logging.get_absl_handler()
  handler.setFormatter(
    python_logging.Formatter(
      '%(asctime)s %(levelname).1s %(message)s', '%H:%M:%S'
    )
  )
  if _ours not in handler.filters:
    handler.addFilter(_ours)


def _ours(record: python_logging.LogRecord) -> bool:
  if (
    record.module == 'resource_reader'
  ):  # gin calls each search path without the file an error
    return False
  if (
    '_CHECKPOINT_METADATA' in record.getMessage()
  ):  # orbax, of every item that is read on its own
    return False
  return record.levelno >= python_logging.WARNING or pathlib.Path(
    record.pathname
  ).is_relative_to(PACKAGE)
