"""Reports and tables on a terminal: colours on a tty, plain text in a log, at most 100 columns.

terminal.print_report(report, run, 'runs/report/report.html')
terminal.print_table(table)
"""

import io
import re
import sys
from typing import IO

import rich.console
import rich.table
import rich.text

from mathft_jax.evaluation.report import headline, report_tables, tables
from mathft_jax.evaluation.report.headline import RunDescription
from mathft_jax.evaluation.report.stored_numbers import JsonObject

WIDTH = 100  # columns
MIN_NAME_WIDTH = 24  # of the first column, which is wrapped
_GAP = 2  # columns between columns
# Columns of the table of rules that only the page has.
_PAGE_COLUMNS = ('kind', 'p')
_DIFFERENCE = re.compile(r'[+-][\d.]+ \[([+-][\d.]+), ([+-][\d.]+)\].*')
_WORD_STYLES = {
  'shows': 'green',
  'reversed': 'red',
  'unclear': 'yellow',
  'does not show': 'dim',
}


def print_report(report: JsonObject, run: RunDescription, page: str) -> None:
  """Prints the headline and the main tables of a report.

  Args:
    report: the contents of report.json.
    run: which run it is about.
    page: path of the HTML page, for the last line.
  """
  console = make_console()
  console.print(_text(run.title, 'bold'))
  for name, text in run.facts.items():
    console.print(_text(f'  {name}: {text}', 'dim'))
  _print_files(console, report)
  console.print(_text(f'Report: {page}', 'bold'))


def summary_text(report: JsonObject) -> str:
  """Returns the headline and the main tables of a report as plain text."""
  console = make_console(io.StringIO())
  with console.capture() as capture:
    _print_files(console, report)
  return capture.get().strip('\n')


def _print_files(console: rich.console.Console, report: JsonObject) -> None:
  """Prints the headline of each file, and the main tables."""
  for name, section in report['files'].items():
    console.print()
    is_single = len(report['files']) == 1
    _print_headline(console, '' if is_single else f'{name}: ', section)
    if is_single:
      table = report_tables.make_rules_table('', section, report['settings'])
      print_table(tables.without_columns(table, _PAGE_COLUMNS), console)
  for table in report_tables.make_overall_tables(report):
    print_table(table, console)


def print_table(
  table: tables.Table, console: rich.console.Console | None = None
) -> None:
  """Prints a table; one that is too wide is printed as several with the same first column."""
  console = console or make_console()
  console.print()
  console.print(_text(table.title, 'bold'))
  for part in split_to_width(table, console.width):
    console.print(_rich_table(part))
  if table.note:
    console.print(_text(table.note, 'dim'))


def make_console(file: IO[str] | None = None) -> rich.console.Console:
  """Returns a console, at most WIDTH wide; colours only on a tty.

  Args:
    file: where to print; by default standard output.
  """
  console = rich.console.Console(
    file=file or sys.stdout, markup=False, highlight=False, emoji=False
  )
  is_log = not console.is_terminal
  console.width = WIDTH if is_log else min(WIDTH, console.width)
  return console


def split_to_width(table: tables.Table, width: int) -> list[tables.Table]:
  """Returns tables with the first column and as many others as fit into the width."""
  widths = []
  for column in zip(table.header, *table.rows):
    widths.append(max(map(len, column)) + _GAP)
  first = min(widths[0], max(MIN_NAME_WIDTH, width // 3))
  parts: list[list[int]] = [[]]
  used = first
  for index, needed in enumerate(widths[1:], start=1):
    if parts[-1] and used + needed > width:
      parts.append([])
      used = first
    parts[-1].append(index)
    used += needed
  return [tables.with_columns(table, [0, *part]) for part in parts]


def _print_headline(
  console: rich.console.Console, prefix: str, section: JsonObject
) -> None:
  """Prints the numbers of a file, those of a bad sample in the same way as the accuracies."""
  size = headline.format_sample_size(section)
  console.print(_text(f'{prefix}{size}', 'bold'))
  for figure in headline.headline_figures(section):
    style = 'bold red' if figure.is_warning else 'bold cyan'
    line = _text(f'  {figure.label:<26}')
    line.append(f'{figure.value:>7}', style)
    line.append(f'  {figure.interval}')
    if figure.is_warning:
      line.append('  unusually many', style)
    console.print(line)


def _rich_table(table: tables.Table) -> rich.table.Table:
  shown = rich.table.Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
  longest = max(map(len, next(zip(table.header, *table.rows))))
  name_width = min(MIN_NAME_WIDTH, longest)
  for index, name in enumerate(table.header):
    is_first = index == 0
    shown.add_column(
      _text(name, 'bold'),
      justify='left' if is_first else 'right',
      no_wrap=not is_first,
      min_width=name_width if is_first else None,
    )
  for row in table.rows:
    shown.add_row(*[_text(cell, _style_of(cell)) for cell in row])
  return shown


def _style_of(cell: str) -> str:
  """Returns green for a difference above zero, red for one below, '' for other cells."""
  difference = _DIFFERENCE.fullmatch(cell)
  if difference is None:
    return _WORD_STYLES.get(cell, '')
  if float(difference[1]) > 0:
    return 'green'
  return 'red' if float(difference[2]) < 0 else ''


def _text(text: str, style: str = '') -> rich.text.Text:
  """Returns text that is neither markup nor obeyed by the terminal."""
  return rich.text.Text(tables.show_control_characters(text), style)
