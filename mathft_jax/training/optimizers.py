"""Optimizers and learning rates, by optax.

An optimizer is a frozen dataclass: `transform()` is the optax transformation without the learning
rate, which `learning_rates` evaluates beforehand and the train step gets as a number. So stages
that differ in nothing but the rate or the number of steps share one compiled step.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

Schedule = Callable[[Any], Any]  # update number, from 1 -> learning rate

UNDECAYED = (
  'scale',
  'bias',
)  # ends of the names of parameters without weight decay


@dataclasses.dataclass(frozen=True)
class AdamW:
  """Adam with decoupled weight decay (1711.05101); norms and biases are not decayed."""

  learning_rate: Schedule | float = 1e-3
  b1: float = 0.9
  b2: float = 0.95
  eps: float = 1e-8
  weight_decay: float = 0.0

  def transform(self) -> optax.GradientTransformation:
    return optax.chain(
      optax.scale_by_adam(self.b1, self.b2, self.eps),
      optax.add_decayed_weights(self.weight_decay, weight_decay_mask),
    )


@dataclasses.dataclass(frozen=True)
class Adafactor:
  """Adafactor (1804.04235) without momentum: updates relative to the size of each parameter.

  Attributes:
    learning_rate: relative to the root mean square of each array (of all layers together, as
      layers are stacked) when `multiply_by_parameter_scale`.
    min_dim_size_to_factor: arrays with a smaller second-largest axis keep full second moments.
    clipping_threshold: largest root mean square of an update before scaling.
  """

  learning_rate: Schedule | float = 1e-3
  decay_rate: float = 0.8
  min_dim_size_to_factor: int = 128
  multiply_by_parameter_scale: bool = True
  clipping_threshold: float | None = 1.0
  weight_decay: float = 0.0
  eps: float = 1e-30

  def transform(self) -> optax.GradientTransformation:
    parts = [
      optax.scale_by_factored_rms(
        decay_rate=self.decay_rate,
        min_dim_size_to_factor=self.min_dim_size_to_factor,
        epsilon=self.eps,
      )
    ]
    if self.clipping_threshold is not None:
      parts.append(optax.clip_by_block_rms(self.clipping_threshold))
    if self.multiply_by_parameter_scale:
      parts.append(optax.scale_by_param_block_rms())
    return optax.chain(
      *parts, optax.add_decayed_weights(self.weight_decay, weight_decay_mask)
    )


@dataclasses.dataclass(frozen=True)
class Constant:
  """Linear warm-up over `warmup_steps`, then `peak`."""

  peak: float
  warmup_steps: int = 0

  def __post_init__(self):
    _check_schedule(self)

  def __call__(self, update):
    return _after_warmup(self, optax.constant_schedule(self.peak))(update)


@dataclasses.dataclass(frozen=True)
class Linear:
  """Linear warm-up, then a straight line down to `final` at update `decay_steps`."""

  peak: float
  decay_steps: int
  warmup_steps: int = 0
  final: float = 0.0

  def __post_init__(self):
    _check_schedule(self)

  def __call__(self, update):
    down = optax.linear_schedule(
      self.peak, self.final, self.decay_steps - self.warmup_steps
    )
    return _after_warmup(self, down)(update)


@dataclasses.dataclass(frozen=True)
class Cosine:
  """Linear warm-up, then half a cosine down to `final` at update `decay_steps`."""

  peak: float
  decay_steps: int
  warmup_steps: int = 0
  final: float = 0.0

  def __post_init__(self):
    _check_schedule(self)

  def __call__(self, update):
    down = optax.cosine_decay_schedule(
      self.peak,
      self.decay_steps - self.warmup_steps,
      alpha=self.final / self.peak,
    )
    return _after_warmup(self, down)(update)


@dataclasses.dataclass(frozen=True)
class Rsqrt:
  """Linear warm-up, then `peak` * sqrt(warmup_steps / update): t5x's pre-training schedule."""

  peak: float
  warmup_steps: int = 10_000

  def __post_init__(self):
    _check_schedule(self)

  def __call__(self, update):
    down = lambda count: (
      self.peak * jnp.sqrt(self.warmup_steps / (count + self.warmup_steps))
    )
    return _after_warmup(self, down)(update)


def learning_rates(optimizer: Any, start: int, stop: int) -> np.ndarray:
  """float32 [stop - start]: the rates of updates start + 1, ..., stop."""
  rate = optimizer.learning_rate
  updates = jnp.arange(start + 1, stop + 1)
  if not callable(rate):
    return np.full(len(updates), rate, np.float32)
  return np.asarray(jax.jit(jax.vmap(rate))(updates), np.float32)


def without_learning_rate(optimizer: Any) -> Any:
  """The optimizer as the train step knows it, equal for all learning rates."""
  return dataclasses.replace(optimizer, learning_rate=0.0)


def weight_decay_mask(params: Any) -> Any:
  """True for the parameters that weight decay shrinks: all but norm scales and biases."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: not str(path[-1].key).endswith(UNDECAYED), params
  )


def _check_schedule(schedule: Any) -> None:
  if schedule.peak <= 0 or schedule.warmup_steps < 0:
    raise ValueError(f'{schedule}: wanted peak > 0 and warmup_steps >= 0.')
  if getattr(schedule, 'decay_steps', np.inf) <= schedule.warmup_steps:
    raise ValueError(
      f'{schedule}: wanted decay_steps > warmup_steps; bind decay_steps to '
      '%TRAIN_STEPS and warmup_steps below it.'
    )


def _after_warmup(schedule: Any, down: Schedule) -> Schedule:
  up = optax.linear_schedule(0.0, schedule.peak, schedule.warmup_steps)
  return optax.join_schedules([up, down], [schedule.warmup_steps])
