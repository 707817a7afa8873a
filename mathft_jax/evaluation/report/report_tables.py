"""The tables of a report, from the numbers of report.json.

tables = make_main_tables(json.loads(path.read_text()))
"""

from collections.abc import Mapping, Sequence
import operator

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import evaluator_grid, tables
from mathft_jax.evaluation.report.report_json import (
  JsonObject,
  difference_from_json,
  estimate_from_json,
)
from mathft_jax.evaluation.report.tables import Table


def make_main_tables(report: JsonObject) -> list[Table]:
  """Returns the tables to print: the rules of one file, or several files side by side."""
  made = make_overall_tables(report)
  if len(report['files']) > 1:
    return made
  for name, section in report['files'].items():
    made.insert(0, make_rules_table(name, section, report['settings']))
  return made


def make_overall_tables(report: JsonObject) -> list[Table]:
  """Returns the files side by side, their differences and grid, and the chosen differences."""
  made = []
  if len(report['files']) > 1:
    made += [make_accuracy_grid(report), *_comparison_table(report)]
  return [
    *made,
    *evaluator_grid.make_grid_tables(report),
    *_chosen_differences_table(report),
  ]


def make_accuracy_grid(report: JsonObject) -> Table:
  """Returns a row per file and a column per rule, as in the paper; without the controls."""
  columns = tables.unique_names(map(_compared_names, report['files'].values()))
  body = []
  for name, section in report['files'].items():
    cells = _percent_by_name(section['accuracies'])
    accuracies = [cells.get(column, '-') for column in columns]
    problems = str(section['statistics']['problems'])
    body.append((name, *accuracies, problems))
  note = f'Accuracy in % with its {report["settings"]["confidence"]:.0%} Wilson interval.'
  return Table('All files', ('', *columns, 'n'), tuple(body), note)


def _compared_names(section: JsonObject) -> list[str]:
  """Returns the names of all rows but the controls."""
  entries = section['accuracies']
  return [entry['name'] for entry in entries if entry['kind'] != 'control']


def _percent_by_name(entries: Sequence[JsonObject]) -> dict[str, str]:
  return {entry['name']: _percent(entry) for entry in entries}


def _percent(entry: JsonObject | None) -> str:
  return tables.format_percent(estimate_from_json(entry)) if entry else '-'


def _holm(entries: Sequence[JsonObject]) -> list[float]:
  return statistics.holm_adjusted_p_values(
    [*map(operator.itemgetter('p_value'), entries)]
  )


def make_rules_table(
  name: str, section: JsonObject, settings: JsonObject
) -> Table:
  """Returns the accuracy of each rule with its interval, and its difference to the baseline."""
  baseline = settings['baseline']
  to_baseline = [
    each for each in section['differences'] if each['b'] == baseline
  ]
  difference_cells = {}
  for entry, p in zip(to_baseline, _holm(to_baseline)):
    row = tables.format_difference_row('', difference_from_json(entry), p)
    difference_cells[entry['a']] = row[1:5]

  body = []
  for entry in section['accuracies']:
    cells = difference_cells.get(entry['name'], ('', '', '', ''))
    row_name = _with_sample_count(entry['name'], section)
    body.append((row_name, entry['kind'], _percent(entry), *cells))
  header = (
    '',
    'kind',
    'accuracy, %',
    f'minus {_with_sample_count(baseline, section)}',
    'better / worse',
    'p',
    'p (Holm)',
  )
  title = f'{name}: n = {format_sample_size(section)}'
  note = interval_note(settings)
  if 'answers' in section:
    note = f'{section["answers"]["headline"]}. {note}'
  return Table(title, header, tuple(body), note)


def make_file_tables(
  name: str, section: JsonObject, settings: JsonObject
) -> list[Table]:
  """Returns all tables of one file."""
  return [
    make_rules_table(name, section, settings),
    *_auc_table(section),
    *_log_prob_table(section),
    *_cost_table(section),
    *_curve_table(section),
    *_group_table('By level', section['by_level'], section),
    *_group_table('By subject', section['by_subject'], section),
  ]


def _comparison_table(report: JsonObject) -> list[Table]:
  """Returns paired differences to the first file; an empty list if no problem is in both."""
  entries = []
  for entry in report['comparisons']:
    if entry['kind'] != 'control':
      entries.append(entry)
  names = [f'{each["row"]}: {each["a"]} - {each["b"]}' for each in entries]
  note = tables.difference_note(report['settings']['confidence'])
  return _difference_table(
    'Between files, on the same problems', names, entries, note
  )


def _chosen_differences_table(report: JsonObject) -> list[Table]:
  """Returns the differences that were asked for; an empty list if there are none."""
  entries = report.get('chosen_differences', [])
  names = []
  for entry in entries:
    a, b = entry['a'], entry['b']
    names.append(f'{a["file"]}: {a["row"]} - {b["file"]}: {b["row"]}')
  note = tables.difference_note(report['settings']['confidence'])
  return _difference_table('Chosen differences', names, entries, note)


def _difference_table(
  title: str,
  names: Sequence[str],
  entries: Sequence[JsonObject],
  note: str = '',
) -> list[Table]:
  if not entries:
    return []
  body = []
  for name, entry, p in zip(names, entries, _holm(entries)):
    body.append(
      tables.format_difference_row(name, difference_from_json(entry), p)
    )
  return [Table(title, tables.DIFFERENCE_HEADER, tuple(body), note)]


