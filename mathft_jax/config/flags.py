"""Command-line flags that all programs share, named as in t5x.

  command_line = parse_command_line(sys.argv)

Strings in `--gin.NAME=VALUE` need no quotes.
"""

import ast
from collections.abc import Sequence
import dataclasses
import os
import re

from absl import flags

from mathft_jax.config import compilation_cache, gin_files, help_text
from mathft_jax.config.errors import ConfigError
from mathft_jax.distributed import cluster_detection

GIN_VALUE_PREFIXES = ('@', '%', '[', '(', '{', "'", '"')


@dataclasses.dataclass(frozen=True)
class CommandLine:
  """Values of the flags.

  Attributes:
    gin_files: gin files, later ones win.
    bindings: gin statements, in order.
    search_paths: folders with gin files.
    process_config: flags about processes.
    verbosity: as in absl: 1 debug, 0 info, -1 warning, -2 error.
  """

  gin_files: tuple[str, ...] = ()
  bindings: tuple[str, ...] = ()
  search_paths: tuple[str, ...] = ()
  dry_run: bool = False
  help: bool = False
  tfds_data_dir: str | None = None
  compilation_cache_dir: str | None = None
  verbosity: int = 0
  process_config: cluster_detection.ProcessConfig = (
    cluster_detection.ProcessConfig()
  )


def parse_command_line(
  argv: Sequence[str], plain_flags: Sequence[str] = (), program: str = ''
) -> CommandLine:
  """Parses `argv[1:]`.

  Args:
    argv: as in sys.argv.
    plain_flags: parameters of the program that have their own flags, `--checkpoint=PATH`. With
      'json=True' the flag is `--json`, without a value, and sets `json` to True.
    program: the program's gin name, `convert.convert`.

  Raises:
    ConfigError: a flag is unknown or has a wrong value.
  """
  flag_values = _define_flags()
  switches = {}
  for name in plain_flags:
    if '=' in name:
      switches[f'--{name.partition("=")[0]}'] = f'{program}.{name}'
      continue
    flags.DEFINE_string(name, None, '', flag_values=flag_values)

  other_arguments, bindings = [], []
  for argument in argv[1:]:
    flag, equals, value = argument.partition('=')
    name = flag.lstrip('-').removeprefix('gin.')
    if argument.startswith(('--gin.', '-gin.')):
      if not equals:
        raise ConfigError(f'{flag} has no value. Write {flag}=VALUE.')
      bindings.append(f'{name} = {quote_as_gin_literal(value)}')
    elif argument in switches:
      bindings.append(switches[argument])
    elif flag.startswith('-') and name in plain_flags and equals:
      bindings.append(f'{program}.{name} = {quote_as_gin_literal(value)}')
    elif flag.startswith('-') and name == 'gin_bindings' and equals:
      bindings.append(value)
    else:
      other_arguments.append(argument)

  try:
    positional = flag_values([argv[0], *other_arguments])[1:]
  except flags.Error as error:
    raise ConfigError(_describe_error(error, other_arguments)) from error
  if positional:
    raise ConfigError(
      f'{positional}: arguments without a name. Write --flag=VALUE; see --help.'
    )

  return CommandLine(
    gin_files=tuple(flag_values.gin_file),
    bindings=(*flag_values.gin_bindings, *bindings),
    search_paths=tuple(flag_values.gin_search_paths),
    dry_run=flag_values.dry_run,
    help=flag_values.help,
    tfds_data_dir=flag_values.tfds_data_dir,
    compilation_cache_dir=flag_values.compilation_cache_dir,
    verbosity=flag_values.verbosity,
    process_config=_process_config(flag_values),
  )


def _describe_error(error: flags.Error, arguments: Sequence[str]) -> str:
  hint = ''
  if isinstance(error, flags.UnrecognizedFlagError):
    hint = _macro_hint(error.flagname, arguments)
  return f'{str(error).rstrip(".")}.{hint} See --help.'


def _macro_hint(flag: str, arguments: Sequence[str]) -> str:
  """Returns how to set a macro whose name in lower case was written as a flag."""
  value = 'VALUE'
  for argument in arguments:
    name, equals, text = argument.partition('=')
    if name.lstrip('-') == flag and equals:
      value = text
  macro = flag.replace('-', '_').upper()
  pattern = re.compile(rf'^{re.escape(macro)} = |%{re.escape(macro)}\b', re.M)
  for path in gin_files.package_gin_directory().rglob('*.gin'):
    if pattern.search(path.read_text()):
      return f' Did you mean --gin.{macro}={value}?'
  return ' Macros and parameters are set with --gin.NAME=VALUE.'


def _process_config(
  flag_values: flags.FlagValues,
) -> cluster_detection.ProcessConfig:
  """The flags of a run with several processes; ConfigError if they contradict each other."""
  process_flags = {}
  for field in dataclasses.fields(cluster_detection.ProcessConfig):
    process_flags[field.name] = getattr(flag_values, field.name)
  process_config = cluster_detection.ProcessConfig(**process_flags)
  try:
    cluster_detection.check_process_config(process_config)
  except ValueError as error:
    raise ConfigError(str(error)) from error
  return process_config


