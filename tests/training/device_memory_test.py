"""Sizes from shapes are those of real arrays, and of published models."""

import jax
import pytest

from mathft_jax import train
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer
from mathft_jax.training import device_memory, losses, optimizers
from mathft_jax.training import train_step as step_lib
from tests.train_arguments import group_train_arguments

SMALL = transformer.TransformerConfig(
  vocab_size=64,
  embed_dim=32,
  num_layers=3,
  num_heads=4,
  mlp_dim=64,
  dtype='bfloat16',
  remat='full',
  attention_pattern=('local', 'global'),
  sliding_window=8,
)


def plan(mesh, config=SMALL, partitioner=partitioning.Partitioner(), **more):
  return step_lib.TrainStepConfig(
    config,
    losses.Mle(),
    optimizers.without_learning_rate(optimizers.AdamW()),
    mesh,
    partitioner.rules,
    **more,
  )


def bytes_on_first_device(tree):
  device = jax.devices()[0]
  return sum(
    shard.data.nbytes
    for array in jax.tree.leaves(tree)
    for shard in array.addressable_shards
    if shard.device == device
  )


@pytest.mark.parametrize(
  'partitioner',
  [
    partitioning.Partitioner(),
    partitioning.Partitioner(num_partitions=2),
    partitioning.Partitioner(num_partitions=2, fsdp=True),
  ],
  ids=['data', 'model', 'fsdp'],
)
def test_bytes_of_a_device_are_those_of_real_arrays(partitioner):
  real = plan(partitioner.mesh(), partitioner=partitioner)
  state = step_lib.init_train_state(real, step_lib.init_random_params(real, 0))
  found = device_memory.estimate_device_memory(
    plan(partitioner.abstract_mesh(8), partitioner=partitioner),
    batch_size=8,
    max_length=16,
  )
  assert found.mesh == (
    8 // partitioner.num_partitions,
    partitioner.num_partitions,
  )
  assert found.parameters == sum(
    array.size for array in jax.tree.leaves(state.params)
  )
  assert (
    found.parameter_bytes
    == found.gradient_bytes
    == bytes_on_first_device(state.params)
  )
  assert found.optimizer_bytes == bytes_on_first_device(state.opt_state)


def test_microbatches_hold_a_sum_of_gradients_and_fewer_activations():
  mesh = partitioning.Partitioner().abstract_mesh(2)
  whole, parts = (
    device_memory.estimate_device_memory(
      plan(mesh, num_microbatches=n), batch_size=8, max_length=16
    )
    for n in (1, 4)
  )
  assert parts.gradient_bytes == 2 * whole.gradient_bytes
  periods, rows, length, width, bfloat16 = 2, 4, 16, 32, 2
  assert whole.activation_bytes == periods * rows * length * width * bfloat16
  assert parts.activation_bytes == whole.activation_bytes // 4


def test_activations_are_not_guessed_where_the_compiler_decides():
  config = transformer.TransformerConfig(
    vocab_size=64, embed_dim=32, num_layers=3, num_heads=4, mlp_dim=64
  )
  mesh = partitioning.Partitioner().abstract_mesh(1)
  found = device_memory.estimate_device_memory(
    plan(mesh, config), batch_size=8, max_length=16
  )
  assert found.activation_bytes is None
  assert '?' in device_memory.device_memory_table([found])


def test_meshes_are_those_whose_data_axis_divides_the_rows_or_the_one_that_is_bound():

  def shapes(partitioner, rows):
    return [
      (mesh.shape['data'], mesh.shape['model'])
      for mesh in device_memory.candidate_meshes(partitioner, rows)
    ]

  assert shapes(partitioning.Partitioner(num_partitions=4), 12) == [
    (1, 4),
    (2, 4),
    (4, 4),
  ]
  bound = partitioning.Partitioner(ici_mesh_shape=(4, 2), dcn_mesh_shape=(2, 1))
  assert shapes(bound, 64) == [(8, 2)]


def test_a_description_of_a_model_that_fits_no_machine_here_takes_no_memory():
  # Llama 3.3 70B: 282 GB of float32.
  config = transformer.TransformerConfig(
    vocab_size=128256,
    embed_dim=8192,
    num_layers=80,
    num_heads=64,
    num_kv_heads=8,
    mlp_dim=28672,
    tied_embeddings=False,
    remat='full',
  )
  arguments = group_train_arguments(
    model=config,
    loss=losses.Mle(),
    optimizer=optimizers.AdamW(),
    vocabulary=None,
    template=None,
    batch_size=64,
    max_length={'inputs': 256, 'targets': 768},
    train_steps=100,
    partitioner=partitioning.Partitioner(ici_mesh_shape=(16, 8), fsdp=True),
  )
  text = train.describe(**arguments)
  assert '70,553,706,496 parameters' in text and '65,536 tokens a step' in text
  row = text.splitlines()[-1].split()
  each = 70_553_706_496 * 4 / 128 / 2**30
  assert row[:3] == ['16', 'x', '8']
  assert float(row[3]) == pytest.approx(each, abs=0.06)
  assert float(row[4]) == pytest.approx(2 * each, abs=0.06)
