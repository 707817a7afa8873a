"""MATH (Hendrycks et al. 2021, 2103.03874) as a TFDS data set: 11,000 / 1,000 / 500 problems."""

from collections.abc import Iterator
import dataclasses
import logging
import tarfile

from etils import epath

from mathft_jax.data import problem_sources, schema
from mathft_jax.data.tfds import manual_dir, problem_builder, splits
from mathft_jax.storage import json_files

INSTRUCTIONS = """\
Put MATH into the manual folder, as one of
  MATH.tar                              the original archive (20 MB), named by the README of the
                                        GitHub repository hendrycks/math; sha256 0fbe4fad...ac
  MATH/{train,test}/<subject>/*.json    the same, unpacked
  math/{train,test}.jsonl[.gz]          one problem a line with problem, solution, level, type and
                                        unique_id ("test/algebra/1.json"); the files
                                        prm800k/math_splits/{train,test}.jsonl of the GitHub
                                        repository openai/prm800k (git lfs) are of this form
Folder and split of a file do not matter: problems get the split of Lightman et al., whose 12,000
training problems are split again."""

SIZE = 12_500
FOLDERS = (
  'math',
  'prm800k/prm800k/math_splits',
  'prm800k/math_splits',
  'math_splits',
  '.',
)
SHA256 = {
  'MATH.tar': '0fbe4fad0df66942db6c221cdcc95b298cc7f4595a2f0f518360cce84e90d9ac'
}
CITATION = """@inproceedings{hendrycks2021math,
  title={Measuring Mathematical Problem Solving With the MATH Dataset},
  author={Hendrycks, Dan and Burns, Collin and Kadavath, Saurav and Arora, Akul and Basart, Steven
          and Tang, Eric and Song, Dawn and Steinhardt, Jacob},
  booktitle={NeurIPS Datasets and Benchmarks}, year={2021}}"""


class Math(problem_builder.ProblemBuilder):
  """MATH with the 12,000/500 split of Lightman et al.; the 12,000 are split into 11,000/1,000."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS
  CITATION = CITATION
  HOMEPAGE = 'https://github.com/hendrycks/math'

  def read_problems(self, folder: epath.PathLike) -> list[schema.Problem]:
    return read_math_problems(folder)


def read_math_problems(folder: epath.PathLike) -> list[schema.Problem]:
  """Returns all problems of the manual folder with their splits.

  Raises:
    ValueError: the folder has none of the accepted files, or problems share an id.
  """
  problems: list[schema.Problem] = []
  for name, record, where in _read_records(epath.Path(folder)):
    problems.append(_to_problem(record, where, name))

  num_ids = len({problem.id for problem in problems})
  if num_ids < len(problems):
    raise ValueError(
      f'{folder}: {len(problems)} problems with {num_ids} different ids.'
    )
  without_answer = [problem.id for problem in problems if not problem.answer]
  logging.info(
    "%s: %d of MATH's %d problems; without a boxed answer: %s",
    folder,
    len(problems),
    SIZE,
    ', '.join(without_answer) or 'none',
  )
  return problems


def _to_problem(
  record: schema.JsonObject, where: str, name: str
) -> schema.Problem:
  problem = problem_sources.problem_from_json(
    {'unique_id': name, **record}, where, name, 'train'
  )
  return dataclasses.replace(
    problem,
    question=problem.question.strip(),
    solution=problem.solution.strip(),
    level=problem.level.removeprefix('Level '),
    split=splits.assign_math_split(problem.question),
  )


def _read_records(
  folder: epath.Path,
) -> Iterator[tuple[str, schema.JsonObject, str]]:
  """Yields (id or '', json object, file:line) of the first accepted form in the folder."""
  archive = manual_dir.first_existing(folder, ('MATH.tar', 'math/MATH.tar'))
  unpacked = manual_dir.first_existing(
    folder, ('MATH/train', 'math/MATH/train', 'math/train', 'train')
  )
  if archive:
    manual_dir.check_published_sha256(archive, SHA256)
    yield from _read_archive(archive)
  elif unpacked:
    for path in sorted(unpacked.parent.glob('*/*/[!.]*.json')):
      record = json_files.read_json_object(path)
      yield '/'.join(path.parts[-3:]), record, str(path)
  else:
    yield from _read_jsonl_files(folder)


def _read_archive(
  archive: epath.Path,
) -> Iterator[tuple[str, schema.JsonObject, str]]:
  with archive.open('rb') as stream, tarfile.open(fileobj=stream) as members:
    for member in members:
      parts = member.name.split('/')
      # macOS adds files whose names start with a dot.
      is_problem = parts[-1].endswith('.json') and parts[-1][0] != '.'
      content = members.extractfile(member) if is_problem else None
      if content and len(parts) >= 3:
        where = f'{archive}:{member.name}'
        record = json_files.parse_json_object(content.read(), where)
        yield '/'.join(parts[-3:]), record, where


def _read_jsonl_files(
  folder: epath.Path,
) -> Iterator[tuple[str, schema.JsonObject, str]]:
  found = False
  for name in ('train', 'test'):
    path = manual_dir.find_jsonl(folder, FOLDERS, name)
    if path is not None:
      found = True
      for where, record in schema.read_jsonl(path):
        yield '', record, where
  if not found:
    raise ValueError(f'{folder}: no MATH files in this folder.\n{INSTRUCTIONS}')
