"""Splash attention equals einsum attention on every mesh, and programs for TPU use it."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.aot import compile_only_devices
from mathft_jax.distributed import partitioning
from mathft_jax.distributed.kernel_sharding import KernelSharding
from mathft_jax.inference import abstract_programs, decode_config, sampling
from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import (
  softmax_attention,
  splash_attention,
  transformer,
)
from mathft_jax.training import lora, losses, optimizers
from mathft_jax.training import train_step as step_lib

pytestmark = pytest.mark.usefixtures('quick_compiles')


class Interpreted(KernelSharding):
  """As if Pallas's interpreter were a device."""

  platform = 'interpret'


def make_spread(data=1, model=1):
  devices = np.array(jax.devices()[: data * model]).reshape(data, model)
  return Interpreted(jax.sharding.Mesh(devices, ('data', 'model')))


@pytest.fixture
def small_blocks(monkeypatch):
  monkeypatch.setattr(splash_attention, 'MAX_BLOCK_SIZE', 128)


@pytest.mark.parametrize(
  'length, wanted',
  [
    (1, (128, 127)),
    (128, (128, 0)),
    (300, (384, 84)),
    (512, (512, 0)),
    (640, (384, 128)),
    (1100, (384, 52)),
    (4096, (512, 0)),
  ],
)
def test_sequences_are_padded_to_the_fewest_equal_blocks(length, wanted):
  block, filling = splash_attention.block_size_and_padding(length)
  assert (block, filling) == wanted
  assert (
    (length + filling) % block == 0
    and block % 128 == 0
    and block <= splash_attention.MAX_BLOCK_SIZE
  )


# (rows, tokens, query heads, key heads, head size), what else, (data, model), tolerance.
CASES = {
  'heads_of_64_and_a_part_of_a_block': ((2, 130, 2, 2, 64), {}, (1, 1), 2e-6),
  'one_block_on_one_device': ((1, 128, 2, 1, 128), {}, None, 2e-6),
  'heads_of_80_packed': ((2, 200, 2, 2, 80), {'segments': 3}, (2, 1), 2e-6),
  'heads_of_256_capped': ((2, 128, 2, 1, 256), {'cap': 2.0}, (1, 1), 2e-6),
  'window_within_a_block': ((2, 300, 2, 1, 16), {'window': 7}, (1, 1), 2e-6),
  'window_over_blocks_packed_capped': (
    (2, 390, 4, 2, 16),
    {'window': 150, 'segments': 2, 'cap': 1.0},
    (2, 2),
    2e-6,
  ),
  'one_key_head_for_devices_that_split_queries': (
    (2, 140, 4, 1, 16),
    {'segments': 2},
    (2, 4),
    2e-6,
  ),
  'two_key_heads_over_four': (
    (2, 140, 8, 2, 16),
    {'segments': 2},
    (2, 4),
    2e-6,
  ),
  'two_key_heads_over_three': ((1, 140, 6, 2, 16), {}, (1, 3), 2e-6),
  'query_heads_that_do_not_divide': ((2, 140, 6, 2, 16), {}, (2, 4), 2e-6),
  'bfloat16': (
    (2, 260, 4, 2, 64),
    {'dtype': 'bfloat16', 'window': 200, 'segments': 2},
    (2, 2),
    2e-2,
  ),
}


def arrays_of(shape, dtype='float32', segments=0):
  rows, length, heads, kv_heads, size = shape
  random = np.random.default_rng(0)

  def draw(n):
    return jnp.asarray(random.normal(size=(rows, length, n, size)), dtype)

  ids = (
    np.sort(random.integers(0, segments, (rows, length)))[:, ::-1]
    if segments
    else None
  )
  return (draw(heads), draw(kv_heads), draw(kv_heads)), ids


def by_einsum(q, k, v, *, scale, cap, segment_ids_BT, window):
  near = np.arange(q.shape[1])[:, None] - np.arange(q.shape[1])
  visible = (near >= 0) & (near < (window or q.shape[1]))
  if segment_ids_BT is not None:
    visible = visible & (segment_ids_BT[:, :, None] == segment_ids_BT[:, None])
  visible = jnp.broadcast_to(visible, (q.shape[0], *visible.shape[-2:]))
  keys = softmax_attention.KeySet(
    jnp.swapaxes(k, 1, 2), jnp.swapaxes(v, 1, 2), visible
  )
  return softmax_attention.attend(q, keys, scale=scale, cap=cap)


