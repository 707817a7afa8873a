"""The flags that all programs share, with t5x's names, and strings that need no escaped quotes."""

import ast
from collections.abc import Sequence
import dataclasses
import os
import sys

from absl import flags

from mathft_jax.config.errors import ConfigError
from mathft_jax.distributed import cluster_detection

BEGINS_A_GIN_VALUE = ('@', '%', '[', '(', '{', "'", '"')


@dataclasses.dataclass(frozen=True)
class CommandLine:
  """What stands on a command line."""

  gin_files: tuple[str, ...] = ()
  bindings: tuple[str, ...] = ()  # gin statements, in the order given
  search_paths: tuple[str, ...] = ()
  dry_run: bool = False
  help: bool = False
  tfds_data_dir: str | None = None
  compilation_cache_dir: str | None = None
  place: cluster_detection.ProcessConfig = cluster_detection.ProcessConfig()


def parse_command_line(
  argv: Sequence[str], plain: Sequence[str] = (), program: str = ''
) -> CommandLine:
  """The arguments in `argv[1:]`; ConfigError for unknown flags.

  Args:
    argv: as in sys.argv.
    plain: parameters of the program that are flags of their own, `--checkpoint=PATH`.
    program: the program's gin name, `convert.convert`.
  """
  values = _definitions()
  for name in plain:
    flags.DEFINE_string(
      name, None, f'Parameter {program}.{name}.', flag_values=values
    )
  rest, bindings = [], []
  for argument in argv[1:]:
    flag, equals, value = argument.partition('=')
    name = flag.lstrip('-').removeprefix('gin.')
    if argument.startswith('--gin.') or argument.startswith('-gin.'):
      if not equals:
        raise ConfigError(f'{flag} has no value; wanted {flag}=VALUE.')
      bindings.append(f'{name} = {quote_as_gin_literal(value)}')
    elif flag.startswith('-') and name in plain and equals:
      bindings.append(f'{program}.{name} = {quote_as_gin_literal(value)}')
    elif flag.startswith('-') and name == 'gin_bindings' and equals:
      bindings.append(value)
    else:
      rest.append(argument)
  try:
    positional = values([argv[0], *rest])[1:]
  except flags.Error as error:
    raise ConfigError(f'{error}. See --help.') from error
  if positional:
    raise ConfigError(
      f'{positional}: arguments without a name; wanted --flag=value. See --help.'
    )
  place = cluster_detection.ProcessConfig(
    **{
      field.name: getattr(values, field.name)
      for field in dataclasses.fields(cluster_detection.ProcessConfig)
    }
  )
  try:
    cluster_detection.check_process_config(place)
  except ValueError as error:
    raise ConfigError(str(error)) from error
  return CommandLine(
    gin_files=tuple(values.gin_file),
    bindings=(*values.gin_bindings, *bindings),
    search_paths=tuple(values.gin_search_paths),
    dry_run=values.dry_run,
    help=values.help,
    tfds_data_dir=values.tfds_data_dir,
    compilation_cache_dir=values.compilation_cache_dir,
    place=place,
  )


def describe_flags(plain: Sequence[str] = (), program: str = '') -> str:
  """The flags with a line on each."""
  values = _definitions()
  lines = [f'  --{name}: {values[name].help}' for name in sorted(values)]
  lines.insert(
    0, '  --gin.NAME=VALUE: sets a macro or parameter; strings need no quotes.'
  )
  lines[:0] = [f'  --{name}: parameter {program}.{name}.' for name in plain]
  return '\n'.join(lines)


def apply_library_flags(arguments: CommandLine) -> None:
  """Makes the flags for other libraries known to them."""
  if arguments.tfds_data_dir:
    os.environ['TFDS_DATA_DIR'] = arguments.tfds_data_dir
  if arguments.compilation_cache_dir:
    os.environ['JAX_COMPILATION_CACHE_DIR'] = arguments.compilation_cache_dir
    if 'jax' in sys.modules:  # which read its environment when it was imported
      sys.modules['jax'].config.update(
        'jax_compilation_cache_dir', arguments.compilation_cache_dir
      )
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # libraries that read absl flags find their defaults


def quote_as_gin_literal(value: str) -> str:
  """A command line value as gin reads it: numbers, None, lists, references; else a string."""
  stripped = value.strip()
  if stripped.startswith(BEGINS_A_GIN_VALUE):
    return stripped
  try:
    ast.literal_eval(stripped)
    return stripped
  except (ValueError, SyntaxError):
    return repr(value)


def _definitions() -> flags.FlagValues:
  values = flags.FlagValues()
  flags.DEFINE_multi_string(
    'gin_file',
    [],
    'A gin file; repeat the flag for more, later ones win.',
    flag_values=values,
  )
  flags.DEFINE_multi_string(
    'gin_bindings', [], 'A line of gin; repeatable.', flag_values=values
  )
  flags.DEFINE_multi_string(
    'gin_search_paths',
    [],
    "Where gin files are searched, after the current folder and before the package's own.",
    flag_values=values,
  )
  flags.DEFINE_boolean(
    'dry_run',
    False,
    'Checks and prints the configuration and the sizes of trainings, then stops.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'tfds_data_dir', None, 'Where TFDS keeps prepared data.', flag_values=values
  )
  flags.DEFINE_string(
    'compilation_cache_dir',
    None,
    'Where jax keeps compiled programs between runs.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'coordinator_address',
    None,
    'HOST:PORT of process 0, for several processes; TPU pods and SLURM need none of the three.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'process_count', None, 'How many processes the run has.', flag_values=values
  )
  flags.DEFINE_integer(
    'process_index',
    None,
    'Which of them this one is, from 0.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'start_timeout_s',
    cluster_detection.ProcessConfig.start_timeout_s,
    'How long the processes of a run wait for each other.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'heartbeat_timeout_s',
    cluster_detection.ProcessConfig.heartbeat_timeout_s,
    'All end when one process gives no sign of life for so long.',
    flag_values=values,
  )
  flags.DEFINE_boolean(
    'help', False, 'Prints this text.', short_name='h', flag_values=values
  )
  return values
