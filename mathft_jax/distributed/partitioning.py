"""Device meshes, logical axis rules and the shardings of arrays.

  mesh = Partitioner(num_partitions=2).mesh()
  shardings = logical_to_shardings(axes, shapes, mesh=mesh, rules=partitioner.rules)

Model code is written for one device. Each parameter has logical axis names (`('layers', 'embed',
'mlp')`), a table of rules maps names to mesh axes, and the mesh has t5x's axes: `data` and `model`.
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import functools
import math
from typing import Any, TypeAlias, TypeVar

from absl import logging
import jax
from jax.experimental import mesh_utils
import jax.numpy as jnp
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)
import numpy as np

from mathft_jax.distributed import processes

AxisRules = tuple[tuple[str, str | None], ...]
AxisNames = tuple[str | None, ...]
AnyMesh = Mesh | AbstractMesh
Device: TypeAlias = Any  # jax.Device has no type information
ShapeTree = TypeVar('ShapeTree')

# Arrays of a batch without a batch axis; all others are sharded over `data`.
REPLICATED_BATCH_ARRAYS = frozenset({'label_words', 'label_word_mask'})

# t5x's standard rules: parameters over `model`, batches over `data`, all else replicated.
DEFAULT_AXIS_RULES: AxisRules = (
  ('batch', 'data'),
  ('vocab', 'model'),
  ('mlp', 'model'),
  ('experts', 'model'),
  ('heads', 'model'),
  ('kv_heads', 'model'),
  ('joined_kv', 'model'),
  ('embed', None),
  ('kv', None),
  ('length', None),
  ('layers', None),
)
# Before the others: shards parameters and optimizer state over `data` too (FSDP, ZeRO-3).
FSDP_AXIS_RULES: AxisRules = (('embed', 'data'),)


@dataclasses.dataclass(frozen=True)
class Partitioner:
  """The shape of a mesh and the rules that place arrays on it.

  Attributes:
    num_partitions: devices along `model`; the others are along `data`.
    rules: pairs (logical axis, mesh axis or None); the first one that applies is used.
    fsdp: also shard parameters and optimizer state over `data` (`FSDP_AXIS_RULES` before `rules`).
    ici_mesh_shape: (data, model) within a slice; None: from `num_partitions`.
    dcn_mesh_shape: (data, model) between slices, which a slower network connects; None: one slice.
  """

  num_partitions: int = 1
  rules: AxisRules = DEFAULT_AXIS_RULES
  fsdp: bool = False
  ici_mesh_shape: tuple[int, int] | None = None
  dcn_mesh_shape: tuple[int, int] | None = None

  def __post_init__(self):
    rules = (*FSDP_AXIS_RULES, *self.rules) if self.fsdp else self.rules
    unique_rules = dict.fromkeys(tuple(rule) for rule in rules)
    object.__setattr__(self, 'rules', tuple(unique_rules))
    for name in ('ici_mesh_shape', 'dcn_mesh_shape'):
      if getattr(self, name) is not None:  # gin gives lists
        object.__setattr__(self, name, tuple(getattr(self, name)))

  @property
  def num_slices(self) -> int:
    return math.prod(self.dcn_mesh_shape or (1,))

  def mesh(self, devices: Sequence[Device] | None = None) -> Mesh:
    """The mesh (`data`, `model`) over `devices`, by default all devices of all processes.

    Raises:
      ValueError: the shape needs another number of devices, or processes have different numbers.
    """
    if devices is None:
      devices = jax.devices()
      _check_devices_of_processes(devices)
      _log_once(_describe_mesh(devices, *self._shapes(len(devices))))
    devices = list(devices)
    ici_shape, dcn_shape = self._shapes(len(devices))
    if math.prod(dcn_shape) > 1:
      create = functools.partial(
        mesh_utils.create_hybrid_device_mesh,
        ici_shape,
        dcn_shape,
        devices,
        process_is_granule=_processes_are_slices(devices, dcn_shape),
      )
    else:
      create = functools.partial(
        mesh_utils.create_device_mesh, ici_shape, devices
      )

    try:
      array = create()
    except NotImplementedError:
      # A mesh axis is not a product of axes of the torus.
      array = create(allow_split_physical_axes=True)
    return Mesh(array, ('data', 'model'))

  def abstract_mesh(self, num_devices: int) -> AbstractMesh:
    """The mesh over `num_devices` devices that need not exist, for shardings of shapes."""
    ici_shape, dcn_shape = self._shapes(num_devices)
    return AbstractMesh(
      (ici_shape[0] * dcn_shape[0], ici_shape[1] * dcn_shape[1]),
      ('data', 'model'),
      axis_types=(AxisType.Auto, AxisType.Auto),  # as in `mesh`
    )

  def _shapes(
    self, num_devices: int
  ) -> tuple[tuple[int, int], tuple[int, int]]:
    """(data, model) within a slice and between slices, for this number of devices."""
    dcn_shape = self.dcn_mesh_shape or (1, 1)
    ici_shape = self.ici_mesh_shape or _shape_within_slice(
      num_devices // math.prod(dcn_shape), self.num_partitions
    )
    needed = math.prod(ici_shape) * math.prod(dcn_shape)
    if needed != num_devices:
      raise ValueError(
        f'Partitioner: a mesh of {ici_shape} within slices x {dcn_shape} between slices (data, '
        f'model) needs {needed} devices, there are {num_devices}. Change num_partitions, '
        'ici_mesh_shape or dcn_mesh_shape.'
      )
    return ici_shape, dcn_shape


def logical_to_shardings(
  axes: Any,
  shapes: ShapeTree,
  *,
  mesh: AnyMesh,
  rules: AxisRules = DEFAULT_AXIS_RULES,
) -> ShapeTree:
  """A NamedSharding for each array of `shapes`, from a tree of its logical axis names."""

  def make_sharding(names: AxisNames, array: jax.ShapeDtypeStruct):
    spec = logical_to_partition_spec(names, array.shape, mesh=mesh, rules=rules)
    return NamedSharding(mesh, spec)

  return jax.tree.map(make_sharding, axes, shapes, is_leaf=_is_axis_names)


def _is_axis_names(node: object) -> bool:
  return isinstance(node, tuple) and all(
    isinstance(name, str | None) for name in node
  )


def logical_to_partition_spec(
  axes: Sequence[str | None],
  shape: Sequence[int],
  *,
  mesh: AnyMesh,
  rules: AxisRules = DEFAULT_AXIS_RULES,
) -> PartitionSpec:
  """The mesh axis of each dimension of an array.

  A mesh axis is used for one dimension only, and only if it divides the size. A single key/value
  head or a vocabulary of odd size is replicated.

  Raises:
    ValueError: no rule names an axis, or the numbers of names and dimensions differ.
  """
  if len(axes) != len(shape):
    raise ValueError(
      f'{len(axes)} axis names {tuple(axes)} for a shape of {tuple(shape)}.'
    )
  used: list[str | None] = []
  for axis, size in zip(axes, shape):
    used.append(_mesh_axis(axis, size, mesh=mesh, rules=rules, used=used))
  return PartitionSpec(*used)


def replicated_sharding(mesh: AnyMesh) -> NamedSharding:
  """The sharding of an array that every device stores whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: AnyMesh) -> NamedSharding:
  """The sharding of a batch: its first dimension over `data`."""
  return NamedSharding(mesh, PartitionSpec('data'))


