"""Chooses what the backward pass of a training recomputes, for `remat = 'auto'`.

config = choose_remat(config, state, batch)
config.model.remat                              # 'none', 'dots', 'save_qkv_out' or 'full'
"""

from collections.abc import Mapping
import dataclasses

from absl import logging
from jax.sharding import Mesh
import numpy as np

from mathft_jax.distributed import partitioning, processes
from mathft_jax.training import train_step as step_lib

# From the least recomputation to the most.
CHOICES = ('none', 'dots', 'save_qkv_out', 'full')
# Share of the memory that a train step may use. The rest is for the next batch, metrics and
# fragmentation.
USABLE_SHARE = 0.9
GIB = 2**30


def choose_remat(
  config: step_lib.TrainStepConfig,
  state: step_lib.TrainState,
  batch: Mapping[str, np.ndarray],
  *,
  limit_bytes: float | None = None,
) -> step_lib.TrainStepConfig:
  """Returns the configuration with the first of `CHOICES` whose train step fits into the memory.

  The train step is compiled with each of them until one fits on all processes; its first call
  reuses the program. The last choice is not compiled. It is also taken if the memory is not known,
  as on CPU. If `remat` is not 'auto', the configuration is returned unchanged.

  Args:
    config: configuration of the train step.
    state: state before the first step; it is not changed.
    batch: the first batch, on the host.
    limit_bytes: memory of a device; by default, what jax reports.
  """
  if config.model.remat != 'auto':
    return config
  if limit_bytes is None:
    limit_bytes = _memory_limit(config.mesh)
  if limit_bytes is None:
    logging.info(
      'remat: %s (auto; the memory of the devices is not known)', CHOICES[-1]
    )
    return _with_remat(config, CHOICES[-1])

  for name in CHOICES[:-1]:
    chosen = _with_remat(config, name)
    used_bytes = _step_bytes(chosen, state, batch)
    if _fits_everywhere(used_bytes, limit_bytes):
      break
    _log(name, used_bytes, limit_bytes, 'does not fit')
  else:
    name, used_bytes = CHOICES[-1], None
    chosen = _with_remat(config, name)
  _log(name, used_bytes, limit_bytes, 'chosen')
  return chosen


def _with_remat(
  config: step_lib.TrainStepConfig, name: str
) -> step_lib.TrainStepConfig:
  model = dataclasses.replace(config.model, remat=name)
  return dataclasses.replace(config, model=model)


def _memory_limit(mesh: Mesh) -> float | None:
  """Returns the bytes of a device that jax may use; None if they are not known."""
  return (mesh.local_devices[0].memory_stats() or {}).get('bytes_limit')


def _step_bytes(
  config: step_lib.TrainStepConfig,
  state: step_lib.TrainState,
  batch: Mapping[str, np.ndarray],
) -> float | None:
  """Returns the bytes of a train step on a device; None if the compiler refuses to fit it."""
  replicated = partitioning.replicated_sharding(config.mesh)
  learning_rate = partitioning.shard_array(np.zeros((), np.float32), replicated)
  sharded_batch = partitioning.shard_batch(batch, config.mesh)
  lowered = step_lib.make_train_step(config).lower(
    state, sharded_batch, learning_rate
  )
  try:
    compiled = lowered.compile()
  except Exception as error:  # its type depends on the version of jax
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    return None
  memory = compiled.memory_analysis()
  assert memory is not None
  # Not `peak_memory_in_bytes`, which leaves temporaries out on some platforms.
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.temp_size_in_bytes
  )


def _fits_everywhere(used_bytes: float | None, limit_bytes: float) -> bool:
  """Whether the step fits on all processes, so that all choose the same."""
  fits = used_bytes is not None and used_bytes <= USABLE_SHARE * limit_bytes
  answers = processes.gather_from_all('remat fits', str(fits))
  return answers.count(str(True)) == len(answers)


def _log(
  name: str, used_bytes: float | None, limit_bytes: float, verdict: str
) -> None:
  used = '' if used_bytes is None else f'{used_bytes / GIB:.2f} of '
  logging.info(
    'remat: %s %s (auto; %s%.2f GiB of a device)',
    name,
    verdict,
    used,
    limit_bytes / GIB,
  )
