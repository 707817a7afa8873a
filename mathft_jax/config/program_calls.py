"""Calls a program with built arguments and turns its end into an exit status.

Known errors are printed as one line. Errors of code, such as a TypeError, keep their traceback.
"""

from collections.abc import Callable, Mapping
import contextlib
import pathlib
import traceback

from absl import logging
from etils import epath

from mathft_jax.config import (
  compilation_cache,
  multi_process_run,
  resolved_config,
)
from mathft_jax.distributed import (
  cluster_detection,
  locked_folders,
  processes,
  stop_signals,
)
from mathft_jax.storage import (
  local_and_remote_paths,
  run_config,
  write_errors,
)

PACKAGE = pathlib.Path(__file__).parent.parent

Program = Callable[..., object]


def call_in_processes(
  program: Program,
  name: str,
  arguments: Mapping[str, object],
  process_config: cluster_detection.ProcessConfig,
  config_text: str,
  *,
  saved_config: str,
) -> int:
  """Calls a program in this process, which may be one of several; returns its exit status.

  The program's `workdir` is locked until it ends.

  Args:
    program: the program.
    name: its gin name.
    arguments: its built arguments.
    process_config: the flags about processes.
    config_text: resolved configuration; it must be equal in all processes.
    saved_config: text of `<workdir>/config.gin`, which is written when the program has accepted the
      workdir (`storage.run_config`).
  """
  try:
    with contextlib.ExitStack() as stack:
      try:
        multi_process_run.start_process(process_config, name, config_text)
        stop_signals.join_processes()
        local_and_remote_paths.check_remote_clients(config_text, name)
        multi_process_run.check_shared_workdir(arguments)
        if 'workdir' in arguments:
          workdir = epath.Path(str(arguments['workdir']))
          if processes.is_primary():
            local_and_remote_paths.check_writable(workdir)
          stack.enter_context(locked_folders.hold(workdir, name))
          if processes.is_primary():
            run_config.hold(workdir, saved_config)
      except (ValueError, OSError) as error:
        line = str(error)
        if isinstance(error, OSError):
          line = write_errors.explain(error)
        if not line:
          raise
        return multi_process_run.exit_with_message(name, line, 1)
      stack.callback(run_config.discard)
      status = call_program(program, name, arguments)
      if status in (0, stop_signals.TERMINATED_STATUS):
        run_config.write()
  except BaseException as error:
    multi_process_run.abort_all_processes(error)
    raise
  processes.shutdown()
  return status


def call_program(
  program: Program, name: str, arguments: Mapping[str, object]
) -> int:
  """Calls a program and returns its exit status; known errors are printed as one line.

  These are ValueErrors of this package, missing files, and outputs that cannot be written.
  """
  compilation_cache.use_default_folder()
  try:
    result = program(**arguments)
  except stop_signals.StopRequested as stop:
    if processes.is_primary():
      logging.warning('%s: %s', name, stop_signals.exit_message(stop))
    return stop_signals.TERMINATED_STATUS
  except FileNotFoundError as error:
    return multi_process_run.exit_with_message(
      name,
      f'{error.filename or error}: no such file. Name a file that an earlier program has written, '
      'or your own data.',
      1,
    )
  except Exception as error:
    line = _one_line(error)
    if not line:
      raise
    return multi_process_run.exit_with_message(name, line, 1)
  logging.info('%s: %s', name, result)
  return 0


def _one_line(error: Exception) -> str:
  """Returns the message for a known error; '' for another one."""
  frames = traceback.extract_tb(error.__traceback__)
  raised_in = pathlib.Path(frames[-1].filename) if frames else pathlib.Path()
  if isinstance(error, ValueError) and raised_in.is_relative_to(PACKAGE):
    return resolved_config.strip_gin_trailer(error)
  return write_errors.explain(error)
