"""Runs one command with each gin overlay of a sweep and compares the reports in a table.

  python -m mathft_jax.sweep --question=margin --workdir=runs/margin -- \
      python -m mathft_jax.rerank --gin_file=stages/scr_margin.gin ...

A sweep is a folder of small gin files (overlays), one per value of the setting: a name in
gin_configs/sweeps/, or the path of another folder. The command after `--` runs once with each
overlay, in the folder `<workdir>/<overlay>`. Runs are sequential. If a run fails, the others still
run, the comparison names it, and the exit status is 1. If the sweep is stopped, the same command
resumes. It writes `<workdir>/comparison.md`, `.json` and `.html`: the reports of the runs side by
side. A launcher of several processes may start the sweep or be part of the command.

  --print_commands   prints the commands of the runs, for a cluster, and runs nothing
  --collect          runs nothing and compares the reports that exist
"""

import argparse
from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import shlex
import subprocess
import sys

from etils import epath

from mathft_jax.config import gin_files, terminal_text
from mathft_jax.config.errors import ConfigError, did_you_mean
from mathft_jax.distributed import processes
from mathft_jax.evaluation import sweep_comparison
from mathft_jax.evaluation.report import comparison_page, terminal
from mathft_jax.storage import local_and_remote_paths

DONE, NO_REPORT = 'done', 'no report'


@dataclasses.dataclass(frozen=True)
class SweepRun:
  """One run of a sweep: the overlay's name, its work directory and the whole command."""

  name: str
  workdir: epath.Path
  command: tuple[str, ...]


def run_sweep(question: str, workdir: str, base_command: Sequence[str]) -> int:
  """Runs all overlays and compares their reports.

  Args:
    question: the name or the path of a folder of overlays.
    workdir: each run writes to its own folder here.
    base_command: the command that each overlay is added to.

  Returns:
    The exit status: 1 if a run failed or has no report, else 0.
  """
  runs = plan_runs(question, workdir, base_command)
  check_configurations_differ(runs)
  failed = {}
  for number, run in enumerate(runs, 1):
    setting = f'{question} = {run.name}'
    command = shlex.join(run.command)
    _log(f'{setting} ({number} of {len(runs)}): {command}')
    child = subprocess.Popen(run.command)
    processes.call_before_exit(child.terminate)  # it saves what it has
    status = child.wait()
    if status:
      failed[run.name] = f'failed with status {status}'
      _log(f'{setting}: {failed[run.name]}')
  if _is_primary(base_command):
    return write_comparison(question, workdir, runs, failed)
  return int(bool(failed))


def write_comparison(
  question: str,
  workdir: str,
  runs: Sequence[SweepRun],
  failed: Mapping[str, str],
) -> int:
  """Writes and prints the comparison of all reports.

  Args:
    question: the name of the sweep.
    workdir: directory of comparison.md, comparison.json and comparison.html.
    runs: all runs.
    failed: the failure of each failed run, by name.

  Returns:
    The exit status: 1 if a run failed or has no report, else 0.
  """
  folders = {run.name: run.workdir for run in runs if run.name not in failed}
  comparisons = sweep_comparison.compare_reports(folders)
  reported = set().union(*(each.rows for each in comparisons))
  states, commands = {}, {}
  for run in runs:
    state = DONE if run.name in reported else NO_REPORT
    states[run.name] = failed.get(run.name, state)
    commands[run.name] = shlex.join(run.command)

  unfinished = []
  for name, state in states.items():
    if state != DONE:
      unfinished.append(f'{question} = {name}: {state}')
  record = {'question': question, 'states': states, 'commands': commands}
  made = comparison_page.write_comparison(
    workdir, question, comparisons, record, unfinished
  )
  for table in made:
    terminal.print_table(table)
  page = epath.Path(workdir) / comparison_page.PAGE
  print('\n'.join([*unfinished, f'Comparison: {page}']), flush=True)
  return int(set(states.values()) != {DONE})


def plan_runs(
  question: str, workdir: str, base_command: Sequence[str]
) -> list[SweepRun]:
  """Returns the base command with each overlay.

  Raises:
    ConfigError: the question is unknown, or the base command runs no program of this package.
  """
  prefix, module = _program_of(base_command)
  name = module.rpartition('.')[2]
  runs = []
  for overlay in find_overlays(question):
    folder = epath.Path(workdir) / pathlib.Path(overlay).stem
    command = (
      *prefix,
      *base_command,
      f'--gin_file={overlay}',
      f'--gin.{name}.{name}.workdir={folder}',
    )
    runs.append(SweepRun(folder.name, folder, command))
  return runs


