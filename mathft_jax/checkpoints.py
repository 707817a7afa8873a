"""Checkpoints: saved in the background, found again after a stop, handed to the next stage.

  <workdir>/checkpoints/<step>/params      plain nested dict of arrays (orbax)
                               optimizer   the optimizer's state, needed to resume only
                               metadata    one json object: model config, fingerprint, step, ...

A handed-over checkpoint is the path of one step, or one safetensors file whose tensors have flat
names (`layers/attention/query`) and whose header has the same metadata.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
from typing import Any

from etils import epath
import jax
import numpy as np
from orbax import checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy
import safetensors
import safetensors.numpy

import mathft_jax

FORMAT = 'mathft_jax'  # the `format` of a safetensors header that we wrote
SAFETENSORS_DTYPES = {'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16', 'F64': 'float64'}
DELETED = 'deleted'  # old steps move here first, so that a kill leaves no half checkpoint
HOW_TO_COMPUTE = frozenset({'dtype', 'remat', 'scan_unroll', 'attention_kernel'})


class Checkpoints:
  """The checkpoints of one training run, written while the training goes on.

  Args:
    directory: `<workdir>/checkpoints`.
    keep: how many of the last to keep; None keeps all.
    best: the metric whose best checkpoint is kept as well; None for none.
    higher_is_better: for `best`.
  """

  def __init__(self, directory: epath.PathLike, *, keep: int | None = 1, best: str | None = None,
               higher_is_better: bool = False):
    self.directory = epath.Path(os.path.abspath(directory) if '://' not in str(directory)
                                else directory)
    self._best, self._higher_is_better = best, higher_is_better
    self._deleted = self.directory / DELETED
    self._empty_deleted()
    policy = preservation_policy.AnyPreservationPolicy(
        [preservation_policy.LatestN(keep), _KeepBest(self.best_step)])
    self._manager = ocp.CheckpointManager(
        self.directory, options=ocp.CheckpointManagerOptions(
            create=True, enable_async_checkpointing=True, preservation_policy=policy,
            todelete_subdir=DELETED))
    self._metrics = {step: read_metadata(self.path(step))['metrics']
                     for step in self._manager.all_steps()}

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, kind, error, trace) -> None:
    try:
      if kind is None:
        self.wait()
    finally:
      self._manager.close()

  def latest_step(self) -> int | None:
    """The step of the last whole checkpoint; None before the first."""
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """The step whose `best` metric is best; None when no checkpoint has it."""
    sign = 1 if self._higher_is_better else -1
    known = {step: sign * metrics[self._best] for step, metrics in self._metrics.items()
             if self._best in metrics}
    return max(known, key=lambda step: (known[step], -step), default=None)

  def path(self, step: int) -> epath.Path:
    """What is handed over: the folder of one step."""
    return self.directory / str(step)

  def save(self, step: int, params: Any, optimizer: Any, metadata: Mapping[str, Any],
           metrics: Mapping[str, float] | None = None) -> None:
    """Copies the arrays off the devices and returns; writing goes on in the background.

    Raises the error of an earlier save that failed meanwhile.
    """
    self._metrics[step] = dict(metrics or {})
    metadata = {**metadata, 'step': step, 'code_version': mathft_jax.__version__,
                'metrics': self._metrics[step]}
    self._manager.save(step, args=ocp.args.Composite(
        params=ocp.args.StandardSave(params), optimizer=ocp.args.StandardSave(optimizer),
        metadata=ocp.args.JsonSave(plain(metadata))))

  def check(self) -> None:
    """Raises the error of a background save that failed; does not wait for one that goes on.

    Orbax's own `check_for_errors` says nothing once its finishing thread has seen the error.
    """
    if not self._manager.is_saving_in_progress():
      self.wait()

  def wait(self) -> None:
    """Returns when every save is on disk; raises when one failed."""
    self._manager.wait_until_finished()
    self._empty_deleted()

  def restore(self, step: int, params: Any, optimizer: Any) -> tuple[Any, Any]:
    """(params, optimizer state) of a step, laid out like the given ShapeDtypeStructs."""
    restored = self._manager.restore(step, args=ocp.args.Composite(
        params=ocp.args.StandardRestore(params), optimizer=ocp.args.StandardRestore(optimizer)))
    return restored.params, restored.optimizer

  def _empty_deleted(self) -> None:
    if self._deleted.exists():
      self._deleted.rmtree()


@dataclasses.dataclass
class _KeepBest(preservation_policy.PreservationPolicy):
  """Orbax's form of `keep the checkpoint of this step`."""

  best_step: Callable[[], int | None]

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
    del context
    return [checkpoint.step == self.best_step() for checkpoint in checkpoints]


def load_params(path: epath.PathLike, abstract_params: Any, shardings: Any = None) -> Any:
  """The params of a checkpoint, read straight into the given shardings.

  Args:
    path: a step's folder, a folder of steps or a workdir (the last step counts), or a safetensors
      file.
    abstract_params: nested dict of ShapeDtypeStructs: names, shapes and dtypes wanted.
    shardings: a tree like it; by default everything on the first device.
  """
  if shardings is None:
    one_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = jax.tree.map(lambda _: one_device, abstract_params)
  wanted = jax.tree.map(
      lambda array, sharding: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding),
      abstract_params, shardings)
  path = find(path)
  check_shapes(wanted, shapes(path), where=str(path))
  if path.suffix == '.safetensors':
    return _read_safetensors(path, wanted)
  with ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.restore(path / 'params', wanted)


