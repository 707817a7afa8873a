"""Optimizers and learning-rate schedules, built from optax.

  AdamW(learning_rate=Cosine(peak=1e-5, decay_steps=1000, warmup_steps=20))

An optimizer is a frozen dataclass. `transform()` returns the optax transformation without the
learning rate; `learning_rates` computes all rates in advance, and the train step takes the rate as
an argument. Runs that differ only in rate or number of steps therefore share one compiled step.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
import numpy as np
import optax

PyTree = Any  # nested dicts of arrays, shapes or shardings
Schedule = Callable[[ArrayLike], ArrayLike]  # update, from 1 -> learning rate

UNDECAYED_SUFFIXES = ('scale', 'bias')  # of parameter names


class OptimizerConfig(Protocol):
  """An optimizer: a frozen dataclass with a learning rate."""

  __dataclass_fields__: ClassVar[dict]

  @property
  def learning_rate(self) -> Schedule | float:
    """The learning rate, constant or by update."""
    ...

  def transform(self) -> optax.GradientTransformation:
    """Returns the optax transformation without the learning rate."""
    ...


OptimizerT = TypeVar('OptimizerT', bound=OptimizerConfig)


@dataclasses.dataclass(frozen=True)
class AdamW:
  """Adam with decoupled weight decay (arXiv 1711.05101). Norm scales and biases are not decayed."""

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
  """Adafactor (arXiv 1804.04235) without momentum.

  Attributes:
    learning_rate: relative to the root mean square of each array if `multiply_by_parameter_scale`.
      Layers are stacked, so an array contains all layers.
    min_dim_size_to_factor: arrays whose second-largest axis is smaller keep full second moments.
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
    transforms = [
      optax.scale_by_factored_rms(
        decay_rate=self.decay_rate,
        min_dim_size_to_factor=self.min_dim_size_to_factor,
        epsilon=self.eps,
      )
    ]
    if self.clipping_threshold is not None:
      transforms.append(optax.clip_by_block_rms(self.clipping_threshold))
    if self.multiply_by_parameter_scale:
      transforms.append(optax.scale_by_param_block_rms())
    transforms.append(
      optax.add_decayed_weights(self.weight_decay, weight_decay_mask)
    )
    return optax.chain(*transforms)


@dataclasses.dataclass(frozen=True)
class Constant:
  """Linear warm-up over `warmup_steps`, then `peak`."""

  peak: float
  warmup_steps: int = 0

  def __post_init__(self):
    _check_schedule(self, self.peak, self.warmup_steps)

  def __call__(self, update: ArrayLike) -> ArrayLike:
    constant = optax.constant_schedule(self.peak)
    return _after_warmup(self.peak, self.warmup_steps, constant)(update)


@dataclasses.dataclass(frozen=True)
class Linear:
  """Linear warm-up, then linear decay to `final` at update `decay_steps`."""

  peak: float
  decay_steps: int
  warmup_steps: int = 0
  final: float = 0.0

  def __post_init__(self):
    _check_schedule(self, self.peak, self.warmup_steps, self.decay_steps)

  def __call__(self, update: ArrayLike) -> ArrayLike:
    decay = optax.linear_schedule(
      self.peak, self.final, self.decay_steps - self.warmup_steps
    )
    return _after_warmup(self.peak, self.warmup_steps, decay)(update)


@dataclasses.dataclass(frozen=True)
class Cosine:
  """Linear warm-up, then cosine decay to `final` at update `decay_steps`."""

  peak: float
  decay_steps: int
  warmup_steps: int = 0
  final: float = 0.0

  def __post_init__(self):
    _check_schedule(self, self.peak, self.warmup_steps, self.decay_steps)

  def __call__(self, update: ArrayLike) -> ArrayLike:
    decay = optax.cosine_decay_schedule(
      self.peak,
      self.decay_steps - self.warmup_steps,
      alpha=self.final / self.peak,
    )
    return _after_warmup(self.peak, self.warmup_steps, decay)(update)


