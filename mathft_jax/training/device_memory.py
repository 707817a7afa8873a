"""What a training needs, from shapes alone: parameters, memory of each device, tokens of a step.

Nothing is allocated and no device is asked, so the plan of a pod is made on a laptop.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import jax
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.training import train_step as step_lib

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class DeviceMemory:
  """Sizes of one training on one mesh; bytes are those of the fullest device.

  Attributes:
    mesh: (data, model).
    parameters: numbers in all arrays of the model, each counted once.
    gradient_bytes: of one backward pass, and as much again for their sum with microbatches.
    activation_bytes: what the forward pass keeps for the backward pass: with `remat='full'` the
      input of each period of layers. None for other values of `remat`: the compiler chooses.
  """

  mesh: tuple[int, int]
  parameters: int
  parameter_bytes: int
  optimizer_bytes: int
  gradient_bytes: int
  activation_bytes: int | None

  @property
  def known_bytes(self) -> int:
    """The sum. The compiler's scratch space and one period's own activations come on top."""
    return (
      self.parameter_bytes
      + self.optimizer_bytes
      + self.gradient_bytes
      + (self.activation_bytes or 0)
    )


def estimate_device_memory(
  plan: step_lib.TrainStepConfig, *, batch_size: int, max_length: int
) -> DeviceMemory:
  """Sizes of a plan, whose mesh may be a `Partitioner.abstract_mesh`."""
  state = step_lib.abstract_train_state(plan)
  gradient_bytes = partitioning.bytes_per_device(plan.trained(state.params))
  return DeviceMemory(
    mesh=(plan.mesh.shape['data'], plan.mesh.shape['model']),
    parameters=count_parameters(state.params),
    parameter_bytes=partitioning.bytes_per_device(state.params),
    optimizer_bytes=partitioning.bytes_per_device(state.opt_state),
    gradient_bytes=gradient_bytes * (2 if plan.num_microbatches > 1 else 1),
    activation_bytes=_kept_activations(plan, batch_size, max_length),
  )


def count_parameters(params: Any) -> int:
  """Numbers in all arrays of a tree of arrays or shapes."""
  return sum(math.prod(array.shape) for array in jax.tree.leaves(params))


def candidate_meshes(
  partitioner: partitioning.Partitioner, rows: int
) -> list[Any]:
  """The mesh that is bound, or those of 1, 2, 4, ... devices along `data` that divide the rows."""
  bound = partitioner.ici_mesh_shape
  if bound is not None:
    return [
      partitioner.abstract_mesh(
        math.prod(bound) * math.prod(partitioner.dcn_mesh_shape or (1, 1))
      )
    ]
  slices = math.prod(partitioner.dcn_mesh_shape or (1, 1))
  found = [
    partitioner.abstract_mesh(2**power * partitioner.num_partitions * slices)
    for power in range(rows.bit_length())
  ]
  return [mesh for mesh in found if rows % mesh.shape['data'] == 0]


def device_memory_table(found: Sequence[DeviceMemory]) -> str:
  """Lines for people, GiB of a device by mesh."""
  lines = [
    'data x model  parameters  optimizer  gradients  activations    sum  (GiB a device)'
  ]
  for each in found:
    kept = (
      '?'
      if each.activation_bytes is None
      else f'{each.activation_bytes / GIB:.1f}'
    )
    sizes = (each.parameter_bytes, each.optimizer_bytes, each.gradient_bytes)
    parameters, optimizer, gradients = (f'{size / GIB:.1f}' for size in sizes)
    lines.append(
      f'{each.mesh[0]:>4} x {each.mesh[1]:<5}  {parameters:>10}  {optimizer:>9}  '
      f'{gradients:>9}  {kept:>11}  {each.known_bytes / GIB:>5.1f}'
    )
  return '\n'.join(lines)


def _kept_activations(
  plan: step_lib.TrainStepConfig, batch_size: int, max_length: int
) -> int | None:
  config = plan.model
  if config.remat != 'full':
    return None
  rows = batch_size // plan.num_microbatches // plan.mesh.shape['data']
  periods = -(-config.num_layers // len(config.attention_pattern))
  itemsize = (
    2 if config.dtype == 'bfloat16' else np.dtype(config.dtype).itemsize
  )
  return periods * rows * max_length * config.embed_dim * itemsize
