"""Packs the texts to be scored into rows of a few different lengths.

A row is one problem and several of its texts: the problem's tokens first, once, then the texts. A
token attends to the problem and to its own text. The row lengths are chosen from the texts of a
run, so that few positions are padding and few programs are compiled. The rows of a problem do not
depend on other problems of a batch.

Shapes: B rows of a program call, T tokens of a row, K texts of a row, Y levels of branches, W label
words, M tokens of a word.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import math
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from mathft_jax.data.label_word_branches import LabelWords

Array = TypeVar('Array')  # np.ndarray, jax.Array or jax.ShapeDtypeStruct
Tokens = Sequence[int]

MAX_TEXTS_PER_ROW = 16
TOKENS_PER_CALL = 1024  # of each device along `data`, if rows are shorter
MAX_ROW_LENGTHS = 4

_LENGTH_STEP = 64  # row lengths are multiples of it
_LONG_ROW = 2048  # no longer rows are made, except for longer texts
# A further row length is compiled if it saves this share and this number of positions.
_MIN_SAVED_SHARE = 0.01
_MIN_SAVED_POSITIONS = 4096
# Attention makes a position of a row with so many tokens about twice as expensive.
_EXPENSIVE_ROW = 8192
_SAMPLED_PROBLEMS = 64  # to choose row lengths from


class ScoreInputs(NamedTuple, Generic[Array]):
  """Rows of one call.

  Attributes:
    tokens_BT: a problem without its last token, then its texts. Each text follows the last token of
      the problem, and is followed by the branches of the label words.
    positions_BT: of the tokens.
    segment_ids_BT: 1; 0 is padding.
    branch_ids_BTY: 1 + the index of the text in its row, 0 for the problem; and the branch of the
      label words.
    targets_BT: the token that follows each, for log-probabilities.
    weights_BT: float32, 1 where the target counts.
    word_positions_BKWM: the position whose hidden state predicts each token of the label words.
  """

  tokens_BT: Array
  positions_BT: Array
  segment_ids_BT: Array
  branch_ids_BTY: Array
  targets_BT: Array
  weights_BT: Array
  word_positions_BKWM: Array


@dataclasses.dataclass(frozen=True)
class Problem:
  """Token ids of a problem and of the texts that follow it."""

  prefix: Tokens
  tails: Sequence[Tokens]


class ProblemLengths(NamedTuple):
  """Tokens of a problem and of each of its texts in a row."""

  prefix: int
  texts: Sequence[int]

  @property
  def longest(self) -> int:
    """Tokens of a row with the longest text alone."""
    return self.prefix + max(self.texts)


class Row(NamedTuple):
  """The problem of a row and the indices of its texts."""

  problem: int
  texts: tuple[int, ...]


def problem_lengths(
  problem: Problem, words: LabelWords | None
) -> ProblemLengths:
  """Returns the tokens that a problem and its texts take in a row."""
  num_branch_tokens = len(words.branch_tokens) if words else 0
  texts = [1 + len(tail) + num_branch_tokens for tail in problem.tails]
  return ProblemLengths(len(problem.prefix) - 1, texts)


# --- row lengths


def choose_row_lengths(problems: Sequence[ProblemLengths]) -> tuple[int, ...]:
  """Returns at most `MAX_ROW_LENGTHS` row lengths, ascending, for all texts of a run.

  Greedy: first the best single length, then one more as long as it saves enough positions. All
  problems need a text.
  """
  longest = max(problem.longest for problem in problems)
  step = math.ceil(len(problems) / _SAMPLED_PROBLEMS)
  sample = sorted(problems, key=lambda each: each.longest)[::-step]
  candidates = _candidate_lengths(longest)
  packed = [_token_counts(problem, candidates) for problem in sample]
  scale = len(problems) / len(sample)

  chosen: tuple[int, ...] = ()
  best = math.inf
  while len(chosen) < MAX_ROW_LENGTHS:
    options = []
    for length in candidates:
      lengths = tuple(sorted({*chosen, length}))
      if lengths[-1] >= longest:
        options.append((_cost(packed, lengths), lengths))
    cost, lengths = min(options)
    saved = best - cost
    if saved < max(_MIN_SAVED_SHARE * best, _MIN_SAVED_POSITIONS / scale):
      break
    chosen, best = lengths, cost
  return chosen


def _candidate_lengths(longest: int) -> list[int]:
  """Multiples of 64 up to 512, then of 128, and one that holds the longest text."""
  lengths = {math.ceil(longest / _LENGTH_STEP) * _LENGTH_STEP}
  lengths.update(range(_LENGTH_STEP, 512, _LENGTH_STEP))
  lengths.update(range(512, _LONG_ROW + 1, 2 * _LENGTH_STEP))
  return sorted(lengths)


def _token_counts(
  problem: ProblemLengths, candidates: Sequence[int]
) -> dict[int, np.ndarray]:
  """Returns the tokens of each row, for each row length that holds all texts."""
  counts = {}
  for length in candidates:
    if length >= problem.longest:
      rows = _first_fit(problem, length)
      counts[length] = np.array([_row_tokens(problem, row) for row in rows])
  return counts


def _cost(
  packed: Sequence[dict[int, np.ndarray]], lengths: Sequence[int]
) -> float:
  """Returns the positions of all rows, weighted by the cost of attention."""
  sizes = np.array(lengths)
  costs = sizes * (1 + sizes / _EXPENSIVE_ROW)
  total = 0.0
  for counts in packed:
    total += min(
      float(costs[np.searchsorted(sizes, counts[length])].sum())
      for length in lengths
      if length in counts
    )
  return total


# --- rows


def pack_problem(
  problem: ProblemLengths, row_lengths: Sequence[int]
) -> list[tuple[int, tuple[int, ...]]]:
  """Returns the length of each row and the indices of its texts.

  Packs by first-fit, the longest first, with each of the lengths, shortens the rows, and returns
  the rows with the fewest positions.
  """
  options = []
  for length in row_lengths:
    if length < problem.longest:
      continue
    rows = []
    for texts in _first_fit(problem, length):
      used = _row_tokens(problem, texts)
      shortest = min(each for each in row_lengths if each >= used)
      rows.append((shortest, texts))
    num_positions = sum(size for size, _ in rows)
    options.append((num_positions, len(rows), rows))
  if not options:
    raise ValueError(
      f'A problem and its longest text have {problem.longest} tokens, but the rows have '
      f'{list(row_lengths)}; use choose_row_lengths.'
    )
  return min(options)[2]


def _first_fit(problem: ProblemLengths, length: int) -> list[tuple[int, ...]]:
  """Returns the indices of the texts of each row: first-fit, the longest first."""
  lengths = problem.texts
  rows: list[list[int]] = []
  free: list[int] = []
  for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
    for row, room in enumerate(free):
      if room >= lengths[index] and len(rows[row]) < MAX_TEXTS_PER_ROW:
        break
    else:
      row = len(rows)
      rows.append([])
      free.append(length - problem.prefix)
    rows[row].append(index)
    free[row] -= lengths[index]
  return [tuple(row) for row in rows]


def _row_tokens(problem: ProblemLengths, texts: Sequence[int]) -> int:
  return problem.prefix + sum(problem.texts[text] for text in texts)


def rows_per_call(length: int, num_shards: int) -> int:
  """Returns the rows of a call on all devices, with padding."""
  return num_shards * max(1, TOKENS_PER_CALL // length)


def iter_calls(
  problems: Sequence[Problem],
  words: LabelWords | None,
  row_lengths: Sequence[int],
  num_shards: int,
) -> Iterator[tuple[int, list[Row]]]:
  """Yields the row length and the rows of each call, at most `rows_per_call`.

  Args:
    problems: problems and texts.
    words: label words that follow each text; None: no words.
    row_lengths: of `choose_row_lengths`.
    num_shards: devices over which rows are sharded.
  """
  rows: dict[int, list[Row]] = {}
  for index, problem in enumerate(problems):
    lengths = problem_lengths(problem, words)
    for length, texts in pack_problem(lengths, row_lengths):
      rows.setdefault(length, []).append(Row(index, texts))

  for length, found in rows.items():
    per_call = rows_per_call(length, num_shards)
    for start in range(0, len(found), per_call):
      yield length, found[start : start + per_call]


# --- arrays


def make_score_inputs(
  problems: Sequence[Problem],
  rows: Sequence[Row],
  words: LabelWords | None,
  *,
  num_rows: int,
  length: int,
) -> ScoreInputs[np.ndarray]:
  """Returns the arrays of one call, padded to the given sizes.

  The last token of a problem becomes the first token of each of its texts, because its hidden state
  predicts the first token of a text. This does not change S_cls.
  """
  word_shape = (1, 1) if words is None else words.ids_WM.shape

  def zeros(*shape: int) -> np.ndarray:
    return np.zeros((num_rows, *shape), np.int32)

  inputs = ScoreInputs(
    tokens_BT=zeros(length),
    positions_BT=zeros(length),
    segment_ids_BT=zeros(length),
    branch_ids_BTY=zeros(length, 2),
    targets_BT=zeros(length),
    weights_BT=np.zeros((num_rows, length), np.float32),
    word_positions_BKWM=zeros(MAX_TEXTS_PER_ROW, *word_shape),
  )
  for b, row in enumerate(rows):
    problem = problems[row.problem]
    end = len(problem.prefix) - 1
    inputs.tokens_BT[b, :end] = problem.prefix[:-1]
    inputs.positions_BT[b, :end] = np.arange(end)
    for k, text in enumerate(row.texts):
      end = _write_text(
        inputs, b, k, end, problem.prefix, problem.tails[text], words
      )
    inputs.segment_ids_BT[b, :end] = 1
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
    inputs.branch_ids_BTY[b, branches, 1] = words.branch_ids
    inputs.positions_BT[b, branches] = (
      first_position + end - start + words.branch_positions
    )
    # -1 is the last token of the text, which the branches follow.
    inputs.word_positions_BKWM[b, k] = end + words.word_positions_WM
  inputs.branch_ids_BTY[b, start:after, 0] = 1 + k
  return after
