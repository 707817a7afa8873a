"""A report as Markdown with plots, and as a self-contained HTML page.

images = render_plots(report)     # report: the contents of report.json
text = render_markdown(report, images, run)
"""

from collections.abc import Mapping, Sequence
import dataclasses
import re
import urllib.parse

from mathft_jax.evaluation.report import (
  headline,
  page,
  plots,
  plots_of_files,
  report_tables,
  tables,
)
from mathft_jax.evaluation.report.headline import RunDescription
from mathft_jax.evaluation.report.stored_numbers import JsonObject

READING_GUIDE = (
  'Every interval and test treats a problem as one observation; no interval covers another '
  'training run with another seed. Ceilings read the labels. W.RR with useless scores is about as '
  'good as the majority vote (equal to it with constant scores), so W.RR above RR does not show '
  'that the scores are good: compare the AUC within a problem and the rows by '
  'log-prob and by chance. Choose K and n on validation problems, not on these.'
)
DESCRIPTIONS = {
  'accuracies': 'Accuracy of each row with its interval',
  'accuracy_against_k': 'Accuracy against the number of samples, a panel for each rule',
  'calibration': 'Share of correct candidates against their score',
  'cost_against_clusters': 'Accuracy and scored share against the number of scored clusters',
  'adaptive': 'Accuracy of the vote against the mean number of samples',
  'by_level': 'Accuracy by level',
  'by_subject': 'Accuracy by subject',
  'files.accuracies': 'Accuracy of each row, a point for each file',
  'files.accuracy_against_k': 'Accuracy against the number of samples, a line for each file',
}
_TIES_NOTE = (
  'Each point is a mean over subsets of the candidates in random order, so ties are split evenly. '
  'The rows of the tables break ties by the order of sampling, so they can differ from the last '
  'points.'
)
# What is said below a plot.
PLOT_NOTES = {
  'accuracy_against_k': _TIES_NOTE,
  'files.accuracy_against_k': _TIES_NOTE,
}
# Sections of a file: title, its plots, titles of its tables (or how they start).
SECTIONS = (
  ('Accuracy against k', 'accuracy_against_k', ('Accuracy against k',)),
  ('Accuracy against mean N', 'adaptive', ('Accuracy against mean N',)),
  (
    'Quality of the scores',
    'calibration',
    ('AUC', 'Calibration', 'S_cls against', 'score against'),
  ),
  (
    'Accuracy and cost against K',
    'cost_against_clusters',
    ('Accuracy and cost', 'Ceiling against'),
  ),
  (
    'Accuracy against measured seconds',
    'seconds',
    ('Accuracy against measured',),
  ),
  ('By level', 'by_level', ('By level',)),
  ('By subject', 'by_subject', ('By subject',)),
)
COUNTS_COLUMN = 4  # `better / worse` in the table of rules
DIFFERENCE_COUNTS_COLUMN = 2  # `a better / b better` in tables of differences


@dataclasses.dataclass(frozen=True)
class PlotImages:
  """The plots of a report as SVG, by name: over all files, and of each file."""

  overall: Mapping[str, bytes]
  files: Mapping[str, Mapping[str, bytes]]

  def by_file_name(self) -> dict[str, bytes]:
    """Returns all images by the names of their files, which have only safe characters."""
    named = {f'{name}.svg': data for name, data in self.overall.items()}
    for number, (file, images) in enumerate(self.files.items()):
      for name, data in images.items():
        named[self.file_name(number, file, name)] = data
    return named

  def file_name(self, number: int, file: str, name: str) -> str:
    """Returns the name of the image file of a plot of one candidate file."""
    prefix = re.sub(r'[^A-Za-z0-9]+', '_', file).strip('_') or 'file'
    if len(self.files) > 1:
      prefix = f'{number}_{prefix}'
    return f'{prefix}.{name}.svg'


def render_plots(report: JsonObject) -> PlotImages:
  """Returns all plots of a report."""
  confidence = report['settings']['confidence']
  images = {}
  for name, section in report['files'].items():
    images[name] = plots.plots_of_section(section, confidence)
  overall = plots_of_files.plots_of_files(report['files'], confidence)
  return PlotImages(overall, images)


def render_markdown(
  report: JsonObject, images: PlotImages, run: RunDescription
) -> str:
  """Returns the whole report; it links to the images in the folder plots/."""
  parts = [f'# {tables.escape_markdown(run.title)}\n']
  for name, text in run.facts.items():
    parts.append(tables.escape_markdown(f'- {name}: {text}'))
  parts.append('')
  for table in report_tables.make_overall_tables(report):
    parts.append(tables.table_to_markdown(table))
  for image in images.overall:
    parts.append(_markdown_plot(image, f'{image}.svg'))
  for number, (name, section) in enumerate(report['files'].items()):
    if len(report['files']) > 1:
      parts.append(f'## {tables.escape_markdown(name)}\n')
    parts.append(_headline_text(section))
    for note in section['notes']:
      parts.append(f'Note: {tables.escape_markdown(note)}\n')
    shown_name = name if len(report['files']) > 1 else ''
    for table in report_tables.make_file_tables(
      shown_name, section, report['settings']
    ):
      parts.append(tables.table_to_markdown(table))
    for image in images.files[name]:
      file_name = images.file_name(number, name, image)
      parts.append(_markdown_plot(image, file_name))
    parts.append(report_tables.describe_candidate_statistics(section))
  parts.append(READING_GUIDE)
  return '\n'.join(parts) + '\n'


