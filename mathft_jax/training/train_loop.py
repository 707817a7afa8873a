"""Train loop: runs steps and logs, evaluates and saves between them.

loop = TrainLoop(step_config, optimizer, loop_config, train_steps=1000, ...)
state = loop.run(state, start_step, batches)
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import time

from absl import logging
from etils import epath
import jax
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning, stop_signals
from mathft_jax.monitoring import metrics as metrics_lib
from mathft_jax.monitoring import profiling, progress
from mathft_jax.training import optimizers, throughput, train_config
from mathft_jax.training import train_step as step_lib

Batch = Mapping[str, np.ndarray]


@dataclasses.dataclass
class TrainLoop:
  """Runs a training state up to its last step.

  Attributes:
    step_config: configuration of the compiled steps.
    optimizer: optimizer with its learning rate.
    loop: periods of logging, evaluation and saving.
    train_steps: last step.
    workdir: folder for metrics.
    checkpoint_manager: saves checkpoints.
    compilations: counts compilations since the program started.
    metadata: is saved with every checkpoint.
    eval_batches: batches of an evaluation.
    save_evaluated: save every evaluated step, so that the best one can be chosen.
    unlogged_metrics: sums of the steps before the start that are in no line of metrics.jsonl yet.
  """

  step_config: step_lib.TrainStepConfig
  optimizer: optimizers.OptimizerConfig
  loop: train_config.LoopConfig
  _: dataclasses.KW_ONLY
  train_steps: int
  workdir: epath.PathLike
  checkpoint_manager: checkpoints.CheckpointManager
  compilations: progress.CompilationCounter
  metadata: Mapping[str, object]
  eval_batches: Sequence[Batch] = ()
  save_evaluated: bool = False
  unlogged_metrics: Mapping[str, Sequence[float]] = dataclasses.field(
    default_factory=dict
  )

  def __post_init__(self):
    self._metrics = metrics_lib.MetricAccumulator(self.unlogged_metrics)
    self._saved_step: int | None = None
    # (step, metrics on the devices) of the last dispatched step
    self._pending: tuple[int, metrics_lib.MetricPairs] | None = None
    self._throughput = throughput.Throughput(self.step_config)

  def run(
    self,
    state: step_lib.TrainState,
    start_step: int,
    batches: Iterator[Batch],
  ) -> step_lib.TrainState:
    """Returns the state after the last step.

    Args:
      state: state at `start_step`; it is donated.
      start_step: number of updates already done.
      batches: batches of the steps that follow.
    """
    logging.info(
      'Steps %d to %d. TRAIN_STEPS (%d) counts the steps of this run, not those of its initial '
      'checkpoint.',
      start_step + 1,
      self.train_steps,
      self.train_steps,
    )
    logging.info('train: compiling, then training')
    with (
      metrics_lib.create_metric_writer(
        self.workdir,
        start_step=start_step,
        tensorboard=self.loop.tensorboard,
        wandb_project=self.loop.wandb_project,
      ) as self._writer,
      profiling.StepProfiler(
        epath.Path(self.workdir) / 'profile', self.loop.profile_steps
      ) as self._profiler,
      progress.ProgressBar(
        'train', total=self.train_steps, unit='steps', done=start_step
      ) as self._progress_bar,
      stop_signals.TrainingStop() as self._stop,
    ):
      state = self._run_steps(state, start_step, batches)

    last_step = int(jax.device_get(state.step))
    if last_step != self.train_steps:
      raise RuntimeError(
        f'{self.workdir}: the run ended at step {last_step} instead of {self.train_steps}.'
      )
    return state

  def _run_steps(
    self,
    state: step_lib.TrainState,
    start_step: int,
    batches: Iterator[Batch],
  ) -> step_lib.TrainState:
    """Runs all steps.

    Metrics of a step are read after the next step has been dispatched, so that the devices do not
    wait for the host.
    """
    mesh = self.step_config.mesh
    train_step = step_lib.make_train_step(self.step_config)
    replicated = partitioning.replicated_sharding(mesh)
    learning_rates = optimizers.learning_rates(
      self.optimizer, start_step, self.train_steps
    )

    for step, learning_rate in enumerate(learning_rates, start=start_step + 1):
      batch = next(batches)
      metrics_lib.check_batch_has_targets(step, self.step_config.loss, batch)
      sharded_batch = partitioning.shard_batch(batch, mesh)
      sharded_rate = partitioning.shard_array(learning_rate, replicated)
      self._profiler.start_step(step)
      with jax.transfer_guard('disallow'):
        state, metrics = train_step(state, sharded_batch, sharded_rate)
      self._profiler.end_step(step, metrics)

      self._read_pending_metrics()
      self._pending = step, metrics
      self._throughput.add_step(batch)
      if step == start_step + 1:
        self._finish_first_step()
      self.checkpoint_manager.check_for_errors()
      self._log_evaluate_save(step, state, learning_rate)
      if step < self.train_steps and self._stop.should_stop():
        self._save_and_stop(step, state)

    return state

  def _log_evaluate_save(
    self, step: int, state: step_lib.TrainState, learning_rate: float
  ) -> None:
    """Does what is due after a step. Evaluating and saving do not count as training time."""
    loop = self.loop
    if self._is_due(loop.log_period, step):
      self._read_pending_metrics()
      self._log(step, learning_rate)

    start = time.monotonic()
    eval_metrics = {}
    if self._is_due(loop.eval_period, step):
      self._read_pending_metrics()
      eval_metrics = self._evaluate(step, state)

    if (
      self._is_due(loop.checkpoint_period, step)
      or step == self.train_steps
      or (eval_metrics and self.save_evaluated)
    ):
      self._save(step, state, eval_metrics)
    self._throughput.pause(time.monotonic() - start)

  def _save(
    self, step: int, state: step_lib.TrainState, eval_metrics: dict[str, float]
  ) -> None:
    self._read_pending_metrics()  # raises if a metric is not finite
    self._writer.copy()
    params, opt_state = step_lib.checkpoint_items(self.step_config, state)
    metadata = dict(self.metadata)
    if sums := self._metrics.sums():
      metadata['unlogged_metrics'] = sums
    self.checkpoint_manager.save(
      step, params, opt_state, metadata, eval_metrics
    )
    self._saved_step = step

  def _save_and_stop(self, step: int, state: step_lib.TrainState) -> None:
    """Saves a checkpoint after SIGTERM and leaves the loop."""
    if self._saved_step != step:
      self._save(step, state, {})
    self.checkpoint_manager.wait_until_finished()
    raise stop_signals.StopRequested(f'Checkpoint {step} is saved.')

  def _is_due(self, period: int | None, step: int) -> bool:
    if period is None:
      return False
    return step == self.train_steps or step % period == 0

  def _evaluate(
    self, step: int, state: step_lib.TrainState
  ) -> dict[str, float]:
    metrics = evaluate_batches(
      self.step_config, state.params, self.eval_batches
    )
    self._writer.write(step, 'validation', metrics)
    shown = []
    for name, value in metrics.items():
      shown.append(f'{name} {progress.format_number(value)}')
    self._progress_bar.note(f'step {step}, validation: {", ".join(shown)}')
    return metrics

  def _read_pending_metrics(self) -> None:
    """Waits for the metrics of the last step and accumulates them."""
    if self._pending is None:
      return
    step, metrics = self._pending
    self._pending = None
    metrics_lib.check_metrics_finite(step, metrics)
    self._metrics.add(metrics)
    self._progress_bar.advance(1)

  def _finish_first_step(self) -> None:
    self._read_pending_metrics()
    self._progress_bar.note(f'first step done; {self.compilations.describe()}')
    self._throughput.start(self.compilations.count)
    self._stop.can_save()

  def _log(self, step: int, learning_rate: float) -> None:
    metrics = self._metrics.means()
    metrics['learning_rate'] = float(learning_rate)
    metrics['compilations'] = self.compilations.count
    self._metrics = metrics_lib.MetricAccumulator()
    shown = {
      'loss': metrics['loss'],
      'compilations': self.compilations.count,
    }

    speed = self._throughput.read(self.compilations.count)
    metrics |= speed
    for name, label in (
      ('tokens_per_s', 'tokens/s'),
      ('model_flops_utilization', 'MFU'),
    ):
      if name in speed:
        shown[label] = speed[name]

    self._writer.write(step, 'train', metrics)
    self._progress_bar.advance(0, **shown)


def evaluate_batches(
  config: step_lib.TrainStepConfig,
  params: step_lib.PyTree,
  batches: Sequence[Batch],
) -> dict[str, float]:
  """Returns loss and metrics over all batches, independent of how examples are batched.

  Raises:
    ValueError: there are no batches, or the loss has no targets in them.
  """
  if not batches:
    raise ValueError(
      'The validation split has no examples to evaluate on. Set EVAL_PERIOD = None or add examples.'
    )
  metrics_lib.check_batch_has_targets(0, config.loss, batches[0])

  replicated = partitioning.replicated_sharding(config.mesh)

  def sum_and_replicate(*counts):
    total = np.asarray(np.float32(sum(counts)))
    return partitioning.shard_array(total, replicated)

  weights = [config.loss.weight(batch) for batch in batches]
  weight = jax.tree.map(sum_and_replicate, *weights)

  eval_step = step_lib.make_eval_step(config)
  results = []
  for batch in batches:
    sharded_batch = partitioning.shard_batch(batch, config.mesh)
    results.append(eval_step(params, sharded_batch, weight))

  total = metrics_lib.MetricAccumulator()
  for metrics in results:
    loss_share, _ = metrics['loss']
    total.add(metrics | {'loss': (loss_share, 1 / len(results))})
  return total.means()
