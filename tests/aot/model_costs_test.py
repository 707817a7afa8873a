"""The real train step, compiled for CPUs and for a TPU slice: counted by us, by XLA, by formula."""

import functools
import math

import jax
import pytest

from mathft_jax.aot import topologies, traced_flops
from mathft_jax.aot.hlo import program_costs
from mathft_jax.distributed import partitioning
from mathft_jax.models import config as model_config
from mathft_jax.models import token_log_probs, transformer
from mathft_jax.training import abstract_train_step, losses, optimizers
from mathft_jax.training import train_step as step_lib

B, T, D, LAYERS, HEADS, V = 8, 64, 64, 3, 4, 256
TPU = 'v5e:2x2'


@functools.cache
def devices(platform):
  if platform == 'cpu':
    return jax.devices()
  pytest.importorskip(
    'libtpu', reason=f'no libtpu, so nothing is compiled for {TPU}'
  )
  return topologies.parse_topology(TPU).compile_only_devices()


@functools.cache
def traced(platform, microbatches=1, **fields):
  config = model_config.TransformerConfig(
    vocab_size=V,
    embed_dim=D,
    num_layers=LAYERS,
    num_heads=HEADS,
    mlp_dim=2 * D,
    **fields,
  )
  partitioner = partitioning.Partitioner(num_partitions=2, fsdp=True)
  plan = step_lib.TrainStepConfig(
    model=config,
    loss=losses.Mle(),
    mesh=partitioner.mesh(devices(platform)),
    optimizer=optimizers.without_learning_rate(optimizers.AdamW()),
    rules=partitioner.rules,
    num_microbatches=microbatches,
  )
  return abstract_train_step.trace_train_step(plan, batch_size=B, max_length=T)


@functools.cache
def compiled(platform, **settings):
  return traced(platform, **settings).lower().compile()


def counted(platform, **settings):
  return program_costs.count_program_costs(
    compiled(platform, **settings).as_text()
  )


def by_xla(platform, **settings):
  costs = compiled(platform, **settings).cost_analysis()
  return costs[0] if isinstance(costs, list) else costs


UNROLLED = {'scan_unroll': LAYERS}


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
def test_a_scanned_model_costs_what_the_unscanned_one_costs(platform):
  scanned, unscanned = counted(platform), counted(platform, **UNROLLED)
  assert scanned.flops == unscanned.flops
  assert scanned.data_dependent_loops == unscanned.data_dependent_loops == ()
  assert scanned.uncounted == unscanned.uncounted == {}
  assert (
    by_xla(platform)['flops'] < 0.7 * by_xla(platform, **UNROLLED)['flops']
  )  # body once


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
def test_flops_are_those_of_xla_which_adds_elementwise_work(platform):
  ours, theirs = (
    counted(platform, **UNROLLED).flops,
    by_xla(platform, **UNROLLED)['flops'],
  )
  assert 0.9 * theirs < ours < theirs


@pytest.mark.parametrize(
  'settings', [{}, UNROLLED, {'remat': 'full', 'microbatches': 2}], ids=str
)
def test_compiled_and_traced_programs_have_the_same_products(settings):
  whole = traced_flops.count_traced_flops(traced('cpu', **settings).jaxpr)
  assert counted('cpu', **settings).flops * len(devices('cpu')) == whole.flops
  assert (whole.kernels, whole.uncounted, whole.data_dependent_loops) == (
    {},
    {},
    0,
  )


def test_a_tpu_slice_computes_what_cpus_compute():
  for settings in ({}, UNROLLED):
    ours = counted('tpu', **settings).flops * len(devices('tpu'))
    assert (
      ours
      == traced_flops.count_traced_flops(traced('cpu', **settings).jaxpr).flops
    )


def test_bytes_on_cpu_are_those_of_xla():
  ours, theirs = (
    counted('cpu', **UNROLLED).hbm_bytes,
    by_xla('cpu', **UNROLLED)['bytes accessed'],
  )
  assert ours == pytest.approx(theirs, rel=0.05)
  # A scan also writes and reads what it stacks for the backward pass.
  assert ours < counted('cpu').hbm_bytes < 2 * ours


def test_bytes_on_tpu_are_fewer_than_those_of_xla_which_counts_memory_on_the_chip():
  costs, memory = (
    counted('tpu', **UNROLLED),
    compiled('tpu', **UNROLLED).memory_analysis(),
  )
  assert costs.hbm_bytes < by_xla('tpu', **UNROLLED)['bytes accessed']
  assert (
    costs.hbm_bytes > 0.9 * memory.argument_size_in_bytes
  )  # parameters and moments are read


def test_collectives_run_over_the_mesh_axes():
  costs = counted('cpu')
  data, model = ((0, 2, 4, 6), (1, 3, 5, 7)), ((0, 1), (2, 3), (4, 5), (6, 7))
  assert {data, model} <= {each.groups for each in costs.collectives}
  sent = lambda kind, groups: sum(
    each.bytes_sent
    for each in costs.collectives
    if (each.kind, each.groups) == (kind, groups)
  )
  # Each chip gathers at least its share of the layers' parameters, forward and backward.
  layers = transformer.abstract_params(traced_config())['layers']
  sizes = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(layers))
  assert sent('all-gather', data) > 2 * 3 / 4 * sizes / 2 * 4 * 0.9
  # Tensor parallelism: attention and MLP each add up the residual stream, forward and backward.
  assert sent('all-reduce', model) > LAYERS * 4 * (B // 4 * T * D) * 4 * 0.9


def traced_config():
  return model_config.TransformerConfig(
    vocab_size=V, embed_dim=D, num_layers=LAYERS, num_heads=HEADS, mlp_dim=2 * D
  )


def analytic(*, remat):
  """Flops of a step: 2 per parameter, token and pass; scores and values of whole rows besides."""
  matrices = LAYERS * (4 * D * D + 3 * D * 2 * D)
  attention = LAYERS * 4 * B * T * T * D
  forward = 2 * matrices * B * T + attention
  # `full` makes each layer twice, all but its last product, whose result no gradient needs.
  again = forward - LAYERS * 2 * (2 * D * D) * B * T if remat == 'full' else 0
  return 3 * forward + again + 6 * V * D * B * T


@pytest.mark.parametrize('remat', ['none', 'full'])
def test_a_step_costs_six_flops_per_parameter_and_token_and_attention(remat):
  settings = {} if remat == 'none' else {'remat': 'full', 'microbatches': 2}
  assert traced_flops.count_traced_flops(
    traced('cpu', **settings).jaxpr
  ).flops == analytic(remat=remat)


def test_chunks_of_the_vocabulary_are_counted_as_often_as_they_run():
  # Logits in chunks are made again in the backward pass: 8 flops per number of the head, not 6.
  ours = compiled_likelihoods(chunk=16)
  whole = compiled_likelihoods(chunk=None)
  assert whole == 6 * V * D * B * T
  assert ours == 8 * V * D * B * T


def compiled_likelihoods(chunk):
  config = traced_config()

  def loss(params, hidden_BTD, tokens_BT):
    readout = token_log_probs.ChunkedLogProbs(
      config, params, hidden_BTD, chunk_size=chunk
    )
    return readout.token_log_probs(tokens_BT).log_prob_BT.sum()

  shapes = (
    transformer.abstract_params(config),
    jax.ShapeDtypeStruct((B, T, D), 'float32'),
    jax.ShapeDtypeStruct((B, T), 'int32'),
  )
  text = (
    jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    .lower(*shapes)
    .compile()
    .as_text()
  )
  return program_costs.count_program_costs(text).flops
