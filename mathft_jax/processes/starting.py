"""How the processes of a run find each other: by flags, on a TPU pod or under SLURM by themselves."""

from collections.abc import Mapping
import dataclasses
import glob
import os
from typing import Any

TPU_VARIABLES = ('TPU_WORKER_HOSTNAMES', 'MEGASCALE_NUM_SLICES')
TPU_DEVICES = ('/dev/accel*', '/dev/vfio/[0-9]*')


@dataclasses.dataclass(frozen=True)
class Place:
  """What flags say about this process, with t5x's names; None where they say nothing."""

  coordinator_address: str | None = None
  process_count: int | None = None
  process_index: int | None = None


def check(place: Place) -> None:
  """ValueError unless the three are all given, or none, and fit together."""
  given = {f'--{name}': value for name, value in dataclasses.asdict(place).items()
           if value is not None}
  if not given:
    return
  wanted = ('wanted --coordinator_address=HOST:PORT of process 0, --process_count=N and '
            '--process_index=0 to N - 1, or none of the three where processes find each other.')
  if len(given) < 3:
    raise ValueError(f'{", ".join(f"{name}={value}" for name, value in given.items())}: {wanted}')
  host, _, port = place.coordinator_address.rpartition(':')
  if not host or not port.isdigit() or not 0 < int(port) < 65536:
    raise ValueError(f'--coordinator_address={place.coordinator_address}: {wanted}')
  if place.process_count < 1 or not 0 <= place.process_index < place.process_count:
    raise ValueError(f'--process_count={place.process_count} --process_index='
                     f'{place.process_index}: {wanted}')


def arguments(place: Place, environment: Mapping[str, str] = os.environ) -> dict[str, Any] | None:
  """What `jax.distributed.initialize` is to be told; None where this process is the only one.

  jax is imported only where there are signs of a TPU.
  """
  if place.process_count is not None:
    return None if place.process_count == 1 else dict(
        coordinator_address=place.coordinator_address, num_processes=place.process_count,
        process_id=place.process_index, cluster_detection_method='deactivate')
  if _slurm_tasks(environment) > 1:
    return dict(cluster_detection_method='slurm') | _own_gpu(environment)
  if any(name in environment for name in TPU_VARIABLES) or any(map(glob.glob, TPU_DEVICES)):
    return _on_tpu()
  return None


def _slurm_tasks(environment: Mapping[str, str]) -> int:
  """The tasks of the step that srun has started us in; 0 outside of a step."""
  needed = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID')
  if any(name not in environment for name in needed):
    return 0
  return int(environment.get('SLURM_STEP_NUM_TASKS', environment['SLURM_NTASKS']))


def _own_gpu(environment: Mapping[str, str]) -> dict[str, Any]:
  """jax takes the i-th GPU in a node's i-th process; where SLURM shows one only, it is that."""
  visible = environment.get('CUDA_VISIBLE_DEVICES', '')
  return {'local_device_ids': [0]} if visible and ',' not in visible else {}


def _on_tpu() -> dict[str, Any] | None:
  from jax._src import clusters  # not at the top: grade and evaluate do without jax
  for environment in clusters.ClusterEnv._cluster_types:
    if 'tpu' in environment.name and environment.is_env_present():
      return {} if environment.get_process_count() > 1 else None
  return None
