"""A block of decode steps for all rows, as one jitted loop.

  caches, rows, tokens_BJ = run_block(config, params, caches, rows, seed)

No operation mixes rows. The rows (`Rows`) are on the host between blocks.
"""

import functools
import hashlib
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.distributed.kernel_sharding import KernelSharding
from mathft_jax.inference import decode_caches
from mathft_jax.inference.decode_caches import Caches
from mathft_jax.inference.decode_config import DecodeConfig
from mathft_jax.models import kv_cache, transformer

ArrayT = TypeVar('ArrayT')  # np.ndarray, jax.Array or jax.ShapeDtypeStruct


class Rows(NamedTuple, Generic[ArrayT]):
  """What each row decodes; arrays [B], on the host between blocks."""

  problem_words_B2: ArrayT  # uint32, from the problem id
  samples_B: ArrayT  # uint32
  places_B: ArrayT  # of the prompt in the group
  prompt_lengths_B: ArrayT
  lengths_B: ArrayT  # tokens sampled so far
  last_tokens_B: ArrayT
  log_probs_B: ArrayT  # float32
  active_B: ArrayT  # whether the row has a candidate that has not ended


def idle_rows(config: DecodeConfig) -> Rows[np.ndarray]:
  """Rows without a candidate."""

  def zeros(dtype: type) -> np.ndarray:
    return np.zeros(config.num_rows, dtype)

  return Rows(
    problem_words_B2=np.zeros((config.num_rows, 2), np.uint32),
    samples_B=zeros(np.uint32),
    places_B=zeros(np.int32),
    prompt_lengths_B=np.ones(config.num_rows, np.int32),
    lengths_B=zeros(np.int32),
    last_tokens_B=zeros(np.int32),
    log_probs_B=zeros(np.float32),
    active_B=zeros(np.bool_),
  )


@functools.lru_cache(maxsize=4096)
def problem_words(problem_id: str) -> np.ndarray:
  """Two random words [2] of a problem."""
  digest = hashlib.blake2b(problem_id.encode('utf-8'), digest_size=8).digest()
  return np.frombuffer(digest, '<u4')


def candidate_keys(
  seed: jax.Array | int, problem_words_B2: jax.Array, samples_B: jax.Array
) -> jax.Array:
  """PRNG keys [B] of candidates."""
  seed_key = jax.random.key(seed, impl='threefry2x32')

  def fold(words_2: jax.Array, sample: jax.Array) -> jax.Array:
    key = jax.random.fold_in(seed_key, words_2[0])
    key = jax.random.fold_in(key, words_2[1])
    return jax.random.fold_in(key, sample)

  return jax.vmap(fold)(problem_words_B2, samples_B)


def run_block(
  config: DecodeConfig,
  params: transformer.Params,
  caches: Caches,
  rows: Rows[np.ndarray],
  seed: int,
) -> tuple[Caches, Rows[np.ndarray], np.ndarray]:
  """Runs a block. Rows and tokens [B, block size] are on the host."""
  sharding = partitioning.batch_sharding(config.mesh)
  arrays = [partitioning.shard_array(array, sharding) for array in rows]
  caches, new_rows, tokens_BJ = decode_block(
    config, params, caches, Rows(*arrays), np.uint32(seed % 2**32)
  )
  new_rows, tokens_BJ = partitioning.gather_to_host((new_rows, tokens_BJ))
  return caches, Rows(*map(np.array, new_rows)), tokens_BJ


class _BlockState(NamedTuple):
  """The carry of the steps of a block."""

  block: kv_cache.KeyValues
  rows: Rows[jax.Array]
  tokens_BJ: jax.Array
  step: jax.Array


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def decode_block(
  config: DecodeConfig,
  params: transformer.Params,
  caches: Caches,
  rows: Rows[jax.Array],
  seed: jax.Array,
) -> tuple[Caches, Rows[jax.Array], jax.Array]:
  """Returns `decode_steps`; the keys are those of the seed, problems and samples."""
  keys_B = candidate_keys(seed, rows.problem_words_B2, rows.samples_B)
  return decode_steps(config, params, caches, rows, keys_B)


