"""Accepted values of numeric gin macros and parameters, checked before a start and by `--dry_run`.

A macro that is not listed is not checked here. `None` is accepted where the default may be None. A
parameter has the limits of the macro with its name: `num_decodes` those of NUM_DECODES.
"""

from collections.abc import Mapping, Sequence
import math
from typing import TypeGuard

from mathft_jax.config import gin_files
from mathft_jax.config.errors import ConfigError

_LARGEST = 2**31 - 1

# Macro -> smallest integer. Macros of stages end in the same words: SCR_BATCH_SIZE.
_INTEGERS: Mapping[str, int] = {
  'BATCH_SIZE': 1,
  'CHECKPOINT_PERIOD': 1,
  'CURVE_PROBLEMS': 1,
  'DECODE_BATCH_SIZE': 1,
  'EVALUATOR_MAX_LENGTH': 1,
  'EVAL_PERIOD': 1,
  'EVAL_STEPS': 1,
  'EXAMPLES_PER_PROBLEM': 1,
  'EXPECTED_DEVICES': 1,
  'FIRST_CANDIDATES': 1,
  'GRADE_WORKERS': 0,
  'INFERENCE_PARTITIONS': 1,
  'KEEP_CHECKPOINTS': 1,
  'LOG_PERIOD': 1,
  'LORA_RANK': 1,
  'MAX_DECODE_LENGTH': 1,
  'MAX_LENGTH': 1,
  'NUM_DECODES': 1,
  'NUM_MICROBATCHES': 1,
  'NUM_PARTITIONS': 1,
  'NUM_PROBLEMS': 1,
  'NUM_REFERENCES': 1,
  'NUM_SHOTS': 0,
  'NUM_SAMPLED_PROBLEMS': 1,
  'NUM_TEST': 1,
  'NUM_TEXTS': 1,
  'NUM_TRAINING_PROBLEMS': 1,
  'NUM_TRAIN_DECODES': 1,
  'NUM_UNSOLVED': 1,
  'PRINTED_EXAMPLES': 0,
  'PROBLEM_LIMIT': 1,
  'PROMPT_LENGTH': 1,
  'RANDOM_SEED': 0,
  'SCORE_BATCH_SIZE': 1,
  'TEXT_LENGTH': 1,
  'MAX_PER_PROBLEM': 1,
  'TEST_LIMIT': 1,
  'TOP_CANDIDATES': 1,
  'TOP_CLUSTERS': 1,
  'TRAIN_STEPS': 1,
  'TRAIN_STEPS_RELATIVE': 1,
  'WARMUP_STEPS': 0,
}
_STAGE_SUFFIXES = {'_BATCH_SIZE': 1, '_STEPS': 1}
# Macro -> (smallest, largest number, whether the smallest is excluded).
_NUMBERS: Mapping[str, tuple[float, float, bool]] = {
  'DROPOUT_RATE': (0.0, 1.0, False),
  'GRADE_DEADLINE_S': (0.0, math.inf, True),
  'LABEL_SMOOTHING': (0.0, 1.0, False),
  'LEARNING_RATE': (0.0, math.inf, True),
  'LOAD_BALANCE_WEIGHT': (0.0, math.inf, False),
  'LORA_ALPHA': (0.0, math.inf, True),
  'BETA': (0.0, math.inf, True),
  'MARGIN': (0.0, math.inf, False),
  'MIN_AGREEMENT': (0.0, 1.0, False),
  'MIN_SCORE': (0.0, 1.0, False),
  'MAX_GRAD_NORM': (0.0, math.inf, True),
  'MIN_SCORE_DIFFERENCE': (0.0, math.inf, False),
  'MLE_MAX_GRAD_NORM': (0.0, math.inf, True),
  'MLE_WEIGHT': (0.0, math.inf, False),
  'TEMPERATURE': (0.0, math.inf, True),
  'TOP_P': (0.0, 1.0, True),
  'VALIDATION_SHARE': (0.0, 1.0, False),
  'VOTE_CONFIDENCE': (0.5, 1.0, True),
  'WEIGHT_DECAY': (0.0, math.inf, False),
  'Z_LOSS': (0.0, math.inf, False),
}
# Tuples of integers: macro -> (smallest integer, length; 0: any but none).
_TUPLES: Mapping[str, tuple[int, int]] = {
  'DCN_MESH_SHAPE': (1, 2),
  'ICI_MESH_SHAPE': (1, 2),
  'PROFILE_STEPS': (1, 2),
  'RANDOM_SEEDS': (0, 0),
  'RATES': (1, 0),
}
_MAY_BE_NONE = frozenset(
  'CURVE_PROBLEMS DCN_MESH_SHAPE EVAL_PERIOD EVAL_STEPS EXPECTED_DEVICES ICI_MESH_SHAPE '
  'KEEP_CHECKPOINTS MAX_GRAD_NORM MLE_MAX_GRAD_NORM PROBLEM_LIMIT PROFILE_STEPS '
  'TEST_LIMIT TOP_CLUSTERS'.split()
)
_INFERENCE_BATCHES = ('DECODE_BATCH_SIZE', 'SCORE_BATCH_SIZE')
_PATHS = ('MODEL_DIR', 'INFER_OUTPUT_DIR', 'EVAL_OUTPUT_DIR')


