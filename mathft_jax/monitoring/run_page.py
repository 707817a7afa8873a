"""The page of a run: curves of metrics.jsonl as one HTML file with SVG, without a server.

  html = render_run_page('runs/ssft', rows)

The page has no script and loads nothing. A browser opens it from disk, from a bucket or in a mail.
"""

from collections.abc import Mapping, Sequence
import html
import math
from typing import NamedTuple

Row = Mapping[str, object]

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 30
MAX_POINTS = 400  # of a line; more are averaged
COLOURS = {'train': '#0072B2', 'validation': '#D55E00'}
OTHER_COLOUR = '#666666'
# These come first; all others follow by name.
FIRST_METRICS = (
  'loss',
  'token_nll',
  'gradient_norm',
  'learning_rate',
  'tokens_per_s',
  'step_time_s',
  'model_flops_utilization',
  'memory_gib',
  'token_share',
  'recompilations',
)
POLICY = (
  "default-src 'none'; style-src 'unsafe-inline'"  # no scripts, no network
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1320px; padding: 0 1em }
main { display: flex; flex-wrap: wrap; gap: 1.2em }
figure { margin: 0 } figcaption { font-weight: 600 }
table { border-collapse: collapse } td, th { padding: .1em .8em; text-align: right }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto } h1 { overflow-wrap: anywhere } .table { overflow-x: auto }
svg text { font: 11px system-ui, sans-serif; fill: currentColor }
svg .grid { stroke: currentColor; opacity: .15 } :root { color-scheme: light dark }
"""


class Point(NamedTuple):
  """One value of a metric."""

  step: float
  value: float


def render_run_page(title: str, rows: Sequence[Row]) -> str:
  """Returns the page of a run.

  Args:
    title: name of the run, such as its folder.
    rows: lines of metrics.jsonl: `step`, `split` and numbers by name.
  """
  curves = collect_curves(rows)
  figures = []
  for name in _ordered(curves):
    figures.append(
      f'<figure><figcaption>{html.escape(name)}</figcaption>'
      f'{_draw(name, curves[name])}</figure>'
    )
  last_step = max((point.step for point in _all_points(curves)), default=0)
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n'
    f'<h1>{html.escape(title)}</h1>\n<p>Step {last_step:,.0f}. {_legend(curves)}</p>\n'
    f'{_table(curves)}\n<main>\n'
    + '\n'.join(figures)
    + '\n</main></body></html>\n'
  )


def collect_curves(
  rows: Sequence[Row],
) -> dict[str, dict[str, list[Point]]]:
  """Returns {metric: {split: points}}; values that are no finite numbers are left out."""
  curves: dict[str, dict[str, list[Point]]] = {}
  for row in rows:
    step, split = row.get('step'), str(row.get('split', 'train'))
    if not _is_number(step):
      continue
    for name, value in row.items():
      if name in ('step', 'split') or not _is_number(value):
        continue
      points = curves.setdefault(name, {}).setdefault(split, [])
      points.append(Point(float(step), float(value)))  # type: ignore[arg-type]
  return curves


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
  """Returns at most `limit` points: means of equally many neighbours, and the last point."""
  if len(points) <= limit:
    return list(points)
  size = -(-len(points) // (limit - 1))
  thinned = []
  for start in range(0, len(points), size):
    part = points[start : start + size]
    steps = [point.step for point in part]
    values = [point.value for point in part]
    thinned.append(Point(sum(steps) / len(part), sum(values) / len(part)))
  return [*thinned, points[-1]]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
  """Returns round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
  span = high - low
  if not span > 0:
    return [low]
  size = 10 ** math.floor(math.log10(span / count))
  for factor in (1, 2, 5, 10):
    if span / (size * factor) <= count:
      size *= factor
      break
  first = math.ceil(low / size - 1e-9)
  last = math.floor(high / size + 1e-9)
  return [index * size for index in range(first, last + 1)]


def _draw(name: str, lines: Mapping[str, Sequence[Point]]) -> str:
  """Returns the SVG of one metric."""
  points = [point for line in lines.values() for point in line]
  left, right = _bounds([point.step for point in points], 0.0)
  low, high = _bounds([point.value for point in points], 0.05)

  def x(step: float) -> float:
    return LEFT + (step - left) / (right - left) * (WIDTH - LEFT - RIGHT)

  def y(value: float) -> float:
    return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

  parts = [
    f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
    f'aria-label="{html.escape(name)}">'
  ]
  for value in ticks(low, high):
    parts.append(
      f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" '
      f'y2="{y(value):.1f}"/><text x="{LEFT - 6}" y="{y(value) + 4:.1f}" '
      f'text-anchor="end">{value:.4g}</text>'
    )
  for step in ticks(left, right):
    parts.append(
      f'<text x="{x(step):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{step:,.0f}</text>'
    )
  for split, line in lines.items():
    colour = COLOURS.get(split, OTHER_COLOUR)
    shown = thin(line)
    path = ' '.join([f'{x(p.step):.1f},{y(p.value):.1f}' for p in shown])
    parts.append(
      f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
    )
    for point in shown if len(shown) <= 60 else shown[-1:]:
      parts.append(
        f'<circle cx="{x(point.step):.1f}" cy="{y(point.value):.1f}" r="2.4" fill="{colour}">'
        f'<title>{html.escape(split)}, step {point.step:,.0f}: {point.value:.6g}</title></circle>'
      )
  return ''.join(parts) + '</svg>'


def _bounds(values: Sequence[float], margin: float) -> tuple[float, float]:
  """Returns limits of an axis, which differ also for equal values."""
  low, high = min(values), max(values)
  if low == high:
    return low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
  extra = margin * (high - low)
  return low - extra, high + extra


def _ordered(curves: Mapping[str, object]) -> list[str]:
  first = [name for name in FIRST_METRICS if name in curves]
  return first + sorted(set(curves) - set(first))


def _all_points(
  curves: Mapping[str, Mapping[str, Sequence[Point]]],
) -> list[Point]:
  points = []
  for lines in curves.values():
    for line in lines.values():
      points += line
  return points


def _legend(curves: Mapping[str, Mapping[str, object]]) -> str:
  splits = dict.fromkeys(split for lines in curves.values() for split in lines)
  parts = []
  for split in splits:
    colour = COLOURS.get(split, OTHER_COLOUR)
    parts.append(f'<span style="color:{colour}">■</span> {html.escape(split)}')
  return ' '.join(parts)


def _table(curves: Mapping[str, Mapping[str, Sequence[Point]]]) -> str:
  """Returns the last and the smallest value of each metric."""
  lines = [
    '<div class="table"><table>',
    '<tr><th>metric</th><th>split</th><th>last</th><th>smallest</th><th>at step</th></tr>',
  ]
  for name in _ordered(curves):
    for split, points in curves[name].items():
      smallest = min(points, key=lambda point: point.value)
      lines.append(
        f'<tr><td>{html.escape(name)}</td><td>{html.escape(split)}</td>'
        f'<td>{points[-1].value:.5g}</td><td>{smallest.value:.5g}</td>'
        f'<td>{smallest.step:,.0f}</td></tr>'
      )
  return '\n'.join(lines) + '</table></div>'


def _is_number(value: object) -> bool:
  return (
    isinstance(value, (int, float))
    and not isinstance(value, bool)
    and math.isfinite(value)
  )
