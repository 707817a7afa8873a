"""The checkpoints of one training run, written by orbax in the background.

with CheckpointManager(workdir / 'checkpoints') as manager:
  manager.save(step, params, opt_state, metadata)
  params, opt_state = manager.restore(step, abstract_params, abstract_opt_state)
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Self

from absl import logging
from etils import epath
import jax
from orbax import checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

import mathft_jax
from mathft_jax.checkpoints import checksums
from mathft_jax.checkpoints.json_values import to_json_value
from mathft_jax.checkpoints.lazy_params import ArrayTree
from mathft_jax.checkpoints.restore import (
  COMMIT_MARKER,
  complete_steps,
  read_metadata,
  restore_item,
  saved_checksums,
)
from mathft_jax.distributed import processes
from mathft_jax.models.config import Json
from mathft_jax.storage import local_and_remote_paths, write_errors

# Damaged checkpoints are moved here.
DAMAGED_FOLDER = 'damaged'
# Old steps are moved here before they are deleted: a kill leaves no partial checkpoint.
TRASH_FOLDER = 'deleted'


class CheckpointManager:
  """Saves and restores the checkpoints of one training run; deletes old ones.

  Args:
    directory: `<workdir>/checkpoints`.
    keep: number of latest checkpoints that are kept. None: all.
    best_metric: the checkpoint with the best value of this metric is kept too. None: none.
    higher_is_better: for `best_metric`.
  """

  def __init__(
    self,
    directory: epath.PathLike,
    *,
    keep: int | None = 1,
    best_metric: str | None = None,
    higher_is_better: bool = False,
  ):
    self.directory = local_and_remote_paths.absolute_path(directory)
    self._is_remote = local_and_remote_paths.is_remote(directory)
    self._keep = keep
    self._best_metric = best_metric
    self._higher_is_better = higher_is_better
    self._trash = self.directory / TRASH_FOLDER
    self._empty_trash()
    processes.run_on_primary(
      f'metadata in {self.directory}', self._set_aside_without_metadata
    )

    latest = preservation_policy.LatestN(None if self._is_remote else keep)
    best = _PreserveBest(self.best_step)
    options = ocp.CheckpointManagerOptions(
      create=True,
      enable_async_checkpointing=True,
      preservation_policy=preservation_policy.AnyPreservationPolicy(
        [latest, best]
      ),
      todelete_subdir=TRASH_FOLDER,
    )
    self._is_new = not self._is_remote and not self.directory.exists()
    self._manager = ocp.CheckpointManager(self.directory, options=options)

    steps = sorted(self._manager.all_steps())
    processes.assert_equal_across_processes(
      f'Steps in {self.directory}', str(steps)
    )
    self._metrics: dict[int, dict[str, float]] = {}
    for step in steps:
      self._metrics[step] = read_metadata(self.step_path(step))['metrics']

  def __enter__(self) -> Self:
    return self

  def __exit__(self, error_type: type[BaseException] | None, *_) -> None:
    try:
      if error_type is None:
        self.wait_until_finished()
    finally:
      self._manager.close()
      if error_type is not None and processes.is_primary():
        self._delete_new_empty_folder()

  def latest_step(self) -> int | None:
    """Returns the step of the latest complete checkpoint; None if there is none."""
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """Returns the step with the best `best_metric`; None if no checkpoint has it."""
    best_step = best_value = None
    for step in sorted(self._metrics):
      value = self._metrics[step].get(self._best_metric or '')
      if value is None:
        continue
      if not self._higher_is_better:
        value = -value
      if best_value is None or value > best_value:
        best_step, best_value = step, value
    return best_step

  def step_path(self, step: int) -> epath.Path:
    """Returns the folder of a step, which names the checkpoint."""
    return self.directory / str(step)

  def save(
    self,
    step: int,
    params: ArrayTree,
    opt_state: ArrayTree,
    metadata: Json,
    metrics: Mapping[str, float] | None = None,
  ) -> None:
    """Copies the arrays to the host and returns; files are written in the background.

    Raises the error of an earlier save if that failed.
    """
    self._manager.wait_until_finished()
    self._delete_remote_steps()
    self.check_free_space(params, opt_state)

    self._metrics[step] = dict(metrics or {})
    metadata = {
      **metadata,
      'step': step,
      'code_version': mathft_jax.__version__,
      'metrics': self._metrics[step],
      'checksums': {
        'params': checksums.array_checksums(params),
        'optimizer': checksums.array_checksums(opt_state),
      },
    }
    sealed = checksums.seal_metadata(to_json_value(metadata))
    args = ocp.args.Composite(
      params=ocp.args.StandardSave(params),
      optimizer=ocp.args.StandardSave(opt_state),
      metadata=ocp.args.JsonSave(sealed),
    )
    self._manager.save(step, args=args)

  def check_for_errors(self) -> None:
    """Raises the error of a background save that failed. Does not wait for a running save.

    Orbax's `check_for_errors` does not raise after its background thread has seen the error.
    """
    if not self._manager.is_saving_in_progress():
      self._manager.wait_until_finished()
      self._empty_trash()

  def wait_until_finished(self) -> None:
    """Returns when all saves are written; raises the error if one failed."""
    self._manager.wait_until_finished()
    self._empty_trash()
    self._delete_remote_steps()

  def check_free_space(self, params: ArrayTree, opt_state: ArrayTree) -> None:
    """ValueError if the disk has no room for a checkpoint of arrays of these shapes."""
    num_bytes = 0
    for array in jax.tree.leaves((params, opt_state)):
      num_bytes += math.prod(array.shape) * array.dtype.itemsize
    if processes.is_primary():
      write_errors.check_free_space(self.directory, num_bytes)

  def restore(
    self,
    step: int,
    abstract_params: ArrayTree | None,
    abstract_opt_state: ArrayTree,
  ) -> tuple[ArrayTree, ArrayTree]:
    """Returns (params, opt_state) of a step.

    Args:
      abstract_params: ShapeDtypeStructs with shardings. None: params are not read; None is returned
        for them.
      abstract_opt_state: the same for the optimizer state.
    """
    path = self.step_path(step)
    wanted = {'optimizer': abstract_opt_state}
    if abstract_params is not None:
      wanted['params'] = abstract_params
    restored, problem = {}, ''
    try:
      for item, abstract in wanted.items():
        restored[item] = restore_item(path, item, abstract)
    except checksums.DamagedCheckpointError as error:
      problem = str(error)
    for text in processes.gather_from_all(f'restored {path}', problem):
      if text:
        raise checksums.DamagedCheckpointError(text)

    metadata = read_metadata(path)
    for item, arrays in restored.items():
      saved = saved_checksums(metadata, item)
      checksums.check_arrays(path / item, arrays, saved)
    return restored.get('params'), restored['optimizer']

  def set_aside(self, step: int, reason: str) -> int:
    """Moves a damaged checkpoint away and returns the step of the one before.

    All processes call this.

    Args:
      step: the damaged checkpoint.
      reason: why it counts as damaged.

    Raises:
      ValueError: there is no checkpoint before it. Nothing is moved.
    """
    processes.run_on_primary(
      f'damaged {self.step_path(step)}',
      lambda: self._move_damaged(step, reason),
    )
    self._manager.reload()
    self._metrics.pop(step, None)
    previous = self.latest_step()
    assert previous is not None
    return previous

  def _set_aside_without_metadata(self) -> None:
    for step in reversed(complete_steps(self.directory)):
      path = self.step_path(step)
      if not (path / 'params').exists():
        error = checksums.damaged(path, 'its parameters are missing')
        self._move_damaged(step, str(error))
        continue
      try:
        read_metadata(path)
      except checksums.DamagedCheckpointError as error:
        self._move_damaged(step, str(error))

  def _move_damaged(self, step: int, reason: str) -> None:
    """Moves a step to DAMAGED_FOLDER; in a bucket, it loses its commit marker."""
    path = self.step_path(step)
    others = complete_steps(self.directory)
    others.remove(step)
    if not others:
      raise ValueError(
        f'{reason} Here there is none: delete {path} to train from the start.'
      )
    target = path
    if self._is_remote:
      (path / COMMIT_MARKER).unlink()
    else:
      target = self.directory / DAMAGED_FOLDER / str(step)
      if target.exists():
        target.rmtree()
      target.parent.mkdir(exist_ok=True)
      path.rename(target)
    logging.error(
      '%s THE RUN CONTINUES FROM %s. The damaged checkpoint is in %s; delete it.',
      reason,
      self.step_path(others[-1]),
      target,
    )

  def _empty_trash(self) -> None:
    if processes.is_primary() and not self._is_remote and self._trash.exists():
      self._trash.rmtree()

  def _delete_new_empty_folder(self) -> None:
    """Deletes the folder of a run that was refused before its first checkpoint."""
    if not self._is_new or not self.directory.exists():
      return
    if not any(self.directory.iterdir()):
      self.directory.rmdir()

  def _delete_remote_steps(self) -> None:
    """Deletes old steps in a bucket, where a folder cannot be moved in one step.

    Orbax would delete their objects in any order; the commit marker must be deleted first.
    """
    if not self._is_remote or self._keep is None:
      return
    steps = sorted(self._manager.all_steps())
    for step in steps[: max(0, len(steps) - self._keep)]:
      if step == self.best_step():
        continue
      if processes.is_primary():
        (self.step_path(step) / COMMIT_MARKER).unlink(missing_ok=True)
      self._manager.delete(step)


@dataclasses.dataclass
class _PreserveBest(preservation_policy.PreservationPolicy):
  """Orbax policy that preserves the checkpoint of `best_step()`."""

  best_step: Callable[[], int | None]

  def should_preserve(
    self,
    checkpoints: Sequence[preservation_policy.PolicyCheckpointInfo],
    *,
    context: preservation_policy.PreservationContext,
  ) -> Sequence[bool]:
    del context
    best_step = self.best_step()
    return [checkpoint.step == best_step for checkpoint in checkpoints]
