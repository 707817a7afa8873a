"""How the processes of a run find each other: by flags; by themselves on TPU pods, under SLURM."""

from collections.abc import Mapping
import dataclasses
import glob
import os

from mathft_jax.distributed.lifeline import World

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
  """What flags say about this process; None where they say nothing.

  Attributes:
    coordinator_address, process_count, process_index: t5x's: HOST:PORT of process 0, how many, and
      which this one is.
    start_timeout_s: how long to wait for the others.
    heartbeat_timeout_s: how long another process may give no sign of life.
  """

  coordinator_address: str | None = None
  process_count: int | None = None
  process_index: int | None = None
  start_timeout_s: float = 300.0
  heartbeat_timeout_s: float = 100.0


def check_process_config(place: ProcessConfig) -> None:
  """ValueError unless the three are all given, or none, and fit together."""
  given = {
    f'--{name}': value
    for name in ('coordinator_address', 'process_count', 'process_index')
    if (value := getattr(place, name)) is not None
  }
  if place.start_timeout_s <= 0 or place.heartbeat_timeout_s <= 0:
    raise ValueError(
      f'--start_timeout_s={place.start_timeout_s} --heartbeat_timeout_s='
      f'{place.heartbeat_timeout_s}: wanted seconds above 0.'
    )
  if not given:
    return
  text = ' '.join(f'{name}={value}' for name, value in given.items())
  wanted = (
    'wanted --coordinator_address=HOST:PORT of process 0, --process_count=N and '
    '--process_index=0 to N - 1, or none of the three where processes find each other.'
  )
  if len(given) < 3:
    raise ValueError(f'{text}: {wanted}')
  host, _, port = place.coordinator_address.rpartition(':')
  in_range = 0 <= place.process_index < place.process_count
  if (
    not host or not port.isdigit() or not 0 < int(port) < 65536 or not in_range
  ):
    raise ValueError(f'{text}: {wanted}')


@dataclasses.dataclass(frozen=True)
class DetectedCluster:
  """The processes of the run; of a node's GPUs those that are this process's, None for all."""

  world: World
  local_device_ids: list[int] | None = None


def detect_cluster(
  place: ProcessConfig, environment: Mapping[str, str] = os.environ
) -> DetectedCluster | None:
  """The processes of this run; None where this one is alone.

  jax is imported only under SLURM and where there are signs of a TPU.
  """
  if place.process_count is not None:
    return _found(
      place, place.coordinator_address, place.process_count, place.process_index
    )
  if _slurm_tasks(environment) > 1:
    found = _by_jax(place, 'slurm')
    return (
      dataclasses.replace(found, local_device_ids=[0])
      if _one_gpu(environment)
      else found
    )
  if any(name in environment for name in TPU_VARIABLES) or any(
    map(glob.glob, TPU_DEVICES)
  ):
    return _by_jax(place, 'tpu')
  return None


def _found(
  place: ProcessConfig,
  address: str,
  count: int,
  index: int,
  local_device_ids: list[int] | None = None,
) -> DetectedCluster | None:
  host, _, port = address.rpartition(':')
  return (
    None
    if count == 1
    else DetectedCluster(
      World(
        address=(host.strip('[]'), int(port)),
        count=count,
        index=index,
        start_timeout_s=place.start_timeout_s,
        heartbeat_timeout_s=place.heartbeat_timeout_s,
      ),
      local_device_ids,
    )
  )


def _slurm_tasks(environment: Mapping[str, str]) -> int:
  """The tasks of the step that srun has started us in; 0 outside of a step."""
  if any(name not in environment for name in SLURM_VARIABLES):
    return 0
  return int(
    environment.get('SLURM_STEP_NUM_TASKS', environment['SLURM_NTASKS'])
  )


def _one_gpu(environment: Mapping[str, str]) -> bool:
  """Whether SLURM shows each process one GPU; else jax takes the i-th in a node's i-th process."""
  visible = environment.get('CUDA_VISIBLE_DEVICES', '')
  return bool(visible) and ',' not in visible


def _by_jax(place: ProcessConfig, kind: str) -> DetectedCluster | None:
  """What jax finds out about the cluster that we are in."""
  from jax._src import (
    clusters,
  )  # not at the top: grade and evaluate do without jax

  for each in clusters.ClusterEnv._cluster_types:
    if kind in each.name and each.is_env_present():
      return _found(
        place,
        *clusters.ClusterEnv.auto_detect_unset_distributed_params(
          None, None, None, None, each.name, int(place.start_timeout_s)
        ),
      )
  return None