@pytest.mark.parametrize('name', CASES)
def test_outputs_and_gradients_equal_einsum_attention(name, small_blocks):
  shape, traits, layout, tolerance = CASES[name]
  traits = dict(traits)
  arrays, ids = arrays_of(
    shape, traits.pop('dtype', 'float32'), traits.pop('segments', 0)
  )
  settings = {
    'scale': 0.3,
    'cap': None,
    'window': None,
    **traits,
    'segment_ids_BT': ids,
  }
  spread = None if layout is None else make_spread(*layout)
  toward = (
    np.random.default_rng(1).normal(size=arrays[0].shape).astype(np.float32)
  )

  @functools.partial(jax.jit, static_argnums=0)
  def both(attend, *arrays):
    out, pull = jax.vjp(lambda *x: attend(*x, **settings), *arrays)
    return out, *pull(toward.astype(out.dtype))

  if spread is None:  # the kernel as a program for one TPU has it, with no mesh
    part = functools.partial(
      splash_attention._attend_on_device, True, None, None, shape[2:4]
    )

    def kernel(*x, **_):
      return part(x[0] * 0.3, *x[1:], None)
  else:
    kernel = functools.partial(
      splash_attention.splash_attention, kernel_sharding=spread
    )
  for seen, wanted in zip(
    both(kernel, *arrays), both(by_einsum, *arrays), strict=True
  ):
    assert seen.dtype == wanted.dtype and seen.shape == wanted.shape
    largest = float(jnp.abs(wanted).max())
    np.testing.assert_allclose(
      np.float32(seen), np.float32(wanted), rtol=0, atol=tolerance * largest
    )


CONFIG = transformer.TransformerConfig(
  vocab_size=40,
  embed_dim=16,
  num_layers=3,
  num_heads=4,
  num_kv_heads=2,
  mlp_dim=24,
  attention_pattern=('local', 'global'),
  sliding_window=5,
  query_scale=0.3,
  attention_softcap=2.0,
  qk_norm=True,
  attention_kernel='splash',
)
LENGTH = 20


@functools.lru_cache
def params_of(config):
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: jnp.asarray(random.normal(0.3, 0.4, x.shape), x.dtype),
    transformer.abstract_params(config),
  )


def rows_of(segments=True):
  random = np.random.default_rng(2)
  tokens = random.integers(0, 40, (4, LENGTH), np.int32)
  ids = (
    np.repeat([[2, 1, 0]], 4, axis=0).repeat([7, 9, 4], axis=1).astype(np.int32)
  )
  positions = np.concatenate([np.arange(n) for n in (7, 9, 4)]).astype(np.int32)
  return tokens, dict(
    positions_BT=np.broadcast_to(positions, tokens.shape), segment_ids_BT=ids
  )


def uses_kernel(function, *arrays):
  return 'splash_mha_fwd' in str(jax.make_jaxpr(function)(*arrays))


def gradient_of(config, spread):
  tokens, rows = rows_of()

  @jax.jit
  def loss(params):
    hidden, _ = transformer.hidden_states(
      config, params, tokens, **rows, kernel_sharding=spread
    )
    return jnp.sum(jnp.sin(hidden) * (rows['segment_ids_BT'] > 0)[..., None])

  return jax.value_and_grad(loss)


def test_loss_and_gradients_of_a_model_equal_einsum_attention():
  config = dataclasses.replace(CONFIG, remat='dots')
  params = params_of(config)
  loss, gradients = gradient_of(config, make_spread(2, 4))(params)
  plain = dataclasses.replace(config, attention_kernel='einsum')
  wanted_loss, wanted = gradient_of(plain, None)(params)
  assert float(loss) == pytest.approx(float(wanted_loss), rel=1e-5)
  for seen, right in zip(
    jax.tree.leaves(gradients), jax.tree.leaves(wanted), strict=True
  ):
    np.testing.assert_allclose(
      seen, right, rtol=0, atol=3e-5 * float(jnp.abs(right).max())
    )


def test_prefill_by_the_kernel_writes_the_same_cache():
  tokens, _ = rows_of()
  lengths = np.array([20, 13, 1, 6])
  valid = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
  positions = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), tokens.shape)

  def prefill(spread, params):
    cache = cache_lib.allocate_cache(
      CONFIG, batch_size=4, max_length=LENGTH + 3
    )
    return transformer.hidden_states(
      CONFIG,
      params,
      tokens,
      positions_BT=positions,
      segment_ids_BT=valid,
      cache=cache,
      kernel_sharding=spread,
    )

  kernel, einsum = (
    functools.partial(prefill, spread) for spread in (make_spread(2, 2), None)
  )
  assert uses_kernel(kernel, params_of(CONFIG)) and not uses_kernel(
    einsum, params_of(CONFIG)
  )
  (hidden, cache), (right_hidden, right) = (
    jax.jit(f)(params_of(CONFIG)) for f in (kernel, einsum)
  )
  close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
  close(hidden * valid[..., None], right_hidden * valid[..., None])
  written = (np.asarray(right.suffix.position_BS) >= 0)[:, None, :, None]
  close(cache.suffix.key * written, right.suffix.key * written)
  close(cache.suffix.value * written, right.suffix.value * written)
  np.testing.assert_array_equal(
    cache.suffix.position_BS, right.suffix.position_BS
  )
  assert int(cache.length) == LENGTH


