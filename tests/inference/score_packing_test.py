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
    problems.append(score_packing.Problem([5, 6, 7], tails))
  return problems


def longest_text(problems, words):
  return max(
    score_packing.num_tokens(tail, words)
    for problem in problems
    for tail in problem.tails
  )


@pytest.mark.parametrize(
  'longest, length', [(1, 64), (65, 96), (97, 128), (500, 512), (513, 768)]
)
def test_there_are_few_row_lengths(longest, length):
  assert score_packing.row_length(longest) == length


@pytest.mark.parametrize(
  'num_shards, num_problems, num_texts', [(1, 16, 64), (4, 64, 64), (1, 16, 32)]
)
def test_each_text_is_in_one_row_and_fewer_than_a_tenth_of_positions_are_padding(
  num_shards, num_problems, num_texts
):
  problems = make_problems(num_problems, num_texts)
  length = score_packing.row_length(longest_text(problems, WORDS))
  found, num_positions, shapes = [], 0, set()
  for shape, units in score_packing.iter_calls(
    problems, WORDS, score_packing.PaddedShape(length, 4), num_shards
  ):
    size, row_length = shape
    num_units = shape.num_units(num_shards)
    assert num_units % num_shards == 0 and len(units) <= num_units
    shapes.add(shape)
    num_positions += num_units * size * row_length
    for unit in units:
      assert len(unit.rows) <= size
      for row in unit.rows:
        found += [(unit.problem, text) for text in row]
        tails = [problems[unit.problem].tails[text] for text in row]
        used = sum(score_packing.num_tokens(tail, WORDS) for tail in tails)
        assert (
          used <= row_length and len(row) <= score_packing.MAX_TEXTS_PER_ROW
        )

  texts = [(p, t) for p in range(num_problems) for t in range(num_texts)]
  assert sorted(found) == texts and len(shapes) <= 4
  num_used = sum(
    score_packing.num_tokens(tail, WORDS)
    for problem in problems
    for tail in problem.tails
  )
  assert 1 - num_used / num_positions < 0.1


def test_arrays_of_two_texts_in_a_row():
  problem = score_packing.Problem([9, 8], [[7], [6, 6]])
  inputs = score_packing.make_score_inputs(
    [problem],
    [score_packing.Unit(0, ((1, 0),))],
    WORDS,
    num_units=1,
    rows_per_unit=2,
    prefix_length=4,
    length=16,
  )
  assert inputs.prefix_PS.tolist() == [[9, 0, 0, 0]]
  assert inputs.tokens_BT[0].tolist() == [8, 6, 6, 1, 3, 4] + [
    8,
    7,
    1,
    3,
    4,
  ] + 5 * [0]
  assert inputs.positions_BT[0, :11].tolist() == [1, 2, 3, 4, 4, 5] + [
    1,
    2,
    3,
    3,
    4,
  ]
  assert inputs.segment_ids_BT[0].tolist() == 6 * [1] + 5 * [2] + 5 * [0]
  assert inputs.branch_ids_BT[0, :11].tolist() == [0, 0, 0, 1, 2, 2] + [
    0,
    0,
    1,
    2,
    2,
  ]
  assert inputs.targets_BT[0, :11].tolist() == [6, 6, 0, 0, 0, 0] + [
    7,
    0,
    0,
    0,
    0,
  ]
  assert inputs.weights_BT[0].sum() == 3
  # The last token of a text predicts the first token of both words.
  assert inputs.word_positions_BKWM[0, 0].tolist() == [[2, 3, 2], [2, 4, 5]]
  assert inputs.word_positions_BKWM[0, 1].tolist() == [[7, 8, 7], [7, 9, 10]]
  assert not inputs.segment_ids_BT[1].any()


def test_at_least_32_problems_share_a_shape():
  small = [score_packing.PaddedShape(64, 128)] * 40
  large = [score_packing.PaddedShape(512, 64)] * 40
  few = [score_packing.PaddedShape(1024, 32)] * 5
  shared = score_packing.share_shapes([*small, *large, *few], batch_size=1)
  assert shared == small + [(1024, 64, True)] * 45

  of_few = score_packing.share_shapes([small[0], large[0], few[0]], 2)
  assert of_few == [(1024, 128, False)] * 3
  # The problems of a batch have one shape.
  assert len(set(score_packing.share_shapes([*small, *large], 80))) == 1


def test_few_problems_have_rows_of_one_length():
  problems = make_problems(4, 3)
  length = score_packing.row_length(longest_text(problems, WORDS))
  padded = score_packing.PaddedShape(length, 4, shorter_rows=False)
  calls = score_packing.iter_calls(problems, WORDS, padded, 1)
  assert {shape for shape, _ in calls} == {(1, length)}
