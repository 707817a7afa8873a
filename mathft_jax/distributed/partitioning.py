"""Where arrays live: a mesh, logical axis rules and the shardings of a tree of shapes.

Model code is written for one device. Each parameter has logical axis names (`('layers', 'embed',
'mlp')`), a table of rules maps names to mesh axes, and the mesh has t5x's axes: `data` and `model`.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import math
from typing import Any

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

# Arrays of a batch without a batch axis; all others are sharded over `data`.
REPLICATED_BATCH_ARRAYS = frozenset({'label_words', 'label_word_mask'})

# t5x's standard rules: parameters over `model`, rows over `data`, the rest on every device.
DEFAULT_AXIS_RULES: AxisRules = (
  ('batch', 'data'),
  ('vocab', 'model'),
  ('mlp', 'model'),
  ('heads', 'model'),
  ('kv_heads', 'model'),
  ('joined_kv', 'model'),
  ('embed', None),
  ('kv', None),
  ('length', None),
  ('layers', None),
)
# Before them: parameters and optimizer spread over `data` too, which others call FSDP or ZeRO-3.
FSDP_AXIS_RULES: AxisRules = (('embed', 'data'),)


@dataclasses.dataclass(frozen=True)
class Partitioner:
  """A mesh to be: its shape and the rules that put arrays on it.

  Attributes:
    num_partitions: devices along `model`; the others are along `data`.
    rules: pairs (logical axis, mesh axis or None); the first rule that fits counts.
    fsdp: also spread parameters and optimizer over `data` (`FSDP_RULES` before `rules`).
    ici_mesh_shape: (data, model) within a slice; None leaves it to `num_partitions`.
    dcn_mesh_shape: (data, model) between slices that a slow network joins; None for one slice.
  """

  num_partitions: int = 1
  rules: AxisRules = DEFAULT_AXIS_RULES
  fsdp: bool = False
  ici_mesh_shape: tuple[int, int] | None = None
  dcn_mesh_shape: tuple[int, int] | None = None

  def __post_init__(self):
    rules = (*FSDP_AXIS_RULES, *self.rules) if self.fsdp else self.rules
    object.__setattr__(
      self, 'rules', tuple(dict.fromkeys(tuple(rule) for rule in rules))
    )
    for name in ('ici_mesh_shape', 'dcn_mesh_shape'):
      if getattr(self, name) is not None:
        object.__setattr__(self, name, tuple(getattr(self, name)))

  @property
  def num_slices(self) -> int:
    return math.prod(self.dcn_mesh_shape or (1,))

  def mesh(self, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh (`data`, `model`) over `devices`, by default all of them.

    ValueError where processes have different numbers of devices, or jax sees others than we do.
    """
    if devices is None:
      devices = jax.devices()
      _check_processes(devices)
      _tell_once(_in_words(devices, *self._shapes(len(devices))))
    devices = list(devices)
    ici, dcn = self._shapes(len(devices))
    make = functools.partial(mesh_utils.create_device_mesh, ici, devices)
    if math.prod(dcn) > 1:
      make = functools.partial(
        mesh_utils.create_hybrid_device_mesh,
        ici,
        dcn,
        devices,
        process_is_granule=_slices_are_processes(devices, dcn),
      )
    try:
      array = make()
    except (
      NotImplementedError
    ):  # a mesh axis that is no product of whole axes of the torus
      array = make(allow_split_physical_axes=True)
    return Mesh(array, ('data', 'model'))

  def abstract_mesh(self, num_devices: int) -> AbstractMesh:
    """The mesh over so many devices that nobody has to own: shardings of shapes, no arrays."""
    ici, dcn = self._shapes(num_devices)
    return AbstractMesh(
      (ici[0] * dcn[0], ici[1] * dcn[1]),
      ('data', 'model'),
      axis_types=(AxisType.Auto, AxisType.Auto),
    )  # as `mesh`'s are

  def _shapes(
    self, num_devices: int
  ) -> tuple[tuple[int, int], tuple[int, int]]:
    """(data, model) within a slice and between slices; ValueError when they need other devices."""
    dcn = self.dcn_mesh_shape or (1, 1)
    ici = self.ici_mesh_shape or _within_slice(
      num_devices // math.prod(dcn), self.num_partitions
    )
    if math.prod(ici) * math.prod(dcn) != num_devices:
      raise ValueError(
        f'Partitioner: a mesh of {ici} x {dcn} (data, model; within x between slices) needs '
        f'{math.prod(ici) * math.prod(dcn)} devices, there are {num_devices}. '
        'Change num_partitions, ici_mesh_shape or dcn_mesh_shape.'
      )
    return ici, dcn


