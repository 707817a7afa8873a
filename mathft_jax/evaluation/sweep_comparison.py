"""Reports of runs that differ in one answer, side by side."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
from typing import Any

from etils import epath
import numpy as np

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import tables
from mathft_jax.storage import remote_paths

CONFIDENCE = 0.95
COMPARED_KINDS = (
  'sample',
  'rule',
  'ceiling',
)  # kinds of rows; controls stay in each run's own report


@dataclasses.dataclass(frozen=True)
class ReportComparison:
  """One report that the runs have in common.

  Attributes:
    label: where it lies in each run's folder, and the candidate file if it has several.
    rows: {run: {rule: {'mean', 'low', 'high', 'n'}}}, shares in [0, 1] with Wilson intervals.
    differences: {run: {rule: {'mean', 'low', 'high', 'n', 'p_value', ...}}}: the run minus the
      first one, paired on the problems; only where both runs have the same problems.
  """

  label: str
  rows: dict[str, dict[str, dict[str, Any]]]
  differences: dict[str, dict[str, dict[str, Any]]]


def compare_reports(
  folders: Mapping[str, epath.PathLike],
) -> list[ReportComparison]:
  """A comparison for every report that some run has, in the order of their labels."""
  by_label: dict[str, dict[str, tuple[Any, Any]]] = {}
  for run, folder in folders.items():
    for path in remote_paths.find_files(folder, 'report.json'):
      for label, section, values in _sections(
        path, str(path.parent.relative_to(folder))
      ):
        by_label.setdefault(label, {})[run] = section, values
  return [
    _comparison(label, found) for label, found in sorted(by_label.items())
  ]


def make_comparison_tables(
  question: str, found: ReportComparison
) -> list[tables.Table]:
  """Accuracies by run, and differences to the first run where they are paired."""
  columns = list(
    dict.fromkeys(name for row in found.rows.values() for name in row)
  )
  body = []
  for run, row in found.rows.items():
    sizes = ' / '.join(map(str, sorted({each['n'] for each in row.values()})))
    body.append(
      (
        run,
        *(_cell(row, name, tables.format_percent) for name in columns),
        sizes,
      )
    )
  made = [
    tables.Table(
      f'{question}: {found.label}',
      (question, *columns, 'n'),
      tuple(body),
      f'Accuracy in % with its {CONFIDENCE:.0%} Wilson interval; n problems.',
    )
  ]
  if found.differences:
    first = next(iter(found.rows))
    body = tuple(
      (run, *(_cell(row, name, tables.format_points) for name in columns))
      for run, row in found.differences.items()
    )
    made.append(
      tables.Table(
        f'{question}: {found.label}, minus {first}',
        (question, *columns),
        body,
        f'Percentage points on the same problems, with the {CONFIDENCE:.0%} interval of a paired '
        'bootstrap over problems. One run each: the spread of whole runs is not in it.',
      )
    )
  return made


def _sections(path: epath.Path, label: str) -> list[tuple[str, Any, Any]]:
  """(label, accuracies, {rule: {problem: value}}) of each candidate file of a report."""
  whole = json.loads(path.read_text(encoding='utf-8'))
  if whole.get('schema') != 'mathft_jax.report':
    return []
  values: dict[str, dict[str, dict[str, float]]] = {
    name: {} for name in whole['files']
  }
  for line in (
    (path.parent / 'outcomes.jsonl').read_text(encoding='utf-8').splitlines()
  ):
    row = json.loads(line)
    for rule, value in row['correct'].items():
      values[row['file']].setdefault(rule, {})[row['id']] = value
  several = len(whole['files']) > 1
  return [
    (
      f'{label} {name}' if several else label,
      [row for row in section['accuracies'] if row['kind'] in COMPARED_KINDS],
      values[name],
    )
    for name, section in whole['files'].items()
  ]


def _comparison(
  label: str, found: Mapping[str, tuple[Any, Any]]
) -> ReportComparison:
  rows = {
    run: {
      row['name']: {key: row[key] for key in ('mean', 'low', 'high', 'n')}
      for row in section
    }
    for run, (section, _) in found.items()
  }
  first, *others = found
  differences = {}
  for run in others:
    shared = [rule for rule in rows[run] if rule in rows[first]]
    made = _differences(found[run][1], found[first][1], shared)
    if made:
      differences[run] = made
  return ReportComparison(label, rows, differences)


def _differences(
  a: Mapping[str, Mapping[str, float]],
  b: Mapping[str, Mapping[str, float]],
  rules: Sequence[str],
) -> dict[str, dict[str, Any]]:
  """The paired difference of each rule; nothing where the problems are not the same."""
  rules = [rule for rule in rules if a[rule].keys() == b[rule].keys()]
  if not rules:
    return {}
  values = {
    (side, rule): np.array([each[rule][id_] for id_ in sorted(each[rule])])
    for side, each in (('a', a), ('b', b))
    for rule in rules
  }
  made = statistics.paired_differences(
    values,
    [(('a', rule), ('b', rule)) for rule in rules],
    seed=0,
    resamples=10_000,
    confidence=CONFIDENCE,
  )
  return {
    rule: dataclasses.asdict(difference)
    for rule, difference in zip(rules, made)
  }


def _cell(row: Mapping[str, Mapping[str, Any]], name: str, shown: Any) -> str:
  """`56.3 [53.6, 58.9]`, or - where the run has no such row."""
  if name not in row:
    return '-'
  kind = (
    statistics.PairedDifference
    if 'p_value' in row[name]
    else statistics.Estimate
  )
  fields = {field.name for field in dataclasses.fields(kind)}
  return shown(
    kind(**{key: value for key, value in row[name].items() if key in fields})
  )
