"""Checks of what the compiled programs compute: packing, decoding, gradient accumulation."""

from collections.abc import Sequence
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from mathft_jax.data.batch_arrays import Batch
from mathft_jax.distributed import partitioning
from mathft_jax.distributed.activation_sharding import ActivationSharding
from mathft_jax.distributed.kernel_sharding import KernelSharding
from mathft_jax.inference import decode_config, decoding, prefill, sampling
from mathft_jax.models import token_log_probs, transformer
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.self_checks.findings import Finding, failure, ok, skipped
from mathft_jax.training import train_step as step_lib

LEAK = 1e-6  # of the largest gradient, outside of the segment
DECODE_TOKENS = 16
PROMPT_TOKENS = 256  # longer prompts are cut
# Differences that rounding explains, by the dtype of the computation.
NATS_PER_TOKEN = {'float32': 2e-3, 'bfloat16': 0.1, 'float16': 0.05}
RELATIVE_GRADIENT = {'float32': 1e-3, 'bfloat16': 0.1, 'float16': 0.05}


def check_packing(run: CheckedRun, params: transformer.Params) -> Finding:
  """The loss of an example has no gradient at the other examples of its row."""
  check = 'packed examples do not see each other'
  if not run.data.pack:
    return skipped(check, 'a row has one example (PACK = False)')
  found_row = _row_with_two_examples(run)
  if found_row is None:
    return skipped(check, 'no row of the first batch has two examples')
  row, start, end = found_row
  gradient_T = _gradient_norms(run, params, row, start, end)
  inside = float(gradient_T[start:end].max())
  outside = float(gradient_T[:start].max())
  found = (
    f'row {row}: the gradient of an example is {outside:.1e} at tokens of the examples before '
    f'it, {inside:.1e} at its own'
  )
  if outside > LEAK * inside or not inside > 0:
    return failure(
      check,
      found,
      'Give each example of a row its own segment id, and check the attention mask of the model.',
    )
  if run.batch['decoder_positions'][row, start] != 0:
    return failure(
      check,
      f'row {row}: the positions of the second example do not start at 0',
      'Restart positions at 0 in every example of a row.',
    )
  return ok(check, found)


def _row_with_two_examples(run: CheckedRun) -> tuple[int, int, int] | None:
  """Returns (row, start, end) of the second example of a row that has several.

  An example starts where the segment id changes, where positions restart, or after a trained EOS.
  """
  segments_BT = run.batch['decoder_segment_ids']
  positions_BT = run.batch['decoder_positions']
  ends_BT = (run.batch['decoder_target_tokens'] == run.vocabulary.eos_id) & (
    run.batch['decoder_loss_weights'] > 0
  )
  for row in range(len(segments_BT)):
    used = int((segments_BT[row] > 0).sum())
    starts = [0]
    for index in range(1, used):
      changes = segments_BT[row, index] != segments_BT[row, index - 1]
      restarts = positions_BT[row, index] == 0
      if changes or restarts or ends_BT[row, index - 1]:
        starts.append(index)
    if len(starts) > 1:
      return row, starts[1], [*starts, used][2]
  return None


