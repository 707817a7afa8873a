"""The layers of a Transformer: norm, rotations, attention over parts, MLP, block."""

from collections.abc import Callable, Sequence
import functools
import math
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.models import config as config_lib
from mathft_jax.models.lora import einsum_with_lora

MASKED_SCORE = (
  -1e30
)  # finite, so that a part with nothing visible weighs zero and makes no NaN
scaled_initializer = functools.partial(
  jax.nn.initializers.variance_scaling,
  mode='fan_in',
  distribution='truncated_normal',
)


class Keys(NamedTuple):
  """Keys and values in R rows; X queries, those of B/R neighbouring rows, look at each."""

  key_RKSH: jax.Array
  value_RKSH: jax.Array
  visible_RXS: jax.Array  # X or 1
  flash: Callable | None = (
    None  # a kernel for just this: (q_BTNH, k_BTKH, v_BTKH, scale, cap)
  )


class Norm(nnx.Module):
  """x / rms(x) * scale in float32, over the last axis; the mean removed first for 'layer'."""

  def __init__(
    self, config: config_lib.TransformerConfig, size: int, axis: str
  ):
    start = jnp.zeros if config.norm_unit_offset else jnp.ones
    self.scale = nnx.Param(start((size,)), axes=(axis,))
    self.config = config

  def __call__(self, x):
    wide = x.astype(jnp.float32)
    if self.config.norm == 'layer':
      wide -= jnp.mean(wide, axis=-1, keepdims=True)
    wide *= jax.lax.rsqrt(
      jnp.mean(wide * wide, axis=-1, keepdims=True) + self.config.norm_eps
    )
    return (wide * (self.scale[...] + self.config.norm_unit_offset)).astype(
      x.dtype
    )


def rotary_table(config: config_lib.TransformerConfig, kind: str, positions_BT):
  """Cosines and sines [B, T, 1, R/2] of the rotations of a 'global' or 'local' layer."""
  theta, scaling = config.rope_theta, config.rope_scaling
  if kind == 'local' and config.local_rope_theta is not None:
    theta, scaling = config.local_rope_theta, None
  inverse = theta ** -(
    np.arange(0, config.rotated_dim, 2, dtype=np.float64) / config.rotated_dim
  )
  inverse = inverse if scaling is None else scaling(inverse)
  angles = positions_BT[..., None, None].astype(jnp.float32) * inverse.astype(
    np.float32
  )
  return jnp.cos(angles), jnp.sin(angles)


def apply_rotary(x_BTNH, rotation_BT):
  """x with number i of the rotated share turned against number i + R/2; the rest as it was."""
  cos, sin = (table.astype(x_BTNH.dtype) for table in rotation_BT)
  half = cos.shape[-1]
  left, right, rest = jnp.split(x_BTNH, [half, 2 * half], axis=-1)
  return jnp.concatenate(
    [left * cos - right * sin, right * cos + left * sin, rest], axis=-1
  )


def softcap(x, cap: float | None):
  """cap * tanh(x / cap), or x without a cap."""
  return x if cap is None else cap * jnp.tanh(x / cap)


def attend(
  q_BTNH, parts: Sequence[Keys], *, scale: float, cap: float | None = None
):
  """Softmax attention [B, T, N, H] over all parts together, in float32 where sums are taken.

  Each part gives sum_s exp(score_s - m) value_s and sum_s exp(score_s - m) with its own maximum m;
  scaled to the common maximum they add up. So a prefix is one matmul for all rows that share it.
  """
  sums = [_part_sums(q_BTNH * scale, part, cap) for part in parts]
  if len(sums) == 1:
    ((_, total, weighted),) = sums
  else:
    top = functools.reduce(jnp.maximum, [maximum for maximum, _, _ in sums])
    factors = [jnp.exp(maximum - top) for maximum, _, _ in sums]
    total = sum(factor * total for factor, (_, total, _) in zip(factors, sums))
    weighted = sum(
      factor * weighted for factor, (_, _, weighted) in zip(factors, sums)
    )
  return (weighted / total).astype(q_BTNH.dtype).reshape(q_BTNH.shape)


