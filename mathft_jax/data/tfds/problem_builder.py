"""The base class of the TFDS builders, and their features: a `schema.Problem` per example."""

from collections.abc import Iterator, Mapping, Sequence
import sys

from etils import epath
import tensorflow_datasets as tfds

from mathft_jax.data import schema
from mathft_jax.data.tfds import splits

FIELDS = ('id', 'question', 'solution', 'answer', 'subject', 'level')


class ProblemBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Builds a data set of problems from the manual folder.

  Subclasses set the attributes below and implement `read_problems`.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  CITATION: str
  HOMEPAGE: str

  def read_problems(self, folder: epath.PathLike) -> list[schema.Problem]:
    """Returns the problems of all splits."""
    raise NotImplementedError

  def _info(self) -> tfds.core.DatasetInfo:
    """Returns the metadata; unknown texts of a problem are empty."""
    return self.dataset_info_from_configs(
      description=sys.modules[self.__module__].__doc__,
      features=tfds.features.FeaturesDict(
        {name: tfds.features.Text() for name in FIELDS}
      ),
      citation=self.CITATION,
      supervised_keys=('question', 'solution'),
      homepage=self.HOMEPAGE,
    )

  def _split_generators(self, dl_manager):
    """Returns a generator for each split with a problem; TFDS does not write empty splits."""
    problems = self.read_problems(dl_manager.manual_dir)
    present = {problem.split for problem in problems}
    return {
      split: self._generate_examples(problems, split)
      for split in splits.SPLITS
      if split in present
    }

  def _generate_examples(
    self, problems: Sequence[schema.Problem], split: str
  ) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields (key, example) of the problems of a split."""
    for problem in problems:
      if problem.split == split:
        texts = {name: getattr(problem, name) or '' for name in FIELDS}
        yield problem.id, texts


def problem_from_example(
  example: Mapping[str, bytes], split: str
) -> schema.Problem:
  """Returns the problem of an example of `tfds.as_numpy`."""
  texts = {name: example[name].decode('utf-8') for name in FIELDS}
  answer = texts.pop('answer') or None
  return schema.Problem(**texts, answer=answer, split=split)
