"""Plots of a report's section as PNG bytes: accuracy against k, accuracy and cost against K."""

from collections.abc import Mapping
import io
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # no pyplot: no display, no global state

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = (
  '#000000',
  '#0072B2',
  '#56B4E9',
  '#D55E00',
  '#E69F00',
  '#009E73',
  '#CC79A7',
)
CEILING = '#8A8A8A'
BAND_OPACITY = 0.14


def plot_accuracy_against_k(section: Mapping[str, Any], title: str) -> bytes:
  """Every rule's expected accuracy with k samples a problem, log axis; ceilings dashed.

  Only the first and the finally best rule have their bands drawn: eight of them are one grey.
  """
  figure, axes = _figure(title, 'k, samples per problem')
  kinds = {row['name']: row['kind'] for row in section['accuracies']}
  ks, curves = section['curves']['k'], section['curves']['rules']
  rules = [name for name in curves if kinds.get(name) != 'ceiling']
  banded = {
    *rules[:1],
    *sorted(rules, key=lambda name: curves[name]['mean'][-1])[-1:],
  }
  ends, colours = [], iter(COLOURS * len(curves))
  for number, (name, curve) in enumerate(curves.items()):
    ceiling = kinds.get(name) == 'ceiling'
    colour = CEILING if ceiling else next(colours)
    width = max(
      3.0 - 0.35 * number, 1.3
    )  # thinner ones on top: equal curves both stay visible
    axes.plot(
      ks,
      _percent(curve['mean']),
      color=colour,
      linestyle='--' if ceiling else '-',
      marker='o',
      markersize=width + 1.7,
      linewidth=1.5 if ceiling else width,
    )
    if name in banded:
      axes.fill_between(
        ks,
        _percent(curve['low']),
        _percent(curve['high']),
        color=colour,
        alpha=BAND_OPACITY,
        linewidth=0,
      )
    ends.append((100 * curve['mean'][-1], name.replace('@N', '@k'), colour))
  _powers(axes, ks)
  _label_ends(axes, ends)
  return _png(figure)


def plot_cost_against_clusters(section: Mapping[str, Any], title: str) -> bytes:
  """Above: accuracy when only the K largest clusters are scored; below: the share it costs."""
  figure = Figure(figsize=(7.0, 6.0), layout='constrained')
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
  rows = section['top_clusters']
  ks = [row['top_clusters'] for row in rows]
  ends = []
  for name, colour, line in (
    ('RR.Top-K', COLOURS[1], '-'),
    ('W.RR.Top-K', COLOURS[3], '-'),
    ('MajK@N', CEILING, '--'),
  ):
    points = [(k, row[name]) for k, row in zip(ks, rows) if row[name]]
    if points:
      ends.append(_points(above, points, name, colour, line))
  majority = [row for row in section['accuracies'] if row['name'] == 'Maj1@N']
  if majority:
    above.axhline(
      100 * majority[0]['mean'], color=COLOURS[0], linewidth=1.0, linestyle=':'
    )
    ends.append((100 * majority[0]['mean'], 'Maj1@N', COLOURS[0]))
  _style(above, title, '', 'accuracy, %')
  below.bar(
    range(len(ks)),
    [100 * row['share'] for row in rows],
    color=COLOURS[2],
    width=0.55,
  )
  for position, row in enumerate(rows):
    below.annotate(
      f'{100 * row["share"]:.0f}',
      (position, 100 * row['share']),
      ha='center',
      va='bottom',
      fontsize=8,
      xytext=(0, 1),
      textcoords='offset points',
    )
  _style(below, '', 'K, largest clusters scored', 'candidates scored, %')
  below.set_ylim(0, 115)
  below.set_xticks(
    range(len(ks)), [*map(str, ks[:-1]), f'all ({ks[-1]})'] if ks else []
  )
  _label_ends(above, ends)
  return _png(figure)


def plot_accuracies(section: Mapping[str, Any], title: str) -> bytes:
  """One dot and its interval per row of the main table."""
  rows = section['accuracies'][::-1]
  figure = Figure(figsize=(7.0, 1.0 + 0.3 * len(rows)), layout='constrained')
  axes = figure.subplots()
  colours = {
    'sample': COLOURS[0],
    'rule': COLOURS[1],
    'control': COLOURS[4],
    'ceiling': CEILING,
  }
  for height, row in enumerate(rows):
    colour = colours[row['kind']]
    axes.plot(
      [100 * row['low'], 100 * row['high']],
      [height, height],
      color=colour,
      linewidth=2,
    )
    axes.plot(100 * row['mean'], height, 'o', color=colour, markersize=5.5)
  axes.set_yticks(range(len(rows)), [row['name'] for row in rows])
  _style(axes, title, 'accuracy, % (with its interval)', '')
  axes.grid(axis='x', color='#E4E4E4', linewidth=0.8)
  return _png(figure)


def _points(
  axes: Axes, points: list, name: str, colour: str, line: str
) -> tuple[float, str, str]:
  """Draws a line with its band at positions 0, 1, ...; returns its end for the label."""
  positions = range(len(points))
  estimates = [estimate for _, estimate in points]
  axes.plot(
    positions,
    _percent(e['mean'] for e in estimates),
    color=colour,
    linestyle=line,
    marker='o',
    markersize=3.5,
    linewidth=1.8,
  )
  axes.fill_between(
    positions,
    _percent(e['low'] for e in estimates),
    _percent(e['high'] for e in estimates),
    color=colour,
    alpha=BAND_OPACITY,
    linewidth=0,
  )
  return 100 * estimates[-1]['mean'], name, colour


def _figure(title: str, across: str) -> tuple[Figure, Axes]:
  figure = Figure(figsize=(7.0, 4.6), layout='constrained')
  axes = figure.subplots()
  _style(axes, title, across, 'accuracy, %')
  return figure, axes


def _style(axes: Axes, title: str, across: str, up: str) -> None:
  axes.set_title(title, loc='left', fontsize=10, fontweight='bold')
  axes.set_xlabel(across)
  axes.set_ylabel(up)
  axes.grid(axis='y', color='#E4E4E4', linewidth=0.8)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)


def _powers(axes: Axes, ks: list[int]) -> None:
  if ks and ks[-1] > 1:
    axes.set_xscale('log', base=2)
  axes.set_xticks(ks, list(map(str, ks)))
  axes.xaxis.set_minor_locator(ticker.NullLocator())


def _label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
  """Names the lines at their right ends, moved apart so that no two names overlap."""
  low, high = axes.get_ylim()
  step = (high - low) * 0.052
  heights: list[float] = []
  ordered = sorted(ends)
  for height, _, _ in ordered:
    heights.append(max(height, heights[-1] + step) if heights else height)
  # The pile grew upwards only; move it down by half of what it grew at its top.
  shift = (heights[-1] - min(ordered[-1][0], high)) / 2 if heights else 0.0
  shift += max(0.0, heights[-1] - shift - high) if heights else 0.0
  for (value, name, colour), height in zip(ordered, heights):
    axes.annotate(
      f'{name}  {value:.1f}',
      (1.01, height - shift),
      color=colour,
      fontsize=8.5,
      xycoords=('axes fraction', 'data'),
      va='center',
      annotation_clip=False,
    )


def _percent(values) -> list[float]:
  return [100 * value for value in values]


def _png(figure: Figure) -> bytes:
  buffer = io.BytesIO()
  # No software name and version: the same report gives the same bytes.
  figure.savefig(buffer, format='png', dpi=150, metadata={'Software': None})
  return buffer.getvalue()
