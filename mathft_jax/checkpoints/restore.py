"""What a path means, what a checkpoint says about itself, and its parameters on the devices."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

from etils import epath
import jax
import numpy as np
from orbax import checkpoint as ocp

from mathft_jax.checkpoints import (
  huggingface,
  lazy_params,
  restore_sharded,
  safetensors_format,
)
from mathft_jax.models import config as config_lib
from mathft_jax.storage import remote_paths

COMMIT_MARKER = 'commit_success.txt'  # what orbax writes last into a step's folder in a bucket


def load_params(
  path: epath.PathLike, abstract_params: Any, shardings: Any = None
) -> Any:
  """The params of a checkpoint, read straight into the given shardings.

  Args:
    path: a step's folder, a folder of steps or a workdir (the last step counts), a safetensors
      file, or a Hugging Face folder.
    abstract_params: nested dict of ShapeDtypeStructs: names, shapes and dtypes wanted.
    shardings: a tree like it; by default everything on the first device.
  """
  if shardings is None:
    one_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = jax.tree.map(lambda _: one_device, abstract_params)
  wanted = jax.tree.map(
    lambda array, sharding: jax.ShapeDtypeStruct(
      array.shape, array.dtype, sharding=sharding
    ),
    abstract_params,
    shardings,
  )
  path = resolve_checkpoint(path)
  if not _is_step(path):
    source = _with_rows_of(wanted, _open_files(path))
    check_param_shapes(
      wanted, lazy_params.unflatten_params(source.shapes), where=str(path)
    )
    return restore_sharded.create_sharded_arrays(source, wanted)
  check_param_shapes(wanted, load_abstract_params(path), where=str(path))
  with ocp.StandardCheckpointer(
    multiprocessing_options=_alone()
  ) as checkpointer:
    return checkpointer.restore(path / 'params', wanted)


def resolve_checkpoint(path: epath.PathLike) -> epath.Path:
  """The safetensors file, Hugging Face folder or step that a path means; ValueError for none."""
  path = epath.Path(path)
  if path.suffix == '.safetensors' and path.is_file():
    return path
  if _is_step(path):
    return remote_paths.absolute_path(path)
  if huggingface.is_huggingface_folder(path):
    return path
  for folder in (path, path / 'checkpoints'):
    steps = (
      [int(child.name) for child in folder.iterdir() if child.name.isdigit()]
      if folder.is_dir()
      else []
    )
    if remote_paths.is_remote(path):
      steps = [step for step in steps if _is_step(folder / str(step))]
    if steps:
      return resolve_checkpoint(folder / str(max(steps)))
  what = 'has no checkpoint in it' if path.exists() else 'does not exist'
  if remote_paths.is_remote(path) and path.exists():
    what += (
      f' (a step without {COMMIT_MARKER} was not written to its end; it is written again when '
      'the same command is run again)'
    )
  raise ValueError(
    f'Checkpoint {path} {what}. Wanted a folder <workdir>/checkpoints/<step>, a workdir, a '
    '.safetensors file, or a Hugging Face folder with config.json (INITIAL_CHECKPOINT_PATH or '
    'CHECKPOINT_PATH).'
  )


def is_huggingface_checkpoint(path: epath.PathLike) -> bool:
  """Whether a path means a Hugging Face folder."""
  path = resolve_checkpoint(path)
  return path.suffix != '.safetensors' and not _is_step(path)


def load_abstract_params(path: epath.PathLike, dtype: Any = None) -> Any:
  """Nested dict of ShapeDtypeStructs: what a checkpoint's params are, in `dtype` if given."""
  path = resolve_checkpoint(path)
  cast = lambda each: jax.ShapeDtypeStruct(each.shape, dtype or each.dtype)
  if not _is_step(path):
    return jax.tree.map(
      cast, lazy_params.unflatten_params(_open_files(path).shapes)
    )
  with ocp.StandardCheckpointer(
    multiprocessing_options=_alone()
  ) as checkpointer:
    metadata = checkpointer.metadata(path / 'params').item_metadata
  return jax.tree.map(
    cast,
    getattr(metadata, 'tree', metadata),
    is_leaf=lambda leaf: hasattr(leaf, 'shape'),
  )


def open_lazy_params(path: epath.PathLike) -> lazy_params.LazyParams:
  """The params of a checkpoint, to be read one after the other on this host.

  Of a step's folder all layers of a parameter are read together, as orbax has written them.
  """
  path = resolve_checkpoint(path)
  if not _is_step(path):
    return _open_files(path)
  found = lazy_params.flatten_params(load_abstract_params(path))
  last: dict[str, np.ndarray] = {}

  def read(name: str, layer: int | None) -> np.ndarray:
    if name not in last:
      last.clear()
      last[name] = _read_leaf(path, name, found[name])
    return last[name] if layer is None else last[name][layer]

  return lazy_params.LazyParams(found, read_metadata(path), read)


def read_metadata(path: epath.PathLike) -> dict[str, Any]:
  """What a checkpoint says about itself: `model`, `fingerprint`, `step`, `metrics`, ..."""
  path = resolve_checkpoint(path)
  if _is_step(path):
    return json.loads((path / 'metadata' / 'metadata').read_text())
  return dict(_open_files(path).metadata)


