"""How a process learns which one of how many it is."""

import socket

import pytest

from mathft_jax.config import flags
from mathft_jax.config.errors import ConfigError
from mathft_jax.distributed import cluster_detection, lifeline

ADDRESS = '--coordinator_address=node1:1234'
STEP = {
  'SLURM_JOB_ID': '70',
  'SLURM_STEP_NODELIST': 'node[03-04]',
  'SLURM_NTASKS': '8',
  'SLURM_PROCID': '5',
  'SLURM_LOCALID': '1',
}


def place_of(*given):
  return flags.parse_command_line(['program', *given]).place


def test_three_flags_say_it_with_t5xs_names():
  place = place_of(
    ADDRESS, '--process_count=4', '--process_index=3', '--start_timeout_s=7'
  )
  assert place == cluster_detection.ProcessConfig(
    'node1:1234', 4, 3, start_timeout_s=7
  )
  world = cluster_detection.detect_cluster(place).world
  assert (world.address, world.count, world.index) == (('node1', 1234), 4, 3)
  assert (world.start_timeout_s, world.heartbeat_timeout_s) == (7, 100)


@pytest.mark.parametrize(
  'given',
  [
    [ADDRESS],
    ['--process_count=2'],
    ['--process_index=0'],
    [ADDRESS, '--process_count=2'],
    ['--process_count=2', '--process_index=1'],
    [ADDRESS, '--process_count=2', '--process_index=2'],
    [ADDRESS, '--process_count=2', '--process_index=-1'],
    [ADDRESS, '--process_count=0', '--process_index=0'],
    ['--coordinator_address=node1', '--process_count=2', '--process_index=0'],
    ['--coordinator_address=:12', '--process_count=2', '--process_index=0'],
    [
      '--coordinator_address=node1:99999',
      '--process_count=2',
      '--process_index=0',
    ],
    [ADDRESS, '--process_count=two', '--process_index=0'],
    [
      ADDRESS,
      '--process_count=2',
      '--process_index=0',
      '--heartbeat_timeout_s=0',
    ],
  ],
)
def test_flags_that_are_missing_or_do_not_fit_are_refused(given):
  with pytest.raises(ConfigError) as error:
    place_of(*given)
  assert (
    '--process_count' in str(error.value)
    or '--process_index' in str(error.value)
    or 'wanted seconds above 0' in str(error.value)
  )
  assert given[-1].partition('=')[2] in str(error.value)


def test_one_process_of_one_is_alone():
  assert (
    cluster_detection.detect_cluster(
      place_of(ADDRESS, '--process_count=1', '--process_index=0')
    )
    is None
  )


def test_without_flags_and_cluster_a_process_is_alone():
  assert (
    cluster_detection.detect_cluster(cluster_detection.ProcessConfig(), {})
    is None
  )


def test_a_step_of_slurm_is_found(monkeypatch):
  for name, value in STEP.items():
    monkeypatch.setenv(name, value)
  found = cluster_detection.detect_cluster(cluster_detection.ProcessConfig())
  assert (found.world.address[0], found.world.count, found.world.index) == (
    'node03',
    8,
    5,
  )
  assert found.local_device_ids == [
    1
  ]  # the second GPU of the node, of all that it shows
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '1')
  assert cluster_detection.detect_cluster(
    cluster_detection.ProcessConfig()
  ).local_device_ids == [0]  # the only one it shows


@pytest.mark.parametrize(
  'changes',
  [
    {'SLURM_NTASKS': '1'},
    {'SLURM_STEP_NUM_TASKS': '1'},  # `srun --ntasks=1` in a job of eight
  ],
)
def test_a_single_task_of_slurm_is_alone(changes):
  assert (
    cluster_detection.detect_cluster(
      cluster_detection.ProcessConfig(), STEP | changes
    )
    is None
  )


def test_a_batch_script_of_slurm_is_no_step():
  job = {
    name: value for name, value in STEP.items() if name != 'SLURM_STEP_NODELIST'
  }
  assert (
    cluster_detection.detect_cluster(cluster_detection.ProcessConfig(), job)
    is None
  )


def test_a_tpu_pod_of_gke_is_found(monkeypatch):
  for name, value in {
    'TPU_WORKER_HOSTNAMES': 'localhost,other',
    'TPU_WORKER_ID': '1',
    'TPU_SKIP_MDS_QUERY': '1',
  }.items():
    monkeypatch.setenv(name, value)
  from jax._src.clusters import cloud_tpu_cluster

  monkeypatch.setattr(cloud_tpu_cluster, 'running_in_cloud_tpu_vm', True)
  monkeypatch.setattr(
    cloud_tpu_cluster, 'get_metadata', lambda key: ('', 200)
  )  # one slice
  found = cluster_detection.detect_cluster(cluster_detection.ProcessConfig())
  assert (found.world.address, found.world.count, found.world.index) == (
    ('localhost', 8482),
    2,
    1,
  )
  monkeypatch.setenv('TPU_WORKER_HOSTNAMES', 'localhost')
  monkeypatch.setenv('TPU_WORKER_ID', '0')
  assert (
    cluster_detection.detect_cluster(cluster_detection.ProcessConfig()) is None
  )


def test_a_port_that_is_taken_is_named():
  with socket.create_server(('', 0)) as taken:
    port = taken.getsockname()[1]
    world = cluster_detection.detect_cluster(
      place_of(
        f'--coordinator_address=localhost:{port}',
        '--process_count=2',
        '--process_index=0',
      )
    ).world
    lines = lifeline.Lifeline(world, {})
    with pytest.raises(ValueError, match=f'cannot listen at port {port}'):
      lines.meet()
    lines.close()
