"""The checkpoints of one training run, written by orbax in the background.

with CheckpointManager(workdir / 'checkpoints') as manager:
  manager.save(step, params, opt_state, metadata)
  params, opt_state = manager.restore(step, abstract_params, abstract_opt_state)
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Self

from etils import epath
from orbax import checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

import mathft_jax
from mathft_jax.checkpoints.json_values import to_json_value
from mathft_jax.checkpoints.lazy_params import ArrayTree
from mathft_jax.checkpoints.restore import COMMIT_MARKER, read_metadata
from mathft_jax.distributed import processes
from mathft_jax.models.config import Json
from mathft_jax.storage import local_and_remote_paths

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

    self._metrics[step] = dict(metrics or {})
    metadata = {
      **metadata,
      'step': step,
      'code_version': mathft_jax.__version__,
      'metrics': self._metrics[step],
    }
    args = ocp.args.Composite(
      params=ocp.args.StandardSave(params),
      optimizer=ocp.args.StandardSave(opt_state),
      metadata=ocp.args.JsonSave(to_json_value(metadata)),
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
    items = {'optimizer': ocp.args.StandardRestore(abstract_opt_state)}
    if abstract_params is not None:
      items['params'] = ocp.args.StandardRestore(abstract_params)
    restored = self._manager.restore(step, args=ocp.args.Composite(**items))
    return restored.get('params'), restored['optimizer']

  def _empty_trash(self) -> None:
    if processes.is_primary() and not self._is_remote and self._trash.exists():
      self._trash.rmtree()

  def _delete_remote_steps(self) -> None:
    """Deletes old steps in a bucket, where a folder cannot be moved in one step.

    Orbax would delete their objects in any order; the commit marker must be deleted first.
    """
    if not self._is_remote or self._keep is None:
      return
    steps = sorted(self._manager.all_steps())
    for step in steps[: len(steps) - self._keep]:
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