def find(path: epath.PathLike) -> epath.Path:
  """The safetensors file or step folder that a path means; ValueError when there is none."""
  path = epath.Path(path)
  if path.suffix == '.safetensors' and path.is_file():
    return path
  if (path / 'params').is_dir():
    return epath.Path(os.path.abspath(path)) if '://' not in str(path) else path
  for folder in (path, path / 'checkpoints'):
    steps = [int(child.name) for child in folder.iterdir() if child.name.isdigit()] \
        if folder.is_dir() else []
    if steps:
      return find(folder / str(max(steps)))
  what = 'has no checkpoint in it' if path.exists() else 'does not exist'
  raise ValueError(
      f'Checkpoint {path} {what}. Wanted a folder <workdir>/checkpoints/<step>, a workdir, or a '
      '.safetensors file (INITIAL_CHECKPOINT_PATH or CHECKPOINT_PATH).')


def shapes(path: epath.PathLike, dtype: Any = None) -> Any:
  """Nested dict of ShapeDtypeStructs: what a checkpoint's params are, in `dtype` if given."""
  path = find(path)
  if path.suffix == '.safetensors':
    with safetensors.safe_open(path, 'np') as tensors:
      slices = {name: tensors.get_slice(name) for name in tensors.keys()}
      tree = _nest({name: jax.ShapeDtypeStruct(
          tuple(each.get_shape()), dtype or SAFETENSORS_DTYPES[each.get_dtype()])
                    for name, each in slices.items()})
    return tree
  with ocp.StandardCheckpointer() as checkpointer:
    metadata = checkpointer.metadata(path / 'params').item_metadata
  return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype or leaf.dtype),
                      getattr(metadata, 'tree', metadata),
                      is_leaf=lambda leaf: hasattr(leaf, 'shape'))


def read_metadata(path: epath.PathLike) -> dict[str, Any]:
  """What a checkpoint says about itself: `model`, `fingerprint`, `step`, `metrics`, ..."""
  path = find(path)
  if path.suffix != '.safetensors':
    return json.loads((path / 'metadata' / 'metadata').read_text())
  with safetensors.safe_open(path, 'np') as tensors:
    header = tensors.metadata() or {}
  return json.loads(header.get('metadata', '{}'))


def check_metadata(path: epath.PathLike, *, model: Any = None,
                   fingerprint: Mapping[str, str] | None = None) -> None:
  """ValueError with the two lists that differ, when a checkpoint was made for something else.

  `model` is compared field by field except for those that only say how to compute
  (`HOW_TO_COMPUTE`), `fingerprint` entry by entry. A file without metadata, made elsewhere, is
  checked by its shapes alone.
  """
  saved = read_metadata(path)
  for name, wanted in (('model', model), ('fingerprint', fingerprint)):
    if wanted is None or not saved.get(name):
      continue
    theirs, ours = (_flat(plain(value)) for value in (saved[name], wanted))
    names = sorted(key for key in theirs.keys() | ours.keys()
                   if theirs.get(key) != ours.get(key) and key not in HOW_TO_COMPUTE)
    if names:
      raise ValueError(
          f'{path} was made with another {name}:\n'
          f'  checkpoint: {({key: theirs.get(key) for key in names})}\n'
          f'  this run:   {({key: ours.get(key) for key in names})}\n'
          'Give the MODEL, VOCABULARY and TEMPLATE of the checkpoint, or another checkpoint.')


def check_shapes(wanted: Any, found: Any, *, where: str) -> None:
  """ValueError with the two lists that differ, unless names and shapes are the same."""
  wanted = {name: list(array.shape) for name, array in _flat(wanted).items()}
  found = {name: list(array.shape) for name, array in _flat(found).items()}
  differ = sorted(name for name in wanted.keys() | found.keys()
                  if wanted.get(name) != found.get(name))
  if differ:
    raise ValueError(f'{where}: the parameters do not fit the model (name: shape, None is absent):'
                     f'\n  checkpoint: {({name: found.get(name) for name in differ})}'
                     f'\n  model:      {({name: wanted.get(name) for name in differ})}')


def write_safetensors(path: epath.PathLike, params: Any, metadata: Mapping[str, Any]) -> epath.Path:
  """Writes params as one safetensors file with flat names; it appears whole or not at all."""
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.parent / f'{path.name}.partial'
  tensors = {name: np.ascontiguousarray(array) for name, array in _flat(params).items()}
  safetensors.numpy.save_file(
      tensors, partial, metadata={'format': FORMAT, 'metadata': json.dumps(plain(metadata))})
  return partial.replace(path)


def plain(value: Any) -> Any:
  """`value` as json knows it: dataclasses become objects, tuples lists, types their names."""
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
  if isinstance(value, Mapping):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  if isinstance(value, (np.generic, np.ndarray, jax.Array)):
    return value.tolist()
  try:
    return np.dtype(value).name
  except TypeError:
    return repr(value)


def _read_safetensors(path: epath.Path, wanted: Any) -> Any:
  """Tensors by slices, so that each process reads what its devices hold."""
  with safetensors.safe_open(path, 'np') as tensors:
    def read(keys, array):
      rows = tensors.get_slice('/'.join(key.key for key in keys))
      return jax.make_array_from_callback(
          array.shape, array.sharding, lambda index: np.asarray(rows[index]).astype(array.dtype))

    return jax.block_until_ready(jax.tree_util.tree_map_with_path(read, wanted))


def _flat(tree: Any, prefix: str = '') -> dict[str, Any]:
  """{'layers/attention/query': leaf} of a nested dict."""
  if not isinstance(tree, Mapping):
    return {prefix: tree}
  flat = {}
  for name, branch in tree.items():
    flat.update(_flat(branch, f'{prefix}/{name}' if prefix else str(name)))
  return flat


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
  """The nested dict of flat names."""
  tree: dict[str, Any] = {}
  for name, leaf in flat.items():
    *branches, last = name.split('/')
    node = tree
    for branch in branches:
      node = node.setdefault(branch, {})
    node[last] = leaf
  return tree
