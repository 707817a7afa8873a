"""TFDS data sets on disk: prepared once from the manual folder, then read.

problems = TfdsProblems(name='math')('test')
"""

from collections.abc import Mapping
import dataclasses
import logging
import sys

import tensorflow as tf
import tensorflow_datasets as tfds

from mathft_jax.data import problem_sources, schema
from mathft_jax.data.tfds import (
  gsm8k,
  math,
  prm800k,
  prm800k_trajectories,
  problem_builder,
)

try:
  # TensorFlow would reserve all GPU memory, which JAX needs.
  tf.config.set_visible_devices([], 'GPU')
except RuntimeError:
  logging.warning(
    'TensorFlow was initialized before mathft_jax.data: it may use accelerator memory.'
  )

BUILDERS: Mapping[str, type[tfds.core.DatasetBuilder]] = {
  'math': math.Math,
  'prm800k': prm800k.Prm800k,
  'gsm8k': gsm8k.GradeSchoolMath,
}
TFDS_NAMES = {
  'math': f'math:{math.Math.VERSION}',
  'prm800k': f'prm800k/{prm800k.FINISHED.name}:{prm800k.Prm800k.VERSION}',
  'gsm8k': f'{gsm8k.GradeSchoolMath.name}:{gsm8k.GradeSchoolMath.VERSION}',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsConfig:
  """Folders of the TFDS data sets, and which PRM800K solutions they contain.

  Attributes:
    tfds_data_dir: folder of prepared data sets; None means the default of TFDS, $TFDS_DATA_DIR or
      ~/tensorflow_datasets.
    manual_dir: folder of downloaded files; None means `<tfds_data_dir>/downloads/manual`. It is
      read only if a data set is not yet prepared in `tfds_data_dir`.
    prm800k_selection: which PRM800K trajectories become solutions.
  """

  tfds_data_dir: str | None = None
  manual_dir: str | None = None
  prm800k_selection: prm800k_trajectories.Selection = (
    prm800k_trajectories.Selection()
  )


def make_builder(name: str, config: TfdsConfig) -> tfds.core.DatasetBuilder:
  """Returns the builder of 'math', 'prm800k' or 'gsm8k'; it may not be prepared yet."""
  if name not in BUILDERS:
    raise ValueError(f'data set {name!r}; wanted one of {sorted(BUILDERS)}.')
  options = {}
  if name == 'prm800k':
    options['config'] = prm800k.make_builder_config(config.prm800k_selection)
  return BUILDERS[name](data_dir=config.tfds_data_dir, **options)


def prepare_dataset(name: str, config: TfdsConfig) -> tfds.core.DatasetBuilder:
  """Returns the builder of a data set; prepares it from the manual folder if necessary.

  Raises:
    ValueError: the manual folder does not exist, is empty, or lacks files of the data set.
  """
  builder = make_builder(name, config)
  if not builder.is_prepared():
    if not sys.stderr.isatty():
      tfds.disable_progress_bar()
    options = tfds.download.DownloadConfig(manual_dir=config.manual_dir)
    try:
      builder.download_and_prepare(download_config=options)
    except AssertionError as error:  # TFDS checks the manual folder
      raise ValueError(
        f'{name}: {error}\nName the folder with --manual_dir of mathft_jax.prepare_data, or with '
        '--gin.MANUAL_DIR of other programs.'
      ) from error
  sizes = {
    split: info.num_examples for split, info in builder.info.splits.items()
  }
  logging.info('%s: %s in %s', name, sizes, builder.data_path)
  return builder


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsProblems(TfdsConfig):
  """The problems of 'math', 'prm800k' or 'gsm8k', in the order of TFDS, which is fixed.

  Attributes:
    name: the data set.
    limit: maximum number of problems, chosen by a hash of the id; None means all.
  """

  name: str
  limit: int | None = None

  def __call__(self, split: str) -> list[schema.Problem]:
    builder = prepare_dataset(self.name, self)
    if split not in builder.info.splits:
      raise ValueError(
        f'{self.name} has no split {split!r}; it has {sorted(builder.info.splits)}.'
      )
    options = {'split': split, 'shuffle_files': False}
    dataset = builder.as_dataset(**options)
    problems = [
      problem_builder.problem_from_example(example, split)
      for example in tfds.as_numpy(dataset)
    ]
    return problem_sources.subsample_problems(problems, self.limit)
