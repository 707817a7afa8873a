"""One table of several reports: a checkpoint on several benchmarks, and their average.

benchmarks = read_benchmarks({'math500': 'math500/report/report.json', 'aime24': ...})
table = make_benchmark_table(benchmarks, average_of(benchmarks))
"""

from collections.abc import Mapping
import json

from etils import epath

from mathft_jax.evaluation import rule_results, statistics
from mathft_jax.evaluation.report import tables
from mathft_jax.evaluation.report.stored_numbers import (
  JsonObject,
  estimate_from_json,
  to_json,
)
from mathft_jax.evaluation.report.tables import Table

HEADER = (
  'benchmark',
  'problems',
  'N',
  'Pass@1 (greedy)',
  'avg@N',
  'Maj1@N',
  'Pass@N',
)
# Column -> row of a report.
_ROWS = {
  'Pass@1 (greedy)': rule_results.GREEDY_ROW,
  'avg@N': rule_results.SAMPLE_MEAN_ROW,
  'Maj1@N': 'Maj1@N',
  'Pass@N': 'Pass@N',
}
_NOTE = (
  'Percent with 95% intervals over the problems. avg@N is the mean accuracy of the N samples of a '
  'problem, an estimate of Pass@1 with sampling. N is the number of samples of a problem.'
)
_AVERAGE_NOTE = (
  ' The average counts each benchmark equally, whatever its number of problems. Its interval adds '
  'the variances of the benchmarks, which are fixed and independent; it does not cover others.'
)


def read_benchmarks(reports: Mapping[str, epath.PathLike]) -> JsonObject:
  """Returns the estimates of each benchmark.

  Args:
    reports: path of report.json by name of the benchmark; each has one file.
  """
  benchmarks = {}
  for name, path in reports.items():
    report = json.loads(epath.Path(path).read_bytes())
    [section] = report['files'].values()
    by_row = {entry['name']: entry for entry in section['accuracies']}
    estimates = {}
    for column, row in _ROWS.items():
      estimates[column] = by_row.get(row)
    benchmarks[name] = {
      'problems': section['statistics']['problems'],
      'candidates_per_problem': section['statistics'][
        'candidates_per_problem_max'
      ],
      'accuracies': estimates,
    }
  return benchmarks


def average_of(benchmarks: JsonObject) -> JsonObject:
  """Returns the average of each column over the result of `read_benchmarks`.

  Each benchmark counts equally; see `statistics.mean_of_estimates` for the interval. A column that
  a benchmark does not have has no average (None).
  """
  averages = {}
  for column in _ROWS:
    entries = [each['accuracies'][column] for each in benchmarks.values()]
    averages[column] = None
    if entries and None not in entries:
      estimates = list(map(estimate_from_json, entries))
      averages[column] = to_json(statistics.mean_of_estimates(estimates))
  num_problems = sum(entry['problems'] for entry in benchmarks.values())
  return {'problems': num_problems, 'accuracies': averages}


def make_benchmark_table(
  benchmarks: JsonObject, average: JsonObject | None = None
) -> Table:
  """Returns the table of `read_benchmarks` and, if there are several, of `average_of`."""
  body = []
  for name, entry in benchmarks.items():
    cells = [name, str(entry['problems']), str(entry['candidates_per_problem'])]
    body.append((*cells, *_accuracy_cells(entry)))
  if average is None or len(benchmarks) < 2:
    return Table('Benchmarks', HEADER, tuple(body), _NOTE)

  name = f'average of {len(benchmarks)}'
  cells = [name, str(average['problems']), '-']
  body.append((*cells, *_accuracy_cells(average)))
  return Table('Benchmarks', HEADER, tuple(body), _NOTE + _AVERAGE_NOTE)


def _accuracy_cells(entry: JsonObject) -> list[str]:
  cells = []
  for column in _ROWS:
    cells.append(_percent(entry['accuracies'][column]))
  return cells


def _percent(entry: JsonObject | None) -> str:
  return tables.format_percent(estimate_from_json(entry)) if entry else '-'
