"""The frame of an HTML page: head, style and elements that pages of reports share.

A page has no script, and its content security policy forbids scripts and network access, so text of
models and data files cannot do anything even if it were not escaped.
"""

import base64
from collections.abc import Mapping, Sequence
import pathlib

from mathft_jax.evaluation.report import tables
from mathft_jax.evaluation.report.headline import Figure, RunDescription

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
ASSETS = pathlib.Path(__file__).parent / 'assets'


def make_page(title: str, parts: Sequence[str]) -> str:
  """Returns a page with this title and these elements, which are HTML."""
  body = '\n'.join(parts)
  style = (ASSETS / 'report.css').read_text(encoding='utf-8')
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{tables.escape_html(title)}</title><style>{style}</style></head>\n'
    f'<body>\n{body}\n</body></html>\n'
  )


def header(run: RunDescription) -> str:
  """Returns the title of the page and the facts about the run."""
  facts = []
  for name, text in run.facts.items():
    tooltip = ''
    if name in run.paths:
      tooltip = f' title="{tables.escape_html(run.paths[name])}"'
    facts.append(
      f'<dt>{tables.escape_html(name)}</dt>'
      f'<dd{tooltip}>{tables.escape_html(text)}</dd>'
    )
  return (
    f'<h1>{tables.escape_html(run.title)}</h1>\n'
    f'<dl class="facts">{"".join(facts)}</dl>'
  )


def figures_list(figures: Sequence[Figure]) -> str:
  """Returns the numbers of the headline as large boxes."""
  items = []
  for figure in figures:
    kind = ' class="warning"' if figure.is_warning else ''
    items.append(
      f'<li{kind}><small>{tables.escape_html(figure.label)}</small>'
      f'<b>{tables.escape_html(figure.value)}</b>'
      f'<small>{tables.escape_html(figure.interval)}</small></li>'
    )
  return f'<ul class="figures">{"".join(items)}</ul>'


def image(svg: bytes, description: str) -> str:
  """Returns an image; as an image, an SVG runs no scripts and loads nothing."""
  data = base64.b64encode(svg).decode()
  alt = tables.escape_html(description)
  return (
    f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}"></figure>'
  )


def images_row(
  images: Mapping[str, bytes],
  descriptions: Mapping[str, str],
  notes_below: Mapping[str, str],
) -> str:
  """Returns the images that exist, each with its description, and its note if it has one."""
  shown = []
  for name, description in descriptions.items():
    if name in images:
      shown.append(image(images[name], description))
      if name in notes_below:
        shown.append(paragraph(notes_below[name]))
  return '\n'.join(shown)


def beside(*parts: str) -> str:
  """Returns parts next to each other, or below each other on a narrow screen."""
  shown = [f'<div>{part}</div>' for part in parts if part]
  return f'<div class="beside">{"".join(shown)}</div>'


def folded(summary: str, content: str, is_open: bool = False) -> str:
  """Returns content that a click on the summary shows."""
  state = ' open' if is_open else ''
  return f'<details{state}><summary>{tables.escape_html(summary)}</summary>{content}</details>'


def paragraph(text: str, kind: str = '') -> str:
  """Returns a paragraph of escaped text."""
  attribute = f' class="{kind}"' if kind else ''
  return f'<p{attribute}>{tables.escape_html(text)}</p>'


def notes(texts: Sequence[str]) -> str:
  """Returns notes as a marked block; '' if there are none."""
  if not texts:
    return ''
  return f'<div class="notes">{"".join(map(paragraph, texts))}</div>'
