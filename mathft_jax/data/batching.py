"""Batches of numpy arrays from a finite list of examples.

A batch is a pure function of (seed, step): a run that resumes at step k sees what it would have
seen, and each of several processes makes the same whole batch (`partitioning.shard_batch` uploads the
rows of its own devices).

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

from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import logging

import numpy as np

from mathft_jax.data import batch_arrays, packing

Example = batch_arrays.Example
Batch = batch_arrays.Batch
LabelWords = tuple[np.ndarray, np.ndarray]  # words_WM, mask_WM
Row = tuple[batch_arrays.Segment, ...]


def train_batches(
  examples: Sequence[Example],
  *,
  batch_size: int,
  max_length: int,
  seed: int,
  start_step: int = 0,
  pack: bool = False,
  group_size: int = 1,
  label_words: LabelWords | None = None,
  too_long: str = 'truncate',
  pad_id: int = 0,
) -> Iterator[Batch]:
  """Endless shuffled batches from `start_step` on.

  Args:
    examples: a finite list; groups of `group_size` neighbours stay neighbours.
    batch_size: rows of a batch; a multiple of group_size.
    max_length: T, tokens of a row.
    seed: of the order. Every epoch is another permutation of all examples.
    start_step: the step of the first batch returned.
    pack: several whole examples in a row, isolated by segment ids.
    label_words: from `prompts.encode_words`; needed when there are verdict rows.
    too_long: 'truncate' cuts targets that do not fit; 'drop' leaves the example out. Examples with
      `is_correct` and inputs that fill the row are always left out, with their whole group.
  """
  layout = _layout(
    examples, batch_size, max_length, group_size, label_words, pad_id
  )
  segments = _fitting(examples, layout, too_long)
  if pack and (group_size > 1 or layout.has_labels):
    raise ValueError(
      'pack=True with pairs or verdict rows; these have one example a row. Bind pack=False.'
    )
  return _shuffled(segments, layout, seed, start_step, pack)


def eval_batches(
  examples: Sequence[Example],
  *,
  batch_size: int,
  max_length: int,
  group_size: int = 1,
  label_words: LabelWords | None = None,
  too_long: str = 'truncate',
  pad_id: int = 0,
) -> Iterator[Batch]:
  """Every example once and in order, for evaluation; rows of weight 0 fill the last batch."""
  layout = _layout(
    examples, batch_size, max_length, group_size, label_words, pad_id
  )
  stream = [(segment,) for segment in _fitting(examples, layout, too_long)]
  return (
    _batch(stream[start : start + batch_size], layout)
    for start in range(0, len(stream), batch_size)
  )


@dataclasses.dataclass(frozen=True)
class _Layout:
  """The shape of the batches."""

  batch_size: int
  max_length: int
  group_size: int
  words: batch_arrays.LabelWords | None
  pad_id: int
  has_labels: bool  # some example has `is_correct`
  has_prompts: bool  # some example is an evaluator's prompt


def _layout(
  examples: Sequence[Example],
  batch_size: int,
  max_length: int,
  group_size: int,
  label_words: LabelWords | None,
  pad_id: int,
) -> _Layout:
  if batch_size <= 0 or batch_size % group_size:
    raise ValueError(
      f'batch_size is {batch_size}; wanted a multiple of {group_size} (rows of a '
      'group that stays together).'
    )
  labelled = [
    example for example in examples if example.get('is_correct') is not None
  ]
  words = None if label_words is None else batch_arrays.LabelWords(*label_words)
  return _Layout(
    batch_size,
    max_length,
    group_size,
    words,
    pad_id,
    bool(labelled),
    any(not len(example['targets']) for example in labelled),
  )


def _fitting(
  examples: Sequence[Example], layout: _Layout, too_long: str
) -> list[batch_arrays.Segment]:
  """The examples that fit, as segments, in whole groups; logs what was cut or left out."""
  if too_long not in ('truncate', 'drop'):
    raise ValueError(f"too_long is {too_long!r}; wanted 'truncate' or 'drop'.")
  if len(examples) % layout.group_size:
    raise ValueError(
      f'{len(examples)} examples; wanted groups of {layout.group_size} neighbours.'
    )
  kept, truncated = [], 0
  for start in range(0, len(examples), layout.group_size):
    group = [
      batch_arrays.make_segment(examples[i], i, layout.words)
      for i in range(start, start + layout.group_size)
    ]
    fitted = [_fit(segment, layout.max_length, too_long) for segment in group]
    if all(segment is not None for segment in fitted):
      truncated += sum(new is not old for new, old in zip(fitted, group))
      kept.extend(fitted)
  _log_fit(kept, examples, truncated, layout.max_length)
  return kept


def _fit(
  segment: batch_arrays.Segment, max_length: int, too_long: str
) -> batch_arrays.Segment | None:
  """The segment in at most `max_length` tokens, or None where it must be left out."""
  if segment.length <= max_length:
    return segment
  if too_long == 'drop' or segment.is_correct is not None:
    return None
  shorter = batch_arrays.truncate_segment(segment, max_length)
  return shorter if shorter.num_trained > 0 else None


def _log_fit(
  kept: list[batch_arrays.Segment],
  examples: Sequence[Example],
  truncated: int,
  max_length: int,
):
  trained = sum(segment.num_trained for segment in kept)
  labels = sum(segment.is_correct is not None for segment in kept)
  if not trained and not labels:
    shortest = min(
      (len(e['inputs']) + len(e['targets']) for e in examples), default=0
    )
    raise ValueError(
      f'Nothing to learn from: of {len(examples)} examples, the shortest of {shortest} tokens, '
      f'{len(examples) - len(kept)} do not fit into max_length={max_length} and no other has a '
      'target token or a label.'
    )
  logging.info(
    '%d examples: %d kept, %d of them truncated, %d left out as longer than %d tokens; '
    '%d supervised tokens, %d labels',
    len(examples),
    len(kept),
    truncated,
    len(examples) - len(kept),
    max_length,
    trained,
    labels,
  )


def _shuffled(
  segments: list[batch_arrays.Segment],
  layout: _Layout,
  seed: int,
  start_step: int,
  pack: bool,
) -> Iterator[Batch]:
  """Batches of an endless row stream: epoch 0, epoch 1, ...; a batch may span two epochs."""
  skip = start_step * layout.batch_size
  first, skip = (0, skip) if pack else divmod(skip, len(segments))
  step, waiting = start_step, []
  for epoch in itertools.count(first):
    stream = _epoch(segments, layout, seed, epoch, pack)
    if skip >= len(stream):
      skip -= len(stream)
      continue
    if (
      epoch & (epoch - 1) == 0 or epoch == first
    ):  # 0, 1, 2, 4, 8, ...: small data has many
      logging.info(
        'epoch %d begins at step %d: %d rows (%.2f steps), %.1f%% padding',
        epoch,
        step,
        len(stream),
        len(stream) / layout.batch_size,
        100 * _padding(stream, layout.max_length),
      )
    waiting, skip = waiting + stream[skip:], 0
    whole = len(waiting) - len(waiting) % layout.batch_size
    for start in range(0, whole, layout.batch_size):
      yield _batch(waiting[start : start + layout.batch_size], layout)
      step += 1
    waiting = waiting[whole:]


def _epoch(
  segments: list[batch_arrays.Segment],
  layout: _Layout,
  seed: int,
  epoch: int,
  pack: bool,
) -> list[Row]:
  """The rows of one epoch in their order, a function of (seed, epoch)."""
  random = np.random.default_rng([seed, epoch])
  groups = random.permutation(len(segments) // layout.group_size)
  order = (
    groups[:, None] * layout.group_size + np.arange(layout.group_size)
  ).reshape(-1)
  if not pack:
    return [(segments[i],) for i in order]
  packed = packing.pack_first_fit(
    [segments[i].length for i in order], layout.max_length
  )
  return [
    tuple(segments[order[i]] for i in packed[row])
    for row in random.permutation(len(packed))
  ]


def _padding(stream: Sequence[Row], max_length: int) -> float:
  """The share of positions that hold no token."""
  used = sum(segment.length for row in stream for segment in row)
  return 1 - used / (len(stream) * max_length)


def _batch(stream: Sequence[Row], layout: _Layout) -> Batch:
  """The rows as arrays; every batch of a stream has the same keys."""
  batch = batch_arrays.make_token_arrays(
    stream, (layout.batch_size, layout.max_length), layout.pad_id
  )
  firsts = [row[0] for row in stream]  # rows with labels hold one example
  if layout.has_labels:
    batch |= batch_arrays.make_label_arrays(firsts, layout.batch_size)
  if layout.has_prompts:
    batch_arrays.write_evaluator_prompts(batch, firsts, layout.words)
  return batch
