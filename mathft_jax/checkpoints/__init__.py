"""Checkpoints: saved in the background, found again after a stop, handed to the next stage.

  <workdir>/checkpoints/<step>/params      plain nested dict of arrays (orbax)
                               optimizer   the optimizer's state, needed to resume only
                               metadata    one json object: model config, fingerprint, step, ...

What is handed over is the path of one step; or of one safetensors file whose tensors have flat
names (`layers/attention/query`) and whose header has the same metadata; or of a folder of Hugging
Face `transformers` (config.json, safetensors files).
"""
# ruff: noqa: F401

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
from typing import Any

from etils import epath
from orbax import checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

import mathft_jax
from mathft_jax.checkpoints.huggingface import (
  copy_tokenizer_files,
  find_tokenizer_files,
  export_huggingface,
)
from mathft_jax.checkpoints.restore import (
  COMMIT_MARKER,
  check_metadata,
  check_param_shapes,
  resolve_checkpoint,
  is_huggingface_checkpoint,
  load_params,
  load_model_config,
  open_lazy_params,
  to_json_value,
  read_metadata,
  load_abstract_params,
)
from mathft_jax.checkpoints.save import (
  export_safetensors,
  save_safetensors,
  save_orbax_checkpoint,
)
from mathft_jax.distributed import processes
from mathft_jax.storage import remote_paths

TRASH_FOLDER = 'deleted'  # old steps move here first, so that a kill leaves no half checkpoint


class CheckpointManager:
  """The checkpoints of one training run, written while the training goes on.

  Args:
    directory: `<workdir>/checkpoints`.
    keep: how many of the last to keep; None keeps all.
    best: the metric whose best checkpoint is kept as well; None for none.
    higher_is_better: for `best`.
  """

  def __init__(
    self,
    directory: epath.PathLike,
    *,
    keep: int | None = 1,
    best_metric: str | None = None,
    higher_is_better: bool = False,
  ):
    self._in_bucket = remote_paths.is_remote(directory)
    self.directory = epath.Path(
      directory if self._in_bucket else os.path.abspath(directory)
    )
    self._keep, self._best, self._higher_is_better = (
      keep,
      best_metric,
      higher_is_better,
    )
    self._deleted = self.directory / TRASH_FOLDER
    self._empty_deleted()
    policy = preservation_policy.AnyPreservationPolicy(
      [
        preservation_policy.LatestN(None if self._in_bucket else keep),
        _KeepBest(self.best_step),
      ]
    )
    self._manager = ocp.CheckpointManager(
      self.directory,
      options=ocp.CheckpointManagerOptions(
        create=True,
        enable_async_checkpointing=True,
        preservation_policy=policy,
        todelete_subdir=TRASH_FOLDER,
      ),
    )
    steps = sorted(self._manager.all_steps())
    processes.assert_equal_across_processes(
      f'Steps in {self.directory}', str(steps)
    )
    self._metrics = {
      step: read_metadata(self.step_path(step))['metrics'] for step in steps
    }

  def __enter__(self) -> 'CheckpointManager':
    return self

  def __exit__(self, kind, error, trace) -> None:
    try:
      if kind is None:
        self.wait_until_finished()
    finally:
      self._manager.close()

  def latest_step(self) -> int | None:
    """The step of the last whole checkpoint; None before the first."""
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """The step whose `best` metric is best; None when no checkpoint has it."""
    sign = 1 if self._higher_is_better else -1
    known = {
      step: sign * metrics[self._best]
      for step, metrics in self._metrics.items()
      if self._best in metrics
    }
    return max(known, key=lambda step: (known[step], -step), default=None)

  def step_path(self, step: int) -> epath.Path:
    """What is handed over: the folder of one step."""
    return self.directory / str(step)

  def save(
    self,
    step: int,
    params: Any,
    optimizer: Any,
    metadata: Mapping[str, Any],
    metrics: Mapping[str, float] | None = None,
  ) -> None:
    """Copies the arrays off the devices and returns; writing goes on in the background.

    Raises the error of an earlier save that failed meanwhile.
    """
    self._manager.wait_until_finished()
    self._delete_from_bucket()
    self._metrics[step] = dict(metrics or {})
    metadata = {
      **metadata,
      'step': step,
      'code_version': mathft_jax.__version__,
      'metrics': self._metrics[step],
    }
    self._manager.save(
      step,
      args=ocp.args.Composite(
        params=ocp.args.StandardSave(params),
        optimizer=ocp.args.StandardSave(optimizer),
        metadata=ocp.args.JsonSave(to_json_value(metadata)),
      ),
    )

  def check_for_errors(self) -> None:
    """Raises the error of a background save that failed; does not wait for one that goes on.

    Orbax's own `check_for_errors` says nothing once its finishing thread has seen the error.
    """
    if not self._manager.is_saving_in_progress():
      self._manager.wait_until_finished()
      self._empty_deleted()

  def wait_until_finished(self) -> None:
    """Returns when every save is on disk; raises when one failed."""
    self._manager.wait_until_finished()
    self._empty_deleted()
    self._delete_from_bucket()

  def restore(self, step: int, params: Any, optimizer: Any) -> tuple[Any, Any]:
    """(params, optimizer state) of a step, laid out like the given ShapeDtypeStructs.

    With `params` None these are not read, and None is in their place.
    """
    wanted = {'optimizer': ocp.args.StandardRestore(optimizer)}
    if params is not None:
      wanted['params'] = ocp.args.StandardRestore(params)
    restored = self._manager.restore(step, args=ocp.args.Composite(**wanted))
    return restored.get('params'), restored.optimizer

  def _empty_deleted(self) -> None:
    if (
      processes.is_primary() and not self._in_bucket and self._deleted.exists()
    ):
      self._deleted.rmtree()

  def _delete_from_bucket(self) -> None:
    """Deletes old steps in a bucket, where no folder can be moved away at once.

    Orbax would delete them in any order. First goes the mark of a whole step.
    """
    if not self._in_bucket or self._keep is None:
      return
    steps = sorted(self._manager.all_steps())
    for step in steps[: len(steps) - self._keep]:
      if step == self.best_step():
        continue
      if processes.is_primary():
        (self.step_path(step) / COMMIT_MARKER).unlink(missing_ok=True)
      self._manager.delete(step)


@dataclasses.dataclass
class _KeepBest(preservation_policy.PreservationPolicy):
  """Orbax's form of `keep the checkpoint of this step`."""

  best_step: Callable[[], int | None]

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> Sequence[bool]:
    del context
    return [checkpoint.step == self.best_step() for checkpoint in checkpoints]
