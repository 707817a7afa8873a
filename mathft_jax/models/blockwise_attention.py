"""Causal attention of whole sequences in blocks of queries, for XLA:CPU.

A block of queries is multiplied with no key after the block, which saves nearly half of the work.
The backward pass recomputes the scores from the logarithm of the normalizers, as flash attention
does (arXiv 2205.14135): no [T, T] probabilities are stored. Heads precede positions in all arrays,
so that XLA:CPU does not copy the operands of its matmuls.

Shapes: B sequences, T tokens, N query heads, K key/value heads, G = N / K query heads per key/value
head, H head size, Q queries of a block, S keys of a block.
"""

from collections.abc import Iterator
import functools
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from mathft_jax.models import splash_attention

MASKED_SCORE = -1e30  # finite: exp(score - maximum) is 0, not NaN
MIN_BLOCK_SIZE = 64
MAX_NUM_BLOCKS = 8  # more blocks save little work and take longer to compile


class _Saved(NamedTuple):
  """What the backward pass reads."""

  q_BKGTH: jax.Array
  k_BKTH: jax.Array
  v_BKTH: jax.Array
  mask_BTT: jax.Array
  out_BKGTH: jax.Array
  log_normalizer_BKGT1: jax.Array


def is_used(
  attention_kernel: str, sharding: splash_attention.KernelSharding | None
) -> bool:
  """Returns whether whole sequences use this module: 'blockwise', or 'auto' on CPU."""
  if attention_kernel != 'auto':
    return attention_kernel == 'blockwise'
  if sharding is None:
    return jax.default_backend() == 'cpu'
  return sharding.platform == 'cpu'


def blockwise_attention(
  q_BTNH: jax.Array,
  k_BTKH: jax.Array,
  v_BTKH: jax.Array,
  mask_BTT: jax.Array,
  *,
  scale: float,
  cap: float | None = None,
) -> jax.Array:
  """Returns softmax(cap(q k scale)) v, [B, T, N, H]; scores and sums are float32.

  Args:
    mask_BTT: [B or 1, T, T], which keys each query attends to: at least one, and none after it.
    cap: scores become cap * tanh(score / cap).
  """
  batch, length, heads, head_size = q_BTNH.shape
  kv_heads = k_BTKH.shape[2]
  q_BTKGH = (q_BTNH * scale).reshape(batch, length, kv_heads, -1, head_size)

  # custom_vjp hides the type of the result.
  out_BKGTH = cast(
    jax.Array,
    _attend(
      cap,
      q_BTKGH.transpose(0, 2, 3, 1, 4),
      k_BTKH.swapaxes(1, 2),
      v_BTKH.swapaxes(1, 2),
      mask_BTT,
    ),
  )
  out_BTKGH = out_BKGTH.transpose(0, 3, 1, 2, 4)
  return out_BTKGH.reshape(batch, length, heads, head_size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
  cap: float | None,
  q_BKGTH: jax.Array,
  k_BKTH: jax.Array,
  v_BKTH: jax.Array,
  mask_BTT: jax.Array,
) -> jax.Array:
  """Returns the attention [B, K, G, T, H] of scaled queries."""
  out_BKGTH, _ = _attend_forward(cap, q_BKGTH, k_BKTH, v_BKTH, mask_BTT)
  return out_BKGTH


def _attend_forward(
  cap: float | None,
  q_BKGTH: jax.Array,
  k_BKTH: jax.Array,
  v_BKTH: jax.Array,
  mask_BTT: jax.Array,
) -> tuple[jax.Array, _Saved]:
  outputs, log_normalizers = [], []
  for start, end in _blocks(q_BKGTH.shape[3]):
    scores_BKGQS = _scores(cap, q_BKGTH, k_BKTH, mask_BTT, start, end)
    maximum = jnp.max(scores_BKGQS, axis=-1, keepdims=True)
    exps_BKGQS = jnp.exp(scores_BKGQS - maximum)
    total = jnp.sum(exps_BKGQS, axis=-1, keepdims=True)

    weighted_BKGQH = jnp.einsum(
      'BKGQS,BKSH->BKGQH',
      exps_BKGQS.astype(v_BKTH.dtype),
      v_BKTH[:, :, :end],
      preferred_element_type=jnp.float32,
    )
    outputs.append((weighted_BKGQH / total).astype(q_BKGTH.dtype))
    log_normalizers.append(maximum + jnp.log(total))

  out_BKGTH = jnp.concatenate(outputs, axis=3)
  log_normalizer_BKGT1 = jnp.concatenate(log_normalizers, axis=3)
  return out_BKGTH, _Saved(
    q_BKGTH, k_BKTH, v_BKTH, mask_BTT, out_BKGTH, log_normalizer_BKGT1
  )


