"""One optimizer step for every objective: forward, backward, clip, update; and its evaluation.

A `Plan` says all that a compiled step depends on. It is hashable: runs with equal plans, in one
process, share one compilation.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import optax

from mathft_jax.distributed import partitioning
from mathft_jax.models import token_log_probs, transformer
from mathft_jax.training import lora as lora_lib

Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class TrainStepConfig:
  """What a compiled step depends on.

  Attributes:
    loss: of `losses`, or anything like them.
    optimizer: as `optimizers.without_learning_rate` gives it.
    num_microbatches: parts of a batch whose gradients are made one after the other and added; the
      sum is that of the whole batch.
    max_grad_norm: larger gradients are scaled down to this global norm; None: never.
    lora: adapters to train in the place of the parameters, which `lora.LoraParams` then holds beside
      them; None: every parameter is trained.
  """

  model: transformer.TransformerConfig
  loss: Any
  optimizer: Any
  mesh: Mesh
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES
  num_microbatches: int = 1
  max_grad_norm: float | None = 1.0
  lora: lora_lib.Lora | None = None

  def trained(self, params: Any) -> Any:
    """The part of the parameters that has gradients and optimizer state."""
    return params if self.lora is None else params.adapters

  def with_trained(self, params: Any, trained: Any) -> Any:
    """The parameters with this part in the place of theirs."""
    return trained if self.lora is None else params._replace(adapters=trained)


class TrainState(NamedTuple):
  """What a step changes. `step` counts updates."""

  step: jax.Array
  params: Any
  opt_state: Any


@functools.lru_cache(maxsize=64)
def make_train_step(plan: TrainStepConfig):
  """Compiled (state, batch, learning_rate) -> (state, metrics); the state is given up.

  Metrics are pairs (total, weight) on the devices; `gradient_norm` is that before clipping.
  """
  layout = train_state_shardings(plan)
  return jax.jit(
    functools.partial(_train_step, plan),
    donate_argnums=0,
    in_shardings=(layout, None, None),
    out_shardings=(layout, partitioning.replicated_sharding(plan.mesh)),
  )


@functools.lru_cache(maxsize=64)
def make_eval_step(plan: TrainStepConfig):
  """Compiled (params, batch, weight) -> metrics, with this batch's share of the `loss`.

  `weight` is `plan.loss.weight` of the whole evaluation set, whatever the number of batches.
  """
  return jax.jit(
    functools.partial(_eval_step, plan),
    in_shardings=(train_state_shardings(plan).params, None, None),
    out_shardings=partitioning.replicated_sharding(plan.mesh),
  )


@functools.lru_cache(maxsize=64)
def train_state_shardings(plan: TrainStepConfig) -> TrainState:
  """The layout of the train state; optimizer arrays lie like the parameters they belong to."""
  shapes, axes = _param_shapes(plan), transformer.param_logical_axes(plan.model)
  params = partitioning.logical_to_shardings(
    axes if plan.lora is None else plan.lora.axes(axes),
    shapes,
    mesh=plan.mesh,
    rules=plan.rules,
  )
  shapes, trained = plan.trained(shapes), plan.trained(params)
  whole = partitioning.replicated_sharding(plan.mesh)
  transform = plan.optimizer.transform()
  like_params = lambda leaf, sharding, param: (
    sharding if leaf.shape == param.shape else whole
  )
  optimizer = optax.tree_map_params(
    transform,
    like_params,
    jax.eval_shape(transform.init, shapes),
    trained,
    shapes,
    transform_non_params=lambda _: whole,
  )
  return TrainState(whole, params, optimizer)


def abstract_train_state(plan: TrainStepConfig) -> TrainState:
  """Shapes, dtypes and shardings of the train state, to restore a checkpoint into."""
  shapes = _param_shapes(plan)
  optimizer = jax.eval_shape(
    plan.optimizer.transform().init, plan.trained(shapes)
  )
  state = TrainState(jax.ShapeDtypeStruct((), jnp.int32), shapes, optimizer)
  return jax.tree.map(
    lambda array, sharding: jax.ShapeDtypeStruct(
      array.shape, array.dtype, sharding=sharding
    ),
    state,
    train_state_shardings(plan),
  )


def init_train_state(plan: TrainStepConfig, params: Any) -> TrainState:
  """Step 0 with these parameters and a fresh optimizer; with `lora` they have adapters."""
  layout = train_state_shardings(plan)
  optimizer = _initial(plan)(plan.trained(params))
  return TrainState(
    partitioning.shard_array(np.zeros((), np.int32), layout.step),
    params,
    optimizer,
  )


def abstract_model_params(plan: TrainStepConfig) -> Any:
  """Shapes, dtypes and shardings of the model's own parameters, to load a checkpoint into."""
  params = abstract_train_state(plan).params
  return params if plan.lora is None else params.base


def init_random_params(plan: TrainStepConfig, seed: int) -> Any:
  """Fresh parameters of the model, made where they shall live."""
  return _make_params(plan)(jax.random.key(seed))


def add_lora_adapters(
  plan: TrainStepConfig, base: Any, seed: int
) -> lora_lib.LoraParams:
  """The model's parameters and fresh adapters."""
  return lora_lib.LoraParams(base, _make_adapters(plan)(jax.random.key(seed)))