@pytest.mark.parametrize(
  'case', ['branches', 'written_cache', 'prefix', 'another_platform']
)
def test_unsupported_calls_use_einsum_attention(case):
  tokens, rows = rows_of()
  spread, cache, shape = make_spread(), None, tokens.shape
  if case == 'branches':
    rows['branch_ids_BT'] = np.zeros(shape, np.int32)
  elif case == 'another_platform':
    spread = KernelSharding(spread.mesh)
  else:
    cache = cache_lib.allocate_cache(CONFIG, batch_size=2, max_length=30)
    _, cache = transformer.hidden_states(
      CONFIG,
      params_of(CONFIG),
      tokens[:2],
      positions_BT=rows['positions_BT'][:2],
      cache=cache,
    )
    cache = (
      cache_lib.share_prefix(cache, CONFIG, copies=2, max_length=0)
      if case == 'prefix'
      else cache
    )
    shape = tokens.shape if case == 'prefix' else (2, 5)
  rows = {name: x[: shape[0], : shape[1]] for name, x in rows.items()}

  def run(params, cache, kernel_sharding):
    return transformer.hidden_states(
      CONFIG,
      params,
      tokens[: shape[0], : shape[1]],
      **rows,
      cache=cache,
      kernel_sharding=kernel_sharding,
    )[0]

  assert not uses_kernel(
    functools.partial(run, kernel_sharding=spread), params_of(CONFIG), cache
  )


@pytest.fixture(scope='module')
def tpus(libtpu):
  devices = np.array(
    compile_only_devices.parse_topology('v5e:2x2').compile_only_devices()
  ).reshape(2, 2)
  return jax.sharding.Mesh(devices, ('data', 'model'))


TRAINED = transformer.TransformerConfig(
  vocab_size=64,
  embed_dim=64,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=64,
  mlp_dim=64,
  attention_pattern=('local',),
  sliding_window=600,
  attention_softcap=30.0,
  dtype='bfloat16',
  remat='dots',
)
ROW = 2048


def lowered_step(mesh, kernel, **fields):
  plan = step_lib.TrainStepConfig(
    model=dataclasses.replace(TRAINED, attention_kernel=kernel),
    loss=losses.Mle(),
    mesh=mesh,
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
    rules=partitioning.Partitioner(fsdp=True).rules,
    **fields,
  )

  def make(dtype):
    return jax.ShapeDtypeStruct(
      (4, ROW), dtype, sharding=partitioning.batch_sharding(mesh)
    )

  batch = {
    f'decoder_{name}': make('int32')
    for name in ('input_tokens', 'target_tokens', 'positions', 'segment_ids')
  }
  batch['decoder_loss_weights'] = make('float32')
  rate = jax.ShapeDtypeStruct((), 'float32')
  return step_lib.make_train_step(plan).lower(
    step_lib.abstract_train_state(plan), batch, rate
  )


def test_train_step_for_tpu_runs_each_kernel_once_and_stores_no_scores(
  tpus,
):
  compiled = lowered_step(tpus, 'splash').compile()
  text = compiled.as_text()
  kernels = re.findall(r'%splash_mha_([a-z]+)\S* = .* custom-call\(', text)
  # remat = 'dots' keeps what the backward reads.
  assert sorted(kernels) == [
    'dkv',
    'dq',
    'fwd',
  ]
  assert f',{ROW},{ROW}]' not in text
  # Of one layer's rows and heads on one device, in bytes.
  scores = 2 * 2 * ROW**2 * 4
  assert compiled.memory_analysis().temp_size_in_bytes < scores / 4
  assert f'x{ROW}x{ROW}x' in lowered_step(tpus, 'einsum').as_text()


def test_lora_and_microbatches_use_the_kernels_on_tpu(tpus):
  text = lowered_step(
    tpus, 'splash', lora=lora.Lora(rank=2), num_microbatches=2
  ).as_text()
  assert (
    'splash_mha_fwd' in text
    and 'splash_mha_dkv' in text
    and f'x{ROW}x{ROW}x' not in text
  )


def test_prefill_uses_the_kernel_on_tpu(tpus):
  plan = decode_config.DecodeConfig(
    model=dataclasses.replace(TRAINED, attention_kernel='splash'),
    mesh=tpus,
    method=sampling.Temperature(),
    num_rows=4,
    rows_per_group=2,
    prompt_slots=256,
    max_decode_length=8,
    end_ids=(1,),
    vocab_size=64,
  )
  traced = abstract_programs.trace_prefill(plan, prompt_length=256)
  assert 'splash_mha_fwd' in traced.lower().as_text()
