"""Attention of whole sequences by JAX's splash attention, a TPU kernel that stores no scores.

The kernel iterates over blocks of queries and keys, skips blocks that the causal mask or the window
masks completely, and recomputes the scores in the backward pass.

Shapes: B sequences, T tokens, N query heads, K key/value heads, H head size.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Any, Protocol

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as splash,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)
import jax.numpy as jnp
import numpy as np

# Checkpoint name of what the backward kernels read in addition to their inputs.
RESIDUALS_NAME = 'attention_residuals'
# Most queries and keys of a block; 512 compiles for v4 to v6e with float32 heads of 256.
MAX_BLOCK_SIZE = 512
LANES = 128  # of a TPU; the block size is a multiple of it
PADDING_SEGMENT = -1  # segment id of the padding to whole blocks
# Platform -> whether Pallas interprets the kernel.
INTERPRETED = {'tpu': False, 'interpret': True}


class KernelSharding(Protocol):
  """Runs a function on each device's part of the arrays: `distributed.kernel_sharding`.

  XLA partitions everything else, but not a kernel.
  """

  @property
  def platform(self) -> str: ...

  def __call__(
    self, function: Callable, axes: Sequence[tuple[str | None, ...]]
  ) -> Callable:
    """Returns the sharded function.

    Args:
      axes: logical axes of each argument. The result has the sharding of the first.
    """
    ...

  def sum_of_parts(
    self, function: Callable, axes: Sequence[tuple[str | None, ...]]
  ) -> Callable:
    """Returns the sharded function, whose results on the devices are parts of a sum."""
    ...


def is_supported(kernel_sharding: KernelSharding | None) -> bool:
  """Whether the program's devices support the kernel: TPUs, or 'interpret' in tests."""
  if kernel_sharding is None:
    return jax.default_backend() in INTERPRETED
  return kernel_sharding.platform in INTERPRETED


def splash_attention(
  q_BTNH: jax.Array,
  k_BTKH: jax.Array,
  v_BTKH: jax.Array,
  *,
  scale: float,
  cap: float | None = None,
  segment_ids_BT: jax.Array | None = None,
  window: int | None = None,
  kernel_sharding: KernelSharding | None = None,
) -> jax.Array:
  """Returns causal softmax attention [B, T, N, H] within segments.

  Sums are float32. Exponentials enter the backward matmuls in the dtype of the queries.

  Args:
    cap: scores become cap * tanh(score / cap).
    segment_ids_BT: int32. None: each sequence is one segment.
    window: number of tokens that a token attends to, itself included.
    kernel_sharding: None: a single TPU.
  """
  num_heads, num_kv_heads = q_BTNH.shape[2], k_BTKH.shape[2]
  kv_head_of_head_N = jnp.arange(num_heads, dtype=jnp.int32) // (
    num_heads // num_kv_heads
  )
  arrays = [q_BTNH * scale, k_BTKH, v_BTKH, kv_head_of_head_N]
  # Keys have the logical axis of queries: they are sharded with their queries or not at all.
  head_axes = 'batch', None, 'heads', None
  axes = [head_axes, head_axes, head_axes, ('heads',)]
  if segment_ids_BT is not None:
    arrays.append(segment_ids_BT)
    axes.append(('batch', None))

  platform = 'tpu' if kernel_sharding is None else kernel_sharding.platform
  attend = functools.partial(
    _attend_on_device,
    INTERPRETED[platform],
    window,
    cap,
    (num_heads, num_kv_heads),
  )
  if kernel_sharding is not None:
    attend = kernel_sharding(attend, axes)
  return attend(*arrays)


def _attend_on_device(
  interpret: bool,
  window: int | None,
  cap: float | None,
  global_heads: tuple[int, int],
  q_BTNH: jax.Array,
  k_BTKH: jax.Array,
  v_BTKH: jax.Array,
  kv_head_of_head_N: jax.Array,
  segment_ids_BT: jax.Array | None = None,
) -> jax.Array:
  """Returns the attention of one device's sequences and query heads.

  Args:
    global_heads: query and key/value heads of all devices.
    kv_head_of_head_N: index of the key/value head of each query head.
  """
  length, heads = q_BTNH.shape[1:3]
  num_heads, num_kv_heads = global_heads
  if heads < num_heads and k_BTKH.shape[2] == num_kv_heads:
    # The device has some query heads, but all key/value heads.
    stride = math.gcd(heads, num_heads // num_kv_heads)
    own_kv_heads = kv_head_of_head_N[::stride]
    k_BTKH = jnp.take(k_BTKH, own_kv_heads, axis=2)
    v_BTKH = jnp.take(v_BTKH, own_kv_heads, axis=2)
  block_size, padding = block_size_and_padding(length)

  def pad(x_BT: jax.Array, value: int = 0) -> jax.Array:
    widths = [(0, 0)] * x_BT.ndim
    widths[1] = 0, padding
    return jnp.pad(x_BT, widths, constant_values=value)

  q_BNTH = jnp.swapaxes(pad(q_BTNH), 1, 2)
  k_BKTH = jnp.swapaxes(pad(k_BTKH), 1, 2)
  v_BKTH = jnp.swapaxes(pad(v_BTKH), 1, 2)
  kernel = jax.vmap(
    _make_kernel(heads, length + padding, block_size, window, cap, interpret)
  )
  if segment_ids_BT is None:
    out_BNTH = kernel(q_BNTH, k_BKTH, v_BKTH)
  else:
    padded_BT = pad(segment_ids_BT, PADDING_SEGMENT)
    segment_ids = splash.SegmentIds(padded_BT, padded_BT)
    out_BNTH = kernel(q_BNTH, k_BKTH, v_BKTH, segment_ids)
  return jnp.swapaxes(out_BNTH, 1, 2)[:, :length]


def block_size_and_padding(length: int) -> tuple[int, int]:
  """Returns the block size, and the tokens to add, for the fewest blocks within MAX_BLOCK_SIZE."""
  count = -(-length // MAX_BLOCK_SIZE)
  block_size = -(-length // (count * LANES)) * LANES
  return block_size, count * block_size - length


@functools.lru_cache(maxsize=64)
def _make_kernel(
  heads: int,
  length: int,
  block_size: int,
  window: int | None,
  cap: float | None,
  interpret: bool,
) -> Callable[..., jax.Array]:
  """Returns the kernel of a shape. Its block tables are NumPy arrays: any trace can use them."""
  shape = length, length
  if window is None:
    mask = masks.CausalMask(shape)
  else:
    mask = masks.LocalMask(shape, (window - 1, 0), 0)
  fields = splash.BlockSizes.__dataclass_fields__
  block_fields = [name for name in fields if name.startswith('block_')]
  sizes: dict[str, Any] = dict.fromkeys(block_fields, block_size)
  block_sizes = splash.BlockSizes(**sizes)

  with jax.ensure_compile_time_eval():
    kernel = splash.make_splash_mha(
      masks.MultiHeadMask([mask] * heads),
      block_sizes=block_sizes,
      head_shards=1,
      q_seq_shards=1,
      attn_logits_soft_cap=cap,
      residual_checkpoint_name=RESIDUALS_NAME,
      interpret=interpret,
    )
    return jax.tree.map(np.asarray, kernel)
