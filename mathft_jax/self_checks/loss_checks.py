"""Checks of the weights by their loss on the data: far below chance, and best as configured.

If an option of the architecture is wrong (the base of rotary embeddings, the kind of norm), a
published model still runs. Its loss is higher than with the right option. Therefore the loss is
also computed with other values of such options: none of them may be better.
"""

from collections.abc import Iterator
import dataclasses
import functools
import math

import jax
import numpy as np

from mathft_jax.data.batch_arrays import Batch
from mathft_jax.distributed import partitioning
from mathft_jax.distributed.activation_sharding import ActivationSharding
from mathft_jax.distributed.kernel_sharding import KernelSharding
from mathft_jax.models import token_log_probs, transformer
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.self_checks.findings import (
  Finding,
  failure,
  ok,
  skipped,
  warning,
)

MAX_TOKENS = 512  # of a row
MIN_TOKENS = 1024  # of all rows together, with padding
CHANCE = 0.75  # of log V: above, the model has learned nothing about such texts
POOR = 0.5
# Nats a token by which another architecture must be better, on average over the same tokens.
BETTER = 0.05
SLIGHTLY_BETTER = 0.04
STANDARD_ERRORS = 2.5  # that the mean difference must have in addition

Alternative = tuple[str, transformer.TransformerConfig]


def check_loss(run: CheckedRun, params: transformer.Params) -> Finding:
  """The loss of the initial weights on the first batch is far below that of a uniform guess."""
  check = 'loss of the initial weights'
  nll = -float(target_log_probs(run, run.model, params).mean())
  uniform = math.log(run.model.vocab_size)
  found = (
    f'{nll:.3f} nats a token (perplexity {math.exp(min(nll, 50)):,.1f}); a uniform guess has '
    f'{uniform:.3f} (perplexity {run.model.vocab_size:,})'
  )
  if run.starts_random:
    return skipped(check, f'{found}; the weights are random')
  action = (
    'Check that weights, model configuration and tokenizer belong together: rotary embeddings, '
    'norms, tied embeddings, ids of the tokenizer.'
  )
  if not nll < CHANCE * uniform:
    return failure(check, found, action)
  if nll > POOR * uniform:
    return warning(check, found, action)
  return ok(check, found)


def check_architecture(run: CheckedRun, params: transformer.Params) -> Finding:
  """No other value of an architecture option gives these weights a lower loss."""
  check = 'architecture fits the weights'
  if run.starts_random:
    return skipped(check, 'the weights are random')
  configured = target_log_probs(run, run.model, params)
  names = []
  best_name, gain, error = '', -math.inf, 0.0
  for name, model in alternatives(run.model):
    names.append(name)
    gains = target_log_probs(run, model, params) - configured
    if gains.mean() > gain:
      best_name, gain = name, float(gains.mean())
      error = float(gains.std() / math.sqrt(len(gains)))
  loss = -float(configured.mean())
  found = (
    f'loss {loss:.3f} as configured; the best of {len(names)} alternatives has {loss - gain:.3f} '
    f'({best_name}), standard error of the difference {error:.3f}'
  )
  action = f'Compare MODEL with the config.json of the weights: {best_name}.'
  is_significant = gain > STANDARD_ERRORS * error
  if is_significant and gain > BETTER:
    return failure(check, found, action)
  if is_significant and gain > SLIGHTLY_BETTER:
    return warning(check, found, action)
  return ok(check, found)


def alternatives(model: transformer.TransformerConfig) -> Iterator[Alternative]:
  """Yields (description, model) with one architecture option changed; parameters still fit."""
  changes: list[dict[str, object]] = [
    {'rope_theta': model.rope_theta * 10},
    {'rope_theta': model.rope_theta / 10},
    {'rope_theta': model.rope_theta * 50},
    {'rope_theta': model.rope_theta / 50},
    {'norm': 'layer' if model.norm == 'rms' else 'rms'},
    {'norm_unit_offset': not model.norm_unit_offset},
    {'norm_eps': 1e-5 if model.norm_eps < 5e-6 else 1e-6},
    {'scaled_embeddings': not model.scaled_embeddings},
  ]
  if model.rope_scaling is not None:
    changes.append({'rope_scaling': None})
  if model.gated_mlp:
    other = 'gelu_tanh' if model.mlp_activation == 'silu' else 'silu'
    changes.append({'mlp_activation': other})
  for change in changes:
    [(name, value)] = change.items()
    old = getattr(model, name)
    yield (
      f'{name} {value} instead of {old}',
      dataclasses.replace(model, **change),
    )


def target_log_probs(
  run: CheckedRun,
  model: transformer.TransformerConfig,
  params: transformer.Params,
) -> np.ndarray:
  """Returns log p [tokens] of the target tokens in some rows of the first batch.

  In batches of verdicts, which have no target tokens, every token is a target.
  """
  mesh = run.step_config.mesh
  batch = first_rows_batch(run.batch, _num_rows(run))
  kernel = KernelSharding(mesh, run.step_config.rules)
  arrays = partitioning.shard_batch(batch, mesh)
  log_probs_BT = np.asarray(_log_probs(model, kernel, params, arrays))
  return log_probs_BT[batch['decoder_loss_weights'] > 0]


def _num_rows(run: CheckedRun) -> int:
  """Returns a number of rows with enough tokens that divides over the mesh."""
  _, length = run.batch['decoder_input_tokens'].shape
  shards = run.step_config.mesh.shape['data']
  wanted = -(-MIN_TOKENS // min(length, MAX_TOKENS))
  wanted = min(wanted, len(run.batch['decoder_input_tokens']))
  return shards * -(-wanted // shards)


def first_rows_batch(batch: Batch, num_rows: int) -> Batch:
  """Returns tokens, targets, weights, positions and segments of `num_rows` rows, cut in length.

  Rows are repeated if the batch has fewer.
  """
  rows = np.resize(np.arange(len(batch['decoder_input_tokens'])), num_rows)
  part = {}
  for name in (
    'decoder_input_tokens',
    'decoder_target_tokens',
    'decoder_loss_weights',
    'decoder_positions',
    'decoder_segment_ids',
  ):
    part[name] = batch[name][rows, :MAX_TOKENS]
  if not part['decoder_loss_weights'].any():
    tokens = part['decoder_input_tokens']
    segments = part['decoder_segment_ids']
    same = np.zeros(segments.shape, bool)
    same[:, :-1] = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    part['decoder_target_tokens'] = np.roll(tokens, -1, axis=1)
    part['decoder_loss_weights'] = same.astype(np.float32)
  return part


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_probs(
  model: transformer.TransformerConfig,
  kernel: KernelSharding,
  params: transformer.Params,
  batch: dict[str, jax.Array],
) -> jax.Array:
  hidden_BTD, _ = transformer.hidden_states(
    model,
    params,
    batch['decoder_input_tokens'],
    positions_BT=batch['decoder_positions'],
    segment_ids_BT=batch['decoder_segment_ids'],
    kernel_sharding=kernel,
  )
  log_probs = token_log_probs.ChunkedLogProbs(
    model,
    params,
    hidden_BTD,
    sharding=ActivationSharding(kernel.mesh, kernel.rules),
  )
  return log_probs.target_log_probs(batch['decoder_target_tokens'])
