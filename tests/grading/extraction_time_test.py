"""The time of extraction is linear in the text, also for degenerate output of failing models."""

import time

import pytest

from benchmarks import degenerate_texts
from mathft_jax import grading

# A linear search takes 1 to 5 ms for this many characters, a quadratic one takes seconds.
NUM_CHARACTERS = 20_000
SLOWEST_S = 0.15
# Twice the text may take this many times the work.
LARGEST_RATIO = 3.0

# Texts that took seconds before, and one for each step that could be repeated per match.
KNOWN = {
  'spaces after a heading': ('# answer', ' ', 'x'),
  'tabs after bold': ('**Answer', '\t', ''),
  'backslashes in a box': ('\\boxed{', '\\', ''),
  'braces in a box': ('\\boxed{', '{', ''),
  'spaces in a statement': ('answer: a b c d e', ' ', 'x'),
  'phrases without an answer': ('', 'answer: $$. ', ''),
  'long words after a phrase': ('answer of', ' aaaaaaaaaa', ''),
  'layers of marks': ('answer: 5', '*.', ''),
  'tags that stay open': ('', '<answer>', ''),
  'phrases in phrases': ('', 'the answer is ', ''),
  'headings without an answer': ('', '# Answer\n', ''),
  'spaces after ####': ('####', ' ', '\n\n'),
  'joined boxes': ('', '\\boxed{1},' + ' ' * 150, ''),
  'box commands': ('\\boxed', '\\boxed', '}'),
  'boxes without content': ('', '\\boxed{}', ''),
  'a long box without content': ('\\boxed{', '\\ldots ', '}'),
  'joints in a statement': ('', 'answer: $1$ ' + ', $b$' * 300 + '? ', ''),
}


def _seconds(text: str) -> float:
  """The least processor time of three runs: other work on the machine only adds to it."""
  times = []
  for _ in range(3):
    start = time.process_time()
    grading.find_final_answer(text)
    times.append(time.process_time() - start)
  return min(times)


@pytest.mark.parametrize('repetition', KNOWN.values(), ids=KNOWN.keys())
def test_twice_the_text_takes_at_most_three_times_the_work(repetition):
  once = degenerate_texts.make_text(repetition, 8 * NUM_CHARACTERS)
  twice = degenerate_texts.make_text(repetition, 16 * NUM_CHARACTERS)
  assert _seconds(twice) < LARGEST_RATIO * max(_seconds(once), 0.005)


def test_nested_math_delimiters_are_linear():
  for n in (100_000, 200_000):
    text = 'answer: ' + '\\(' * n + '5' + '\\)' * n
    assert _seconds(text) < SLOWEST_S * n / 100_000


def test_no_repetition_of_two_fragments_stalls():
  slow = []
  for repetition in list(degenerate_texts.iter_repetitions())[::97]:
    text = degenerate_texts.make_text(repetition, NUM_CHARACTERS)
    if degenerate_texts.extraction_seconds(text) > SLOWEST_S:
      slow.append(repetition)
  assert not slow
