"""Decoding: samples C candidates of each of P prompts with a KV cache.

  samples = decode(config, params, prompts_PS, lengths_P, keys_PC)

Each prompt is prefilled once; its candidates share that part of the cache. The keys of a candidate
are functions of (seed, problem id, sample index, token index), so its text does not depend on the
other sequences of the batch, except by the rounding of floating-point sums.
"""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.inference.sampling import SamplingMethod
from mathft_jax.models import kv_cache, transformer


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
  """Static configuration of a compiled decoder; hashable.

  Attributes:
    method: chooses the next tokens.
    num_candidates: candidates of each prompt, C.
    max_decode_length: tokens of a candidate at most, EOS included.
    end_ids: tokens that end a candidate.
    vocab_size: only ids below it are sampled; the embeddings of a model may have padding rows.
    mesh: prompts are sharded over its `data` axis.
    initial_slots: cache slots for the tokens of a candidate at first; doubled when they are full.
  """

  model: transformer.TransformerConfig
  method: SamplingMethod
  num_candidates: int
  max_decode_length: int
  end_ids: tuple[int, ...]
  vocab_size: int
  mesh: Mesh
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES
  initial_slots: int = 128


class Samples(NamedTuple):
  """Candidates in host memory; U is the room for tokens."""

  tokens_PCU: (
    np.ndarray
  )  # int32; the end token included if finished, then zeros
  lengths_PC: np.ndarray  # number of tokens, the end token included
  log_probs_PC: np.ndarray  # float32: log p(X|P) at temperature 1, natural log
  finished_PC: (
    np.ndarray
  )  # whether an end token was sampled within max_decode_length


class DecodeState(NamedTuple):
  """The carry of decode steps; B = P * C sequences, candidates of a problem are neighbours."""

  cache: kv_cache.KVCache
  tokens_BU: jax.Array
  log_probs_B: jax.Array
  lengths_B: jax.Array
  finished_B: jax.Array
  step: jax.Array  # tokens sampled so far for each unfinished sequence


def candidate_prng_keys(
  seed: int, problem_ids: Sequence[str], samples_PC: np.ndarray
) -> jax.Array:
  """PRNG keys [P, C]; samples_PC[p, c] is the sample index of candidate c of problem p."""
  words = []
  for problem_id in problem_ids:
    digest = hashlib.blake2b(problem_id.encode('utf-8'), digest_size=8).digest()
    words.append(np.frombuffer(digest, '<u4'))
  return _fold_keys(
    np.uint32(seed % 2**32), np.array(words), np.asarray(samples_PC, np.uint32)
  )


@jax.jit
def _fold_keys(seed, words_P2, samples_PC) -> jax.Array:
  seed_key = jax.random.key(seed, impl='threefry2x32')

  def fold(words_2, sample):
    key = jax.random.fold_in(seed_key, words_2[0])
    key = jax.random.fold_in(key, words_2[1])
    return jax.random.fold_in(key, sample)

  fold_candidates = jax.vmap(fold, (None, 0))
  return jax.vmap(fold_candidates)(words_P2, samples_PC)


def decode(
  config: DecodeConfig,
  params: transformer.Params,
  prompts_PS: np.ndarray,
  lengths_P: np.ndarray,
  keys_PC: jax.Array,
) -> Samples:
  """Samples candidates until all have ended or have `max_decode_length` tokens.

  All processes of the mesh call it with the same arguments and get all candidates.

  Args:
    params: of `config.model`, on `config.mesh`.
    prompts_PS: token ids, padded on the right.
    lengths_P: tokens of each prompt, at least 1.
    keys_PC: from `candidate_prng_keys`.
  """
  sharding = partitioning.batch_sharding(config.mesh)
  prompts = partitioning.shard_array(prompts_PS, sharding)
  lengths = partitioning.shard_array(lengths_P, sharding)
  keys = partitioning.shard_array(keys_PC, sharding)
  state = _prefill(config, params, prompts, lengths, keys)

  while True:
    state, ended = _decode(config, params, state, lengths, keys)
    if bool(ended):
      return _to_samples(config, state)
    state = _grow_slots(config, state)


def decode_in_trace(
  config: DecodeConfig,
  params: transformer.Params,
  prompts_PS: jax.Array,
  lengths_P: jax.Array,
  keys_PC: jax.Array,
) -> DecodeState:
  """Returns the final state of `decode`; it can be traced inside another `jax.jit`.

  The cache has `max_decode_length` slots from the start, because a traced program cannot stop to
  grow it.
  """
  config = dataclasses.replace(config, initial_slots=config.max_decode_length)
  state = _prefill(config, params, prompts_PS, lengths_P, keys_PC)
  return _decode(config, params, state, lengths_P, keys_PC)[0]


