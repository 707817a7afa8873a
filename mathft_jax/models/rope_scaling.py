"""Scalings of rotary embeddings, and the scale of queries by position."""

from collections.abc import Callable, Mapping
import dataclasses
import math
from typing import Any

import numpy as np

# Maps the inverse wavelengths [R / 2] of rotary embeddings to scaled ones.
RopeScaling = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class LinearRopeScaling:
  """Makes all rotations `factor` times slower (Gemma 3: 8 in global layers)."""

  factor: float

  def __call__(self, inverse_wavelengths: np.ndarray) -> np.ndarray:
    return inverse_wavelengths / self.factor


@dataclasses.dataclass(frozen=True)
class Llama3RopeScaling:
  """Makes slow rotations `factor` times slower, keeps fast ones, and interpolates between.

  As in Llama 3.1 and later. The frequencies are in turns per `original_max_position` tokens.
  """

  factor: float = 8.0
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  original_max_position: int = 8192

  def __call__(self, inverse_wavelengths: np.ndarray) -> np.ndarray:
    turns = self.original_max_position * inverse_wavelengths / (2 * math.pi)
    span = self.high_freq_factor - self.low_freq_factor
    kept = np.clip((turns - self.low_freq_factor) / span, 0.0, 1.0)
    return inverse_wavelengths * (kept + (1 - kept) / self.factor)


@dataclasses.dataclass(frozen=True)
class YarnRopeScaling:
  """Makes slow rotations `factor` times slower and keeps fast ones (YaRN, arXiv 2309.00071).

  As in OLMo 3 and Ministral 3. The ramp is over dimensions, between those that turn `beta_fast` and
  `beta_slow` times in `original_max_position` tokens.

  Attributes:
    magnitude: queries and keys are multiplied by it. None: 0.1 log(factor) + 1.
    whole_dimensions: the ends of the ramp are rounded to whole dimensions.
  """

  factor: float
  original_max_position: int
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  magnitude: float | None = None
  whole_dimensions: bool = True

  def __post_init__(self):
    if self.magnitude is None:
      magnitude = 0.1 * math.log(max(self.factor, 1.0)) + 1.0
      object.__setattr__(self, 'magnitude', magnitude)

  def __call__(self, inverse_wavelengths: np.ndarray) -> np.ndarray:
    dims = len(inverse_wavelengths)
    log_step = -math.log(inverse_wavelengths[1])  # between two dimensions
    ends = []
    for turns in (self.beta_fast, self.beta_slow):
      wavelengths = self.original_max_position / (turns * 2 * math.pi)
      ends.append(math.log(wavelengths) / log_step)
    if self.whole_dimensions:
      ends = [math.floor(ends[0]), math.ceil(ends[1])]
    low, high = max(ends[0], 0), min(ends[1], 2 * dims - 1)
    if low == high:
      high += 0.001

    slowed = np.clip((np.arange(dims) - low) / (high - low), 0.0, 1.0)
    return inverse_wavelengths * (1 - slowed + slowed / self.factor)


@dataclasses.dataclass(frozen=True)
class ProportionalRopeScaling:
  """Rotates only the fastest dimensions; the others are not rotated (Gemma 4, global layers).

  Attributes:
    fraction: of the dimensions that are rotated.
    factor: their rotations are this many times slower.
  """

  fraction: float = 0.25
  factor: float = 1.0

  def __call__(self, inverse_wavelengths: np.ndarray) -> np.ndarray:
    num_rotated = int(self.fraction * len(inverse_wavelengths))
    is_rotated = np.arange(len(inverse_wavelengths)) < num_rotated
    return np.where(is_rotated, inverse_wavelengths / self.factor, 0.0)


def rope_magnitude(scaling: RopeScaling | None) -> float:
  """Returns the factor by which a scaling multiplies rotated queries and keys."""
  return getattr(scaling, 'magnitude', 1.0)


@dataclasses.dataclass(frozen=True)
class QueryScaleByPosition:
  """Queries at position p are multiplied by 1 + beta log(1 + floor(p / original_max_position)).

  As in Ministral 3 and Llama 4. Natural logarithm.
  """

  beta: float
  original_max_position: int


def rope_scaling_from_json(fields: Mapping[str, Any]) -> RopeScaling:
  """Returns the scaling that has these fields.

  Raises:
    ValueError: no scaling has them.
  """
  for scaling_class in (
    LinearRopeScaling,
    Llama3RopeScaling,
    YarnRopeScaling,
    ProportionalRopeScaling,
  ):
    names = {field.name for field in dataclasses.fields(scaling_class)}
    if names == set(fields):
      return scaling_class(**fields)
  raise ValueError(f'The rope_scaling {dict(fields)} is of no known kind.')
