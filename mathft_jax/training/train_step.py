"""Train step and evaluation step: forward pass, loss, gradients, clipping, optimizer update.

  config = TrainStepConfig(model, loss, optimizer, mesh)
  state = init_train_state(config, init_random_params(config, seed=0))
  state, metrics = make_train_step(config)(state, batch, learning_rate)

A batch has the arrays that `data.batching` lists. A `TrainStepConfig` contains everything that a
compiled step depends on, and it is hashable: two runs in one process with equal configs share one
compilation.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.distributed.activation_sharding import ActivationSharding
from mathft_jax.distributed.kernel_sharding import KernelSharding
from mathft_jax.models import dropout as dropout_lib
from mathft_jax.models import mixture_of_experts, token_log_probs, transformer
from mathft_jax.training import load_balance, logits_memory, optimizers
from mathft_jax.training import lora as lora_lib
from mathft_jax.training.losses import Batch, Loss, Metrics, Weights
from mathft_jax.training.optimizers import OptimizerConfig

Params = transformer.Params | lora_lib.LoraParams
DROPOUT_KEYS = 'dropout_keys'  # array of a batch that the train step adds
PyTree = Any  # arrays, shapes or shardings in the structure of parameters or optimizer state


@dataclasses.dataclass(frozen=True)
class TrainStepConfig:
  """Everything that a compiled step depends on.

  Attributes:
    model: sizes of the model.
    loss: an objective of `losses`, or any `Loss`.
    optimizer: an optimizer without its learning rate, from `optimizers.without_learning_rate`.
    mesh: devices; an `AbstractMesh` suffices for shapes.
    rules: mesh axis of each logical axis.
    num_microbatches: gradient-accumulation steps; the gradient is that of the whole batch.
    max_grad_norm: global norm to which larger gradients are clipped; None: no clipping.
    lora: adapters that are trained instead of the parameters, which are then `lora.LoraParams`.
    dropout_seed: with the step, decides which values dropout sets to 0.
    head_gradient_dtype: in which the gradient of the output head is reduced over devices.
  """

  model: transformer.TransformerConfig
  loss: Loss
  optimizer: OptimizerConfig
  mesh: Mesh
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES
  num_microbatches: int = 1
  max_grad_norm: float | None = 1.0
  lora: lora_lib.Lora | None = None
  dropout_seed: int = 0
  head_gradient_dtype: str = 'float32'

  @property
  def sharding(self) -> ActivationSharding:
    """Sharding constraints of activations."""
    return ActivationSharding(self.mesh, self.rules)

  def trainable(self, params: PyTree) -> PyTree:
    """Returns the parameters that have gradients and optimizer state."""
    return params if self.lora is None else params.adapters

  def replace_trainable(self, params: PyTree, trainable: PyTree) -> PyTree:
    """Returns the parameters with other trainable ones."""
    if self.lora is None:
      return trainable
    return params._replace(adapters=trainable)

  def with_dropout_seed(self, seed: int) -> 'TrainStepConfig':
    """Returns the configuration with the seed of dropout, or unchanged if there is no dropout."""
    if not self.model.dropout_rate:
      return self  # equal configurations share a compilation
    return dataclasses.replace(self, dropout_seed=seed)


class TrainState(NamedTuple):
  """State that a step updates; `step` is the number of updates."""

  step: jax.Array
  params: PyTree
  opt_state: PyTree


@functools.lru_cache(maxsize=64)
def make_train_step(config: TrainStepConfig):
  """Returns the jitted train step `(state, batch, learning_rate) -> (state, metrics)`.

  The input state is donated. Metrics are pairs (total, weight) on the devices; `gradient_norm` is
  the norm before clipping, `load_balance` is `mixture_of_experts.load_balance_loss`.
  """
  shardings = train_state_shardings(config)
  replicated = partitioning.replicated_sharding(config.mesh)
  return jax.jit(
    functools.partial(_train_step, config),
    donate_argnums=0,
    in_shardings=(shardings, None, None),
    out_shardings=(shardings, replicated),
  )


@functools.lru_cache(maxsize=64)
def make_eval_step(config: TrainStepConfig):
  """Returns the jitted evaluation step `(params, batch, weight) -> metrics`.

  `weight` is `config.loss.weight` of all batches of the evaluation; the `loss` of one batch is its
  share of the total loss.
  """
  return jax.jit(
    functools.partial(_eval_step, config),
    in_shardings=(train_state_shardings(config).params, None, None),
    out_shardings=partitioning.replicated_sharding(config.mesh),
  )


@functools.lru_cache(maxsize=64)
def train_state_shardings(config: TrainStepConfig) -> TrainState:
  """Returns the shardings of the train state.

  An optimizer array with the shape of its parameter is sharded like the parameter; all other
  optimizer arrays are replicated.
  """
  shapes = _abstract_params(config)
  axes = transformer.param_logical_axes(config.model)
  if config.lora is not None:
    axes = config.lora.logical_axes(axes)
  params = partitioning.logical_to_shardings(
    axes, shapes, mesh=config.mesh, rules=config.rules
  )
  replicated = partitioning.replicated_sharding(config.mesh)
  opt_state = optimizers.opt_state_like_params(
    config.optimizer,
    _abstract_opt_state(config, shapes),
    config.trainable(params),
    config.trainable(shapes),
    other=replicated,
  )
  return TrainState(cast(Any, replicated), params, opt_state)


def abstract_train_state(config: TrainStepConfig) -> TrainState:
  """Returns shapes, dtypes and shardings of the train state, to restore a checkpoint into."""
  params = _abstract_params(config)
  step = jax.ShapeDtypeStruct((), jnp.int32)
  state = TrainState(
    cast(Any, step), params, _abstract_opt_state(config, params)
  )

  def with_sharding(array, sharding):
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

  return jax.tree.map(with_sharding, state, train_state_shardings(config))


def abstract_base_params(config: TrainStepConfig) -> transformer.Params:
  """Returns shapes, dtypes and shardings of the model's parameters, without adapters."""
  params = abstract_train_state(config).params
  return params if config.lora is None else params.base


