"""Packs the texts to be scored into rows of equal length, and the rows into units.

A unit is one problem and a few rows of its texts: the problem is prefilled once for all of them. A
row has several texts, isolated by segment ids. Units have few different sizes, so few programs are
compiled, and few positions are padding.

Shapes: P units of a program call, C rows of a unit, B = P * C rows, T tokens of a row, K texts of a
row, W label words, M tokens of a word.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from mathft_jax.data.label_word_branches import LabelWords

Array = TypeVar('Array')  # np.ndarray, jax.Array or jax.ShapeDtypeStruct
Tokens = Sequence[int]

MAX_TEXTS_PER_ROW = 16
ROWS_PER_UNIT = 4  # the last rows of a problem are units of their own
ROWS_PER_CALL = 4  # of each device along `data`
MIN_ROW_LENGTH = 64
MIN_PROBLEMS_PER_SHAPE = 32  # a compilation takes longer than some padding


class ScoreInputs(NamedTuple, Generic[Array]):
  """P units with C rows each; the rows of a unit are neighbours.

  Attributes:
    prefix_PS, prefix_lengths_P: token ids of the problems, padded on the right.
    tokens_BT: the texts of each row. A text follows the last token of its problem, and is followed
      by the branches of the label words.
    positions_BT, branch_ids_BT: of the tokens.
    segment_ids_BT: 1 + the index of the text in its row; 0 is padding.
    targets_BT: the token that follows each, for log-probabilities.
    weights_BT: float32, 1 where the target counts.
    word_positions_BKWM: the position whose hidden state predicts each token of the label words.
  """

  prefix_PS: Array
  prefix_lengths_P: Array
  tokens_BT: Array
  positions_BT: Array
  segment_ids_BT: Array
  branch_ids_BT: Array
  targets_BT: Array
  weights_BT: Array
  word_positions_BKWM: Array


@dataclasses.dataclass(frozen=True)
class Problem:
  """Token ids of a problem and of the texts that follow it."""

  prefix: Tokens
  tails: Sequence[Tokens]


@dataclasses.dataclass(frozen=True)
class Unit:
  """Rows of one problem: the indices of the texts in each."""

  problem: int
  rows: tuple[tuple[int, ...], ...]


def row_length(longest: int) -> int:
  """Returns the tokens of a row for texts of at most `longest` tokens: 64, 96, 128, 192, ..."""
  length = MIN_ROW_LENGTH
  while length < longest:
    is_power_of_two = length & (length - 1) == 0
    length = length * 3 // 2 if is_power_of_two else length * 4 // 3
  return length


def num_tokens(tail: Tokens, words: LabelWords | None) -> int:
  """Returns the tokens of a text in its row."""
  return 1 + len(tail) + (len(words.branch_tokens) if words else 0)


def pack_rows(lengths: Sequence[int], length: int) -> list[tuple[int, ...]]:
  """Returns the indices of the texts of each row: first-fit, the longest first."""
  rows: list[list[int]] = []
  free: list[int] = []
  for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
    for row, room in enumerate(free):
      if room >= lengths[index] and len(rows[row]) < MAX_TEXTS_PER_ROW:
        break
    else:
      row = len(rows)
      rows.append([])
      free.append(length)
    rows[row].append(index)
    free[row] -= lengths[index]
  return [tuple(row) for row in rows]


class PaddedShape(NamedTuple):
  """Sizes to which a problem is padded.

  Attributes:
    length: tokens of a row.
    prefix_length: tokens of its prefix.
    shorter_rows: whether rows that are left over may be a half or a quarter as long.
  """

  length: int
  prefix_length: int
  shorter_rows: bool = True


def share_shapes(
  shapes: Sequence[PaddedShape], batch_size: int
) -> list[PaddedShape]:
  """Returns the shape of each problem such that at least 32 problems share one.

  The problems of a batch share a shape. Few shapes are few compilations. Of fewer than 32 problems
  no row is shorter.

  Args:
    shapes: the smallest shape of each problem, sorted.
    batch_size: problems of a batch.
  """
  batches = []
  for start in range(0, len(shapes), batch_size):
    batches.append(shapes[start : start + batch_size])

  groups: list[list[PaddedShape]] = []
  for batch in batches:
    is_full = bool(groups) and len(groups[-1]) >= MIN_PROBLEMS_PER_SHAPE
    if not groups or (is_full and _largest(groups[-1]) != _largest(batch)):
      groups.append([])
    groups[-1] += batch
  if len(groups) > 1 and len(groups[-1]) < MIN_PROBLEMS_PER_SHAPE:
    last = groups.pop()
    groups[-1] += last

  shared = []
  for group in groups:
    shape = _largest(group)
    if len(shapes) < MIN_PROBLEMS_PER_SHAPE:
      shape = shape._replace(shorter_rows=False)
    shared += [shape] * len(group)
  return shared


def _largest(shapes: Sequence[PaddedShape]) -> PaddedShape:
  return PaddedShape(*map(max, zip(*shapes)))


class CallShape(NamedTuple):
  """Sizes of one call: rows of a unit, tokens of a row."""

  rows_per_unit: int
  length: int

  def num_units(self, num_shards: int) -> int:
    """Returns the units of a call on all devices, with padding."""
    return num_shards * max(1, ROWS_PER_CALL // self.rows_per_unit)


def iter_calls(
  problems: Sequence[Problem],
  words: LabelWords | None,
  padded: PaddedShape,
  num_shards: int,
) -> Iterator[tuple[CallShape, list[Unit]]]:
  """Yields the shape and the units of each call; a call may have fewer units than its shape.

  Args:
    problems: problems and texts.
    words: label words that follow each text; None: no words.
    padded: of these problems.
    num_shards: devices over which units are sharded.
  """
  units: dict[CallShape, list[Unit]] = {}
  length = padded.length
  for index, problem in enumerate(problems):
    lengths = [num_tokens(tail, words) for tail in problem.tails]
    rows = pack_rows(lengths, length)
    num_whole = len(rows) // ROWS_PER_UNIT * ROWS_PER_UNIT
    for start in range(0, num_whole, ROWS_PER_UNIT):
      unit = Unit(index, tuple(rows[start : start + ROWS_PER_UNIT]))
      units.setdefault(CallShape(ROWS_PER_UNIT, length), []).append(unit)
    for row in rows[num_whole:]:
      used = sum(lengths[text] for text in row)
      shape = CallShape(1, length)
      if padded.shorter_rows:
        shape = CallShape(1, _shortest_length(used, length))
      units.setdefault(shape, []).append(Unit(index, (row,)))

  for shape, found in units.items():
    per_call = shape.num_units(num_shards)
    for start in range(0, len(found), per_call):
      yield shape, found[start : start + per_call]


def _shortest_length(used: int, length: int) -> int:
  """Returns the shortest of a quarter, a half and the whole length that is at least `used`."""
  for part in (length // 4, length // 2):
    if used <= part:
      return part
  return length


def make_score_inputs(
  problems: Sequence[Problem],
  units: Sequence[Unit],
  words: LabelWords | None,
  *,
  num_units: int,
  rows_per_unit: int,
  prefix_length: int,
  length: int,
) -> ScoreInputs[np.ndarray]:
  """Returns the arrays of one call, padded to the given sizes.

  The last token of a prefix becomes the first token of its texts, because its hidden state predicts
  the first token of a tail. This does not change S_cls.
  """
  num_rows = num_units * rows_per_unit
  word_shape = (1, 1) if words is None else words.ids_WM.shape

  def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int32)

  inputs = ScoreInputs(
    prefix_PS=zeros(num_units, prefix_length),
    prefix_lengths_P=zeros(num_units),
    tokens_BT=zeros(num_rows, length),
    positions_BT=zeros(num_rows, length),
    segment_ids_BT=zeros(num_rows, length),
    branch_ids_BT=zeros(num_rows, length),
    targets_BT=zeros(num_rows, length),
    weights_BT=np.zeros((num_rows, length), np.float32),
    word_positions_BKWM=zeros(num_rows, MAX_TEXTS_PER_ROW, *word_shape),
  )
  for p, unit in enumerate(units):
    problem = problems[unit.problem]
    before = problem.prefix[:-1]
    inputs.prefix_PS[p, : len(before)] = before
    inputs.prefix_lengths_P[p] = len(before)
    for b, texts in enumerate(unit.rows, start=p * rows_per_unit):
      start = 0
      for k, text in enumerate(texts):
        start = _write_text(
          inputs, b, k, start, problem.prefix, problem.tails[text], words
        )
  return inputs


def _write_text(
  inputs: ScoreInputs[np.ndarray],
  b: int,
  k: int,
  start: int,
  prefix: Tokens,
  tail: Tokens,
  words: LabelWords | None,
) -> int:
  """Writes a text into row b from `start` on; returns where the next one starts."""
  end = start + 1 + len(tail)
  first_position = len(prefix) - 1
  inputs.tokens_BT[b, start:end] = [prefix[-1], *tail]
  inputs.positions_BT[b, start:end] = first_position + np.arange(end - start)
  inputs.targets_BT[b, start : end - 1] = tail
  inputs.weights_BT[b, start : end - 1] = 1
  after = end
  if words is not None:
    after += len(words.branch_tokens)
    branches = slice(end, after)
    inputs.tokens_BT[b, branches] = words.branch_tokens
    inputs.branch_ids_BT[b, branches] = words.branch_ids
    inputs.positions_BT[b, branches] = (
      first_position + end - start + words.branch_positions
    )
    # -1 is the last token of the text, which the branches follow.
    inputs.word_positions_BKWM[b, k] = end + words.word_positions_WM
  inputs.segment_ids_BT[b, start:after] = 1 + k
  return after
