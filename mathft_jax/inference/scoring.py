"""Scoring: log-odds of S_cls or the log-probability of given candidates, with a KV cache.

  inputs = make_score_inputs(prefixes, tails, num_prefixes=..., ...)
  log_odds_PC = score_candidates(config, params, inputs)

A prefix is the problem, a tail is what follows it for one candidate. Each prefix is prefilled once;
its tails share that part of the cache. Log-probabilities come from
`models.token_log_probs.ChunkedLogProbs`, as in training.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from mathft_jax.data.label_word_branches import LabelWords
from mathft_jax.distributed import partitioning
from mathft_jax.models import kv_cache, token_log_probs, transformer

Array = TypeVar('Array')  # np.ndarray, jax.Array or jax.ShapeDtypeStruct


class ScoreInputs(NamedTuple, Generic[Array]):
  """A batch of P prefixes with C sequences each; B = P * C, those of a prefix are neighbours.

  Attributes:
    prefix_PS, prefix_lengths_P: token ids of the prefixes, padded on the right.
    tokens_BT, lengths_B: token ids of the sequences, without the label words.
    targets_BT: the token that follows each, for log-probabilities.
    weights_BT: float32, 1 where the target counts.
  """

  prefix_PS: Array
  prefix_lengths_P: Array
  tokens_BT: Array
  lengths_B: Array
  targets_BT: Array
  weights_BT: Array


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """Static configuration of a compiled scorer; hashable.

  Attributes:
    label_words: of the evaluator, for log-odds; None for log-probabilities.
    mesh: prefixes are sharded over its `data` axis.
  """

  model: transformer.TransformerConfig
  label_words: LabelWords | None
  mesh: Mesh
  rules: partitioning.AxisRules = partitioning.DEFAULT_AXIS_RULES


def make_score_inputs(
  prefixes: Sequence[Sequence[int]],
  tails: Sequence[Sequence[Sequence[int]]],
  *,
  num_prefixes: int,
  num_candidates: int,
  prefix_length: int,
  length: int,
) -> ScoreInputs[np.ndarray]:
  """Pads prefixes and their tails (token ids) to the given sizes.

  The last token of a prefix becomes the first token of its sequences, because its hidden state
  predicts the first token of a tail. This does not change S_cls.
  """
  batch_size = num_prefixes * num_candidates
  inputs = ScoreInputs(
    prefix_PS=np.zeros((num_prefixes, prefix_length), np.int32),
    prefix_lengths_P=np.zeros(num_prefixes, np.int32),
    tokens_BT=np.zeros((batch_size, length), np.int32),
    lengths_B=np.zeros(batch_size, np.int32),
    targets_BT=np.zeros((batch_size, length), np.int32),
    weights_BT=np.zeros((batch_size, length), np.float32),
  )

  for p, (prefix, prefix_tails) in enumerate(zip(prefixes, tails, strict=True)):
    inputs.prefix_PS[p, : len(prefix) - 1] = prefix[:-1]
    inputs.prefix_lengths_P[p] = len(prefix) - 1
    for b, tail in enumerate(prefix_tails, start=p * num_candidates):
      inputs.tokens_BT[b, : len(tail) + 1] = [prefix[-1], *tail]
      inputs.lengths_B[b] = len(tail) + 1
      inputs.targets_BT[b, : len(tail)] = tail
      inputs.weights_BT[b, : len(tail)] = 1

  return inputs


def score_candidates(
  config: ScoreConfig,
  params: transformer.Params,
  inputs: ScoreInputs[np.ndarray],
) -> np.ndarray:
  """Scores [P, C], natural logs: with label words log-odds of S_cls, else log p(tail | prefix).

  S_cls is the sigmoid of the log-odds. In float32 it is exactly 1 from log-odds of 17 on.
  All processes of the mesh call it with the same arguments and get all scores.
  """
  sharding = partitioning.batch_sharding(config.mesh)
  arrays = [partitioning.shard_array(array, sharding) for array in inputs]
  scores_B = _scores(config, params, ScoreInputs(*arrays))
  num_prefixes = len(inputs.prefix_PS)
  return partitioning.gather_to_host(scores_B).reshape(num_prefixes, -1)


@functools.partial(jax.jit, static_argnums=0)
def _scores(
  config: ScoreConfig, params, inputs: ScoreInputs[jax.Array]
) -> jax.Array:
  num_prefixes, prefix_slots = inputs.prefix_PS.shape
  num_candidates = inputs.tokens_BT.shape[0] // num_prefixes
  positions_PS = jnp.broadcast_to(
    jnp.arange(prefix_slots), inputs.prefix_PS.shape
  )
  valid_PS = positions_PS < inputs.prefix_lengths_P[:, None]
  _, cache = transformer.hidden_states(
    config.model,
    params,
    inputs.prefix_PS,
    positions_BT=positions_PS,
    segment_ids_BT=valid_PS.astype(jnp.int32),
    cache=kv_cache.allocate_cache(
      config.model, batch_size=num_prefixes, max_length=prefix_slots
    ),
    kernel_sharding=partitioning.KernelSharding(config.mesh, config.rules),
  )
  assert cache is not None
  cache = kv_cache.share_prefix(
    cache, config.model, copies=num_candidates, max_length=0
  )
  starts_B = jnp.repeat(inputs.prefix_lengths_P, num_candidates)
  if config.label_words is not None:
    return _log_odds(config, params, inputs, starts_B, cache)

  hidden_BTD = _hidden_states(
    config, params, inputs.tokens_BT, inputs.lengths_B, starts_B, cache
  )
  log_probs = _chunked_log_probs(config, params, hidden_BTD)
  log_probs_BT = log_probs.target_log_probs(inputs.targets_BT)
  return jnp.sum(log_probs_BT * inputs.weights_BT, axis=-1)


def _log_odds(
  config: ScoreConfig, params, inputs: ScoreInputs[jax.Array], starts_B, cache
) -> jax.Array:
  """log p(correct) - log p(incorrect) after the last token of each sequence, the logit of S_cls.

  All tokens of a label word but its last one are appended to the sequence, on one branch of the
  attention mask per word.
  """
  words = config.label_words
  assert words is not None
  batch_size, length = inputs.tokens_BT.shape
  appended_BX = jnp.broadcast_to(
    words.branch_tokens, (batch_size, len(words.branch_tokens))
  )
  hidden_BTD = _hidden_states(
    config,
    params,
    jnp.concatenate([inputs.tokens_BT, appended_BX], axis=1),
    inputs.lengths_B,
    starts_B,
    cache,
    words.branch_ids,
    words.branch_positions,
  )

  last_B11 = (inputs.lengths_B - 1)[:, None, None]
  after_WM = words.word_positions_WM  # -1: the last token of the sequence
  positions_BWM = jnp.where(after_WM < 0, last_B11, length + after_WM)
  log_probs = _chunked_log_probs(config, params, hidden_BTD)
  log_probs_BW = log_probs.word_log_probs(
    positions_BWM, jnp.asarray(words.ids_WM), jnp.asarray(words.mask_WM)
  )
  return log_probs_BW[:, 0] - log_probs_BW[:, 1]


def _chunked_log_probs(
  config: ScoreConfig, params, hidden_BTD
) -> token_log_probs.ChunkedLogProbs:
  return token_log_probs.ChunkedLogProbs(
    config.model, params, hidden_BTD, num_devices=config.mesh.size
  )


def _hidden_states(
  config: ScoreConfig,
  params,
  tokens_BT,
  lengths_B,
  starts_B,
  cache: kv_cache.KVCache,
  branch_ids: np.ndarray | None = None,
  branch_positions: np.ndarray | None = None,
) -> jax.Array:
  """Hidden states [B, T, D] of sequences that follow their prefix.

  Args:
    starts_B: the position of the first token.
    branch_ids: the mask branch of each token at the end of all sequences, from 1; None: no such
      tokens.
    branch_positions: the positions of these tokens after the end of their sequence, from 0.
  """
  batch_size, length = tokens_BT.shape
  num_appended = 0 if branch_ids is None else len(branch_ids)
  offsets_BT = jnp.broadcast_to(
    jnp.arange(length - num_appended), (batch_size, length - num_appended)
  )
  valid_BT = offsets_BT < lengths_B[:, None]
  branch_ids_BT = None
  if branch_ids is not None and num_appended:
    appended_BX = lengths_B[:, None] + branch_positions
    offsets_BT = jnp.concatenate([offsets_BT, appended_BX], axis=1)
    valid_BT = jnp.pad(
      valid_BT, ((0, 0), (0, num_appended)), constant_values=True
    )
    branch_ids_T = np.pad(branch_ids, (length - num_appended, 0))
    branch_ids_BT = jnp.broadcast_to(branch_ids_T, (batch_size, length))

  hidden_BTD, _ = transformer.hidden_states(
    config.model,
    params,
    tokens_BT,
    positions_BT=starts_B[:, None] + offsets_BT,
    segment_ids_BT=valid_BT.astype(jnp.int32),
    branch_ids_BT=branch_ids_BT,
    cache=cache,
  )
  return hidden_BTD