def check_batch_divisible(count: int, mesh: AnyMesh, *, knob: str) -> None:
  """Raises ValueError unless a batch of `count` divides over the mesh's `data` axis."""
  if count % mesh.shape['data']:
    raise ValueError(
      f'A batch of {count} does not divide over {mesh.shape["data"]} devices along `data`; '
      f'change {knob} or the partitioner.'
    )


def shard_batch(
  batch: Mapping[str, np.ndarray], mesh: Mesh
) -> dict[str, jax.Array]:
  """Places a batch on the mesh, sharded over `data` except for `REPLICATED_BATCH_ARRAYS`.

  Every process has the same whole batch (batches are functions of the seed). It uploads only what
  its own devices need.
  """
  shardings = {name: batch_sharding(mesh) for name in batch}
  for name in REPLICATED_BATCH_ARRAYS & batch.keys():
    shardings[name] = replicated_sharding(mesh)
  return {
    name: shard_array(array, shardings[name]) for name, array in batch.items()
  }


def shard_array(
  array: np.ndarray | jax.Array, sharding: NamedSharding
) -> jax.Array:
  """Places a host array, or PRNG keys, that all processes have."""
  if sharding.is_fully_addressable:
    return jax.device_put(array, sharding)

  if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
    key_data = np.asarray(jax.random.key_data(array))
    impl = jax.random.key_impl(array)
    return jax.random.wrap_key_data(shard_array(key_data, sharding), impl=impl)

  return jax.make_array_from_callback(
    array.shape, sharding, lambda index: array[index]
  )


