"""Evaluators against generators: each evaluator on the candidates of each generator.

The candidate files of a report form a grid if all their names are 'EVALUATOR on GENERATOR', such as
'small on large' for the candidates of the large model, scored by the small one:

  tables = make_grid_tables(json.loads(path.read_text()))
"""

from collections.abc import Mapping
from typing import NamedTuple

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import tables
from mathft_jax.evaluation.report.stored_numbers import (
  JsonObject,
  difference_from_json,
  estimate_from_json,
)

SEPARATOR = ' on '


class Cell(NamedTuple):
  """An evaluator and the generator whose candidates it scored."""

  evaluator: str
  generator: str


def grid_sections(report: JsonObject) -> dict[Cell, JsonObject]:
  """Returns the sections of the files by evaluator and generator; empty if they form no grid."""
  cells = {}
  for name, section in report['files'].items():
    evaluator, separator, generator = name.partition(SEPARATOR)
    if not (separator and evaluator and generator):
      return {}
    cells[Cell(evaluator, generator)] = section
  return cells if len(cells) > 1 else {}


def make_grid_tables(report: JsonObject) -> list[tables.Table]:
  """Returns for each re-ranking rule a table of evaluators x generators; empty without a grid.

  A cell has the accuracy and, below the rows of accuracies, the difference to the baseline on the
  same candidates, with intervals.
  """
  cells = grid_sections(report)
  settings = report['settings']
  rules: dict[str, None] = {}
  for section in cells.values():
    for entry in section['accuracies']:
      if entry['name'].startswith(('RR.', 'W.RR')) and entry['kind'] == 'rule':
        rules[entry['name']] = None
  return [_make_table(rule, cells, settings) for rule in rules]


def _make_table(
  rule: str, cells: Mapping[Cell, JsonObject], settings: JsonObject
) -> tables.Table:
  evaluators = list(dict.fromkeys(cell.evaluator for cell in cells))
  generators = list(dict.fromkeys(cell.generator for cell in cells))
  baseline = settings['baseline']
  body = [_baseline_row(baseline, generators, cells)]
  for evaluator in evaluators:
    row = []
    for generator in generators:
      section = cells.get(Cell(evaluator, generator))
      row.append(_accuracy(rule, section))
    body.append((f'{rule} by {evaluator}', *row))

  differences = {}
  for cell, section in cells.items():
    for entry in section['differences']:
      if (entry['a'], entry['b']) == (rule, baseline):
        differences[cell] = difference_from_json(entry)
  p_values = [difference.p_value for difference in differences.values()]
  adjusted = statistics.holm_adjusted_p_values(p_values)
  texts = {}
  for (cell, difference), p in zip(differences.items(), adjusted):
    points = tables.format_points(difference)
    texts[cell] = f'{points}, p {tables.format_p_value(p)}'
  for evaluator in evaluators:
    row = [texts.get(Cell(evaluator, each), '-') for each in generators]
    body.append((f'{rule} by {evaluator} - {baseline}', *row))

  note = (
    f'A row per evaluator, a column per generator. Accuracy in % with its '
    f'{settings["confidence"]:.0%} Wilson interval; differences in points with that of a paired '
    "bootstrap, and McNemar's exact p adjusted for all cells of the table (Holm)."
  )
  header = ('', *[f'candidates of {each}' for each in generators])
  return tables.Table(
    f'{rule}: evaluators x generators', header, tuple(body), note
  )


def _baseline_row(
  baseline: str, generators: list[str], cells: Mapping[Cell, JsonObject]
) -> tables.Row:
  row = []
  for generator in generators:
    first = next(cell for cell in cells if cell.generator == generator)
    row.append(_accuracy(baseline, cells[first]))
  return (baseline, *row)


def _accuracy(name: str, section: JsonObject | None) -> str:
  for entry in section['accuracies'] if section else []:
    if entry['name'] == name:
      return tables.format_percent(estimate_from_json(entry))
  return '-'