@dataclasses.dataclass(frozen=True)
class KernelSharding:
  """Runs a function on each device with its part of the arrays: XLA cannot split a kernel.

  `Spread(mesh, rules)(function, axes)(*arrays)`: `axes` are the logical axes of each array; where
  no rule splits one, every device has all of it. The result lies like the first array.
  """

  mesh: Mesh
  rules: AxisRules = DEFAULT_AXIS_RULES

  @property
  def platform(self) -> str:
    """'tpu', 'gpu' or 'cpu': what the program is compiled for, maybe on another machine.

    '' where that is not known: a mesh of no devices, for programs that are only counted.
    """
    return (
      ''
      if isinstance(self.mesh, AbstractMesh)
      else self.mesh.devices.flat[0].platform
    )

  def __call__(
    self, function: Callable, axes: Sequence[tuple[str | None, ...]]
  ) -> Callable:
    def on_all(*arrays):
      specs = tuple(
        logical_to_partition_spec(
          names, array.shape, mesh=self.mesh, rules=self.rules
        )
        for names, array in zip(axes, arrays, strict=True)
      )
      return jax.shard_map(
        function,
        mesh=self.mesh,
        in_specs=specs,
        out_specs=specs[0],
        check_vma=False,
      )(*arrays)  # a kernel does not say over what it varies

    return on_all


def logical_to_shardings(
  tree_of_axes: Any,
  shapes: Any,
  *,
  mesh: Mesh,
  rules: AxisRules = DEFAULT_AXIS_RULES,
) -> Any:
  """A NamedSharding for each array of `shapes`, from the tree of its logical axis names."""

  def one(axes, array):
    return NamedSharding(
      mesh, logical_to_partition_spec(axes, array.shape, mesh=mesh, rules=rules)
    )

  is_axes = lambda node: (
    isinstance(node, tuple) and all(isinstance(a, str | None) for a in node)
  )
  return jax.tree.map(one, tree_of_axes, shapes, is_leaf=is_axes)


def logical_to_partition_spec(
  axes: Sequence[str | None],
  shape: Sequence[int],
  *,
  mesh: Mesh,
  rules: AxisRules = DEFAULT_AXIS_RULES,
) -> PartitionSpec:
  """The mesh axis of each dimension.

  A mesh axis serves one dimension of an array only, and only one whose size it divides: a single
  key/value head or an odd vocabulary stays on every device.
  """
  if len(axes) != len(shape):
    raise ValueError(
      f'{len(axes)} axis names {tuple(axes)} for a shape of {tuple(shape)}.'
    )
  taken: list[str | None] = []
  for axis, size in zip(axes, shape):
    taken.append(_mesh_axis(axis, size, mesh=mesh, rules=rules, taken=taken))
  return PartitionSpec(*taken)


def replicated_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of what every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The sharding of a batch: its first axis over `data`."""
  return NamedSharding(mesh, PartitionSpec('data'))


def check_batch_divisible(count: int, mesh: Mesh, *, knob: str) -> None:
  """ValueError unless `count` rows divide over the devices of the mesh's `data` axis."""
  if count % mesh.shape['data']:
    raise ValueError(
      f'{count} rows do not divide over {mesh.shape["data"]} devices along `data`; '
      f'change {knob} or the partitioner.'
    )


def shard_batch(
  batch: Mapping[str, np.ndarray], mesh: Mesh
) -> dict[str, jax.Array]:
  """The batch on the mesh, rows over `data`; except for REPLICATED_BATCH_ARRAYS.

  Every process has the same whole batch (batches are functions of the seed) and uploads the rows
  of its own devices only.
  """
  return {
    name: shard_array(
      value,
      replicated_sharding(mesh)
      if name in REPLICATED_BATCH_ARRAYS
      else batch_sharding(mesh),
    )
    for name, value in batch.items()
  }


def shard_array(
  value: np.ndarray | jax.Array, sharding: NamedSharding
) -> jax.Array:
  """A host array that every process has, or random keys, laid out as `sharding` says."""
  if sharding.is_fully_addressable:
    return jax.device_put(value, sharding)
  if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
    numbers = shard_array(np.asarray(jax.random.key_data(value)), sharding)
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(value))
  return jax.make_array_from_callback(
    value.shape, sharding, lambda index: value[index]
  )


