"""Statistics of next-token distributions and their gradients, for chunks of rows.

A row is a token. The rows of one device are a chunk axis of their own (Z), so that each device adds
up its part of the head's gradient over all chunks, and the parts are reduced over devices once.

Shapes: Z devices along the batch, R rows of a device, D embedding size, V rows of the vocabulary.
"""

import dataclasses
import functools
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

MASKED_LOGIT = -1e30  # of vocabulary rows that are padding


class Sharding(Protocol):
  """Sharding constraints on a mesh: `activation_sharding.ActivationSharding`."""

  @property
  def num_batch_shards(self) -> int: ...

  @property
  def num_devices(self) -> int: ...

  def __call__(
    self, x: jax.Array, axes: tuple[str | None, ...]
  ) -> jax.Array: ...


class RowStatistics(NamedTuple):
  """Statistics [Z, R] of the distributions: float32, natural logarithm."""

  log_prob_ZR: jax.Array  # of the target token
  log_normalizer_ZR: jax.Array  # logsumexp of the logits
  mean_log_prob_ZR: jax.Array  # over the vocabulary


@dataclasses.dataclass(frozen=True)
class Readout:
  """What is fixed when the statistics are compiled.

  Attributes:
    vocab_size: further rows of the head are padding.
    divisor: of the logits, before the cap.
    softcap: logits are softcap * tanh(logits / softcap); None: no cap.
    is_transposed: the head is an embedding [V, D], not a matrix [D, V].
    rows_per_chunk: rows of each device whose logits are in memory at a time.
    gradient_dtype: of the head's gradient when it is reduced over devices.
    sharding: None: one device.
  """

  vocab_size: int
  divisor: float
  softcap: float | None
  is_transposed: bool
  rows_per_chunk: int
  gradient_dtype: str = 'float32'
  sharding: Sharding | None = None

  @property
  def head_spec(self) -> str:
    return 'VD' if self.is_transposed else 'DV'

  def constrain(self, x: jax.Array, *axes: str | None) -> jax.Array:
    """Constrains the sharding of an array by its logical axes."""
    return x if self.sharding is None else self.sharding(x, axes)

  def constrain_head(self, head: jax.Array, *leading: str | None) -> jax.Array:
    """Gathers the head over the devices of the batch; the vocabulary stays sharded."""
    axes = ('vocab', None) if self.is_transposed else (None, 'vocab')
    return self.constrain(head, *leading, *axes)


class _Saved(NamedTuple):
  """What the backward pass reads; the logits only if there is one chunk."""

  hidden_ZRD: jax.Array
  head: jax.Array
  tokens_ZR: jax.Array
  log_normalizer_ZR: jax.Array
  logits_ZRV: jax.Array | None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def row_statistics(
  readout: Readout,
  hidden_ZRD: jax.Array,
  head: jax.Array,
  tokens_ZR: jax.Array,
) -> RowStatistics:
  """Returns the statistics of the tokens that follow each row.

  Args:
    readout: sizes and shardings.
    hidden_ZRD: final hidden states.
    head: [D, V] or, with `is_transposed`, [V, D].
    tokens_ZR: the tokens.
  """
  statistics, _ = _forward(readout, hidden_ZRD, head, tokens_ZR)
  return statistics


def _forward(
  readout: Readout,
  hidden_ZRD: jax.Array,
  head: jax.Array,
  tokens_ZR: jax.Array,
) -> tuple[RowStatistics, _Saved]:
  narrow_head = readout.constrain_head(head.astype(hidden_ZRD.dtype))
  logits_ZRV = None
  if hidden_ZRD.shape[1] <= readout.rows_per_chunk:
    logits_ZRV = _logits(readout, hidden_ZRD, narrow_head)
    statistics = _statistics(readout, logits_ZRV, tokens_ZR)
  else:

    def apply_chunk(carry: None, chunk: tuple[jax.Array, jax.Array]):
      hidden_ZRD, tokens_ZR = chunk
      logits_ZRV = _logits(readout, hidden_ZRD, narrow_head)
      return carry, _statistics(readout, logits_ZRV, tokens_ZR)

    chunks = _split(readout, hidden_ZRD), _split(readout, tokens_ZR)
    _, statistics_CZR = jax.lax.scan(apply_chunk, None, chunks)
    num_rows = hidden_ZRD.shape[1]
    statistics = jax.tree.map(lambda x: _join(x, num_rows), statistics_CZR)

  normalizer_ZR = statistics.log_normalizer_ZR
  saved = _Saved(hidden_ZRD, head, tokens_ZR, normalizer_ZR, logits_ZRV)
  return statistics, saved


def _backward(
  readout: Readout, saved: _Saved, gradients: RowStatistics
) -> tuple[jax.Array, jax.Array, None]:
  hidden_ZRD, head, tokens_ZR, normalizer_ZR, logits_ZRV = saved
  narrow_head = readout.constrain_head(head.astype(hidden_ZRD.dtype))

  if logits_ZRV is not None:
    hidden_gradient, head_gradient = _gradients_of_rows(
      readout,
      narrow_head,
      hidden_ZRD,
      logits_ZRV,
      tokens_ZR,
      normalizer_ZR,
      gradients,
    )
  else:

    def apply_chunk(head_gradient: jax.Array, chunk):
      hidden_ZRD, tokens_ZR, normalizer_ZR, gradients = chunk
      logits_ZRV = _logits(readout, hidden_ZRD, narrow_head)
      hidden_gradient, added = _gradients_of_rows(
        readout,
        narrow_head,
        hidden_ZRD,
        logits_ZRV,
        tokens_ZR,
        normalizer_ZR,
        gradients,
      )
      return head_gradient + added, hidden_gradient

    shape = len(hidden_ZRD), *head.shape
    zeros = readout.constrain_head(jnp.zeros(shape, jnp.float32), 'batch')
    rows = hidden_ZRD, tokens_ZR, normalizer_ZR, gradients
    chunks = jax.tree.map(lambda x: _split(readout, x), rows)
    head_gradient, hidden_gradients_CZRD = jax.lax.scan(
      apply_chunk, zeros, chunks
    )
    hidden_gradient = _join(hidden_gradients_CZRD, hidden_ZRD.shape[1])

  parts = head_gradient.astype(readout.gradient_dtype)
  head_gradient = jnp.sum(parts, axis=0)  # over devices
  return hidden_gradient, head_gradient.astype(head.dtype), None


