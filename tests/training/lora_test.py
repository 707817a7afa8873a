"""LoRA in one step: what moves, what it costs, and that merged weights are the adapted model."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.data import batching
from mathft_jax.data.example_types import SolutionExample
from mathft_jax.distributed import partitioning
from mathft_jax.models import config as model_config
from mathft_jax.models import transformer
from mathft_jax.training import lora as lora_lib
from mathft_jax.training import losses, optimizers
from mathft_jax.training import train_step as step_lib

CONFIG = model_config.TransformerConfig(
  vocab_size=32,
  embed_dim=16,
  num_layers=3,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  mlp_dim=32,
)
ALL = (
  'attention/key',
  'attention/out',
  'attention/query',
  'attention/value',
  'mlp/down',
  'mlp/gate',
  'mlp/up',
)


def make_plan(lora=lora_lib.Lora(rank=2), devices=1, partitions=1, **fields):
  mesh = partitioning.Partitioner(num_partitions=partitions).mesh(
    jax.devices()[:devices]
  )
  optimizer = optimizers.without_learning_rate(
    optimizers.AdamW(weight_decay=0.1)
  )
  return step_lib.TrainStepConfig(
    **dict(
      model=CONFIG,
      loss=losses.Mle(),
      optimizer=optimizer,
      mesh=mesh,
      lora=lora,
    )
    | fields
  )


def make_state(plan, moved=False):
  """A state at step 0, made by numpy as compiling takes seconds; `moved`: B is not zero."""
  random = np.random.default_rng(0)
  layout = step_lib.train_state_shardings(plan).params

  def make(path, shape, sharding):
    is_start = path[-1].key == 'b' and not moved
    value = (
      np.zeros(shape.shape)
      if is_start
      else random.normal(size=shape.shape, scale=0.3)
    )
    return jax.device_put(value.astype(np.float32), sharding)

  shapes = plan.lora.abstract_params(transformer.abstract_params(CONFIG))
  return step_lib.init_train_state(
    plan, jax.tree_util.tree_map_with_path(make, shapes, layout)
  )


@pytest.fixture(scope='module')
def batch():
  random = np.random.default_rng(0)
  examples = [
    SolutionExample(random.integers(6, 32, 3), random.integers(6, 32, 4))
    for _ in range(30)
  ]
  return next(
    batching.train_batches(
      examples,
      batching.BatchLayout(batch_size=16, max_length=16),
      pack=True,
      seed=0,
    )
  )


def loss_of(plan, params, batch):
  on_mesh = partitioning.shard_batch(batch, plan.mesh)
  weight = jax.device_put(
    plan.loss.weight(batch), partitioning.replicated_sharding(plan.mesh)
  )
  return float(
    step_lib.make_eval_step(plan)(params, on_mesh, weight)['loss'][0]
  )


def steps(plan, state, batch, count=2):
  on_mesh = partitioning.shard_batch(batch, plan.mesh)
  for _ in range(count):
    state, metrics = step_lib.make_train_step(plan)(
      state, on_mesh, np.float32(0.02)
    )
  return state, float(metrics['gradient_norm'][0])


def names(adapters):
  return tuple(
    f'{group}/{name}'
    for group, members in adapters['layers'].items()
    for name in members
  )


@pytest.mark.parametrize(
  'pattern, wanted',
  [
    ('attention/.*|mlp/.*', ALL),
    ('attention/(query|value)', ('attention/query', 'attention/value')),
    ('mlp/down', ('mlp/down',)),
  ],
)
def test_the_matrices_that_are_named_have_adapters_of_their_shapes(
  pattern, wanted
):
  shapes = transformer.abstract_params(CONFIG)
  made = lora_lib.Lora(rank=2, matrices=pattern).abstract_params(shapes)
  assert names(made.adapters) == wanted
  for name in wanted:
    group, matrix = name.split('/')
    adapter = made.adapters['layers'][group][matrix]
    weight = made.base['layers'][group][matrix].shape
    assert adapter['a'].shape[:-1] + adapter['b'].shape[2:] == weight
    assert adapter['a'].shape[-1] == adapter['b'].shape[1] == 2


def test_a_pattern_without_a_matrix_or_a_wrong_size_is_refused():
  with pytest.raises(ValueError, match='attention/query.*mlp/down'):
    lora_lib.Lora(matrices='query').abstract_params(
      transformer.abstract_params(CONFIG)
    )
  with pytest.raises(ValueError, match='rank must be >= 1'):
    lora_lib.Lora(rank=0)


def test_a_stage_begins_with_the_model_that_it_was_given(batch):
  plan, full = make_plan(lora_lib.Lora(rank=16)), make_plan(None)
  state = make_state(plan)
  drawn = plan.lora.init_adapters(
    transformer.abstract_params(CONFIG), jax.random.key(0)
  )
  assert not any(
    np.any(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(drawn)
    if path[-1].key == 'b'
  )
  query = drawn['layers']['attention']['query']['a']
  # 1 / sqrt(16 inputs)
  assert query.shape == (3, 16, 16) and 0.2 < float(query.std()) < 0.3
  assert loss_of(plan, state.params, batch) == loss_of(
    full, state.params.base, batch
  )
  merged = plan.lora.merge(state.params)
  jax.tree.map(np.testing.assert_array_equal, merged, state.params.base)


def test_merged_weights_are_the_adapted_model(batch):
  plan, full = make_plan(), make_plan(None)
  state = make_state(plan, moved=True)
  adapted = loss_of(plan, state.params, batch)
  merged = jax.tree.map(jnp.asarray, plan.lora.merge(state.params))
  assert loss_of(full, merged, batch) == pytest.approx(adapted, rel=1e-5)
  assert abs(loss_of(full, state.params.base, batch) - adapted) > 0.01
  weight = np.asarray(state.params.base['layers']['attention']['out'])
  adapter = state.params.adapters['layers']['attention']['out']
  change = np.einsum('lnhr,lrd->lnhd', adapter['a'], adapter['b']) * 32 / 2
  np.testing.assert_allclose(
    merged['layers']['attention']['out'], weight + change, rtol=1e-5, atol=1e-6
  )


def test_a_merge_makes_one_layer_s_matrix_on_the_device():
  """A stack of 64 layers of 256 x 512 beside what the compiled merge makes and scratches."""

  def shape(*axes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(axes, dtype)

  lowered = lora_lib._merge_layer.lower(
    shape(64, 256, 512, dtype=jnp.bfloat16),
    {'a': shape(64, 256, 4), 'b': shape(64, 4, 512)},
    0,
    2.0,
  )
  memory, layer = lowered.compile().memory_analysis(), 4 * 256 * 512
  assert memory.output_size_in_bytes == layer
  assert memory.temp_size_in_bytes < layer


def test_a_merge_runs_layer_by_layer_alone(monkeypatch):
  plan, made = make_plan(devices=8, partitions=4), []
  state, one_layer = make_state(plan, moved=True), lora_lib._merge_layer

  def merge(*arguments):
    made.append(one_layer(*arguments).shape)
    return one_layer(*arguments)

  monkeypatch.setattr(lora_lib, '_merge_layer', merge)
  monkeypatch.setattr(lora_lib, '_make_merge', None)
  merged = plan.lora.merge(state.params)
  assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(merged))
  assert len(made) == len(ALL) * 3 and max(map(math.prod, made)) == 16 * 4 * 8


def test_a_merge_of_the_stack_keeps_its_layout_and_is_that_of_the_layers():
  """What several processes save, here upon the devices of one."""
  params = make_state(make_plan(devices=8, partitions=4), moved=True).params
  for group, name in (('attention', 'out'), ('mlp', 'up')):
    weight, adapter = (tree['layers'][group][name] for tree in params)
    stack = lora_lib._make_merge(weight.sharding)(weight, adapter, 2.0)
    assert stack.sharding.is_equivalent_to(weight.sharding, stack.ndim)
    layers = [
      lora_lib._merge_layer(weight, adapter, layer, 2.0) for layer in range(3)
    ]
    np.testing.assert_allclose(stack, np.stack(layers), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'fields', [{}, dict(devices=8, partitions=4)], ids=['one', 'eight']
)
def test_one_number_that_is_not_as_saved_is_found_in_any_part(fields):
  plan = make_plan(lora_lib.Lora(rank=2, matrices='mlp/up'), **fields)
  params = make_state(plan, moved=True).params
  saved = plan.lora.merge(params)['layers']['mlp']['up']
  plan.lora.check_merged(params, lambda name, layer: saved, where='here')
  for index in ((0, 0, 0), (1, 15, 9), (2, 3, 31)):
    other = saved.copy()
    other[index] += 0.5
    with pytest.raises(
      ValueError,
      match='here: layers/mlp/up differs from the saved parameters by up to 0.5',
    ):
      plan.lora.check_merged(params, lambda name, layer: other, where='here')


def test_training_moves_the_adapters_alone(batch):
  plan = make_plan()
  before = make_state(plan)
  kept = jax.tree.map(np.asarray, before.params)
  after, _ = steps(plan, before, batch)
  jax.tree.map(np.testing.assert_array_equal, after.params.base, kept.base)
  for new, old in zip(
    jax.tree.leaves(after.params.adapters), jax.tree.leaves(kept.adapters)
  ):
    # In every layer.
    assert np.all(np.any(new != old, axis=tuple(range(1, new.ndim))))


def test_adapters_learn(batch):
  plan = make_plan()
  state = make_state(plan)
  first = loss_of(plan, state.params, batch)
  state, _ = steps(plan, state, batch, count=40)
  assert loss_of(plan, state.params, batch) < 0.9 * first


def test_a_gradient_is_that_of_the_merged_weights(batch):
  plan = make_plan(lora_lib.Lora(rank=2, alpha=6.0), max_grad_norm=None)
  params = make_state(plan, moved=True).params
  weight = plan.loss.weight(batch)
  (_, _), found = step_lib.loss_and_grads(plan, params, batch, weight)

  def merged_loss(adapters):
    merged = jax.tree.map(lambda w: w, params.base)
    a, b = (adapters['layers']['mlp']['down'][name] for name in 'ab')
    weights = {
      **merged['layers']['mlp'],
      'down': merged['layers']['mlp']['down'] + 3 * a @ b,
    }
    for name in ('gate', 'up'):
      change = adapters['layers']['mlp'][name]
      weights[name] = weights[name] + 3 * change['a'] @ change['b']
    attention = dict(merged['layers']['attention'])
    for name, spec in (
      ('query', 'ldr,lrnh->ldnh'),
      ('key', 'ldr,lrnh->ldnh'),
      ('value', 'ldr,lrnh->ldnh'),
      ('out', 'lnhr,lrd->lnhd'),
    ):
      change = adapters['layers']['attention'][name]
      attention[name] = attention[name] + 3 * jnp.einsum(
        spec, change['a'], change['b']
      )
    merged['layers'] = {
      **merged['layers'],
      'mlp': weights,
      'attention': attention,
    }
    log_probs = step_lib.forward(make_plan(None), merged, batch)
    return plan.loss(log_probs, batch, weight)[0]

  wanted = jax.grad(merged_loss)(params.adapters)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6),
    found,
    wanted,
  )


@pytest.mark.parametrize(
  'fields',
  [
    dict(devices=8),
    dict(devices=8, partitions=4),
    dict(num_microbatches=4),
    dict(
      rules=(*partitioning.FSDP_AXIS_RULES, *partitioning.DEFAULT_AXIS_RULES),
      devices=8,
    ),
  ],
  ids=['data', 'model', 'microbatches', 'fsdp'],
)
def test_devices_and_microbatches_do_not_change_a_step(batch, fields):
  one, other = make_plan(), make_plan(**fields)
  results = [steps(plan, make_state(plan), batch) for plan in (one, other)]
  (first, norm), (second, other_norm) = results
  assert norm == pytest.approx(other_norm, rel=1e-4)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5),
    first.params.adapters,
    second.params.adapters,
  )


def test_large_gradients_of_adapters_are_clipped(batch):
  plan = make_plan(max_grad_norm=1e-3)
  state, norm = steps(plan, make_state(plan), batch, count=1)
  moment = state.opt_state[0].mu
  clipped = math.sqrt(
    sum(float(jnp.sum((m / 0.1) ** 2)) for m in jax.tree.leaves(moment))
  )
  assert norm > 0.1 and clipped == pytest.approx(1e-3, rel=1e-3)


def test_adapters_lie_as_their_matrices_do():
  layout = step_lib.train_state_shardings(
    make_plan(devices=8, partitions=4)
  ).params
  for group, name, end in (
    ('attention', 'query', 'b'),
    ('mlp', 'down', 'a'),
    ('mlp', 'up', 'b'),
  ):
    adapter = layout.adapters['layers'][group][name]
    assert 'model' in adapter[end].spec
    assert 'model' not in adapter['ab'.replace(end, '')].spec


def test_no_gradient_and_no_optimizer_state_of_the_frozen_weights_exists():
  """What a compiled step of 12M parameters holds, beside that of a training of all of them."""
  config = model_config.TransformerConfig(
    vocab_size=64,
    embed_dim=512,
    num_layers=4,
    num_heads=4,
    mlp_dim=1024,
    remat='full',
  )
  # Bytes of all layers' matrices.
  matrices = 4 * 4 * (4 * 512 * 512 + 3 * 512 * 1024)

  def memory(lora):
    plan = make_plan(lora, model=config)
    rows = partitioning.batch_sharding(plan.mesh)
    batch = {
      name: jax.ShapeDtypeStruct((2, 8), dtype, sharding=rows)
      for name, dtype in (
        ('decoder_input_tokens', np.int32),
        ('decoder_target_tokens', np.int32),
        ('decoder_positions', np.int32),
        ('decoder_segment_ids', np.int32),
        ('decoder_loss_weights', np.float32),
      )
    }
    lowered = step_lib.make_train_step(plan).lower(
      step_lib.abstract_train_state(plan),
      batch,
      jax.ShapeDtypeStruct((), np.float32),
    )
    return lowered.compile(
      {'xla_backend_optimization_level': 0}
    ).memory_analysis()

  full, adapted = memory(None), memory(lora_lib.Lora(rank=4))
  # The gradient.
  assert full.temp_size_in_bytes - adapted.temp_size_in_bytes > 0.9 * matrices
  moments = full.argument_size_in_bytes - adapted.argument_size_in_bytes
  assert moments > 1.9 * matrices  # Adam's two
  # The frozen weights are handed through.
  assert adapted.alias_size_in_bytes > 0.99 * matrices