def gather_to_host(arrays: Any) -> Any:
  """The tree's arrays, whole, in this host's memory; all processes of their mesh must ask."""
  spread = [
    not array.is_fully_addressable and not array.is_fully_replicated
    for array in jax.tree.leaves(arrays)
  ]
  if any(spread):
    mesh = jax.tree.leaves(arrays)[spread.index(True)].sharding.mesh
    arrays = jax.jit(
      lambda tree: tree, out_shardings=replicated_sharding(mesh)
    )(arrays)
  return jax.tree.map(np.asarray, jax.device_get(arrays))


def bytes_per_device(tree: Any) -> int:
  """Bytes of the fullest device's share of a tree of ShapeDtypeStructs with shardings."""
  return sum(
    math.prod(array.sharding.shard_shape(array.shape))
    * np.dtype(array.dtype).itemsize
    for array in jax.tree.leaves(tree)
  )


def _check_processes(devices: Sequence[jax.Device]) -> None:
  """ValueError for a world of devices that is not the one of this run's processes."""
  counts = collections.Counter(device.process_index for device in devices)
  if len(counts) != processes.process_count():
    raise ValueError(
      f'jax sees devices of {len(counts)} processes, this run has '
      f'{processes.process_count()}: start it on all hosts, by launch/ or with '
      '--coordinator_address, --process_count and --process_index.'
    )
  if len(set(counts.values())) > 1:
    raise ValueError(
      'The processes have different numbers of devices: '
      + ', '.join(
        f'process {index} has {number}'
        for index, number in sorted(counts.items())
      )
      + '. Wanted the same number in each.'
    )


def _slices_are_processes(
  devices: Sequence[jax.Device], dcn: tuple[int, int]
) -> bool:
  """Whether processes, on hosts without slices, are what a slow network joins; else slices are."""
  slices = len({getattr(device, 'slice_index', 0) for device in devices})
  hosts = len({device.process_index for device in devices})
  if math.prod(dcn) not in (slices, hosts):
    raise ValueError(
      f'dcn_mesh_shape = {dcn} is for {math.prod(dcn)} slices; there are {slices} '
      f'slices and {hosts} processes. Change dcn_mesh_shape.'
    )
  return math.prod(dcn) != slices


def _in_words(
  devices: Sequence[jax.Device], ici: tuple[int, int], dcn: tuple[int, int]
) -> str:
  """`8 devices (TPU v4), 4 in each of 2 processes; mesh data 4 x model 2`."""
  where = (
    ''
    if processes.process_count() == 1
    else (
      f', {len(devices) // processes.process_count()} in each of {processes.process_count()} processes'
    )
  )
  slices = f' in {math.prod(dcn)} slices' if math.prod(dcn) > 1 else ''
  return (
    f'{len(devices)} devices ({devices[0].device_kind}){where}; mesh data '
    f'{ici[0] * dcn[0]} x model {ici[1] * dcn[1]}{slices}'
  )


@functools.cache
def _tell_once(line: str) -> None:
  logging.info('%s', line)


def _within_slice(num_devices: int, num_partitions: int) -> tuple[int, int]:
  if num_partitions < 1 or num_devices % num_partitions:
    raise ValueError(
      f'Partitioner: num_partitions = {num_partitions} does not divide {num_devices} devices.'
    )
  return num_devices // num_partitions, num_partitions


def _mesh_axis(
  axis: str | None,
  size: int,
  *,
  mesh: Mesh,
  rules: AxisRules,
  taken: Sequence[str | None],
) -> str | None:
  if axis is None:
    return None
  known = [mesh_axis for name, mesh_axis in rules if name == axis]
  if not known:
    raise ValueError(
      f'No rule for the logical axis {axis!r}; the rules name '
      f'{sorted({name for name, _ in rules})}. Add (name, mesh axis or None).'
    )
  for mesh_axis in known:
    if mesh_axis is None:
      return None
    if mesh_axis not in mesh.shape:
      raise ValueError(
        f'Rule ({axis!r}, {mesh_axis!r}): the mesh has {tuple(mesh.shape)}.'
      )
    if mesh_axis not in taken and size % mesh.shape[mesh_axis] == 0:
      return mesh_axis
  return None
