r"""Degenerate solutions: one or two fragments repeated many times, as failing models write them.

  python -m benchmarks.degenerate_texts --characters=1000000

prints the processor time of extraction for the slowest of all texts
`prefix + (fragment + fragment) * n + suffix`. `tests/grading/extraction_time_test.py` uses the same
texts.
"""

import argparse
from collections.abc import Iterator
import itertools
import time

from mathft_jax import grading

FRAGMENTS = (
  ' ',
  '\t',
  '\n',
  '\\',
  '{',
  '}',
  '*',
  '**',
  '#',
  '$',
  '.',
  ',',
  ':',
  '`',
  "'",
  '=',
  '<',
  'a',
  '1',
  'é',
  '\\[',
  '\\]',
  '\\(',
  '\\)',
  '\\boxed',
  '\\boxed{',
  '\\boxed{}',
  '####',
  '<answer>',
  '</answer>',
  '</think>',
  'answer',
  'answer ',
  'the answer is ',
  'answer: $$. ',
  'answer of a ',
  'is correct. ',
  ' should be ',
  ' since ',
  '\nA: ',
  '\n# Answer\n',
)
PREFIXES = (
  '',
  '# answer',
  '**Answer',
  'answer is ',
  'answer of',
  'correct',
  '\\boxed{',
  '\\boxed',
  '####',
  '<answer>',
  'answer: \\[',
)
SUFFIXES = ('', 'x', '}', '\n', '\\]')


def iter_repetitions() -> Iterator[tuple[str, str, str]]:
  """Yields (prefix, repeated text, suffix)."""
  repeated = [*FRAGMENTS, *map(''.join, itertools.permutations(FRAGMENTS, 2))]
  yield from itertools.product(PREFIXES, repeated, SUFFIXES)


def make_text(repetition: tuple[str, str, str], num_characters: int) -> str:
  """Returns a text of about `num_characters`."""
  prefix, repeated, suffix = repetition
  return prefix + repeated * (num_characters // len(repeated)) + suffix


def extraction_seconds(text: str) -> float:
  """Returns the processor time of extraction."""
  start = time.process_time()
  grading.find_final_answer(text)
  return time.process_time() - start


def main() -> None:
  """Prints the slowest texts."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--characters', type=int, default=1_000_000)
  parser.add_argument('--show', type=int, default=10)
  parser.add_argument('--every', type=int, default=1, help='time one in EVERY')
  options = parser.parse_args()

  timed = []
  for repetition in list(iter_repetitions())[:: options.every]:
    text = make_text(repetition, options.characters)
    timed.append((extraction_seconds(text), repetition))
  timed.sort(reverse=True)
  slow = sum(seconds > 0.1 for seconds, _ in timed)
  print(
    f'{len(timed)} texts of {options.characters} characters; {slow} over 0.1 s; slowest:'
  )
  for seconds, (prefix, repeated, suffix) in timed[: options.show]:
    print(f'{seconds:6.3f} s  {prefix!r} + {repeated!r} * n + {suffix!r}')


if __name__ == '__main__':
  main()
