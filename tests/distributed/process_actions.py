"""A test program: every process performs its actions.

`python -m process_actions --gin.process_actions.run.actions=all:add_up,1:crash`
"""

import os
import signal
import time

from absl import logging

from mathft_jax.distributed import processes


def run(workdir, *, actions: str):
  """Performs `who:action` pairs with commas between them; who is an index or `all`."""
  logging.warning('started')
  for pair in actions.split(','):
    who, action = pair.split(':')
    if who in ('all', str(processes.process_index())):
      ACTIONS[action](workdir)
  return f'done by {processes.process_count()}'


def add_up(workdir):
  """Prints a sum over all devices of all processes."""
  import jax
  import numpy as np

  from mathft_jax.distributed import partitioning

  mesh = partitioning.Partitioner().mesh()
  numbers = np.arange(jax.device_count(), dtype=np.float32)
  numbers = partitioning.shard_array(numbers, partitioning.batch_sharding(mesh))
  total = jax.jit(
    lambda x: x.sum(), out_shardings=partitioning.replicated_sharding(mesh)
  )(numbers)
  print(f'the sum is {jax.device_get(total):.0f}', flush=True)


def print_mesh(workdir):
  """Prints the process of each device in a mesh with one process per `data` index."""
  import jax

  from mathft_jax.distributed import partitioning

  mesh = partitioning.Partitioner(
    ici_mesh_shape=(1, jax.local_device_count()),
    dcn_mesh_shape=(processes.process_count(), 1),
  ).mesh()
  indices = [[device.process_index for device in row] for row in mesh.devices]
  print('mesh', indices, flush=True)


def add_forever(workdir):
  while True:
    add_up(workdir)


def refuse(workdir):
  """Raises a ValueError of the package, as for invalid input."""
  from mathft_jax.distributed import partitioning

  partitioning.Partitioner(num_partitions=7).abstract_mesh(2)


def compare_indices(workdir):
  processes.assert_equal_across_processes(
    'The number', str(processes.process_index())
  )


def crash(workdir):
  raise KeyError('a hole')


def wait(workdir):
  processes.wait_at_barrier('never', seconds=1000)


def sleep_long(workdir):
  print('sleeping', flush=True)
  time.sleep(1000)


def die_in_shutdown(workdir):
  """Kills this process in `processes.shutdown`, after its barrier."""
  wait_at_barrier = processes.wait_at_barrier

  def wait_and_die(name):
    wait_at_barrier(name)
    os.kill(os.getpid(), signal.SIGKILL)

  processes.wait_at_barrier = wait_and_die


def sleep(workdir):
  time.sleep(2)


ACTIONS = {
  each.__name__: each
  for each in (
    add_up,
    print_mesh,
    add_forever,
    refuse,
    compare_indices,
    crash,
    wait,
    sleep_long,
    die_in_shutdown,
    sleep,
  )
}

if __name__ == '__main__':
  from mathft_jax.config import entry_point

  entry_point.run_program(run)
