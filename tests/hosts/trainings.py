"""A program for tests: small trainings one after the other, in one run of one or more processes.

`python -m trainings --gin.trainings.run.workdir=... --gin.trainings.run.which=data,model`
"""

import os
import pathlib
import signal
import sys

import jax
import numpy as np

from mathft_jax import checkpoints, partitioning, processes
from mathft_jax.models import transformer
from mathft_jax.training import losses, lora

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import train_test  # noqa: E402 (it lies in the folder above)

SPREAD = partitioning.Partitioner(num_partitions=2, fsdp=True)
RUNS = {
    'data': dict(log_period=1, eval_period=2, hand_over='best', checkpoint_period=2),
    'model': dict(log_period=1, partitioner=partitioning.Partitioner(num_partitions=2)),
    'spread': dict(log_period=1, partitioner=SPREAD, num_microbatches=2),
    'verdicts': dict(log_period=1, partitioner=SPREAD, loss=losses.VerifierXent(),
                     examples=train_test.Copies(verdicts=True)),
    'lora': dict(log_period=1, partitioner=SPREAD, lora=lora.Lora(rank=2), checkpoint_period=3),
    'killed': dict(log_period=1, checkpoint_period=2),
}


def run(workdir, *, which: str, dies: int | None = None, train_steps: int = 6):
  """Trains each of `which`, or restores it with a colon before; process `dies` dies at step 5."""
  for name in which.split(','):
    if name.startswith(':'):
      restore(pathlib.Path(workdir), name[1:])
      continue
    if processes.index() == dies:
      _die_at_the_fifth()
    path = train_test.train(f'{workdir}/{name}', train_steps=train_steps, **RUNS[name])
    print(f'{name}: {pathlib.Path(path).name}', flush=True)


def restore(workdir, name):
  """Loads a run's parameters on a mesh of all devices along `model` and writes them again."""
  mesh = partitioning.Partitioner(num_partitions=jax.device_count(), fsdp=True).mesh()
  shapes = transformer.abstract_params(train_test.MODEL)
  layout = partitioning.shardings(transformer.logical_axes(train_test.MODEL), shapes, mesh=mesh,
                                  rules=partitioning.Partitioner(fsdp=True).rules)
  params = checkpoints.load_params(workdir / name, shapes, layout)
  checkpoints.write_step(workdir / f'{name}_again_{processes.count()}', params, {})


def _die_at_the_fifth():
  counts, real = [], losses.Mle.weight

  def weight(self, batch):
    if isinstance(batch['decoder_loss_weights'], np.ndarray):  # not while the step is traced
      counts.append(1)
      if len(counts) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, batch)

  losses.Mle.weight = weight


if __name__ == '__main__':
  from mathft_jax import gin_utils
  gin_utils.run(run)
