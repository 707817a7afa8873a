"""Starts and stops a program that runs in several processes.

All processes must run the same program with the same configuration. The primary process prints
errors that all processes have in common.
"""

from collections.abc import Mapping
import importlib.metadata
import os
import re
import sys
import time
import traceback

from absl import logging
from etils import epath

import mathft_jax
from mathft_jax.config import terminal_text
from mathft_jax.distributed import cluster_detection, processes

PROBE_FILE = 'seen_by_all'
PROBE_TIMEOUT_S = 10.0  # network disks may show new files late
# Status codes of jax errors that a lost process may cause. jax raises them as several types.
LOST_CONNECTION = re.compile(
  'UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|FAILED_PRECONDITION|DEADLINE_EXCEEDED'
)


def start_process(
  process_config: cluster_detection.ProcessConfig,
  program: str,
  config_text: str,
) -> None:
  """Connects to the other processes; all but the primary process log warnings only.

  Args:
    process_config: what the flags say about processes.
    program: gin name of the program.
    config_text: resolved configuration; it must be equal in all processes.
  """
  about = {
    'program': program,
    'version': _versions(),
    'configuration': config_text,
  }
  processes.initialize(process_config, about)
  if processes.is_primary():
    return
  index = processes.process_index()
  formatter = terminal_text.LogFormatter(f'process {index}: ')
  logging.get_absl_handler().setFormatter(formatter)
  logging.set_verbosity(logging.WARNING)


def check_shared_workdir(arguments: Mapping[str, object]) -> None:
  """Checks that all processes see a file that the primary process writes into the workdir.

  Raises:
    ValueError: this process does not see the file.
  """
  if processes.process_count() == 1 or 'workdir' not in arguments:
    return
  workdir = epath.Path(str(arguments['workdir']))
  name = processes.broadcast_from_primary(
    'workdir probe', f'{PROBE_FILE}.{os.getpid()}.{time.time_ns()}'
  )
  path = workdir / str(name)
  if processes.is_primary():
    workdir.mkdir(parents=True, exist_ok=True)
    for old in workdir.glob(f'{PROBE_FILE}.*'):  # from a run that was killed
      old.unlink(missing_ok=True)
    path.write_text('Tests whether all processes of a run see this file.\n')

  processes.wait_at_barrier('workdir probe written')
  if not processes.wait_until_visible(path.exists, seconds=PROBE_TIMEOUT_S):
    raise ValueError(
      f'{workdir} is not the same folder for all processes: process '
      f'{processes.process_index()} does not see a file that process 0 has written. Use a shared '
      'disk or a bucket (gs://).'
    )
  processes.wait_at_barrier('workdir probe seen')
  if processes.is_primary():
    path.unlink()


def exit_with_message(program: str, reason: str, status: int) -> int:
  """Prints why a program stops, once for all processes, and returns the exit status."""
  processes.delay_unless_primary()
  line = terminal_text.show_control_characters(f'{program}: {reason}')
  print(line, file=sys.stderr)
  processes.abort_all_processes(reason, status)
  return status


def abort_all_processes(error: BaseException) -> None:
  """Stops all processes after an unexpected error; returns if there is only one process."""
  if processes.process_count() == 1:
    return
  if LOST_CONNECTION.match(str(error)):
    processes.wait_for_lost_processes(error)
  processes.delay_unless_primary()
  traceback.print_exception(error)
  first_line = str(error).partition('\n')[0]
  processes.abort_all_processes(f'{type(error).__name__}: {first_line}', 1)


def _versions() -> str:
  try:
    jax_version = importlib.metadata.version('jax')
  except importlib.metadata.PackageNotFoundError:
    jax_version = 'none'
  return f'mathft_jax {mathft_jax.__version__}, jax {jax_version}'
