"""The weights of a checkpoint, ready to sample or score with."""

from collections.abc import Mapping
from typing import Any

from etils import epath
import jax
from jax.sharding import Mesh

from mathft_jax import checkpoints
from mathft_jax.distributed import partitioning
from mathft_jax.models import transformer


def load_inference_params(
  checkpoint: epath.PathLike,
  config: transformer.TransformerConfig,
  *,
  fingerprint: Mapping[str, str],
  mesh: Mesh,
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES,
) -> Any:
  """Parameters on the mesh; ValueError when they are those of another model or template."""
  checkpoints.check_metadata(checkpoint, model=config, fingerprint=fingerprint)
  wanted = inference_param_shapes(config, mesh=mesh, rules=rules)
  return checkpoints.load_params(
    checkpoint, wanted, jax.tree.map(lambda array: array.sharding, wanted)
  )


def inference_param_shapes(
  config: transformer.TransformerConfig,
  *,
  mesh: Mesh,
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES,
) -> Any:
  """Shapes, dtypes and shardings of the parameters that sampling and scoring hold.

  All but the scales of norms are cast to `config.dtype` before they are used: held in it they give
  the same numbers, and decoding, which reads them all for each token, half the traffic of float32.
  """
  abstract = transformer.abstract_params(config)
  layout = partitioning.logical_to_shardings(
    transformer.param_logical_axes(config), abstract, mesh=mesh, rules=rules
  )

  def held(path, array, sharding):
    dtype = array.dtype if path[-1].key == 'scale' else config.dtype
    return jax.ShapeDtypeStruct(array.shape, dtype, sharding=sharding)

  return jax.tree_util.tree_map_with_path(held, abstract, layout)
