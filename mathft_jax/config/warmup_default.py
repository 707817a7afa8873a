"""A shorter default of WARMUP_STEPS for a short training."""

import os

from absl import logging

from mathft_jax.config import gin_files

FRACTION = 10  # steps of the training for each step of its warm-up


def find_source(reader: gin_files.GinReader) -> gin_files.GinSource | None:
  """Returns gin text that sets WARMUP_STEPS if its default is too long; None if it is not.

  A value of the user is never changed.

  Args:
    reader: has read all gin files and the command line.
  """
  last = {each.name: each for each in reader.assignments}
  warmup, steps = last.get('WARMUP_STEPS'), last.get('TRAIN_STEPS')
  relative = last.get('TRAIN_STEPS_RELATIVE')
  if relative is not None and type(relative.value) is int:
    steps = relative
  if warmup is None or steps is None:
    return None
  if type(warmup.value) is not int or type(steps.value) is not int:
    return None
  package = f'{gin_files.package_gin_directory()}{os.sep}'
  is_default = os.path.abspath(warmup.where).startswith(package)
  if not is_default or warmup.value < steps.value or steps.value < 1:
    return None

  shorter = steps.value // FRACTION
  logging.info(
    'WARMUP_STEPS is %d instead of the default %d, because %s is %d',
    shorter,
    warmup.value,
    steps.name,
    steps.value,
  )
  return gin_files.GinSource(
    'a short training',
    f'{gin_files.DYNAMIC_REGISTRATION}WARMUP_STEPS = {shorter}\n',
  )
