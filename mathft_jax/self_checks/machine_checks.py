"""Checks of the machine: processes, devices, memory, disk and permissions."""

from collections.abc import Mapping
import glob
import math
import os
import shutil
import tempfile

from etils import epath
import jax
import numpy as np

from mathft_jax.distributed import cluster_detection, processes
from mathft_jax.monitoring import hardware
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.self_checks.findings import (
  Finding,
  failure,
  ok,
  skipped,
  warning,
)
from mathft_jax.storage import local_and_remote_paths
from mathft_jax.training import device_memory
from mathft_jax.training import train_step as step_lib

GIB = 2**30
NEARLY_FULL = (
  0.85  # of the device memory; scratch memory is not in the estimate
)
GPU_DEVICES = '/dev/nvidia[0-9]*'


def check_processes(
  run: CheckedRun, environment: Mapping[str, str] = os.environ
) -> Finding:
  """All hosts of the job are in this run, and each of them has a part of the batch."""
  check = 'processes'
  count = processes.process_count()
  shards = run.step_config.mesh.shape['data']
  found = f'{count} process{"es" if count > 1 else ""}'
  started = _num_started_processes(environment)
  if count == 1 and started > 1:
    return failure(
      check,
      f'{found}, but the environment has {started}: each host would train its own model',
      'Start all hosts with launch/, or with --coordinator_address, --process_count and '
      '--process_index.',
    )
  if shards < count:
    return warning(
      check,
      f'{found}, {shards} shard{"s" if shards > 1 else ""} of the batch: some hosts only wait '
      'for data of others',
      'Reduce NUM_PARTITIONS so that every host has a part of the batch.',
    )
  return ok(check, f'{found}, {shards} along `data`')


def _num_started_processes(environment: Mapping[str, str]) -> int:
  """Processes of the job that SLURM or a TPU pod has started; 1 if unknown."""
  hosts = environment.get('TPU_WORKER_HOSTNAMES', '')
  tasks = cluster_detection.num_slurm_tasks(environment)
  return max(1, len([host for host in hosts.split(',') if host]), tasks)


def check_devices(
  run: CheckedRun,
  gpu_files: str = GPU_DEVICES,
  expected: int | None = None,
) -> Finding:
  """jax uses the accelerators of this host."""
  check = 'devices'
  devices = run.step_config.mesh.devices.reshape(-1)
  mesh = run.step_config.mesh.shape
  found = (
    f'{len(devices)} ({devices[0].device_kind}), data {mesh["data"]} x model '
    f'{mesh["model"]}'
  )
  if expected is not None and len(devices) != expected:
    return failure(
      check,
      f'{found}; expected {expected}',
      'Check that all hosts and accelerators are in this run, or change EXPECTED_DEVICES.',
    )
  if devices[0].platform == 'cpu':
    gpus = len(glob.glob(gpu_files))
    tpus = sum(len(glob.glob(each)) for each in cluster_detection.TPU_DEVICES)
    asked_for_cpu = os.environ.get('JAX_PLATFORMS', '').startswith('cpu')
    if (gpus or tpus) and not asked_for_cpu:
      extra = 'cuda' if gpus else 'tpu'
      return failure(
        check,
        f'{found}, but this host has {gpus or tpus} accelerators',
        f"pip install 'mathft_jax[{extra}]', or set JAX_PLATFORMS=cpu to use the CPU.",
      )
  return ok(check, found)


def check_memory(run: CheckedRun) -> Finding:
  """Parameters, optimizer state and gradients fit into the memory of a device."""
  check = 'device memory'
  memory = device_memory.estimate_device_memory(
    run.step_config,
    batch_size=run.data.batch_size,
    max_length=run.data.sequence_length,
  )
  needed = memory.known_bytes
  available = _device_bytes(run)
  found = f'{needed / GIB:.2f} GiB a device without scratch memory'
  if available is None:
    return skipped(check, f'{found}; the memory of the device is not known')
  found += f', it has {available / GIB:.2f}'
  action = (
    'Use more devices with FSDP = True or NUM_PARTITIONS, a smaller BATCH_SIZE, more '
    'NUM_MICROBATCHES, or stages/lora.gin; `plan` estimates each.'
  )
  if needed > available:
    return failure(check, found, action)
  if needed > NEARLY_FULL * available:
    return warning(check, found, action)
  return ok(check, found)


def _device_bytes(run: CheckedRun) -> float | None:
  """Memory of one device; of a CPU its share of the memory that is free now."""
  local = run.step_config.mesh.local_devices
  if local[0].platform == 'cpu':
    try:
      pages = os.sysconf('SC_AVPHYS_PAGES') + _cached_pages()
      return pages * os.sysconf('SC_PAGE_SIZE') / len(local)
    except (ValueError, OSError):
      return None
  limit = (local[0].memory_stats() or {}).get('bytes_limit')
  if limit:
    return float(limit)
  chip = hardware.chip_for_device_kind(local[0].device_kind)
  return None if chip is None else chip.hbm_bytes


def _cached_pages() -> int:
  """Pages of the file cache on Linux, which the system frees when a program needs memory."""
  try:
    lines = epath.Path('/proc/meminfo').read_text().splitlines()
  except OSError:
    return 0
  for line in lines:
    if line.startswith('Cached:'):
      return int(line.split()[1]) * 1024 // os.sysconf('SC_PAGE_SIZE')
  return 0


def check_disk(run: CheckedRun) -> Finding:
  """The work directory can be written and has room for the checkpoints."""
  check = 'disk'
  if local_and_remote_paths.is_remote(run.workdir):
    try:
      local_and_remote_paths.check_writable(run.workdir)
    except ValueError as error:
      return failure(check, str(error), 'Use another MODEL_DIR.')
    return ok(check, f'{run.workdir} can be written')

  folder = epath.Path(os.path.abspath(run.workdir))
  while not folder.exists():
    folder = folder.parent
  try:
    with tempfile.NamedTemporaryFile(dir=folder):
      pass
  except OSError as error:
    return failure(
      check,
      f'{run.workdir} cannot be written ({error})',
      'Use another MODEL_DIR, or change the permissions.',
    )
  needed = checkpoint_bytes(run.step_config)
  copies = (run.max_to_keep or 1) + 1  # the old ones are deleted after a save
  free = shutil.disk_usage(folder).free
  found = (
    f'a checkpoint needs {needed / GIB:.2f} GiB, {copies} at once {copies * needed / GIB:.2f}; '
    f'{free / GIB:.2f} are free at {folder}'
  )
  action = 'Free disk space, reduce KEEP_CHECKPOINTS, or use another MODEL_DIR.'
  if free < copies * needed:
    return failure(check, found, action)
  if free < 1.2 * copies * needed:
    return warning(check, found, action)
  return ok(check, found)


def checkpoint_bytes(config: step_lib.TrainStepConfig) -> int:
  """Returns the bytes of one checkpoint: parameters and optimizer state, on all devices."""
  state = step_lib.abstract_train_state(config)
  arrays = [state.params, state.opt_state]
  if config.lora is not None:
    arrays.append(step_lib.abstract_base_params(config))  # merged parameters
  total = 0
  for array in jax.tree.leaves(arrays):
    total += math.prod(array.shape) * np.dtype(array.dtype).itemsize
  return total
