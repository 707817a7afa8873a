"""Batches of numpy arrays from a finite list of examples.

A batch is a pure function of (seed, step): a run that resumes at step k sees what it would have
seen, and the order does not depend on the number of processes, each of which takes its own rows of
one global batch.

  decoder_input_tokens   int32   [B, T]     sequence[:-1] where sequence = inputs + targets
  decoder_target_tokens  int32   [B, T]     sequence[1:]
  decoder_loss_weights   float32 [B, T]     weight of each target token, 0 on inputs and padding
  decoder_positions      int32   [B, T]     restart at 0 in every packed segment
  decoder_segment_ids    int32   [B, T]     1, 2, ... per example in the row; 0 is padding

With `is_correct` in some example:

  is_correct             float32 [B]
  verdict_weights        float32 [B]        1 where `is_correct` counts, else 0

With verdict rows (`is_correct` and no targets; the row is the evaluator's prompt):

  word_positions         int32   [B, W, M]  row index whose hidden state predicts token m of word w
  decoder_branch_ids     int32   [B, T]     only when a label word has several tokens, see below
  label_words            int32   [W, M]     the same in every batch, as is
  label_word_mask        bool    [W, M]

A label word of several tokens needs all but its last token as input. A verdict row is therefore
prompt + word 0 [:-1] + word 1 [:-1]; each word's piece is a branch (1, 2; the prompt is 0) that
sees the prompt and itself, and whose positions continue the prompt's.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
import logging
from typing import Any

import numpy as np

from mathft_jax.data import packing

Example = Mapping[str, Any]
Batch = dict[str, np.ndarray]
LabelWords = tuple[np.ndarray, np.ndarray]  # words_WM, mask_WM


def batches(examples: Sequence[Example], *, batch_size: int, max_length: int, seed: int,
            start_step: int = 0, pack: bool = False, group_size: int = 1,
            label_words: LabelWords | None = None, too_long: str = 'truncate', pad_id: int = 0,
            process_index: int = 0, process_count: int = 1) -> Iterator[Batch]:
  """Endless shuffled batches from `start_step` on; this process's rows of each.

  Args:
    examples: a finite list; groups of `group_size` neighbours stay neighbours.
    batch_size: rows of the global batch; a multiple of group_size * process_count.
    max_length: T, tokens of a row.
    seed: of the order. Every epoch is another permutation of all examples.
    start_step: the step of the first batch returned.
    pack: several whole examples in a row, isolated by segment ids.
    label_words: from `prompts.encode_words`; needed when there are verdict rows.
    too_long: 'truncate' cuts targets that do not fit; 'drop' leaves the example out. Examples with
      `is_correct` and inputs that fill the row are always left out, with their whole group.
  """
  layout = _layout(examples, batch_size, max_length, group_size, label_words, pad_id,
                   process_index, process_count)
  segments = _fitting(examples, layout, too_long)
  if pack and (group_size > 1 or layout.has_labels):
    raise ValueError('pack=True with pairs or verdict rows; these have one example a row. '
                     'Bind pack=False.')
  return _shuffled(segments, layout, seed, start_step, pack)


def one_pass(examples: Sequence[Example], *, batch_size: int, max_length: int, group_size: int = 1,
             label_words: LabelWords | None = None, too_long: str = 'truncate', pad_id: int = 0,
             process_index: int = 0, process_count: int = 1) -> Iterator[Batch]:
  """Every example once and in order, for evaluation; rows of weight 0 fill the last batch."""
  layout = _layout(examples, batch_size, max_length, group_size, label_words, pad_id,
                   process_index, process_count)
  segments = _fitting(examples, layout, too_long)
  rows = [(segment,) for segment in segments]
  return (_batch(rows[start:start + batch_size], layout)
          for start in range(0, len(rows), batch_size))


@dataclasses.dataclass(frozen=True)
class _Layout:
  """The shape of the batches and which rows of them are ours."""

  batch_size: int
  max_length: int
  group_size: int
  label_words: LabelWords | None
  pad_id: int
  process_index: int
  process_count: int
  has_labels: bool  # some example has `is_correct`
  has_verdict_rows: bool  # some example is an evaluator's prompt


def _layout(examples: Sequence[Example], batch_size: int, max_length: int, group_size: int,
            label_words: LabelWords | None, pad_id: int, process_index: int,
            process_count: int) -> _Layout:
  if batch_size <= 0 or batch_size % (group_size * process_count):
    raise ValueError(f'batch_size is {batch_size}; wanted a multiple of {group_size} (rows of a '
                     f'group that stays together) x {process_count} (processes).')
  labelled = [example for example in examples if example.get('is_correct') is not None]
  return _Layout(batch_size, max_length, group_size, label_words, pad_id, process_index,
                 process_count, bool(labelled), any(not len(e['targets']) for e in labelled))


@dataclasses.dataclass(frozen=True)
class _Segment:
  """One example, ready to be written into a row: parallel arrays of `len(tokens)`."""

  tokens: np.ndarray
  targets: np.ndarray
  weights: np.ndarray
  positions: np.ndarray
  branches: np.ndarray | None = None
  is_correct: int | None = None
  word_positions_WM: np.ndarray | None = None


def _fitting(examples: Sequence[Example], layout: _Layout, too_long: str) -> list[_Segment]:
  """The examples that fit, as segments, in whole groups; logs what was cut or left out."""
  if too_long not in ('truncate', 'drop'):
    raise ValueError(f"too_long is {too_long!r}; wanted 'truncate' or 'drop'.")
  if len(examples) % layout.group_size:
    raise ValueError(f'{len(examples)} examples; wanted groups of {layout.group_size} neighbours.')
  kept, truncated = [], 0
  for start in range(0, len(examples), layout.group_size):
    group = [_segment(examples[i], i, layout) for i in range(start, start + layout.group_size)]
    fitted = [_fit(segment, layout.max_length, too_long) for segment in group]
    if all(segment is not None for segment in fitted):
      truncated += sum(new is not old for new, old in zip(fitted, group))
      kept.extend(fitted)
  _log_fit(kept, len(examples), truncated, layout.max_length)
  return kept


def _fit(segment: _Segment, max_length: int, too_long: str) -> _Segment | None:
  """The segment in at most `max_length` tokens, or None where it must be left out."""
  if len(segment.tokens) <= max_length:
    return segment
  if too_long == 'drop' or segment.is_correct is not None:
    return None
  if not segment.weights[:max_length].any():
    return None
  return dataclasses.replace(segment, **{
      name: getattr(segment, name)[:max_length]
      for name in ('tokens', 'targets', 'weights', 'positions')})


def _log_fit(kept: list[_Segment], num_examples: int, truncated: int, max_length: int):
  supervised = sum(float((s.weights > 0).sum()) for s in kept)
  labels = sum(s.is_correct is not None for s in kept)
  if not supervised and not labels:
    raise ValueError(
        f'Nothing to learn from: of {num_examples} examples {num_examples - len(kept)} are longer '
        f'than max_length={max_length} and no other has a target token or a label.')
  logging.info(
      '%d examples: %d kept, %d of them truncated, %d left out as longer than %d tokens; '
      '%d supervised tokens, %d labels', num_examples, len(kept), truncated,
      num_examples - len(kept), max_length, supervised, labels)


def _segment(example: Example, index: int, layout: _Layout) -> _Segment:
  inputs = np.asarray(example['inputs'], np.int32)
  targets = np.asarray(example['targets'], np.int32)
  is_correct = example.get('is_correct')
  if is_correct is not None and not len(targets):
    return _verdict_segment(inputs, int(is_correct), index, layout)
  weights = np.asarray(example.get('target_weights', np.ones(len(targets))), np.float32)
  if len(inputs) + len(targets) < 2 or not len(targets) or len(weights) != len(targets):
    raise ValueError(f'example {index}: {len(inputs)} inputs, {len(targets)} targets, '
                     f'{len(weights)} target weights; wanted a target token with a token before '
                     'it and one weight for each target.')
  sequence = np.concatenate([inputs, targets])
  weights = np.concatenate([np.zeros(len(inputs), np.float32), weights])[1:]
  return _Segment(sequence[:-1], sequence[1:], weights,
                  np.arange(len(sequence) - 1, dtype=np.int32),
                  is_correct=None if is_correct is None else int(is_correct))


def _verdict_segment(prompt: np.ndarray, is_correct: int, index: int, layout: _Layout) -> _Segment:
  """The evaluator's prompt and, for words of several tokens, their branches."""
  if layout.label_words is None or not len(prompt):
    raise ValueError(f'example {index}: a verdict on a prompt of {len(prompt)} tokens, label_words '
                     f'{layout.label_words}; pass label_words=prompts.encode_words(...).')
  words_WM, mask_WM = layout.label_words
  tails = [word[mask][:-1] for word, mask in zip(words_WM, mask_WM.astype(bool))]
  lengths = [len(tail) for tail in tails]
  tokens = np.concatenate([prompt, *tails])
  positions = np.concatenate(
      [np.arange(len(prompt)), *(len(prompt) + np.arange(length) for length in lengths)])
  branches = np.repeat(np.arange(len(tails) + 1), [len(prompt), *lengths])
  word_positions_WM = np.zeros(words_WM.shape, np.int32)
  for word, start in enumerate(np.cumsum([len(prompt), *lengths[:-1]])):
    word_positions_WM[word, 0] = len(prompt) - 1
    word_positions_WM[word, 1:1 + lengths[word]] = np.arange(start, start + lengths[word])
  return _Segment(tokens, np.full_like(tokens, layout.pad_id), np.zeros(len(tokens), np.float32),
                  positions, branches, is_correct, word_positions_WM)


