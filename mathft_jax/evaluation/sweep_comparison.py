"""Comparison of the reports of several runs that differ in one setting.

for comparison in compare_reports({'0.1': 'runs/0.1', '0.5': 'runs/0.5'}):
  tables = make_comparison_tables('margin', comparison)
"""

from collections.abc import Mapping
import dataclasses
import json
from typing import NamedTuple

from etils import epath
import numpy as np

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import tables
from mathft_jax.storage import local_and_remote_paths

CONFIDENCE = 0.95
# Kinds of rows that are compared; controls are only in each run's own report.
COMPARED_KINDS = ('sample', 'rule', 'ceiling')

# Errors of reading a file that is no report, or of which a part is lost.
_DAMAGES = (OSError, ValueError, KeyError, TypeError, AttributeError)

ValuesByRule = dict[str, dict[str, float]]  # rule -> problem id -> correctness


AccuracyByRule = dict[str, statistics.Estimate]
DifferenceByRule = dict[str, statistics.PairedDifference]


class RunSection(NamedTuple):
  """The numbers of one candidate file in the report of one run."""

  accuracies: AccuracyByRule
  values: ValuesByRule


@dataclasses.dataclass(frozen=True)
class ReportComparison:
  """One report that several runs have; stored in comparison.json.

  Attributes:
    label: path of the report in each run's folder, and the candidate file if it has several.
    rows: by run and rule, the accuracy with its Wilson interval.
    differences: by run and rule, the run minus the first run, paired by problem; only if both have
      the same problems.
  """

  label: str
  rows: dict[str, AccuracyByRule]
  differences: dict[str, DifferenceByRule]


def compare_reports(
  folders: Mapping[str, epath.PathLike],
) -> list[ReportComparison]:
  """Returns a comparison for each report that a run has, sorted by label.

  Args:
    folders: the work directory of each run by its name; the others are compared with the first.
  """
  sections: dict[str, dict[str, RunSection]] = {}
  for run, folder in folders.items():
    for path in local_and_remote_paths.find_files(folder, 'report.json'):
      label = str(path.parent.relative_to(folder))
      for name, section in _read_report(path, label).items():
        sections.setdefault(name, {})[run] = section
  return [
    _compare_runs(label, runs) for label, runs in sorted(sections.items())
  ]


def make_comparison_tables(
  question: str, comparison: ReportComparison
) -> list[tables.Table]:
  """Returns accuracies by run, and paired differences to the first run if there are any."""
  columns = tables.unique_names(comparison.rows.values())
  title = f'{question}: {comparison.label}'
  body = []
  for run, row in comparison.rows.items():
    cells = []
    for name in columns:
      cells.append(tables.format_percent(row[name]) if name in row else '-')
    sizes = sorted({accuracy.n for accuracy in row.values()})
    body.append((run, *cells, ' / '.join(map(str, sizes))))
  note = f'Accuracy in % with its {CONFIDENCE:.0%} Wilson interval; n problems.'
  header = (question, *columns, 'n')
  made = [tables.Table(title, header, tuple(body), note)]

  body = []
  for run, row in comparison.differences.items():
    cells = []
    for name in columns:
      cells.append(tables.format_points(row[name]) if name in row else '-')
    body.append((run, *cells))
  if body:
    first = next(iter(comparison.rows))
    note = (
      f'Percentage points on the same problems, with the {CONFIDENCE:.0%} interval of a paired '
      'bootstrap over problems. One run each: the interval does not cover another training run.'
    )
    header = (question, *columns)
    made.append(
      tables.Table(f'{title}, minus {first}', header, tuple(body), note)
    )
  return made


def _read_report(path: epath.Path, label: str) -> dict[str, RunSection]:
  """Returns the section of each candidate file of a report, by label.

  Raises:
    ValueError: the report or its outcomes are damaged.
  """
  try:
    report = json.loads(path.read_text(encoding='utf-8'))
    if report.get('schema') != 'mathft_jax.report':
      return {}
    accuracies = _read_accuracies(report)
  except _DAMAGES as error:
    raise ValueError(_damage_message(path, error)) from error
  values = _read_outcomes(path.parent / 'outcomes.jsonl')
  sections = {}
  for name, by_rule in accuracies.items():
    file_label = f'{label} {name}' if len(accuracies) > 1 else label
    sections[file_label] = RunSection(by_rule, values.get(name, {}))
  return sections


def _read_accuracies(report: Mapping) -> dict[str, AccuracyByRule]:
  """Returns the accuracies of the compared rows, by candidate file."""
  accuracies: dict[str, AccuracyByRule] = {}
  for name, section in report['files'].items():
    by_rule = accuracies.setdefault(name, {})
    for entry in section['accuracies']:
      if entry['kind'] in COMPARED_KINDS:
        by_rule[entry['name']] = statistics.Estimate(
          float(entry['mean']),
          float(entry['low']),
          float(entry['high']),
          int(entry['n']),
        )
  return accuracies


def _read_outcomes(path: epath.Path) -> dict[str, ValuesByRule]:
  """Returns the correctness of each rule on each problem, by candidate file."""
  values: dict[str, ValuesByRule] = {}
  where = str(path)
  try:
    lines = path.read_text(encoding='utf-8').splitlines()
    for number, line in enumerate(lines, 1):
      where = f'{path}:{number}'
      record = json.loads(line)
      by_rule = values.setdefault(record['file'], {})
      for rule, value in record['correct'].items():
        by_rule.setdefault(rule, {})[record['id']] = float(value)
  except _DAMAGES as error:
    raise ValueError(_damage_message(where, error)) from error
  return values


def _damage_message(where: epath.PathLike, error: Exception) -> str:
  reason = str(error)
  if isinstance(error, KeyError):
    reason = f'no field {error}'
  elif not isinstance(error, OSError):
    reason = f'wanted what `evaluate` writes ({reason})'
  return (
    f'{where} is damaged: {reason}. Delete the report folder and run the sweep again; it writes '
    'the report anew.'
  )


def _compare_runs(
  label: str, runs: Mapping[str, RunSection]
) -> ReportComparison:
  first, *others = runs
  differences = {}
  for run in others:
    found = _differences(runs[run], runs[first])
    if found:
      differences[run] = found
  rows = {run: section.accuracies for run, section in runs.items()}
  return ReportComparison(label, rows, differences)


def _differences(a: RunSection, b: RunSection) -> DifferenceByRule:
  """Returns the paired difference a - b of each rule for which both have the same problems."""
  values, pairs = {}, []
  for rule in a.accuracies:
    if rule in b.accuracies and a.values[rule].keys() == b.values[rule].keys():
      pair = ('a', rule), ('b', rule)
      ids = sorted(a.values[rule])
      for side, section in zip(pair, (a, b)):
        correct = map(section.values[rule].__getitem__, ids)
        values[side] = np.array([*correct])
      pairs.append(pair)
  if not pairs:
    return {}
  differences = {}
  found = statistics.paired_differences(values, pairs, confidence=CONFIDENCE)
  for ((_, rule), _), difference in zip(pairs, found):
    differences[rule] = difference
  return differences
