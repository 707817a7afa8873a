import dataclasses
import itertools
import logging

import numpy as np
import pytest

from mathft_jax.data import batching, first_fit_packing
from mathft_jax.data.example_types import (
  ContrastExample,
  SolutionExample,
  VerdictExample,
)
from mathft_jax.data.label_word_branches import LabelWords

PAD, EOS = 0, 1
KEYS = (
  'decoder_input_tokens',
  'decoder_target_tokens',
  'decoder_loss_weights',
  'decoder_positions',
  'decoder_segment_ids',
)
# Words of one token (6) and of three (5, 7, 8): correct is shorter.
LONG_WORDS = LabelWords(((6,), (5, 7, 8)))
SHORT_WORDS = LabelWords(((6,), (5,)))


def solve(number, inputs=3, targets=2):
  """A solution example; each token id is 100 * number + position."""
  ids = 100 * number + np.arange(inputs + targets)
  return SolutionExample(ids[:inputs], [*ids[inputs:-1], EOS])


def pair(number):
  return [VerdictExample([100 * number + label] * 4, label) for label in (1, 0)]


def contrast(number, targets, label):
  example = solve(number, targets=targets)
  return ContrastExample(example.inputs, example.targets, label)


def numbers(batch):
  """The number of the first example of each row."""
  return batch['decoder_input_tokens'][:, 0] // 100


def train_batches(examples, *, seed=0, start_step=0, pack=False, **layout):
  return batching.train_batches(
    examples,
    batching.BatchLayout(**layout),
    seed=seed,
    start_step=start_step,
    pack=pack,
  )


def eval_batches(examples, **layout):
  return batching.eval_batches(examples, batching.BatchLayout(**layout))


def take(stream, count):
  return list(itertools.islice(stream, count))


def assert_equal_batches(left, right):
  assert left.keys() == right.keys()
  for key in left:
    np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def test_inputs_and_targets_are_the_sequence_shifted_by_one():
  batch = next(eval_batches([solve(1)], batch_size=1, max_length=6))
  np.testing.assert_array_equal(
    batch['decoder_input_tokens'], [[100, 101, 102, 103, PAD, PAD]]
  )
  np.testing.assert_array_equal(
    batch['decoder_target_tokens'], [[101, 102, 103, EOS, PAD, PAD]]
  )
  np.testing.assert_array_equal(
    batch['decoder_positions'], [[0, 1, 2, 3, 0, 0]]
  )
  np.testing.assert_array_equal(
    batch['decoder_segment_ids'], [[1, 1, 1, 1, 0, 0]]
  )


def test_loss_weights_cover_targets_and_eos_only():
  batch = next(eval_batches([solve(1)], batch_size=1, max_length=6))
  trained = batch['decoder_target_tokens'][batch['decoder_loss_weights'] > 0]
  np.testing.assert_array_equal(trained, [103, EOS])


def test_target_weights_become_loss_weights():
  example = dataclasses.replace(solve(1), target_weights=[0.25, 3])
  batch = next(eval_batches([example], batch_size=1, max_length=6))
  np.testing.assert_array_equal(
    batch['decoder_loss_weights'], [[0, 0, 0.25, 3, 0, 0]]
  )


def test_without_inputs_all_but_the_first_token_are_trained():
  batch = next(
    eval_batches([SolutionExample([], [7, 8, EOS])], batch_size=1, max_length=3)
  )
  np.testing.assert_array_equal(batch['decoder_target_tokens'], [[8, EOS, PAD]])
  np.testing.assert_array_equal(batch['decoder_loss_weights'], [[1, 1, 0]])


def test_target_weights_without_inputs_skip_the_first_token():
  example = SolutionExample([], [7, 8, EOS], [5, 2, 3])
  batch = next(eval_batches([example], batch_size=1, max_length=3))
  np.testing.assert_array_equal(batch['decoder_loss_weights'], [[2, 3, 0]])


@pytest.mark.parametrize('pack', [False, True])
@pytest.mark.parametrize('step', [1, 4, 9, 17])
def test_resumed_batches_equal_those_of_an_uninterrupted_run(pack, step):
  random = np.random.default_rng(0)
  examples = [
    solve(n, targets=int(random.integers(1, 9))) for n in range(1, 20)
  ]
  options = dict(batch_size=3, max_length=16, seed=5, pack=pack)
  whole = take(train_batches(examples, **options), 20)
  resumed = take(train_batches(examples, start_step=step, **options), 20 - step)
  for left, right in zip(whole[step:], resumed, strict=True):
    assert_equal_batches(left, right)