def _shuffled(segments: list[_Segment], layout: _Layout, seed: int, start_step: int,
              pack: bool) -> Iterator[Batch]:
  """Batches of an endless row stream: epoch 0, epoch 1, ...; a batch may span two epochs."""
  skip = start_step * layout.batch_size
  first, skip = (0, skip) if pack else divmod(skip, len(segments))
  step, waiting = start_step, []
  for epoch in itertools.count(first):
    rows = _epoch_rows(segments, layout, seed, epoch, pack)
    if skip >= len(rows):
      skip -= len(rows)
      continue
    if epoch & (epoch - 1) == 0 or epoch == first:  # 0, 1, 2, 4, 8, ...: small data has many
      logging.info('epoch %d begins at step %d: %d rows (%.2f steps), %.1f%% padding', epoch, step,
                   len(rows), len(rows) / layout.batch_size,
                   100 * _padding(rows, layout.max_length))
    waiting, skip = waiting + rows[skip:], 0
    whole = len(waiting) - len(waiting) % layout.batch_size
    for start in range(0, whole, layout.batch_size):
      yield _batch(waiting[start:start + layout.batch_size], layout)
      step += 1
    waiting = waiting[whole:]


def _epoch_rows(segments: list[_Segment], layout: _Layout, seed: int, epoch: int,
                pack: bool) -> list[tuple[_Segment, ...]]:
  """The rows of one epoch in their order, a function of (seed, epoch)."""
  random = np.random.default_rng([seed, epoch])
  groups = random.permutation(len(segments) // layout.group_size)
  order = (groups[:, None] * layout.group_size + np.arange(layout.group_size)).reshape(-1)
  if not pack:
    return [(segments[i],) for i in order]
  rows = packing.first_fit([len(segments[i].tokens) for i in order], layout.max_length)
  return [tuple(segments[order[i]] for i in rows[row]) for row in random.permutation(len(rows))]


def _padding(rows: Sequence[tuple[_Segment, ...]], max_length: int) -> float:
  """The share of positions that hold no token."""
  used = sum(len(segment.tokens) for row in rows for segment in row)
  return 1 - used / (len(rows) * max_length)


def _batch(rows: Sequence[tuple[_Segment, ...]], layout: _Layout) -> Batch:
  """This process's share of `rows` as arrays; every batch of a stream has the same keys."""
  size = layout.batch_size // layout.process_count
  rows = rows[layout.process_index * size:(layout.process_index + 1) * size]
  shape = (size, layout.max_length)
  batch = {
      'decoder_input_tokens': np.full(shape, layout.pad_id, np.int32),
      'decoder_target_tokens': np.full(shape, layout.pad_id, np.int32),
      'decoder_loss_weights': np.zeros(shape, np.float32),
      'decoder_positions': np.zeros(shape, np.int32),
      'decoder_segment_ids': np.zeros(shape, np.int32),
  }
  for index, row in enumerate(rows):
    start = 0
    for number, segment in enumerate(row, start=1):
      where = (index, slice(start, start + len(segment.tokens)))
      batch['decoder_input_tokens'][where] = segment.tokens
      batch['decoder_target_tokens'][where] = segment.targets
      batch['decoder_loss_weights'][where] = segment.weights
      batch['decoder_positions'][where] = segment.positions
      batch['decoder_segment_ids'][where] = number
      start += len(segment.tokens)
  return batch | _labels([row[0] for row in rows], layout)


def _labels(rows: Sequence[_Segment], layout: _Layout) -> Batch:
  """The keys that only batches with labels have."""
  if not layout.has_labels:
    return {}
  size = layout.batch_size // layout.process_count
  batch = {name: np.zeros(size, np.float32) for name in ('is_correct', 'verdict_weights')}
  for index, row in enumerate(rows):
    if row.is_correct is not None:
      batch['is_correct'][index] = row.is_correct
      batch['verdict_weights'][index] = 1
  if layout.has_verdict_rows:
    batch |= _label_words(rows, layout, size)
  return batch


def _label_words(rows: Sequence[_Segment], layout: _Layout, size: int) -> Batch:
  words_WM, mask_WM = layout.label_words
  batch = {'label_words': words_WM, 'label_word_mask': mask_WM,
           'word_positions': np.zeros((size, *words_WM.shape), np.int32)}
  if words_WM.shape[1] > 1:
    batch['decoder_branch_ids'] = np.zeros((size, layout.max_length), np.int32)
  for index, row in enumerate(rows):
    if row.word_positions_WM is not None:
      batch['word_positions'][index] = row.word_positions_WM
      if 'decoder_branch_ids' in batch:
        batch['decoder_branch_ids'][index, :len(row.tokens)] = row.branches
  return batch
