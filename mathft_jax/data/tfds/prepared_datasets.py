"""TFDS data sets on disk: prepared once from the manual folder, then read."""

from collections.abc import Mapping
import dataclasses
import logging
import sys
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from mathft_jax.data import problem_sources, schema
from mathft_jax.data.tfds import (
  features,
  gsm8k,
  math,
  prm800k,
  prm800k_trajectories,
)

try:
  tf.config.set_visible_devices(
    [], 'GPU'
  )  # or it would take all of the memory that JAX needs
except RuntimeError:
  logging.warning(
    'TensorFlow was at work before mathft_jax.data: it may hold accelerator memory.'
  )

BUILDERS: Mapping[str, Any] = {
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
  """Where data sets lie and what is taken into them.

  Attributes:
    tfds_data_dir: of the prepared files; None is TFDS's own, $TFDS_DATA_DIR or
      ~/tensorflow_datasets.
    manual_dir: what the user downloaded; None is `<tfds_data_dir>/downloads/manual`. Read only when
      a data set is not yet prepared in `tfds_data_dir`.
    prm800k_selection: which PRM800K trajectories become solutions.
  """

  tfds_data_dir: str | None = None
  manual_dir: str | None = None
  prm800k_selection: prm800k_trajectories.Selection = (
    prm800k_trajectories.Selection()
  )


def make_builder(name: str, storage: TfdsConfig) -> tfds.core.DatasetBuilder:
  """The builder of 'math', 'prm800k' or 'gsm8k'; may not be prepared yet."""
  if name not in BUILDERS:
    raise ValueError(f'data set {name!r}; wanted one of {sorted(BUILDERS)}.')
  config = (
    {'config': prm800k.make_builder_config(storage.prm800k_selection)}
    if name == 'prm800k'
    else {}
  )
  return BUILDERS[name](data_dir=storage.tfds_data_dir, **config)


def prepare_dataset(name: str, storage: TfdsConfig) -> tfds.core.DatasetBuilder:
  """The builder of a data set that is on disk, made from the manual folder when it was not."""
  built = make_builder(name, storage)
  if not built.is_prepared():
    if not sys.stderr.isatty():
      tfds.disable_progress_bar()
    built.download_and_prepare(
      download_config=tfds.download.DownloadConfig(
        manual_dir=storage.manual_dir
      )
    )
  logging.info(
    '%s: %s in %s',
    name,
    {split: info.num_examples for split, info in built.info.splits.items()},
    built.data_path,
  )
  return built


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsProblems(TfdsConfig):
  """The problems of 'math', 'prm800k' or 'gsm8k', in TFDS's order, which is fixed.

  `limit` takes so many, chosen by a hash of the id.
  """

  name: str
  limit: int | None = None

  def __call__(self, split: str) -> list[schema.Problem]:
    built = prepare_dataset(self.name, self)
    if split not in built.info.splits:
      raise ValueError(
        f'{self.name} has no split {split!r}; it has {sorted(built.info.splits)}.'
      )
    examples = tfds.as_numpy(built.as_dataset(split=split, shuffle_files=False))
    return problem_sources.subsample_problems(
      [features.problem_from_example(example, split) for example in examples],
      self.limit,
    )
