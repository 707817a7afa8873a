"""What a model says of given candidates: the problem is read once, the candidates share its cache.

A row is what stands after the problem, for one candidate. `Verdicts` reads S_cls at its end,
`Likelihoods` the log-probability of all its tokens; both through the `Readout` that training uses.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from mathft_jax.distributed import partitioning
from mathft_jax.models import kv_cache as cache_lib
from mathft_jax.models import token_log_probs, transformer


class ScoreInputs(NamedTuple):
  """A batch: P prefixes, each with C rows, candidates of a problem being neighbours (B = P * C).

  Attributes:
    prefix_PS, prefix_lengths_P: token ids, padded on the right.
    tokens_BT, lengths_B: token ids of the rows, the tails of label words left out.
    targets_BT, weights_BT: for likelihoods: the token that follows each, and 1 where it counts.
  """

  prefix_PS: np.ndarray
  prefix_lengths_P: np.ndarray
  tokens_BT: np.ndarray
  lengths_B: np.ndarray
  targets_BT: np.ndarray
  weights_BT: np.ndarray


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """What a compiled scorer depends on besides the shapes; hashable.

  Attributes:
    label_words: token ids of the two label words, the correct one first; None: likelihoods.
  """

  model: transformer.TransformerConfig
  label_words: tuple[tuple[int, ...], ...] | None = None
  mesh: Mesh | None = None
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES


def make_score_inputs(
  prefixes: Sequence[Sequence[int]],
  tails: Sequence[Sequence[Sequence[int]]],
  *,
  num_prefixes: int,
  num_candidates: int,
  prefix_length: int,
  length: int,
) -> ScoreInputs:
  """The batch of these prefixes and the token ids after them, padded to the given sizes.

  For likelihoods the first token after the prefix counts as well: the prefix's last token is moved
  to the front of its rows, which changes nothing for verdicts.
  """
  rows = ScoreInputs(
    np.zeros((num_prefixes, prefix_length), np.int32),
    np.zeros(num_prefixes, np.int32),
    *(
      np.zeros((num_prefixes * num_candidates, length), np.int32)
      for _ in range(1)
    ),
    np.zeros(num_prefixes * num_candidates, np.int32),
    np.zeros((num_prefixes * num_candidates, length), np.int32),
    np.zeros((num_prefixes * num_candidates, length), np.float32),
  )
  for p, (prefix, row_tails) in enumerate(zip(prefixes, tails, strict=True)):
    rows.prefix_PS[p, : len(prefix) - 1] = prefix[:-1]
    rows.prefix_lengths_P[p] = len(prefix) - 1
    for c, tail in enumerate(row_tails):
      b = p * num_candidates + c
      tokens = [prefix[-1], *tail]
      rows.tokens_BT[b, : len(tokens)] = tokens
      rows.lengths_B[b] = len(tokens)
      rows.targets_BT[b, : len(tail)] = tail
      rows.weights_BT[b, : len(tail)] = 1
  return rows


def score_candidates(
  plan: ScoreConfig, params: Any, rows: ScoreInputs
) -> np.ndarray:
  """[P, C]: S_cls in [0, 1] with words, else log p(row|prefix), natural log.

  All processes of the mesh call this with the same arguments, and get all scores.
  """
  if plan.mesh is None:
    arrays = map(jnp.asarray, rows)
  else:
    arrays = (
      partitioning.shard_array(array, partitioning.batch_sharding(plan.mesh))
      for array in rows
    )
  scores_B = partitioning.gather_to_host(
    _scores(plan, params, ScoreInputs(*arrays))
  )
  return scores_B.reshape(len(rows.prefix_PS), -1)


@functools.partial(jax.jit, static_argnums=0)
def _scores(plan: ScoreConfig, params, rows: ScoreInputs):
  prefixes, slots = rows.prefix_PS.shape
  copies = rows.tokens_BT.shape[0] // prefixes
  positions_PS = jnp.broadcast_to(jnp.arange(slots), (prefixes, slots))
  _, cache = transformer.hidden_states(
    plan.model,
    params,
    rows.prefix_PS,
    positions_BT=positions_PS,
    segment_ids_BT=(positions_PS < rows.prefix_lengths_P[:, None]).astype(
      jnp.int32
    ),
    cache=cache_lib.allocate_cache(
      plan.model, batch_size=prefixes, max_length=slots
    ),
    kernel_sharding=None
    if plan.mesh is None
    else partitioning.KernelSharding(plan.mesh, plan.rules),
  )
  cache = cache_lib.share_prefix(cache, plan.model, copies=copies, max_length=0)
  starts_B = jnp.repeat(rows.prefix_lengths_P, copies)
  if plan.label_words is None:
    hidden_BTD = _hidden(
      plan, params, rows.tokens_BT, rows.lengths_B, starts_B, cache
    )
    readout = _readout(plan, params, hidden_BTD)
    return jnp.sum(
      readout.target_log_probs(rows.targets_BT) * rows.weights_BT, axis=-1
    )
  return _verdicts(plan, params, rows, starts_B, cache)


def _verdicts(plan: ScoreConfig, params, rows: ScoreInputs, starts_B, cache):
  """S_cls = p(correct) / (p(correct) + p(incorrect)) at the end of each row.

  All but the last token of a label word are input: they follow the row on a branch of their own.
  """
  longest = max(map(len, plan.label_words))
  words_WM = np.array(
    [[*word, *[0] * (longest - len(word))] for word in plan.label_words],
    np.int32,
  )
  mask_WM = np.array(
    [[m < len(word) for m in range(longest)] for word in plan.label_words]
  )
  tail_tokens = [
    (w, m, token)
    for w, word in enumerate(plan.label_words)
    for m, token in enumerate(word[:-1])
  ]
  tail_index = {(w, m): i for i, (w, m, _) in enumerate(tail_tokens)}
  length = rows.tokens_BT.shape[1]
  extra = np.array([token for *_, token in tail_tokens], np.int32)
  batch = rows.tokens_BT.shape[0]
  tokens_BT = jnp.concatenate(
    [rows.tokens_BT, jnp.broadcast_to(extra, (batch, len(extra)))], axis=1
  )
  hidden_BTD = _hidden(
    plan,
    params,
    tokens_BT,
    rows.lengths_B,
    starts_B,
    cache,
    branches=[w + 1 for w, *_ in tail_tokens],
    steps=[m for _, m, _ in tail_tokens],
  )
  after = [
    [
      length + tail_index[w, m - 1] if m and m < len(word) else -1
      for m in range(longest)
    ]
    for w, word in enumerate(plan.label_words)
  ]
  last_B11 = (rows.lengths_B - 1)[:, None, None]
  positions_BWM = jnp.where(np.array(after) < 0, last_B11, np.array(after))
  log_probs_BW = _readout(plan, params, hidden_BTD).word_log_probs(
    positions_BWM, words_WM, mask_WM
  )
  return jax.nn.softmax(log_probs_BW)[:, 0]


def _readout(
  plan: ScoreConfig, params, hidden_BTD
) -> token_log_probs.ChunkedLogProbs:
  devices = 1 if plan.mesh is None else plan.mesh.size
  return token_log_probs.ChunkedLogProbs(
    plan.model, params, hidden_BTD, num_devices=devices
  )


def _hidden(
  plan: ScoreConfig,
  params,
  tokens_BT,
  lengths_B,
  starts_B,
  cache,
  branches=(),
  steps=(),
):
  """Hidden states of rows after their prefix; the last `len(branches)` tokens lie on branches."""
  batch, length = tokens_BT.shape
  trunk = length - len(branches)
  places_BT = jnp.broadcast_to(jnp.arange(trunk), (batch, trunk))
  valid_BT = places_BT < lengths_B[:, None]
  tail_BT = lengths_B[:, None] + jnp.array(steps, jnp.int32)
  positions_BT = starts_B[:, None] + jnp.concatenate(
    [places_BT, tail_BT], axis=1
  )
  segments_BT = jnp.concatenate(
    [valid_BT, jnp.ones(tail_BT.shape, bool)], axis=1
  )
  branch_ids_BT = (
    jnp.broadcast_to(
      jnp.array([0] * trunk + list(branches), jnp.int32), (batch, length)
    )
    if branches
    else None
  )
  hidden_BTD, _ = transformer.hidden_states(
    plan.model,
    params,
    tokens_BT,
    positions_BT=positions_BT,
    segment_ids_BT=segments_BT.astype(jnp.int32),
    branch_ids_BT=branch_ids_BT,
    cache=cache,
  )
  return hidden_BTD
