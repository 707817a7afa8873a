"""Checks that the ids of a vocabulary are within a model's vocabulary."""

from collections.abc import Mapping
from typing import Protocol

from mathft_jax.config.errors import ConfigError


class HasVocabSize(Protocol):
  """A vocabulary, or the configuration of a model."""

  @property
  def vocab_size(self) -> int: ...


def check_vocabulary_size(
  vocabulary: HasVocabSize, model: HasVocabSize
) -> None:
  """Checks that a model has an embedding for each id of a vocabulary.

  Raises:
    ValueError: the vocabulary is larger. JAX clips such an id to the last embedding, and the score
      of a text with one would be NaN.
  """
  if vocabulary.vocab_size > model.vocab_size:
    raise ValueError(
      f'The vocabulary has {vocabulary.vocab_size} ids and the model {model.vocab_size}. Use the '
      "model's own tokenizer, bind TokenizerVocabulary.max_vocab_size, or bind a larger "
      'vocab_size of the model.'
    )


def check_macros(macros: Mapping[str, object]) -> None:
  """Checks the macros VOCABULARY and MODEL, for `--dry_run`.

  A value that cannot be built yet, such as the model of a later stage's checkpoint, is not checked.

  Raises:
    ConfigError: the vocabulary is larger.
  """
  built = []
  for name in ('VOCABULARY', 'MODEL'):
    build = getattr(macros.get(name), 'scoped_configurable_fn', None)
    if build is None:
      return
    try:
      built.append(build())
    except Exception:  # noqa: BLE001 (the program itself reports it)
      return
  vocabulary, model = built
  if not hasattr(vocabulary, 'vocab_size') or not hasattr(model, 'vocab_size'):
    return
  try:
    check_vocabulary_size(vocabulary, model)
  except ValueError as error:
    raise ConfigError(str(error)) from error