def _gradient_norms(
  run: CheckedRun, params: transformer.Params, row: int, start: int, end: int
) -> np.ndarray:
  """Returns the norms [T] of the gradient at each input token of a row.

  The gradient is that of the log-probability of the targets from `start` to `end`.
  """
  mesh, rules = run.step_config.mesh, run.step_config.rules
  batch = {}
  for name in (
    'decoder_input_tokens',
    'decoder_target_tokens',
    'decoder_positions',
    'decoder_segment_ids',
  ):
    # one copy for each shard of the batch
    batch[name] = np.repeat(
      run.batch[name][row : row + 1], mesh.shape['data'], 0
    )
  weights = np.zeros(batch['decoder_input_tokens'].shape, np.float32)
  weights[0, start:end] = 1
  batch['weights'] = weights
  kernel = KernelSharding(mesh, rules)
  return np.asarray(
    _input_gradient_norms(
      run.model, kernel, params, partitioning.shard_batch(batch, mesh)
    )
  )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _input_gradient_norms(
  model: transformer.TransformerConfig,
  kernel: KernelSharding,
  params: transformer.Params,
  batch: dict[str, jax.Array],
) -> jax.Array:
  tokens_BT = batch['decoder_input_tokens']
  inputs_TD = params['embedding'][tokens_BT[0]]
  rows_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)

  def total_log_prob(inputs_TD: jax.Array) -> jax.Array:
    # An embedding table with one row for each position: its gradient is that of the inputs.
    hidden_BTD, _ = transformer.hidden_states(
      model,
      {**params, 'embedding': inputs_TD},
      rows_BT,
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
    log_probs_BT = log_probs.target_log_probs(batch['decoder_target_tokens'])
    return jnp.sum(log_probs_BT * batch['weights'])

  gradient_TD = jax.grad(total_log_prob)(inputs_TD)
  return jnp.linalg.norm(gradient_TD.astype(jnp.float32), axis=-1)


def check_decoding(run: CheckedRun, params: transformer.Params) -> Finding:
  """Log-probabilities of sampled texts are those of one forward pass over prompt and text."""
  check = 'decoding equals the forward pass'
  prompts = []
  for example in run.examples[: max(2, run.step_config.mesh.shape['data'])]:
    prompts.append(np.asarray(example.inputs)[-PROMPT_TOKENS:])
  prompts = [prompt for prompt in prompts if len(prompt)]
  if not prompts:
    return skipped(check, 'no example has a prompt')

  candidates = _decode(run, params, prompts)
  decoded, forward = _compared_log_probs(run, params, prompts, candidates)
  tolerance = NATS_PER_TOKEN[run.model.dtype]
  difference = float(np.abs(decoded - forward).max())
  found = (
    f'{len(decoded)} texts of at most {DECODE_TOKENS} tokens differ by at most {difference:.1e} '
    f'nats a token'
  )
  if not difference <= tolerance:
    return failure(
      check,
      f'{found} (tolerance {tolerance})',
      'Report this with the configuration: scores and samples of this model are wrong.',
    )
  return ok(check, found)


def _decode(
  run: CheckedRun, params: transformer.Params, prompts: list[np.ndarray]
) -> list[decoding.DecodedCandidate]:
  """Samples at least two candidates of each prompt."""
  mesh = run.step_config.mesh
  num_rows = 2 * mesh.shape['data']
  config = decode_config.DecodeConfig(
    model=run.model,
    method=sampling.Nucleus(p=1.0, temperature=1.0),
    num_rows=num_rows,
    rows_per_group=2,
    prompt_slots=decode_config.prompt_slots(max(map(len, prompts))),
    max_decode_length=DECODE_TOKENS,
    end_ids=run.vocabulary.end_ids,
    vocab_size=run.vocabulary.vocab_size,
    mesh=mesh,
    rules=run.step_config.rules,
  )
  named = [
    prefill.Prompt(f'self-check {index}', prompt.tolist())
    for index, prompt in enumerate(prompts)
  ]
  # A multiple of the devices along `data`, over which all candidates are sharded afterwards.
  num_candidates = max(2, mesh.shape['data'])
  blocks = decoding.decode(
    config, params, named, num_candidates=num_candidates, seed=0
  )
  return [candidate for block in blocks for candidate in block.ended]


def _compared_log_probs(
  run: CheckedRun,
  params: transformer.Params,
  prompts: list[np.ndarray],
  candidates: Sequence[decoding.DecodedCandidate],
) -> tuple[np.ndarray, np.ndarray]:
  """Returns log-probabilities a token of all candidates: while decoding, and in one pass."""
  mesh = run.step_config.mesh
  sequences, decoded = [], []
  for candidate in candidates:
    prompt = prompts[candidate.prompt]
    sequence = np.concatenate([prompt, candidate.tokens])
    sequences.append((sequence, len(prompt)))
    decoded.append(candidate.log_prob / len(candidate.tokens))

  longest = max(len(sequence) for sequence, _ in sequences)
  shape = (len(sequences), longest - 1)
  batch: Batch = {
    'decoder_input_tokens': np.zeros(shape, np.int32),
    'decoder_target_tokens': np.zeros(shape, np.int32),
    'decoder_positions': np.tile(
      np.arange(longest - 1, dtype=np.int32), (shape[0], 1)
    ),
    'decoder_segment_ids': np.zeros(shape, np.int32),
    'weights': np.zeros(shape, np.float32),
  }
  for row, (sequence, start) in enumerate(sequences):
    end = len(sequence) - 1
    batch['decoder_input_tokens'][row, :end] = sequence[:-1]
    batch['decoder_target_tokens'][row, :end] = sequence[1:]
    batch['decoder_segment_ids'][row, :end] = 1
    batch['weights'][row, start - 1 : end] = 1
  forward_B = _sequence_log_probs(
    run.model,
    KernelSharding(mesh, run.step_config.rules),
    params,
    partitioning.shard_batch(batch, mesh),
  )
  lengths_B = batch['weights'].sum(axis=1)
  return np.array(decoded), np.asarray(forward_B) / lengths_B


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sequence_log_probs(
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
  log_probs_BT = log_probs.target_log_probs(batch['decoder_target_tokens'])
  return jnp.sum(log_probs_BT * batch['weights'], axis=1)


@dataclasses.dataclass(frozen=True)
class ScalesOnlyConfig(step_lib.TrainStepConfig):
  """A train step whose gradients are those of the norms' scales: all layers, little memory."""

  def trainable(self, params: step_lib.PyTree) -> step_lib.PyTree:
    return _take_scales(params)

  def replace_trainable(
    self, params: step_lib.PyTree, trainable: step_lib.PyTree
  ) -> step_lib.PyTree:
    return _put_scales(params, trainable)


def check_accumulation(run: CheckedRun, params: transformer.Params) -> Finding:
  """Loss and gradient of one batch equal those summed over microbatches."""
  check = '1 x B equals B x 1 (gradient accumulation)'
  batch = _uneven_batch(run)
  if batch is None:
    return skipped(check, 'the batch is too small to be divided')
  mesh = run.step_config.mesh
  arrays = partitioning.shard_batch(batch, mesh)
  results = []
  for num_microbatches in (1, 2):
    fields = {}
    for field in dataclasses.fields(step_lib.TrainStepConfig):
      fields[field.name] = getattr(run.step_config, field.name)
    # The load-balance loss of a batch is not the mean over its microbatches.
    model = dataclasses.replace(run.step_config.model, load_balance_weight=0.0)
    fields |= {'model': model, 'num_microbatches': num_microbatches}
    fields['lora'] = None
    config = ScalesOnlyConfig(**fields)
    results.append(_scale_gradients(config, params, arrays))

  (loss, gradient), (split_loss, split_gradient) = results
  norm = float(np.linalg.norm(gradient))
  difference = float(np.linalg.norm(gradient - split_gradient)) / max(
    norm, 1e-30
  )
  loss_difference = abs(loss - split_loss) / max(abs(loss), 1e-30)
  found = (
    f'gradients of 1 and 2 microbatches differ by {difference:.1e}, losses by '
    f'{loss_difference:.1e} (relative)'
  )
  tolerance = RELATIVE_GRADIENT[run.model.dtype]
  if not max(difference, loss_difference) <= tolerance:
    return failure(
      check,
      f'{found} (tolerance {tolerance})',
      'Divide the loss by `weight`, the count of the whole batch, and not by that of its part.',
    )
  return ok(check, found)


def _uneven_batch(run: CheckedRun) -> Batch | None:
  """Returns rows of the first batch for two microbatches of unequal numbers of targets."""
  unit = math.lcm(run.group_size, run.step_config.mesh.shape['data'])
  if len(run.batch['decoder_input_tokens']) < 2 * unit:
    return None
  batch = {}
  for name, array in run.batch.items():
    is_replicated = name in partitioning.REPLICATED_BATCH_ARRAYS
    batch[name] = array if is_replicated else np.array(array[: 2 * unit])
  weights_BT = batch['decoder_loss_weights']
  for row in range(unit):
    targets = np.flatnonzero(weights_BT[row])
    weights_BT[row, targets[max(1, len(targets) // 4) :]] = 0
  return batch


@functools.partial(jax.jit, static_argnums=0)
def _compiled_gradients(
  config: ScalesOnlyConfig, params: transformer.Params, batch: dict
) -> tuple[jax.Array, step_lib.PyTree]:
  weight = config.loss.weight(batch)
  (loss, _), gradients = step_lib.loss_and_grads(config, params, batch, weight)
  return loss, gradients


def _scale_gradients(
  config: ScalesOnlyConfig, params: transformer.Params, batch: dict
) -> tuple[float, np.ndarray]:
  loss, gradients = _compiled_gradients(config, params, batch)
  flat = [
    np.asarray(array, np.float32).reshape(-1)
    for array in jax.tree.leaves(gradients)
  ]
  return float(loss), np.concatenate(flat)


def _take_scales(tree: step_lib.PyTree) -> step_lib.PyTree:
  """Returns the branches of nested dicts that end in `scale`."""
  taken = {}
  for name, branch in tree.items():
    if isinstance(branch, dict):
      inner = _take_scales(branch)
      if inner:
        taken[name] = inner
    elif name == 'scale':
      taken[name] = branch
  return taken


def _put_scales(
  tree: step_lib.PyTree, scales: step_lib.PyTree
) -> step_lib.PyTree:
  replaced = dict(tree)
  for name, branch in scales.items():
    if isinstance(branch, dict):
      branch = _put_scales(tree[name], branch)
    replaced[name] = branch
  return replaced