def describe_flags(plain_flags: Sequence[str] = (), program: str = '') -> str:
  """Returns help on the flags, one line each."""
  entries = {}
  for name in plain_flags:
    flag, _, value = name.partition('=')
    what = f'sets {program}.{name}' if value else f'parameter {program}.{name}'
    entries[f'--{flag}'] = f'{what}.'
  entries['--gin.NAME=VALUE'] = (
    'Sets a macro or a parameter; strings need no quotes.'
  )
  flag_values = _define_flags()
  for name in sorted(flag_values):
    if len(name) > 1:  # short names
      text = flag_values[name].help or ''
      # absl appends a sentence to the texts of flags that may be repeated
      entries[f'--{name}'] = text.partition('; repeat this option')[0]
  return '\n'.join(map(help_text.entry, entries, entries.values()))


def apply_library_flags(command_line: CommandLine) -> None:
  """Passes on the flags of TFDS and jax, which read the environment."""
  if command_line.tfds_data_dir:
    os.environ['TFDS_DATA_DIR'] = command_line.tfds_data_dir
  if command_line.compilation_cache_dir:
    compilation_cache.set_folder(command_line.compilation_cache_dir)
  if not flags.FLAGS.is_parsed():
    # Libraries that read absl flags get the defaults.
    flags.FLAGS.mark_as_parsed()


def quote_as_gin_literal(value: str) -> str:
  """Returns a command-line value as gin reads it.

  Numbers, None, lists and references stay; everything else becomes a quoted string.
  """
  stripped = value.strip()
  is_path = stripped.startswith('{') and not stripped.endswith('}')
  if stripped.startswith(GIN_VALUE_PREFIXES) and not is_path:  # {split}.jsonl
    return stripped
  try:
    ast.literal_eval(stripped)
    return stripped
  except (ValueError, SyntaxError):
    return repr(value)


def _define_flags() -> flags.FlagValues:
  flag_values = flags.FlagValues()
  defaults = cluster_detection.ProcessConfig()

  def define_list(name: str, help_text: str) -> None:
    flags.DEFINE_multi_string(name, [], help_text, flag_values=flag_values)

  def define_string(name: str, help_text: str) -> None:
    flags.DEFINE_string(name, None, help_text, flag_values=flag_values)

  def define_int(name: str, help_text: str) -> None:
    flags.DEFINE_integer(name, None, help_text, flag_values=flag_values)

  def define_seconds(name: str, default: float, help_text: str) -> None:
    flags.DEFINE_float(name, default, help_text, flag_values=flag_values)

  define_list('gin_file', 'Gin file. Repeat the flag for more; later ones win.')
  define_list('gin_bindings', 'One line of gin. Repeatable.')
  define_list(
    'gin_search_paths',
    'Folders with gin files, searched after the current folder and before those of the package.',
  )
  define_string('tfds_data_dir', 'Folder of prepared TFDS data sets.')
  define_string(
    'compilation_cache_dir',
    'Folder or bucket in which jax stores compiled programs; "off": they are not stored. By '
    "default a folder in the user's cache directory, in runs with one process.",
  )
  define_string(
    'coordinator_address',
    'HOST:PORT of process 0 if there are several processes. On TPU pods and under SLURM it is '
    'detected, like the next two.',
  )
  define_int('process_count', 'Number of processes.')
  define_int('process_index', 'Index of this process, from 0.')
  define_seconds(
    'start_timeout_s',
    defaults.start_timeout_s,
    'Seconds to wait for the other processes at the start.',
  )
  define_seconds(
    'heartbeat_timeout_s',
    defaults.heartbeat_timeout_s,
    'Abort if a process is silent for this many seconds.',
  )
  _define_usual_flags(flag_values)
  flags.DEFINE_boolean(
    'dry_run',
    False,
    'Check and print the configuration and the memory of training runs, then exit.',
    flag_values=flag_values,
  )
  flags.DEFINE_boolean(
    'help',
    False,
    'Print this text and exit.',
    short_name='h',
    flag_values=flag_values,
  )
  return flag_values


def _define_usual_flags(flag_values: flags.FlagValues) -> None:
  """Defines flags of absl and t5x that people are used to."""
  flags.DEFINE_integer(
    'verbosity',
    0,
    'Lowest level of the log: 1 debug, 0 info, -1 warning, -2 error.',
    short_name='v',
    flag_values=flag_values,
  )
  without_effect = {
    'alsologtostderr': 'the log is on stderr',
    'logtostderr': 'the log is on stderr',
    'multiprocess_gpu': '--coordinator_address is enough for several processes',
  }
  for name, reason in without_effect.items():
    flags.DEFINE_boolean(
      name, False, f'Without effect: {reason}.', flag_values=flag_values
    )
