"""Metrics of a run: sums of totals and weights, lines of metrics.jsonl, TensorBoard events."""

from collections.abc import Mapping
import contextlib
import json
import tempfile
import time
from typing import Any, Self

from absl import logging
from etils import epath
import jax
import numpy as np

from mathft_jax.distributed import processes
from mathft_jax.storage import remote_paths

LINES = 'metrics.jsonl'
COPY_SECONDS = 30.0  # at least, between two copies to a bucket, which takes one a second of a name
MetricPairs = Mapping[str, tuple[Any, Any]]  # name -> (total, weight)


class MetricAccumulator:
  """Adds up metrics of several steps; totals and weights are added before they are divided."""

  def __init__(self):
    self._pairs: dict[str, np.ndarray] = {}

  def add(self, pairs: MetricPairs) -> None:
    """Waits for the devices and adds."""
    for name, pair in jax.device_get(dict(pairs)).items():
      self._pairs[name] = self._pairs.get(name, 0.0) + np.asarray(
        pair, np.float64
      )

  def means(self) -> dict[str, float]:
    """total / weight of each metric that has weight."""
    return {
      name: float(total / weight)
      for name, (total, weight) in sorted(self._pairs.items())
      if weight
    }


class MetricWriter:
  """Writes numbers by step to <folder>/metrics.jsonl, and to TensorBoard where it can.

  Lines after `start_step`, of a run that was stopped before its next checkpoint, are removed. What
  goes to a bucket is written here first and copied, as nothing can be appended there.

  Args:
    tensorboard: also write events, by clu; says so in the log when it is not installed.
  """

  def __init__(
    self, folder: epath.PathLike, *, start_step: int, tensorboard: bool = True
  ):
    self._folder = epath.Path(folder)
    self._folder.mkdir(parents=True, exist_ok=True)
    self._open = contextlib.ExitStack()
    self._here = (
      self._folder
      if not remote_paths.is_remote(folder)
      else epath.Path(
        self._open.enter_context(tempfile.TemporaryDirectory(prefix='metrics'))
      )
    )
    self._copied: dict[str, int] = {}  # bytes of a file that lie in the bucket
    self._copied_at = time.monotonic()
    kept = [
      line for line in self._lines() if json.loads(line)['step'] <= start_step
    ]
    (self._here / LINES).write_text(''.join(f'{line}\n' for line in kept))
    self._file = self._open.enter_context((self._here / LINES).open('a'))
    self._events = _event_writer(self._here) if tensorboard else None
    self.copy()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    with self._open:
      if self._events is not None:
        self._events.close()
      self._events = None
      self.copy()

  def write(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
    """One line {"step": ..., "split": ..., ...}."""
    self._file.write(
      json.dumps({'step': step, 'split': split, **numbers}) + '\n'
    )
    self._file.flush()
    if self._events is not None:
      self._events.write_scalars(
        step, {f'{split}/{name}': x for name, x in numbers.items()}
      )
    if time.monotonic() - self._copied_at > COPY_SECONDS:
      self.copy()

  def copy(self) -> None:
    """Returns when all that was written lies in the folder, also where that is in a bucket.

    To be called before a checkpoint is saved, whose run has these lines when it goes on.
    """
    if self._here == self._folder:
      return
    if self._events is not None:
      self._events.flush()
    for file in self._here.iterdir():
      content = file.read_bytes()
      if self._copied.get(file.name) != len(content):
        (self._folder / file.name).write_bytes(content)
        self._copied[file.name] = len(content)
    self._copied_at = time.monotonic()

  def _lines(self) -> list[str]:
    """The whole lines of an earlier run; the last may have been cut by its end."""
    if not (self._folder / LINES).exists():
      return []
    return [
      line
      for line in (self._folder / LINES).read_text().splitlines()
      if line.endswith('}')
    ]


class NullMetricWriter:
  """The writer of all processes but the first: writes nothing."""

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    pass

  def write(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
    pass

  def copy(self) -> None:
    pass


def create_metric_writer(
  folder: epath.PathLike, *, start_step: int, tensorboard: bool
) -> MetricWriter | NullMetricWriter:
  """A writer of which one process of a run writes the numbers that all have."""
  if not processes.is_primary():
    return NullMetricWriter()
  return MetricWriter(folder, start_step=start_step, tensorboard=tensorboard)


def check_metrics_finite(step: int, pairs: MetricPairs) -> None:
  """ValueError that names step and quantity when a total is not finite."""
  for name, (total, _) in jax.device_get(dict(pairs)).items():
    if not np.isfinite(total):
      raise ValueError(
        f'step {step}: {name} is {float(total)}. Stopped; the last checkpoint is from before. '
        'Lower the learning rate or max_grad_norm, or look at the data of this step.'
      )


def check_batch_has_targets(
  step: int, loss: Any, batch: Mapping[str, np.ndarray]
) -> None:
  """ValueError when a batch has nothing to learn from: no target tokens, verdicts or pairs."""
  try:
    weights = loss.weight(batch)
  except KeyError as error:
    raise ValueError(
      f'{loss} needs {error} in its batches, which have {sorted(batch)}: these '
      'examples are for another loss.'
    ) from error
  for path, count in jax.tree_util.tree_leaves_with_path(weights):
    if not count > 0:
      name = '/'.join(str(key.key) for key in path)
      raise ValueError(
        f'step {step}: a batch with {count} {name} to learn from. Wanted some in every batch: do '
        'the examples (is_correct, targets, pairs with the correct one first) fit the loss?'
      )


def _event_writer(folder: epath.PathLike) -> Any:
  """clu's TensorBoard writer; None where clu, TensorFlow or TensorBoard is missing."""
  try:
    from clu import metric_writers  # not at the top: it imports TensorFlow
  except ImportError as error:
    logging.info(
      'No TensorBoard events (%s); metrics.jsonl has the same numbers. '
      'pip install mathft_jax[data] to have them.',
      error,
    )
    return None
  return metric_writers.AsyncWriter(metric_writers.SummaryWriter(str(folder)))
