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
import dataclasses
import pathlib

from mathft_jax.data import candidate_mapping, schema
from mathft_jax.data.candidate_mapping import CandidateMapping
from mathft_jax.data.problem_mapping import ProblemMapping

OPENAI_MODELS = (
  '6b_finetuning',
  '6b_verification',
  '175b_finetuning',
  '175b_verification',
)
_ALL_MODELS = '|'.join(OPENAI_MODELS)
_TORA = CandidateMapping(
  solutions='code.*',
  answer='pred.*',
  problem=ProblemMapping(
    question='question', solution='gt_cot', answer='gt', id='gsm8k/test/{idx}'
  ),
)


@dataclasses.dataclass(frozen=True)
class Samples:
  """A published file in the folder of samples, and the names of its fields."""

  file: str
  mapping: CandidateMapping


SAMPLES = {
  'gsm8k_openai': Samples(
    'gsm8k_openai_example_model_solutions.jsonl.gz',
    CandidateMapping(
      solutions=f'{_ALL_MODELS}.solution',
      is_correct=f'{_ALL_MODELS}.is_correct',
      problem=ProblemMapping(
        question='question',
        solution='ground_truth',
        answer='ground_truth',
        answer_after='A: ',
      ),
    ),
  ),
  'gsm8k_tora-70b': Samples('gsm8k_tora-70b-v1.0.jsonl.gz', _TORA),
  'gsm8k_tora-code-34b': Samples('gsm8k_tora-code-34b-v1.0.jsonl.gz', _TORA),
  'gsm8k_llama-3.1-8b': Samples(
    'gsm8k_llama31_8b_15x_60.jsonl.gz',
    CandidateMapping(
      solutions='samples.*.text',
      answer='samples.*.last_number',
      is_correct='samples.*.correct',
      problem=ProblemMapping(
        question='question', solution=None, answer='gt', id=None
      ),
    ),
  ),
  'math_qwen': Samples(
    'math_qwen_8x_rm_first50.jsonl.gz',
    CandidateMapping(
      solutions='samples.*.text',
      answer='samples.*.pred',
      is_correct='samples.*.correct',
      score='samples.*.rm_score',
      logit_scores=True,
      problem=ProblemMapping(question='question', id='math_qwen/{idx}'),
    ),
  ),
}


def read_samples(folder: pathlib.Path, name: str) -> list[schema.CandidateSet]:
  """Returns the candidate sets of a published file of the folder; `name` is a key of SAMPLES."""
  samples = SAMPLES[name]
  return candidate_mapping.read_mapped_candidates(
    folder / samples.file, samples.mapping
  )


def convert(data: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
  """Writes the candidate files to the folder `output` and returns their paths."""
  paths: list[pathlib.Path] = []
  for name in SAMPLES:
    sets = read_samples(data / 'samples', name)
    path = schema.write_jsonl(output / f'{name}.jsonl', sets)
    paths.append(pathlib.Path(path))
  return paths


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
