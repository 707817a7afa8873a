"""Process flags, and detection of TPU pods and SLURM steps."""

import socket

import pytest

from mathft_jax.config import flags
from mathft_jax.config.errors import ConfigError
from mathft_jax.distributed import cluster_detection, processes

ADDRESS = '--coordinator_address=node1:1234'
STEP = {
  'SLURM_JOB_ID': '70',
  'SLURM_STEP_NODELIST': 'node[03-04]',
  'SLURM_NTASKS': '8',
  'SLURM_PROCID': '5',
  'SLURM_LOCALID': '1',
}


def config_of(*given):
  return flags.parse_command_line(['program', *given]).process_config


def test_the_three_flags_have_the_names_of_t5x():
  config = config_of(
    ADDRESS, '--process_count=4', '--process_index=3', '--start_timeout_s=7'
  )
  assert config == cluster_detection.ProcessConfig(
    'node1:1234', 4, 3, start_timeout_s=7
  )
  assert config.heartbeat_timeout_s == 100
  assert cluster_detection.detect_cluster(
    config
  ) == cluster_detection.DetectedCluster('node1:1234', 4, 3)


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
def test_missing_or_invalid_flags_are_refused(given):
  with pytest.raises(ConfigError) as error:
    config_of(*given)
  assert (
    '--process_count' in str(error.value)
    or '--process_index' in str(error.value)
    or 'wanted seconds above 0' in str(error.value)
  )
  assert given[-1].partition('=')[2] in str(error.value)


def test_one_process_needs_no_cluster():
  assert (
    cluster_detection.detect_cluster(
      config_of(ADDRESS, '--process_count=1', '--process_index=0')
    )
    is None
  )


def test_without_flags_and_cluster_there_is_one_process():
  assert (
    cluster_detection.detect_cluster(cluster_detection.ProcessConfig(), {})
    is None
  )


def test_a_slurm_step_is_detected(monkeypatch):
  for name, value in STEP.items():
    monkeypatch.setenv(name, value)
  found = cluster_detection.detect_cluster(cluster_detection.ProcessConfig())
  assert (
    found.coordinator_address.partition(':')[0],
    found.process_count,
    found.process_index,
  ) == (
    'node03',
    8,
    5,
  )
  # The second GPU of the node, of all that it shows.
  assert found.local_device_ids == [1]
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
def test_a_single_slurm_task_needs_no_cluster(changes):
  assert (
    cluster_detection.detect_cluster(
      cluster_detection.ProcessConfig(), STEP | changes
    )
    is None
  )


def test_a_slurm_batch_script_is_not_a_step():
  job = {
    name: value for name, value in STEP.items() if name != 'SLURM_STEP_NODELIST'
  }
  assert (
    cluster_detection.detect_cluster(cluster_detection.ProcessConfig(), job)
    is None
  )


def test_a_tpu_pod_on_gke_is_detected(monkeypatch):
  for name, value in {
    'TPU_WORKER_HOSTNAMES': 'localhost,other',
    'TPU_WORKER_ID': '1',
    'TPU_SKIP_MDS_QUERY': '1',
  }.items():
    monkeypatch.setenv(name, value)
  from jax._src.clusters import cloud_tpu_cluster

  monkeypatch.setattr(cloud_tpu_cluster, 'running_in_cloud_tpu_vm', True)
  # One slice.
  monkeypatch.setattr(cloud_tpu_cluster, 'get_metadata', lambda key: ('', 200))
  found = cluster_detection.detect_cluster(cluster_detection.ProcessConfig())
  assert (
    found.coordinator_address,
    found.process_count,
    found.process_index,
  ) == (
    'localhost:8482',
    2,
    1,
  )
  monkeypatch.setenv('TPU_WORKER_HOSTNAMES', 'localhost')
  monkeypatch.setenv('TPU_WORKER_ID', '0')
  assert (
    cluster_detection.detect_cluster(cluster_detection.ProcessConfig()) is None
  )


def test_a_port_in_use_is_reported():
  with socket.create_server(('', 0)) as taken:
    port = taken.getsockname()[1]
    config = config_of(
      f'--coordinator_address=localhost:{port}',
      '--process_count=2',
      '--process_index=0',
    )
    with pytest.raises(ValueError, match=f'cannot listen at port {port}'):
      processes.initialize(config)
