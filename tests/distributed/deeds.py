"""A program for tests: every process does its deed. `python -m deeds --gin.deeds.do.what=...`."""

import os
import signal
import time

from absl import logging

from mathft_jax.distributed import processes


def do(workdir, *, what: str):
  """Does what is said, in words `who:deed` with commas between; who is a number or `all`."""
  logging.warning('here')
  for who, deed in (each.split(':') for each in what.split(',')):
    if who in ('all', str(processes.process_index())):
      DEEDS[deed](workdir)
  return f'done by {processes.process_count()}'


def add_up(workdir):
  """A sum over all devices of all processes."""
  import jax
  import numpy as np

  from mathft_jax.distributed import partitioning

  mesh = partitioning.Partitioner().mesh()
  numbers = np.arange(jax.device_count(), dtype=np.float32)
  rows = partitioning.shard_array(numbers, partitioning.batch_sharding(mesh))
  total = jax.jit(
    lambda x: x.sum(), out_shardings=partitioning.replicated_sharding(mesh)
  )(rows)
  print(f'the sum is {jax.device_get(total):.0f}', flush=True)


def lay_out(workdir):
  """A mesh whose rows are processes, as on hosts that a slow network joins."""
  import jax

  from mathft_jax.distributed import partitioning

  shape = (1, jax.local_device_count())
  mesh = partitioning.Partitioner(
    ici_mesh_shape=shape, dcn_mesh_shape=(processes.process_count(), 1)
  ).mesh()
  print(
    'rows',
    [[device.process_index for device in row] for row in mesh.devices],
    flush=True,
  )


def add_for_ever(workdir):
  while True:
    add_up(workdir)


def refuse(workdir):
  """A ValueError of the package: bad input."""
  from mathft_jax.distributed import partitioning

  partitioning.Partitioner(num_partitions=7).abstract_mesh(2)


def differ(workdir):
  """All processes must have read the same."""
  processes.assert_equal_across_processes(
    'The number', str(processes.process_index())
  )


def crash(workdir):
  raise KeyError('a hole')


def wait(workdir):
  processes.wait_at_barrier('never', seconds=1000)


def work_alone(workdir):
  print('working alone', flush=True)
  time.sleep(1000)


def die_at_the_end(workdir):
  import jax

  jax.distributed.shutdown = lambda: os.kill(os.getpid(), signal.SIGKILL)


def sleep(workdir):
  time.sleep(2)


DEEDS = {
  'add_up': add_up,
  'lay_out': lay_out,
  'add_for_ever': add_for_ever,
  'refuse': refuse,
  'wait': wait,
  'differ': differ,
  'work_alone': work_alone,
  'sleep': sleep,
  'die_at_the_end': die_at_the_end,
  'die': lambda _: os.kill(os.getpid(), signal.SIGKILL),
  'hang': lambda _: os.kill(os.getpid(), signal.SIGSTOP),
  'crash': crash,
}

if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(do)
