"""Candidates of many problems at once: each prompt is read once, its candidates share that cache.

Candidate c of problem p is drawn with keys made from (seed, problem id, sample index) and the
number of the token alone: the text is the same whatever rows stand beside it, up to the rounding of
floating-point sums.
"""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import transformer


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
  """What a compiled decoder depends on besides the shapes; hashable.

  Attributes:
    method: of `sampling`.
    num_candidates: candidates decoded per row of prompts, C.
    max_decode_length: tokens of a candidate, EOS included.
    eos_id: ends a candidate.
    vocab_size: ids below this may be drawn; the embeddings of a model may be padded beyond.
    mesh: rows of prompts are spread over its `data` axis.
    initial_slots: tokens a candidate has room for at first; doubled whenever they are full.
  """

  model: transformer.TransformerConfig
  method: Any
  num_candidates: int
  max_decode_length: int
  eos_id: int
  vocab_size: int
  mesh: Mesh | None = None
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES
  initial_slots: int = 128


class Samples(NamedTuple):
  """Drawn candidates, on the host."""

  tokens_PCU: (
    np.ndarray
  )  # int32, zeros after the end; EOS included where finished
  lengths_PC: np.ndarray  # tokens, EOS included
  log_probs_PC: (
    np.ndarray
  )  # log p(X|P) of these tokens at temperature 1, float32, natural log
  finished_PC: np.ndarray  # whether EOS came within max_length


class DecodeState(NamedTuple):
  """What a decoding step changes; B = P * C rows, candidates of a problem are neighbours."""

  cache: cache_lib.KVCache
  tokens_BU: jax.Array
  log_probs_B: jax.Array
  lengths_B: jax.Array
  finished_B: jax.Array
  step: jax.Array  # tokens drawn so far for unfinished rows


def candidate_prng_keys(
  seed: int, problem_ids: Sequence[str], samples_PC: np.ndarray
) -> jax.Array:
  """Keys [P, C] of sample number samples_PC[p, c] of the problem with each id."""
  digests = [
    hashlib.blake2b(name.encode('utf-8'), digest_size=8).digest()
    for name in problem_ids
  ]
  words_P2 = np.array([np.frombuffer(digest, '<u4') for digest in digests])
  return _keys(
    np.uint32(seed % 2**32), words_P2, np.asarray(samples_PC, np.uint32)
  )


@jax.jit
def _keys(seed, words_P2, samples_PC):
  base = jax.random.key(seed, impl='threefry2x32')
  fold = jax.random.fold_in
  of_sample = lambda word, sample: fold(
    fold(fold(base, word[0]), word[1]), sample
  )
  return jax.vmap(jax.vmap(of_sample, (None, 0)))(words_P2, samples_PC)


def decode(
  plan: DecodeConfig,
  params: Any,
  prompts_PS: np.ndarray,
  lengths_P: np.ndarray,
  keys_PC: jax.Array,
) -> Samples:
  """C candidates of each prompt, until all have ended or are `max_length` tokens long.

  Args:
    params: of `plan.model`, on `plan.mesh` when there is one.
    prompts_PS: token ids, padded on the right.
    lengths_P: tokens of each prompt, at least 1.
    keys_PC: of `candidate_keys`.

  All processes of the mesh call this with the same arguments, and get all candidates.
  """
  prompts_PS, lengths_P, keys_PC = _place(
    plan, (prompts_PS, lengths_P, keys_PC)
  )
  state = _prefill(plan, params, prompts_PS, lengths_P, keys_PC)
  while True:
    state, ended = _decode(plan, params, state, lengths_P, keys_PC)
    if bool(ended):
      return _samples(plan, state)
    state = _with_more_slots(plan, state)


def _place(plan: DecodeConfig, arrays):
  """The arrays on the mesh, rows over `data`."""
  if plan.mesh is None:
    return arrays
  return jax.tree.map(
    lambda array: partitioning.shard_array(
      array, partitioning.batch_sharding(plan.mesh)
    ),
    arrays,
  )


