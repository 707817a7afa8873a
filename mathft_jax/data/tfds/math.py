"""MATH (Hendrycks et al. 2021, 2103.03874) as a TFDS data set: 11,000 / 1,000 / 500 problems."""

from collections.abc import Iterator
import json
import logging
import tarfile

from etils import epath
import tensorflow_datasets as tfds

from mathft_jax.data import problem_sources, schema
from mathft_jax.data.tfds import features, manual_dir, splits

INSTRUCTIONS = """\
Put MATH into the manual folder, as one of
  MATH.tar                              the original archive (20 MB), named by the README of the
                                        GitHub repository hendrycks/math; sha256 0fbe4fad...ac
  MATH/{train,test}/<subject>/*.json    the same, unpacked
  math/{train,test}.jsonl[.gz]          one problem a line with problem, solution, level, type and
                                        unique_id ("test/algebra/1.json"); the files
                                        prm800k/math_splits/{train,test}.jsonl of the GitHub
                                        repository openai/prm800k (git lfs) are of this form
Folder and split of a file do not matter: the split is the one of Lightman et al., cut once more."""

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


class Math(tfds.core.GeneratorBasedBuilder):
  """MATH with the 12,000/500 split of Lightman et al., the 12,000 cut into 11,000/1,000."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = INSTRUCTIONS

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      description=__doc__,
      features=features.problem_features(),
      citation=CITATION,
      supervised_keys=('question', 'solution'),
      homepage='https://github.com/hendrycks/math',
    )

  def _split_generators(self, dl_manager):
    problems = read_math_problems(dl_manager.manual_dir)
    return {
      split: self._generate_examples(problems, split)
      for split in features.nonempty_splits(problems)
    }

  def _generate_examples(self, problems, split):
    yield from features.generate_examples(problems, split)


def read_math_problems(folder: epath.PathLike) -> list[schema.Problem]:
  """All problems of the manual folder, each with the split it belongs to.

  ValueError when the folder has none of the accepted forms, or when problems share an id.
  """
  problems = [
    _problem(row, where, name) for name, row, where in _rows(epath.Path(folder))
  ]
  by_id = {problem.id: problem for problem in problems}
  if len(by_id) < len(problems):
    raise ValueError(
      f'{folder}: {len(problems)} problems with {len(by_id)} different ids.'
    )
  boxless = [problem.id for problem in problems if not problem.answer]
  logging.info(
    "%s: %d of MATH's %d problems; no answer in a box: %s",
    folder,
    len(problems),
    SIZE,
    ', '.join(boxless) or 'none',
  )
  return problems


def _problem(row: dict, where: str, name: str) -> schema.Problem:
  problem = problem_sources.problem_from_json(
    {'unique_id': name, **row}, where, name, 'train'
  )
  return schema.Problem(
    problem.id,
    problem.question.strip(),
    problem.solution.strip(),
    problem.answer,
    problem.subject,
    problem.level.removeprefix('Level '),
    splits.assign_math_split(problem.question),
  )


def _rows(folder: epath.Path) -> Iterator[tuple[str, dict, str]]:
  """(id or '', json object, file:line) of the first accepted form in the folder."""
  if archive := manual_dir.first_existing(
    folder, ('MATH.tar', 'math/MATH.tar')
  ):
    manual_dir.check_published_sha256(archive, SHA256)
    yield from _archived(archive)
  elif unpacked := manual_dir.first_existing(
    folder, ('MATH/train', 'math/MATH/train', 'math/train', 'train')
  ):
    for path in sorted(unpacked.parent.glob('*/*/[!.]*.json')):
      yield '/'.join(path.parts[-3:]), json.loads(path.read_text()), str(path)
  else:
    yield from _lines(folder)


def _archived(archive: epath.Path) -> Iterator[tuple[str, dict, str]]:
  with archive.open('rb') as stream, tarfile.open(fileobj=stream) as members:
    for member in members:
      parts = member.name.split('/')
      if (
        member.isfile()
        and member.name.endswith('.json')
        and len(parts) >= 3
        and not parts[-1].startswith('.')
      ):  # what macOS leaves beside a file
        row = json.loads(members.extractfile(member).read())
        yield '/'.join(parts[-3:]), row, f'{archive}:{member.name}'


def _lines(folder: epath.Path) -> Iterator[tuple[str, dict, str]]:
  paths = [
    manual_dir.find_jsonl(folder, FOLDERS, name) for name in ('train', 'test')
  ]
  if not any(paths):
    raise ValueError(f'{folder}: no MATH in it.\n{INSTRUCTIONS}')
  for path in filter(None, paths):
    for where, row in schema.read_jsonl(path):
      yield '', row, where
