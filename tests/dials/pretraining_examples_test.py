"""Pre-training examples have true labels and the intended loss weights."""

import re

import numpy as np
import pytest

from mathft_jax.data import prompt_templates
from mathft_jax.dials import dial_problems, pretraining_examples

VOCABULARY = dial_problems.dial_vocabulary()
TEMPLATE = prompt_templates.Template(
  solve='{question}',
  verify_problem='{question}',
  verify_solution=' {solution} verdict',
  label_words=(' correct', ' incorrect'),
)


def made(kind, count=200, **fields):
  return pretraining_examples.DialPretrainingExamples(
    counts={kind: count}, template=TEMPLATE, vocabulary=VOCABULARY, **fields
  )('train')


def text(example):
  return VOCABULARY.decode(example.targets)


def steps_are_true(steps: str) -> bool:
  return all(
    (int(start) + int(first)) % 16 == int(middle)
    and (int(middle) + int(second)) % 16 == int(end)
    for start, first, middle, second, end in re.findall(
      r'(\d+) ([+-]\d+) = (\d+) ([+-]\d+) = (\d+)', steps
    )
  )


@pytest.mark.parametrize(
  'kind', ['part 1', 'part 2', 'part 3', 'review 1', 'review 3']
)
def test_verdicts_are_true_and_have_the_given_weight(kind):
  examples = made(kind, verdict_weight=7.0)
  for example in examples:
    assert text(example).endswith(
      'verdict correct'
      if steps_are_true(text(example))
      else 'verdict incorrect'
    )
    assert example.target_weights[-1] == 7.0 and example.target_weights[-2] == 0
  wrong = [text(example).endswith('incorrect') for example in examples]
  assert 0.3 < np.mean(wrong) < 0.7


def test_only_correct_solutions_are_targets_in_reviews():
  for example in made('review 2'):
    # The solution, after the problem of 2 x 8 + 1 words.
    learned = example.target_weights[17:-2]
    assert set(learned) == (
      {0.0} if text(example).endswith('incorrect') else {1.0}
    )


def test_each_check_has_a_true_verdict():
  for example in made('check'):
    for start, turn, end, verdict in re.findall(
      r'(\d+) ([+-]\d+) = (\d+) (\w+)', text(example)
    ):
      assert verdict == (
        'correct' if (int(start) + int(turn)) % 16 == int(end) else 'incorrect'
      )


def test_the_verdict_of_a_chained_check_is_true():
  for example in made('trail 4'):
    words = text(example).split()
    numbers = [int(words[1]), *map(int, words[4:-2:3])]
    slips = sum(
      (before + int(turn) - after) % 16 != 0
      for before, turn, after in zip(numbers, words[2:-2:3], numbers[1:])
    )
    assert words[-1] == ('incorrect' if slips else 'correct') and slips <= 1


def test_chains_and_jumps_are_true_and_their_results_are_targets():
  for example in made('chain'):
    words = text(example).split()
    position = int(words[1])
    for turn, end in zip(words[2::3], words[4::3]):
      position = (position + int(turn)) % 16
      assert position == int(end)
    assert example.target_weights.sum() == pretraining_examples.CHAIN_LENGTH
  for example in made('jump'):
    start, first, second, end = re.findall(r'[+-]?\d+', text(example))
    assert (int(start) + int(first) + int(second)) % 16 == int(end)
    assert example.target_weights.tolist() == [0.0] * 7 + [1.0]


@pytest.mark.parametrize('style', ['fine', 'terse'])
def test_a_solved_problem_has_the_format_of_fine_tuning(style):
  for example in made(f'solve {style}', 20, larger_turn_probability=0.0):
    length = int((example.target_weights == 0).sum())
    assert VOCABULARY.decode(example.targets[:length]).endswith('code ?')
    assert example.targets[-1] == VOCABULARY.eos_id
    assert ('then' in VOCABULARY.decode(example.targets[length:])) == (
      style == 'terse'
    )


@pytest.mark.parametrize(
  'style, results', [('fine', {4: (2,), 7: (5,)}), ('terse', {7: (2, 5)})]
)
def test_results_of_larger_turns_have_weight_zero(style, results):
  larger = 0
  for example in made(f'solve {style}', 100, larger_turn_probability=0.3):
    words = VOCABULARY.decode(example.targets).split()
    weights = example.target_weights[-len(words) - 1 : -1]
    start = words.index('?') + 1
    for place in range(start, len(words)):
      turns = results.get((place - start) % 8, ()) if place < start + 24 else ()
      known = all(
        abs(int(words[place - (place - start) % 8 + turn])) <= 5
        for turn in turns
      )
      assert weights[place] == float(known), (words, place)
      larger += not known
  assert larger > 100


def test_only_solutions_have_larger_turns():
  for kind in ('chain', 'jump', 'check', 'trail 3', 'part 3', 'review 3'):
    turns = [
      abs(int(turn))
      for example in made(kind, 50, larger_turn_probability=0.5)
      for turn in re.findall(r'[+-]\d+', text(example))
    ]
    assert max(turns) == 5


def test_splits_differ_and_an_unknown_kind_is_an_error():
  rule = pretraining_examples.DialPretrainingExamples(
    counts={'jump': 300},
    template=TEMPLATE,
    vocabulary=VOCABULARY,
    validation_fraction=0.1,
  )
  assert len(rule('validation')) == 30
  assert [text(e) for e in rule('validation')] != [
    text(e) for e in rule('train')[:30]
  ]
  with pytest.raises(ValueError, match="kind 'songs'"):
    made('songs')
