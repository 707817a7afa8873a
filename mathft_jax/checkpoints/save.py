"""Saves parameters as one safetensors file or as an orbax checkpoint."""

from collections.abc import Iterator, Mapping
import json

from etils import epath
import jax
from jax.typing import DTypeLike
import numpy as np
from orbax import checkpoint as ocp

from mathft_jax.checkpoints import checksums, lazy_params, safetensors_format
from mathft_jax.checkpoints.json_values import to_json_value
from mathft_jax.checkpoints.lazy_params import ArrayTree
from mathft_jax.models.config import Json
from mathft_jax.storage import local_and_remote_paths


def export_safetensors(
  path: epath.PathLike,
  source: lazy_params.LazyParams,
  *,
  dtype: DTypeLike | None = None,
) -> epath.Path:
  """Writes one safetensors file with flat names, one layer at a time, and returns its path.

  Args:
    dtype: of the file. None: of each parameter.
  """
  shapes = lazy_params.cast_shapes(source.shapes, dtype)

  def iter_arrays() -> Iterator[np.ndarray]:
    for name in shapes:
      yield from source.iter_layers(name)

  return safetensors_format.write_safetensors(
    path, shapes, iter_arrays(), _header_metadata(source.metadata)
  )


def save_safetensors(
  path: epath.PathLike, params: ArrayTree, metadata: Json
) -> epath.Path:
  """Writes parameters in memory as one safetensors file and returns its path."""
  flat = lazy_params.flatten_params(params)
  arrays = map(jax.device_get, flat.values())
  return safetensors_format.write_safetensors(
    path, flat, arrays, _header_metadata(metadata)
  )


def save_orbax_checkpoint(
  path: epath.PathLike, params: ArrayTree, metadata: Json
) -> epath.Path:
  """Writes parameters and metadata as a training run does for a step; returns the folder.

  The arrays may be sharded over a mesh; each process writes the shards of its devices.
  """
  path = local_and_remote_paths.absolute_path(path)
  saved = {
    **to_json_value(metadata),
    'checksums': {'params': checksums.array_checksums(params)},
  }
  args = ocp.args.Composite(
    params=ocp.args.StandardSave(params),
    metadata=ocp.args.JsonSave(checksums.seal_metadata(saved)),
  )
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    checkpointer.save(path, args=args)
  return path


def _header_metadata(metadata: Json) -> Mapping[str, str]:
  return {
    'format': safetensors_format.FORMAT_NAME,
    'metadata': json.dumps(to_json_value(metadata)),
  }
