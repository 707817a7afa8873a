"""Settings of a training run in checkpoint metadata, compared when a run resumes.

  settings = make_run_settings(...)                  saved with each checkpoint
  check_settings(saved, settings, directory)       raises if a run with other settings resumes
  check_learning_rate(saved, optimizer, path)      raises if a finished run had another one

Objects such as the loss are saved by their fields. A field that a later version of this package
adds counts as its default in older checkpoints. Version 1, written before settings had a version,
contains `repr` of the objects; it is still read.
"""

import ast
from collections.abc import Mapping
import dataclasses

from etils import epath

from mathft_jax.models import transformer
from mathft_jax.storage import local_and_remote_paths
from mathft_jax.training import optimizers, train_config

VERSION = 2
RANDOM_INIT = 'random'  # init_from of a training run from scratch

# Files of this package that have moved; old checkpoints contain the old path.
MOVED_FILES = {
  'mathft_jax/data/dials_base.safetensors': 'mathft_jax/dials/base_weights.safetensors',
}

# Values of settings that older checkpoints do not have.
DEFAULTS_OF_NEW_SETTINGS = {
  'shuffle': True,
  'dropout_rate': 0.0,
  'load_balance_weight': 0.0,
}

Json = None | bool | int | float | str | list['Json'] | dict[str, 'Json']


def make_run_settings(
  workdir: epath.PathLike,
  init_from: epath.PathLike | None,
  data: train_config.DataConfig,
  optimization: train_config.OptimizationConfig,
  seed: int,
  model: transformer.TransformerConfig | None = None,
) -> dict[str, object]:
  """Returns the settings that must not change when a run resumes; the learning rate may change.

  `init_from` is relative to the workdir, so that both can be moved together. It is left out if it
  is None.
  """
  settings = {
    'loss': optimization.loss,
    'pack': data.pack,
    'batch_size': data.batch_size,
    'max_length': data.sequence_length,
    'seed': seed,
    'shuffle': data.shuffle,
    'dropout_rate': 0.0 if model is None else model.dropout_rate,
    'load_balance_weight': 0.0,
    'lora': optimization.lora,
    'max_grad_norm': optimization.max_grad_norm,
    'optimizer': optimizers.without_learning_rate(optimization.optimizer),
  }
  if model is not None and model.experts is not None:
    settings['load_balance_weight'] = model.load_balance_weight
  if init_from == RANDOM_INIT:
    settings['init_from'] = RANDOM_INIT
  elif init_from:
    settings['init_from'] = local_and_remote_paths.relative_path(
      init_from, workdir
    )
  return settings


def settings_to_json(settings: Mapping[str, object]) -> dict[str, Json]:
  """Returns settings as they are saved in metadata, with their version."""
  saved: dict[str, Json] = {'version': VERSION}
  for name, value in settings.items():
    saved[name] = _to_json(value)
  return saved


def check_settings(
  saved: Mapping[str, Json], settings: Mapping[str, object], where: str
) -> None:
  """Checks that saved settings are equal to those of this run.

  Args:
    saved: from metadata, of any version.
    settings: from `make_run_settings`.
    where: start of the error message.

  Raises:
    ValueError: lists the settings that differ.
  """
  if saved.get('version') is None:
    saved = _upgrade_version_1(saved)
  saved = {**DEFAULTS_OF_NEW_SETTINGS, **saved}
  different = [
    name
    for name, value in settings.items()
    if not _is_equal(saved.get(name), value)
  ]
  if not different:
    return
  old = {name: saved.get(name) for name in different}
  new = {name: _to_json(settings[name]) for name in different}
  raise ValueError(
    f'{where} was created with other settings:\n  saved: {old}\n  now:   {new}\n'
    'Use the saved settings, use another MODEL_DIR, or delete this one.'
  )


def check_learning_rate(
  saved: object, optimizer: optimizers.OptimizerConfig, where: str
) -> None:
  """Checks that a finished run had this learning rate.

  Args:
    saved: `repr` of its optimizer, in the metadata.
    optimizer: of this run; a schedule that is no dataclass is not compared.
    where: start of the error message.

  Raises:
    ValueError: has both learning rates.
  """
  found = _parse_repr(saved) if isinstance(saved, str) else None
  rate = optimizer.learning_rate
  is_number = isinstance(rate, (int, float))
  if not isinstance(found, dict) or 'learning_rate' not in found:
    return
  old = found['learning_rate']
  if not (is_number or dataclasses.is_dataclass(rate)) or _is_equal(old, rate):
    return
  raise ValueError(
    f'{where} is of a finished run with another learning rate:\n'
    f'  saved: {old}\n  now:   {_to_json(rate)}\n'
    'Use the saved one (LEARNING_RATE, WARMUP_STEPS), use another MODEL_DIR, delete this one, or '
    'increase TRAIN_STEPS to continue with the new one.'
  )


def _is_equal(saved: Json, value: object) -> bool:
  """Compares a saved value with a value of this run; missing fields count as their defaults."""
  if not dataclasses.is_dataclass(value) or not isinstance(saved, dict):
    return saved == _to_json(value)
  if saved.get('class') != type(value).__name__:
    return False

  unknown = set(saved) - {'class'}
  for field in dataclasses.fields(value):
    new = getattr(value, field.name)
    if field.name in saved:
      old = saved[field.name]
    elif field.default_factory is not dataclasses.MISSING:
      old = _to_json(field.default_factory())
    elif field.default is not dataclasses.MISSING:
      old = _to_json(field.default)
    else:
      return False
    if not _is_equal(old, new):
      return False
    unknown.discard(field.name)

  return not unknown


def _to_json(value: object) -> Json:
  if dataclasses.is_dataclass(value):
    fields: dict[str, Json] = {'class': type(value).__name__}
    for field in dataclasses.fields(value):
      fields[field.name] = _to_json(getattr(value, field.name))
    return fields
  if isinstance(value, (list, tuple)):
    return [_to_json(item) for item in value]
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  return repr(value)


def _upgrade_version_1(saved: Mapping[str, Json]) -> dict[str, Json]:
  """Returns settings of version 1 with objects parsed from their `repr`."""
  upgraded = dict(saved)
  for name in ('loss', 'lora', 'optimizer'):
    text = upgraded.get(name)
    if isinstance(text, str):
      upgraded[name] = _parse_repr(text)

  init_from = upgraded.get('init_from')
  if isinstance(init_from, str):
    for old, new in MOVED_FILES.items():
      init_from = init_from.replace(old, new)
    upgraded['init_from'] = init_from
  return upgraded


def _parse_repr(text: str) -> Json:
  """Parses `repr` of a dataclass, such as "Mle(z_loss=0.0)"; returns other texts unchanged."""
  try:
    return _node_to_json(ast.parse(text, mode='eval').body)
  except (SyntaxError, ValueError):
    return text


def _node_to_json(node: ast.expr) -> Json:
  if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
    fields: dict[str, Json] = {'class': node.func.id}
    for keyword in node.keywords:
      fields[str(keyword.arg)] = _node_to_json(keyword.value)
    return fields
  if isinstance(node, (ast.List, ast.Tuple)):
    return [_node_to_json(item) for item in node.elts]
  return ast.literal_eval(node)
