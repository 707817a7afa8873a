"""report.json as something to read: tables, Markdown, and a self-contained HTML page."""

import base64
from collections.abc import Mapping
import html as html_text
import re
from typing import Any

from mathft_jax.evaluation.report import plots, report_tables, tables

READING_GUIDE = (
  'The problem is the unit of every interval and test; none of them covers another run of the '
  'training with another seed. Ceilings read the labels. A useless evaluator leaves W.RR at '
  'the vote (a constant one makes it equal), so W.RR above RR is no evidence of a good one: '
  'look at the AUC within a problem and at the rows by log-prob and by chance. K and n should '
  'have been chosen on validation problems, not on these.\n'
)
HTML_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; }
.note { color: #555; font-size: .88rem; } img { max-width: 100%; }
"""


PlotImages = Mapping[
  str, Mapping[str, bytes]
]  # name of the candidate file -> file name -> PNG


def render_plots(report: Mapping[str, Any]) -> PlotImages:
  """All plots of a report; file names are safe whatever the candidate files are called."""
  found = {}
  for number, (name, section) in enumerate(report['files'].items()):
    prefix = re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'file'
    prefix = prefix if len(report['files']) == 1 else f'{number}_{prefix}'
    title = f'{name}: {report_tables.format_sample_size(section)}'
    kinds = {
      'accuracies': plots.plot_accuracies,
      'accuracy_against_k': plots.plot_accuracy_against_k,
      'cost_against_clusters': plots.plot_cost_against_clusters,
    }
    found[name] = {
      f'{prefix}.{kind}.png': plot(section, title)
      for kind, plot in kinds.items()
    }
  return found


def render_markdown(report: Mapping[str, Any], images: PlotImages) -> str:
  """The whole report; the images are in the folder plots/ beside it."""
  parts = [
    '# Report\n',
    READING_GUIDE,
    *map(
      tables.table_to_markdown, report_tables.make_multi_file_tables(report)
    ),
  ]
  for name, section in report['files'].items():
    parts += [f'## {name}\n', report_tables.describe_samples(section)]
    parts += map(
      tables.table_to_markdown,
      report_tables.make_file_tables(name, section, report['settings']),
    )
    parts += [f'![{image}](plots/{image})\n' for image in images[name]]
    parts += [f'Note: {note}\n' for note in section['notes']]
  return '\n'.join(parts)


def render_html(report: Mapping[str, Any], images: PlotImages) -> str:
  """The whole report as one page that needs no other file."""
  parts = [
    f'<!doctype html><meta charset="utf-8"><title>Report</title><style>{HTML_STYLE}</style>',
    '<h1>Report</h1>',
    _paragraph(READING_GUIDE),
    *map(tables.table_to_html, report_tables.make_multi_file_tables(report)),
  ]
  for name, section in report['files'].items():
    parts += [
      f'<h2>{html_text.escape(name)}</h2>',
      _paragraph(report_tables.describe_samples(section)),
    ]
    parts += map(
      tables.table_to_html,
      report_tables.make_file_tables(name, section, report['settings']),
    )
    parts += [
      f'<img alt="{html_text.escape(image)}" src="data:image/png;base64,'
      f'{base64.b64encode(data).decode()}">'
      for image, data in images[name].items()
    ]
    parts += [_paragraph(f'Note: {note}') for note in section['notes']]
  return '\n'.join(parts) + '\n'


def _paragraph(text: str) -> str:
  return f'<p>{html_text.escape(text)}</p>'
