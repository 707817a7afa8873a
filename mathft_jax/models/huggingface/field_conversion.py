"""Type of a pair of functions between keys of config.json and fields of TransformerConfig."""

from collections.abc import Callable
from typing import NamedTuple

from mathft_jax.models.config import Fields, Json, TransformerConfig


class FieldConversion(NamedTuple):
  """Reads fields of TransformerConfig from keys of config.json, and writes these keys.

  Attributes:
    read: keys of config.json -> fields; ValueError for an unsupported value.
    write: config -> the keys that `read` reads.
  """

  read: Callable[[Json], Fields]
  write: Callable[[TransformerConfig], Fields]


NO_FIELDS = FieldConversion(lambda keys: {}, lambda config: {})
