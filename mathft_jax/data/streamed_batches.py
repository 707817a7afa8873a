"""Batches of solutions that are tokenized when a batch needs them, for millions of examples.

  for batch in train_batches(examples, layout, seed=0, start_step=0, pack=False): ...

The arrays are those of `batching`. A batch is a function of (seed, step), as there, with these
differences:

- An example that must be dropped leaves its row empty, with weight 0, because the lengths of the
  examples before it are not known.
- Packing works in windows of `PACK_WINDOW` shuffled examples. A resumed run finds its place by the
  numbers of rows of the windows before (`packed_row_counts`); it packs windows without a number
  again.
"""

from collections.abc import Iterator, Sequence
import itertools
import logging

import numpy as np

from mathft_jax.data import batch_arrays, batching, first_fit_packing
from mathft_jax.data.batch_arrays import Batch, Segment
from mathft_jax.data.batching import BatchLayout
from mathft_jax.data.example_types import SolutionExample
from mathft_jax.data.packed_row_counts import PackedRowCounts

PACK_WINDOW = 1024  # examples
Row = tuple[Segment, ...]


def train_batches(
  examples: Sequence[SolutionExample],
  layout: BatchLayout,
  *,
  seed: int,
  start_step: int,
  pack: bool,
  shuffle: bool = True,
  row_counts: PackedRowCounts | None = None,
) -> Iterator[Batch]:
  """Yields endless batches from `start_step` on.

  Args:
    examples: read one by one; their order is that of a permutation of each epoch.
    layout: shape of the batches.
    seed: of the order.
    start_step: step of the first batch returned.
    pack: put several whole examples into a row.
    shuffle: False keeps the order of the examples in every epoch.
    row_counts: numbers of packed rows of an earlier run with the same arguments.

  Raises:
    ValueError: no example of a whole epoch has anything to learn.
  """
  logging.info(
    '%d examples are tokenized when a batch needs them, at most %d tokens of each',
    len(examples),
    layout.max_length,
  )
  num_skipped = start_step * layout.batch_size
  if pack:
    rows = _packed_rows(
      examples,
      layout,
      seed,
      shuffle,
      num_skipped,
      row_counts or PackedRowCounts(),
    )
  else:
    rows = _single_rows(examples, layout, seed, shuffle, num_skipped)
  return _make_batches(rows, layout)


def eval_batches(
  examples: Sequence[SolutionExample], layout: BatchLayout
) -> Iterator[Batch]:
  """Yields every example once and in order, one per row."""
  rows = (_row_of(examples, index, layout) for index in range(len(examples)))
  return _make_batches(rows, layout)


def _single_rows(
  examples: Sequence[SolutionExample],
  layout: BatchLayout,
  seed: int,
  shuffle: bool,
  num_skipped: int,
) -> Iterator[Row]:
  first_epoch, start = divmod(num_skipped, len(examples))
  for epoch in itertools.count(first_epoch):
    num_trained = 0
    for index in _order(len(examples), seed, epoch, shuffle)[start:]:
      row = _row_of(examples, int(index), layout)
      num_trained += len(row)
      yield row
    _check_trained(num_trained, start, layout)
    start = 0


def _packed_rows(
  examples: Sequence[SolutionExample],
  layout: BatchLayout,
  seed: int,
  shuffle: bool,
  num_skipped: int,
  row_counts: PackedRowCounts,
) -> Iterator[Row]:
  for epoch in itertools.count():
    order = _order(len(examples), seed, epoch, shuffle)
    num_rows = 0
    for window, start in enumerate(range(0, len(order), PACK_WINDOW)):
      known = row_counts.get(epoch, window)
      if known is not None and known <= num_skipped:
        num_skipped -= known
        num_rows += known
        continue
      rng = np.random.default_rng([seed, epoch, window]) if shuffle else None
      indices = order[start : start + PACK_WINDOW]
      rows = _pack_window(examples, indices, layout, rng)
      row_counts.add(epoch, window, len(rows))
      num_rows += len(rows)
      yield from rows[num_skipped:]
      num_skipped = max(0, num_skipped - len(rows))
    _check_trained(num_rows, 0, layout)


def _pack_window(
  examples: Sequence[SolutionExample],
  indices: np.ndarray,
  layout: BatchLayout,
  rng: np.random.Generator | None,
) -> list[Row]:
  """Returns the rows of some examples, in random order if there is a generator."""
  segments: list[Segment] = []
  for index in indices:
    segments += _row_of(examples, int(index), layout)
  if not segments:
    return []
  lengths = [segment.length for segment in segments]
  packed = first_fit_packing.pack_first_fit(lengths, layout.max_length)
  order = range(len(packed)) if rng is None else rng.permutation(len(packed))
  rows = []
  for row in order:
    rows.append(tuple(segments[index] for index in packed[row]))
  return rows


def _order(count: int, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
  if not shuffle:
    return np.arange(count)
  return np.random.default_rng([seed, epoch]).permutation(count)


def _row_of(
  examples: Sequence[SolutionExample], index: int, layout: BatchLayout
) -> Row:
  """Returns the row of one example; an empty row if it must be dropped."""
  segment = batch_arrays.make_segment(examples[index], index, None)
  fitted = batching.fit_segment(segment, layout)
  return () if fitted is None else (fitted,)


def _check_trained(num_trained: int, start: int, layout: BatchLayout) -> None:
  if not num_trained and not start:
    raise ValueError(
      f'Nothing to learn from: no example has a target within max_length={layout.max_length} '
      'tokens. Use a larger MAX_LENGTH or other examples.'
    )


def _make_batches(rows: Iterator[Row], layout: BatchLayout) -> Iterator[Batch]:
  shape = (layout.batch_size, layout.max_length)
  while True:
    batch_rows = list(itertools.islice(rows, layout.batch_size))
    if not batch_rows:
      return
    yield batch_arrays.make_token_arrays(batch_rows, shape, layout.pad_id)
