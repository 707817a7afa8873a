"""The processes of a run: from flags, or detected on TPU pods and under SLURM."""

from collections.abc import Mapping
import dataclasses
import glob
import os

TPU_VARIABLES = (
  'TPU_WORKER_HOSTNAMES',
  'TPU_PROCESS_ADDRESSES',
  'MEGASCALE_NUM_SLICES',
)
TPU_DEVICES = ('/dev/accel*', '/dev/vfio/[0-9]*')
SLURM_VARIABLES = (
  'SLURM_JOB_ID',
  'SLURM_STEP_NODELIST',
  'SLURM_NTASKS',
  'SLURM_PROCID',
  'SLURM_LOCALID',
)


@dataclasses.dataclass(frozen=True)
class ProcessConfig:
  """The flags of this process; None if a flag is not given.

  Attributes:
    coordinator_address: HOST:PORT of process 0, as in t5x.
    process_count: the number of processes in the run.
    process_index: the index of this process, from 0.
    start_timeout_s: how long to wait for the other processes to connect, in seconds.
    heartbeat_timeout_s: after how many seconds without a heartbeat a process counts as lost.
  """

  coordinator_address: str | None = None
  process_count: int | None = None
  process_index: int | None = None
  start_timeout_s: float = 300.0
  heartbeat_timeout_s: float = 100.0


def check_process_config(config: ProcessConfig) -> None:
  """Raises ValueError unless the three process flags are all valid, or none is given."""
  if config.start_timeout_s <= 0 or config.heartbeat_timeout_s <= 0:
    raise ValueError(
      f'--start_timeout_s={config.start_timeout_s} --heartbeat_timeout_s='
      f'{config.heartbeat_timeout_s}: wanted seconds above 0.'
    )
  address, count, index = (
    config.coordinator_address,
    config.process_count,
    config.process_index,
  )
  flags = {
    '--coordinator_address': address,
    '--process_count': count,
    '--process_index': index,
  }
  given = [
    f'{name}={value}' for name, value in flags.items() if value is not None
  ]
  if not given:
    return

  if address is None or count is None or index is None:
    is_valid = False
  else:
    host, _, port = address.rpartition(':')
    is_valid = bool(host) and port.isdigit() and 0 < int(port) < 65536
    is_valid = is_valid and 0 <= index < count
  if not is_valid:
    raise ValueError(
      f'{" ".join(given)}: wanted --coordinator_address=HOST:PORT of process 0, '
      '--process_count=N and --process_index=0 to N - 1; or none of the three on TPU pods and '
      'under SLURM, where processes are detected.'
    )


@dataclasses.dataclass(frozen=True)
class DetectedCluster:
  """The processes of a run and the place of this one among them.

  Attributes:
    local_device_ids: the GPUs of the host that this process uses; None for all.
  """

  coordinator_address: str
  process_count: int
  process_index: int
  local_device_ids: list[int] | None = None


def detect_cluster(
  config: ProcessConfig, environment: Mapping[str, str] = os.environ
) -> DetectedCluster | None:
  """The processes of this run; None if this is the only one.

  Imports jax only under SLURM and if there are signs of a TPU.
  """
  if config.process_count is not None:
    assert config.coordinator_address is not None
    assert config.process_index is not None
    cluster = DetectedCluster(
      config.coordinator_address, config.process_count, config.process_index
    )
  elif num_slurm_tasks(environment) > 1:
    cluster = _detect_by_jax(config, 'slurm')
    if cluster is not None and _has_one_visible_gpu(environment):
      cluster = dataclasses.replace(cluster, local_device_ids=[0])
  elif _has_signs_of_tpu(environment):
    cluster = _detect_by_jax(config, 'tpu')
  else:
    return None

  if cluster is None or cluster.process_count == 1:
    return None
  return cluster


def _has_signs_of_tpu(environment: Mapping[str, str]) -> bool:
  has_variables = any(name in environment for name in TPU_VARIABLES)
  return has_variables or any(map(glob.glob, TPU_DEVICES))


def num_slurm_tasks(environment: Mapping[str, str]) -> int:
  """The number of tasks of the SLURM step that this process is in; 0 outside of a step."""
  if any(name not in environment for name in SLURM_VARIABLES):
    return 0
  tasks = environment.get('SLURM_STEP_NUM_TASKS', environment['SLURM_NTASKS'])
  return int(tasks)


def _has_one_visible_gpu(environment: Mapping[str, str]) -> bool:
  """Whether SLURM shows one GPU to each process. Else process i of a host uses its i-th GPU."""
  visible = environment.get('CUDA_VISIBLE_DEVICES', '')
  return bool(visible) and ',' not in visible


def _detect_by_jax(config: ProcessConfig, kind: str) -> DetectedCluster | None:
  """The cluster that jax detects, of one kind; None if it detects none."""
  # Not at the top: grade and evaluate run without jax.
  from jax._src import clusters

  for cluster_type in clusters.ClusterEnv._cluster_types:
    if kind in cluster_type.name and cluster_type.is_env_present():
      address, count, index, device_ids = (
        clusters.ClusterEnv.auto_detect_unset_distributed_params(
          None, None, None, None, cluster_type.name, int(config.start_timeout_s)
        )
      )
      assert address is not None and count is not None and index is not None
      ids = None if device_ids is None else list(device_ids)
      return DetectedCluster(address, count, index, ids)
  return None