def gather_to_host(arrays: Any) -> Any:
  """A tree of arrays as whole NumPy arrays. All processes of their mesh must call it."""
  for array in jax.tree.leaves(arrays):
    if not array.is_fully_addressable and not array.is_fully_replicated:
      gather = jax.jit(
        lambda tree: tree,
        out_shardings=replicated_sharding(array.sharding.mesh),
      )
      arrays = gather(arrays)
      break
  return jax.tree.map(np.asarray, jax.device_get(arrays))


def bytes_per_device(tree: Any) -> int:
  """Bytes of a tree of ShapeDtypeStructs with shardings on the fullest device."""
  total = 0
  for array in jax.tree.leaves(tree):
    shard_shape = array.sharding.shard_shape(array.shape)
    total += math.prod(shard_shape) * np.dtype(array.dtype).itemsize
  return total


def _check_devices_of_processes(devices: Sequence[Device]) -> None:
  """Raises ValueError unless each process of the run has the same number of devices."""
  counts = collections.Counter(device.process_index for device in devices)
  if len(counts) != processes.process_count():
    raise ValueError(
      f'jax has devices of {len(counts)} processes, but this run has '
      f'{processes.process_count()}. Start it on all hosts, with launch/ or with '
      '--coordinator_address, --process_count and --process_index.'
    )
  if len(set(counts.values())) > 1:
    texts = [f'process {i} has {n}' for i, n in sorted(counts.items())]
    numbers = ', '.join(texts)
    raise ValueError(
      f'The processes have different numbers of devices: {numbers}. All must have the same number.'
    )


def _processes_are_slices(
  devices: Sequence[Device], dcn_shape: tuple[int, int]
) -> bool:
  """Whether `dcn_shape` counts processes, on hosts without slices, and not slices."""
  num_slices = len({getattr(device, 'slice_index', 0) for device in devices})
  num_processes = len({device.process_index for device in devices})
  wanted = math.prod(dcn_shape)
  if wanted not in (num_slices, num_processes):
    raise ValueError(
      f'dcn_mesh_shape = {dcn_shape} is for {wanted} slices; there are {num_slices} slices and '
      f'{num_processes} processes. Change dcn_mesh_shape.'
    )
  return wanted != num_slices


def _describe_mesh(
  devices: Sequence[Device],
  ici_shape: tuple[int, int],
  dcn_shape: tuple[int, int],
) -> str:
  """`8 devices (TPU v4), 4 in each of 2 processes; mesh data 4 x model 2`."""
  text = f'{len(devices)} devices ({devices[0].device_kind})'
  count = processes.process_count()
  if count > 1:
    text += f', {len(devices) // count} in each of {count} processes'
  data, model = ici_shape[0] * dcn_shape[0], ici_shape[1] * dcn_shape[1]
  text += f'; mesh data {data} x model {model}'
  num_slices = math.prod(dcn_shape)
  return f'{text} in {num_slices} slices' if num_slices > 1 else text


@functools.cache
def _log_once(line: str) -> None:
  logging.info('%s', line)


def _shape_within_slice(
  num_devices: int, num_partitions: int
) -> tuple[int, int]:
  if num_partitions < 1 or num_devices % num_partitions:
    raise ValueError(
      f'Partitioner: num_partitions = {num_partitions} does not divide {num_devices} devices.'
    )
  return num_devices // num_partitions, num_partitions


def _mesh_axis(
  axis: str | None,
  size: int,
  *,
  mesh: AnyMesh,
  rules: AxisRules,
  used: Sequence[str | None],
) -> str | None:
  """The mesh axis of one dimension; None if it is not sharded."""
  if axis is None:
    return None
  mesh_axes = [mesh_axis for name, mesh_axis in rules if name == axis]
  if not mesh_axes:
    raise ValueError(
      f'No rule for the logical axis {axis!r}; the rules name '
      f'{sorted({name for name, _ in rules})}. Add (name, mesh axis or None).'
    )

  for mesh_axis in mesh_axes:
    if mesh_axis is None:
      return None
    if mesh_axis not in mesh.shape:
      raise ValueError(
        f'Rule ({axis!r}, {mesh_axis!r}): the mesh has the axes {tuple(mesh.shape)}.'
      )
    if mesh_axis not in used and size % mesh.shape[mesh_axis] == 0:
      return mesh_axis
  return None
