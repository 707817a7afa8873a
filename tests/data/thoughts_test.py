"""Thoughts and text after the end of the turn do not count."""

import pytest

from mathft_jax.data import thoughts

STARTS_IN_THOUGHT = thoughts.TurnMarkers(starts_in_thought=True)


@pytest.mark.parametrize(
  'text, counts',
  [
    ('It is 6.', 'It is 6.'),
    ('<think>5?</think>It is 6.', 'It is 6.'),
    ('5?</think>It is 6.', 'It is 6.'),
    ('<think>5?</think>no<think>7?</think>8', '8'),
    ('<think>\\boxed{5} and', ''),
    ('It is 6.<think>or 7', 'It is 6.'),
    ('It is 6.<|im_end|>\n<|im_start|>user\nAnd 7?', 'It is 6.'),
    ('It is 6.<|eot_id|>It is 7.<|im_end|>', 'It is 6.'),
    ('<eos>It is 6.', 'It is 6.'),
    ('<think>5<|im_end|></think>6', ''),
    ('2 < 3', '2 < 3'),
  ],
)
def test_text_of_the_first_turn_without_its_thought(text, counts):
  assert thoughts.text_that_counts(text) == counts


def test_a_prompt_may_start_the_thought():
  assert thoughts.text_that_counts('so \\boxed{5}', STARTS_IN_THOUGHT) == ''
  assert thoughts.text_that_counts('5?</think>6', STARTS_IN_THOUGHT) == '6'


def test_thoughts_count_if_wanted():
  markers = thoughts.TurnMarkers(thoughts_count=True)
  assert thoughts.text_that_counts('<think>5<eos>6', markers) == '<think>5'
