"""Scoring: log-odds of S_cls or the log-probability of given candidates.

  scores = score_texts(config, params, problems, row_lengths=(512, 1024))

A prefix is the problem, a tail is what follows it for one candidate. A row has a prefix and several
of its tails (`score_packing`). Log-probabilities come from `token_log_probs.ChunkedLogProbs`, as in
training.
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
from mathft_jax.distributed.kernel_sharding import KernelSharding
from mathft_jax.inference import score_packing
from mathft_jax.inference.score_packing import ScoreInputs
from mathft_jax.models import token_log_probs, transformer


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
  """Static configuration of a compiled scorer; hashable.

  Attributes:
    label_words: of the evaluator, for log-odds; None for log-probabilities.
    mesh: rows are sharded over its `data` axis.
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
  row_lengths: Sequence[int],
) -> list[np.ndarray]:
  """Returns the scores of each problem's texts, natural logs.

  With label words log-odds of S_cls, else log p(tail | prefix). S_cls is the sigmoid of the
  log-odds. In float32 it is exactly 1 from log-odds of 17 on. All processes of the mesh call it
  with the same arguments and get all scores.

  Args:
    problems: token ids.
    row_lengths: of `score_packing.choose_row_lengths`; each one is compiled.
  """
  words = config.label_words
  scores = [np.zeros(len(each.tails), np.float32) for each in problems]
  num_shards = config.mesh.shape['data']
  for length, rows in score_packing.iter_calls(
    problems, words, row_lengths, num_shards
  ):
    inputs = score_packing.make_score_inputs(
      problems,
      rows,
      words,
      num_rows=score_packing.rows_per_call(length, num_shards),
      length=length,
    )
    scores_BK = score_rows(config, params, inputs)
    for row, scores_K in zip(rows, scores_BK):
      scores[row.problem][list(row.texts)] = scores_K[: len(row.texts)]
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
  words = config.label_words
  hidden_BTD, _ = transformer.hidden_states(
    config.model,
    params,
    inputs.tokens_BT,
    positions_BT=inputs.positions_BT,
    segment_ids_BT=inputs.segment_ids_BT,
    branch_ids_BT=inputs.branch_ids_BTY,
    kernel_sharding=KernelSharding(config.mesh, config.rules),
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
  of_text_BTK = inputs.branch_ids_BTY[..., :1] == texts_K
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
