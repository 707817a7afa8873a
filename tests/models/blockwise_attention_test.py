"""Attention in blocks of queries, and its gradient, equal the softmax over all keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mathft_jax.models import (
  attention_masks,
  blockwise_attention,
  softmax_attention,
)

B, T, N, H = 2, 150, 4, 8  # three blocks, the last of 22 queries
CASES = {
  'whole': dict(kv_heads=4),
  'grouped heads, window, soft cap': dict(kv_heads=2, window=40, cap=3.0),
  'packed, one key head': dict(kv_heads=1, num_segments=4),
  'branches': dict(kv_heads=2, branch_start=100),
}


def make_arrays(
  kv_heads, window=None, num_segments=1, branch_start=T, cap=None
):
  random = np.random.default_rng(0)
  draw = functools.partial(random.normal, 0.0, 2.0)
  q_BTNH = draw((B, T, N, H)).astype(np.float32)
  k_BTKH, v_BTKH = draw((2, B, T, kv_heads, H)).astype(np.float32)
  segments_BT = np.sort(random.integers(0, num_segments, (B, T)), axis=1)
  index_BT = np.broadcast_to(np.arange(T), (B, T))
  branches_BT = np.where(index_BT < branch_start, 0, 1 + index_BT % 2)
  mask_BTT = attention_masks.new_tokens_mask(
    window, jnp.asarray(index_BT), jnp.asarray(segments_BT), branches_BT
  )
  return (q_BTNH, k_BTKH, v_BTKH), mask_BTT


@pytest.mark.parametrize('name', CASES)
def test_outputs_and_gradients_equal_those_of_the_whole_softmax(name):
  case = CASES[name]
  arrays, mask_BTT = make_arrays(**case)
  options = dict(scale=0.3, cap=case.get('cap'))
  weights_BTNH = np.random.default_rng(1).normal(size=(B, T, N, H))

  def blockwise(q_BTNH, k_BTKH, v_BTKH):
    out_BTNH = blockwise_attention.blockwise_attention(
      q_BTNH, k_BTKH, v_BTKH, mask_BTT, **options
    )
    return jnp.sum(out_BTNH * weights_BTNH), out_BTNH

  def whole(q_BTNH, k_BTKH, v_BTKH):
    keys = softmax_attention.KeySet(
      jnp.swapaxes(k_BTKH, 1, 2), jnp.swapaxes(v_BTKH, 1, 2), mask_BTT
    )
    out_BTNH = softmax_attention.attend(q_BTNH, keys, **options)
    return jnp.sum(out_BTNH * weights_BTNH), out_BTNH

  found, wanted = [
    jax.jit(jax.value_and_grad(each, (0, 1, 2), has_aux=True))(*arrays)
    for each in (blockwise, whole)
  ]
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4),
    found,
    wanted,
  )


def test_bfloat16_gradients_have_the_dtype_of_their_arrays():
  arrays, mask_BTT = make_arrays(kv_heads=2)
  arrays = [jnp.asarray(x, jnp.bfloat16) for x in arrays]

  def loss(q_BTNH, k_BTKH, v_BTKH):
    out_BTNH = blockwise_attention.blockwise_attention(
      q_BTNH, k_BTKH, v_BTKH, mask_BTT, scale=0.3
    )
    assert out_BTNH.dtype == jnp.bfloat16
    return jnp.sum(out_BTNH.astype(jnp.float32))

  grads = jax.jit(jax.grad(loss, (0, 1, 2)))(*arrays)
  assert {grad.dtype for grad in grads} == {jnp.dtype(jnp.bfloat16)}
  assert all(np.isfinite(grad).all() for grad in grads)