def params_and_opt_state_to_save(
  plan: TrainStepConfig, state: TrainState
) -> tuple[Any, Any]:
  """(parameters to hand over, what resuming needs besides) of a state, for a checkpoint."""
  if plan.lora is None:
    return state.params, state.opt_state
  return plan.lora.merged(state.params), (
    state.params.adapters,
    state.opt_state,
  )


def _param_shapes(plan: TrainStepConfig) -> Any:
  shapes = transformer.abstract_params(plan.model)
  return shapes if plan.lora is None else plan.lora.shapes(shapes)


@functools.lru_cache(maxsize=64)
def _make_params(plan: TrainStepConfig):
  def make(key):
    shapes = jax.tree.map(
      lambda array: array.dtype, abstract_model_params(plan)
    )
    return jax.tree.map(
      lambda array, dtype: array.astype(dtype),
      transformer.init_params(plan.model, key),
      shapes,
    )

  return jax.jit(
    make,
    out_shardings=jax.tree.map(
      lambda each: each.sharding, abstract_model_params(plan)
    ),
  )


@functools.lru_cache(maxsize=64)
def _make_adapters(plan: TrainStepConfig):
  shapes = transformer.abstract_params(plan.model)
  return jax.jit(
    functools.partial(plan.lora.init, shapes),
    out_shardings=train_state_shardings(plan).params.adapters,
  )


@functools.lru_cache(maxsize=64)
def _initial(plan: TrainStepConfig):
  return jax.jit(
    plan.optimizer.transform().init,
    out_shardings=train_state_shardings(plan).opt_state,
  )


def _train_step(
  plan: TrainStepConfig, state: TrainState, batch: Batch, learning_rate
):
  weight = plan.loss.weight(batch)
  (loss, metrics), gradients = _gradients(plan, state.params, batch, weight)
  norm = optax.tree.norm(gradients)
  if plan.max_grad_norm is not None:
    scale = jnp.minimum(1.0, plan.max_grad_norm / jnp.maximum(norm, 1e-30))
    gradients = jax.tree.map(lambda g: g * scale, gradients)
  before = plan.trained(state.params)
  updates, optimizer = plan.optimizer.transform().update(
    gradients, state.opt_state, before
  )
  trained = jax.tree.map(
    lambda p, u: (p - learning_rate * u).astype(p.dtype), before, updates
  )
  params = plan.with_trained(state.params, trained)
  metrics |= {'loss': (loss, 1.0), 'gradient_norm': (norm, 1.0)}
  return TrainState(state.step + 1, params, optimizer), metrics


def _eval_step(plan: TrainStepConfig, params, batch: Batch, weight):
  loss, metrics = _loss(plan, params, batch, weight)
  return metrics | {'loss': (loss, 1.0)}


def _gradients(plan: TrainStepConfig, params, batch: Batch, weight):
  """((loss, metrics), gradients) of the whole batch, microbatch by microbatch."""

  def loss(trained, batch, weight):
    return _loss(plan, plan.with_trained(params, trained), batch, weight)

  value_and_grad, trained = (
    jax.value_and_grad(loss, has_aux=True),
    plan.trained(params),
  )
  if plan.num_microbatches == 1:
    return value_and_grad(trained, batch, weight)
  whole = {name: x for name, x in batch.items() if _is_constant(name)}
  parts = {
    name: _split(plan, x) for name, x in batch.items() if not _is_constant(name)
  }

  def add(total, part):
    return jax.tree.map(
      jnp.add, total, value_and_grad(trained, part | whole, weight)
    ), None

  first = jax.tree.map(lambda x: x[0], parts) | whole
  shapes = jax.eval_shape(value_and_grad, trained, first, weight)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return jax.lax.scan(add, zeros, parts)[0]


def _split(plan: TrainStepConfig, x):
  """[B, ...] -> [num_microbatches, B / num_microbatches, ...]; rows over `data` within each."""
  if x.shape[0] % plan.num_microbatches:
    raise ValueError(
      f'{x.shape[0]} rows in {plan.num_microbatches} microbatches; wanted '
      'batch_size to be a multiple of num_microbatches.'
    )
  x = x.reshape(plan.num_microbatches, -1, *x.shape[1:])
  rows = NamedSharding(plan.mesh, PartitionSpec(None, 'data'))
  return jax.lax.with_sharding_constraint(x, rows)


def _loss(plan: TrainStepConfig, params, batch: Batch, weight):
  params = params if plan.lora is None else plan.lora.attach(params)
  hidden_BTD, _ = transformer.hidden_states(
    plan.model,
    params,
    batch['decoder_input_tokens'],
    positions_BT=batch['decoder_positions'],
    segment_ids_BT=batch['decoder_segment_ids'],
    branch_ids_BT=batch.get('decoder_branch_ids'),
    constrain=functools.partial(_constrain, plan),
    kernel_sharding=partitioning.KernelSharding(plan.mesh, plan.rules),
  )
  readout = token_log_probs.ChunkedLogProbs(
    plan.model, params, hidden_BTD, num_devices=plan.mesh.size
  )
  return plan.loss(readout, batch, weight)


def _constrain(plan: TrainStepConfig, x, axes):
  spec = partitioning.logical_to_partition_spec(
    axes, x.shape, mesh=plan.mesh, rules=plan.rules
  )
  return jax.lax.with_sharding_constraint(x, NamedSharding(plan.mesh, spec))


def _is_constant(name: str) -> bool:
  """Whether a batch's array is the same for all rows."""
  return name.startswith('label_')
