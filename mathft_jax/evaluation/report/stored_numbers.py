"""Estimates and differences as they are stored in report.json."""

import dataclasses
from typing import Any

from mathft_jax.evaluation import statistics

JsonObject = dict[str, Any]


def to_json(
  numbers: statistics.Estimate | statistics.PairedDifference,
) -> JsonObject:
  """Returns the fields, rounded to six digits because the last ones differ between machines."""
  fields = dataclasses.asdict(numbers)
  for name, number in fields.items():
    if isinstance(number, float):
      fields[name] = float(f'{number:.6g}')
  return fields


def difference_from_json(entry: JsonObject) -> statistics.PairedDifference:
  """Returns a paired difference of report.json; other fields are ignored."""
  names = [
    each.name for each in dataclasses.fields(statistics.PairedDifference)
  ]
  return statistics.PairedDifference(**{name: entry[name] for name in names})


def estimate_from_json(entry: JsonObject) -> statistics.Estimate:
  """Returns an accuracy of report.json; other fields are ignored."""
  return statistics.Estimate(
    entry['mean'], entry['low'], entry['high'], entry['n']
  )
