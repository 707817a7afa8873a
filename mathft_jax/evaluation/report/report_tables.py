"""The tables of a report: from the numbers of report.json to text."""

from collections.abc import Mapping
from typing import Any

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import tables
from mathft_jax.evaluation.report.tables import Table


def make_main_tables(report: Mapping[str, Any]) -> list[Table]:
  """What a terminal shows: the rules of one file, or several files side by side."""
  return make_multi_file_tables(report) or [
    make_rules_table(name, section, report['settings'])
    for name, section in report['files'].items()
  ]


def make_multi_file_tables(report: Mapping[str, Any]) -> list[Table]:
  """The files side by side and their differences; nothing for one file."""
  return (
    [make_accuracy_grid(report), *_comparison_table(report)]
    if len(report['files']) > 1
    else []
  )


def make_accuracy_grid(report: Mapping[str, Any]) -> Table:
  """The paper's form: a row per file, a column per rule; the controls stand in each file's own."""
  columns = list(
    dict.fromkeys(
      row['name']
      for section in report['files'].values()
      for row in section['accuracies']
      if row['kind'] != 'control'
    )
  )
  body = []
  for name, section in report['files'].items():
    cells = {
      row['name']: tables.format_percent(_estimate(row))
      for row in section['accuracies']
    }
    body.append(
      (
        name,
        *(cells.get(column, '-') for column in columns),
        str(section['statistics']['problems']),
      )
    )
  note = f'Accuracy in % with its {report["settings"]["confidence"]:.0%} Wilson interval.'
  return Table('All files', ('', *columns, 'n'), tuple(body), note)


def make_rules_table(
  name: str, section: Mapping[str, Any], settings: Mapping[str, Any]
) -> Table:
  """Accuracy of each rule with its interval, and its difference to the baseline with p."""
  baseline = settings['baseline']
  against = {
    row['a']: row for row in section['differences'] if row['b'] == baseline
  }
  adjusted = dict(
    zip(
      against,
      statistics.holm_adjusted_p_values(
        [row['p_value'] for row in against.values()]
      ),
    )
  )
  body = []
  for row in section['accuracies']:
    cells = ('', '', '', '')
    if row['name'] in against:
      difference = _difference(against[row['name']])
      cells = tables.format_difference_row(
        '', difference, adjusted[row['name']]
      )[1:5]
    body.append(
      (
        _shown(row['name'], section),
        row['kind'],
        tables.format_percent(_estimate(row)),
        *cells,
      )
    )
  header = (
    '',
    'kind',
    'accuracy, %',
    f'minus {_shown(baseline, section)}',
    'better / worse',
    'p',
    'p (Holm)',
  )
  return Table(
    f'{name}: n = {format_sample_size(section)}',
    header,
    tuple(body),
    interval_note(settings),
  )


def make_file_tables(
  name: str, section: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Table]:
  """Everything about one file."""
  return [
    make_rules_table(name, section, settings),
    *_auc_table(section),
    *_log_prob_table(section),
    *_cost_table(section),
    *_curve_table(section),
    *_group_table('By level', section['by_level'], section),
    *_group_table('By subject', section['by_subject'], section),
  ]


def _comparison_table(report: Mapping[str, Any]) -> list[Table]:
  """Paired differences to the first file; nothing where no problem is in both."""
  rows = [row for row in report['comparisons'] if row['kind'] != 'control']
  if not rows:
    return []
  adjusted = statistics.holm_adjusted_p_values([row['p_value'] for row in rows])
  body = [
    tables.format_difference_row(
      f'{row["row"]}: {row["a"]} - {row["b"]}', _difference(row), p
    )
    for row, p in zip(rows, adjusted)
  ]
  return [
    Table(
      'Between files, on the same problems',
      tables.DIFFERENCE_HEADER,
      tuple(body),
      tables.difference_note(report['settings']['confidence']),
    )
  ]


def _auc_table(section: Mapping[str, Any]) -> list[Table]:
  body = []
  for label, key in (('evaluator', 'score'), ('log-probability', 'log_prob')):
    found = section['auc'][key]
    if found['pooled']:
      within = found['within']
      body.append(
        (
          label,
          _area(within),
          str(within['n']) if within else '0',
          _area(found['pooled']),
          str(found['pooled']['n']),
        )
      )
  note = (
    'The chance that a correct candidate scores above an incorrect one, 0.5 for no '
    'knowledge. Within: of the same problem (what re-ranking uses), mean over the problems '
    'with both kinds. Pooled: over all problems. Answered candidates only.'
  )
  return (
    [Table('AUC', ('', 'within', 'n', 'pooled', 'n'), tuple(body), note)]
    if body
    else []
  )


def _area(row: Mapping[str, Any] | None) -> str:
  return (
    f'{row["mean"]:.3f} [{row["low"]:.3f}, {row["high"]:.3f}]' if row else '-'
  )


