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
from mathft_jax.evaluation.report import paper_claims, tables

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
  """Returns a line per difference: points with interval per seed, their mean, p, the verdicts."""
  names = []
  for label_a, column_a, label_b, column_b in experiment.differences:
    name = f'{label_a}: {column_a} - {label_b}: {column_b}'
    if column_a == column_b:
      name = f'{column_a}: {label_a} - {label_b}'
    names.append(name)

  differences_by_run = []
  adjusted_by_run = []
  for run in runs:
    differences = _differences(experiment, run, names)
    p_values = [difference.p_value for difference in differences]
    differences_by_run.append(differences)
    adjusted_by_run.append(statistics.holm_adjusted_p_values(p_values))

  body = []
  columns = zip(*differences_by_run), zip(*adjusted_by_run)
  for name, differences, adjusted in zip(names, *columns, strict=True):
    body.append(_difference_row(name, differences, adjusted))
  return tables.Table(
    f'{title}: differences',
    ('a - b', *seeds, 'mean', 'adjusted p', 'above zero in', 'below zero in'),
    tuple(body),
    'Percentage points on the same problems, with the 95% interval of a paired bootstrap over '
    'problems, and p of a paired test, adjusted for the rows of the table (Holm), of each run. '
    'The last columns count the runs whose interval excludes zero with an adjusted p below 0.05.',
  )


def _differences(
  experiment: Experiment,
  run: Mapping[str, ReportRows],
  names: Sequence[str],
) -> list[statistics.PairedDifference]:
  """Returns the differences of one run; ValueError if their problems are different."""
  differences = []
  for name, difference in zip(names, experiment.differences, strict=True):
    label_a, column_a, label_b, column_b = difference
    a = _values_of(run[label_a], label_a, column_a)
    b = _values_of(run[label_b], label_b, column_b)
    if a.keys() != b.keys():
      raise ValueError(f'{name}: the reports are about different problems.')
    a_P = np.array([a[id_] for id_ in a])
    b_P = np.array([b[id_] for id_ in a])
    differences.append(statistics.paired_difference(a_P, b_P))
  return differences


def _values_of(
  rows: ReportRows, label: str, column: str
) -> Mapping[str, float]:
  if column not in rows.values:
    raise ValueError(
      f'The report of {label!r} has no row {column!r}; its rows are {list(rows.values)}.'
    )
  return rows.values[column]


def _difference_row(
  name: str,
  differences: Sequence[statistics.PairedDifference],
  adjusted: Sequence[float],
) -> tables.Row:
  points = [tables.format_points(difference) for difference in differences]
  mean = np.mean([difference.mean for difference in differences])
  above = 0
  below = 0
  for difference, p in zip(differences, adjusted, strict=True):
    above += difference.low > 0 and p < paper_claims.SIGNIFICANCE
    below += difference.high < 0 and p < paper_claims.SIGNIFICANCE
  return (
    name,
    *points,
    f'{100 * float(mean) + 0.0:+.1f}',
    ', '.join(map(tables.format_p_value, adjusted)),
    f'{above} of {len(differences)}',
    f'{below} of {len(differences)}',
  )
