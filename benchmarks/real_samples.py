"""Converts published samples of language models to candidate files for `mathft_jax.grade`.

  python -m benchmarks.real_samples --data=../shared/data --output=runs/real_samples

Writes one file of `schema.CandidateSet` records for each source:

  gsm8k_openai.jsonl          GSM8K test, 4 solutions per problem, 2 models of 6B and 2 of 175B
  gsm8k_tora-70b.jsonl        GSM8K test, one program-aided solution per problem
  gsm8k_tora-code-34b.jsonl   the same from another model
  gsm8k_llama-3.1-8b.jsonl    60 problems of GSM8K test x 15 samples at temperature 1
  math_qwen.jsonl             MATH test, 50 problems x 8 samples; `score` is from a reward model

`is_correct` and `answer` of a candidate are the publisher's label and extracted answer, if
published; `grade` overwrites both. The score of the reward model is the logistic function of its
logit.
"""

import argparse
from collections.abc import Iterator
import math
import pathlib

from mathft_jax.data import schema

OPENAI_MODELS = (
  '6b_finetuning',
  '6b_verification',
  '175b_finetuning',
  '175b_verification',
)


def read_openai_gsm8k(folder: pathlib.Path) -> Iterator[schema.CandidateSet]:
  """Yields GSM8K test problems with the four published solutions and their labels."""
  path = folder / 'gsm8k_openai_example_model_solutions.jsonl.gz'
  for index, record in _read_records(path):
    gold = record['ground_truth']
    problem = schema.Problem(
      id=f'gsm8k/test/{index}',
      question=record['question'],
      solution=gold,
      answer=gold.rpartition('A: ')[2].strip(),
      split='test',
    )
    candidates: list[schema.Candidate] = []
    for model in OPENAI_MODELS:
      sample = record[model]
      candidates.append(
        schema.Candidate(sample['solution'], is_correct=sample['is_correct'])
      )
    yield schema.CandidateSet(problem, tuple(candidates))


def read_tora_gsm8k(
  folder: pathlib.Path, model: str
) -> Iterator[schema.CandidateSet]:
  """Yields GSM8K test problems with program-aided solutions; `answer` is ToRA's `pred`."""
  for index, record in _read_records(
    folder / f'gsm8k_tora-{model}-v1.0.jsonl.gz'
  ):
    problem = schema.Problem(
      id=f'gsm8k/test/{index}',
      question=record['question'],
      solution=record['gt_cot'],
      answer=record['gt'],
      split='test',
    )
    candidates: list[schema.Candidate] = []
    for code, answer in zip(record['code'], record['pred'], strict=True):
      candidates.append(schema.Candidate(code, answer=answer or None))
    yield schema.CandidateSet(problem, tuple(candidates))


def read_qwen_math(folder: pathlib.Path) -> Iterator[schema.CandidateSet]:
  """Yields 50 MATH test problems with 8 samples, labels and scores of a reward model."""
  path = folder / 'math_qwen_8x_rm_first50.jsonl.gz'
  for index, record in _read_records(path):
    problem = schema.Problem(
      id=f'math_qwen/{index}',
      question=record['question'],
      solution=record['solution'],
      answer=record['answer'],
      level=record['level'],
      split='test',
    )
    candidates: list[schema.Candidate] = []
    for sample in record['samples']:
      candidate = schema.Candidate(
        sample['text'],
        answer=sample['pred'] or None,
        is_correct=sample['correct'],
        score=1 / (1 + math.exp(-sample['rm_score'])),
      )
      candidates.append(candidate)
    yield schema.CandidateSet(problem, tuple(candidates))


def read_llama_gsm8k(folder: pathlib.Path) -> Iterator[schema.CandidateSet]:
  """Yields GSM8K problems with 15 samples; `answer` and label are those of the last number."""
  path = folder / 'gsm8k_llama31_8b_15x_60.jsonl.gz'
  for index, record in _read_records(path):
    problem = schema.Problem(
      id=f'gsm8k_llama/{index}',
      question=record['question'],
      answer=str(record['gt']),
      split='test',
    )
    candidates: list[schema.Candidate] = []
    for sample in record['samples']:
      candidate = schema.Candidate(
        sample['text'],
        answer=sample['last_number'] or None,
        is_correct=sample['correct'],
      )
      candidates.append(candidate)
    yield schema.CandidateSet(problem, tuple(candidates))


def convert(data: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
  """Writes the candidate files to the folder `output` and returns their paths."""
  folder = data / 'samples'
  sources = {
    'gsm8k_openai': read_openai_gsm8k(folder),
    'gsm8k_tora-70b': read_tora_gsm8k(folder, '70b'),
    'gsm8k_tora-code-34b': read_tora_gsm8k(folder, 'code-34b'),
    'gsm8k_llama-3.1-8b': read_llama_gsm8k(folder),
    'math_qwen': read_qwen_math(folder),
  }
  paths: list[pathlib.Path] = []
  for name, sets in sources.items():
    path = schema.write_jsonl(output / f'{name}.jsonl', sets)
    paths.append(pathlib.Path(path))
  return paths


def _read_records(path: pathlib.Path) -> Iterator[tuple[int, dict]]:
  for index, (_, record) in enumerate(schema.read_jsonl(path)):
    yield index, record


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument(
    '--data', type=pathlib.Path, default=pathlib.Path('../shared/data')
  )
  parser.add_argument(
    '--output', type=pathlib.Path, default=pathlib.Path('runs/real_samples')
  )
  options = parser.parse_args()
  for path in convert(options.data, options.output):
    print(path)


if __name__ == '__main__':
  main()