@dataclasses.dataclass(frozen=True)
class Rsqrt:
  """Linear warm-up, then `peak * sqrt(warmup_steps / update)`: the pre-training schedule of t5x."""

  peak: float
  warmup_steps: int = 10_000

  def __post_init__(self):
    _check_schedule(self, self.peak, self.warmup_steps)

  def __call__(self, update: ArrayLike) -> ArrayLike:
    def decay(count):
      update = count + self.warmup_steps
      return self.peak * jnp.sqrt(self.warmup_steps / update)

    return _after_warmup(self.peak, self.warmup_steps, decay)(update)


def learning_rates(
  optimizer: OptimizerConfig, start: int, stop: int
) -> np.ndarray:
  """Returns the rates of updates start + 1, ..., stop: float32 [stop - start]."""
  schedule = optimizer.learning_rate
  if not callable(schedule):
    return np.full(stop - start, schedule, np.float32)
  updates = jnp.arange(start + 1, stop + 1)
  return np.asarray(jax.jit(jax.vmap(schedule))(updates), np.float32)


def without_learning_rate(optimizer: OptimizerT) -> OptimizerT:
  """Returns the optimizer with rate 0, so that optimizers with different rates are equal."""
  return dataclasses.replace(optimizer, learning_rate=0.0)


def apply_gradients(
  optimizer: OptimizerConfig,
  params: PyTree,
  opt_state: PyTree,
  grads: PyTree,
  learning_rate: ArrayLike,
  *,
  max_grad_norm: float | None,
) -> tuple[PyTree, PyTree, jax.Array]:
  """Returns the updated parameters and state, and the norm of the gradient before clipping."""
  grad_norm = optax.tree.norm(grads)
  if max_grad_norm is not None:
    scale = max_grad_norm / jnp.maximum(grad_norm, 1e-30)
    scale = jnp.minimum(1.0, scale)
    grads = jax.tree.map(lambda g: g * scale, grads)

  updates, opt_state = optimizer.transform().update(grads, opt_state, params)
  params = jax.tree.map(
    lambda p, u: (p - learning_rate * u).astype(p.dtype), params, updates
  )
  return params, opt_state, grad_norm


def opt_state_like_params(
  optimizer: OptimizerConfig,
  opt_state: PyTree,
  values: PyTree,
  params: PyTree,
  *,
  other: object,
) -> PyTree:
  """Returns a tree like the optimizer state with the value of its parameter for each array.

  Args:
    optimizer: the optimizer.
    opt_state: arrays or shapes.
    values: one value for each trainable parameter, such as its sharding.
    params: the trainable parameters or their shapes.
    other: for arrays that do not have the shape of their parameter.
  """

  def like_param(array, value, param):
    return value if array.shape == param.shape else other

  return optax.tree_map_params(
    optimizer.transform(),
    like_param,
    opt_state,
    values,
    params,
    transform_non_params=lambda _: other,
  )


def weight_decay_mask(params):
  """Returns a tree of bools: True for parameters that are decayed, all but scales and biases."""

  def is_decayed(path, _) -> bool:
    return not str(path[-1].key).endswith(UNDECAYED_SUFFIXES)

  return jax.tree_util.tree_map_with_path(is_decayed, params)


def _check_schedule(
  schedule: Schedule,
  peak: float,
  warmup_steps: int,
  decay_steps: int | None = None,
) -> None:
  if peak <= 0 or warmup_steps < 0:
    raise ValueError(
      f'{schedule}: peak must be > 0 and warmup_steps must be >= 0.'
    )
  if decay_steps is not None and decay_steps <= warmup_steps:
    raise ValueError(
      f'{schedule}: decay_steps must be > warmup_steps. Bind decay_steps to '
      '%TRAIN_STEPS and use a smaller warmup_steps (WARMUP_STEPS).'
    )


def _after_warmup(
  peak: float, warmup_steps: int, decay: optax.Schedule
) -> optax.Schedule:
  warmup = optax.linear_schedule(0.0, peak, warmup_steps)
  return optax.join_schedules([warmup, decay], [warmup_steps])
