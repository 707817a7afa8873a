"""Meshes of eight pretend devices, axis rules, and where rows and parameters end up."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from mathft_jax.distributed import partitioning


def spec(axes, shape, num_partitions=2, rules=partitioning.DEFAULT_AXIS_RULES):
  mesh = partitioning.Partitioner(num_partitions=num_partitions).mesh()
  return partitioning.logical_to_partition_spec(
    axes, shape, mesh=mesh, rules=rules
  )


def test_slices_that_are_not_there_are_refused():
  with pytest.raises(ValueError, match='there are 1 slices and 1 processes'):
    partitioning.Partitioner(
      ici_mesh_shape=(4, 1), dcn_mesh_shape=(2, 1)
    ).mesh()


def test_num_partitions_are_the_devices_along_model():
  mesh = partitioning.Partitioner(num_partitions=2).mesh()
  assert dict(mesh.shape) == {'data': 4, 'model': 2}
  assert {device.id for device in mesh.devices.flat} == {
    d.id for d in jax.devices()
  }


def test_a_mesh_shape_may_be_given_and_must_fit_the_devices():
  assert dict(partitioning.Partitioner(ici_mesh_shape=[2, 4]).mesh().shape) == {
    'data': 2,
    'model': 4,
  }
  with pytest.raises(ValueError, match='needs 6 devices, there are 8'):
    partitioning.Partitioner(ici_mesh_shape=(3, 2)).mesh()
  with pytest.raises(ValueError, match='num_partitions = 3 does not divide 8'):
    partitioning.Partitioner(num_partitions=3).mesh()


def test_a_partitioner_made_from_lists_is_the_same_as_from_tuples():
  listed = partitioning.Partitioner(
    rules=[['batch', 'data']], ici_mesh_shape=[8, 1]
  )
  assert hash(listed) == hash(
    partitioning.Partitioner(rules=(('batch', 'data'),), ici_mesh_shape=(8, 1))
  )


def test_rules_map_logical_axes_to_mesh_axes():
  assert spec(('layers', 'embed', 'mlp'), (3, 6, 8)) == P(None, None, 'model')
  assert spec(('vocab', 'embed'), (10, 6)) == P('model', None)
  assert spec((None, 'embed'), (10, 6)) == P(None, None)


def test_fsdp_rules_spread_parameters_over_data_too():
  assert spec(
    ('layers', 'embed', 'mlp'),
    (3, 8, 8),
    rules=partitioning.Partitioner(fsdp=True).rules,
  ) == P(None, 'data', 'model')


def test_an_axis_that_does_not_divide_stays_whole():
  assert spec(('embed', 'kv_heads', 'kv'), (6, 1, 4)) == P(None, None, None)
  assert spec(('vocab', 'embed'), (131, 6)) == P(None, None)


def test_a_mesh_axis_serves_one_dimension_of_an_array():
  assert spec(('heads', 'mlp'), (4, 8)) == P('model', None)


def test_unknown_axes_and_wrong_ranks_are_named():
  with pytest.raises(ValueError, match="logical axis 'width'"):
    spec(('width',), (8,))
  with pytest.raises(ValueError, match='2 axis names'):
    spec(('embed', 'mlp'), (8,))
  with pytest.raises(ValueError, match="Rule \\('embed', 'expert'\\)"):
    spec(('embed',), (8,), rules=(('embed', 'expert'),))


def test_shardings_of_a_tree_keep_its_structure():
  mesh = partitioning.Partitioner(num_partitions=2).mesh()
  shapes = {
    'a': {'w': jax.ShapeDtypeStruct((6, 8), jnp.float32)},
    'scale': jax.ShapeDtypeStruct((6,), jnp.float32),
  }
  tree = partitioning.logical_to_shardings(
    {'a': {'w': ('embed', 'mlp')}, 'scale': ('embed',)}, shapes, mesh=mesh
  )
  assert tree['a']['w'].spec == P(None, 'model') and tree['scale'].spec == P(
    None
  )


def test_a_batch_is_split_by_rows_and_keeps_its_numbers():
  mesh = partitioning.Partitioner(num_partitions=2).mesh()
  tokens = np.arange(24).reshape(8, 3)
  on_mesh = partitioning.shard_batch({'tokens': tokens}, mesh)['tokens']
  np.testing.assert_array_equal(on_mesh, tokens)
  assert on_mesh.addressable_shards[0].data.shape == (2, 3)
  assert partitioning.shard_array(
    tokens, partitioning.replicated_sharding(mesh)
  ).is_fully_replicated


def test_a_batch_size_that_does_not_divide_names_the_setting():
  mesh = partitioning.Partitioner().mesh()
  partitioning.check_batch_divisible(16, mesh, knob='batch_size')
  with pytest.raises(
    ValueError, match='12 does not divide over 8 .* change batch_size'
  ):
    partitioning.check_batch_divisible(12, mesh, knob='batch_size')
