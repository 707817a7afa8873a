"""Estimates the device memory of a training run from shapes, without any device.

memory = estimate_device_memory(config, batch_size=32, max_length=1024)
print(device_memory_table([memory]))
"""

from collections.abc import Sequence
import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh

from mathft_jax.distributed import partitioning
from mathft_jax.training import train_step as step_lib

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class DeviceMemory:
  """Memory of a training run on one mesh. Bytes are those of the device that needs most.

  Attributes:
    mesh: devices along (data, model).
    parameters: number of parameters of the model.
    gradient_bytes: of one backward pass; twice that with gradient accumulation.
    activation_bytes: what the forward pass saves for the backward pass: with `remat='full'`, and at
      least with 'auto', the inputs of each period of layers. None for other values of `remat`: the
      compiler decides.
  """

  mesh: tuple[int, int]
  parameters: int
  parameter_bytes: int
  optimizer_bytes: int
  gradient_bytes: int
  activation_bytes: int | None

  @property
  def known_bytes(self) -> int:
    """The sum, without scratch memory and the activations of the period that is computed."""
    known = self.parameter_bytes + self.optimizer_bytes + self.gradient_bytes
    return known + (self.activation_bytes or 0)


def estimate_device_memory(
  config: step_lib.TrainStepConfig, *, batch_size: int, max_length: int
) -> DeviceMemory:
  """Returns the memory of a train step, whose mesh may be abstract.

  Args:
    config: configuration of the step.
    batch_size: sequences in a global batch.
    max_length: tokens in a sequence.
  """
  state = step_lib.abstract_train_state(config)
  trainable = config.trainable(state.params)
  gradient_bytes = partitioning.bytes_per_device(trainable)
  if config.num_microbatches > 1:
    gradient_bytes *= 2

  return DeviceMemory(
    mesh=(config.mesh.shape['data'], config.mesh.shape['model']),
    parameters=count_parameters(state.params),
    parameter_bytes=partitioning.bytes_per_device(state.params),
    optimizer_bytes=partitioning.bytes_per_device(state.opt_state),
    gradient_bytes=gradient_bytes,
    activation_bytes=_saved_activation_bytes(config, batch_size, max_length),
  )


def count_parameters(params: step_lib.PyTree) -> int:
  """Returns the number of elements in a tree of arrays or shapes."""
  return sum(math.prod(array.shape) for array in jax.tree.leaves(params))


def candidate_meshes(
  partitioner: partitioning.Partitioner, num_sequences: int
) -> list[AbstractMesh]:
  """Returns the mesh of a partitioner, or several if it does not fix one.

  Without `ici_mesh_shape` these are the meshes with 1, 2, 4, ... devices along `data` that divide
  the sequences of a microbatch.
  """
  slices = math.prod(partitioner.dcn_mesh_shape or (1, 1))
  if partitioner.ici_mesh_shape is not None:
    devices = math.prod(partitioner.ici_mesh_shape) * slices
    return [partitioner.abstract_mesh(devices)]

  meshes = []
  for power in range(num_sequences.bit_length()):
    devices = 2**power * partitioner.num_partitions * slices
    mesh = partitioner.abstract_mesh(devices)
    if num_sequences % mesh.shape['data'] == 0:
      meshes.append(mesh)
  return meshes


def device_memory_table(estimates: Sequence[DeviceMemory]) -> str:
  """Returns a text table: one line for each mesh, in GiB per device."""
  lines = [
    'data x model  parameters  optimizer  gradients  activations    sum  (GiB a device)'
  ]
  for memory in estimates:
    data, model = memory.mesh
    activations = '?'
    if memory.activation_bytes is not None:
      activations = f'{memory.activation_bytes / GIB:.1f}'
    lines.append(
      f'{data:>4} x {model:<5}  '
      f'{memory.parameter_bytes / GIB:>10.1f}  '
      f'{memory.optimizer_bytes / GIB:>9.1f}  '
      f'{memory.gradient_bytes / GIB:>9.1f}  '
      f'{activations:>11}  {memory.known_bytes / GIB:>5.1f}'
    )
  return '\n'.join(lines)


def _saved_activation_bytes(
  config: step_lib.TrainStepConfig, batch_size: int, max_length: int
) -> int | None:
  model = config.model
  if model.remat not in ('full', 'auto'):
    return None
  sequences = batch_size // config.num_microbatches // config.mesh.shape['data']
  periods = -(-model.num_layers // len(model.attention_pattern))
  itemsize = jnp.dtype(model.dtype).itemsize
  return periods * sequences * max_length * model.embed_dim * itemsize
