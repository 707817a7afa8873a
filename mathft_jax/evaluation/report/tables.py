"""Text tables of accuracies with intervals and of paired differences, as Markdown or HTML.

  table = make_accuracy_table('SSFT', {'terse': {'Maj1@32': values_P}, 'fine': {...}})
  print(table_to_markdown(table))
  print(table_to_markdown(make_difference_table('Fine - terse', {'Maj1@32': (fine_P, terse_P)})))

`values_P` has one number in [0, 1] per problem (see statistics.py). Accuracies are printed in
percent, differences in percentage points.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import html as html_text
import json
import re

from etils import epath
import numpy as np

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.statistics import Estimate, PairedDifference

Row = tuple[str, ...]
Links = Mapping[tuple[int, int], Sequence[str]]  # by row and column

DIFFERENCE_HEADER = (
  'a - b',
  'points',
  'a better / b better',
  'p',
  'p (Holm)',
  'n',
)


_TAG_START = re.compile(r'<(?=[A-Za-z/!?])')


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of text; the first column has the names of the rows, `note` explains the numbers."""

  title: str
  header: Row
  rows: tuple[Row, ...]
  note: str = ''


def unique_names(groups: Iterable[Iterable[str]]) -> list[str]:
  """Returns the names of all groups once each, in the order of their first appearance."""
  names: dict[str, None] = {}
  for group in groups:
    names.update(dict.fromkeys(group))
  return list(names)


def format_accuracy_row(
  name: str,
  columns: Mapping[str, np.ndarray],
  header: Sequence[str],
  confidence: float = 0.95,
) -> Row:
  """Returns the name, `56.3 [53.6, 58.9]` for each column of the header (or -), and n."""
  cells = []
  for column in header:
    cell = '-'
    if column in columns:
      cell = format_percent(
        statistics.mean_with_interval(columns[column], confidence=confidence)
      )
    cells.append(cell)
  sizes = sorted(set(map(len, columns.values())))
  return (name, *cells, ' / '.join(map(str, sizes)))


def make_accuracy_table(
  title: str,
  rows: Mapping[str, Mapping[str, np.ndarray]],
  *,
  confidence: float = 0.95,
  note: str = '',
) -> Table:
  """Returns a grid as in the paper: a row per model, a column per rule, n at the end."""
  header = unique_names(rows.values())
  body = []
  for name, columns in rows.items():
    body.append(format_accuracy_row(name, columns, header, confidence))
  default_note = (
    f'Accuracy in % with its {confidence:.0%} Wilson interval; n problems.'
  )
  return Table(title, ('', *header, 'n'), tuple(body), note or default_note)


def format_difference_row(
  name: str, difference: PairedDifference, p_adjusted: float | None = None
) -> Row:
  """Returns the name, `+7.6 [+3.2, +12.0]`, who is better how often, p (adjusted p), n."""
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
  """Returns a row `a - b` for each named pair of values on the same problems."""
  differences, p_values = [], []
  for a_P, b_P in pairs.values():
    difference = statistics.paired_difference(
      a_P, b_P, seed=seed, resamples=resamples, confidence=confidence
    )
    differences.append(difference)
    p_values.append(difference.p_value)
  adjusted = statistics.holm_adjusted_p_values(p_values)
  return Table(
    title,
    DIFFERENCE_HEADER,
    tuple(map(format_difference_row, pairs, differences, adjusted)),
    note or difference_note(confidence),
  )


def difference_note(confidence: float) -> str:
  """Returns the explanation of the columns of a table of differences."""
  return (
    f'Percentage points with the {confidence:.0%} interval of a paired bootstrap over '
    "problems; on how many problems a, and b, is better; p of McNemar's exact test (of a "
    'sign-flip test where a value is a mean over samples), plain and adjusted for the number '
    'of rows (Holm).'
  )


def make_seeds_table(
  title: str, rows: Mapping[str, Sequence[float]], seeds: Sequence[int]
) -> Table:
  """Returns the accuracies (0..1) of repeated runs: a column per seed, their mean and range.

  A mean of a few runs has no reliable interval, so all runs are shown.
  """
  body = []
  for name, accuracies in rows.items():
    values = [100 * accuracy for accuracy in accuracies]
    cells = [f'{value:.1f}' for value in (*values, np.mean(values))]
    body.append((name, *cells, f'{min(values):.1f} .. {max(values):.1f}'))
  header = ('', *seed_columns(seeds), 'mean', 'range')
  note = 'Accuracy in %, whole runs repeated.'
  return Table(title, header, tuple(body), note)


def seed_columns(seeds: Iterable[int]) -> Row:
  """Returns the column headers of repeated runs."""
  return tuple(f'seed {seed}' for seed in seeds)


