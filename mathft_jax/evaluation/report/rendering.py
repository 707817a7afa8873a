"""A report as Markdown with plots, and as a self-contained HTML page.

images = render_plots(report)     # report: the contents of report.json
text = render_markdown(report, images)
"""

import base64
from collections.abc import Mapping
import re

from mathft_jax.evaluation.report import plots, report_tables, tables
from mathft_jax.evaluation.report.report_json import JsonObject

READING_GUIDE = (
  'Every interval and test treats a problem as one observation; no interval covers another '
  'training run with another seed. Ceilings read the labels. W.RR with a useless evaluator is '
  'about as good as the majority vote (equal to it with a constant evaluator), so W.RR above RR '
  'does not show that an evaluator is good: compare the AUC within a problem and the rows by '
  'log-prob and by chance. Choose K and n on validation problems, not on these.\n'
)
HTML_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; }
.note { color: #555; font-size: .88rem; } img { max-width: 100%; }
"""

# Name of the candidate file -> name of the image file -> PNG bytes.
PlotImages = Mapping[str, Mapping[str, bytes]]


def render_plots(report: JsonObject) -> PlotImages:
  """Returns all plots of a report; image names contain only safe characters."""
  images = {}
  for number, (name, section) in enumerate(report['files'].items()):
    prefix = re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'file'
    if len(report['files']) > 1:
      prefix = f'{number}_{prefix}'
    title = f'{name}: {report_tables.format_sample_size(section)}'
    images[name] = {
      f'{prefix}.accuracies.png': plots.plot_accuracies(section, title),
      f'{prefix}.accuracy_against_k.png': plots.plot_accuracy_against_k(
        section, title
      ),
      f'{prefix}.cost_against_clusters.png': plots.plot_cost_against_clusters(
        section, title
      ),
    }
  return images


def render_markdown(report: JsonObject, images: PlotImages) -> str:
  """Returns the whole report; it links to the images in the folder plots/."""
  parts = ['# Report\n', READING_GUIDE]
  for table in report_tables.make_overall_tables(report):
    parts.append(tables.table_to_markdown(table))
  for name, section in report['files'].items():
    parts += [
      f'## {tables.escape_markdown(name)}\n',
      report_tables.describe_candidate_statistics(section),
    ]
    for table in report_tables.make_file_tables(
      name, section, report['settings']
    ):
      parts.append(tables.table_to_markdown(table))
    for image in images[name]:
      parts.append(f'![{image}](plots/{image})\n')
    for note in section['notes']:
      parts.append(f'Note: {tables.escape_markdown(note)}\n')
  return '\n'.join(parts)


def render_html(report: JsonObject, images: PlotImages) -> str:
  """Returns the whole report as one page that needs no other file."""
  parts = [
    f'<!doctype html><meta charset="utf-8"><title>Report</title><style>{HTML_STYLE}</style>',
    '<h1>Report</h1>',
    _paragraph(READING_GUIDE),
  ]
  for table in report_tables.make_overall_tables(report):
    parts.append(tables.table_to_html(table))
  for name, section in report['files'].items():
    parts.append(f'<h2>{tables.escape_html(name)}</h2>')
    parts.append(
      _paragraph(report_tables.describe_candidate_statistics(section))
    )
    for table in report_tables.make_file_tables(
      name, section, report['settings']
    ):
      parts.append(tables.table_to_html(table))
    for image, data in images[name].items():
      parts.append(
        f'<img alt="{tables.escape_html(image)}" src="data:image/png;base64,'
        f'{base64.b64encode(data).decode()}">'
      )
    for note in section['notes']:
      parts.append(_paragraph(f'Note: {note}'))
  return '\n'.join(parts) + '\n'


def _paragraph(text: str) -> str:
  return f'<p>{tables.escape_html(text)}</p>'