@functools.partial(jax.jit, static_argnums=0)
def _prefill(
  config: DecodeConfig, params, prompts_PS, lengths_P, keys_PC
) -> DecodeState:
  """Prefills the prompts and samples the first token of every candidate."""
  num_prompts, prompt_slots = prompts_PS.shape
  positions_PS = jnp.broadcast_to(jnp.arange(prompt_slots), prompts_PS.shape)
  valid_PS = (positions_PS < lengths_P[:, None]).astype(jnp.int32)
  hidden_PSD, cache = transformer.hidden_states(
    config.model,
    params,
    prompts_PS,
    positions_BT=positions_PS,
    segment_ids_BT=valid_PS,
    cache=kv_cache.allocate_cache(
      config.model,
      batch_size=num_prompts,
      max_length=prompt_slots,
      stacked=not isinstance(params['layers'], tuple),
    ),
    kernel_sharding=partitioning.KernelSharding(config.mesh, config.rules),
  )

  assert cache is not None

  last_P11 = lengths_P[:, None, None] - 1
  last_hidden_PD = jnp.take_along_axis(hidden_PSD, last_P11, axis=1)[:, 0]
  logits_PV = transformer.logits(config.model, params, last_hidden_PD)
  logits_BV = jnp.repeat(logits_PV, config.num_candidates, axis=0)

  slots = min(config.initial_slots, config.max_decode_length)
  batch_size = num_prompts * config.num_candidates
  state = DecodeState(
    cache=kv_cache.share_prefix(
      cache, config.model, copies=config.num_candidates, max_length=slots
    ),
    tokens_BU=jnp.zeros((batch_size, slots), jnp.int32),
    log_probs_B=jnp.zeros(batch_size),
    lengths_B=jnp.zeros(batch_size, jnp.int32),
    finished_B=jnp.zeros(batch_size, bool),
    step=jnp.int32(0),
  )
  keys_B = keys_PC.reshape(batch_size)
  return _constrain(config, _append_token(config, state, logits_BV, keys_B))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _decode(
  config: DecodeConfig, params, state: DecodeState, lengths_P, keys_PC
) -> tuple[DecodeState, jax.Array]:
  """Decodes until the slots are full. Returns the state and whether all candidates have ended."""
  keys_B = keys_PC.reshape(-1)
  prompt_lengths_B = jnp.repeat(lengths_P, config.num_candidates)
  slots = state.tokens_BU.shape[1]

  def decode_step(state: DecodeState) -> DecodeState:
    last_B1 = jax.lax.dynamic_slice_in_dim(
      state.tokens_BU, state.step - 1, 1, axis=1
    )
    positions_B1 = (prompt_lengths_B + state.step - 1)[:, None]
    hidden_B1D, cache = transformer.hidden_states(
      config.model,
      params,
      last_B1,
      positions_BT=positions_B1,
      cache=state.cache,
    )
    logits_BV = transformer.logits(config.model, params, hidden_B1D[:, 0])
    state = state._replace(cache=cache)
    return _append_token(config, state, logits_BV, keys_B)

  def is_unfinished(state: DecodeState) -> jax.Array:
    return (state.step < slots) & ~jnp.all(state.finished_B)

  state = _constrain(config, state)
  state = jax.lax.while_loop(is_unfinished, decode_step, state)
  at_limit = state.step >= config.max_decode_length
  return state, jnp.all(state.finished_B) | at_limit


def _append_token(
  config: DecodeConfig, state: DecodeState, logits_BV, keys_B
) -> DecodeState:
  """Samples one more token of each unfinished sequence and adds its log-probability."""
  keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, state.step)
  tokens_B = config.method(logits_BV[:, : config.vocab_size], keys_B)
  chosen_B = jnp.take_along_axis(logits_BV, tokens_B[:, None], axis=1)[:, 0]
  log_probs_B = chosen_B - jax.nn.logsumexp(logits_BV, axis=-1)

  ended_B = jnp.isin(tokens_B, jnp.array(config.end_ids))
  tokens_B = jnp.where(state.finished_B, 0, tokens_B)
  log_probs_B = jnp.where(state.finished_B, 0, log_probs_B)
  return DecodeState(
    cache=state.cache,
    tokens_BU=jax.lax.dynamic_update_slice(
      state.tokens_BU, tokens_B[:, None], (0, state.step)
    ),
    log_probs_B=state.log_probs_B + log_probs_B,
    lengths_B=state.lengths_B + ~state.finished_B,
    finished_B=state.finished_B | ended_B,
    step=state.step + 1,
  )


@functools.partial(jax.jit, static_argnums=0)
def _grow_slots(config: DecodeConfig, state: DecodeState) -> DecodeState:
  """Doubles the room for tokens, up to `max_decode_length`.

  Attention reads all slots of a cache in each step. A cache that grows halves this traffic.
  """
  slots = state.tokens_BU.shape[1]
  more = min(slots, config.max_decode_length - slots)
  assert state.cache.suffix is not None
  suffix = state.cache.suffix.grow(more)
  return state._replace(
    cache=dataclasses.replace(state.cache, suffix=suffix),
    tokens_BU=jnp.pad(state.tokens_BU, ((0, 0), (0, more))),
  )


def decode_state_shardings(
  config: DecodeConfig, state: DecodeState
) -> DecodeState:
  """The sharding of each array: sequences over `data`, key/value heads by the axis rules."""

  def shard(array: jax.Array) -> NamedSharding:
    if array.ndim < 4:
      axes = ('batch', None, None)[: array.ndim]
    else:  # keys and values, with or without a first axis for layers
      axes = (None, 'batch', 'kv_heads', None, None)[-array.ndim :]
    spec = partitioning.logical_to_partition_spec(
      axes, array.shape, mesh=config.mesh, rules=config.rules
    )
    return NamedSharding(config.mesh, spec)

  return jax.tree.map(shard, state)


def _constrain(config: DecodeConfig, state: DecodeState) -> DecodeState:
  shardings = decode_state_shardings(config, state)
  return jax.lax.with_sharding_constraint(state, shardings)


def _to_samples(config: DecodeConfig, state: DecodeState) -> Samples:
  """Copies the candidates of a final state to the host."""
  host_arrays = []
  for array in partitioning.gather_to_host(state[1:5]):
    shape = (-1, config.num_candidates, *array.shape[1:])
    host_arrays.append(array.reshape(shape))
  tokens, log_probs, lengths, finished = host_arrays
  return Samples(tokens, lengths, log_probs, finished)
