"""The Transformer: masks, KV cache, packing and sharding of all families."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import layer_stacks, transformer

PLAIN = transformer.TransformerConfig(
  vocab_size=40, embed_dim=16, num_layers=3, num_heads=4, mlp_dim=24
)
FAMILIES = {
  'plain': PLAIN,
  'default_task': dataclasses.replace(
    PLAIN, mlp_activation='relu2', gated_mlp=False
  ),
  'llama3': dataclasses.replace(
    PLAIN,
    num_kv_heads=2,
    tied_embeddings=False,
    rope_theta=500_000.0,
    rope_scaling=transformer.Llama3RopeScaling(original_max_position=16),
  ),
  'mistral': dataclasses.replace(
    PLAIN, num_kv_heads=2, attention_pattern=('local',), sliding_window=3
  ),
  'qwen2': dataclasses.replace(PLAIN, num_kv_heads=2, qkv_bias=True),
  'qwen3': dataclasses.replace(PLAIN, num_kv_heads=2, head_dim=8, qk_norm=True),
  'gemma2': dataclasses.replace(
    PLAIN,
    num_kv_heads=2,
    head_dim=8,
    norm_unit_offset=True,
    post_norms=True,
    mlp_activation='gelu_tanh',
    attention_pattern=('local', 'global'),
    sliding_window=3,
    query_scale=0.3,
    attention_softcap=2.0,
    final_softcap=3.0,
    scaled_embeddings=True,
  ),
  'gemma3': dataclasses.replace(
    PLAIN,
    num_layers=7,
    num_kv_heads=1,
    norm_unit_offset=True,
    post_norms=True,
    qk_norm=True,
    mlp_activation='gelu_tanh',
    attention_pattern=('local', 'local', 'global'),
    sliding_window=3,
    local_rope_theta=100.0,
    rope_scaling=transformer.LinearRopeScaling(8.0),
    scaled_embeddings=True,
  ),
  'gemma4': dataclasses.replace(
    PLAIN,
    num_kv_heads=2,
    post_norms=True,
    qk_norm=True,
    value_norm=True,
    output_scale=True,
    attention_pattern=('local', 'global'),
    global_attention=transformer.GlobalAttention(
      head_dim=8, num_kv_heads=1, keys_as_values=True
    ),
    sliding_window=3,
    rope_scaling=transformer.ProportionalRopeScaling(),
    local_rope_theta=100.0,
    query_scale=1.0,
  ),
  'gemma4_e': dataclasses.replace(
    PLAIN,
    num_layers=5,
    num_kv_heads=2,
    attention_pattern=('local', 'global'),
    global_attention=transformer.GlobalAttention(head_dim=8, num_kv_heads=2),
    shared_keys=transformer.SharedKeys(num_layers=3, mlp_dim=32),
    layer_input_dim=6,
    sliding_window=3,
  ),
  'palm': dataclasses.replace(
    PLAIN,
    num_kv_heads=1,
    norm='layer',
    parallel_block=True,
    scaled_embeddings=True,
    rope_fraction=0.5,
  ),
}
BATCH, LENGTH = 4, 9
each_family = pytest.mark.parametrize(
  'config', FAMILIES.values(), ids=FAMILIES.keys()
)
some_families = pytest.mark.parametrize(
  'config', [FAMILIES[name] for name in ('plain', 'gemma3', 'palm')]
)


@functools.lru_cache
def params_of(config):
  """Random parameters without zeros or ones, so that every bias and norm matters."""
  rng = np.random.default_rng(0)
  leaves, tree = jax.tree.flatten(transformer.abstract_params(config))

  def draw(leaf):
    return jnp.asarray(rng.normal(0.3, 0.4, leaf.shape), leaf.dtype)

  return jax.tree.unflatten(tree, map(draw, leaves))


def tokens_of(batch=BATCH, length=LENGTH, seed=2):
  return np.random.default_rng(seed).integers(
    0, PLAIN.vocab_size, (batch, length), np.int32
  )


def positions_of(batch=BATCH, length=LENGTH, start=0):
  return np.broadcast_to(
    start + np.arange(length, dtype=np.int32), (batch, length)
  )


@functools.partial(jax.jit, static_argnums=0)
def forward(config, params, tokens_BT, positions_BT, **kwargs):
  return transformer.hidden_states(
    config, params, tokens_BT, positions_BT=positions_BT, **kwargs
  )


def hidden_of(config, tokens_BT, positions_BT=None, **kwargs):
  if positions_BT is None:
    positions_BT = positions_of(*tokens_BT.shape)
  return forward(config, params_of(config), tokens_BT, positions_BT, **kwargs)[
    0
  ]


def assert_close(actual, wanted, tolerance=2e-5):
  np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance)


@each_family
def test_hidden_states_depend_on_their_own_and_earlier_tokens_only(config):
  params = params_of(config)

  def of_token(vectors_TD, t):
    # Row t of the table is token t of the row.
    table = {
      **params,
      'embedding': vectors_TD,
    }
    hidden, _ = transformer.hidden_states(
      config, table, jnp.arange(LENGTH)[None], positions_BT=positions_of(1)
    )
    return hidden[0, t] @ jnp.arange(1.0, config.embed_dim + 1)

  vectors = params['embedding'][:LENGTH]
  grads = jax.jit(jax.vmap(jax.grad(of_token), (None, 0)))(
    vectors, jnp.arange(LENGTH)
  )
  depends = np.abs(grads).max(axis=-1) > 0
  reach = LENGTH
  if config.attention_pattern == ('local',):
    reach = config.num_layers * (config.sliding_window - 1)
  distance = np.arange(LENGTH)[:, None] - np.arange(LENGTH)
  np.testing.assert_array_equal(depends, (distance >= 0) & (distance <= reach))


@each_family
def test_cached_decoding_equals_one_forward_pass(
  config,
):
  tokens, wanted = tokens_of(), hidden_of(config, tokens_of())
  cache = cache_lib.allocate_cache(
    config, batch_size=BATCH, max_length=LENGTH + 2
  )
  for t in range(LENGTH):
    hidden, cache = forward(
      config,
      params_of(config),
      tokens[:, t : t + 1],
      positions_of(BATCH, 1, t),
      cache=cache,
    )
    assert_close(hidden[:, 0], wanted[:, t])


@each_family
def test_shared_padded_prefix_equals_complete_sequences(config):
  copies, prompt, solution = 3, 5, 4
  lengths = np.array([5, 3], np.int32)
  prompts, solutions = (
    tokens_of(2, prompt, seed=3),
    tokens_of(2 * copies, solution, seed=4),
  )
  valid = (np.arange(prompt) < lengths[:, None]).astype(np.int32)
  cache = cache_lib.allocate_cache(config, batch_size=2, max_length=prompt)
  _, prefilled = forward(
    config,
    params_of(config),
    prompts,
    positions_of(2, prompt),
    segment_ids_BT=valid,
    cache=cache,
  )
  positions = np.repeat(lengths, copies)[:, None] + np.arange(
    solution, dtype=np.int32
  )
  at_once, _ = forward(
    config,
    params_of(config),
    solutions,
    positions,
    cache=cache_lib.share_prefix(
      prefilled, config, copies=copies, max_length=0
    ),
  )
  cache = cache_lib.share_prefix(
    prefilled, config, copies=copies, max_length=solution
  )
  for t in range(solution):
    stepped, cache = forward(
      config,
      params_of(config),
      solutions[:, t : t + 1],
      positions[:, t : t + 1],
      cache=cache,
    )
    assert_close(stepped[:, 0], at_once[:, t])
  whole = np.concatenate([np.repeat(prompts, copies, 0), solutions], axis=1)
  seen = np.concatenate(
    [np.repeat(valid, copies, 0), np.ones_like(solutions)], axis=1
  )
  places = np.concatenate([positions_of(2 * copies, prompt), positions], axis=1)
  assert_close(
    at_once, hidden_of(config, whole, places, segment_ids_BT=seen)[:, prompt:]
  )


@each_family
def test_packed_segments_and_branches_equal_separate_sequences(config):
  parts = [tokens_of(1, 3, seed=seed) for seed in (5, 6, 7, 8)]
  row = np.concatenate([*parts, np.zeros((1, 1), np.int32)], axis=1)
  segments = np.array([[1] * 3 + [2] * 9 + [0]], np.int32)
  branches = np.array([[0] * 6 + [1] * 3 + [2] * 3 + [0]], np.int32)
  positions = np.array([[0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 0]], np.int32)
  hidden = hidden_of(
    config, row, positions, segment_ids_BT=segments, branch_ids_BT=branches
  )
  first, trunk, left, right = parts
  pad = np.zeros((1, 3), np.int32)  # comes after, so it is not seen
  alone = hidden_of(
    config,
    np.concatenate(
      [
        np.concatenate(rows, axis=1)
        for rows in ((first, pad), (trunk, left), (trunk, right))
      ]
    ),
  )
  assert_close(hidden[0, :3], alone[0, :3])
  assert_close(hidden[0, 3:9], alone[1])
  assert_close(hidden[0, 9:12], alone[2, 3:])
  assert np.isfinite(hidden).all()


@pytest.mark.parametrize('name', ['gemma2', 'gemma3'])
def test_scan_over_periods_equals_scan_over_layers(name):
  config = FAMILIES[name]
  longest = dataclasses.replace(
    config,
    attention_pattern=tuple(
      config.attention_pattern[i % len(config.attention_pattern)]
      for i in range(config.num_layers)
    ),
  )
  params, tokens = params_of(config), tokens_of()
  assert_close(
    forward(longest, params, tokens, positions_of())[0],
    forward(config, params, tokens, positions_of())[0],
  )


@pytest.mark.parametrize(
  'remat', ['dots', 'save_qkv_out', 'offload_qkv_out', 'full']
)
def test_remat_changes_no_gradient(remat):
  tokens = tokens_of()

  def loss(params, config):
    hidden, _ = transformer.hidden_states(
      config, params, tokens, positions_BT=positions_of()
    )
    return jnp.sum(jnp.sin(hidden))

  config = FAMILIES['gemma2']
  grads = [
    jax.jit(jax.grad(loss), static_argnums=1)(params_of(config), c)
    for c in (config, dataclasses.replace(config, remat=remat))
  ]
  jax.tree.map(functools.partial(assert_close, tolerance=1e-4), *grads)


@some_families
def test_eight_devices_compute_the_same_as_one(config):
  mesh = jax.sharding.Mesh(
    np.array(jax.devices()).reshape(4, 2), ('data', 'model')
  )
  spec = jax.sharding.PartitionSpec
  rules = {'embed': 'data', 'mlp': 'model', 'heads': 'model', 'vocab': 'model'}
  axes = transformer.param_logical_axes(config)

  def place(names):
    return jax.sharding.NamedSharding(mesh, spec(*map(rules.get, names)))

  shardings = jax.tree.map(place, axes, is_leaf=lambda x: isinstance(x, tuple))
  params = jax.device_put(params_of(config), shardings)
  rows = jax.sharding.NamedSharding(mesh, spec('data'))
  tokens = jax.device_put(tokens_of(), rows)
  hidden, _ = forward(
    config, params, tokens, jax.device_put(positions_of(), rows)
  )
  assert_close(hidden, hidden_of(config, tokens_of()))


@each_family
def test_parameters_are_plain_dicts_and_their_shapes_and_axes_agree(config):
  params = jax.eval_shape(
    lambda: transformer.init_params(config, jax.random.key(0))
  )
  axes = transformer.param_logical_axes(config)
  assert params == transformer.abstract_params(config)
  assert type(params) is dict and type(params['layers']) is dict
  ranks = jax.tree.map(len, axes, is_leaf=lambda x: isinstance(x, tuple))
  assert ranks == jax.tree.map(lambda x: x.ndim, params)
  num_layers = 0
  for name, stack in layer_stacks.split_stacks(config, axes['layers']).items():
    assert stack['mlp']['up'] == ('layers', 'embed', 'mlp')
    stack = layer_stacks.split_stacks(config, params['layers'])[name]
    assert type(stack['attention']) is dict
    sizes = layer_stacks.config_of_stack(config, name)
    assert stack['mlp']['up'].shape[1:] == (16, sizes.mlp_dim)
    num_layers += stack['mlp']['up'].shape[0]
  assert num_layers == config.num_layers


def test_new_parameters_give_logits_and_activations_of_order_one():
  config = dataclasses.replace(PLAIN, embed_dim=64, num_layers=6)
  params = jax.jit(transformer.init_params, static_argnums=0)(
    config, jax.random.key(0)
  )
  hidden, _ = forward(config, params, tokens_of(), positions_of())
  logits = transformer.logits(config, params, hidden)
  assert 0.5 < np.std(hidden) < 2 and 0.5 < np.std(logits) < 2


def test_bfloat16_computes_in_bfloat16_with_float32_parameters():
  config = dataclasses.replace(FAMILIES['gemma2'], dtype='bfloat16')
  params = params_of(FAMILIES['gemma2'])
  hidden, _ = forward(config, params, tokens_of(), positions_of())
  assert hidden.dtype == jnp.bfloat16
  assert_close(
    hidden.astype(jnp.float32), hidden_of(FAMILIES['gemma2'], tokens_of()), 0.15
  )


def test_invalid_configs_raise_an_error_with_accepted_values():
  with pytest.raises(ValueError, match='sliding_window'):
    dataclasses.replace(PLAIN, attention_pattern=('local',))
  with pytest.raises(ValueError, match='num_kv_heads'):
    dataclasses.replace(PLAIN, num_kv_heads=3)
  with pytest.raises(ValueError, match='silu'):
    dataclasses.replace(PLAIN, mlp_activation='swish')
  with pytest.raises(ValueError, match='do not fit in a KV cache'):
    cache = cache_lib.allocate_cache(PLAIN, batch_size=BATCH, max_length=3)
    transformer.hidden_states(
      PLAIN,
      params_of(PLAIN),
      tokens_of(),
      positions_BT=positions_of(),
      cache=cache,
    )


def test_compile_time_does_not_grow_with_depth():
  def size(layers):
    config = dataclasses.replace(PLAIN, num_layers=layers)
    shapes = transformer.abstract_params(config)
    return len(
      forward.lower(config, shapes, tokens_of(), positions_of())
      .as_text()
      .splitlines()
    )

  assert size(24) == size(3)


@pytest.mark.parametrize('name', ['llama3', 'gemma2', 'gemma4_e'])
def test_unstacked_layers_and_cache_equal_stacked_ones(name):
  config = FAMILIES[name]
  params = transformer.unstack_layers(config, params_of(config))
  cache = cache_lib.allocate_cache(
    config, batch_size=BATCH, max_length=LENGTH - 4, stacked=False
  )
  first, cache = forward(
    config,
    params,
    tokens_of()[:, :-4],
    positions_of(BATCH, LENGTH - 4),
    cache=cache,
  )
  cache = cache_lib.share_prefix(cache, config, copies=1, max_length=4)
  second, _ = forward(
    config,
    params,
    tokens_of()[:, -4:],
    positions_of(BATCH, 4, LENGTH - 4),
    cache=cache,
  )
  assert_close(
    np.concatenate([first, second], axis=1), hidden_of(config, tokens_of())
  )


def test_donated_stacks_are_freed_and_their_layers_kept():
  params = params_of(PLAIN)
  stacks = jax.tree.leaves(params['layers'])
  wanted = [np.asarray(stack[1]) for stack in stacks]
  layers = transformer.unstack_layers(PLAIN, params, donate=True)['layers']
  assert all(stack.is_deleted() for stack in stacks)
  for layer, expected in zip(jax.tree.leaves(layers[1]), wanted):
    np.testing.assert_array_equal(layer, expected)
