"""Data sources of seqio tasks: prepared TFDS data sets, elements made in Python; tasks by name.

source = PreparedTfdsSource('math', TfdsConfig(tfds_data_dir='tfds'))
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import importlib

import numpy as np
import seqio
import tensorflow as tf

from mathft_jax.data.tfds import prepared_datasets

Element = Mapping[
  str, np.ndarray | str
]  # to make an element of a seqio data set

SPLITS = ('train', 'validation', 'test')
# Texts of a problem, for seqio's inspection tools and for metrics.
TEXTS = ('id', 'inputs_pretokenized', 'targets_pretokenized', 'answer')


class PreparedTfdsSource(seqio.TfdsDataSource):
  """A TFDS data set of this package that has been prepared.

  All methods that read the data set raise a ValueError with the command that prepares it if it is
  not prepared. Without this check TFDS raises a KeyError.
  """

  def __init__(self, name: str, config: prepared_datasets.TfdsConfig):
    """`name` is 'math', 'prm800k' or 'gsm8k'."""
    self._name, self._config = name, config
    splits = {split: split for split in SPLITS}
    default = prepared_datasets.TfdsConfig().prm800k_selection
    self._is_folder = name == 'prm800k' and config.prm800k_selection != default
    if self._is_folder:  # a non-default selection is identified by its folder
      folder = prepared_datasets.make_builder(name, config).data_path
      super().__init__(tfds_data_dir=str(folder), splits=splits, read_only=True)
      return
    super().__init__(
      prepared_datasets.TFDS_NAMES[name],
      tfds_data_dir=config.tfds_data_dir,
      splits=splits,
    )

  def get_dataset(self, split: str | None = None, *args, **kwargs):
    """Returns the TensorFlow data set of a split."""
    self._check_prepared()
    return super().get_dataset(split, *args, **kwargs)

  def num_input_examples(self, split: str) -> int | None:
    """Returns the number of examples of a split."""
    self._check_prepared()
    return super().num_input_examples(split)

  def list_shards(self, split: str) -> Sequence[str]:
    """Returns the file names of a split."""
    self._check_prepared()
    return super().list_shards(split)

  def _check_prepared(self) -> None:
    folder = self._config.tfds_data_dir
    if not self._is_folder:  # seqio's override, e.g. t5x's --tfds_data_dir
      folder = self.tfds_dataset.data_dir
    config = dataclasses.replace(self._config, tfds_data_dir=folder)
    builder = prepared_datasets.make_builder(self._name, config)
    if builder.is_prepared():
      return
    root = folder or '<folder of prepared data sets>'
    raise ValueError(
      f'The data set {self._name} is not prepared: there is no {builder.data_path}. Prepare it: '
      f'`python -m mathft_jax.prepare_data --datasets={self._name} --tfds_data_dir={root} '
      '--manual_dir=<folder of the downloaded files>`. If it is prepared in another folder, name '
      'that with --tfds_data_dir.'
    )


def make_function_source(
  elements: Callable[[str], Iterator[Element]], features: Sequence[str]
) -> seqio.FunctionDataSource:
  """Returns a source of elements that are made in Python.

  Args:
    elements: yields the elements of a split.
    features: names of the features: token ids, texts (`TEXTS`), or the number `is_correct`.
  """
  signature = {}
  for feature in features:
    shape = [] if feature in ('is_correct', *TEXTS) else [None]
    dtype = tf.string if feature in TEXTS else tf.int32
    signature[feature] = tf.TensorSpec(shape, dtype)

  def dataset(
    split: str, shuffle_files: bool, seed: int | None = None
  ) -> tf.data.Dataset:
    del shuffle_files, seed  # the caller shuffles elements
    # Computed outside of the generator, where an error would lose its type.
    in_memory = list(elements(split))
    return tf.data.Dataset.from_generator(
      lambda: in_memory, output_signature=signature
    )

  return seqio.FunctionDataSource(dataset, splits=SPLITS)


def import_task_module(module: str) -> None:
  """Imports a module that registers tasks; ValueError if there is no such module."""
  try:
    importlib.import_module(module)
  except ModuleNotFoundError as error:
    raise ValueError(
      f'MIXTURE_OR_TASK_MODULE is {module!r}: {error}. Name a module that Python can import; the '
      'current folder is on its path.'
    ) from error


def find_mixture_or_task(name: str) -> seqio.Task | seqio.Mixture:
  """Returns a registered task or mixture; ValueError with all names if there is none."""
  known = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
  if name not in known:
    raise ValueError(
      f'There is no task or mixture {name!r} (MIXTURE_OR_TASK_NAME). Registered are: '
      f'{", ".join(sorted(known))}. Set MIXTURE_OR_TASK_MODULE to the module that registers yours.'
    )
  return seqio.get_mixture_or_task(name)