def with_columns(table: Table, kept: Sequence[int]) -> Table:
  """Returns the table with the columns at these positions."""
  header = tuple(table.header[index] for index in kept)
  rows = []
  for row in table.rows:
    rows.append(tuple(row[index] for index in kept))
  return Table(table.title, header, tuple(rows), table.note)


def without_columns(table: Table, names: Sequence[str]) -> Table:
  """Returns the table without the columns that have these names."""
  kept = []
  for index, name in enumerate(table.header):
    if name not in names:
      kept.append(index)
  return with_columns(table, kept)


def format_percent(estimate: Estimate) -> str:
  """Returns `56.3 [53.6, 58.9]`."""
  return f'{100 * estimate.mean:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]'


def format_points(difference: PairedDifference) -> str:
  """Returns `+7.6 [+3.2, +12.0]`, without negative zeros."""
  shares = difference.mean, difference.low, difference.high
  mean, low, high = (round(100 * share, 1) + 0.0 for share in shares)
  return f'{mean:+.1f} [{low:+.1f}, {high:+.1f}]'


def format_p_value(p: float) -> str:
  """Returns `0.034`, or `< 0.001`."""
  return '< 0.001' if p < 0.001 else f'{p:.3f}'


def show_control_characters(text: str) -> str:
  """Returns text with `\\x1b` and the like instead of characters that a terminal would obey."""
  characters = []
  for character in text:
    if character.isprintable() or character == '\n':
      characters.append(character)
    else:
      characters.append(ascii(character)[1:-1])
  return ''.join(characters)


def escape_markdown(text: str) -> str:
  """Returns text in which HTML tags and links of data have no effect in Markdown."""
  text = _TAG_START.sub(r'\\<', show_control_characters(text))
  return text.replace('](', ']\\(')


def escape_html(text: str) -> str:
  """Returns text as HTML."""
  return html_text.escape(show_control_characters(text))


def table_to_markdown(table: Table) -> str:
  """Returns the table as Markdown with aligned columns; numbers are right-aligned."""
  rows = []
  for row in (table.header, *table.rows):
    rows.append(list(map(_markdown_cell, row)))
  widths = [max(map(len, column)) for column in zip(*rows)]

  lines = []
  for name, *cells in rows:
    padded = [name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]
    lines.append(f'| {" | ".join(padded)} |')
  rule = ['-' * (widths[0] + 2)]
  for width in widths[1:]:
    rule.append('-' * (width + 1) + ':')
  lines.insert(1, f'|{"|".join(rule)}|')

  if table.note:
    lines.append(f'\n{escape_markdown(table.note)}')
  title = _markdown_cell(table.title)
  return '\n'.join([f'### {title}', '', *lines]) + '\n'


def _markdown_cell(cell: str) -> str:
  return escape_markdown(cell).replace('|', '\\|').replace('\n', ' ')


def table_to_html(table: Table, links: Links | None = None) -> str:
  """Returns the table as HTML with escaped text.

  Args:
    table: the table.
    links: addresses by row and column; a cell `37 / 12` with two links gets one for each number.
  """
  rows = []
  for number, row in enumerate(table.rows):
    cells = []
    for column, cell in enumerate(row):
      cells.append(_html_cell(cell, (links or {}).get((number, column), ())))
    rows.append(f'<tr>{"".join(cells)}</tr>')
  header = [f'<th>{escape_html(cell)}</th>' for cell in table.header]
  body = '\n'.join(rows)
  text = (
    f'<h3>{escape_html(table.title)}</h3>\n<div class="table"><table>\n'
    f'<thead><tr>{"".join(header)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n'
  )
  if table.note:
    text += f'<p class="note">{escape_html(table.note)}</p>\n'
  return text


def _html_cell(cell: str, links: Sequence[str]) -> str:
  parts = cell.split(' / ') if len(links) > 1 else [cell]
  shown = [*map(escape_html, parts)]
  for index, link in enumerate(links[: len(parts)]):
    if parts[index] not in ('', '0'):
      shown[index] = f'<a href="{html_text.escape(link)}">{shown[index]}</a>'
  return f'<td>{" / ".join(shown)}</td>'


def write_tables(stem: epath.PathLike, tables: Sequence[Table]) -> str:
  """Writes <stem>.md and <stem>.json and returns the Markdown text."""
  text = '\n'.join(map(table_to_markdown, tables))
  records = [*map(dataclasses.asdict, tables)]
  json_text = json.dumps(records, indent=1, ensure_ascii=False)
  epath.Path(f'{stem}.md').write_text(text)
  epath.Path(f'{stem}.json').write_text(f'{json_text}\n')
  return text
