"""Turns published samples of real models into files of candidates that `grade` reads.

  python -m benchmarks.real_samples --data=../shared/data --output=runs/real_samples

writes one file of `records.CandidateSet` per source:

  gsm8k_openai.jsonl        GSM8K test, 4 solutions a problem (6B/175B, fine-tuning/verification)
  gsm8k_tora-70b.jsonl      GSM8K test, one program-aided solution a problem
  gsm8k_tora-code-34b.jsonl the same of another model
  math_qwen.jsonl           MATH test, 50 problems x 8 samples, `score` is a reward model's score

`is_correct` and `answer` of a candidate are the publisher's own label and extraction where they were
published; `grade` overwrites both. The score of the reward model is its raw logit mapped by the
logistic function into [0, 1].
"""

import argparse
from collections.abc import Iterator
import math
import pathlib
from typing import Any

from mathft_jax.data import schema

OPENAI_MODELS = (
  '6b_finetuning',
  '6b_verification',
  '175b_finetuning',
  '175b_verification',
)


def openai_gsm8k(folder: pathlib.Path) -> Iterator[schema.CandidateSet]:
  """GSM8K test with the four published solutions of a problem and their labels."""
  for index, row in _rows(
    folder / 'gsm8k_openai_example_model_solutions.jsonl.gz'
  ):
    problem = schema.Problem(
      id=f'gsm8k/test/{index}',
      question=row['question'],
      solution=row['ground_truth'],
      answer=row['ground_truth'].rpartition('A: ')[2].strip(),
      split='test',
    )
    yield schema.CandidateSet(
      problem,
      tuple(
        schema.Candidate(
          row[model]['solution'], is_correct=row[model]['is_correct']
        )
        for model in OPENAI_MODELS
      ),
    )


def tora_gsm8k(
  folder: pathlib.Path, model: str
) -> Iterator[schema.CandidateSet]:
  """GSM8K test with one program-aided solution a problem; `answer` is ToRA's own `pred`."""
  for index, row in _rows(folder / f'gsm8k_tora-{model}-v1.0.jsonl.gz'):
    problem = schema.Problem(
      id=f'gsm8k/test/{index}',
      question=row['question'],
      solution=row['gt_cot'],
      answer=row['gt'],
      split='test',
    )
    yield schema.CandidateSet(
      problem,
      tuple(
        schema.Candidate(code, answer=pred or None)
        for code, pred in zip(row['code'], row['pred'], strict=True)
      ),
    )


def qwen_math(folder: pathlib.Path) -> Iterator[schema.CandidateSet]:
  """50 problems of MATH test x 8 samples with labels and scores of a reward model."""
  for index, row in _rows(folder / 'math_qwen_8x_rm_first50.jsonl.gz'):
    problem = schema.Problem(
      id=f'math_qwen/{index}',
      question=row['question'],
      solution=row['solution'],
      answer=row['answer'],
      level=row['level'],
      split='test',
    )
    yield schema.CandidateSet(
      problem,
      tuple(
        schema.Candidate(
          sample['text'],
          answer=sample['pred'] or None,
          is_correct=sample['correct'],
          score=_logistic(sample['rm_score']),
        )
        for sample in row['samples']
      ),
    )


def convert(data: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
  """Paths of the candidate files, written into `output`."""
  folder = data / 'samples'
  sources = {
    'gsm8k_openai': openai_gsm8k(folder),
    'gsm8k_tora-70b': tora_gsm8k(folder, '70b'),
    'gsm8k_tora-code-34b': tora_gsm8k(folder, 'code-34b'),
    'math_qwen': qwen_math(folder),
  }
  return [
    pathlib.Path(schema.write_jsonl(output / f'{name}.jsonl', sets))
    for name, sets in sources.items()
  ]


def _rows(path: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
  return (
    (index, row) for index, (_, row) in enumerate(schema.read_jsonl(path))
  )


def _logistic(logit: float) -> float:
  return 1 / (1 + math.exp(-logit))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument(
    '--data', type=pathlib.Path, default=pathlib.Path('../shared/data')
  )
  parser.add_argument(
    '--output', type=pathlib.Path, default=pathlib.Path('runs/real_samples')
  )
  arguments = parser.parse_args()
  for path in convert(arguments.data, arguments.output):
    print(path)


if __name__ == '__main__':
  main()
