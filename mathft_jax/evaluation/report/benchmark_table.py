"""One table of several reports: a checkpoint on several benchmarks, each with its intervals."""

from collections.abc import Mapping
import json

from etils import epath

from mathft_jax.evaluation import rule_results
from mathft_jax.evaluation.report import tables
from mathft_jax.evaluation.report.stored_numbers import (
  JsonObject,
  estimate_from_json,
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


def make_benchmark_table(benchmarks: JsonObject) -> Table:
  """Returns the table of the result of `read_benchmarks`."""
  body = []
  for name, entry in benchmarks.items():
    cells = []
    for column in _ROWS:
      cells.append(_percent(entry['accuracies'][column]))
    body.append(
      (name, str(entry['problems']), str(entry['candidates_per_problem']))
      + tuple(cells)
    )
  return Table('Benchmarks', HEADER, tuple(body), _NOTE)


def _percent(entry: JsonObject | None) -> str:
  return tables.format_percent(estimate_from_json(entry)) if entry else '-'
