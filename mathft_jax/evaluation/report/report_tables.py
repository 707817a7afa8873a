"""The tables of a report, from the numbers of report.json.

tables = make_main_tables(json.loads(path.read_text()))
"""

from collections.abc import Mapping, Sequence
import operator

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import (
  adaptive_samples,
  evaluator_grid,
  headline,
  measured_costs,
  tables,
)
from mathft_jax.evaluation.report.stored_numbers import (
  JsonObject,
  difference_from_json,
  estimate_from_json,
)
from mathft_jax.evaluation.report.tables import Table

BETWEEN_FILES = 'Between files, on the same problems'
CHOSEN_DIFFERENCES = 'Chosen differences'


def make_main_tables(report: JsonObject) -> list[Table]:
  """Returns the tables to print: the rules of one file, or several files side by side."""
  made = make_overall_tables(report)
  if len(report['files']) > 1:
    return made
  for name, section in report['files'].items():
    made.insert(0, make_rules_table('', section, report['settings']))
  return made


def make_overall_tables(report: JsonObject) -> list[Table]:
  """Returns the files side by side, their differences and grid, and the chosen differences."""
  made = []
  if len(report['files']) > 1:
    made += [*make_accuracy_grids(report), *_comparison_table(report)]
  return [
    *made,
    *evaluator_grid.make_grid_tables(report),
    *_chosen_differences_table(report),
  ]


def make_accuracy_grids(report: JsonObject) -> list[Table]:
  """Returns a row per file and a column per rule, as in the paper; without the controls.

  Rules that only some files have, such as those that need scores, are in tables of these files.
  """
  files_with: dict[str, list[str]] = {}
  for name, section in report['files'].items():
    for rule in _compared_names(section):
      files_with.setdefault(rule, []).append(name)
  rules_of: dict[tuple[str, ...], list[str]] = {}
  for rule, files in files_with.items():
    rules_of.setdefault(tuple(files), []).append(rule)

  made = []
  note = f'Accuracy in % with its {report["settings"]["confidence"]:.0%} Wilson interval.'
  for files, rules in rules_of.items():
    body = []
    for name in files:
      section = report['files'][name]
      cells = _percent_by_name(section['accuracies'])
      problems = str(section['statistics']['problems'])
      body.append((name, *[cells[rule] for rule in rules], problems))
    title = 'All files' if len(files) == len(report['files']) else 'Some files'
    made.append(Table(title, ('', *rules, 'n'), tuple(body), note))
  return made


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
  """Returns the accuracy of each rule with its interval, and its difference to the baseline.

  Args:
    name: name of the file; '' for the only file of a report.
    section: the file's section of report.json.
    settings: the settings of report.json.
  """
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
    row_name = headline.with_sample_count(entry['name'], section)
    body.append((row_name, entry['kind'], _percent(entry), *cells))
  header = (
    '',
    'kind',
    'accuracy, %',
    f'minus {headline.with_sample_count(baseline, section)}',
    'better / worse',
    'p',
    'p (Holm)',
  )
  size = headline.format_sample_size(section)
  title = f'{name}: n = {size}' if name else size
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
    *_calibration_table(section),
    *_cost_table(section),
    *_curve_table(section),
    *adaptive_samples.make_adaptive_tables(section),
    *measured_costs.make_cost_tables(section),
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
  return _difference_table(BETWEEN_FILES, names, entries, note)


def _chosen_differences_table(report: JsonObject) -> list[Table]:
  """Returns the differences that were asked for; an empty list if there are none."""
  entries = report.get('chosen_differences', [])
  names = []
  for entry in entries:
    a, b = entry['a'], entry['b']
    names.append(f'{a["file"]}: {a["row"]} - {b["file"]}: {b["row"]}')
  note = tables.difference_note(report['settings']['confidence'])
  return _difference_table(CHOSEN_DIFFERENCES, names, entries, note)


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
  for label, key in ((_score_name(section), 'score'), ('log-prob', 'log_prob')):
    found = section['auc'][key]
    within, pooled = found['within'], found['pooled']
    if pooled:
      cells = 'no problem has both kinds', '0'
      if within:
        cells = _auc_cell(within), str(within['n'])
      body.append((label, *cells, _auc_cell(pooled), str(pooled['n'])))
  if not body:
    return []
  note = (
    'The chance that a correct candidate scores above an incorrect one, 0.5 for no '
    'knowledge. Within: of the same problem (what re-ranking uses), mean over the problems '
    'with both kinds. Pooled: over all problems. Answered candidates only.'
  )
  return [Table('AUC', ('', 'within', 'n', 'pooled', 'n'), tuple(body), note)]


