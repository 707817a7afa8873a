"""The first rows of a batch as text, with the supervised part marked."""

from collections.abc import Iterator

import numpy as np

from mathft_jax.data.batch_arrays import Batch
from mathft_jax.data.prompt_templates import Vocabulary
from mathft_jax.self_checks.readable_ids import ids_to_text, printable, quote

LONGEST = 600  # letters of a printed part


def format_first_rows(
  batch: Batch, vocabulary: Vocabulary, num_examples: int = 2
) -> str:
  """Returns the first examples of a batch, decoded.

  Tokens without a loss come after `context`, tokens with a loss after `trained`. A verdict has its
  label and its label words instead.
  """
  lines = []
  for row, start, end in _iter_examples(batch):
    if num_examples <= 0:
      break
    num_examples -= 1
    lines += _format_example(batch, vocabulary, row, start, end)
  return '\n'.join(lines)


def _iter_examples(batch: Batch) -> Iterator[tuple[int, int, int]]:
  """Yields (row, start, end) of each example."""
  for row, segments in enumerate(batch['decoder_segment_ids']):
    for segment in range(1, int(segments.max(initial=0)) + 1):
      columns = np.flatnonzero(segments == segment)
      yield row, int(columns[0]), int(columns[-1]) + 1


def _format_example(
  batch: Batch, vocabulary: Vocabulary, row: int, start: int, end: int
) -> list[str]:
  inputs = batch['decoder_input_tokens'][row, start:end]
  targets = batch['decoder_target_tokens'][row, start:end]
  weights = batch['decoder_loss_weights'][row, start:end]
  num_trained = int((weights > 0).sum())
  lines = [
    f'row {row}, tokens {start} to {end}: {num_trained} of {end - start} are trained'
  ]
  if (
    'word_positions' in batch
    and not num_trained
    and batch['verdict_weights'][row]
  ):
    return lines + _format_verdict(batch, vocabulary, row, inputs)

  # The first token is never a target; the target of column i is the token after it.
  tokens = np.concatenate([inputs[:1], targets])
  is_trained = np.concatenate([[False], weights > 0])
  changes = np.flatnonzero(np.diff(is_trained)) + 1
  for part_start, part_end in zip([0, *changes], [*changes, len(tokens)]):
    kind = 'trained' if is_trained[part_start] else 'context'
    text = ids_to_text(vocabulary, tokens[part_start:part_end])
    lines.append(f'  {kind} | {printable(text, LONGEST)}')
  return lines


def _format_verdict(
  batch: Batch, vocabulary: Vocabulary, row: int, inputs: np.ndarray
) -> list[str]:
  end = len(inputs)
  if 'decoder_branch_ids' in batch:
    branch_ids = batch['decoder_branch_ids'][row, : len(inputs)]
    end = int((branch_ids == 0).sum())
  words = []
  for ids, mask in zip(batch['label_words'], batch['label_word_mask']):
    words.append(quote(ids_to_text(vocabulary, ids[mask])))
  label = 0 if batch['is_correct'][row] > 0 else 1
  context = printable(ids_to_text(vocabulary, inputs[:end]), LONGEST)
  return [
    f'  context | {context}',
    f'  trained | {words[label]} (label words: {words[0]}, {words[1]})',
  ]