def find_overlays(question: str) -> list[str]:
  """Returns the gin files of a question as a command names them, in numeric order."""
  package_sweeps = gin_files.package_gin_directory() / 'sweeps'
  for folder, shown in (
    (pathlib.Path(question), pathlib.Path(question)),
    (package_sweeps / question, pathlib.Path('sweeps') / question),
  ):
    found = sorted(folder.glob('*.gin'), key=_numeric_sort_key)
    if found:
      return [str(shown / path.name) for path in found]
  known = [path.name for path in package_sweeps.iterdir() if path.is_dir()]
  raise ConfigError(
    f'--question={question} is not a folder of gin files and not one of '
    f'{", ".join(sorted(known))}.{did_you_mean(question, known)}'
  )


def check_configurations_differ(runs: Sequence[SweepRun]) -> None:
  """Raises ConfigError unless every run has a valid configuration of its own."""
  names: dict[str, str] = {}
  for run in runs:
    dry_run = subprocess.run(
      (*run.command, '--dry_run'), check=False, capture_output=True, text=True
    )
    if dry_run.returncode:
      raise ConfigError(
        f'{run.name}: the configuration is not valid, so nothing was run.\n'
        f'{shlex.join(run.command)}\n{dry_run.stderr[-2000:].rstrip()}'
      )
    text = dry_run.stdout.replace(repr(str(run.workdir)), '')
    # gin breaks lines by their length: compare without line breaks and blanks.
    text = ''.join(text.replace('\\\n', '').split())
    if text in names:
      raise ConfigError(
        f'{names[text]} and {run.name} make the same configuration, so nothing was run. The base '
        'command does not use what they set, or overrides it by a flag.'
      )
    names[text] = run.name


def main(argv: Sequence[str]) -> int:
  """Returns the exit status of the runs, or 2 for a wrong command line."""
  own_arguments, base_command = _split_at_dashes(argv[1:])
  arguments = _make_argument_parser().parse_args(own_arguments)
  question, workdir = arguments.question, arguments.workdir
  try:
    if not base_command:
      raise ConfigError(
        'No base command; wanted `-- python -m mathft_jax.<program>`.'
      )
    runs = plan_runs(question, workdir, base_command)
    if arguments.print_commands:
      check_configurations_differ(runs)
      for run in runs:
        print(shlex.join(run.command))
      return 0
    _check_writable(workdir)
    if not arguments.collect:
      return run_sweep(question, workdir, base_command)
    if not _is_primary(base_command):
      return 0
    return write_comparison(question, workdir, runs, {})
  except ConfigError as error:
    _log(str(error))
    return 2
  except ValueError as error:  # a damaged report
    _log(str(error))
    return 1


def _make_argument_parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m mathft_jax.sweep',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--question', required=True, help='a folder of gin files (overlays)'
  )
  parser.add_argument(
    '--workdir', required=True, help='each run writes to its own folder here'
  )
  parser.add_argument(
    '--print_commands',
    action='store_true',
    help='print the commands of the runs and run nothing',
  )
  parser.add_argument(
    '--collect',
    action='store_true',
    help='run nothing and compare the reports that exist',
  )
  return parser


def _is_primary(base_command: Sequence[str]) -> bool:
  """Returns whether this sweep writes the comparison.

  If a launcher starts one sweep per process, their runs form one distributed program, but the
  sweeps do not communicate: only the sweep of process 0 compares.
  """
  words = []
  for argument in base_command:
    words += argument.lstrip('-').split('=', 1)
  if 'process_index' in words[:-1]:
    return int(words[words.index('process_index') + 1]) == 0
  return int(os.environ.get('SLURM_PROCID', 0)) == 0


def _check_writable(workdir: str) -> None:
  try:
    local_and_remote_paths.check_writable(workdir)
  except ValueError as error:
    raise ConfigError(str(error)) from error


def _split_at_dashes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
  """Returns the arguments before and after the first `--`."""
  arguments = list(arguments)
  if '--' not in arguments:
    return arguments, []
  position = arguments.index('--')
  return arguments[:position], arguments[position + 1 :]


def _program_of(base_command: Sequence[str]) -> tuple[list[str], str]:
  """Returns what to put before the base command, and the module that it runs."""
  if base_command[0].startswith('mathft_jax.'):
    return [sys.executable, '-m'], base_command[0]
  if '-m' in base_command[:-1]:
    return [], base_command[base_command.index('-m') + 1]
  raise ConfigError(
    f'The base command is {shlex.join(base_command)}; wanted '
    '`python -m mathft_jax.<program> ...`, or a launcher before that.'
  )


def _numeric_sort_key(path: pathlib.Path) -> tuple[int, float, str]:
  """Returns a key that sorts numbers by value, before words."""
  try:
    return 0, float(path.stem), ''
  except ValueError:
    return 1, 0.0, path.stem


def _log(line: str) -> None:
  line = terminal_text.show_control_characters(f'sweep: {line}')
  print(line, file=sys.stderr, flush=True)


if __name__ == '__main__':
  sys.exit(main(sys.argv))
