"""Model, fingerprint and loss in a checkpoint's metadata, and whether they fit a run."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from etils import epath

from mathft_jax.checkpoints.json_values import to_json_value
from mathft_jax.checkpoints.lazy_params import flatten_params
from mathft_jax.checkpoints.restore import read_metadata, resolve_checkpoint
from mathft_jax.models import config as config_lib


def load_model_config(
  path: epath.PathLike, **overrides: Any
) -> config_lib.TransformerConfig:
  """Returns the model config of a checkpoint, for MODEL in a gin file.

  Args:
    path: as for `load_params`.
    overrides: fields of NON_ARCHITECTURE_FIELDS: dtype, remat, vocab_multiple, ...

  Raises:
    ValueError: the checkpoint has no model config, or other fields are overridden.
  """
  resolve_checkpoint(path, macros='MODEL_FROM')
  fields = read_metadata(path).get('model')
  if not fields or 'num_heads' not in fields:
    raise ValueError(
      f'{path} does not contain a model config; set MODEL to one of models/*.gin.'
    )
  wrong = sorted(set(overrides) - config_lib.NON_ARCHITECTURE_FIELDS)
  if wrong:
    raise ValueError(
      f'{wrong} cannot be overridden for the model of {path}; only '
      f'{sorted(config_lib.NON_ARCHITECTURE_FIELDS)} can.'
    )
  config = config_lib.model_config_from_json(fields)
  return dataclasses.replace(config, **overrides)


def check_metadata(
  path: epath.PathLike,
  *,
  model: object = None,
  fingerprint: Mapping[str, str] | None = None,
) -> None:
  """Checks that a checkpoint has the model and the fingerprint of this run.

  Model configs are compared by fields, without NON_ARCHITECTURE_FIELDS; fingerprints by entries. A
  file without metadata, from another program, is not checked here.

  Raises:
    ValueError: they differ; the message lists both values.
  """
  saved = read_metadata(path)
  for name, wanted in (('model', model), ('fingerprint', fingerprint)):
    if wanted is None or not saved.get(name):
      continue
    found_fields = _comparable_fields(saved[name])
    wanted_fields = _comparable_fields(wanted)
    found_only, wanted_only = {}, {}
    for key in sorted(found_fields.keys() | wanted_fields.keys()):
      found_value, wanted_value = found_fields.get(key), wanted_fields.get(key)
      if found_value != wanted_value:
        found_only[key], wanted_only[key] = found_value, wanted_value

    if found_only:
      raise ValueError(
        f'{path} was made with another {name}:\n'
        f'  checkpoint: {found_only}\n'
        f'  this run:   {wanted_only}\n'
        'Set MODEL, VOCABULARY and TEMPLATE to those of the checkpoint, or use another '
        'checkpoint (for a training, another MODEL_DIR).'
      )


def last_loss(metadata: Mapping[str, Any]) -> str | None:
  """Returns the class of the loss that a checkpoint was trained with last, such as 'Mle'.

  '' for a published model; None if it is not known.
  """
  settings = metadata.get('settings')
  if settings is None:
    return '' if 'published' in metadata else None
  loss = settings.get('loss')
  if isinstance(loss, str):  # "Mle(z_loss=0.0)", of older versions
    return loss.partition('(')[0]
  return loss.get('class') if isinstance(loss, dict) else None


def _comparable_fields(value: object) -> dict[str, Any]:
  fields = config_lib.canonical_model_fields(to_json_value(value))
  return flatten_params(fields)
