"""Runs in Weights & Biases (extra [wandb]); a resumed training continues its run."""

from collections.abc import Mapping
import importlib
import os
from typing import Protocol

from etils import epath

from mathft_jax.storage import digests, local_and_remote_paths


class WandbRun(Protocol):
  """The part of a wandb run that is used."""

  def log(self, data: Mapping[str, float]) -> None: ...

  def finish(self, exit_code: int) -> None: ...


def start_run(project: str, folder: epath.PathLike) -> WandbRun:
  """Starts or continues the run of a work directory.

  The id of the run is a digest of the folder's path, so a resumed training continues its run. The
  environment decides about entity, mode and key: WANDB_ENTITY, WANDB_MODE=offline, WANDB_API_KEY.

  Raises:
    ValueError: wandb is not installed or refuses the run.
  """
  try:
    wandb = importlib.import_module('wandb')  # an optional package
  except ImportError as error:
    raise ValueError(
      f'WANDB_PROJECT is {project!r}, but wandb is not installed ({error}). Run pip install '
      "'mathft_jax[wandb]', or set WANDB_PROJECT = None; metrics.jsonl has the same numbers."
    ) from error

  path = local_and_remote_paths.absolute_path(folder)
  local = None if local_and_remote_paths.is_remote(folder) else os.fspath(path)
  try:
    run = wandb.init(
      project=project,
      id=digests.content_digest([str(path)]),
      name=path.name,
      dir=local,
      resume='allow',
    )
    run.define_metric('*', step_metric='step')
  except Exception as error:  # noqa: BLE001 (wandb raises its own exceptions)
    raise ValueError(
      f'Weights & Biases refuses a run in the project {project!r} ({type(error).__name__}: '
      f'{error}). Sign in with `wandb login`, set WANDB_MODE=offline, or set WANDB_PROJECT = None.'
    ) from error
  return run
