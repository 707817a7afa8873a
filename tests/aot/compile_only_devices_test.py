"""Tests of topology names, published figures of chips and compile-only devices."""

import pytest

from mathft_jax.aot import compile_only_devices
from mathft_jax.distributed import partitioning
from mathft_jax.monitoring import hardware


@pytest.mark.parametrize(
  'kind, name',
  [
    ('TPU v4', 'v4'),
    ('TPU v5 lite', 'v5e'),
    ('TPU v5e', 'v5e'),
    ('TPU v5', 'v5p'),
    ('TPU v5p', 'v5p'),
    ('TPU v6 lite', 'v6e'),
    ('TPU v6e', 'v6e'),
    ('TPU7x', 'tpu7x'),
    ('NVIDIA H100 80GB HBM3', 'h100'),
    ('NVIDIA A100-SXM4-80GB', 'a100'),
    ('NVIDIA GH200 480GB', 'h200'),
    ('TPU v3', 'v3'),
  ],
)
def test_chips_are_found_by_device_kind(kind, name):
  assert hardware.chip_for_device_kind(kind).name == name


def test_an_unknown_device_kind_has_no_chip():
  assert hardware.chip_for_device_kind('cpu') is None
  assert hardware.chip_for_device_kind('TPU v2') is None
  assert hardware.chip_for_device_kind('NVIDIA L40S') is None


@pytest.mark.usefixtures('libtpu')
@pytest.mark.parametrize('name', compile_only_devices.KNOWN_TPU_SLICES)
def test_libtpu_has_devices_of_each_known_slice(name):
  topology = compile_only_devices.parse_topology(name)
  devices = topology.compile_only_devices()
  assert len(devices) == topology.num_devices
  assert hardware.chip_for_device_kind(devices[0].device_kind) is topology.chip
  assert 4 <= topology.num_chips <= 1024


@pytest.mark.parametrize(
  'name, closed',
  [
    ('v5p:2x4x4', (False, False, False)),
    ('v5p:4x4x4', (True, True, True)),
    ('tpu7x:4x4x8', (True, True, True)),
    ('v5e:8x8', (False, False, False)),
    ('v6e:8x16', (False, True, False)),
    ('v5e:16x16', (True, True, False)),
  ],
)
def test_dimensions_with_wraparound_links_are_those_of_cloud_tpu(name, closed):
  assert compile_only_devices.parse_topology(name).wraparound == closed


@pytest.mark.usefixtures('libtpu')
@pytest.mark.parametrize('name', ['v5e:4x4', 'v5p:4x4x4', 'tpu7x:2x2x2'])
@pytest.mark.parametrize('num_partitions', [1, 2, 4, 8])
def test_meshes_may_split_an_axis_of_the_torus(name, num_partitions):
  devices = compile_only_devices.parse_topology(name).compile_only_devices()
  mesh = partitioning.Partitioner(num_partitions=num_partitions).mesh(devices)
  assert dict(mesh.shape) == {
    'data': len(devices) // num_partitions,
    'model': num_partitions,
  }
  assert set(mesh.devices.flat) == set(devices)


@pytest.mark.usefixtures('libtpu')
def test_slices_are_different_positions_of_the_data_axis():
  devices = compile_only_devices.parse_topology(
    'v5e:4x4', slices=2
  ).compile_only_devices()
  mesh = partitioning.Partitioner(
    ici_mesh_shape=(8, 2), dcn_mesh_shape=(2, 1)
  ).mesh(devices)
  slices = [[device.slice_index for device in row] for row in mesh.devices]
  assert slices == [[0, 0]] * 8 + [[1, 1]] * 8


@pytest.mark.parametrize(
  'text',
  [
    '',
    'v5p',
    'v5p:4x4',
    'v5e:4x4x4',
    'v5p:4x0x4',
    'v5p:axb',
    'h100:2x4',
    'v7:4x4',
  ],
)
def test_an_invalid_topology_is_refused(text):
  with pytest.raises(ValueError, match='TOPOLOGY is '):
    compile_only_devices.parse_topology(text)


@pytest.mark.usefixtures('libtpu')
def test_a_slice_unknown_to_libtpu_is_refused():
  with pytest.raises(
    ValueError, match='v5e:3x5: libtpu does not support this slice'
  ):
    compile_only_devices.parse_topology('v5e:3x5').compile_only_devices()