def init_train_state(config: TrainStepConfig, params: Params) -> TrainState:
  """Returns the state of step 0: the given parameters and a new optimizer state."""
  step = partitioning.shard_array(
    np.zeros((), np.int32), partitioning.replicated_sharding(config.mesh)
  )
  opt_state = _make_init_opt_state(config)(config.trainable(params))
  return TrainState(step, params, opt_state)


def init_random_params(
  config: TrainStepConfig, seed: int
) -> transformer.Params:
  """Returns random parameters of the model, created with their shardings."""
  return _make_init_params(config)(jax.random.key(seed))


def add_lora_adapters(
  config: TrainStepConfig, base: transformer.Params, seed: int
) -> lora_lib.LoraParams:
  """Returns the parameters of the model with new adapters."""
  return lora_lib.LoraParams(
    base, _make_init_adapters(config)(jax.random.key(seed))
  )


def checkpoint_items(
  config: TrainStepConfig, state: TrainState
) -> tuple[PyTree, PyTree]:
  """Returns what a checkpoint contains.

  With LoRA the parameters are merged and the second item is (adapters, optimizer state).
  """
  if config.lora is None:
    return state.params, state.opt_state
  merged = config.lora.merge(state.params)
  return merged, (state.params.adapters, state.opt_state)


def max_logits_per_chunk(config: TrainStepConfig) -> int:
  """Returns the logits of a chunk on each device."""
  state = abstract_train_state(config)
  trainable = config.trainable(state.params)
  state_bytes = partitioning.bytes_per_device((state, trainable))
  return logits_memory.max_logits_per_chunk(config.mesh, state_bytes)


def _abstract_params(config: TrainStepConfig) -> PyTree:
  params = transformer.abstract_params(config.model)
  return params if config.lora is None else config.lora.abstract_params(params)


def _abstract_opt_state(config: TrainStepConfig, params: PyTree) -> PyTree:
  init = config.optimizer.transform().init
  return jax.eval_shape(init, config.trainable(params))


@functools.lru_cache(maxsize=64)
def _make_init_params(config: TrainStepConfig):
  abstract = abstract_base_params(config)

  def init(key):
    params = transformer.init_params(config.model, key)
    return jax.tree.map(lambda x, like: x.astype(like.dtype), params, abstract)

  shardings = jax.tree.map(lambda array: array.sharding, abstract)
  return jax.jit(init, out_shardings=shardings)


@functools.lru_cache(maxsize=64)
def _make_init_adapters(config: TrainStepConfig):
  assert config.lora is not None
  params = transformer.abstract_params(config.model)
  return jax.jit(
    functools.partial(config.lora.init_adapters, params),
    out_shardings=train_state_shardings(config).params.adapters,
  )


@functools.lru_cache(maxsize=64)
def _make_init_opt_state(config: TrainStepConfig):
  return jax.jit(
    config.optimizer.transform().init,
    out_shardings=train_state_shardings(config).opt_state,
  )


def _train_step(
  config: TrainStepConfig,
  state: TrainState,
  batch: Batch,
  learning_rate: jax.Array,
) -> tuple[TrainState, Metrics]:
  weight = config.loss.weight(batch)
  batch = with_dropout_keys(config, batch, state.step)
  (loss, metrics), grads = loss_and_grads(config, state.params, batch, weight)

  trainable, opt_state, grad_norm = optimizers.apply_gradients(
    config.optimizer,
    config.trainable(state.params),
    state.opt_state,
    grads,
    learning_rate,
    max_grad_norm=config.max_grad_norm,
  )
  params = config.replace_trainable(state.params, trainable)

  metrics |= {'loss': (loss, 1.0), 'gradient_norm': (grad_norm, 1.0)}
  return TrainState(state.step + 1, params, opt_state), metrics