def _score_name(section: JsonObject) -> str:
  """Returns 'S_cls' for scores of an evaluator of this package, else 'score'."""
  return section.get('score_name') or 'score'


def _auc_cell(entry: JsonObject) -> str:
  return f'{entry["mean"]:.3f} [{entry["low"]:.3f}, {entry["high"]:.3f}]'


def _log_prob_table(section: JsonObject) -> list[Table]:
  """Returns the differences between the scores and the generator's own log-probability."""
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
  title = f"{_score_name(section)} against the generator's own log-probability"
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
  """Returns a row per K; rules without scores are left out."""
  entries = section['top_clusters']
  names = []
  for name in ('RR.Top-K', 'W.RR.Top-K', 'MajK@N'):
    if any(entry[name] for entry in entries):
      names.append(name)
  body = []
  for entry in entries:
    if all(entry[name] for name in names):
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
  title = 'Accuracy and cost against K' if names[1:] else 'Ceiling against K'
  return [Table(title, header, tuple(body), note)]


def _calibration_table(section: JsonObject) -> list[Table]:
  """Returns a row per bin of the score, and the expected calibration error."""
  found = section.get('calibration')
  if not found:
    return []
  body = []
  for each in found['bins']:
    limits = f'{each["from"]:.1f} to {each["to"]:.1f}'
    score = f'{100 * each["mean_score"]:.1f}'
    count = f'{each["candidates"]:,}'
    correct = each['correct']
    body.append((limits, count, score, _percent(correct), str(correct['n'])))
  name = _score_name(section)
  note = (
    f'Expected calibration error {_percent(found["error"])} points (above 0 by chance also for a '
    f'calibrated score); mean {name} minus share of correct candidates: '
    f'{_points(found["overconfidence"])} points. Intervals are clustered by problem. Answered '
    'candidates only.'
  )
  header = (name, 'candidates', f'mean {name}, %', 'correct, %', 'problems')
  return [Table(f'Calibration of {name}', header, tuple(body), note)]


def _points(entry: JsonObject) -> str:
  """Returns `+7.6 [+3.2, +12.0]` for an estimate of any sign."""
  mean, low, high = [
    round(100 * entry[field], 1) + 0.0 for field in ('mean', 'low', 'high')
  ]
  return f'{mean:+.1f} [{low:+.1f}, {high:+.1f}]'


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
    body.append((headline.with_sample_count(name, section), *cells))
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
  size = headline.format_sample_size(section)
  return (
    f'{size}: {numbers["answered"]:.1%} of the candidates have an answer{finished}; '
    f'{numbers["distinct_texts"]:,} distinct texts; '
    f'{numbers["clusters_per_problem"]:.1f} clusters a problem, the largest holds '
    f'{numbers["largest_cluster_share"]:.0%} of its candidates. '
    f'{numbers["problems_without_answer"]} problems have no answer at all (wrong for every '
    f'rule), {numbers["problems_none_correct"]} no correct candidate, '
    f'{numbers["problems_all_correct"]} only correct ones; in {numbers["majority_ties"]} the '
    'largest cluster is tied and the one sampled first was taken.\n'
  )


def interval_note(settings: JsonObject) -> str:
  """Returns the explanation of an accuracy and of a difference."""
  return (
    f'Accuracy in % with its {settings["confidence"]:.0%} Wilson interval; differences in '
    'points with that of a paired bootstrap; on how many problems better and worse; '
    "McNemar's exact p, plain and adjusted for all rows (Holm)."
  )
