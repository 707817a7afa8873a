"""One command again and again, each time with another answer to one question, and a table of all.

  python -m mathft_jax.sweep --question=margin --workdir=runs/margin -- \
      python -m mathft_jax.rerank --gin_file=stages/scr_margin.gin ...

A question is a folder of gin files of a few lines, one an answer: a name in gin_configs/sweeps/,
or a folder of your own. What follows `--` is the base command; each run gets it with one of the
files and a folder of its own, `<workdir>/<answer>`. Runs go one after another; a failed one is named,
does not stop the others, and makes the exit status 1. Running the same command again goes on where
it stopped. Writes `<workdir>/comparison.md` and `.json`: the runs' reports side by side. A launcher
of several processes may stand before the sweep or in the base command.

  --print_commands   prints the runs' commands for a cluster, and runs nothing
  --collect          runs nothing and compares what is there
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
import shlex
import subprocess
import sys

from etils import epath

from mathft_jax.config import entry_point
from mathft_jax.evaluation import sweep_comparison
from mathft_jax.evaluation.report import tables
from mathft_jax.storage import remote_paths

NO_REPORT = 'no report'


@dataclasses.dataclass(frozen=True)
class SweepRun:
  """One answer: its name, its folder, the whole command."""

  name: str
  workdir: epath.Path
  command: tuple[str, ...]


def run_sweep(question: str, workdir: str, base: Sequence[str]) -> int:
  """The exit status after all runs: 1 when one failed, else 0."""
  planned = plan_runs(question, workdir, base)
  check_configurations_differ(planned)
  failed = {}
  for number, run in enumerate(planned, 1):
    _say(
      f'{question} = {run.name} ({number} of {len(planned)}): {shlex.join(run.command)}'
    )
    status = subprocess.run(run.command, check=False).returncode
    if status:
      failed[run.name] = f'failed with status {status}'
      _say(f'{question} = {run.name}: {failed[run.name]}')
  return (
    write_comparison(question, workdir, planned, failed)
    if _writes(base)
    else int(bool(failed))
  )


def write_comparison(
  question: str,
  workdir: str,
  planned: Sequence[SweepRun],
  failed: dict[str, str],
) -> int:
  """Writes and prints the comparison of all reports; 1 when a run failed or has none, else 0."""
  found = sweep_comparison.compare_reports(
    {run.name: run.workdir for run in planned if run.name not in failed}
  )
  missing = {
    run.name: NO_REPORT
    for run in planned
    if run.name not in failed
    and not any(run.name in each.rows for each in found)
  }
  states = {
    run.name: failed.get(run.name) or missing.get(run.name) or 'done'
    for run in planned
  }
  made = [
    table
    for each in found
    for table in sweep_comparison.make_comparison_tables(question, each)
  ]
  lines = [tables.table_to_markdown(table) for table in made]
  lines += [
    f'{question} = {name}: {state}\n'
    for name, state in states.items()
    if state != 'done'
  ]
  folder = epath.Path(workdir)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'comparison.md').write_text('\n'.join(lines))
  (folder / 'comparison.json').write_text(
    json.dumps(
      {
        'schema': 'mathft_jax.comparison',
        'question': question,
        'states': states,
        'commands': {run.name: shlex.join(run.command) for run in planned},
        'reports': [dataclasses.asdict(each) for each in found],
      },
      indent=1,
    )
    + '\n'
  )
  print('\n'.join(lines), flush=True)
  return int(any(state != 'done' for state in states.values()))


def plan_runs(
  question: str, workdir: str, base: Sequence[str]
) -> list[SweepRun]:
  """The base command with each answer; ConfigError for an unknown question or base."""
  prefix, program = _program(base)
  name = program.rpartition('.')[2]
  made = []
  for overlay in find_overlays(question):
    folder = epath.Path(workdir) / pathlib.Path(overlay).stem
    command = (
      *prefix,
      *base,
      f'--gin_file={overlay}',
      f'--gin.{name}.{name}.workdir={folder}',
    )
    made.append(SweepRun(folder.name, folder, command))
  return made


def find_overlays(question: str) -> list[str]:
  """The gin files of a question as a command names them, numbers in their order."""
  package = entry_point.sources.package_configs()
  for folder, shown in (
    (pathlib.Path(question), pathlib.Path(question)),
    (package / 'sweeps' / question, pathlib.Path('sweeps') / question),
  ):
    found = sorted(folder.glob('*.gin'), key=_natural)
    if found:
      return [str(shown / path.name) for path in found]
  known = sorted(
    path.name for path in (package / 'sweeps').iterdir() if path.is_dir()
  )
  raise entry_point.ConfigError(
    f'No question {question!r}: wanted a folder of gin files, or one of {", ".join(known)}.'
    f'{entry_point.did_you_mean(question, known)}'
  )


def check_configurations_differ(planned: Sequence[SweepRun]) -> None:
  """ConfigError unless every run assembles, each to another configuration."""
  seen: dict[str, str] = {}
  for run in planned:
    done = subprocess.run(
      (*run.command, '--dry_run'), check=False, capture_output=True, text=True
    )
    if done.returncode:
      raise entry_point.ConfigError(
        f'{run.name} does not assemble, so nothing was run.\n'
        f'{shlex.join(run.command)}\n{done.stderr[-2000:].rstrip()}'
      )
    text = done.stdout.replace(repr(str(run.workdir)), '')
    text = ''.join(
      text.replace('\\\n', '').split()
    )  # gin breaks lines by their length
    if text in seen:
      raise entry_point.ConfigError(
        f'{seen[text]} and {run.name} make the same configuration, so nothing was run: the base '
        'command does not use what they set, or sets it again by a flag.'
      )
    seen[text] = run.name


def main(argv: Sequence[str]) -> int:
  """The exit status: of the runs, or 2 for a wrong command line."""
  own, base = _split(argv[1:])
  parser = argparse.ArgumentParser(
    prog='python -m mathft_jax.sweep',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--question', required=True, help='a folder of gin files')
  parser.add_argument(
    '--workdir', required=True, help='one folder per run goes here'
  )
  parser.add_argument(
    '--print_commands', action='store_true', help='for a cluster; runs nothing'
  )
  parser.add_argument(
    '--collect', action='store_true', help='compares what is there'
  )
  arguments = parser.parse_args(own)
  try:
    if not base:
      raise entry_point.ConfigError(
        'No base command; wanted `-- python -m mathft_jax.<program>`.'
      )
    planned = plan_runs(arguments.question, arguments.workdir, base)
    if arguments.print_commands:
      check_configurations_differ(planned)
      print('\n'.join(shlex.join(run.command) for run in planned))
      return 0
    _check_writable(arguments.workdir)
    if arguments.collect:
      return (
        write_comparison(arguments.question, arguments.workdir, planned, {})
        if _writes(base)
        else 0
      )
    return run_sweep(arguments.question, arguments.workdir, base)
  except entry_point.ConfigError as error:
    print(f'sweep: {error}', file=sys.stderr)
    return 2


def _writes(base: Sequence[str]) -> bool:
  """Whether this sweep compares: of those that a launcher started, one for each process, the first.

  Their runs are the processes; the sweeps themselves know nothing of each other.
  """
  words = [word for each in base for word in each.lstrip('-').split('=', 1)]
  if 'process_index' in words[:-1]:
    return int(words[words.index('process_index') + 1]) == 0
  return int(os.environ.get('SLURM_PROCID', 0)) == 0


def _check_writable(workdir: str) -> None:
  try:
    remote_paths.check_writable(workdir)
  except ValueError as error:
    raise entry_point.ConfigError(str(error)) from error


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
  """What stands before and after the first `--`."""
  arguments = list(arguments)
  at = arguments.index('--') if '--' in arguments else len(arguments)
  return arguments[:at], arguments[at + 1 :]


def _program(base: Sequence[str]) -> tuple[list[str], str]:
  """(what is missing before the base command, the module that it runs)."""
  if base[0].startswith('mathft_jax.'):
    return [sys.executable, '-m'], base[0]
  if '-m' in base[:-1]:
    return [], base[base.index('-m') + 1]
  raise entry_point.ConfigError(
    f'The base command is {shlex.join(base)}; wanted '
    '`python -m mathft_jax.<program> ...`, or a launcher before that.'
  )


def _natural(path: pathlib.Path) -> tuple[int, float, str]:
  """Numbers by size before words by letter."""
  try:
    return 0, float(path.stem), ''
  except ValueError:
    return 1, 0.0, path.stem


def _say(line: str) -> None:
  print(f'sweep: {line}', file=sys.stderr, flush=True)


if __name__ == '__main__':
  sys.exit(main(sys.argv))
