"""RMS norm and layer norm without bias."""

from flax import nnx
import jax
import jax.numpy as jnp

from mathft_jax.models import config as config_lib


class Norm(nnx.Module):
  """Normalises the last axis in float32 and multiplies by a learned scale.

  RMS norm by default; layer norm without bias if `config.norm` is 'layer'.
  """

  def __init__(
    self, config: config_lib.TransformerConfig, size: int, axis: str | None
  ):
    init = jnp.zeros if config.norm_unit_offset else jnp.ones
    self.scale = nnx.Param(init((size,)), axes=(axis,))
    self.config = config

  def __call__(self, x: jax.Array) -> jax.Array:
    wide = x.astype(jnp.float32)
    if self.config.norm == 'layer':
      wide -= jnp.mean(wide, axis=-1, keepdims=True)

    mean_square = jnp.mean(wide * wide, axis=-1, keepdims=True)
    wide *= jax.lax.rsqrt(mean_square + self.config.norm_eps)
    scale = self.scale[...] + self.config.norm_unit_offset
    return (wide * scale).astype(x.dtype)


def normalise_without_scale(x: jax.Array, eps: float) -> jax.Array:
  """Returns the RMS norm of the last axis, computed in float32."""
  wide = x.astype(jnp.float32)
  mean_square = jnp.mean(wide * wide, axis=-1, keepdims=True)
  return (wide * jax.lax.rsqrt(mean_square + eps)).astype(x.dtype)


def normalise_heads_jointly(norm: Norm, x_BTNH: jax.Array) -> jax.Array:
  """Returns the heads after one norm over all of them."""
  batch, length = x_BTNH.shape[:2]
  return norm(x_BTNH.reshape(batch, length, -1)).reshape(x_BTNH.shape)
