"""What our TFDS data sets hold: a `records.Problem` an example, its split being the data set's."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from mathft_jax.data import schema
from mathft_jax.data.tfds import splits

FIELDS = ('id', 'question', 'solution', 'answer', 'subject', 'level')


def problem_features() -> tfds.features.FeaturesDict:
  """Texts only; what is not known is empty."""
  return tfds.features.FeaturesDict(
    {name: tfds.features.Text() for name in FIELDS}
  )


def generate_examples(
  problems: Sequence[schema.Problem], split: str
) -> Iterator[tuple[str, dict[str, str]]]:
  """(key, example) of the problems of a split."""
  for each in problems:
    if each.split == split:
      yield each.id, {name: getattr(each, name) or '' for name in FIELDS}


def nonempty_splits(problems: Sequence[schema.Problem]) -> list[str]:
  """The splits that have a problem: an excerpt may lack some, and TFDS writes no empty one."""
  present = {each.split for each in problems}
  return [split for split in splits.SPLITS if split in present]


def problem_from_example(
  example: Mapping[str, Any], split: str
) -> schema.Problem:
  """The problem that an example, as numpy, holds."""
  texts = {name: example[name].decode('utf-8') for name in FIELDS}
  return schema.Problem(
    **{**texts, 'answer': texts['answer'] or None}, split=split
  )