row_statistics.defvjp(_forward, _backward)


def _logits(
  readout: Readout, hidden_ZRD: jax.Array, head: jax.Array
) -> jax.Array:
  """Returns float32 logits [Z, R, V]."""
  logits_ZRV = jnp.einsum(
    f'ZRD,{readout.head_spec}->ZRV',
    hidden_ZRD,
    head,
    preferred_element_type=jnp.float32,
  )
  if readout.divisor != 1.0:
    logits_ZRV /= readout.divisor
  cap = readout.softcap
  if cap is not None:
    logits_ZRV = cap * jnp.tanh(logits_ZRV / cap)
  return _replace_padding(readout, logits_ZRV, MASKED_LOGIT)


def _statistics(
  readout: Readout, logits_ZRV: jax.Array, tokens_ZR: jax.Array
) -> RowStatistics:
  log_normalizer_ZR = jax.nn.logsumexp(logits_ZRV, axis=-1)
  target_ZR1 = jnp.take_along_axis(logits_ZRV, tokens_ZR[..., None], axis=-1)
  total_ZR = jnp.sum(_replace_padding(readout, logits_ZRV, 0.0), axis=-1)
  return RowStatistics(
    target_ZR1[..., 0] - log_normalizer_ZR,
    log_normalizer_ZR,
    total_ZR / readout.vocab_size - log_normalizer_ZR,
  )


def _gradients_of_rows(
  readout: Readout,
  head: jax.Array,
  hidden_ZRD: jax.Array,
  logits_ZRV: jax.Array,
  tokens_ZR: jax.Array,
  normalizer_ZR: jax.Array,
  gradients: RowStatistics,
) -> tuple[jax.Array, jax.Array]:
  """Returns the gradients of hidden states [Z, R, D], and of the head on each device.

  d log_prob / d logits = onehot - p; d log_normalizer / d logits = p; d mean / d logits = 1/V - p.
  """
  of_target, of_normalizer, of_mean = gradients
  of_probs_ZR = of_normalizer - of_target - of_mean
  probs_ZRV = jnp.exp(logits_ZRV - normalizer_ZR[..., None])
  rows_V = jnp.arange(logits_ZRV.shape[-1])
  is_target_ZRV = tokens_ZR[..., None] == rows_V

  gradient_ZRV = probs_ZRV * of_probs_ZR[..., None]
  gradient_ZRV += of_mean[..., None] / readout.vocab_size
  gradient_ZRV += jnp.where(is_target_ZRV, of_target[..., None], 0.0)
  if readout.softcap is not None:
    gradient_ZRV *= 1 - jnp.square(logits_ZRV / readout.softcap)
  if readout.divisor != 1.0:
    gradient_ZRV /= readout.divisor
  gradient_ZRV = _replace_padding(readout, gradient_ZRV, 0.0)
  gradient_ZRV = gradient_ZRV.astype(hidden_ZRD.dtype)

  spec = readout.head_spec
  hidden_gradient_ZRD = jnp.einsum(f'ZRV,{spec}->ZRD', gradient_ZRV, head)
  operands = gradient_ZRV, hidden_ZRD
  head_gradient = jnp.einsum(
    f'ZRV,ZRD->Z{spec}', *operands, preferred_element_type=jnp.float32
  )
  return hidden_gradient_ZRD, readout.constrain_head(head_gradient, 'batch')


def _replace_padding(
  readout: Readout, x_ZRV: jax.Array, value: float
) -> jax.Array:
  """Replaces the values of vocabulary rows that are padding."""
  num_rows = x_ZRV.shape[-1]
  if num_rows == readout.vocab_size:
    return x_ZRV
  return jnp.where(jnp.arange(num_rows) < readout.vocab_size, x_ZRV, value)


def _split(readout: Readout, x_ZR: jax.Array) -> jax.Array:
  """[Z, R, ...] -> [chunks, Z, rows of a chunk, ...], padded with zeros."""
  num_shards, num_rows, *rest = x_ZR.shape
  num_chunks = -(-num_rows // readout.rows_per_chunk)
  size = -(-num_rows // num_chunks)
  widths = [(0, 0)] * x_ZR.ndim
  widths[1] = 0, num_chunks * size - num_rows
  padded = jnp.pad(x_ZR, widths)
  chunks = padded.reshape(num_shards, num_chunks, size, *rest)
  chunks = jnp.moveaxis(chunks, 1, 0)
  return readout.constrain(chunks, None, 'batch', *[None] * (x_ZR.ndim - 1))


def _join(chunks: jax.Array, num_rows: int) -> jax.Array:
  """[chunks, Z, rows of a chunk, ...] -> [Z, R, ...], without the padding."""
  num_chunks, num_shards, size, *rest = chunks.shape
  x_ZR = jnp.moveaxis(chunks, 0, 1)
  x_ZR = x_ZR.reshape(num_shards, num_chunks * size, *rest)
  return x_ZR[:, :num_rows]
