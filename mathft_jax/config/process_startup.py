"""What running a program means when several processes run it: they start, log and end together."""

from collections.abc import Mapping
import importlib.metadata
import logging as python_logging
import os
import re
import sys
import time
import traceback
from typing import Any

from absl import logging
from etils import epath

import mathft_jax
from mathft_jax.distributed import cluster_detection, processes

SEEN_BY_ALL = 'seen_by_all'
PLACE_S = 10.0  # network disks may show new files late
# Status codes of jax errors that a lost process may cause. jax raises them as several types.
LOST_CONNECTION = re.compile(
  'UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|FAILED_PRECONDITION|DEADLINE_EXCEEDED'
)


def start_process(
  place: cluster_detection.ProcessConfig, program: str, configuration: str
) -> None:
  """Meets the other processes, which must run the same thing; then only the first is talkative."""
  processes.initialize(
    place,
    {
      'program': program,
      'version': _versions(),
      'configuration': configuration,
    },
  )
  if not processes.is_primary():
    handler = logging.get_absl_handler()
    handler.setFormatter(
      python_logging.Formatter(
        f'%(asctime)s %(levelname).1s process {processes.process_index()}: %(message)s',
        '%H:%M:%S',
      )
    )
    logging.set_verbosity(logging.WARNING)


def check_shared_workdir(values: Mapping[str, Any]) -> None:
  """ValueError unless a file that the first process writes into the workdir is seen by all."""
  if processes.process_count() == 1 or 'workdir' not in values:
    return
  name = processes.broadcast_from_primary(
    'place', f'{SEEN_BY_ALL}.{os.getpid()}.{time.time_ns()}'
  )
  path = epath.Path(values['workdir']) / name
  if processes.is_primary():
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(
      f'{SEEN_BY_ALL}.*'
    ):  # by a run that was killed here
      left.unlink(missing_ok=True)
    path.write_text('Processes of a run look whether they all see this file.\n')
  processes.wait_at_barrier('place written')
  if not processes.wait_until_visible(path.exists, seconds=PLACE_S):
    raise ValueError(
      f'{values["workdir"]} is not the same place for all processes: process '
      f'{processes.process_index()} does not see there what process 0 has written. It '
      'must lie on a disk that all see, or in a bucket (gs://).'
    )
  processes.wait_at_barrier('place seen')
  if processes.is_primary():
    path.unlink()


def exit_with_message(program: str, reason: str, status: int) -> int:
  """Says why a program ends; the exit status. What all processes refuse, the first one says."""
  processes.delay_unless_primary()
  print(f'{program}: {reason}', file=sys.stderr)
  processes.abort_all_processes(reason, status)
  return status


def abort_all_processes(error: BaseException) -> None:
  """Ends all processes because of an error that nobody foresaw; returns where there is one only."""
  if processes.process_count() == 1:
    return
  if LOST_CONNECTION.match(str(error)):
    processes.wait_for_lost_processes(error)
  processes.delay_unless_primary()
  traceback.print_exception(error)
  processes.abort_all_processes(
    f'{type(error).__name__}: {str(error).partition(chr(10))[0]}', 1
  )


def _versions() -> str:
  try:
    jax = importlib.metadata.version('jax')
  except importlib.metadata.PackageNotFoundError:
    jax = 'none'
  return f'mathft_jax {mathft_jax.__version__}, jax {jax}'
