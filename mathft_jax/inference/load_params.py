"""Loads the parameters of a checkpoint for sampling and scoring."""

from collections.abc import Mapping

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
) -> transformer.Params:
  """Parameters on the mesh, in the dtypes of `inference_param_shapes`.

  Raises:
    ValueError: the checkpoint is of another model, vocabulary or template.
  """
  checkpoints.check_metadata(checkpoint, model=config, fingerprint=fingerprint)
  shapes = inference_param_shapes(config, mesh=mesh, rules=rules)
  shardings = jax.tree.map(lambda array: array.sharding, shapes)
  return checkpoints.load_params(checkpoint, shapes, shardings)


def inference_param_shapes(
  config: transformer.TransformerConfig,
  *,
  mesh: Mesh,
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES,
) -> transformer.Params:
  """Shapes, dtypes and shardings of the parameters of sampling and scoring.

  All but the scales of norms are cast to `config.dtype` before they are used. Storing them in this
  dtype gives the same numbers and halves the traffic of decoding, which reads all parameters for
  each token.
  """
  shapes = transformer.abstract_params(config)
  shardings = partitioning.logical_to_shardings(
    transformer.param_logical_axes(config), shapes, mesh=mesh, rules=rules
  )

  def with_dtype(path, array, sharding):
    dtype = array.dtype if path[-1].key == 'scale' else config.dtype
    return jax.ShapeDtypeStruct(array.shape, dtype, sharding=sharding)

  return jax.tree_util.tree_map_with_path(with_dtype, shapes, shardings)