def _part_sums(q_BTNH, part: Keys, cap: float | None):
  """(maximum, sum of exponentials, weighted values) [B, T, K, G, 1 or H] of one part."""
  rows, kv_heads, _, head = part.key_RKSH.shape
  batch, length, heads, _ = q_BTNH.shape
  queries = batch // rows * length
  q_RXKGH = q_BTNH.reshape(rows, queries, kv_heads, heads // kv_heads, head)
  scores = jnp.einsum(
    'RXKGH,RKSH->RKGXS',
    q_RXKGH,
    part.key_RKSH,
    preferred_element_type=jnp.float32,
  )
  scores = jnp.where(
    part.visible_RXS[:, None, None], softcap(scores, cap), MASKED_SCORE
  )
  maximum = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
  exps = jnp.exp(scores - maximum)
  weighted = jnp.einsum(
    'RKGXS,RKSH->RXKGH',
    exps.astype(part.value_RKSH.dtype),
    part.value_RKSH,
    preferred_element_type=jnp.float32,
  )
  to_rows = lambda x: jnp.moveaxis(x, 3, 1).reshape(
    batch, length, *x.shape[1:3], 1
  )
  return (
    to_rows(maximum),
    to_rows(jnp.sum(exps, axis=-1, keepdims=True)),
    weighted.reshape(batch, length, *weighted.shape[2:]),
  )


class Attention(nnx.Module):
  """Grouped-query attention with rotations; `store` says which parts the new keys join."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    D, N, K, H = (
      config.embed_dim,
      config.num_heads,
      config.kv_heads,
      config.head_size,
    )
    draw = lambda shape, scale=1.0, **axes: scaled_initializer(scale, **axes)(
      rngs.params(), shape
    )
    self.query = nnx.Param(
      draw((D, N, H), in_axis=0, out_axis=(1, 2)), axes=('embed', 'heads', 'kv')
    )
    self.key = nnx.Param(
      draw((D, K, H), in_axis=0, out_axis=(1, 2)),
      axes=('embed', 'kv_heads', 'kv'),
    )
    self.value = nnx.Param(
      draw((D, K, H), in_axis=0, out_axis=(1, 2)),
      axes=('embed', 'kv_heads', 'kv'),
    )
    self.out = nnx.Param(
      draw((N, H, D), 1 / (2 * config.num_layers), in_axis=(0, 1), out_axis=2),
      axes=('heads', 'kv', 'embed'),
    )
    if config.qkv_bias:
      self.query_bias = nnx.Param(jnp.zeros((N, H)), axes=('heads', 'kv'))
      self.key_bias = nnx.Param(jnp.zeros((K, H)), axes=('kv_heads', 'kv'))
      self.value_bias = nnx.Param(jnp.zeros((K, H)), axes=('kv_heads', 'kv'))
    if config.qk_norm:
      self.query_norm = Norm(config, H, 'kv')
      self.key_norm = Norm(config, H, 'kv')
    self.config = config

  def __call__(self, x_BTD, rotation_BT, store):
    """Attention's output [B, T, D] and what `store(key_BKTH, value_BKTH)` gave beside the parts."""
    q_BTNH, k_BTKH, v_BTKH = self._heads(x_BTD, rotation_BT)
    parts, stored = store(
      jnp.swapaxes(k_BTKH, 1, 2), jnp.swapaxes(v_BTKH, 1, 2)
    )
    scale = self.config.query_scale or 1 / math.sqrt(self.config.head_size)
    kernel, cap = self.config.attention_kernel, self.config.attention_softcap
    if (flash := parts[-1].flash) is not None:
      out_BTNH = flash(q_BTNH, k_BTKH, v_BTKH, scale=scale, cap=cap)
    elif (
      kernel not in ('xla', 'cudnn')
      or cap is not None
      or len(parts) > 1
      or stored is not None
    ):
      out_BTNH = attend(q_BTNH, parts, scale=scale, cap=cap)
    else:
      out_BTNH = jax.nn.dot_product_attention(
        q_BTNH,
        k_BTKH,
        v_BTKH,
        mask=parts[0].visible_RXS[:, None],
        scale=scale,
        implementation=kernel,
      )
    return einsum_with_lora('BTNH,NHD->BTD', out_BTNH, self.out), stored

  def _heads(self, x_BTD, rotation_BT):
    """Rotated queries and keys, and values."""
    project = lambda weight: einsum_with_lora('BTD,DNH->BTNH', x_BTD, weight)
    q, k, v = project(self.query), project(self.key), project(self.value)
    if self.config.qkv_bias:
      q, k, v = (
        x + bias.astype(x.dtype)
        for x, bias in (
          (q, self.query_bias),
          (k, self.key_bias),
          (v, self.value_bias),
        )
      )
    if self.config.qk_norm:
      q, k = self.query_norm(q), self.key_norm(k)
    return apply_rotary(q, rotation_BT), apply_rotary(k, rotation_BT), v


class Mlp(nnx.Module):
  """activation(x gate) * (x up) down; without a gate activation(x up) down."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    D, F = config.embed_dim, config.mlp_dim
    draw = lambda shape, scale=1.0: scaled_initializer(scale)(
      rngs.params(), shape
    )
    if config.gated_mlp:
      self.gate = nnx.Param(draw((D, F)), axes=('embed', 'mlp'))
    self.up = nnx.Param(draw((D, F)), axes=('embed', 'mlp'))
    self.down = nnx.Param(
      draw((F, D), 1 / (2 * config.num_layers)), axes=('mlp', 'embed')
    )
    self.config = config

  def __call__(self, x_BTD):
    up_BTF = einsum_with_lora('BTD,DF->BTF', x_BTD, self.up)
    if self.config.gated_mlp:
      up_BTF *= apply_activation(
        self.config.mlp_activation,
        einsum_with_lora('BTD,DF->BTF', x_BTD, self.gate),
      )
    else:
      up_BTF = apply_activation(self.config.mlp_activation, up_BTF)
    return einsum_with_lora('BTF,FD->BTD', up_BTF, self.down)


def apply_activation(name: str, x):
  """The named nonlinearity of x."""
  if name == 'relu2':
    return jnp.square(jax.nn.relu(x))
  if name in ('gelu', 'gelu_tanh'):
    return jax.nn.gelu(x, approximate=name == 'gelu_tanh')
  return {'silu': jax.nn.silu, 'relu': jax.nn.relu}[name](x)


class Block(nnx.Module):
  """x + attention(norm(x)), then + mlp(norm(x)), or both at once from one norm."""

  def __init__(self, config: config_lib.TransformerConfig, *, rngs: nnx.Rngs):
    norm = lambda: Norm(config, config.embed_dim, 'embed')
    self.attention_norm = norm()
    self.attention = Attention(config, rngs=rngs)
    if not config.parallel_block:
      self.mlp_norm = norm()
    self.mlp = Mlp(config, rngs=rngs)
    if config.post_norms:
      self.post_attention_norm = norm()
      self.post_mlp_norm = norm()
    self.config = config

  def __call__(self, x_BTD, rotation_BT, store):
    post = self.config.post_norms
    normed = self.attention_norm(x_BTD)
    attended, stored = self.attention(normed, rotation_BT, store)
    attended = self.post_attention_norm(attended) if post else attended
    if not self.config.parallel_block:
      x_BTD += attended
      normed, attended = self.mlp_norm(x_BTD), 0
    mixed = self.mlp(normed)
    mixed = self.post_mlp_norm(mixed) if post else mixed
    return x_BTD + attended + mixed, stored
