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
import optax

from mathft_jax import partitioning
from mathft_jax.models import likelihoods, transformer

Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a compiled step depends on.

  Attributes:
    loss: of `losses`, or anything like them.
    optimizer: as `optimizers.without_rate` gives it.
    num_microbatches: parts of a batch whose gradients are made one after the other and added; the
      sum is that of the whole batch.
    max_grad_norm: larger gradients are scaled down to this global norm; None: never.
  """

  config: transformer.TransformerConfig
  loss: Any
  optimizer: Any
  mesh: Mesh
  rules: partitioning.Rules = partitioning.DEFAULT_RULES
  num_microbatches: int = 1
  max_grad_norm: float | None = 1.0


class TrainState(NamedTuple):
  """What a step changes. `step` counts updates."""

  step: jax.Array
  params: Any
  optimizer: Any


@functools.lru_cache(maxsize=64)
def train_step(plan: Plan):
  """Compiled (state, batch, learning_rate) -> (state, metrics); the state is given up.

  Metrics are pairs (total, weight) on the devices; `gradient_norm` is that before clipping.
  """
  layout = state_shardings(plan)
  return jax.jit(functools.partial(_train_step, plan), donate_argnums=0,
                 in_shardings=(layout, None, None),
                 out_shardings=(layout, partitioning.replicated(plan.mesh)))


@functools.lru_cache(maxsize=64)
def eval_step(plan: Plan):
  """Compiled (params, batch, weight) -> metrics, with this batch's share of the `loss`.

  `weight` is `plan.loss.weight` of the whole evaluation set, whatever the number of batches.
  """
  return jax.jit(functools.partial(_eval_step, plan),
                 in_shardings=(state_shardings(plan).params, None, None),
                 out_shardings=partitioning.replicated(plan.mesh))


@functools.lru_cache(maxsize=64)
def state_shardings(plan: Plan) -> TrainState:
  """The layout of the train state; optimizer arrays lie like the parameters they belong to."""
  shapes = transformer.abstract_params(plan.config)
  params = partitioning.shardings(transformer.logical_axes(plan.config), shapes,
                                  mesh=plan.mesh, rules=plan.rules)
  whole = partitioning.replicated(plan.mesh)
  transform = plan.optimizer.transform()
  like_params = lambda leaf, sharding, param: sharding if leaf.shape == param.shape else whole
  optimizer = optax.tree_map_params(
      transform, like_params, jax.eval_shape(transform.init, shapes), params, shapes,
      transform_non_params=lambda _: whole)
  return TrainState(whole, params, optimizer)


def abstract_state(plan: Plan) -> TrainState:
  """Shapes, dtypes and shardings of the train state, to restore a checkpoint into."""
  shapes = transformer.abstract_params(plan.config)
  optimizer = jax.eval_shape(plan.optimizer.transform().init, shapes)
  state = TrainState(jax.ShapeDtypeStruct((), jnp.int32), shapes, optimizer)
  return jax.tree.map(
      lambda array, sharding: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding),
      state, state_shardings(plan))


def new_state(plan: Plan, params: Any) -> TrainState:
  """Step 0 with these parameters and a fresh optimizer."""
  layout = state_shardings(plan)
  optimizer = _initial(plan)(params)
  return TrainState(jax.device_put(jnp.int32(0), layout.step), params, optimizer)


def random_params(plan: Plan, seed: int) -> Any:
  """Fresh parameters, made where they shall live."""
  return _make_params(plan)(jax.random.key(seed))


@functools.lru_cache(maxsize=64)
def _make_params(plan: Plan):
  return jax.jit(functools.partial(transformer.init_params, plan.config),
                 out_shardings=state_shardings(plan).params)


@functools.lru_cache(maxsize=64)
def _initial(plan: Plan):
  return jax.jit(plan.optimizer.transform().init, out_shardings=state_shardings(plan).optimizer)


def _train_step(plan: Plan, state: TrainState, batch: Batch, learning_rate):
  weight = plan.loss.weight(batch)
  (loss, metrics), gradients = _gradients(plan, state.params, batch, weight)
  norm = optax.tree.norm(gradients)
  if plan.max_grad_norm is not None:
    scale = jnp.minimum(1.0, plan.max_grad_norm / jnp.maximum(norm, 1e-30))
    gradients = jax.tree.map(lambda g: g * scale, gradients)
  updates, optimizer = plan.optimizer.transform().update(gradients, state.optimizer, state.params)
  params = jax.tree.map(lambda p, u: (p - learning_rate * u).astype(p.dtype), state.params, updates)
  metrics |= {'loss': (loss, 1.0), 'gradient_norm': (norm, 1.0)}
  return TrainState(state.step + 1, params, optimizer), metrics


def _eval_step(plan: Plan, params, batch: Batch, weight):
  loss, metrics = _loss(plan, params, batch, weight)
  return metrics | {'loss': (loss, 1.0)}


def _gradients(plan: Plan, params, batch: Batch, weight):
  """((loss, metrics), gradients) of the whole batch, microbatch by microbatch."""
  value_and_grad = jax.value_and_grad(functools.partial(_loss, plan), has_aux=True)
  if plan.num_microbatches == 1:
    return value_and_grad(params, batch, weight)
  whole = {name: x for name, x in batch.items() if _is_constant(name)}
  parts = {name: _split(plan, x) for name, x in batch.items() if not _is_constant(name)}

  def add(total, part):
    return jax.tree.map(jnp.add, total, value_and_grad(params, part | whole, weight)), None

  first = jax.tree.map(lambda x: x[0], parts) | whole
  shapes = jax.eval_shape(value_and_grad, params, first, weight)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return jax.lax.scan(add, zeros, parts)[0]


def _split(plan: Plan, x):
  """[B, ...] -> [num_microbatches, B / num_microbatches, ...]; rows over `data` within each."""
  if x.shape[0] % plan.num_microbatches:
    raise ValueError(f'{x.shape[0]} rows in {plan.num_microbatches} microbatches; wanted '
                     'batch_size to be a multiple of num_microbatches.')
  x = x.reshape(plan.num_microbatches, -1, *x.shape[1:])
  rows = NamedSharding(plan.mesh, PartitionSpec(None, 'data'))
  return jax.lax.with_sharding_constraint(x, rows)


def _loss(plan: Plan, params, batch: Batch, weight):
  hidden_BTD, _ = transformer.hidden_states(
      plan.config, params, batch['decoder_input_tokens'],
      positions_BT=batch['decoder_positions'], segment_ids_BT=batch['decoder_segment_ids'],
      branch_ids_BT=batch.get('decoder_branch_ids'), constrain=functools.partial(_constrain, plan))
  return plan.loss(likelihoods.Readout(plan.config, params, hidden_BTD), batch, weight)


def _constrain(plan: Plan, x, axes):
  spec = partitioning.partition_spec(axes, x.shape, mesh=plan.mesh, rules=plan.rules)
  return jax.lax.with_sharding_constraint(x, NamedSharding(plan.mesh, spec))


def _is_constant(name: str) -> bool:
  """Whether a batch's array is the same for all rows."""
  return name.startswith('label_')
