"""A mixture of experts equals its definition, on one device and on eight."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from mathft_jax.distributed import partitioning
from mathft_jax.distributed.kernel_sharding import KernelSharding
from mathft_jax.models import grouped_matmul, mixture_of_experts, transformer
from mathft_jax.models.activations import ACTIVATIONS
from mathft_jax.training import lora, losses, optimizers
from mathft_jax.training import train_step as step_lib

pytestmark = pytest.mark.usefixtures('quick_compiles')

E, D, F, U, B, T = 8, 20, 12, 3, 4, 6
CONFIG = transformer.TransformerConfig(
  vocab_size=32,
  embed_dim=D,
  num_layers=2,
  num_heads=2,
  mlp_dim=1,
  experts=transformer.Experts(E, U, F, normalise_weights=True),
)


def layer_params(num_experts=E):
  keys = jax.random.split(jax.random.key(0), 4)
  shapes = {
    'router': (D, num_experts),
    'gate': (num_experts, D, F),
    'up': (num_experts, D, F),
    'down': (num_experts, F, D),
  }
  return {
    name: jax.random.normal(key, shape) * D**-0.5
    for key, (name, shape) in zip(keys, shapes.items())
  }


def tokens():
  return jax.random.normal(jax.random.key(1), (B, T, D))


def all_experts_output(experts, params, x_BTD):
  """Computes all experts for all tokens."""
  _, weights_BTU, used_BTU = mixture_of_experts.choose_experts(
    experts, params['router'], x_BTD
  )
  gate_BTEF = jnp.einsum('BTD,EDF->BTEF', x_BTD, params['gate'])
  up_BTEF = jnp.einsum('BTD,EDF->BTEF', x_BTD, params['up'])
  out_BTED = jnp.einsum(
    'BTEF,EFD->BTED', jax.nn.silu(gate_BTEF) * up_BTEF, params['down']
  )
  out_BTUD = jnp.take_along_axis(out_BTED, used_BTU[..., None], axis=2)
  return jnp.sum(out_BTUD * weights_BTU[..., None], axis=2)


def output(experts, params, x_BTD, platform='cpu', sharding=None):
  _, weights_BTU, used_BTU = mixture_of_experts.choose_experts(
    experts, params['router'], x_BTD
  )
  apply = functools.partial(
    mixture_of_experts.apply_experts, ACTIVATIONS['silu'], platform
  )
  if sharding is not None:
    apply = sharding.sum_of_parts(apply, mixture_of_experts.EXPERT_AXES)
  return apply(
    x_BTD,
    used_BTU,
    weights_BTU,
    jnp.arange(experts.count),
    params['gate'],
    params['up'],
    params['down'],
  )


def value_and_gradients(function, *args):
  def total(params, x_BTD):
    return jnp.sum(jnp.sin(function(CONFIG.experts, params, x_BTD)))

  return jax.jit(jax.value_and_grad(total, (0, 1)))(*args)


def assert_close(found, wanted, tolerance=2e-5):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=tolerance),
    found,
    wanted,
  )


@pytest.fixture(scope='module', name='wanted')
def _wanted():
  return value_and_gradients(all_experts_output, layer_params(), tokens())


@pytest.mark.parametrize('platform', ['cpu', 'interpret'])
def test_output_and_gradients_are_those_of_all_experts(platform, wanted):
  function = functools.partial(output, platform=platform)
  assert_close(value_and_gradients(function, layer_params(), tokens()), wanted)


def test_experts_without_tokens_have_gradients_of_zero():
  sizes = jnp.array([0, 3, 0, 2, 0], jnp.int32)
  x = jax.random.normal(jax.random.key(0), (8, 4))
  y = jax.random.normal(jax.random.key(1), (8, 6)).at[5:].set(jnp.nan)
  for platform in ('cpu', 'interpret'):
    found = grouped_matmul.sums_of_outer_products(
      x, jnp.nan_to_num(y), sizes, platform
    )
    np.testing.assert_allclose(found[1], x[:3].T @ y[:3], rtol=1e-5)
    np.testing.assert_allclose(found[3], x[3:5].T @ y[3:5], rtol=1e-5)
    assert not found[jnp.array([0, 2, 4])].any()


@pytest.mark.parametrize('num_experts, model', [(8, 1), (8, 4), (8, 8), (6, 4)])
def test_eight_devices_give_the_same(num_experts, model):
  # Six experts do not divide over four devices; their hidden units do.
  mesh = partitioning.Partitioner(num_partitions=model).mesh(jax.devices()[:8])
  experts = dataclasses.replace(CONFIG.experts, count=num_experts)
  params = layer_params(num_experts)

  def total(sharding, params, x_BTD):
    out_BTD = output(experts, params, x_BTD, sharding=sharding)
    return jnp.sum(jnp.sin(out_BTD))

  found = [
    jax.jit(jax.value_and_grad(functools.partial(total, sharding), (0, 1)))(
      params, tokens()
    )
    for sharding in (KernelSharding(mesh), None)
  ]
  assert_close(*found)


def test_no_device_gathers_the_experts_of_another():
  mesh = partitioning.Partitioner(num_partitions=4).mesh(jax.devices()[:8])
  place = functools.partial(NamedSharding, mesh)
  params = {
    name: jax.device_put(
      array, place(PartitionSpec(*([None] if name == 'router' else ['model'])))
    )
    for name, array in layer_params().items()
  }
  x_BTD = jax.device_put(tokens(), place(PartitionSpec('data')))

  def total(params, x_BTD):
    out_BTD = output(
      CONFIG.experts, params, x_BTD, sharding=KernelSharding(mesh)
    )
    return jnp.sum(jnp.sin(out_BTD))

  gradients = jax.jit(jax.grad(total), out_shardings=place(PartitionSpec()))
  text = gradients.lower(params, x_BTD).compile().as_text()
  assert f'f32[{E},{D},{F}]' in text  # the replicated result of this program
  gradients = jax.jit(
    jax.grad(total), out_shardings=jax.tree.map(lambda x: x.sharding, params)
  )
  text = gradients.lower(params, x_BTD).compile().as_text()
  assert f'f32[{E // 4},{D},{F}]' in text
  assert f'f32[{E},{D},{F}]' not in text and f'f32[{E},{F},{D}]' not in text


def test_bits_of_a_token_do_not_depend_on_other_tokens():
  params = layer_params()
  run = jax.jit(functools.partial(output, CONFIG.experts, params))
  rows = tokens().reshape(-1, 1, D)
  order = jax.random.permutation(jax.random.key(2), len(rows))
  np.testing.assert_array_equal(run(rows[order]), run(rows)[order])
  others = rows.at[1:].set(jax.random.normal(jax.random.key(3), rows[1:].shape))
  np.testing.assert_array_equal(run(others)[0], run(rows)[0])


def test_load_balance_loss_is_that_of_transformers():
  torch = pytest.importorskip('torch', reason='the extra [hf] is not installed')
  pytest.importorskip('transformers', reason='the extra [hf] is not installed')
  from transformers.models.qwen3_moe import modeling_qwen3_moe

  is_token_BT = np.arange(T) < np.array([[6], [2], [1], [4]])
  logits = np.random.default_rng(0).normal(size=(2, B, T, E)) * 2
  statistics = []
  for layer in logits:
    probabilities = jax.nn.softmax(jnp.asarray(layer, jnp.float32))
    _, used = jax.lax.top_k(probabilities, U)
    statistics.append(
      mixture_of_experts.router_statistics(probabilities, used, is_token_BT)
    )
  found = mixture_of_experts.load_balance_loss(
    jax.tree.map(jnp.add, *statistics)
  )
  wanted = modeling_qwen3_moe.load_balancing_loss_func(
    tuple(torch.tensor(layer.reshape(-1, E)) for layer in logits),
    num_experts=E,
    top_k=U,
    attention_mask=torch.tensor(is_token_BT),
  )
  assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_statistics_are_summed_over_layers_and_do_not_count_padding():
  params = transformer.init_params(CONFIG, jax.random.key(0))
  positions_BT = jnp.broadcast_to(jnp.arange(T), (B, T))
  segment_ids_BT = (positions_BT < 4).astype(jnp.int32)
  run = jax.jit(functools.partial(transformer.model_outputs, CONFIG, params))
  found = []
  for padding in (1, 2):
    tokens_BT = jnp.where(segment_ids_BT > 0, 3 + positions_BT, padding)
    outputs = run(
      tokens_BT, positions_BT=positions_BT, segment_ids_BT=segment_ids_BT
    )
    found.append(outputs.router_statistics)
  assert_close(*found)
  num_tokens = B * 4 * CONFIG.num_layers
  assert found[0].num_tokens == num_tokens
  assert found[0].uses_E.sum() == U * num_tokens
  assert found[0].probability_E.sum() == pytest.approx(num_tokens, rel=1e-5)


def make_batch():
  random = np.random.default_rng(0)
  shape = 8, 16
  positions = np.broadcast_to(np.arange(16, dtype=np.int32), shape)
  return {
    'decoder_input_tokens': random.integers(1, 32, shape).astype(np.int32),
    'decoder_target_tokens': random.integers(1, 32, shape).astype(np.int32),
    'decoder_loss_weights': np.ones(shape, np.float32),
    'decoder_positions': positions,
    'decoder_segment_ids': (positions < 13).astype(np.int32),
  }


def train_one_step(
  num_devices=1, model=CONFIG, num_microbatches=1, **partition
):
  partitioner = partitioning.Partitioner(**partition)
  config = step_lib.TrainStepConfig(
    model=model,
    loss=losses.Mle(),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
    mesh=partitioner.mesh(jax.devices()[:num_devices]),
    rules=partitioner.rules,
    num_microbatches=num_microbatches,
  )
  params = step_lib.init_random_params(config, seed=0)
  state = step_lib.init_train_state(config, params)
  batch = partitioning.shard_batch(make_batch(), config.mesh)
  state, metrics = step_lib.make_train_step(config)(state, batch, 1e-3)
  return jax.device_get((metrics, state.params))


@pytest.fixture(scope='module', name='one_step')
def _one_step():
  return train_one_step()


def test_a_train_step_on_eight_devices_is_that_on_one(one_step):
  metrics, params = one_step
  assert metrics['load_balance'][0] >= U
  spread = train_one_step(8, num_partitions=4, fsdp=True)
  assert_close(spread[0], metrics)
  assert_close(
    spread[1], params, tolerance=1e-3
  )  # Adam: signs of tiny gradients


def test_the_load_balance_loss_is_added_with_its_weight(one_step):
  metrics, _ = one_step
  token_nll = np.divide(*metrics['token_nll'])
  wanted = token_nll + 0.001 * metrics['load_balance'][0]
  assert metrics['loss'][0] == pytest.approx(wanted, rel=1e-6)

  heavy = dataclasses.replace(CONFIG, load_balance_weight=0.5)
  metrics, _ = train_one_step(model=heavy, num_microbatches=2)
  total, count = metrics['load_balance']
  assert count == 2
  wanted = token_nll + 0.5 * total / count
  assert metrics['loss'][0] == pytest.approx(wanted, rel=1e-5)


def test_lora_adapts_attention_and_refuses_experts():
  params = transformer.abstract_params(CONFIG)
  adapters = lora.Lora(matrices='attention/.*').abstract_params(params).adapters
  assert set(adapters['layers']) == {'attention'}
  with pytest.raises(ValueError, match='matches mlp/.*cannot have adapters'):
    lora.Lora().abstract_params(params)
