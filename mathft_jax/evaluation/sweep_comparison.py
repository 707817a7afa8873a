"""Comparison of the reports of several runs on the same problems.

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
from mathft_jax.evaluation.report.stored_numbers import JsonObject
from mathft_jax.storage import local_and_remote_paths

CONFIDENCE = 0.95
# Kinds of rows that are compared; controls are only in each run's own report.
COMPARED_KINDS = ('sample', 'rule', 'ceiling')
COUNTS_COLUMN = 2  # `gained / lost` in the table of differences

# Errors of reading a file that is no report, or of which a part is lost.
_DAMAGES = (OSError, ValueError, KeyError, TypeError, AttributeError)

ValuesByRule = dict[str, dict[str, float]]  # rule -> problem id -> correctness
AccuracyByRule = dict[str, statistics.Estimate]
DifferenceByRule = dict[str, statistics.PairedDifference]


class ReportFile(NamedTuple):
  """A candidate file in the report of one run.

  Attributes:
    folder: folder of the report.
    number: position of the file in the report.
    accuracies: its rows but the controls, by name.
    kinds: kind of each row.
    values: correctness by row and problem.
    curves: accuracies against k, as in report.json.
  """

  folder: epath.Path
  number: int
  accuracies: AccuracyByRule
  kinds: dict[str, str]
  values: ValuesByRule
  curves: JsonObject


class ProblemChanges(NamedTuple):
  """Ids of the problems on which a run is better, and worse, than the first run."""

  gained: tuple[str, ...]
  lost: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ReportComparison:
  """One report that several runs have; stored in comparison.json.

  Attributes:
    label: path of the report in each run's folder, and the candidate file if it has several.
    rows: by run and rule, the accuracy with its Wilson interval.
    differences: by run and rule, the run minus the first run, paired by problem; only if both have
      the same problems.
    changes: by run and rule, the problems gained and lost.
    files: by run, its report.
  """

  label: str
  rows: dict[str, AccuracyByRule]
  differences: dict[str, DifferenceByRule]
  changes: dict[str, dict[str, ProblemChanges]]
  files: dict[str, ReportFile]

  def to_json(self) -> JsonObject:
    """Returns all but the files, which are on disk."""
    rows, differences, changes = {}, {}, {}
    for run, by_rule in self.rows.items():
      rows[run] = _map(dataclasses.asdict, by_rule)
    for run, by_rule in self.differences.items():
      differences[run] = _map(dataclasses.asdict, by_rule)
    for run, by_rule in self.changes.items():
      changes[run] = _map(ProblemChanges._asdict, by_rule)
    return {
      'label': self.label,
      'rows': rows,
      'differences': differences,
      'changes': changes,
    }


def _map(function, values: Mapping[str, object]) -> JsonObject:
  return {name: function(value) for name, value in values.items()}


def compare_reports(
  folders: Mapping[str, epath.PathLike],
) -> list[ReportComparison]:
  """Returns a comparison for each report that a run has, sorted by label.

  Args:
    folders: the folder of each run, or of its report, by name; the others are compared with the
      first.
  """
  files: dict[str, dict[str, ReportFile]] = {}
  for run, folder in folders.items():
    for path in local_and_remote_paths.find_files(folder, 'report.json'):
      label = str(path.parent.relative_to(folder))
      for name, file in _read_report(path, label).items():
        files.setdefault(name, {})[run] = file
  return [_compare_runs(label, runs) for label, runs in sorted(files.items())]


def make_comparison_tables(
  question: str, comparison: ReportComparison
) -> list[tables.Table]:
  """Returns accuracies by run, and paired differences to the first run if there are any.

  Rules that only some runs have are in tables of these runs.
  """
  title = question
  if comparison.label != '.':
    title = f'{question}: {comparison.label}'
  runs_with: dict[str, list[str]] = {}
  for run, row in comparison.rows.items():
    for rule in row:
      runs_with.setdefault(rule, []).append(run)
  rules_of: dict[tuple[str, ...], list[str]] = {}
  for rule, runs in runs_with.items():
    rules_of.setdefault(tuple(runs), []).append(rule)

  made = []
  note = f'Accuracy in % with its {CONFIDENCE:.0%} Wilson interval; n problems.'
  for runs, rules in rules_of.items():
    body = []
    for run in runs:
      row = comparison.rows[run]
      cells = [tables.format_percent(row[rule]) for rule in rules]
      body.append((run, *cells, str(row[rules[0]].n)))
    made.append(tables.Table(title, ('', *rules, 'n'), tuple(body), note))
  return [*made, *_difference_tables(title, comparison)]


def _difference_tables(
  title: str, comparison: ReportComparison
) -> list[tables.Table]:
  """Returns a row for each run and rule: points, problems gained and lost, p-values."""
  names, found = [], []
  for run, row in comparison.differences.items():
    for rule, difference in row.items():
      names.append(f'{run}: {rule}')
      found.append(difference)
  if not found:
    return []
  p_values = [difference.p_value for difference in found]
  adjusted = statistics.holm_adjusted_p_values(p_values)
  body = [*map(tables.format_difference_row, names, found, adjusted)]
  first = next(iter(comparison.rows))
  note = (
    f'{tables.difference_note(CONFIDENCE)} One run each: no interval covers another training '
    'run.'
  )
  header = ('run: rule', 'points', 'gained / lost', 'p', 'p (Holm)', 'n')
  return [tables.Table(f'{title}, minus {first}', header, tuple(body), note)]


def _read_report(path: epath.Path, label: str) -> dict[str, ReportFile]:
  """Returns each candidate file of a report, by label.

  Raises:
    ValueError: the report or its outcomes are damaged.
  """
  try:
    report = json.loads(path.read_text(encoding='utf-8'))
    if report.get('schema') != 'mathft_jax.report':
      return {}
    files = _files_of_report(path.parent, report)
  except _DAMAGES as error:
    raise ValueError(_damage_message(path, error)) from error
  values = _read_outcomes(path.parent / 'outcomes.jsonl')
  labelled = {}
  for name, file in files.items():
    file_label = f'{label} {name}' if len(files) > 1 else label
    labelled[file_label] = file._replace(values=values.get(name, {}))
  return labelled


def _files_of_report(
  folder: epath.Path, report: Mapping
) -> dict[str, ReportFile]:
  """Returns the candidate files by name, with the compared rows but without their values."""
  files = {}
  for number, (name, section) in enumerate(report['files'].items()):
    accuracies, kinds = {}, {}
    for entry in section['accuracies']:
      if entry['kind'] in COMPARED_KINDS:
        kinds[entry['name']] = entry['kind']
        accuracies[entry['name']] = statistics.Estimate(
          float(entry['mean']),
          float(entry['low']),
          float(entry['high']),
          int(entry['n']),
        )
    curves = section.get('curves', {'k': [], 'rules': {}})
    files[name] = ReportFile(folder, number, accuracies, kinds, {}, curves)
  return files


def _read_outcomes(path: epath.Path) -> dict[str, ValuesByRule]:
  """Returns the correctness of each rule on each problem, by candidate file."""
  values: dict[str, ValuesByRule] = {}
  where = str(path)
  try:
    # Not splitlines(): ids may contain other line separators.
    lines = path.read_text(encoding='utf-8').split('\n')
    for number, line in enumerate(filter(None, lines), 1):
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


def _compare_runs(label: str, runs: dict[str, ReportFile]) -> ReportComparison:
  first, *others = runs
  differences, changes = {}, {}
  for run in others:
    found = _differences(runs[run], runs[first])
    if found:
      differences[run] = found
      changes[run] = {
        rule: _changes(runs[run].values[rule], runs[first].values[rule])
        for rule in found
      }
  rows = {run: file.accuracies for run, file in runs.items()}
  return ReportComparison(label, rows, differences, changes, runs)


def _changes(
  values: Mapping[str, float], first: Mapping[str, float]
) -> ProblemChanges:
  gained, lost = [], []
  for id_, value in values.items():
    if value > first[id_]:
      gained.append(id_)
    elif value < first[id_]:
      lost.append(id_)
  return ProblemChanges(tuple(gained), tuple(lost))


def _differences(a: ReportFile, b: ReportFile) -> DifferenceByRule:
  """Returns the paired difference a - b of each rule for which both have the same problems."""
  values, pairs = {}, []
  for rule in a.accuracies:
    if rule in b.accuracies and a.values[rule].keys() == b.values[rule].keys():
      pair = ('a', rule), ('b', rule)
      ids = sorted(a.values[rule])
      for side, file in zip(pair, (a, b)):
        correct = map(file.values[rule].__getitem__, ids)
        values[side] = np.array([*correct])
      pairs.append(pair)
  if not pairs:
    return {}
  differences = {}
  found = statistics.paired_differences(values, pairs, confidence=CONFIDENCE)
  for ((_, rule), _), difference in zip(pairs, found):
    differences[rule] = difference
  return differences
