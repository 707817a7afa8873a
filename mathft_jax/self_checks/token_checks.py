"""Checks of special tokens and vocabulary: EOS, BOS, padding, end tokens, sizes, fingerprint."""

from collections.abc import Sequence

import numpy as np

from mathft_jax import checkpoints
from mathft_jax.data import prompt_templates
from mathft_jax.data.example_types import (
  ContrastExample,
  Example,
  SolutionExample,
  VerdictExample,
)
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.self_checks.findings import (
  Finding,
  failure,
  ok,
  skipped,
  warning,
)
from mathft_jax.self_checks.readable_ids import token_name

# Examples that are looked at one by one in Python.
MAX_EXAMPLES = 1000
FEW = 0.5  # warn if a smaller share of the solutions trains EOS


def check_eos_is_trained(run: CheckedRun) -> Finding:
  """EOS is a target with a loss weight; else the model does not learn to stop."""
  check = 'EOS is a trained target'
  eos = token_name(run.vocabulary, run.vocabulary.eos_id)
  solutions = [x for x in run.examples if not isinstance(x, VerdictExample)]
  if not solutions:
    return skipped(check, 'the run trains label words only')

  num_trained = 0
  for example in solutions:
    num_trained += _trains_eos(example, run)
  found = f'{num_trained:,} of {len(solutions):,} solutions train {eos}'
  action = (
    'End targets with EOS and a loss weight above 0, and make MAX_LENGTH large enough for '
    'the end of the solutions.'
  )
  if not num_trained:
    return failure(check, found, action)
  if num_trained == len(solutions) and not _batch_trains_eos(run):
    return failure(
      check,
      f'{found}, but the first batch has no {eos} with a loss weight',
      'Check what masks EOS on the way to the batch: a padding token that is EOS, or weights.',
    )
  if num_trained < FEW * len(solutions):
    return warning(check, found, action)
  return ok(check, found)


def _trains_eos(
  example: SolutionExample | ContrastExample, run: CheckedRun
) -> bool:
  targets = example.targets
  if not len(targets) or targets[-1] != run.vocabulary.eos_id:
    return False
  if len(example.inputs) + len(targets) - 1 > run.data.sequence_length:
    return False
  weights = getattr(example, 'target_weights', None)
  return weights is None or weights[-1] > 0


def _batch_trains_eos(run: CheckedRun) -> bool:
  weights_BT = run.batch['decoder_loss_weights']
  if not weights_BT.any():  # a batch of verdicts in a mixture
    return True
  is_eos_BT = run.batch['decoder_target_tokens'] == run.vocabulary.eos_id
  return bool((is_eos_BT & (weights_BT > 0)).any())


def check_bos_once(run: CheckedRun) -> Finding:
  """Every example starts with BOS and has it once, if the model was trained with one."""
  check = 'BOS exactly once'
  bos_id = run.vocabulary.bos_id
  published = run.published
  if published is not None and published.adds_bos is not None:
    if published.adds_bos and bos_id is None:
      return failure(
        check,
        f'the tokenizer of {published.source} starts texts with '
        f'{published.special_token("bos_token")}; the vocabulary has no BOS',
        'Bind TokenizerVocabulary.bos.',
      )
    if not published.adds_bos and bos_id is not None:
      return failure(
        check,
        f'the tokenizer of {published.source} adds no BOS; the vocabulary starts texts with '
        f'{token_name(run.vocabulary, bos_id)}',
        'Bind TokenizerVocabulary.bos = None.',
      )
  if bos_id is None:
    return ok(check, 'the vocabulary has no BOS')

  looked_at = run.examples[:MAX_EXAMPLES]
  missing = double = 0
  for example in looked_at:
    ids = _all_ids(example)
    count = int((ids == bos_id).sum())
    missing += not len(ids) or ids[0] != bos_id
    double += count > 1
  name = token_name(run.vocabulary, bos_id)
  if missing or double:
    return failure(
      check,
      f'of {len(looked_at):,} examples {missing:,} do not start with {name} and {double:,} have '
      'it more than once',
      'Only prompt_templates adds BOS: remove it from the template and from your own examples, '
      'or create them with prompt_templates.encode_prompt.',
    )
  return ok(
    check, f'{len(looked_at):,} examples have {name} once, at the start'
  )


