"""The loop of one training run: steps, and what is logged, evaluated and saved between them."""

from collections.abc import Iterator, Mapping, Sequence
import time
from typing import Any

import jax
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer
from mathft_jax.monitoring import metrics as metrics_lib
from mathft_jax.monitoring import progress
from mathft_jax.training import optimizers, train_config
from mathft_jax.training import train_step as step_lib

Batch = Mapping[str, np.ndarray]
Pairs = metrics_lib.MetricPairs


class TrainLoop:
  """Takes a train state from one step to the last.

  Args:
    plan: of the compiled steps.
    optimizer: with its learning rate.
    metadata: what checkpoints say about themselves.
    held_out: batches to evaluate on.
    watch: counts compilations since the program started.
  """

  def __init__(
    self,
    plan: step_lib.TrainStepConfig,
    optimizer: Any,
    loop: train_config.LoopConfig,
    *,
    train_steps: int,
    save_evaluated: bool,
    store: checkpoints.CheckpointManager,
    writer: metrics_lib.MetricWriter | metrics_lib.NullMetricWriter,
    bar: progress.ProgressBar,
    watch: progress.CompilationCounter,
    metadata: Mapping[str, Any],
    held_out: Sequence[Batch] = (),
  ):
    self._plan, self._optimizer, self._loop = plan, optimizer, loop
    self._train_steps, self._save_evaluated = train_steps, save_evaluated
    self._store, self._writer, self._bar, self._watch = (
      store,
      writer,
      bar,
      watch,
    )
    self._metadata, self._held_out = metadata, held_out
    self._meter = metrics_lib.MetricAccumulator()
    self._waiting: tuple[int, Pairs] | None = (
      None  # metrics of the last step, still on the way
    )
    self._clock, self._tokens = (
      0.0,
      0,
    )  # of steps after the first, which compiles

  def run(
    self, state: step_lib.TrainState, start: int, stream: Iterator[Batch]
  ) -> step_lib.TrainState:
    """The state after the last step.

    The metrics of a step are read when the next one has been dispatched, so that the devices never
    wait for the host.
    """
    step_fn, whole = (
      step_lib.make_train_step(self._plan),
      partitioning.replicated_sharding(self._plan.mesh),
    )
    rates = optimizers.learning_rates(self._optimizer, start, self._train_steps)
    for step, rate in enumerate(rates, start=start + 1):
      batch = next(stream)
      metrics_lib.check_batch_has_targets(step, self._plan.loss, batch)
      on_mesh = partitioning.shard_batch(batch, self._plan.mesh)
      rate_on_mesh = partitioning.shard_array(rate, whole)
      with jax.transfer_guard('disallow'):
        state, pairs = step_fn(state, on_mesh, rate_on_mesh)
      self._read_waiting()
      self._waiting = step, pairs
      self._tokens += int(np.count_nonzero(batch['decoder_segment_ids']))
      if step == start + 1:
        self._first_step_done()
      self._store.check_for_errors()
      self._between_steps(step, state, rate)
    return state

  def _between_steps(
    self, step: int, state: step_lib.TrainState, rate: float
  ) -> None:
    """What is due after a step. It does not count as training time."""
    loop = self._loop
    if self._is_due(loop.log_period, step):
      self._read_waiting()
      self._log(step, rate)
    evaluated = {}
    started = time.monotonic()
    if self._is_due(loop.eval_period, step):
      self._read_waiting()
      evaluated = self._evaluate(step, state)
    if (
      self._is_due(loop.checkpoint_period, step)
      or step == self._train_steps
      or (evaluated and self._save_evaluated)
    ):
      self._read_waiting()  # a state that is not finite is never saved
      self._writer.copy()
      self._store.save(
        step,
        *step_lib.params_and_opt_state_to_save(self._plan, state),
        self._metadata,
        evaluated,
      )
    self._clock += time.monotonic() - started

  def _is_due(self, period: int | None, step: int) -> bool:
    return period is not None and (
      step == self._train_steps or step % period == 0
    )

  def _evaluate(
    self, step: int, state: step_lib.TrainState
  ) -> dict[str, float]:
    numbers = evaluate_batches(self._plan, state.params, self._held_out)
    self._writer.write(step, 'validation', numbers)
    self._bar.note(
      f'step {step}, validation: '
      + ', '.join(
        f'{name} {progress.format_number(value)}'
        for name, value in numbers.items()
      )
    )
    return numbers

  def _read_waiting(self) -> None:
    """Waits for the numbers of the last step and adds them."""
    if self._waiting is None:
      return
    step, pairs = self._waiting
    self._waiting = None
    metrics_lib.check_metrics_finite(step, pairs)
    self._meter.add(pairs)
    self._bar.advance(1)

  def _first_step_done(self) -> None:
    self._read_waiting()
    self._bar.note(
      f'first step done, {self._watch.count} compilations so far took {self._watch.seconds:.1f} s'
    )
    self._clock, self._tokens = time.monotonic(), 0

  def _log(self, step: int, rate: float) -> None:
    numbers = self._meter.means() | {
      'learning_rate': float(rate),
      'compilations': self._watch.count,
    }
    self._meter = metrics_lib.MetricAccumulator()
    shown = {'loss': numbers['loss'], 'compilations': self._watch.count}
    if self._tokens:
      numbers['tokens_per_s'] = self._tokens / (time.monotonic() - self._clock)
      shown['tokens/s'] = numbers['tokens_per_s']
      used = progress.model_flops_utilization(
        numbers['tokens_per_s'] * train_flops_per_token(self._plan)
      )
      if used is not None:
        shown['MFU'] = numbers['model_flops_utilization'] = used
    self._writer.write(step, 'train', numbers)
    self._bar.advance(0, **shown)


def evaluate_batches(
  plan: step_lib.TrainStepConfig, params: Any, held_out: Sequence[Batch]
) -> dict[str, float]:
  """Loss and metrics of all batches together, whatever their number."""
  if not held_out:
    raise ValueError(
      'Nothing to evaluate on: the validation split has no examples.'
    )
  metrics_lib.check_batch_has_targets(0, plan.loss, held_out[0])
  weight = jax.tree.map(
    lambda *counts: np.float32(sum(counts)),
    *[plan.loss.weight(batch) for batch in held_out],
  )
  whole = partitioning.replicated_sharding(plan.mesh)
  weight = jax.tree.map(
    lambda count: partitioning.shard_array(np.asarray(count), whole), weight
  )
  step_fn, total = (
    step_lib.make_eval_step(plan),
    metrics_lib.MetricAccumulator(),
  )
  pairs = [
    step_fn(params, partitioning.shard_batch(batch, plan.mesh), weight)
    for batch in held_out
  ]
  for each in pairs:
    total.add(each | {'loss': (each['loss'][0], 1 / len(pairs))})
  return total.means()


def train_flops_per_token(plan: step_lib.TrainStepConfig) -> float:
  """Forward and backward, matrix products with parameters only: 6 a parameter, 4 a frozen one."""
  params = transformer.abstract_params(plan.model)
  count = sum(array.size for array in jax.tree.leaves(params))
  per_parameter = 6 if plan.lora is None else 4
  return per_parameter * (
    count if plan.model.tied_embeddings else count - params['embedding'].size
  )
