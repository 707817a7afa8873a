"""Arguments of `train.train` from settings named by field, for tests."""

import dataclasses

from mathft_jax.training import train_config

GROUPS = {
  'data': train_config.DataConfig,
  'optimization': train_config.OptimizationConfig,
  'loop': train_config.LoopConfig,
  'checkpointing': train_config.CheckpointConfig,
}


def group_train_arguments(**settings):
  """Moves settings that are fields of a config into that config.

  `group_train_arguments(batch_size=8, seed=1, ...)` returns
  `{'data': DataConfig(batch_size=8, ...), 'seed': 1, ...}`.
  """
  arguments = dict(settings)
  for name, config_class in GROUPS.items():
    fields = [field.name for field in dataclasses.fields(config_class)]
    values = {each: arguments.pop(each) for each in fields if each in arguments}
    arguments[name] = config_class(**values)
  return arguments
