"""Tables for people: accuracies with intervals and paired differences, as Markdown or HTML.

  table = tables.make_accuracy_table('SSFT', {'terse': {'Maj1@32': values_P}, 'fine': {...}})
  print(tables.table_to_markdown(table))
  print(tables.table_to_markdown(tables.make_difference_table('Fine - terse', {'Maj1@32': (fine_P, terse_P)})))

`values_P` has one number in [0, 1] per problem (see statistics.py); accuracies are printed in
percent, differences in percentage points.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import html as html_text

import numpy as np

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.statistics import PairedDifference, Estimate


@dataclasses.dataclass(frozen=True)
class Table:
  """A titled table of text; the first column names the row, `note` says how to read it."""

  title: str
  header: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  note: str = ''


def format_accuracy_row(
  name: str,
  columns: Mapping[str, np.ndarray],
  header: Sequence[str],
  confidence: float = 0.95,
) -> tuple[str, ...]:
  """One row: the name, `56.3 [53.6, 58.9]` for each column of the header (or -), and n."""
  cells = [
    format_percent(
      statistics.estimate_mean(columns[column], confidence=confidence)
    )
    if column in columns
    else '-'
    for column in header
  ]
  sizes = sorted({len(values_P) for values_P in columns.values()})
  return (name, *cells, ' / '.join(map(str, sizes)))


def make_accuracy_table(
  title: str,
  rows: Mapping[str, Mapping[str, np.ndarray]],
  *,
  confidence: float = 0.95,
  note: str = '',
) -> Table:
  """A grid as in the paper: a row per model, a column per rule, n at the end."""
  header = list(
    dict.fromkeys(column for columns in rows.values() for column in columns)
  )
  return Table(
    title,
    ('', *header, 'n'),
    tuple(
      format_accuracy_row(name, columns, header, confidence)
      for name, columns in rows.items()
    ),
    note
    or f'Accuracy in % with its {confidence:.0%} Wilson interval; n problems.',
  )


def format_difference_row(
  name: str, difference: PairedDifference, p_adjusted: float | None = None
) -> tuple[str, ...]:
  """One row: the name, `+7.6 [+3.2, +12.0]`, who is better how often, p (adjusted p), n."""
  adjusted = () if p_adjusted is None else (format_p_value(p_adjusted),)
  return (
    name,
    format_points(difference),
    f'{difference.a_better} / {difference.b_better}',
    format_p_value(difference.p_value),
    *adjusted,
    str(difference.n),
  )


def make_difference_table(
  title: str,
  pairs: Mapping[str, tuple[np.ndarray, np.ndarray]],
  *,
  seed: int = 0,
  resamples: int = 10_000,
  confidence: float = 0.95,
  note: str = '',
) -> Table:
  """A row `a - b` for each named pair of values on the same problems."""
  differences = [
    statistics.paired_difference(
      a_P, b_P, seed=seed, resamples=resamples, confidence=confidence
    )
    for a_P, b_P in pairs.values()
  ]
  adjusted = statistics.holm_adjusted_p_values(
    [difference.p_value for difference in differences]
  )
  return Table(
    title,
    DIFFERENCE_HEADER,
    tuple(map(format_difference_row, pairs, differences, adjusted)),
    note or difference_note(confidence),
  )


DIFFERENCE_HEADER = (
  'a - b',
  'points',
  'a better / b better',
  'p',
  'p (Holm)',
  'n',
)


def difference_note(confidence: float) -> str:
  """How to read the columns of a table of differences."""
  return (
    f'Percentage points with the {confidence:.0%} interval of a paired bootstrap over '
    "problems; on how many problems a, and b, is better; p of McNemar's exact test (of a "
    'sign-flip test where a value is a mean over samples), plain and adjusted for the number '
    'of rows (Holm).'
  )


def make_seeds_table(
  title: str, rows: Mapping[str, Sequence[float]], seeds: Sequence[int]
) -> Table:
  """Accuracies (0..1) of repeated runs: a column per seed, their mean and range.

  A mean of a few runs has no honest interval of its own; the runs are all shown instead.
  """
  body = []
  for name, accuracies in rows.items():
    values = [100 * accuracy for accuracy in accuracies]
    body.append(
      (
        name,
        *(f'{value:.1f}' for value in values),
        f'{np.mean(values):.1f}',
        f'{min(values):.1f} .. {max(values):.1f}',
      )
    )
  header = ('', *(f'seed {seed}' for seed in seeds), 'mean', 'range')
  return Table(
    title, header, tuple(body), 'Accuracy in %, whole runs repeated.'
  )


def format_percent(estimate: Estimate) -> str:
  """`56.3 [53.6, 58.9]`."""
  return f'{100 * estimate.mean:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]'


def format_points(difference: PairedDifference) -> str:
  """`+7.6 [+3.2, +12.0]`; no negative zeros."""
  mean, low, high = (
    round(100 * value, 1) + 0.0
    for value in (difference.mean, difference.low, difference.high)
  )
  return f'{mean:+.1f} [{low:+.1f}, {high:+.1f}]'


def format_p_value(p: float) -> str:
  """`0.034`, or `< 0.001`."""
  return '< 0.001' if p < 0.001 else f'{p:.3f}'


def table_to_markdown(table: Table) -> str:
  """The table as Markdown that is aligned in plain text too; numbers to the right."""
  cells = [
    [cell.replace('|', '\\|') for cell in row]
    for row in (table.header, *table.rows)
  ]
  widths = [
    max(len(row[column]) for row in cells)
    for column in range(len(table.header))
  ]
  lines = [
    '| '
    + ' | '.join(
      cell.ljust(width) if column == 0 else cell.rjust(width)
      for column, (cell, width) in enumerate(zip(row, widths))
    )
    + ' |'
    for row in cells
  ]
  rule = (
    '|'
    + '|'.join(
      '-' * (width + 2) if column == 0 else '-' * (width + 1) + ':'
      for column, width in enumerate(widths)
    )
    + '|'
  )
  note = [f'\n{table.note}'] if table.note else []
  return (
    '\n'.join([f'### {table.title}', '', lines[0], rule, *lines[1:], *note])
    + '\n'
  )


def table_to_html(table: Table) -> str:
  """The table as HTML; text is escaped."""

  def line(row: Sequence[str], tag: str) -> str:
    return (
      '<tr>'
      + ''.join(f'<{tag}>{html_text.escape(cell)}</{tag}>' for cell in row)
      + '</tr>'
    )

  body = '\n'.join(line(row, 'td') for row in table.rows)
  return (
    f'<h3>{html_text.escape(table.title)}</h3>\n<table>\n<thead>{line(table.header, "th")}'
    f'</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n'
    + (
      f'<p class="note">{html_text.escape(table.note)}</p>\n'
      if table.note
      else ''
    )
  )
