"""The weights of a checkpoint, ready to sample or score with."""

from collections.abc import Mapping
from typing import Any

from etils import epath
from jax.sharding import Mesh

from mathft_jax import checkpoints, partitioning
from mathft_jax.models import transformer


def load(checkpoint: epath.PathLike, config: transformer.TransformerConfig, *,
         fingerprint: Mapping[str, str], mesh: Mesh,
         rules: partitioning.Rules = partitioning.DEFAULT_RULES) -> Any:
  """Parameters on the mesh; ValueError when they are those of another model or template."""
  checkpoints.check_metadata(checkpoint, model=config, fingerprint=fingerprint)
  shapes = transformer.abstract_params(config)
  return checkpoints.load_params(checkpoint, shapes, partitioning.shardings(
      transformer.logical_axes(config), shapes, mesh=mesh, rules=rules))
