"""The optimizers of `training.optimizers` as a t5x optimizer."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import core as flax_core
from t5x import optimizers as t5x_optimizers

from mathft_jax.training import optimizers, train_step

PyTree = Any


class OptaxOptimizer(t5x_optimizers.OptaxWrapper):
  """Clips and updates exactly as `train_step.make_train_step` does.

  The learning rate is that of the trainer's `learning_rate_fn`.
  """

  def __init__(self, config: train_step.TrainStepConfig):
    super().__init__(config.optimizer.transform())
    self.config = config

  def init_state(self, params: PyTree) -> t5x_optimizers.OptimizerState:
    """Returns the state of step 0."""
    return super().init_state(unfreeze(params))

  def apply_gradient(
    self,
    hyper_params: Any,
    params: PyTree,
    state: t5x_optimizers.OptimizerState,
    grads: PyTree,
  ) -> tuple[PyTree, t5x_optimizers.OptimizerState]:
    """Returns the updated parameters and state."""
    new_params, opt_state, _ = optimizers.apply_gradients(
      self.config.optimizer,
      unfreeze(params),
      state.param_states,
      unfreeze(grads),
      hyper_params.learning_rate,
      max_grad_norm=self.config.max_grad_norm,
    )
    if isinstance(params, flax_core.FrozenDict):
      new_params = flax_core.freeze(new_params)
    return new_params, t5x_optimizers.OptimizerState(
      step=state.step + 1, param_states=opt_state
    )

  def derive_logical_axes(self, optimizer: Any, param_logical_axes: PyTree):
    """Returns the optimizer with logical axes instead of arrays; None is replicated."""
    axes = optimizers.opt_state_like_params(
      self.config.optimizer,
      optimizer.state.param_states,
      unfreeze(param_logical_axes),
      unfreeze(optimizer.target),
      other=None,
    )
    state = t5x_optimizers.OptimizerState(step=None, param_states=axes)
    return dataclasses.replace(
      optimizer, target=param_logical_axes, state=state
    )


def unfreeze(tree: PyTree) -> dict[str, Any]:
  """Returns nested dicts; t5x has `FrozenDict` in some places and dicts in others."""
  if isinstance(tree, Mapping):
    return flax_core.unfreeze(tree)
  return tree