def load_model_config(
  path: epath.PathLike, **how_to_compute: Any
) -> config_lib.TransformerConfig:
  """The model that a checkpoint or a Hugging Face folder holds, for `MODEL` in a gin file.

  Args:
    path: as for `load_params`.
    how_to_compute: fields of TransformerConfig that may differ: dtype, remat, vocab_multiple, ...
  """
  fields = read_metadata(path).get('model')
  if not fields or 'num_heads' not in fields:
    raise ValueError(
      f'{path} does not say what model it holds; bind MODEL to one of models/*.gin.'
    )
  if wrong := sorted(set(how_to_compute) - config_lib.NON_ARCHITECTURE_FIELDS):
    raise ValueError(
      f'{wrong} belong to the model of {path}; only {sorted(config_lib.NON_ARCHITECTURE_FIELDS)} may differ.'
    )
  return dataclasses.replace(
    config_lib.model_config_from_json(fields), **how_to_compute
  )


def check_metadata(
  path: epath.PathLike,
  *,
  model: Any = None,
  fingerprint: Mapping[str, str] | None = None,
) -> None:
  """ValueError with the two lists that differ, when a checkpoint was made for something else.

  `model` is compared field by field except for those that only say how to compute or to lay out
  (`HOW_TO_COMPUTE`), `fingerprint` entry by entry. A file without metadata, made elsewhere, is
  checked by its shapes alone.
  """
  saved = read_metadata(path)
  for name, wanted in (('model', model), ('fingerprint', fingerprint)):
    if wanted is None or not saved.get(name):
      continue
    theirs, ours = (
      lazy_params.flatten_params(
        config_lib.canonical_model_fields(to_json_value(value))
      )
      for value in (saved[name], wanted)
    )
    names = sorted(
      key
      for key in theirs.keys() | ours.keys()
      if theirs.get(key) != ours.get(key)
    )
    if names:
      raise ValueError(
        f'{path} was made with another {name}:\n'
        f'  checkpoint: { ({key: theirs.get(key) for key in names}) }\n'
        f'  this run:   { ({key: ours.get(key) for key in names}) }\n'
        'Give the MODEL, VOCABULARY and TEMPLATE of the checkpoint, or another checkpoint.'
      )


def check_param_shapes(wanted: Any, found: Any, *, where: str) -> None:
  """ValueError with the two lists that differ, unless names and shapes are the same."""
  wanted = {
    name: list(array.shape)
    for name, array in lazy_params.flatten_params(wanted).items()
  }
  found = {
    name: list(array.shape)
    for name, array in lazy_params.flatten_params(found).items()
  }
  differ = sorted(
    name
    for name in wanted.keys() | found.keys()
    if wanted.get(name) != found.get(name)
  )
  if differ:
    raise ValueError(
      f'{where}: the parameters do not fit the model (name: shape, None is absent):'
      f'\n  checkpoint: { ({name: found.get(name) for name in differ}) }'
      f'\n  model:      { ({name: wanted.get(name) for name in differ}) }'
    )


def to_json_value(value: Any) -> Any:
  """`value` as json knows it: dataclasses become objects, tuples lists, types their names."""
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    value = {
      field.name: getattr(value, field.name)
      for field in dataclasses.fields(value)
    }
  if isinstance(value, Mapping):
    return {str(key): to_json_value(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [to_json_value(item) for item in value]
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  if isinstance(value, (np.generic, np.ndarray, jax.Array)):
    return value.tolist()
  try:
    return np.dtype(value).name
  except TypeError:
    return repr(value)


def _alone() -> ocp.options.MultiprocessingOptions:
  """Makes orbax read in this process without waiting for others, who may read something else."""
  own = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=own, active_processes={own}
  )


def _is_step(path: epath.Path) -> bool:
  """Whether this is a step that was written to its end; on a disk half ones have other names."""
  is_whole = not remote_paths.is_remote(path) or (path / COMMIT_MARKER).exists()
  return is_whole and (path / 'params').is_dir()


def _open_files(path: epath.Path) -> lazy_params.LazyParams:
  if path.suffix == '.safetensors':
    return safetensors_format.open_safetensors(path)
  return huggingface.open_huggingface_folder(path)


def _with_rows_of(
  wanted: Any, source: lazy_params.LazyParams
) -> lazy_params.LazyParams:
  """The source with as many rows of embeddings as wanted, where the others are padding."""
  size = source.metadata.get('model', {}).get('vocab_size')
  rows = wanted['embedding'].shape[0] if 'embedding' in wanted else 0
  return (
    lazy_params.resize_vocab(source, rows) if size and rows >= size else source
  )


def _read_leaf(
  path: epath.Path, name: str, shape: jax.ShapeDtypeStruct
) -> np.ndarray:
  """One parameter of a step's folder, in this host's memory."""
  item = lazy_params.unflatten_params({name: shape})
  args = ocp.args.PyTreeRestore(
    item=item,
    partial_restore=True,
    restore_args=jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item
    ),
  )
  alone = _alone()
  with ocp.Checkpointer(
    ocp.PyTreeCheckpointHandler(multiprocessing_options=alone),
    multiprocessing_options=alone,
  ) as checkpointer:
    return lazy_params.flatten_params(
      checkpointer.restore(path / 'params', args=args)
    )[name]
