"""Vocabulary and template as JSON in a checkpoint's metadata.

  saved = prompts_to_json(vocabulary, template)
  vocabulary = vocabulary_from_json(saved['vocabulary'], tokenizer='runs/ssft/tokenizer')
  template = template_from_json(saved['template'])

The files of a tokenizer are not part of it; a training run copies them to TOKENIZER_FOLDER in its
work directory.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from mathft_jax.data import prompt_templates, thoughts, vocabularies
from mathft_jax.storage import local_and_remote_paths

Json = dict[str, Any]

METADATA_KEY = 'prompts'
TOKENIZER_FOLDER = 'tokenizer'  # in the work directory
VOCABULARIES = (
  vocabularies.ByteVocabulary,
  vocabularies.WordVocabulary,
  vocabularies.TokenizerVocabulary,
)


def prompts_to_json(
  vocabulary: prompt_templates.Vocabulary, template: prompt_templates.Template
) -> Json | None:
  """Returns {'vocabulary': ..., 'template': ...}; None if one is of a class of the user.

  Demonstrations (`shots`) are left out, as in the fingerprint.
  """
  if not isinstance(vocabulary, VOCABULARIES):
    return None
  if type(vocabulary) not in VOCABULARIES:  # a class derived from one of them
    return None
  if type(template) is not prompt_templates.Template:
    return None
  fields = dataclasses.asdict(vocabulary)
  if isinstance(vocabulary, vocabularies.TokenizerVocabulary):
    fields['path'] = str(local_and_remote_paths.absolute_path(vocabulary.path))
  template_fields = dataclasses.asdict(template)
  del template_fields['shots']
  return {
    'vocabulary': {'class': type(vocabulary).__name__, **fields},
    'template': template_fields,
  }


def needs_tokenizer(saved: Json) -> bool:
  """Whether a saved vocabulary reads the files of a tokenizer."""
  return 'path' in saved


def vocabulary_from_json(
  saved: Json, tokenizer: str | None = None
) -> prompt_templates.Vocabulary:
  """Returns the vocabulary of `prompts_to_json`.

  Args:
    saved: its entry 'vocabulary'.
    tokenizer: file or folder of the tokenizer. None: the path that the training run read.

  Raises:
    ValueError: another version of this package has written it, or the files cannot be read.
  """
  fields = dict(saved)
  name = fields.pop('class')
  if tokenizer is not None and needs_tokenizer(fields):
    fields['path'] = tokenizer
  for vocabulary_class in VOCABULARIES:
    if vocabulary_class.__name__ == name:
      return _build(vocabulary_class, fields)
  raise ValueError(
    f'The checkpoint has a vocabulary of the class {name!r}, which this version does not have. '
    'Use the version of mathft_jax that wrote the checkpoint.'
  )


def template_from_json(saved: Json) -> prompt_templates.Template:
  """Returns the template of `prompts_to_json`, from its entry 'template'."""
  fields = dict(saved)
  markers = fields.get('turn_markers')
  if markers is not None:
    fields['turn_markers'] = _build(thoughts.TurnMarkers, markers)
  return _build(prompt_templates.Template, fields)


def _build(wanted: Any, fields: Mapping[str, Any]) -> Any:
  """Returns a dataclass with these fields; JSON lists become tuples."""
  known = {field.name for field in dataclasses.fields(wanted)}
  unknown = sorted(fields.keys() - known)
  if unknown:
    raise ValueError(
      f'The {wanted.__name__} in the checkpoint has unknown fields {unknown}. Use the version of '
      'mathft_jax that wrote the checkpoint.'
    )
  values = {}
  for name, value in fields.items():
    values[name] = tuple(value) if isinstance(value, list) else value
  return wanted(**values)
