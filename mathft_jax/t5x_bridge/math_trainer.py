"""A t5x trainer with exact microbatches, and learning rates for it."""

from collections.abc import Callable
import dataclasses
import functools

from clu.data import dataset_iterator
from flax import core as flax_core
import jax
from t5x import models as t5x_models
from t5x import trainer as t5x_trainer

from mathft_jax.t5x_bridge import math_model
from mathft_jax.t5x_bridge.optax_optimizer import unfreeze
from mathft_jax.training import optimizers, train_step


class MathTrainer(t5x_trainer.Trainer):
  """Trains a `MathModel`; the gradient is that of the whole batch with any `num_microbatches`.

  The trainer of t5x normalizes each microbatch by itself, so its loss is `num_microbatches` times
  too large, and it gives no weight to the numbers of tokens of the microbatches.

  Args:
    seeks_batches: for `train_batches`: a resumed run continues with the batch of its step.
  """

  def __init__(
    self,
    model: t5x_models.BaseModel,
    *,
    seeks_batches: bool = False,
    **arguments,
  ):
    if not isinstance(model, math_model.MathModel):
      raise ValueError(
        f'MathTrainer got a {type(model).__name__}; it trains a MathModel. Bind '
        'train_script.train.model = @math_model.MathModel(), or use trainer.Trainer.'
      )
    super().__init__(model, **arguments)
    self.step_config = dataclasses.replace(
      model.step_config, num_microbatches=self._num_microbatches or 1
    )
    self._seeks_batches = seeks_batches
    self._next_step = 0

  def train(
    self,
    batch_iter: dataset_iterator.DatasetIterator,
    num_steps: int,
    start_step: int | None = None,
  ) -> t5x_trainer.ArrayMapFuture:
    """Runs `num_steps` steps."""
    if self._seeks_batches and start_step != self._next_step:
      batch_iter.reset()  # drops the batch that t5x has read in advance
      batch_iter.restore(start_step)
    summary = super().train(batch_iter, num_steps, start_step)
    if start_step is not None:
      self._next_step = start_step + num_steps
    return summary

  @functools.cached_property
  def _partitioned_train_step(self) -> t5x_trainer.PartitionedTrainCallable:
    axes = self._train_state_axes
    return self._partitioner.partition(
      self._train_step,
      in_axis_resources=(axes, self._partitioner.data_partition_spec),
      out_axis_resources=(axes, None),
      donate_argnums=(0,),
    )

  def _train_step(self, train_state, batch):
    """Returns the state after one update, and its metrics."""
    model = self._model
    batch = model.complete_batch(batch)
    batch = train_step.with_dropout_keys(
      self.step_config, batch, train_state.step
    )
    weight = model.loss_weight(batch, self.step_config.num_microbatches)
    (loss, metrics), grads = train_step.loss_and_grads(
      self.step_config, unfreeze(train_state.params), batch, weight
    )
    if isinstance(train_state.params, flax_core.FrozenDict):
      grads = flax_core.freeze(grads)

    return t5x_trainer.apply_grads(
      train_state,
      grads,
      math_model.to_t5x_metrics(loss, metrics),
      self._learning_rate_fn(train_state.step),
      self._weight_metrics_computer,
    )


def learning_rate_fn(
  optimizer: optimizers.OptimizerConfig,
) -> Callable[[jax.Array], jax.Array]:
  """Returns the learning rate of an optimizer as a function of t5x's step, which starts at 0."""

  def rate(step: jax.Array) -> jax.Array:
    schedule = optimizer.learning_rate
    value = schedule(step + 1) if callable(schedule) else schedule
    return jax.numpy.asarray(value, jax.numpy.float32)

  return rate
