"""GSM8K (Cobbe et al. 2021, 2110.14168) as a TFDS data set: 7,000 / 473 / 1,319 problems.

TFDS has its own `gsm8k`, which downloads; this one is `grade_school_math`.
"""

import logging
import re

from etils import epath

from mathft_jax.data import boxed_answers, schema
from mathft_jax.data.tfds import manual_dir, problem_builder, splits

INSTRUCTIONS = """\
Put GSM8K into the manual folder as gsm8k/train.jsonl and gsm8k/test.jsonl (or .jsonl.gz): the files
grade_school_math/data/{train,test}.jsonl of the GitHub repository openai/grade-school-math."""

SHA256 = {
  'train.jsonl': '17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465',
  'test.jsonl': '3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14',
}
FOLDERS = (
  'gsm8k',
  'grade_school_math/data',
  'grade-school-math/grade_school_math/data',
)
CITATION = """@article{cobbe2021gsm8k,
  title={Training Verifiers to Solve Math Word Problems},
  author={Cobbe, Karl and Kosaraju, Vineet and others}, journal={arXiv:2110.14168}, year={2021}}"""


class GradeSchoolMath(problem_builder.ProblemBuilder):
  """GSM8K: the published test set; the training set split by a hash into 7,000 and 473."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS
  CITATION = CITATION
  HOMEPAGE = 'https://github.com/openai/grade-school-math'

  def read_problems(self, folder: epath.PathLike) -> list[schema.Problem]:
    return read_gsm8k_problems(folder)


def read_gsm8k_problems(folder: epath.PathLike) -> list[schema.Problem]:
  """Returns all problems of the manual folder; ValueError if a file is missing."""
  problems: list[schema.Problem] = []
  for file_split in ('train', 'test'):
    path = manual_dir.find_jsonl(folder, FOLDERS, file_split)
    if path is None:
      raise ValueError(
        f'{folder}: no {file_split}.jsonl of GSM8K in this folder.\n{INSTRUCTIONS}'
      )
    manual_dir.check_published_sha256(path, SHA256)
    for where, record in schema.read_jsonl(path):
      problems.append(_to_problem(record, where, file_split))
  logging.info('%s: %d GSM8K problems', folder, len(problems))
  return problems


def _to_problem(
  record: schema.JsonObject, where: str, file_split: str
) -> schema.Problem:
  """Returns the problem without calculator notes; the answer after `####` goes into a box."""
  steps, mark, answer = record.get('answer', '').rpartition('####')
  question = record.get('question')
  if not mark or not question:
    raise ValueError(
      f'{where}: fields {sorted(record)}; wanted "question", and "answer" with ####.'
    )
  answer = answer.strip()
  steps = re.sub(r'<<[^<>]*>>', '', steps).strip()
  split = file_split
  if file_split == 'train':
    split = splits.assign_train_or_validation(
      question, splits.GSM8K_VALIDATION_SHARE
    )
  line = where.rpartition(':')[2]
  return schema.Problem(
    id=f'gsm8k/{file_split}/{line}',
    question=question.strip(),
    solution=f'{steps}\n{boxed_answers.answer_sentence(answer)}',
    answer=answer,
    subject='Arithmetic',
    split=split,
  )
