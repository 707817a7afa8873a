"""One step on one device, on eight, in one piece and in parts: the same numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mathft_jax.data import batching
from mathft_jax.data.example_types import (
  ContrastExample,
  SolutionExample,
  VerdictExample,
)
from mathft_jax.data.label_word_branches import LabelWords
from mathft_jax.distributed import partitioning
from mathft_jax.models import config as model_config
from mathft_jax.models import dropout, transformer
from mathft_jax.training import losses, optimizers
from mathft_jax.training import train_step as step_lib

CONFIG = model_config.TransformerConfig(
  vocab_size=32,
  embed_dim=16,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  mlp_dim=32,
  mlp_activation='relu2',
)
FSDP = partitioning.Partitioner(fsdp=True).rules
WORDS = LabelWords(((3,), (4, 5)))


@dataclasses.dataclass(frozen=True)
class Sgd:
  """Plain gradient descent: what changes in a parameter is its gradient."""

  learning_rate: float = 0.0

  def transform(self):
    return optax.identity()


def make_mesh(num_devices, num_partitions=1):
  return partitioning.Partitioner(num_partitions=num_partitions).mesh(
    jax.devices()[:num_devices]
  )


def make_plan(loss, **fields):
  fields = {
    'optimizer': Sgd(),
    'mesh': make_mesh(1),
    'max_grad_norm': None,
    **fields,
  }
  return step_lib.TrainStepConfig(model=CONFIG, loss=loss, **fields)


def solution(random):
  return SolutionExample(
    random.integers(6, 32, random.integers(2, 5)),
    random.integers(6, 32, random.integers(1, 5)),
  )


def pair(random, targets):
  for is_correct in (1, 0):
    example = solution(random)
    if targets:
      yield ContrastExample(example.inputs, example.targets, is_correct)
    else:
      yield VerdictExample(example.inputs, is_correct)


def make_batch(kind):
  """16 rows of 16 tokens, unlike each other in length."""
  random = np.random.default_rng(0)

  def first_batch(examples, pack=False, group_size=1):
    layout = batching.BatchLayout(
      batch_size=16, max_length=16, label_words=WORDS, group_size=group_size
    )
    return next(batching.train_batches(examples, layout, seed=0, pack=pack))

  if kind in ('packed', 'packed, by solution'):
    examples = [solution(random) for _ in range(60)]
    return first_batch(examples, pack=True)
  if kind == 'joint':
    examples = [
      row
      for _ in range(4)
      for row in (*pair(random, False), solution(random), solution(random))
    ]
    return first_batch(examples, group_size=4)
  examples = [row for _ in range(8) for row in pair(random, kind == 'contrast')]
  return first_batch(examples, group_size=2)


CASES = {
  'packed': losses.Mle(z_loss=1e-3),
  'packed, by solution': losses.Mle(average_over='sequences'),
  'verdicts': losses.VerifierMargin(),
  'contrast': losses.SequenceContrast(),
  'joint': losses.Joint(verify=losses.VerifierXent(), mle_weight=0.3),
}


def make_params(plan):
  """Numbers of a usual size, made by numpy: compiling `random_params` takes seconds."""
  random = np.random.default_rng(0)

  def make(x, sharding):
    values = random.normal(size=x.shape, scale=0.3).astype(np.float32)
    return jax.device_put(values, sharding)

  return jax.tree.map(
    make,
    transformer.abstract_params(plan.model),
    step_lib.train_state_shardings(plan).params,
  )


def one_step(plan, batch, learning_rate=1.0):
  params = make_params(plan)
  state = step_lib.init_train_state(plan, params)
  state, metrics = step_lib.make_train_step(plan)(
    state, partitioning.shard_batch(batch, plan.mesh), np.float32(learning_rate)
  )
  return state, {
    name: float(total / weight) for name, (total, weight) in metrics.items()
  }


def assert_close(left, right, **tolerance):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **tolerance), left, right
  )


@pytest.mark.parametrize('kind', ['packed, by solution', 'joint'])
def test_microbatches_and_devices_do_not_change_a_step(kind):
  batch = make_batch(kind)
  state, metrics = one_step(make_plan(CASES[kind]), batch)
  start = make_params(make_plan(CASES[kind]))
  moved = jax.tree.map(
    lambda a, b: float(jnp.abs(a - b).max()), state.params, start
  )
  assert max(jax.tree.leaves(moved)) > 1e-3
  spread = make_plan(
    CASES[kind],
    num_microbatches=2,
    mesh=make_mesh(8, num_partitions=2),
    rules=FSDP,
  )
  other, other_metrics = one_step(spread, batch)
  assert_close(state.params, other.params, atol=2e-6, rtol=0)
  assert_close(metrics, other_metrics, rtol=1e-4, atol=1e-5)


DROPOUT = dataclasses.replace(CONFIG, num_layers=1, dropout_rate=0.25)


def test_microbatches_and_devices_do_not_change_a_step_with_dropout():
  batch = make_batch('packed')
  plan = dataclasses.replace(make_plan(CASES['packed']), model=DROPOUT)
  state, _ = one_step(plan, batch)
  spread = dataclasses.replace(plan, num_microbatches=2, mesh=make_mesh(2))
  other, _ = one_step(spread, batch)
  assert_close(state.params, other.params, atol=2e-6, rtol=0)


def test_dropout_differs_by_seed_and_step():
  batch = make_batch('packed')
  tokens_BT = batch['decoder_input_tokens']
  params = make_params(
    dataclasses.replace(make_plan(CASES['packed']), model=DROPOUT)
  )

  @jax.jit
  def mean(seed, step):
    keys_B = dropout.sequence_keys(seed, step, len(tokens_BT))
    hidden_BTD, _ = transformer.hidden_states(
      DROPOUT,
      params,
      tokens_BT,
      positions_BT=batch['decoder_positions'],
      dropout=dropout.Dropout(DROPOUT.dropout_rate, keys_B),
    )
    return hidden_BTD.mean()

  values = [float(mean(*each)) for each in ((0, 0), (0, 1), (1, 0), (0, 0))]
  assert values[0] == values[3] and len(set(values)) == 3


@pytest.mark.parametrize('is_training', [True, False])
def test_only_training_has_dropout(is_training):
  batch = make_batch('packed')
  plan = dataclasses.replace(make_plan(CASES['packed']), model=DROPOUT)
  state = step_lib.abstract_train_state(plan)
  if is_training:
    step, arguments = step_lib.make_train_step(plan), (state, batch, 1.0)
  else:
    weight = plan.loss.weight(batch)
    step, arguments = (
      step_lib.make_eval_step(plan),
      (state.params, batch, weight),
    )
  program = str(jax.make_jaxpr(step)(*arguments))
  assert ('random_bits' in program) == is_training


def test_dropout_keeps_the_mean():
  keys_B = dropout.sequence_keys(0, 0, 4)
  dropped = dropout.Dropout(0.25, keys_B)(jnp.ones((4, 64, 64)), place=1)
  assert abs(float((dropped == 0).mean()) - 0.25) < 0.02
  np.testing.assert_allclose(dropped.mean(), 1.0, atol=0.03)


def test_the_gradient_is_that_of_the_loss():
  plan, batch = make_plan(CASES['packed']), make_batch('packed')
  state, metrics = one_step(plan, batch)
  params = make_params(plan)
  moved = jax.tree.map(jnp.subtract, state.params, params)
  assert metrics['gradient_norm'] == pytest.approx(
    float(optax.tree.norm(moved)), rel=1e-3
  )

  def loss(params):
    hidden, _ = transformer.hidden_states(
      CONFIG,
      params,
      batch['decoder_input_tokens'],
      positions_BT=batch['decoder_positions'],
      segment_ids_BT=batch['decoder_segment_ids'],
    )
    logits = transformer.logits(CONFIG, params, hidden)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(
      logits, batch['decoder_target_tokens'][..., None], -1
    )[..., 0]
    weights = batch['decoder_loss_weights']
    return jnp.sum((log_z - picked + 1e-3 * log_z**2) * weights) / weights.sum()

  expected = jax.tree.map(
    lambda p, g: p - g, params, jax.jit(jax.grad(loss))(params)
  )
  assert_close(state.params, expected, atol=1e-6, rtol=0)


def test_parameters_and_optimizer_are_spread_alike():
  plan = make_plan(
    losses.Mle(),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
    mesh=make_mesh(4, num_partitions=2),
    rules=FSDP,
  )
  state, _ = one_step(plan, make_batch('packed'))
  query = state.params['layers']['attention']['query']
  assert query.addressable_shards[0].data.size == query.size // 4
  moments = [
    x for x in jax.tree.leaves(state.opt_state) if x.shape == query.shape
  ]
  assert len(moments) >= 2 and all(
    x.sharding == query.sharding for x in moments
  )


def test_adafactor_shares_its_layout_too_and_learns():
  plan = make_plan(
    losses.Mle(),
    optimizer=optimizers.without_learning_rate(
      optimizers.Adafactor(min_dim_size_to_factor=8)
    ),
    mesh=make_mesh(4, num_partitions=2),
  )
  batch = partitioning.shard_batch(make_batch('packed'), plan.mesh)
  state = step_lib.init_train_state(plan, make_params(plan))
  values = []
  for _ in range(5):
    state, metrics = step_lib.make_train_step(plan)(
      state, batch, np.float32(0.05)
    )
    values.append(float(metrics['loss'][0]))
  assert values[-1] < values[0] - 0.1 and int(state.step) == 5


def test_clipping_bounds_the_step_and_reports_the_norm_before():
  plan = make_plan(losses.Mle(), max_grad_norm=0.01)
  clipped, metrics = one_step(plan, make_batch('packed'))
  moved = jax.tree.map(jnp.subtract, clipped.params, make_params(plan))
  assert float(optax.tree.norm(moved)) == pytest.approx(0.01, rel=1e-2)
  assert metrics['gradient_norm'] > 0.1


def test_the_shares_of_evaluation_batches_add_up_to_the_loss_of_all(
  kind='joint',
):
  plan, batch = make_plan(CASES[kind]), make_batch(kind)
  params = make_params(plan)
  weight = plan.loss.weight(batch)
  halves = [
    {
      name: x if name.startswith('label_') else x[rows]
      for name, x in batch.items()
    }
    for rows in (slice(0, 8), slice(8, 16))
  ]

  def evaluate(part):
    return step_lib.make_eval_step(plan)(params, part, weight)['loss'][0]

  assert float(sum(map(evaluate, halves))) == pytest.approx(
    float(evaluate(batch)), rel=1e-5
  )


def test_equal_plans_share_a_compiled_step():
  first = make_plan(
    losses.VerifierMargin(0.5),
    optimizer=optimizers.without_learning_rate(
      optimizers.AdamW(learning_rate=1e-3)
    ),
  )
  second = make_plan(
    losses.VerifierMargin(0.5),
    optimizer=optimizers.without_learning_rate(
      optimizers.AdamW(learning_rate=1e-4)
    ),
  )
  other = make_plan(losses.VerifierMargin(0.6))
  assert step_lib.make_train_step(first) is step_lib.make_train_step(second)
  assert step_lib.make_train_step(first) is not step_lib.make_train_step(other)


def test_rows_that_do_not_divide_into_microbatches_name_the_knob():
  with pytest.raises(
    ValueError, match=r'batch_size is 16; .* num_microbatches \(3\)'
  ):
    one_step(make_plan(losses.Mle(), num_microbatches=3), make_batch('packed'))
