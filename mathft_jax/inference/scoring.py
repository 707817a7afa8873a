"""Scoring: log-odds of S_cls or the log-probability of given candidates, with a KV cache.

  scores = score_texts(config, params, problems, padded=PaddedShape(512, 128))

A prefix is the problem, a tail is what follows it for one candidate. A prefix is prefilled once for
several rows of tails (`score_packing`), which share that part of the cache. Log-probabilities come
from `models.token_log_probs.ChunkedLogProbs`, as in training.
"""

from collections.abc import Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from mathft_jax.data.label_word_branches import LabelWords
from mathft_jax.distributed import partitioning
from mathft_jax.distributed.activation_sharding import ActivationSharding
from mathft_jax.inference import score_packing
from mathft_jax.inference.score_packing import ScoreInputs
from mathft_jax.models import kv_cache, token_log_probs, transformer


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


def score_texts(
  config: ScoreConfig,
  params: transformer.Params,
  problems: Sequence[score_packing.Problem],
  *,
  padded: score_packing.PaddedShape,
) -> list[np.ndarray]:
  """Returns the scores of each problem's texts, natural logs.

  With label words log-odds of S_cls, else log p(tail | prefix). S_cls is the sigmoid of the
  log-odds. In float32 it is exactly 1 from log-odds of 17 on. All processes of the mesh call it
  with the same arguments and get all scores.

  Args:
    problems: token ids.
    padded: sizes to which the problems are padded; a row has at least the tokens of each text
      (`score_packing.num_tokens`).
  """
  words = config.label_words
  scores = [np.zeros(len(each.tails), np.float32) for each in problems]
  num_shards = config.mesh.shape['data']
  for shape, units in score_packing.iter_calls(
    problems, words, padded, num_shards
  ):
    inputs = score_packing.make_score_inputs(
      problems,
      units,
      words,
      num_units=shape.num_units(num_shards),
      rows_per_unit=shape.rows_per_unit,
      prefix_length=padded.prefix_length,
      length=shape.length,
    )
    scores_BK = score_rows(config, params, inputs)
    for p, unit in enumerate(units):
      for b, texts in enumerate(unit.rows, start=p * shape.rows_per_unit):
        scores[unit.problem][list(texts)] = scores_BK[b, : len(texts)]
  return scores


def score_rows(
  config: ScoreConfig,
  params: transformer.Params,
  inputs: ScoreInputs[np.ndarray],
) -> np.ndarray:
  """Returns the scores [B, K] of the texts of each row; see `score_texts`."""
  sharding = partitioning.batch_sharding(config.mesh)
  arrays = [partitioning.shard_array(array, sharding) for array in inputs]
  scores_BK = _scores(config, params, ScoreInputs(*arrays))
  return partitioning.gather_to_host(scores_BK)


@functools.partial(jax.jit, static_argnums=0)
def _scores(
  config: ScoreConfig, params, inputs: ScoreInputs[jax.Array]
) -> jax.Array:
  num_prefixes, prefix_slots = inputs.prefix_PS.shape
  rows_per_prefix = inputs.tokens_BT.shape[0] // num_prefixes
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
    cache, config.model, copies=rows_per_prefix, max_length=0
  )
  words = config.label_words
  has_branches = words is not None and len(words.branch_tokens) > 0
  hidden_BTD, _ = transformer.hidden_states(
    config.model,
    params,
    inputs.tokens_BT,
    positions_BT=inputs.positions_BT,
    segment_ids_BT=inputs.segment_ids_BT,
    branch_ids_BT=inputs.branch_ids_BT if has_branches else None,
    cache=cache,
  )
  log_probs = token_log_probs.ChunkedLogProbs(
    config.model,
    params,
    hidden_BTD,
    sharding=ActivationSharding(config.mesh, config.rules),
  )
  if words is not None:
    return _log_odds(words, log_probs, inputs)
  return _total_log_probs(log_probs, inputs)


def _total_log_probs(
  log_probs: token_log_probs.ChunkedLogProbs, inputs: ScoreInputs[jax.Array]
) -> jax.Array:
  """Returns log p(tail | prefix) [B, K] of the texts of each row."""
  log_probs_BT = log_probs.target_log_probs(inputs.targets_BT)
  texts_K = 1 + jnp.arange(inputs.word_positions_BKWM.shape[1])
  of_text_BTK = inputs.segment_ids_BT[..., None] == texts_K
  weighted_BT1 = (log_probs_BT * inputs.weights_BT)[..., None]
  return jnp.sum(jnp.where(of_text_BTK, weighted_BT1, 0.0), axis=1)


def _log_odds(
  words: LabelWords,
  log_probs: token_log_probs.ChunkedLogProbs,
  inputs: ScoreInputs[jax.Array],
) -> jax.Array:
  """Returns log p(correct) - log p(incorrect) [B, K] after each text, the logit of S_cls."""
  batch, num_texts, num_words, length = inputs.word_positions_BKWM.shape
  positions_BXM = inputs.word_positions_BKWM.reshape(batch, -1, length)
  words_XM = jnp.tile(words.ids_WM, (num_texts, 1))
  mask_XM = jnp.tile(words.mask_WM, (num_texts, 1))
  log_probs_BX = log_probs.word_log_probs(positions_BXM, words_XM, mask_XM)
  log_probs_BKW = log_probs_BX.reshape(batch, num_texts, num_words)
  return log_probs_BKW[..., 0] - log_probs_BKW[..., 1]
