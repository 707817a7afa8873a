"""Measures how well answers are found where the text announces none.

  python -m benchmarks.found_answers --data=../shared/data

Prints, for each rule of `find_answers`, the accuracy on samples of Llama-3.1-8B and the share of
candidates without an answer; and how often the final sentence of GSM8K's own rationales, without
their `####` line, gives the gold answer.
"""

import argparse
from collections.abc import Iterator
import pathlib
import re

from benchmarks import real_samples
from mathft_jax import grading
from mathft_jax.data import schema
from mathft_jax.grading import extraction

NUM_RATIONALES = 3_000
Case = tuple[str, str]  # text, gold answer


def llama_cases(data: pathlib.Path) -> Iterator[Case]:
  """Yields the sampled solutions with the gold answers."""
  for unit in real_samples.read_samples(data / 'samples', 'gsm8k_llama-3.1-8b'):
    for candidate in unit.candidates:
      yield candidate.solution, unit.problem.answer or ''


def rationale_cases(data: pathlib.Path) -> Iterator[Case]:
  """Yields rationales of GSM8K without notes and without their answer line."""
  records = schema.read_jsonl(data / 'gsm8k' / 'train.jsonl.gz')
  for number, (_, record) in enumerate(records):
    if number == NUM_RATIONALES:
      return
    text, _, gold = record['answer'].partition('\n####')
    yield re.sub('<<[^>]*>>', '', text), gold.strip()


def measure(cases: list[Case], find: str) -> tuple[float, float]:
  """Returns the shares of cases whose answer is the gold answer, and that have none."""
  search = grading.AnswerSearch(find)
  num_right = num_without = 0
  for text, gold in cases:
    answer = grading.extract_answer(text, search)
    if answer is None:
      num_without += 1
    else:
      num_right += grading.is_equivalent(gold, answer)
  return num_right / len(cases), num_without / len(cases)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--data', type=pathlib.Path, default=pathlib.Path('../shared/data')
  )
  options = parser.parse_args()
  sources = {
    'Llama-3.1-8B, GSM8K': list(llama_cases(options.data)),
    'rationales of GSM8K': list(rationale_cases(options.data)),
  }
  print(
    '| texts | n | find_answers | gold | no answer |\n|---|---|---|---|---|'
  )
  for name, cases in sources.items():
    for find in extraction.FIND_RULES:
      right, without = measure(cases, find)
      print(f'| {name} | {len(cases)} | {find} | {right:.1%} | {without:.1%} |')


if __name__ == '__main__':
  main()
