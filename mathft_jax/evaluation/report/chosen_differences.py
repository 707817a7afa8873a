"""Paired differences between any row of one candidate file and any row of another.

differences = [parse_difference('tuned: RR.Top-8 - few_shot: Maj1@64', ['tuned', 'few_shot'])]
entries = compute_differences(differences, files, settings)      # for report.json
"""

from collections.abc import Mapping, Sequence
import re
from typing import NamedTuple

import numpy as np

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.evaluated_file import EvaluatedFile
from mathft_jax.evaluation.report.report_json import ReportSettings
from mathft_jax.evaluation.report.stored_numbers import JsonObject, to_json

EXAMPLE = "'tuned: RR.Top-8 - few_shot: Maj1@N'"


class Side(NamedTuple):
  """A row of a candidate file."""

  file: str
  row: str


class ChosenDifference(NamedTuple):
  """Side a minus side b."""

  a: Side
  b: Side


def parse_differences(
  texts: Sequence[str], files: Sequence[str]
) -> list[ChosenDifference]:
  """Returns both sides of each 'file: row - file: row'; see `parse_difference`."""
  return [parse_difference(text, files) for text in texts]


def parse_difference(text: str, files: Sequence[str]) -> ChosenDifference:
  """Returns both sides of 'file: row - file: row'.

  Args:
    text: the difference. If there is one candidate file, its name may be left out.
    files: names of the candidate files.

  Raises:
    ValueError: the text has another form, or names another file.
  """
  sides = []
  for part in text.split(' - '):
    file, _, row = part.strip().rpartition(': ')
    if not file and len(files) == 1:
      file = files[0]
    sides.append(Side(file.strip(), row.strip()))
  if len(sides) != 2 or any(side.file not in files for side in sides):
    raise ValueError(
      f'The difference {text!r} has the sides {[tuple(side) for side in sides]}; wanted '
      f"'file: row - file: row', such as {EXAMPLE}, with files of {list(files)} (COMPARE)."
    )
  return ChosenDifference(*sides)


def compute_differences(
  chosen: Sequence[ChosenDifference],
  files: Mapping[str, EvaluatedFile],
  settings: ReportSettings,
) -> list[JsonObject]:
  """Returns {'a': {'file', 'row'}, 'b': {...}} and the numbers of each paired difference.

  A difference is taken on the problems that both files have. `Maj1@64` is the row `Maj1@N` of a
  file with 64 candidates per problem.

  Raises:
    ValueError: a file has no such row, or two files have no problem in common.
  """
  entries = []
  for a, b in chosen:
    a_values = _values_by_problem(a, files[a.file])
    b_values = _values_by_problem(b, files[b.file])
    ids = [id_ for id_ in a_values if id_ in b_values]
    if not ids:
      raise ValueError(
        f'The files {a.file!r} and {b.file!r} have no problem id in common; a paired difference '
        'needs the same problems (COMPARE).'
      )
    difference = statistics.paired_difference(
      np.array([*map(a_values.__getitem__, ids)]),
      np.array([*map(b_values.__getitem__, ids)]),
      seed=settings.seed,
      resamples=settings.resamples,
      confidence=settings.confidence,
    )
    sides = {'a': a._asdict(), 'b': b._asdict()}
    entries.append(sides | to_json(difference))
  return entries


def _values_by_problem(side: Side, file: EvaluatedFile) -> dict[str, float]:
  """Returns the correctness of a row by the problem's id."""
  values = file.values()
  row = side.row
  if row not in values:
    counts = {len(each.candidates) for each in file.candidate_sets}
    match = re.search(r'@(\d+)', row)
    if match and counts == {int(match[1])}:
      row = row.replace(match[0], '@N', 1)
  if row not in values:
    raise ValueError(
      f'{side.file!r} has no row {side.row!r} (COMPARE); its rows are {list(values)}. '
      f'{" ".join(file.notes)}'
    )
  by_id = {}
  for candidate_set, value in zip(file.candidate_sets, values[row]):
    by_id[candidate_set.problem.id] = float(value)
  return by_id
