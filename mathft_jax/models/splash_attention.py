"""Attention of whole rows through a TPU kernel that holds no scores: jax's splash attention.

The kernel goes over blocks of queries and keys, leaves out those that the causal mask or the window
hides, and computes the scores again in the backward pass.
"""

from collections.abc import Callable, Sequence
import functools
import math
from typing import Protocol

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as splash,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)
import jax.numpy as jnp
import numpy as np

RESIDUALS_NAME = (
  'attention_residuals'  # what the backward kernels read besides their inputs
)
# Most queries and most keys of a block; 512 compiles for v4 to v6e with float32 heads of 256.
MAX_BLOCK_SIZE = 512
LANES = 128  # of a TPU: a block is a multiple of them
_NO_SEGMENT = -1  # of the rows' filling up to whole blocks
_INTERPRETED = {
  'tpu': False,
  'interpret': True,
}  # platform: whether Pallas interprets the kernel
_BLOCKS = [
  part
  for part in splash.BlockSizes.__dataclass_fields__
  if part.startswith('block_')
]


class KernelSharding(Protocol):
  """How a function runs on many devices at once: `partitioning.KernelSharding`.

  XLA splits everything else by itself, but not a kernel.
  """

  platform: str

  def __call__(
    self, function: Callable, axes: Sequence[tuple[str | None, ...]]
  ) -> Callable:
    """`function`, each device with its part of the arguments; the result lies like the first."""


def is_supported(kernel_sharding: KernelSharding | None) -> bool:
  """Whether the program's devices have the kernel: TPUs, or 'interpret' in tests."""
  return (
    jax.default_backend()
    if kernel_sharding is None
    else kernel_sharding.platform
  ) in _INTERPRETED


def splash_attention(
  q_BTNH,
  k_BTKH,
  v_BTKH,
  *,
  scale: float,
  cap: float | None = None,
  segment_ids_BT=None,
  window: int | None = None,
  kernel_sharding: KernelSharding | None = None,
):
  """Softmax attention [B, T, N, H]: a token sees itself and the earlier ones of its segment.

  Sums are float32; exponentials enter the backward matmuls in the dtype of the queries.

  Args:
    cap: scores become cap * tanh(score / cap).
    segment_ids_BT: int32; None: a row is one segment.
    window: tokens that one sees, itself included, counted in the row.
  """
  heads, kv_heads = q_BTNH.shape[2], k_BTKH.shape[2]
  heads_N = jnp.arange(heads, dtype=jnp.int32) // (heads // kv_heads)
  arrays = [q_BTNH * scale, k_BTKH, v_BTKH, heads_N]
  cut = (
    'batch',
    None,
    'heads',
    None,
  )  # keys too: with their queries, or not at all
  axes = [cut, cut, cut, ('heads',)]
  if segment_ids_BT is not None:
    arrays.append(segment_ids_BT)
    axes.append(('batch', None))
  platform = 'tpu' if kernel_sharding is None else kernel_sharding.platform
  part = functools.partial(
    _attend_part, _INTERPRETED[platform], window, cap, (heads, kv_heads)
  )
  return (part if kernel_sharding is None else kernel_sharding(part, axes))(
    *arrays
  )


def _attend_part(
  interpret: bool,
  window: int | None,
  cap: float | None,
  whole: tuple[int, int],
  q_BTNH,
  k_BTKH,
  v_BTKH,
  heads_N,
  segment_ids_BT=None,
):
  """The attention of one device's rows and query heads; `heads_N` says which keys those read."""
  length, heads = q_BTNH.shape[1:3]
  if (
    heads < whole[0] and k_BTKH.shape[2] == whole[1]
  ):  # keys of all heads, queries of some
    mine = heads_N[:: math.gcd(heads, whole[0] // whole[1])]
    k_BTKH, v_BTKH = (jnp.take(x, mine, axis=2) for x in (k_BTKH, v_BTKH))
  block, filling = block_size_and_padding(length)
  fill = lambda x, value=0: jnp.pad(
    x, ((0, 0), (0, filling), *((0, 0),) * (x.ndim - 2)), constant_values=value
  )
  rows = [jnp.swapaxes(fill(x), 1, 2) for x in (q_BTNH, k_BTKH, v_BTKH)]
  if segment_ids_BT is not None:
    rows.append(splash.SegmentIds(*[fill(segment_ids_BT, _NO_SEGMENT)] * 2))
  kernel = _kernel(heads, length + filling, block, window, cap, interpret)
  out_BNTH = jax.vmap(kernel)(*rows)
  return jnp.swapaxes(out_BNTH, 1, 2)[:, :length]


def block_size_and_padding(length: int) -> tuple[int, int]:
  """(size of a block, tokens to add to a row): the fewest blocks, of at most `BLOCK` tokens."""
  count = -(-length // MAX_BLOCK_SIZE)
  block = -(-length // (count * LANES)) * LANES
  return block, count * block - length


@functools.lru_cache(maxsize=64)
def _kernel(
  heads: int,
  length: int,
  block: int,
  window: int | None,
  cap: float | None,
  interpret: bool,
):
  """The kernel of a shape; its tables of blocks are host arrays, so that any trace may use it."""
  shape = length, length
  mask = (
    masks.CausalMask(shape)
    if window is None
    else masks.LocalMask(shape, (window - 1, 0), 0)
  )
  sizes = splash.BlockSizes(**dict.fromkeys(_BLOCKS, block))
  with jax.ensure_compile_time_eval():
    kernel = splash.make_splash_mha(
      masks.MultiHeadMask([mask] * heads),
      block_sizes=sizes,
      head_shards=1,
      q_seq_shards=1,
      attn_logits_soft_cap=cap,
      residual_checkpoint_name=RESIDUALS_NAME,
      interpret=interpret,
    )
    return jax.tree.map(np.asarray, kernel)
