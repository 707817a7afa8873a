"""Lists the programs: `python -m mathft_jax --help`."""

import ast
from collections.abc import Sequence
import pathlib
import sys

from mathft_jax.config.errors import did_you_mean

PACKAGE = pathlib.Path(__file__).parent


def main(argv: Sequence[str]) -> int:
  """Prints the programs with one line on each; returns 2 if arguments are given."""
  programs = list_programs()
  if argv and argv[0] not in ('--help', '-h', 'help'):
    hint = did_you_mean(argv[0], programs)
    if argv[0] in programs:
      hint = f' Write python -m mathft_jax.{argv[0]}.'
    print(
      f'mathft_jax: {argv[0]!r}: programs are started as python -m mathft_jax.<program>.{hint}',
      file=sys.stderr,
    )
    return 2
  width = max(map(len, programs))
  print('Programs, each started as python -m mathft_jax.<program>:\n')
  for name, purpose in programs.items():
    print(f'  {name:<{width}}  {purpose}')
  print(
    '\nEach takes gin files (--gin_file=NAME) and --gin.NAME=VALUE, and has --help and --dry_run.'
  )
  return 0


def list_programs() -> dict[str, str]:
  """Returns the names of all programs, each with the first line of its module's docstring."""
  programs = {}
  for path in sorted(PACKAGE.glob('[!_]*.py')):
    text = path.read_text(encoding='utf-8')
    if 'entry_point.run_program(' in text:
      docstring = ast.get_docstring(ast.parse(text)) or ''
      programs[path.stem] = docstring.partition('\n')[0]
  return programs


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
