"""Training metrics: accumulation over steps, metrics.jsonl, curves.html and other trackers.

with create_metric_writer(workdir, start_step=0, tensorboard=True) as writer:
  writer.write(10, 'train', {'loss': 2.5})
"""

from collections.abc import Mapping, Sequence
import contextlib
import json
import tempfile
import time
from typing import Protocol, Self

from absl import logging
from etils import epath
import jax
import numpy as np

from mathft_jax.distributed import processes
from mathft_jax.monitoring import native_logs, run_page, wandb_runs
from mathft_jax.storage import local_and_remote_paths

METRICS_FILE = 'metrics.jsonl'
# Between copies to a bucket, which allows one a second per object.
COPY_PERIOD_S = 30.0
PAGE_FILE = 'curves.html'
PAGE_PERIOD_S = 60.0

Number = jax.Array | np.ndarray | float
MetricPairs = Mapping[str, tuple[Number, Number]]  # name -> (total, weight)


class WeightedLoss(Protocol):
  """The part of a loss that counts targets."""

  def weight(self, batch: Mapping[str, np.ndarray]) -> Mapping: ...


class EventWriter(Protocol):
  """A TensorBoard writer, such as those of clu."""

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None: ...

  def flush(self) -> None: ...

  def close(self) -> None: ...


class MetricAccumulator:
  """Sums (total, weight) pairs of several steps."""

  def __init__(self, sums: Mapping[str, Sequence[float]] | None = None):
    self._sums: dict[str, np.ndarray] = {}
    for name, pair in (sums or {}).items():
      self._sums[name] = np.asarray(pair, np.float64)

  def add(self, pairs: MetricPairs) -> None:
    """Adds the metrics of a step; waits for the devices."""
    for name, pair in jax.device_get(dict(pairs)).items():
      total = self._sums.get(name, 0.0)
      self._sums[name] = total + np.asarray(pair, np.float64)

  def sums(self) -> dict[str, list[float]]:
    """Returns {name: [total, weight]}, from which an equal accumulator can be created."""
    return {name: pair.tolist() for name, pair in self._sums.items()}

  def means(self) -> dict[str, float]:
    """Returns total / weight of each metric whose weight is not 0."""
    means = {}
    for name, (total, weight) in sorted(self._sums.items()):
      if weight:
        means[name] = float(total / weight)
    return means


