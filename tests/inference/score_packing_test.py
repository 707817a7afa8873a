"""Texts are packed into rows without loss and with little padding."""

import numpy as np
import pytest

from mathft_jax.data.label_word_branches import LabelWords
from mathft_jax.inference import score_packing

WORDS = LabelWords(((1, 2), (3, 4, 5)))  # three branch tokens


def make_problems(num_problems, num_texts):
  """Problems whose solutions have lengths as in MATH: a median of 200 tokens, a long tail."""
  random = np.random.default_rng(0)
  problems = []
  for _ in range(num_problems):
    lengths = np.exp(random.normal(np.log(200), 0.5, num_texts)).astype(int)
    tails = [[7] * min(length, 1000) for length in lengths]
    problems.append(score_packing.Problem([5] * 60, tails))
  return problems


@pytest.mark.parametrize(
  'num_shards, num_problems, num_texts', [(1, 64, 8), (1, 16, 32), (4, 64, 32)]
)
def test_each_text_is_in_one_row_and_fewer_than_a_tenth_of_positions_are_padding(
  num_shards, num_problems, num_texts
):
  problems = make_problems(num_problems, num_texts)
  lengths = [score_packing.problem_lengths(each, WORDS) for each in problems]
  row_lengths = score_packing.choose_row_lengths(lengths)
  found, num_used, num_positions = [], 0, 0
  for length, rows in score_packing.iter_calls(
    problems, WORDS, row_lengths, num_shards
  ):
    num_rows = score_packing.rows_per_call(length, num_shards)
    assert num_rows % num_shards == 0 and len(rows) <= num_rows
    num_positions += num_rows * length
    for row in rows:
      found += [(row.problem, text) for text in row.texts]
      texts = lengths[row.problem].texts
      used = 59 + sum(texts[text] for text in row.texts)
      assert used <= length and len(row.texts) <= 16
      num_used += used

  texts = [(p, t) for p in range(num_problems) for t in range(num_texts)]
  assert sorted(found) == texts
  assert len(row_lengths) <= 4 and 1 - num_used / num_positions < 0.1


@pytest.mark.parametrize(
  'prefix, texts, row_lengths', [(9, [11], (64,)), (100, [4400], (4544,))]
)
def test_few_texts_are_rows_of_one_length(prefix, texts, row_lengths):
  lengths = score_packing.ProblemLengths(prefix, texts)
  assert score_packing.choose_row_lengths([lengths]) == row_lengths


def test_a_text_that_is_longer_than_all_rows_is_refused():
  lengths = score_packing.ProblemLengths(4, [100])
  with pytest.raises(ValueError, match=r'104 tokens.*\[64\]'):
    score_packing.pack_problem(lengths, [64])


def test_arrays_of_two_texts_in_a_row():
  problem = score_packing.Problem([4, 9, 8], [[7], [6, 6]])
  inputs = score_packing.make_score_inputs(
    [problem],
    [score_packing.Row(0, (1, 0))],
    WORDS,
    num_rows=2,
    length=16,
  )
  prefix, first, second = [4, 9], [8, 6, 6, 1, 3, 4], [8, 7, 1, 3, 4]
  assert inputs.tokens_BT[0].tolist() == prefix + first + second + [0] * 3
  assert inputs.positions_BT[0, :13].tolist() == (
    [0, 1] + [2, 3, 4, 5, 5, 6] + [2, 3, 4, 4, 5]
  )
  assert inputs.segment_ids_BT[0].tolist() == 13 * [1] + 3 * [0]
  text_BT, word_BT = np.moveaxis(inputs.branch_ids_BTY, -1, 0)
  assert text_BT[0].tolist() == 2 * [0] + 6 * [1] + 5 * [2] + 3 * [0]
  assert word_BT[0, :13].tolist() == (
    [0, 0] + [0, 0, 0, 1, 2, 2] + [0, 0, 1, 2, 2]
  )
  assert inputs.targets_BT[0, :13].tolist() == (
    [0, 0] + [6, 6, 0, 0, 0, 0] + [7, 0, 0, 0, 0]
  )
  assert inputs.weights_BT[0].sum() == 3
  # The last token of a text predicts the first token of both words.
  assert inputs.word_positions_BKWM[0, 0].tolist() == [[4, 5, 4], [4, 6, 7]]
  assert inputs.word_positions_BKWM[0, 1].tolist() == [[9, 10, 9], [9, 11, 12]]
  assert not inputs.segment_ids_BT[1].any()