def _markdown_plot(name: str, file_name: str) -> str:
  """Returns a link to a plot, and the note below it."""
  link = f'![{DESCRIPTIONS[name]}](plots/{file_name})\n'
  return f'{link}\n{PLOT_NOTES[name]}\n' if name in PLOT_NOTES else link


def _headline_text(section: JsonObject) -> str:
  """Returns the numbers of the headline as one line."""
  texts = []
  for figure in headline.headline_figures(section):
    mark = '**' if figure.is_warning else ''
    texts.append(f'{mark}{figure.label} {figure.value} {figure.interval}{mark}')
  size = headline.format_sample_size(section)
  return tables.escape_markdown(f'{size}: {"; ".join(texts)}.') + '\n'


def render_html(
  report: JsonObject,
  images: PlotImages,
  run: RunDescription,
  browser_page: str | None = None,
) -> str:
  """Returns the whole report as one page that needs no other file.

  Args:
    report: the contents of report.json.
    images: its plots.
    run: which run it is about.
    browser_page: address of the candidate browser that numbers of problems link to.
  """
  parts = [page.header(run)]
  if browser_page:
    parts.append(
      f'<p class="browse"><a href="{browser_page}">Browse problems and candidates</a></p>'
    )
  is_single = len(report['files']) == 1
  if not is_single:
    parts += _overall_parts(report, images, browser_page)
  for name, section in report['files'].items():
    if not is_single:
      parts.append(f'<h2>{tables.escape_html(name)}</h2>')
    parts += _file_parts(
      name, section, report, images.files[name], browser_page
    )
    if is_single:
      for table in report_tables.make_overall_tables(report):
        parts.append(_table(table, report, browser_page))
  parts += ['<h2>How to read this report</h2>', page.paragraph(READING_GUIDE)]
  return page.make_page(run.title, parts)


def _overall_parts(
  report: JsonObject, images: PlotImages, browser_page: str | None
) -> list[str]:
  """Returns the files side by side: tables and plots over one another."""
  made = report_tables.make_overall_tables(report)
  shown = [_table(table, report, browser_page) for table in made]
  is_grid = [table.title.endswith(' files') for table in made]
  first = ''.join(text for text, grid in zip(shown, is_grid) if grid)
  rest = [text for text, grid in zip(shown, is_grid) if not grid]
  return [
    first,
    page.images_row(images.overall, DESCRIPTIONS, PLOT_NOTES),
    *rest,
  ]


def _file_parts(
  name: str,
  section: JsonObject,
  report: JsonObject,
  images: Mapping[str, bytes],
  browser_page: str | None,
) -> list[str]:
  """Returns one file: headline, notes, main table beside its plot, then the other sections."""
  shown_name = name if len(report['files']) > 1 else ''
  rules, *others = report_tables.make_file_tables(
    shown_name, section, report['settings']
  )
  main = tables.table_to_html(
    rules, _rule_links(name, rules, report['settings'], section, browser_page)
  )
  parts = [
    page.figures_list(headline.headline_figures(section)),
    page.notes(section['notes']),
    page.beside(
      main, page.image(images['accuracies'], DESCRIPTIONS['accuracies'])
    ),
  ]
  for title, plot, prefixes in SECTIONS:
    found = [table for table in others if table.title.startswith(prefixes)]
    if not found and plot not in images:
      continue
    if plot in images:
      parts.append(f'<h2>{title}</h2>')
    shown = ''.join([*map(tables.table_to_html, found)])
    if plot in images:
      parts.append(page.image(images[plot], DESCRIPTIONS[plot]))
      if plot in PLOT_NOTES:
        parts.append(page.paragraph(PLOT_NOTES[plot]))
      parts.append(page.folded('Numbers', shown, title.startswith('Quality')))
    else:
      parts.append(shown)
  samples = report_tables.describe_candidate_statistics(section)
  return [*parts, '<h2>The samples</h2>', page.paragraph(samples)]


def browser_link(
  browser_page: str | None, better: Sequence[str], worse: Sequence[str]
) -> tuple[str, ...]:
  """Returns the address of the problems on which one (file, row) is better than another."""
  if browser_page is None:
    return ()
  query = {'better': ': '.join(better), 'than': ': '.join(worse)}
  return (f'{browser_page}#{urllib.parse.urlencode(query)}',)


def _rule_links(
  name: str,
  table: tables.Table,
  settings: JsonObject,
  section: JsonObject,
  browser_page: str | None,
) -> tables.Links:
  """Returns links of the counts `better / worse` than the baseline."""
  baseline = (name, settings['baseline'])
  links = {}
  for index, entry in enumerate(section['accuracies']):
    row = (name, entry['name'])
    links[index, COUNTS_COLUMN] = browser_link(
      browser_page, row, baseline
    ) + browser_link(browser_page, baseline, row)
  return links


def _table(
  table: tables.Table, report: JsonObject, browser_page: str | None
) -> str:
  """Returns a table over several files; counts of problems link to the browser."""
  pairs = []
  if table.title == report_tables.BETWEEN_FILES:
    for each in report['comparisons']:
      if each['kind'] != 'control':
        pairs.append(((each['a'], each['row']), (each['b'], each['row'])))
  elif table.title == report_tables.CHOSEN_DIFFERENCES:
    for each in report['chosen_differences']:
      a, b = each['a'], each['b']
      pairs.append(((a['file'], a['row']), (b['file'], b['row'])))
  links = {}
  for index, (a, b) in enumerate(pairs):
    links[index, DIFFERENCE_COUNTS_COLUMN] = browser_link(
      browser_page, a, b
    ) + browser_link(browser_page, b, a)
  return tables.table_to_html(table, links)
