"""Rows of a batch: how an example becomes parallel arrays. `batches.py` says what is in them."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

Example = Mapping[str, Any]
Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class LabelWords:
  """The evaluator's two words, and the branches that they hang on a prompt."""

  words_WM: np.ndarray
  mask_WM: np.ndarray

  @functools.cached_property
  def tails(self) -> list[np.ndarray]:
    """Of each word the tokens that are input: all but the last."""
    return [
      word[mask.astype(bool)][:-1]
      for word, mask in zip(self.words_WM, self.mask_WM)
    ]

  @functools.cached_property
  def length(self) -> int:
    return sum(map(len, self.tails))

  @functools.cached_property
  def branches(self) -> np.ndarray:
    """The branch, 1 or 2, of each token after the prompt."""
    return np.repeat([1, 2], [len(tail) for tail in self.tails])

  @functools.cached_property
  def positions(self) -> np.ndarray:
    """The position of each token after the prompt, counted from the prompt's end."""
    return np.concatenate([np.arange(len(tail)) for tail in self.tails])

  @functools.cached_property
  def word_positions_WM(self) -> np.ndarray:
    """Row index whose hidden state predicts each word token, counted from the prompt's end."""
    after = np.full(
      self.words_WM.shape, -1, np.int32
    )  # the first token: the prompt's last
    starts = np.cumsum([0, *(len(tail) for tail in self.tails)])
    for word, tail in enumerate(self.tails):
      after[word, 1 : 1 + len(tail)] = np.arange(starts[word], starts[word + 1])
    return after


@dataclasses.dataclass(frozen=True)
class Segment:
  """One example: tokens in sequence, of which the first `context` carry no loss.

  Attributes:
    length: tokens it takes in a row.
    weights: of the targets; None where all are 1.
    is_correct: the label; None where there is none.
    is_prompt: an evaluator's prompt, which takes no targets but the label words' branches.
  """

  sequence: np.ndarray
  context: int
  length: int
  weights: np.ndarray | None = None
  is_correct: int | None = None
  is_prompt: bool = False

  @property
  def num_trained(self) -> int:
    """Target tokens with a weight; the very first token of a sequence is not predicted."""
    if self.is_prompt:
      return 0
    if self.weights is None:
      return len(self.sequence) - max(self.context, 1)
    return int((self.weights[1 if self.context == 0 else 0 :] > 0).sum())


def make_segment(
  example: Example, index: int, words: LabelWords | None
) -> Segment:
  """The segment of an example; ValueError with its index when it cannot be trained on."""
  inputs = np.asarray(example['inputs'], np.int32)
  targets = np.asarray(example['targets'], np.int32)
  label = (
    None if example.get('is_correct') is None else int(example['is_correct'])
  )
  if label is not None and not len(targets):
    if words is None or not len(inputs):
      raise ValueError(
        f'example {index}: a verdict on a prompt of {len(inputs)} tokens, '
        f'label_words {words}; pass label_words=prompts.encode_words(...).'
      )
    return Segment(
      inputs,
      len(inputs),
      len(inputs) + words.length,
      None,
      label,
      is_prompt=True,
    )
  weights = example.get('target_weights')
  weights = None if weights is None else np.asarray(weights, np.float32)
  num_weights = len(targets) if weights is None else len(weights)
  if (
    len(inputs) + len(targets) < 2
    or not len(targets)
    or num_weights != len(targets)
  ):
    raise ValueError(
      f'example {index}: {len(inputs)} inputs, {len(targets)} targets, '
      f'{num_weights} target weights; wanted a target token with a token before it '
      'and one weight for each target.'
    )
  sequence = np.concatenate([inputs, targets])
  return Segment(sequence, len(inputs), len(sequence) - 1, weights, label)


def truncate_segment(whole: Segment, length: int) -> Segment:
  """The first `length` tokens of a segment that is no prompt."""
  sequence = whole.sequence[: length + 1]
  weights = (
    None
    if whole.weights is None
    else whole.weights[: max(0, length + 1 - whole.context)]
  )
  return dataclasses.replace(
    whole,
    sequence=sequence,
    length=length,
    weights=weights,
    context=min(whole.context, len(sequence)),
  )


def make_token_arrays(
  rows: Sequence[Sequence[Segment]], shape: tuple[int, int], pad_id: int
) -> Batch:
  """The five keys that every batch has; rows beyond `rows` stay empty."""
  batch = {
    'decoder_input_tokens': np.full(shape, pad_id, np.int32),
    'decoder_target_tokens': np.full(shape, pad_id, np.int32),
    'decoder_loss_weights': np.zeros(shape, np.float32),
    'decoder_positions': np.zeros(shape, np.int32),
    'decoder_segment_ids': np.zeros(shape, np.int32),
  }
  for index, row in enumerate(rows):
    start = 0
    for number, part in enumerate(row, start=1):
      batch['decoder_segment_ids'][index, start : start + part.length] = number
      if not part.is_prompt:
        _write_sequence(batch, index, start, part)
      start += part.length
  return batch


def _write_sequence(batch: Batch, row: int, start: int, part: Segment):
  here = slice(start, start + part.length)
  batch['decoder_input_tokens'][row, here] = part.sequence[:-1]
  batch['decoder_target_tokens'][row, here] = part.sequence[1:]
  batch['decoder_positions'][row, here] = np.arange(part.length)
  trained = slice(start + max(part.context - 1, 0), start + part.length)
  weights = (
    1 if part.weights is None else part.weights[1 if part.context == 0 else 0 :]
  )
  batch['decoder_loss_weights'][row, trained] = weights


def make_label_arrays(rows: Sequence[Segment], size: int) -> Batch:
  """The keys of batches with labels."""
  batch = {
    name: np.zeros(size, np.float32)
    for name in ('is_correct', 'verdict_weights')
  }
  for index, row in enumerate(rows):
    if row.is_correct is not None:
      batch['is_correct'][index] = row.is_correct
      batch['verdict_weights'][index] = 1
  return batch


def write_evaluator_prompts(
  batch: Batch, rows: Sequence[Segment], words: LabelWords
):
  """Writes the evaluator's prompts, with a branch for each label word, and adds their keys."""
  shape = batch['decoder_input_tokens'].shape
  word_positions_BWM = np.zeros((shape[0], *words.words_WM.shape), np.int32)
  branch_ids_BT = np.zeros(shape, np.int32)
  for index, row in enumerate(rows):
    if row.is_prompt:
      after = slice(row.context, row.length)
      batch['decoder_input_tokens'][index, : row.context] = row.sequence
      batch['decoder_input_tokens'][index, after] = np.concatenate(words.tails)
      batch['decoder_positions'][index, : row.context] = np.arange(row.context)
      batch['decoder_positions'][index, after] = row.context + words.positions
      branch_ids_BT[index, after] = words.branches
      word_positions_BWM[index] = row.context + words.word_positions_WM
  batch.update(
    label_words=words.words_WM,
    label_word_mask=words.mask_WM,
    word_positions=word_positions_BWM,
  )
  if words.words_WM.shape[1] > 1:
    batch['decoder_branch_ids'] = branch_ids_BT
