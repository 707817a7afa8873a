"""Parameters written as one file, or as a folder that orbax reads."""

from collections.abc import Mapping
import itertools
import json
from typing import Any

from etils import epath
import jax
from orbax import checkpoint as ocp

from mathft_jax.checkpoints import lazy_params, safetensors_format
from mathft_jax.checkpoints.restore import to_json_value
from mathft_jax.storage import remote_paths


def export_safetensors(
  path: epath.PathLike, source: lazy_params.LazyParams, *, dtype: Any = None
) -> epath.Path:
  """The path of one safetensors file with flat names, written one layer's tensor at a time.

  `dtype` is that of the file; None keeps each parameter's own.
  """
  shapes = {
    name: jax.ShapeDtypeStruct(each.shape, dtype or each.dtype)
    for name, each in source.shapes.items()
  }
  parts = itertools.chain.from_iterable(map(source.parts, shapes))
  return safetensors_format.write_safetensors(
    path, shapes, parts, _header(source.metadata)
  )


def save_safetensors(
  path: epath.PathLike, params: Any, metadata: Mapping[str, Any]
) -> epath.Path:
  """The same of params in memory."""
  flat = lazy_params.flatten_params(params)
  return safetensors_format.write_safetensors(
    path, flat, map(jax.device_get, flat.values()), _header(metadata)
  )


def save_orbax_checkpoint(
  path: epath.PathLike, params: Any, metadata: Mapping[str, Any]
) -> epath.Path:
  """The path of a folder with params and metadata, as a training's steps have them.

  The arrays may be spread over a mesh; each process writes what its devices hold.
  """
  path = remote_paths.absolute_path(path)
  with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
    checkpointer.save(
      path,
      args=ocp.args.Composite(
        params=ocp.args.StandardSave(params),
        metadata=ocp.args.JsonSave(to_json_value(metadata)),
      ),
    )
  return path


def _header(metadata: Mapping[str, Any]) -> dict[str, str]:
  return {
    'format': safetensors_format.FORMAT_NAME,
    'metadata': json.dumps(to_json_value(metadata)),
  }