class MetricWriter:
  """Writes metrics to <folder>/metrics.jsonl, curves.html, TensorBoard and Weights & Biases.

  When a run resumes, lines after `start_step` are removed. Files for a bucket are written to a
  local folder and copied, because objects in a bucket cannot be appended to.

  Args:
    folder: local folder or bucket path.
    start_step: step at which the run starts.
    tensorboard: also write events; needs clu and TensorFlow.
    wandb_project: also log to this project of Weights & Biases; None: do not.
  """

  def __init__(
    self,
    folder: epath.PathLike,
    *,
    start_step: int,
    tensorboard: bool = True,
    wandb_project: str | None = None,
  ):
    self._folder = epath.Path(folder)
    self._folder.mkdir(parents=True, exist_ok=True)
    self._resources = contextlib.ExitStack()
    self._local_folder = self._folder
    if local_and_remote_paths.is_remote(folder):
      temporary = tempfile.TemporaryDirectory(prefix='metrics')
      self._local_folder = epath.Path(self._resources.enter_context(temporary))
    self._copied_sizes: dict[str, int] = {}  # bytes of each copied file
    self._last_copy = self._last_page = time.monotonic()

    path = self._local_folder / METRICS_FILE
    text = ''
    for line in self._lines_until(start_step):
      text += f'{line}\n'
    path.write_text(text)
    self._file = self._resources.enter_context(path.open('a'))
    self._events = None
    if tensorboard:
      self._events = _create_event_writer(self._local_folder)
    self._wandb_run = None
    if wandb_project is not None:
      self._wandb_run = wandb_runs.start_run(wandb_project, self._folder)
    self.copy()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    with self._resources:
      if self._events is not None:
        self._events.close()
      self._events = None
      if self._wandb_run is not None:
        self._wandb_run.finish(exit_code=0 if kind is None else 1)
      self._write_page()
      self.copy()

  def write(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
    """Appends one line {"step": ..., "split": ..., ...}."""
    line = json.dumps({'step': step, 'split': split, **numbers})
    self._file.write(f'{line}\n')
    self._file.flush()
    scalars = {f'{split}/{name}': value for name, value in numbers.items()}
    if self._events is not None:
      self._events.write_scalars(step, scalars)
    if self._wandb_run is not None:
      self._wandb_run.log({**scalars, 'step': step})
    if time.monotonic() - self._last_page > PAGE_PERIOD_S:
      self._write_page()
    if time.monotonic() - self._last_copy > COPY_PERIOD_S:
      self.copy()

  def _write_page(self) -> None:
    """Writes the page with the curves of the run."""
    self._last_page = time.monotonic()
    lines = (self._local_folder / METRICS_FILE).read_text().splitlines()
    page = run_page.render_run_page(
      str(self._folder), [json.loads(line) for line in lines]
    )
    try:
      (self._local_folder / PAGE_FILE).write_text(page)
    except OSError as error:  # the numbers are in metrics.jsonl
      logging.warning('%s cannot be written: %s', PAGE_FILE, error)

  def copy(self) -> None:
    """Copies new content to a bucket. Call it before saving a checkpoint."""
    if self._local_folder == self._folder:
      return
    if self._events is not None:
      self._events.flush()
    for file in self._local_folder.iterdir():
      content = file.read_bytes()
      if self._copied_sizes.get(file.name) != len(content):
        (self._folder / file.name).write_bytes(content)
        self._copied_sizes[file.name] = len(content)
    self._last_copy = time.monotonic()

  def _lines_until(self, step: int) -> list[str]:
    """Returns the lines of an earlier run up to a step.

    An interrupted run may have cut the last line, which is dropped.

    Raises:
      ValueError: another line is damaged.
    """
    path = self._folder / METRICS_FILE
    if not path.exists():
      return []
    found = path.read_bytes().splitlines()
    kept = []
    for number, line in enumerate(found, start=1):
      try:
        record = json.loads(line)
        is_kept = record['step'] <= step
      except (ValueError, KeyError, TypeError) as error:
        if number == len(found):
          logging.warning('%s:%d: the last line is cut; dropped', path, number)
          continue
        raise ValueError(
          f'{path}:{number} is damaged: not a JSON object with a step. Delete this line; only '
          'curves are lost.'
        ) from error
      if is_kept:
        kept.append(line.decode())
    return kept


class NullMetricWriter:
  """Writes nothing: the writer of all processes but the primary one."""

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    pass

  def write(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
    pass

  def copy(self) -> None:
    pass


def create_metric_writer(
  folder: epath.PathLike,
  *,
  start_step: int,
  tensorboard: bool,
  wandb_project: str | None = None,
) -> MetricWriter | NullMetricWriter:
  """Returns a writer that writes in the primary process only; arguments as for `MetricWriter`."""
  if not processes.is_primary():
    return NullMetricWriter()
  return MetricWriter(
    folder,
    start_step=start_step,
    tensorboard=tensorboard,
    wandb_project=wandb_project,
  )


def check_metrics_finite(step: int, pairs: MetricPairs) -> None:
  """Raises ValueError with step and metric if a total is not finite."""
  for name, (total, _) in jax.device_get(dict(pairs)).items():
    if not np.isfinite(total):
      raise ValueError(
        f'step {step}: {name} is {float(total)}. The run stops; the last checkpoint is of an '
        'earlier step. Lower the learning rate or max_grad_norm, or check the data of this step.'
      )


def check_batch_has_targets(
  step: int, loss: WeightedLoss, batch: Mapping[str, np.ndarray]
) -> None:
  """Raises ValueError if a batch has nothing to learn: no target tokens, verdicts or pairs."""
  try:
    weights = loss.weight(batch)
  except KeyError as error:
    raise ValueError(
      f'{loss} needs {error} in its batches, which have {sorted(batch)}. Use examples that fit the '
      'loss.'
    ) from error
  for path, count in jax.tree_util.tree_leaves_with_path(weights):
    if not count > 0:
      name = '/'.join(str(key.key) for key in path)
      raise ValueError(
        f'step {step}: a batch has {count} {name} to learn from; every batch needs some. Check '
        'that the examples fit the loss (is_correct, targets, pairs with the correct one first).'
      )


def _create_event_writer(folder: epath.Path) -> EventWriter | None:
  """Returns a TensorBoard writer, or None if clu or TensorFlow is not installed."""
  try:
    with native_logs.without_noise():
      from clu import metric_writers  # imports TensorFlow

      writer = metric_writers.SummaryWriter(str(folder))
  except ImportError as error:
    logging.info(
      'No TensorBoard events (%s); metrics.jsonl has the same numbers. For events: '
      'pip install mathft_jax[data]',
      error,
    )
    return None
  return metric_writers.AsyncWriter(writer)