def _auc_table(section: JsonObject) -> list[Table]:
  body = []
  for label, key in (('evaluator', 'score'), ('log-probability', 'log_prob')):
    found = section['auc'][key]
    within, pooled = found['within'], found['pooled']
    if pooled:
      within_n = str(within['n']) if within else '0'
      body.append(
        (
          label,
          _auc_cell(within),
          within_n,
          _auc_cell(pooled),
          str(pooled['n']),
        )
      )
  if not body:
    return []
  note = (
    'The chance that a correct candidate scores above an incorrect one, 0.5 for no '
    'knowledge. Within: of the same problem (what re-ranking uses), mean over the problems '
    'with both kinds. Pooled: over all problems. Answered candidates only.'
  )
  return [Table('AUC', ('', 'within', 'n', 'pooled', 'n'), tuple(body), note)]


def _auc_cell(entry: JsonObject | None) -> str:
  if not entry:
    return '-'
  return f'{entry["mean"]:.3f} [{entry["low"]:.3f}, {entry["high"]:.3f}]'


def _log_prob_table(section: JsonObject) -> list[Table]:
  """Returns the differences between the evaluator and the generator's own log-probability."""
  wanted = (
    ('RR.All', 'RR.All by log-prob'),
    ('W.RR', 'W.RR by log-prob'),
    ('W.RR', 'RR.All by log-prob'),
  )
  names, entries = [], []
  for entry in section['differences']:
    if (entry['b'], entry['a']) in wanted:
      entry = _swap_sides(entry)
    if (entry['a'], entry['b']) in wanted:
      names.append(f'{entry["a"]} - {entry["b"]}')
      entries.append(entry)
  title = "The evaluator against the generator's own log-probability"
  return _difference_table(title, names, entries)


def _swap_sides(entry: JsonObject) -> JsonObject:
  """Returns the same difference as b - a."""
  return {
    **entry,
    'a': entry['b'],
    'b': entry['a'],
    'mean': -entry['mean'],
    'low': -entry['high'],
    'high': -entry['low'],
    'a_better': entry['b_better'],
    'b_better': entry['a_better'],
  }


def _cost_table(section: JsonObject) -> list[Table]:
  names = ('RR.Top-K', 'W.RR.Top-K', 'MajK@N')
  body = []
  for entry in section['top_clusters']:
    accuracies = [_percent(entry[name]) for name in names]
    shares = f'{entry["share"]:.2f}', f'{entry["share_of_answered"]:.2f}'
    body.append((str(entry['top_clusters']), *shares, *accuracies))
  if not body:
    return []
  note = (
    'Only members of the K largest clusters are scored: their share of all candidates and '
    'of those with an answer. MajK@N is the ceiling of RR.Top-K.'
  )
  header = ('K', 'share scored', 'of answered', *names)
  return [Table('Accuracy and cost against K', header, tuple(body), note)]


def _curve_table(section: JsonObject) -> list[Table]:
  curves = section['curves']
  body = []
  for name, curve in curves['rules'].items():
    cells = [f'{100 * mean:.1f}' for mean in curve['mean']]
    body.append((name.replace('@N', '@k'), *cells))
  if not body:
    return []
  note = (
    'Accuracy in % expected with k samples a problem. Pass@k (unbiased) and RR.All (best of '
    'k) by their formulas, the others as means over random k-subsets in random order: ties '
    "are split evenly, so the last column can differ a little from the rules' own rows."
  )
  header = ('k', *map(str, curves['k']))
  return [Table('Accuracy against k', header, tuple(body), note)]


def _group_table(
  title: str, groups: Mapping[str, Sequence[JsonObject]], section: JsonObject
) -> list[Table]:
  """Returns a column per group, without the controls."""
  if not groups:
    return []
  columns = [*map(_percent_by_name, groups.values())]
  body = []
  for name in _compared_names(section):
    cells = map(operator.itemgetter(name), columns)
    body.append((_with_sample_count(name, section), *cells))
  sizes = ['n']
  for entries in groups.values():
    sizes.append(str(entries[0]['n']))
  body.append(tuple(sizes))
  return [Table(title, ('', *groups), tuple(body))]


def describe_candidate_statistics(section: JsonObject) -> str:
  """Returns two sentences that describe the samples."""
  numbers = section['statistics']
  finished = ''
  if numbers['finished'] is not None:
    finished = f', {numbers["finished"]:.1%} finished'
  return (
    f'{format_sample_size(section)}: {numbers["answered"]:.1%} of the candidates have an answer'
    f'{finished}; {numbers["distinct_texts"]:,} distinct texts; '
    f'{numbers["clusters_per_problem"]:.1f} clusters a problem, the largest holds '
    f'{numbers["largest_cluster_share"]:.0%} of its candidates. '
    f'{numbers["problems_without_answer"]} problems have no answer at all (wrong for every '
    f'rule), {numbers["problems_none_correct"]} no correct candidate, '
    f'{numbers["problems_all_correct"]} only correct ones; in {numbers["majority_ties"]} the '
    'largest cluster is tied and the one sampled first was taken.\n'
  )


def format_sample_size(section: JsonObject) -> str:
  """Returns `500 problems x 64 candidates`."""
  problems = section['statistics']['problems']
  return f'{problems:,} problems x {_sample_count(section)} candidates'


def _sample_count(section: JsonObject) -> str:
  low = section['statistics']['candidates_per_problem_min']
  high = section['statistics']['candidates_per_problem_max']
  return str(low) if low == high else f'{low}-{high}'


def _with_sample_count(name: str, section: JsonObject) -> str:
  """Returns the row's name with the number of candidates for N, as in the paper: Maj1@64."""
  return name.replace('@N', f'@{_sample_count(section)}')


def interval_note(settings: JsonObject) -> str:
  """Returns the explanation of an accuracy and of a difference."""
  return (
    f'Accuracy in % with its {settings["confidence"]:.0%} Wilson interval; differences in '
    'points with that of a paired bootstrap; on how many problems better and worse; '
    "McNemar's exact p, plain and adjusted for all rows (Holm)."
  )