def _log_prob_table(section: Mapping[str, Any]) -> list[Table]:
  """The evaluator against the generator's own log-probability, rule by rule."""
  wanted = {
    ('RR.All by log-prob', 'RR.All'),
    ('W.RR by log-prob', 'W.RR'),
    ('RR.All by log-prob', 'W.RR'),
  }
  rows = [
    row
    for row in section['differences']
    if {(row['a'], row['b']), (row['b'], row['a'])} & wanted
  ]
  if not rows:
    return []
  turned = [
    row if row['b'].endswith('log-prob') else _turned(row) for row in rows
  ]
  adjusted = statistics.holm_adjusted_p_values(
    [row['p_value'] for row in turned]
  )
  body = [
    tables.format_difference_row(
      f'{row["a"]} - {row["b"]}', _difference(row), p
    )
    for row, p in zip(turned, adjusted)
  ]
  return [
    Table(
      "The evaluator against the generator's own log-probability",
      tables.DIFFERENCE_HEADER,
      tuple(body),
    )
  ]


def _turned(row: Mapping[str, Any]) -> dict[str, Any]:
  """The same difference as b - a."""
  return {
    **row,
    'a': row['b'],
    'b': row['a'],
    'mean': -row['mean'],
    'low': -row['high'],
    'high': -row['low'],
    'a_better': row['b_better'],
    'b_better': row['a_better'],
  }


def _cost_table(section: Mapping[str, Any]) -> list[Table]:
  names = ('RR.Top-K', 'W.RR.Top-K', 'MajK@N')
  body = tuple(
    (
      str(row['top_clusters']),
      f'{row["share"]:.2f}',
      f'{row["share_of_answered"]:.2f}',
      *(
        tables.format_percent(_estimate(row[name])) if row[name] else '-'
        for name in names
      ),
    )
    for row in section['top_clusters']
  )
  note = (
    'Only members of the K largest clusters are scored: their share of all candidates and '
    'of those with an answer. MajK@N is the ceiling of RR.Top-K.'
  )
  header = ('K', 'share scored', 'of answered', *names)
  return (
    [Table('Accuracy and cost against K', header, body, note)] if body else []
  )


def _curve_table(section: Mapping[str, Any]) -> list[Table]:
  curves = section['curves']
  body = tuple(
    (name.replace('@N', '@k'), *(f'{100 * mean:.1f}' for mean in curve['mean']))
    for name, curve in curves['rules'].items()
  )
  note = (
    'Accuracy in % expected with k samples a problem. Pass@k (unbiased) and RR.All (best of '
    'k) by their formulas, the others as means over random k-subsets in random order: ties '
    "are split evenly, so the last column can differ a little from the rules' own rows."
  )
  return (
    [Table('Accuracy against k', ('k', *map(str, curves['k'])), body, note)]
    if body
    else []
  )


def _group_table(
  title: str, groups: Mapping[str, Any], section: Mapping[str, Any]
) -> list[Table]:
  """A column per group; controls are left to report.json."""
  if not groups:
    return []
  kept = [
    row['name'] for row in section['accuracies'] if row['kind'] != 'control'
  ]
  cells = {
    group: {row['name']: tables.format_percent(_estimate(row)) for row in rows}
    for group, rows in groups.items()
  }
  body = [
    (_shown(name, section), *(cells[group][name] for group in groups))
    for name in kept
  ]
  body.append(('n', *(str(rows[0]['n']) for rows in groups.values())))
  return [Table(title, ('', *groups), tuple(body))]


def describe_samples(section: Mapping[str, Any]) -> str:
  """What the samples are like, in two sentences."""
  numbers = section['statistics']
  finished = (
    ''
    if numbers['finished'] is None
    else f', {numbers["finished"]:.1%} finished'
  )
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


def format_sample_size(section: Mapping[str, Any]) -> str:
  """`500 problems x 64 candidates`."""
  return (
    f'{section["statistics"]["problems"]:,} problems x {_n(section)} candidates'
  )


def _n(section: Mapping[str, Any]) -> str:
  low = section['statistics']['candidates_per_problem_min']
  high = section['statistics']['candidates_per_problem_max']
  return str(low) if low == high else f'{low}-{high}'


def _shown(name: str, section: Mapping[str, Any]) -> str:
  """The row's name with the number of candidates for N, as the paper prints it: Maj1@64."""
  return name.replace('@N', f'@{_n(section)}')


def _estimate(row: Mapping[str, Any]) -> statistics.Estimate:
  return statistics.Estimate(row['mean'], row['low'], row['high'], row['n'])


def _difference(row: Mapping[str, Any]) -> statistics.PairedDifference:
  fields = (
    'mean',
    'low',
    'high',
    'n',
    'a_better',
    'b_better',
    'p_value',
    'test',
  )
  return statistics.PairedDifference(*(row[field] for field in fields))


def interval_note(settings: Mapping[str, Any]) -> str:
  """How to read an accuracy, and a difference beside it."""
  return (
    f'Accuracy in % with its {settings["confidence"]:.0%} Wilson interval; differences in '
    'points with that of a paired bootstrap; on how many problems better and worse; '
    "McNemar's exact p, plain and adjusted for all rows (Holm)."
  )