def decode_steps(
  config: DecodeConfig,
  params: transformer.Params,
  caches: Caches,
  rows: Rows[jax.Array],
  keys_B: jax.Array,
) -> tuple[Caches, Rows[jax.Array], jax.Array]:
  """Decodes `block_size` tokens of each active row, and appends their keys to the chunks.

  Returns the caches, the rows and the tokens [B, block size], zeros after the end of a candidate.
  """
  prefixes = decode_caches.prompt_prefixes(caches, rows.places_B)
  prefixes += decode_caches.chunk_prefixes(
    caches, rows.prompt_lengths_B, rows.lengths_B, rows.active_B
  )

  def decode_step(state: _BlockState) -> _BlockState:
    rows = state.rows
    # The first input token, with length 0, is the last one of the prompt.
    positions_B = rows.prompt_lengths_B - 1 + rows.lengths_B
    hidden_B1D, cache = transformer.hidden_states(
      config.model,
      params,
      rows.last_tokens_B[:, None],
      positions_BT=positions_B[:, None],
      cache=kv_cache.KVCache(state.block, prefixes, state.step),
      kernel_sharding=KernelSharding(config.mesh, config.rules),
    )
    assert cache is not None and cache.suffix is not None
    logits_BV = transformer.logits(config.model, params, hidden_B1D[:, 0])
    token_keys_B = jax.vmap(jax.random.fold_in)(keys_B, rows.lengths_B)
    rows, tokens_B = _sample_tokens(config, rows, logits_BV, token_keys_B)
    tokens_BJ = jax.lax.dynamic_update_slice(
      state.tokens_BJ, tokens_B[:, None], (0, state.step)
    )
    return _BlockState(cache.suffix, rows, tokens_BJ, state.step + 1)

  def is_unfinished(state: _BlockState) -> jax.Array:
    return (state.step < config.block_size) & jnp.any(state.rows.active_B)

  block = kv_cache.allocate_key_values(
    config.model, config.num_rows, config.block_size, config.stacked
  )
  block = decode_caches.constrain(config, block)
  tokens_BJ = jnp.zeros((config.num_rows, config.block_size), jnp.int32)
  state = _BlockState(block, rows, tokens_BJ, jnp.int32(0))
  state = jax.lax.while_loop(is_unfinished, decode_step, state)

  caches = decode_caches.append_block(
    config, caches, state.block, rows.lengths_B
  )
  caches = decode_caches.constrain(config, caches)
  return caches, state.rows, state.tokens_BJ


def _sample_tokens(
  config: DecodeConfig,
  rows: Rows[jax.Array],
  logits_BV: jax.Array,
  keys_B: jax.Array,
) -> tuple[Rows[jax.Array], jax.Array]:
  """Samples one more token of each active row and adds its log-probability."""
  tokens_B = config.method(logits_BV[:, : config.vocab_size], keys_B)
  chosen_B = jnp.take_along_axis(logits_BV, tokens_B[:, None], axis=1)[:, 0]
  log_probs_B = chosen_B - jax.nn.logsumexp(logits_BV, axis=-1)

  tokens_B = jnp.where(rows.active_B, tokens_B, 0)
  lengths_B = rows.lengths_B + rows.active_B
  has_ended_B = jnp.isin(tokens_B, jnp.array(config.end_ids))
  has_ended_B |= lengths_B >= config.max_decode_length
  rows = rows._replace(
    lengths_B=lengths_B,
    last_tokens_B=tokens_B,
    log_probs_B=rows.log_probs_B + jnp.where(rows.active_B, log_probs_B, 0),
    active_B=rows.active_B & ~has_ended_B,
  )
  return rows, tokens_B
