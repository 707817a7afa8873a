"""A program for tests: small training runs one after the other, in one or more processes.

`python -m training_program --gin.training_program.run.which=data,model ...`
"""

import dataclasses
import os
import pathlib
import signal
import sys

import jax
import numpy as np

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning, processes
from mathft_jax.models import transformer
from mathft_jax.training import lora, losses, remat_choice

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import train_test  # noqa: E402 (it lies in the folder above)

SPREAD = partitioning.Partitioner(num_partitions=2, fsdp=True)
RUNS = {
  'data': dict(
    log_period=1, eval_period=2, output_checkpoint='best', checkpoint_period=2
  ),
  'spread': dict(
    log_period=1,
    loss=losses.Mle(average_over='sequences'),
    partitioner=SPREAD,
    num_microbatches=2,
  ),
  'lora': dict(
    log_period=1,
    partitioner=SPREAD,
    lora=lora.Lora(rank=2),
    checkpoint_period=3,
  ),
  'killed': dict(log_period=1, checkpoint_period=2),
  'whole': dict(log_period=1),
  'longer': dict(log_period=1),
  'auto': dict(
    log_period=1, model=dataclasses.replace(train_test.MODEL, remat='auto')
  ),
}


def run(workdir, *, which: str, dies: int | None = None):
  """Does each of `which`; process `dies` dies at the fifth step.

  `name` trains 6 steps, `name@3` 3 steps, and `:name` loads a checkpoint and writes it again.
  """
  if processes.process_index() == dies:
    _die_at_the_fifth()
  remat_choice._memory_limit = _pretended_memory
  for each in which.split(','):
    name, _, steps = each.partition('@')
    if each.startswith(':'):
      restore(pathlib.Path(workdir), name[1:])
    else:
      train_test.train(
        f'{workdir}/{name}', train_steps=int(steps or 6), **RUNS[name]
      )


def restore(workdir, name):
  """Loads a run's parameters on a mesh of all devices along `model` and writes them again."""
  partitioner = partitioning.Partitioner(num_partitions=jax.device_count())
  model = checkpoints.load_model_config(workdir / name)
  shapes = transformer.abstract_params(model)
  layout = partitioning.logical_to_shardings(
    transformer.param_logical_axes(model), shapes, mesh=partitioner.mesh()
  )
  params = checkpoints.load_params(workdir / name, shapes, layout)
  checkpoints.save_orbax_checkpoint(
    workdir / f'{name}_again_{processes.process_count()}', params, {}
  )


def _pretended_memory(mesh):
  """On the primary process everything fits, on others nothing."""
  del mesh
  return 2**40 if processes.is_primary() else 1


def _die_at_the_fifth():
  counts, real = [], losses.Mle.weight

  def weight(self, batch):
    # Not while the step is traced.
    if isinstance(batch['decoder_loss_weights'], np.ndarray):
      counts.append(1)
      if len(counts) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, batch)

  losses.Mle.weight = weight


if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(run)
