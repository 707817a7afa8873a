"""Values of configs and metadata as JSON."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import numpy as np


def to_json_value(value: Any) -> Any:
  """Returns a value that JSON can represent.

  Dataclasses become objects, tuples become lists, arrays become nested lists, and dtypes become
  their names. Any other object becomes its repr.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    fields = [field.name for field in dataclasses.fields(value)]
    value = {name: getattr(value, name) for name in fields}
  if isinstance(value, Mapping):
    return {str(key): to_json_value(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [to_json_value(item) for item in value]
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  if isinstance(value, (np.generic, np.ndarray, jax.Array)):
    return value.tolist()
  try:
    return np.dtype(value).name
  except TypeError:
    return repr(value)
