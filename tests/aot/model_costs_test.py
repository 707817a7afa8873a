"""Tests of the costs of the real train step, on CPU and TPU, against XLA and formulas."""

import functools
import math

import jax
import pytest

from mathft_jax.aot import compile_only_devices, traced_flops
from mathft_jax.aot.hlo import program_costs
from mathft_jax.distributed import partitioning
from mathft_jax.models import config as model_config
from mathft_jax.models import token_log_probs, transformer
from mathft_jax.training import abstract_train_step, losses, optimizers
from mathft_jax.training import train_step as step_lib

B, T, D, LAYERS, HEADS, V = 8, 64, 64, 2, 4, 256
TPU = 'v5e:2x2'
UNROLLED = {'scan_unroll': LAYERS}
REMAT = {'remat': 'full', 'num_microbatches': 2}


@functools.cache
def get_devices(platform):
  if platform == 'cpu':
    return jax.devices()
  pytest.importorskip('libtpu', reason=f'compiling for {TPU} needs libtpu')
  return compile_only_devices.parse_topology(TPU).compile_only_devices()


def make_model(**fields):
  return model_config.TransformerConfig(
    vocab_size=V,
    embed_dim=D,
    num_layers=LAYERS,
    num_heads=HEADS,
    mlp_dim=2 * D,
    attention_kernel='einsum',  # 'auto' leaves out keys on CPU
    **fields,
  )


@functools.cache
def trace_step(platform, num_microbatches=1, **fields):
  partitioner = partitioning.Partitioner(num_partitions=2, fsdp=True)
  config = step_lib.TrainStepConfig(
    model=make_model(**fields),
    loss=losses.Mle(),
    mesh=partitioner.mesh(get_devices(platform)),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
    rules=partitioner.rules,
    num_microbatches=num_microbatches,
  )
  return abstract_train_step.trace_train_step(
    config, batch_size=B, max_length=T
  )


@functools.cache
def compile_step(platform, **settings):
  return trace_step(platform, **settings).lower().compile()


def count_compiled(platform, **settings):
  return program_costs.count_program_costs(
    compile_step(platform, **settings).as_text()
  )


def count_traced(**settings):
  return traced_flops.count_traced_flops(trace_step('cpu', **settings).jaxpr)


def xla_costs(platform, **settings):
  costs = compile_step(platform, **settings).cost_analysis()
  return costs[0] if isinstance(costs, list) else costs


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
def test_a_scanned_model_costs_as_much_as_an_unrolled_one(platform):
  scanned = count_compiled(platform)
  unrolled = count_compiled(platform, **UNROLLED)
  assert scanned.flops == unrolled.flops
  assert scanned.data_dependent_loops == unrolled.data_dependent_loops == ()
  assert scanned.uncounted == unrolled.uncounted == {}
  # XLA counts the body of the scan once.
  xla_scanned = xla_costs(platform)['flops']
  assert xla_scanned < 0.7 * xla_costs(platform, **UNROLLED)['flops']


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
def test_flops_are_those_of_xla_without_elementwise_operations(platform):
  flops = count_compiled(platform, **UNROLLED).flops
  xla_flops = xla_costs(platform, **UNROLLED)['flops']
  assert 0.9 * xla_flops < flops < xla_flops


@pytest.mark.parametrize('settings', [{}, UNROLLED, REMAT], ids=str)
def test_compiled_and_traced_programs_have_the_same_products(settings):
  traced = count_traced(**settings)
  compiled = count_compiled('cpu', **settings)
  assert compiled.flops * len(get_devices('cpu')) == traced.flops
  assert traced.kernels == traced.uncounted == {}
  assert traced.data_dependent_loops == 0


@pytest.mark.parametrize('settings', [{}, UNROLLED], ids=str)
def test_a_tpu_slice_computes_the_same_products_as_cpus(settings):
  compiled = count_compiled('tpu', **settings)
  num_devices = len(get_devices('tpu'))
  assert compiled.flops * num_devices == count_traced(**settings).flops


