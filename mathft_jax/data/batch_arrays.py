"""Examples as rows of parallel numpy arrays; `batching` documents the arrays of a batch.

B rows, T tokens of a row, W label words, M tokens of a label word.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from mathft_jax.data.example_types import (
  ContrastExample,
  Example,
  PreferenceExample,
  VerdictExample,
)
from mathft_jax.data.label_word_branches import LabelWords

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Segment:
  """One example as a token sequence; a packed row has several segments.

  Attributes:
    sequence: token ids, inputs then targets.
    num_context: tokens at the start of `sequence` that carry no loss.
    length: tokens that the segment takes in a row.
    weights: loss weight of each target; None means 1 for all.
    is_correct: the label; None for a solution.
    is_evaluator_prompt: the targets are the label words, which follow on branches.
    reference_log_prob: log p of the targets under a reference model; None if it is not used.
  """

  sequence: np.ndarray
  num_context: int
  length: int
  weights: np.ndarray | None = None
  is_correct: int | None = None
  is_evaluator_prompt: bool = False
  reference_log_prob: float | None = None

  @property
  def predicted_weights(self) -> np.ndarray:
    """Loss weights of the predicted targets; the first token of a sequence is not predicted."""
    if self.is_evaluator_prompt:
      return np.zeros(0, np.float32)
    if self.weights is None:
      num_predicted = len(self.sequence) - max(self.num_context, 1)
      return np.ones(num_predicted, np.float32)
    return self.weights[1 if self.num_context == 0 else 0 :]

  @property
  def num_trained(self) -> int:
    """Number of target tokens with a positive loss weight."""
    return int((self.predicted_weights > 0).sum())


def make_segment(
  example: Example,
  index: int,
  words: LabelWords | None,
) -> Segment:
  """Returns the segment of an example.

  Args:
    example: a solution, verdict or contrast example.
    index: position of the example, for error messages.
    words: needed for verdict examples.

  Raises:
    ValueError: the example cannot be trained on.
  """
  inputs = np.asarray(example.inputs, np.int32)
  if isinstance(example, VerdictExample):
    return _make_evaluator_prompt(inputs, example.is_correct, index, words)

  targets = np.asarray(example.targets, np.int32)
  sequence = np.concatenate([inputs, targets])
  weights, is_correct, reference_log_prob = None, None, None
  if isinstance(example, PreferenceExample):
    reference_log_prob = float(example.reference_log_prob)
  if isinstance(example, ContrastExample):
    is_correct = int(example.is_correct)
  elif example.target_weights is not None:
    weights = np.asarray(example.target_weights, np.float32)

  num_weights = len(targets) if weights is None else len(weights)
  if len(sequence) < 2 or not len(targets) or num_weights != len(targets):
    raise ValueError(
      f'example {index} has {len(inputs)} inputs, {len(targets)} targets and {num_weights} '
      'target weights; wanted a target token with a token before it, and one weight per target.'
    )
  return Segment(
    sequence,
    num_context=len(inputs),
    length=len(sequence) - 1,
    weights=weights,
    is_correct=is_correct,
    reference_log_prob=reference_log_prob,
  )


def _make_evaluator_prompt(
  inputs: np.ndarray,
  is_correct: int,
  index: int,
  words: LabelWords | None,
) -> Segment:
  if words is None or not len(inputs):
    raise ValueError(
      f'example {index} is a verdict on a prompt of {len(inputs)} tokens, with label_words '
      f'{words}; wanted a prompt and label_words=prompt_templates.make_label_words(...).'
    )
  return Segment(
    sequence=inputs,
    num_context=len(inputs),
    length=len(inputs) + len(words.branch_tokens),
    is_correct=int(is_correct),
    is_evaluator_prompt=True,
  )


def truncate_segment(segment: Segment, length: int) -> Segment:
  """Returns the first `length` tokens of a segment that is not an evaluator prompt."""
  sequence = segment.sequence[: length + 1]
  weights = segment.weights
  if weights is not None:
    weights = weights[: max(0, length + 1 - segment.num_context)]
  return dataclasses.replace(
    segment,
    sequence=sequence,
    length=length,
    weights=weights,
    num_context=min(segment.num_context, len(sequence)),
  )


def make_token_arrays(
  rows: Sequence[Sequence[Segment]], shape: tuple[int, int], pad_id: int
) -> Batch:
  """Returns the five [B, T] arrays that every batch has.

  Args:
    rows: segments of each row; batch rows beyond these stay empty.
    shape: (B, T).
    pad_id: token id of empty positions.
  """
  batch = {
    'decoder_input_tokens': np.full(shape, pad_id, np.int32),
    'decoder_target_tokens': np.full(shape, pad_id, np.int32),
    'decoder_loss_weights': np.zeros(shape, np.float32),
    'decoder_positions': np.zeros(shape, np.int32),
    'decoder_segment_ids': np.zeros(shape, np.int32),
  }
  for row, segments in enumerate(rows):
    start = 0
    for segment_id, segment in enumerate(segments, start=1):
      end = start + segment.length
      batch['decoder_segment_ids'][row, start:end] = segment_id
      if not segment.is_evaluator_prompt:
        _write_sequence(batch, row, start, segment)
      start = end
  return batch


def _write_sequence(batch: Batch, row: int, start: int, segment: Segment):
  end = start + segment.length
  batch['decoder_input_tokens'][row, start:end] = segment.sequence[:-1]
  batch['decoder_target_tokens'][row, start:end] = segment.sequence[1:]
  batch['decoder_positions'][row, start:end] = np.arange(segment.length)

  first_trained = start + max(segment.num_context - 1, 0)
  weights = segment.predicted_weights
  batch['decoder_loss_weights'][row, first_trained:end] = weights


def make_label_arrays(segments: Sequence[Segment], batch_size: int) -> Batch:
  """Returns the [B] arrays of batches with labels; rows without a label have weight 0."""
  is_correct_B = np.zeros(batch_size, np.float32)
  weights_B = np.zeros(batch_size, np.float32)
  for row, segment in enumerate(segments):
    if segment.is_correct is not None:
      is_correct_B[row] = segment.is_correct
      weights_B[row] = 1
  return {'is_correct': is_correct_B, 'verdict_weights': weights_B}


def make_reference_array(
  segments: Sequence[Segment], batch_size: int
) -> np.ndarray:
  """Returns [B]: log p under a reference model; 0 in rows without one."""
  log_probs_B = np.zeros(batch_size, np.float32)
  for row, segment in enumerate(segments):
    if segment.reference_log_prob is not None:
      log_probs_B[row] = segment.reference_log_prob
  return log_probs_B


def write_evaluator_prompts(
  batch: Batch, segments: Sequence[Segment], words: LabelWords
):
  """Writes the evaluator prompts with their label-word branches into a batch.

  Args:
    batch: has the arrays of `make_token_arrays`; gets those of verdict examples.
    segments: one segment for each row; those that are not evaluator prompts are skipped.
    words: the label words.
  """
  batch_size, max_length = batch['decoder_input_tokens'].shape
  positions_BWM = np.zeros((batch_size, *words.ids_WM.shape), np.int32)
  branch_ids_BT = np.zeros((batch_size, max_length), np.int32)

  for row, segment in enumerate(segments):
    if not segment.is_evaluator_prompt:
      continue
    end = segment.num_context
    tokens_T = batch['decoder_input_tokens'][row]
    tokens_T[:end] = segment.sequence
    tokens_T[end : segment.length] = words.branch_tokens

    positions_T = batch['decoder_positions'][row]
    positions_T[:end] = np.arange(end)
    positions_T[end : segment.length] = end + words.branch_positions

    branch_ids_BT[row, end : segment.length] = words.branch_ids
    positions_BWM[row] = end + words.word_positions_WM

  batch['label_words'] = words.ids_WM
  batch['label_word_mask'] = words.mask_WM
  batch['word_positions'] = positions_BWM
  if words.ids_WM.shape[1] > 1:
    batch['decoder_branch_ids'] = branch_ids_BT
