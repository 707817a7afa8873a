"""Checks of the examples: supervised tokens, truncation, share of padding."""

import numpy as np

from mathft_jax.data.example_types import (
  Example,
  SolutionExample,
  VerdictExample,
  num_tokens,
)
from mathft_jax.self_checks.checked_run import CheckedRun
from mathft_jax.self_checks.findings import Finding, failure, ok, warning

MANY = 0.5  # share of examples above which truncation stops a run
SOME = 0.01  # share above which it is a warning
SPARSE = 0.3  # warn if a smaller share of a batch is tokens


def check_supervised_tokens(run: CheckedRun) -> Finding:
  """Each example has something to learn. Reports minimum, median and the number without."""
  check = 'supervised tokens per example'
  counts = [_num_supervised(example) for example in run.examples]
  if not counts:
    return failure(check, 'there are no examples', 'Check the data of the run.')
  num_zero = counts.count(0)
  found = (
    f'minimum {min(counts):,}, median {np.median(counts):,.0f}, '
    f'{num_zero:,} of {len(counts):,} have none'
  )
  if num_zero == len(counts):
    return failure(
      check, found, 'Give the examples targets with a loss weight.'
    )
  if num_zero:
    return warning(
      check,
      found,
      'Remove these examples, or give them targets with a loss weight.',
    )
  return ok(check, found)


def _num_supervised(example: Example) -> int:
  """Target tokens with a loss weight; a verdict counts as one."""
  if isinstance(example, VerdictExample):
    return 1
  if isinstance(example, SolutionExample):
    weights = example.target_weights
    if weights is not None:
      return int((np.asarray(weights) > 0).sum())
  return len(example.targets)


def check_truncation(run: CheckedRun) -> Finding:
  """Few examples are longer than a row; a truncated solution does not train its end."""
  check = 'examples longer than a row'
  room = run.data.sequence_length
  lengths = np.array([num_tokens(example) for example in run.examples])
  num_long = int((lengths - 1 > room).sum())
  share = num_long / max(1, len(lengths))
  what = 'dropped'
  if run.data.too_long == 'truncate' and run.solutions:
    what = 'truncated'
  found = (
    f'{num_long:,} of {len(lengths):,} ({share:.1%}) are {what} at {room:,} tokens; the longest '
    f'has {int(lengths.max(initial=0)):,}'
  )
  if share <= SOME:
    return ok(check, found)
  enough = int(np.quantile(lengths, 0.99))
  action = f'MAX_LENGTH = {enough} is enough for 99% of them.'
  if share > MANY:
    return failure(check, found, action)
  return warning(check, found, action)


def check_padding_share(run: CheckedRun) -> Finding:
  """Most of a batch is tokens; padding costs as much time as tokens."""
  check = 'share of tokens in a batch'
  share = float((run.batch['decoder_segment_ids'] != 0).mean())
  found = f'{share:.1%} of the first batch'
  if run.data.pack:
    segments = run.batch['decoder_segment_ids'].max(axis=1)
    found += f', {segments.mean():.1f} examples a row'
  if share >= SPARSE:
    return ok(check, found)
  can_pack = run.group_size == 1 and len(run.solutions) == len(run.examples)
  action = 'Reduce MAX_LENGTH.'
  if can_pack and not run.data.pack:
    action = 'Set PACK = True.'
  return warning(check, found, action)