def test_bytes_on_cpu_are_those_of_xla():
  hbm_bytes = count_compiled('cpu', **UNROLLED).hbm_bytes
  xla_bytes = xla_costs('cpu', **UNROLLED)['bytes accessed']
  assert hbm_bytes == pytest.approx(xla_bytes, rel=0.05)
  # A scan also writes and reads the stacked activations for the backward pass.
  assert hbm_bytes < count_compiled('cpu').hbm_bytes < 2 * hbm_bytes


def test_bytes_on_tpu_are_fewer_than_those_of_xla_which_include_vmem():
  hbm_bytes = count_compiled('tpu', **UNROLLED).hbm_bytes
  assert hbm_bytes < xla_costs('tpu', **UNROLLED)['bytes accessed']
  # Parameters and moments are read.
  memory = compile_step('tpu', **UNROLLED).memory_analysis()
  assert hbm_bytes > 0.9 * memory.argument_size_in_bytes


def test_collectives_run_along_the_mesh_axes():
  costs = count_compiled('cpu')
  data = ((0, 2, 4, 6), (1, 3, 5, 7))
  model = ((0, 1), (2, 3), (4, 5), (6, 7))
  bytes_sent = {data: {}, model: {}}
  for each in costs.collectives:
    if each.groups in bytes_sent:
      by_kind = bytes_sent[each.groups]
      by_kind[each.kind] = by_kind.get(each.kind, 0) + each.bytes_sent

  # Each chip gathers its layer parameters in the forward and the backward pass.
  layers = transformer.abstract_params(make_model())['layers']
  num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(layers))
  expected = 2 * 3 / 4 * num_params / 2 * 4
  assert bytes_sent[data]['all-gather'] > 0.9 * expected

  # Tensor parallelism: attention and MLP each reduce the residual stream, forward and backward.
  expected = LAYERS * 4 * (B // 4 * T * D) * 4
  assert bytes_sent[model]['all-reduce'] > 0.9 * expected


def analytic_step_flops(*, remat):
  """Returns 2 FLOPs per parameter, token and pass, and attention over whole sequences."""
  matrices = LAYERS * (4 * D * D + 3 * D * 2 * D)
  attention = LAYERS * 4 * B * T * T * D
  forward = 2 * matrices * B * T + attention
  flops = 3 * forward + 6 * V * D * B * T
  if remat:
    # Each layer is recomputed except its last product, which no gradient needs.
    flops += forward - LAYERS * 2 * (2 * D * D) * B * T
  return flops


@pytest.mark.parametrize('remat', [False, True])
def test_a_step_costs_six_flops_per_parameter_and_token_plus_attention(remat):
  settings = REMAT if remat else {}
  assert count_traced(**settings).flops == analytic_step_flops(remat=remat)


def test_saved_projections_are_not_computed_again():
  def num_saved(remat):
    return full - count_traced(remat=remat, num_microbatches=2).flops

  full = count_traced(**REMAT).flops
  projection = LAYERS * 2 * D * D * B * T
  assert num_saved('save_qkv') == 3 * projection
  assert num_saved('save_out') == projection
  assert num_saved('save_qkv_out') == 4 * projection


def test_each_execution_of_a_vocabulary_chunk_counts():
  assert compiled_head_flops(num_chunks=1) == 6 * V * D * B * T
  # Chunks of logits are recomputed in the backward pass.
  assert compiled_head_flops(num_chunks=4) == 8 * V * D * B * T


def compiled_head_flops(num_chunks):
  model = make_model()

  def loss(params, hidden_BTD, tokens_BT):
    log_probs = token_log_probs.ChunkedLogProbs(
      model, params, hidden_BTD, max_logits=V * B * T // num_chunks
    )
    return log_probs.token_log_probs(tokens_BT).log_prob_BT.sum()

  step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  lowered = step.lower(
    transformer.abstract_params(model),
    jax.ShapeDtypeStruct((B, T, D), 'float32'),
    jax.ShapeDtypeStruct((B, T), 'int32'),
  )
  return program_costs.count_program_costs(lowered.compile().as_text()).flops