@functools.partial(jax.jit, static_argnums=0)
def _prefill(
  plan: DecodeConfig, params, prompts_PS, lengths_P, keys_PC
) -> DecodeState:
  """The state after the prompts are read and every candidate's first token is drawn."""
  rows, slots = prompts_PS.shape
  stacked = not isinstance(params['layers'], tuple)
  positions_PS = jnp.broadcast_to(jnp.arange(slots), (rows, slots))
  valid_PS = (positions_PS < lengths_P[:, None]).astype(jnp.int32)
  hidden_PSD, cache = transformer.hidden_states(
    plan.model,
    params,
    prompts_PS,
    positions_BT=positions_PS,
    segment_ids_BT=valid_PS,
    cache=cache_lib.allocate_cache(
      plan.model, batch_size=rows, max_length=slots, stacked=stacked
    ),
    kernel_sharding=None
    if plan.mesh is None
    else partitioning.KernelSharding(plan.mesh, plan.rules),
  )
  last_PD = jnp.take_along_axis(
    hidden_PSD, lengths_P[:, None, None] - 1, axis=1
  )[:, 0]
  logits_PV = transformer.logits(plan.model, params, last_PD)
  room = min(plan.initial_slots, plan.max_decode_length)
  cache = cache_lib.share_prefix(
    cache, plan.model, copies=plan.num_candidates, max_length=room
  )
  batch = rows * plan.num_candidates
  state = DecodeState(
    cache,
    jnp.zeros((batch, room), jnp.int32),
    jnp.zeros(batch),
    jnp.zeros(batch, jnp.int32),
    jnp.zeros(batch, bool),
    jnp.int32(0),
  )
  logits_BV = jnp.repeat(logits_PV, plan.num_candidates, axis=0)
  return _constrain(
    plan, _append(plan, state, logits_BV, keys_PC.reshape(batch))
  )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _decode(plan: DecodeConfig, params, state: DecodeState, lengths_P, keys_PC):
  """(state, whether all candidates have ended), after as many tokens as there is room for."""
  keys_B = keys_PC.reshape(-1)
  starts_B = jnp.repeat(lengths_P, plan.num_candidates)
  room = state.tokens_BU.shape[1]

  def step(state: DecodeState) -> DecodeState:
    last_B1 = jax.lax.dynamic_slice_in_dim(
      state.tokens_BU, state.step - 1, 1, axis=1
    )
    positions_B1 = (starts_B + state.step - 1)[:, None]
    hidden_B1D, cache = transformer.hidden_states(
      plan.model, params, last_B1, positions_BT=positions_B1, cache=state.cache
    )
    logits_BV = transformer.logits(plan.model, params, hidden_B1D[:, 0])
    return _append(plan, state._replace(cache=cache), logits_BV, keys_B)

  unfinished = lambda state: (state.step < room) & ~jnp.all(state.finished_B)
  state = jax.lax.while_loop(unfinished, step, _constrain(plan, state))
  return state, jnp.all(state.finished_B) | (
    state.step >= plan.max_decode_length
  )


def _append(
  plan: DecodeConfig, state: DecodeState, logits_BV, keys_B
) -> DecodeState:
  """The state with one more token of each unfinished row, and its log-probability."""
  keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, state.step)
  tokens_B = plan.method(logits_BV[:, : plan.vocab_size], keys_B)
  chosen_B = jnp.take_along_axis(logits_BV, tokens_B[:, None], axis=1)[:, 0]
  log_probs_B = chosen_B - jax.nn.logsumexp(logits_BV, axis=-1)
  tokens_B = jnp.where(state.finished_B, 0, tokens_B)
  return DecodeState(
    state.cache,
    jax.lax.dynamic_update_slice(
      state.tokens_BU, tokens_B[:, None], (0, state.step)
    ),
    state.log_probs_B + jnp.where(state.finished_B, 0, log_probs_B),
    state.lengths_B + ~state.finished_B,
    state.finished_B | (tokens_B == plan.eos_id),
    state.step + 1,
  )


@functools.partial(jax.jit, static_argnums=0)
def _with_more_slots(plan: DecodeConfig, state: DecodeState) -> DecodeState:
  """The state with room for twice as many tokens, `max_length` at most.

  Attention reads all slots of a cache in each step: a cache that grows is read half as much.
  """
  more = min(
    state.tokens_BU.shape[1], plan.max_decode_length - state.tokens_BU.shape[1]
  )
  suffix = state.cache.suffix.grow(more)
  return state._replace(
    cache=dataclasses.replace(state.cache, suffix=suffix),
    tokens_BU=jnp.pad(state.tokens_BU, ((0, 0), (0, more))),
  )


def decode_state_shardings(
  plan: DecodeConfig, state: DecodeState
) -> DecodeState:
  """The sharding of each array of a state: rows over `data`, key/value heads as the rules say."""

  def sharding(axes, array):
    spec = partitioning.logical_to_partition_spec(
      axes, array.shape, mesh=plan.mesh, rules=plan.rules
    )
    return jax.sharding.NamedSharding(plan.mesh, spec)

  rows = lambda array: sharding(('batch',) + (None,) * (array.ndim - 1), array)
  heads = lambda array: sharding(
    (None, 'batch', 'kv_heads', None, None)[-array.ndim :], array
  )
  slots = lambda part: cache_lib.KeyValues(
    *jax.tree.map(heads, (part.key, part.value)), rows(part.position_BS)
  )
  whole = partitioning.replicated_sharding(plan.mesh)
  cache = cache_lib.KVCache(
    slots(state.cache.suffix), slots(state.cache.prefix), whole
  )
  return DecodeState(cache, *map(rows, state[1:5]), whole)


def _constrain(plan: DecodeConfig, state: DecodeState) -> DecodeState:
  """The state laid out as `layout` says."""
  if plan.mesh is None:
    return state
  return jax.lax.with_sharding_constraint(
    state, decode_state_shardings(plan, state)
  )


def _samples(plan: DecodeConfig, state: DecodeState) -> Samples:
  """The candidates of a last state, on the host."""
  host = partitioning.gather_to_host(state[1:5])
  tokens, log_probs, lengths, finished = (
    array.reshape(-1, plan.num_candidates, *array.shape[1:]) for array in host
  )
  return Samples(tokens, lengths, log_probs, finished)
