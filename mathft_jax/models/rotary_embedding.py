"""Rotary position embeddings (RoPE, arXiv 2104.09864), rotating dimensions (i, i + R / 2).

Shapes: B sequences, T tokens, N heads, H head size, R rotated dimensions of a head.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.models import config as config_lib
from mathft_jax.models import rope_scaling


class RotaryTable(NamedTuple):
  """Cosines and sines [B, T, 1, R / 2] of the rotation angles; R dimensions are rotated."""

  cos: jax.Array
  sin: jax.Array


def rotary_table(
  config: config_lib.TransformerConfig, kind: str, positions_BT: jax.Array
) -> RotaryTable:
  """Returns the rotation angles of a layer of one kind (RoPE, arXiv 2104.09864).

  The table of 'nope' layers rotates no dimension.
  """
  theta = config.rope_theta
  scaling = config.rope_scaling
  if kind == 'local' and config.local_rope_theta is not None:
    theta = config.local_rope_theta
    scaling = None

  rotated_dim = 0 if kind == 'nope' else config.rotated_dim
  dims = np.arange(0, rotated_dim, 2, dtype=np.float64)
  inverse_wavelengths = theta ** -(dims / config.rotated_dim)
  if kind == 'nope':
    scaling = None
  if scaling is not None:
    inverse_wavelengths = scaling(inverse_wavelengths)

  positions = positions_BT[..., None, None].astype(jnp.float32)
  angles = positions * inverse_wavelengths.astype(np.float32)
  magnitude = rope_scaling.rope_magnitude(scaling)
  return RotaryTable(magnitude * jnp.cos(angles), magnitude * jnp.sin(angles))


def apply_rotary(x_BTNH: jax.Array, table: RotaryTable) -> jax.Array:
  """Rotates dimensions (i, i + R / 2) of each head; dimensions from R on are unchanged."""
  cos = table.cos.astype(x_BTNH.dtype)
  sin = table.sin.astype(x_BTNH.dtype)
  half = cos.shape[-1]
  left, right, rest = jnp.split(x_BTNH, [half, 2 * half], axis=-1)

  rotated_left = left * cos - right * sin
  rotated_right = right * cos + left * sin
  return jnp.concatenate([rotated_left, rotated_right, rest], axis=-1)


def query_factor_by_position(
  config: config_lib.TransformerConfig, positions_BT: jax.Array
) -> jax.Array | None:
  """Returns the factors [B, T, 1, 1] of `QueryScaleByPosition`; None without it."""
  by_position = config.query_scale_by_position
  if by_position is None:
    return None
  multiples = positions_BT // by_position.original_max_position
  factor_BT = 1 + by_position.beta * jnp.log1p(multiples.astype(jnp.float32))
  return factor_BT[:, :, None, None]