def test_another_seed_gives_another_order():
  examples = [solve(n) for n in range(1, 30)]
  first = [
    next(train_batches(examples, batch_size=8, max_length=6, seed=seed))[
      'decoder_input_tokens'
    ]
    for seed in (0, 1)
  ]
  assert not np.array_equal(*first)


def test_each_epoch_has_every_example_once_in_a_new_order():
  examples = [solve(n) for n in range(1, 13)]
  stream = train_batches(examples, batch_size=4, max_length=6, seed=0)
  epochs = [
    np.concatenate([numbers(batch) for batch in take(stream, 3)])
    for _ in range(3)
  ]
  assert all(sorted(epoch) == list(range(1, 13)) for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize('pack', [False, True])
def test_without_shuffling_every_epoch_has_the_order_of_the_examples(pack):
  examples = [solve(n) for n in range(6)]
  layout = batching.BatchLayout(batch_size=3, max_length=5)
  stream = batching.train_batches(
    examples, layout, seed=3, pack=pack, shuffle=False
  )
  order = np.concatenate([numbers(batch) for batch in take(stream, 4)])
  assert list(order) == [*range(6), *range(6)]


def test_a_batch_may_span_two_epochs_without_losing_examples():
  examples = [solve(n) for n in range(1, 6)]
  stream = train_batches(examples, batch_size=4, max_length=6, seed=0)
  shown = np.concatenate([numbers(batch) for batch in take(stream, 5)])
  assert np.bincount(shown).tolist() == [0, 4, 4, 4, 4, 4]


def test_a_batch_larger_than_the_data_repeats_examples():
  batch = next(
    train_batches([solve(1), solve(2)], batch_size=6, max_length=6, seed=0)
  )
  assert np.bincount(numbers(batch)).tolist() == [0, 3, 3]


def test_packed_rows_have_whole_examples_with_own_segment_and_positions():
  random = np.random.default_rng(1)
  examples = [
    solve(
      n, inputs=int(random.integers(1, 6)), targets=int(random.integers(1, 6))
    )
    for n in range(1, 40)
  ]
  rows = len(
    first_fit_packing.pack_first_fit(
      [len(e.inputs) + len(e.targets) - 1 for e in examples], 24
    )
  )
  batch = next(
    train_batches(examples, batch_size=rows, max_length=24, seed=0, pack=True)
  )
  seen = []
  for row in range(rows):
    segments = batch['decoder_segment_ids'][row]
    for segment in range(1, segments.max() + 1):
      here = {key: batch[key][row][segments == segment] for key in KEYS}
      number = here['decoder_input_tokens'][0] // 100
      alone = next(
        eval_batches(
          [examples[number - 1]],
          batch_size=1,
          max_length=len(here['decoder_positions']),
        )
      )
      for key in set(KEYS) - {'decoder_segment_ids'}:
        np.testing.assert_array_equal(here[key], alone[key][0], err_msg=key)
      seen.append(number)
  assert len(set(seen)) == len(seen) and batch['decoder_segment_ids'].max() > 1


def test_packing_has_less_than_ten_percent_padding():
  random = np.random.default_rng(0)
  examples = [
    solve(n, targets=int(t)) for n, t in enumerate(random.integers(2, 60, 300))
  ]
  stream = train_batches(
    examples, batch_size=10, max_length=100, seed=0, pack=True
  )
  used = np.mean(
    [(batch['decoder_segment_ids'] > 0).mean() for batch in take(stream, 8)]
  )
  assert used > 0.9


def test_pairs_stay_adjacent_with_the_correct_one_first():
  examples = [row for n in range(1, 12) for row in pair(n)]
  stream = train_batches(
    examples,
    batch_size=6,
    max_length=8,
    seed=0,
    group_size=2,
    label_words=SHORT_WORDS,
  )
  for batch in take(stream, 9):
    np.testing.assert_array_equal(numbers(batch)[0::2], numbers(batch)[1::2])
    np.testing.assert_array_equal(batch['is_correct'], [1, 0] * 3)


def test_a_verdict_row_is_the_prompt_and_word_positions_are_its_last_token():
  example = VerdictExample([9, 9, 4], 1)
  batch = next(
    eval_batches([example], batch_size=1, max_length=5, label_words=SHORT_WORDS)
  )
  np.testing.assert_array_equal(
    batch['decoder_input_tokens'], [[9, 9, 4, PAD, PAD]]
  )
  np.testing.assert_array_equal(batch['word_positions'], [[[2], [2]]])
  assert batch['decoder_input_tokens'][0, 2] == 4
  assert not batch['decoder_loss_weights'].any()
  assert 'decoder_branch_ids' not in batch


def test_label_words_of_several_tokens_are_branches_after_the_prompt():
  example = VerdictExample([9, 9, 4], 0)
  batch = next(
    eval_batches([example], batch_size=1, max_length=7, label_words=LONG_WORDS)
  )
  # Word 0 has one token, hence no input of its own; word 1 = 5 7 8 has two, 5 and 7.
  np.testing.assert_array_equal(
    batch['decoder_input_tokens'], [[9, 9, 4, 5, 7, PAD, PAD]]
  )
  np.testing.assert_array_equal(
    batch['decoder_positions'], [[0, 1, 2, 3, 4, 0, 0]]
  )
  np.testing.assert_array_equal(
    batch['decoder_branch_ids'], [[0, 0, 0, 2, 2, 0, 0]]
  )
  np.testing.assert_array_equal(
    batch['decoder_segment_ids'], [[1, 1, 1, 1, 1, 0, 0]]
  )
  mask_WM = LONG_WORDS.mask_WM
  np.testing.assert_array_equal(
    batch['word_positions'][0][mask_WM], [2, 2, 3, 4]
  )


def test_two_long_label_words_are_branches_at_the_same_positions():
  words = LabelWords(((3, 4), (5, 6)))
  example = VerdictExample([9, 9], 1)
  batch = next(
    eval_batches([example], batch_size=1, max_length=4, label_words=words)
  )
  np.testing.assert_array_equal(batch['decoder_input_tokens'], [[9, 9, 3, 5]])
  np.testing.assert_array_equal(batch['decoder_positions'], [[0, 1, 2, 2]])
  np.testing.assert_array_equal(batch['decoder_branch_ids'], [[0, 0, 1, 2]])
  np.testing.assert_array_equal(batch['word_positions'], [[[1, 2], [1, 3]]])


def test_rows_without_a_verdict_have_verdict_weight_zero():
  examples = [*pair(1), solve(2), solve(3)]
  batch = next(
    train_batches(
      examples,
      batch_size=4,
      max_length=8,
      seed=0,
      group_size=4,
      label_words=LONG_WORDS,
    )
  )
  np.testing.assert_array_equal(batch['verdict_weights'], [1, 1, 0, 0])
  np.testing.assert_array_equal(
    batch['decoder_loss_weights'].sum(1), [0, 0, 2, 2]
  )
  np.testing.assert_array_equal(batch['label_words'], LONG_WORDS.ids_WM)


def test_contrast_rows_have_labels_and_trained_tokens_but_no_label_words():
  examples = [contrast(1, 2, 1), contrast(1, 4, 0)]
  batch = next(
    train_batches(examples, batch_size=2, max_length=8, seed=0, group_size=2)
  )
  np.testing.assert_array_equal(batch['verdict_weights'], [1, 1])
  np.testing.assert_array_equal(batch['decoder_loss_weights'].sum(1), [2, 4])
  assert 'word_positions' not in batch


def test_eval_batches_are_in_order_and_pad_the_last_batch_with_weight_zero():
  passed = list(
    eval_batches([solve(n) for n in (1, 2, 3)], batch_size=2, max_length=6)
  )
  assert [b['decoder_input_tokens'][:, 0].tolist() for b in passed] == [
    [100, 200],
    [300, PAD],
  ]
  assert not passed[1]['decoder_loss_weights'][1].any()
  assert not passed[1]['decoder_segment_ids'][1].any()


def test_eval_batches_of_pairs_pad_with_verdict_weight_zero():
  passed = list(
    eval_batches(
      pair(1), batch_size=4, max_length=6, group_size=2, label_words=SHORT_WORDS
    )
  )
  np.testing.assert_array_equal(passed[0]['verdict_weights'], [1, 1, 0, 0])


def test_targets_that_do_not_fit_are_truncated_or_the_example_is_dropped(
  caplog,
):
  caplog.set_level(logging.INFO)
  examples = [solve(1, targets=2), solve(2, targets=9), solve(3, inputs=20)]
  cut = next(eval_batches(examples, batch_size=2, max_length=6))
  np.testing.assert_array_equal(cut['decoder_input_tokens'][:, 0], [100, 200])
  np.testing.assert_array_equal(cut['decoder_loss_weights'].sum(1), [2, 4])
  assert '3 examples: 2 kept, 1 of them truncated, 1 dropped' in caplog.text
  dropped = next(
    eval_batches(examples, batch_size=2, max_length=6, too_long='drop')
  )
  np.testing.assert_array_equal(
    dropped['decoder_input_tokens'][:, 0], [100, PAD]
  )


def test_a_verdict_that_does_not_fit_is_dropped_with_its_pair():
  long_pair = pair(1)
  long_pair[1] = VerdictExample([7] * 9, 0)
  batch = next(
    eval_batches(
      long_pair + pair(2),
      batch_size=2,
      max_length=8,
      group_size=2,
      label_words=SHORT_WORDS,
    )
  )
  np.testing.assert_array_equal(numbers(batch), [2, 2])


def test_a_contrast_pair_is_never_truncated():
  examples = [
    contrast(n, size, label)
    for n, size, label in ((1, 3, 1), (1, 9, 0), (2, 3, 1), (2, 4, 0))
  ]
  batch = next(eval_batches(examples, batch_size=2, max_length=8, group_size=2))
  np.testing.assert_array_equal(numbers(batch), [2, 2])


@pytest.mark.parametrize('num_long, warns', [(1, False), (3, True)])
def test_many_examples_that_do_not_fit_are_a_warning_with_the_length(
  num_long, warns, caplog
):
  examples = [solve(n) for n in range(17)]
  examples += [solve(n, targets=5 + n) for n in range(num_long)]
  next(train_batches(examples, batch_size=2, max_length=5))
  assert ('max_length=9 ' in caplog.text) == warns


def test_nothing_to_learn_from_is_an_error():
  with pytest.raises(ValueError, match='Nothing to learn from'):
    train_batches([solve(1, inputs=9)], batch_size=1, max_length=4, seed=0)
  with pytest.raises(ValueError, match='Nothing to learn from'):
    train_batches(
      [dataclasses.replace(solve(1), target_weights=[0, 0])],
      batch_size=1,
      max_length=9,
      seed=0,
    )
  with pytest.raises(ValueError, match='Nothing to learn from'):
    train_batches([], batch_size=1, max_length=4, seed=0)


def test_the_error_names_an_example_without_targets():
  with pytest.raises(ValueError, match='example 1'):
    train_batches(
      [solve(1), SolutionExample([3, 4], [])],
      batch_size=1,
      max_length=9,
      seed=0,
    )


@pytest.mark.parametrize('batch_size, group_size', [(3, 2), (0, 1)])
def test_a_batch_size_that_splits_a_group_is_an_error(batch_size, group_size):
  examples = [row for n in range(4) for row in pair(n)]
  with pytest.raises(ValueError, match='batch_size'):
    train_batches(
      examples,
      batch_size=batch_size,
      max_length=8,
      seed=0,
      group_size=group_size,
      label_words=SHORT_WORDS,
    )


def test_verdicts_without_label_words_are_an_error():
  with pytest.raises(ValueError, match='label_words'):
    train_batches(pair(1), batch_size=2, max_length=8, seed=0, group_size=2)


def test_packing_pairs_or_verdicts_is_an_error():
  with pytest.raises(ValueError, match='pack'):
    train_batches(
      pair(1),
      batch_size=2,
      max_length=8,
      seed=0,
      pack=True,
      label_words=SHORT_WORDS,
    )


def test_each_epoch_is_logged_with_its_padding(caplog):
  caplog.set_level(logging.INFO)
  take(
    train_batches([solve(1), solve(2)], batch_size=2, max_length=8, seed=0),
    2,
  )
  assert (
    'epoch 1 starts at step 1: 2 rows (1.00 steps), 50.0% padding'
    in caplog.text
  )