def check_pad_is_not_eos(run: CheckedRun) -> Finding:
  """Padding is another token than EOS and has no loss."""
  check = 'padding is not EOS and has no loss'
  pad = token_name(run.vocabulary, run.vocabulary.pad_id)
  padding_BT = run.batch['decoder_segment_ids'] == 0
  num_trained = int((run.batch['decoder_loss_weights'][padding_BT] > 0).sum())
  if num_trained:
    return failure(
      check,
      f'{num_trained:,} padding positions of the first batch have a loss weight',
      'Give padding the weight 0 and the segment id 0.',
    )
  if run.vocabulary.pad_id == run.vocabulary.eos_id:
    return failure(
      check,
      f'both are {pad}',
      'Bind another pad token that no text needs; else EOS is masked or padding is trained.',
    )
  return ok(
    check, f'padding is {pad}, {padding_BT.mean():.1%} of the first batch'
  )


def check_end_tokens(run: CheckedRun) -> Finding:
  """Sampling stops at every token with which the published model ends a text."""
  check = 'end tokens stop sampling'
  vocabulary = run.vocabulary
  published = run.published
  if published is None or not published.end_token_ids:
    return skipped(check, 'the initial checkpoint names no end tokens')

  stops = vocabulary.end_ids
  names = [token_name(vocabulary, index) for index in published.end_token_ids]
  stop_names = [token_name(vocabulary, index) for index in stops]
  found = (
    f'{published.source} ends texts with {", ".join(names)}; sampling stops at '
    f'{", ".join(stop_names)}'
  )
  missing = [index for index in published.end_token_ids if index not in stops]
  if not missing:
    return ok(check, found)
  if vocabulary.eos_id in published.end_token_ids:
    return warning(
      check,
      found,
      'Before training, this model may continue after the other end tokens. Training teaches it '
      f'to end with {token_name(vocabulary, vocabulary.eos_id)}.',
    )
  return warning(
    check,
    found,
    f'Right if you train a base model to end with {stop_names[0]}. Otherwise bind '
    f'TokenizerVocabulary.eos = {names[0].rpartition(" ")[0]!r}, as templates/*.gin do.',
  )


def check_vocabulary_fits(run: CheckedRun) -> Finding:
  """All ids of the vocabulary and of the examples are below the model's vocabulary size."""
  check = 'vocabulary fits the model'
  size, model_size = run.vocabulary.vocab_size, run.model.vocab_size
  found = f'{size:,} ids, the model has {model_size:,}'
  if size > model_size:
    return failure(
      check,
      found,
      'Use the tokenizer of the model, or bind TokenizerVocabulary.max_vocab_size.',
    )
  largest = _largest_id(run.examples)
  if largest >= size:
    return failure(
      check,
      f'{found}; an example has the id {largest:,}',
      'Create the examples with the VOCABULARY of this run.',
    )
  if size < 0.9 * model_size:
    return warning(
      check,
      found,
      'Check that this is the tokenizer of the model: more than a tenth of its embeddings have '
      'no token.',
    )
  return ok(check, found)


def check_fingerprint(run: CheckedRun) -> Finding:
  """The initial checkpoint was trained with this template and this vocabulary."""
  check = 'template and vocabulary of the initial checkpoint'
  if not run.init_from or run.starts_random:
    return skipped(check, f'the run starts from {run.init_from!r}')
  fingerprint = prompt_templates.template_fingerprint(
    run.template, run.vocabulary
  )
  if not checkpoints.read_metadata(run.init_from).get('fingerprint'):
    return ok(
      check,
      f'{run.init_from} was not trained by this package: nothing to compare',
    )
  try:
    checkpoints.check_metadata(run.init_from, fingerprint=fingerprint)
  except ValueError as error:
    return failure(check, str(error), 'Use the template of the checkpoint.')
  return ok(check, f'equal to those of {run.init_from}')


def _all_ids(example: Example) -> np.ndarray:
  if isinstance(example, VerdictExample):
    return np.asarray(example.inputs)
  return np.concatenate([example.inputs, example.targets])


def _largest_id(examples: Sequence[Example]) -> int:
  largest = -1
  for example in examples:
    largest = max(largest, int(np.max(_all_ids(example), initial=-1)))
  return largest