def _attend_backward(
  cap: float | None, saved: _Saved, gradient_BKGTH: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
  q_BKGTH, k_BKTH, v_BKTH, mask_BTT, out_BKGTH, log_normalizer_BKGT1 = saved
  dot_BKGT1 = jnp.sum(
    gradient_BKGTH * out_BKGTH, axis=-1, keepdims=True, dtype=jnp.float32
  )
  q_gradients = []
  k_gradient = jnp.zeros(k_BKTH.shape, jnp.float32)
  v_gradient = jnp.zeros(v_BKTH.shape, jnp.float32)

  for start, end in _blocks(q_BKGTH.shape[3]):
    queries = slice(start, end)
    q_BKGQH = q_BKGTH[:, :, :, queries]
    out_gradient_BKGQH = gradient_BKGTH[:, :, :, queries]

    scores_BKGQS = _scores(cap, q_BKGTH, k_BKTH, mask_BTT, start, end)
    weights_BKGQS = jnp.exp(
      scores_BKGQS - log_normalizer_BKGT1[:, :, :, queries]
    )
    v_gradient = v_gradient.at[:, :, :end].add(
      _multiply('BKGQS,BKGQH->BKSH', weights_BKGQS, out_gradient_BKGQH)
    )

    weight_gradients_BKGQS = _multiply(
      'BKGQH,BKSH->BKGQS', out_gradient_BKGQH, v_BKTH[:, :, :end]
    )
    weight_gradients_BKGQS -= dot_BKGT1[:, :, :, queries]
    score_gradients_BKGQS = weights_BKGQS * weight_gradients_BKGQS
    if cap is not None:
      capped_BKGQS = jnp.maximum(scores_BKGQS, -cap)  # masked scores are finite
      score_gradients_BKGQS *= 1 - jnp.square(capped_BKGQS / cap)
    q_gradients.append(
      _multiply('BKGQS,BKSH->BKGQH', score_gradients_BKGQS, k_BKTH[:, :, :end])
    )
    k_gradient = k_gradient.at[:, :, :end].add(
      _multiply('BKGQS,BKGQH->BKSH', score_gradients_BKGQS, q_BKGQH)
    )

  q_gradient = jnp.concatenate(q_gradients, axis=3).astype(q_BKGTH.dtype)
  return (
    q_gradient,
    k_gradient.astype(k_BKTH.dtype),
    v_gradient.astype(v_BKTH.dtype),
    None,
  )


_attend.defvjp(_attend_forward, _attend_backward)


def _scores(
  cap: float | None,
  q_BKGTH: jax.Array,
  k_BKTH: jax.Array,
  mask_BTT: jax.Array,
  start: int,
  end: int,
) -> jax.Array:
  """Returns the masked scores [B, K, G, Q, S] of queries from `start` and keys up to `end`."""
  scores_BKGQS = _multiply(
    'BKGQH,BKSH->BKGQS', q_BKGTH[:, :, :, start:end], k_BKTH[:, :, :end]
  )
  if cap is not None:
    scores_BKGQS = cap * jnp.tanh(scores_BKGQS / cap)
  mask_BQS = mask_BTT[:, start:end, :end]
  return jnp.where(mask_BQS[:, None, None], scores_BKGQS, MASKED_SCORE)


def _multiply(spec: str, left: jax.Array, right: jax.Array) -> jax.Array:
  """Returns the einsum of arrays in the narrower of their dtypes, accumulated in float32."""
  dtype = min(left.dtype, right.dtype, key=lambda dtype: dtype.itemsize)
  return jnp.einsum(
    spec,
    left.astype(dtype),
    right.astype(dtype),
    preferred_element_type=jnp.float32,
  )


def _blocks(length: int) -> Iterator[tuple[int, int]]:
  """Yields the first query of each block and the one after its last."""
  size = max(MIN_BLOCK_SIZE, -(-length // MAX_NUM_BLOCKS))
  for start in range(0, length, size):
    yield start, min(start + size, length)