def _eval_step(
  config: TrainStepConfig, params: PyTree, batch: Batch, weight: Weights
) -> Metrics:
  loss, metrics = config.loss(forward(config, params, batch), batch, weight)
  return metrics | {'loss': (loss, 1.0)}


def loss_and_grads(
  config: TrainStepConfig, params: PyTree, batch: Batch, weight: Weights
):
  """Returns ((loss, metrics), gradients) of the whole batch, summed over microbatches."""

  def loss(trainable, batch, weight):
    merged = config.replace_trainable(params, trainable)
    log_probs, statistics = _forward(config, merged, batch)
    loss, metrics = config.loss(log_probs, batch, weight)
    return load_balance.add_load_balance(
      config.model, config.num_microbatches, loss, metrics, statistics
    )

  value_and_grad = jax.value_and_grad(loss, has_aux=True)
  trainable = config.trainable(params)
  if config.num_microbatches == 1:
    return value_and_grad(trainable, batch, weight)

  replicated, microbatches = {}, {}
  for name, array in batch.items():
    if name in partitioning.REPLICATED_BATCH_ARRAYS:
      replicated[name] = array
    else:
      microbatches[name] = _split_into_microbatches(config, array)

  def accumulate(total, microbatch):
    new = value_and_grad(trainable, microbatch | replicated, weight)
    return jax.tree.map(jnp.add, total, new), None

  first = jax.tree.map(lambda x: x[0], microbatches) | replicated
  shapes = jax.eval_shape(value_and_grad, trainable, first, weight)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  total, _ = jax.lax.scan(accumulate, zeros, microbatches)
  return total


def _split_into_microbatches(
  config: TrainStepConfig, array: jax.Array
) -> jax.Array:
  """[B, ...] -> [num_microbatches, B / num_microbatches, ...], each sharded over `data`."""
  batch_size, *rest = array.shape
  if batch_size % config.num_microbatches:
    raise ValueError(
      f'batch_size is {batch_size}; it must be a multiple of num_microbatches '
      f'({config.num_microbatches}).'
    )
  array = array.reshape(config.num_microbatches, -1, *rest)
  sharding = NamedSharding(config.mesh, PartitionSpec(None, 'data'))
  return jax.lax.with_sharding_constraint(array, sharding)


def forward(
  config: TrainStepConfig, params: PyTree, batch: Batch
) -> token_log_probs.ChunkedLogProbs:
  """Returns the log-probabilities of one forward pass over a batch."""
  log_probs, _ = _forward(config, params, batch)
  return log_probs


def _forward(
  config: TrainStepConfig, params: PyTree, batch: Batch
) -> tuple[
  token_log_probs.ChunkedLogProbs, mixture_of_experts.RouterStatistics | None
]:
  """Returns `forward`, and the statistics of the routers of a mixture of experts."""
  if config.lora is not None:
    params = config.lora.attach(params)

  outputs = transformer.model_outputs(
    config.model,
    params,
    batch['decoder_input_tokens'],
    positions_BT=batch['decoder_positions'],
    segment_ids_BT=batch['decoder_segment_ids'],
    branch_ids_BT=batch.get('decoder_branch_ids'),
    constrain=config.sharding,
    kernel_sharding=KernelSharding(config.mesh, config.rules),
    dropout=_dropout(config, batch),
  )
  log_probs = token_log_probs.ChunkedLogProbs(
    config.model,
    params,
    outputs.hidden_BTD,
    max_logits=max_logits_per_chunk(config),
    head_gradient_dtype=config.head_gradient_dtype,
    sharding=config.sharding,
  )
  return log_probs, outputs.router_statistics


def with_dropout_keys(
  config: TrainStepConfig, batch: Batch, step: jax.Array
) -> Batch:
  """Returns the batch with a random key for each sequence, if the model has dropout."""
  if not config.model.dropout_rate:
    return batch
  batch_size = batch['decoder_input_tokens'].shape[0]
  keys_B = dropout_lib.sequence_keys(config.dropout_seed, step, batch_size)
  return {**batch, DROPOUT_KEYS: keys_B}


def _dropout(
  config: TrainStepConfig, batch: Batch
) -> dropout_lib.Dropout | None:
  """Returns the dropout of a training batch; None in an evaluation, which has no keys."""
  keys_B = batch.get(DROPOUT_KEYS)
  if keys_B is None:
    return None
  return dropout_lib.Dropout(config.model.dropout_rate, keys_B)
