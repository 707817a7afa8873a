"""GSM8K (Cobbe et al. 2021, 2110.14168) as a TFDS data set: 7,000 / 473 / 1,319 problems.

TFDS has a `gsm8k` of its own, which downloads; this one is `grade_school_math`.
"""

import logging
import re

from etils import epath
import tensorflow_datasets as tfds

from mathft_jax.data import schema
from mathft_jax.data.tfds import features, manual_dir, splits

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


class GradeSchoolMath(tfds.core.GeneratorBasedBuilder):
  """GSM8K: the published test set, the training set cut by a hash into 7,000 and 473."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      description=__doc__,
      features=features.problem_features(),
      citation=CITATION,
      supervised_keys=('question', 'solution'),
      homepage='https://github.com/openai/grade-school-math',
    )

  def _split_generators(self, dl_manager):
    problems = read_gsm8k_problems(dl_manager.manual_dir)
    return {
      split: self._generate_examples(problems, split)
      for split in features.nonempty_splits(problems)
    }

  def _generate_examples(self, problems, split):
    yield from features.generate_examples(problems, split)


def read_gsm8k_problems(folder: epath.PathLike) -> list[schema.Problem]:
  """All problems of the manual folder with their splits; ValueError when files are missing."""
  problems = []
  for name in ('train', 'test'):
    path = manual_dir.find_jsonl(folder, FOLDERS, name)
    if path is None:
      raise ValueError(
        f'{folder}: no {name}.jsonl of GSM8K in it.\n{INSTRUCTIONS}'
      )
    manual_dir.check_published_sha256(path, SHA256)
    problems.extend(
      _problem(row, where, name) for where, row in schema.read_jsonl(path)
    )
  logging.info('%s: %d GSM8K problems', folder, len(problems))
  return problems


def _problem(row: dict, where: str, name: str) -> schema.Problem:
  """The calculator's notes go, and the answer after `####` is put into a box."""
  steps, mark, answer = row.get('answer', '').rpartition('####')
  if not mark or not row.get('question'):
    raise ValueError(
      f'{where}: fields {sorted(row)}; wanted "question", and "answer" with ####.'
    )
  answer = answer.strip()
  steps = re.sub(r'<<[^<>]*>>', '', steps).strip()
  split = (
    name
    if name == 'test'
    else splits.assign_train_or_validation(
      row['question'], splits.GSM8K_VALIDATION_SHARE
    )
  )
  return schema.Problem(
    id=f'gsm8k/{name}/{where.rpartition(":")[2]}',
    question=row['question'].strip(),
    solution=f'{steps}\nThe final answer is $\\boxed{{{answer}}}$.',
    answer=answer,
    subject='Arithmetic',
    split=split,
  )