def check_assignments(
  assignments: Sequence[gin_files.MacroAssignment],
) -> None:
  """Checks the last value of each macro, then those that depend on each other.

  Args:
    assignments: in their order; references to other objects are not checked.

  Raises:
    ConfigError: names macro, place, value seen and values wanted.
  """
  last = {assignment.name: assignment for assignment in assignments}
  for name, assignment in last.items():
    wanted = _wanted(name, assignment.value)
    if wanted:
      raise ConfigError(
        f'{assignment.where}: {name} is {assignment.value!r}; it must be {wanted}.'
      )
  values = {name: assignment.value for name, assignment in last.items()}
  _check_pairs(values)


def check_bindings(
  bindings: Mapping[tuple[str, str], Mapping[str, object]],
) -> None:
  """Checks numbers that are bound to parameters directly, without a macro.

  Args:
    bindings: values by parameter, by (scope, selector), as in `ResolvedConfig.bindings`. Only
      those of this package are checked.

  Raises:
    ConfigError: names the parameter, value seen and values wanted.
  """
  for (scope, selector), values in bindings.items():
    if selector.partition('.')[0] != 'mathft_jax':
      continue
    for parameter, value in values.items():
      name = parameter.upper()
      # The suffixes of stages are not meant here: `human_steps` is no number of steps.
      is_limited = name in _INTEGERS or name in _NUMBERS
      wanted = ''
      if is_limited and _is_plain(value):
        wanted = _wanted(name, value)
      if wanted:
        prefix = f'{scope}/' if scope else ''
        place = '.'.join([*selector.split('.')[-2:], parameter])
        raise ConfigError(f'{prefix}{place} is {value!r}; it must be {wanted}.')


def has_limits(name: str) -> bool:
  """Whether the values of a macro are checked here."""
  by_suffix = name.endswith((*_STAGE_SUFFIXES, '_LEARNING_RATE'))
  return by_suffix or any(name in t for t in (_INTEGERS, _NUMBERS, _TUPLES))


def _wanted(name: str, value: object) -> str:
  """Returns '' for an accepted value, else what is wanted."""
  if value is None:
    is_number = name in _INTEGERS or name in _NUMBERS or name in _TUPLES
    is_number |= name.endswith(tuple(_STAGE_SUFFIXES))
    return 'a number' if is_number and name not in _MAY_BE_NONE else ''
  if name in _TUPLES:
    return _wanted_tuple(value, *_TUPLES[name])
  if name in _PATHS and isinstance(value, str) and not value.strip():
    return 'the path of a folder'
  smallest = _INTEGERS.get(name)
  if smallest is None:
    for suffix, least in _STAGE_SUFFIXES.items():
      smallest = least if name.endswith(suffix) else smallest
  if smallest is not None and _is_plain(value):
    if type(value) is int and smallest <= value <= _LARGEST:
      return ''
    return f'an integer from {smallest}'
  range_name = 'LEARNING_RATE' if name.endswith('_LEARNING_RATE') else name
  if range_name in _NUMBERS and _is_plain(value):
    low, high, is_open = _NUMBERS[range_name]
    if (
      _is_number(value)
      and low <= value <= high
      and (value > low or not is_open)
    ):
      return ''
    least = f'over {low:g}' if is_open else f'at least {low:g}'
    return f'a finite number {least}' + (
      f', at most {high:g}' if high < math.inf else ''
    )
  return ''


def _wanted_tuple(value: object, smallest: int, length: int) -> str:
  if not _is_plain(value) and not isinstance(value, (list, tuple)):
    return ''
  wanted = f'{length or "a tuple of"} integers from {smallest}'
  if not isinstance(value, (list, tuple)) or not value:
    return wanted
  if length and len(value) != length:
    return wanted
  for item in value:
    if type(item) is not int or not smallest <= item <= _LARGEST:
      # a reference in a tuple is resolved by gin
      return wanted if _is_plain(item) else ''
  return ''


def _is_plain(value: object) -> bool:
  """Returns False for references, which gin resolves later, and for types checked elsewhere."""
  return isinstance(value, (bool, int, float))


def _is_number(value: object) -> TypeGuard[int | float]:
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    return False
  return math.isfinite(value)


def _check_pairs(values: Mapping[str, object]) -> None:
  name = 'TRAIN_STEPS'
  if type(values.get('TRAIN_STEPS_RELATIVE')) is int:
    name = 'TRAIN_STEPS_RELATIVE'
  steps, warmup = values.get(name), values.get('WARMUP_STEPS')
  if type(steps) is int and type(warmup) is int and warmup > steps:
    raise ConfigError(
      f'WARMUP_STEPS is {warmup} and {name} is {steps}; the warm-up must end within the training. '
      f'Set WARMUP_STEPS to at most {steps}, for example --gin.WARMUP_STEPS={steps // 10}.'
    )
  parts = values.get('NUM_MICROBATCHES')
  for name, size in values.items():
    is_training = name.endswith('BATCH_SIZE') and name not in _INFERENCE_BATCHES
    if (
      is_training and type(size) is int and type(parts) is int and size % parts
    ):
      raise ConfigError(
        f'{name} is {size}; it must be a multiple of NUM_MICROBATCHES ({parts}).'
      )
  seeds = values.get('RANDOM_SEEDS')
  if isinstance(seeds, (list, tuple)) and len(set(seeds)) < len(seeds):
    raise ConfigError(
      f'RANDOM_SEEDS is {seeds}; it must be different integers.'
    )
