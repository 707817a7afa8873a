"""Tables of experiments: rows of several reports side by side, for one or several seeds.

  experiment = Experiment(
    rows={'SSFT': 'test_ssft', 'SSFT + L_ctr': 'test_ctr'},
    columns=('Pass@1 (greedy)', 'Maj1@N'),
    differences=(('SSFT + L_ctr', 'Maj1@N', 'SSFT', 'Maj1@N'),),
  )
  made = make_experiment_tables('L_ctr', experiment, {0: {'test_ssft': path, ...}})

All reports of a seed are on the same problems, so any row can be compared with any other.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
from typing import NamedTuple

from etils import epath
import numpy as np

from mathft_jax.data import schema
from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import tables

AUC_COLUMN = 'AUC within a problem'

ReportPaths = Mapping[str, epath.Path]  # report.json by name of the stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
  """What a table compares.

  Attributes:
    rows: by label, the stage whose report has the numbers.
    columns: names of rows of the reports, such as 'Maj1@N', or AUC_COLUMN (of the scores).
    differences: (label a, column a, label b, column b): a - b, paired by problem.
    note: what was trained, and what to read in the table.
  """

  rows: Mapping[str, str]
  columns: Sequence[str]
  differences: Sequence[tuple[str, str, str, str]] = ()
  note: str = ''

  def check(self, title: str, stages: Sequence[str]) -> None:
    """Raises ValueError if a row names no stage, or a difference no row."""
    for label, stage in self.rows.items():
      if stage not in stages:
        raise ValueError(
          f'Experiment {title!r}: the row {label!r} is of stage {stage!r}; wanted one of {stages}.'
        )
    for label_a, _, label_b, _ in self.differences:
      for label in (label_a, label_b):
        if label not in self.rows:
          raise ValueError(
            f'Experiment {title!r}: a difference names the row {label!r}; wanted one of '
            f'{list(self.rows)}.'
          )


class ReportRows(NamedTuple):
  """The numbers of one report with one candidate file.

  Attributes:
    values: by row, values_P by problem id.
    auc: of the scores, within a problem; None without scores.
  """

  values: dict[str, dict[str, float]]
  auc: statistics.Estimate | None


def make_experiment_tables(
  title: str,
  experiment: Experiment,
  reports_by_seed: Mapping[int, ReportPaths],
) -> list[tables.Table]:
  """Returns a table of accuracies and a table of differences, a column per seed.

  Args:
    title: of the experiment.
    experiment: the rows, columns and differences.
    reports_by_seed: by seed and stage, the path of report.json.
  """
  runs = []
  for reports in reports_by_seed.values():
    rows = {}
    for label, stage in experiment.rows.items():
      rows[label] = read_report_rows(reports[stage])
    runs.append(rows)
  seeds = tables.seed_columns(reports_by_seed)
  made = [_accuracy_table(title, experiment, runs, seeds)]
  if experiment.differences:
    made.append(_difference_table(title, experiment, runs, seeds))
  return made


def read_report_rows(path: epath.Path) -> ReportRows:
  """Returns the correctness of each rule on each problem, and the AUC, of report.json."""
  report = json.loads(path.read_text(encoding='utf-8'))
  if len(report['files']) != 1:
    raise ValueError(
      f'{path} is about the files {list(report["files"])}; an experiment compares reports of '
      'one candidate file each.'
    )
  (section,) = report['files'].values()
  within = section['auc']['score'] and section['auc']['score']['within']
  values: dict[str, dict[str, float]] = {}
  outcomes = path.parent / 'outcomes.jsonl'
  for _, record in schema.read_jsonl(outcomes):
    for rule, value in record['correct'].items():
      values.setdefault(rule, {})[record['id']] = value
  return ReportRows(values, statistics.Estimate(**within) if within else None)


def _accuracy_table(
  title: str,
  experiment: Experiment,
  runs: Sequence[Mapping[str, ReportRows]],
  seeds: tables.Row,
) -> tables.Table:
  """Returns a line per row and column, with an interval per seed."""
  body = []
  for label in experiment.rows:
    for column in experiment.columns:
      found = [_estimate(run[label], column) for run in runs]
      known = [estimate for estimate in found if estimate is not None]
      if not known:
        continue
      cells = [tables.format_percent(each) if each else '-' for each in found]
      mean = 100 * float(np.mean([estimate.mean for estimate in known]))
      body.append((label, column, *cells, f'{mean:.1f}'))
  note = 'In % with the 95% Wilson interval over the test problems of each run.'
  return tables.Table(
    title,
    ('', 'row of the report', *seeds, 'mean'),
    tuple(body),
    ' '.join(filter(None, (experiment.note, note))),
  )


def _estimate(rows: ReportRows, column: str) -> statistics.Estimate | None:
  if column == AUC_COLUMN:
    return rows.auc
  if column not in rows.values:
    return None
  return statistics.mean_with_interval(
    np.array(list(rows.values[column].values()))
  )


def _difference_table(
  title: str,
  experiment: Experiment,
  runs: Sequence[Mapping[str, ReportRows]],
  seeds: tables.Row,
) -> tables.Table:
  """Returns a line per difference: points with interval per seed, their mean, the verdicts."""
  body = []
  for label_a, column_a, label_b, column_b in experiment.differences:
    differences = []
    name = f'{label_a}: {column_a} - {label_b}: {column_b}'
    if column_a == column_b:
      name = f'{column_a}: {label_a} - {label_b}'
    for run in runs:
      a = _values_of(run[label_a], label_a, column_a)
      b = _values_of(run[label_b], label_b, column_b)
      if a.keys() != b.keys():
        raise ValueError(f'{name}: the reports are about different problems.')
      difference = statistics.paired_difference(
        np.array([a[id_] for id_ in a]), np.array([b[id_] for id_ in a])
      )
      differences.append(difference)
    body.append(_difference_row(name, differences))
  return tables.Table(
    f'{title}: differences',
    ('a - b', *seeds, 'mean', 'above zero in', 'below zero in'),
    tuple(body),
    'Percentage points on the same problems, with the 95% interval of a paired bootstrap over '
    'problems. The last columns count the runs whose interval excludes zero.',
  )


def _values_of(
  rows: ReportRows, label: str, column: str
) -> Mapping[str, float]:
  if column not in rows.values:
    raise ValueError(
      f'The report of {label!r} has no row {column!r}; its rows are {list(rows.values)}.'
    )
  return rows.values[column]


def _difference_row(
  name: str, differences: Sequence[statistics.PairedDifference]
) -> tables.Row:
  points = [tables.format_points(difference) for difference in differences]
  mean = np.mean([difference.mean for difference in differences])
  above = sum(difference.low > 0 for difference in differences)
  below = sum(difference.high < 0 for difference in differences)
  return (
    name,
    *points,
    f'{100 * float(mean) + 0.0:+.1f}',
    f'{above} of {len(differences)}',
    f'{below} of {len(differences)}',
  )
