"""Plots of one file of a report as PNG bytes: accuracies, accuracy against k, cost against K."""

from collections.abc import Sequence
import io
import operator

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # no pyplot: no display, no global state
import numpy as np

from mathft_jax.evaluation.report.report_json import JsonObject

# The colour-blind-safe palette of Okabe and Ito.
COLOURS = (
  '#000000',
  '#0072B2',
  '#56B4E9',
  '#D55E00',
  '#E69F00',
  '#009E73',
  '#CC79A7',
)
CEILING_COLOUR = '#8A8A8A'
KIND_COLOURS = {
  'sample': COLOURS[0],
  'rule': COLOURS[1],
  'control': COLOURS[4],
  'ceiling': CEILING_COLOUR,
}
BAND_OPACITY = 0.14
GRID = {'color': '#E4E4E4', 'linewidth': 0.8}
LineEnd = tuple[float, str, str]  # height, name, colour


def plot_accuracy_against_k(section: JsonObject, title: str) -> bytes:
  """Plots every rule's expected accuracy with k samples per problem; ceilings are dashed.

  Only the first rule and the rule that is best at the largest k get a confidence band: more bands
  would cover each other.
  """
  figure = Figure(figsize=(7.0, 4.6), layout='constrained')
  axes = figure.subplots()
  _style(axes, title, 'k, samples per problem', 'accuracy, %')

  ks, curves = section['curves']['k'], section['curves']['rules']
  kinds = {entry['name']: entry['kind'] for entry in section['accuracies']}
  rules = [name for name in curves if kinds.get(name) != 'ceiling']
  best = sorted(rules, key=lambda name: curves[name]['mean'][-1])
  banded = {*rules[:1], *best[-1:]}

  ends = []
  colours = iter(COLOURS * len(curves))
  for number, (name, curve) in enumerate(curves.items()):
    # Later lines are thinner, so that equal curves stay visible.
    width = max(3.0 - 0.35 * number, 1.3)
    colour, line, line_width = CEILING_COLOUR, '--', 1.5
    if name in rules:
      colour, line, line_width = next(colours), '-', width
    axes.plot(
      ks,
      _percent(curve['mean']),
      color=colour,
      linestyle=line,
      marker='o',
      markersize=width + 1.7,
      linewidth=line_width,
    )
    if name in banded:
      _fill_band(axes, ks, curve['low'], curve['high'], colour)
    ends.append((100 * curve['mean'][-1], name.replace('@N', '@k'), colour))

  if ks and ks[-1] > 1:
    axes.set_xscale('log', base=2)
  axes.set_xticks(ks, list(map(str, ks)))
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  _label_line_ends(axes, ends)
  return _to_png(figure)


def plot_cost_against_clusters(section: JsonObject, title: str) -> bytes:
  """Plots accuracy if only the K largest clusters are scored, and below it the scored share."""
  figure = Figure(figsize=(7.0, 6.0), layout='constrained')
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
  entries = section['top_clusters']

  ends = []
  for name, colour, line in (
    ('RR.Top-K', COLOURS[1], '-'),
    ('W.RR.Top-K', COLOURS[3], '-'),
    ('MajK@N', CEILING_COLOUR, '--'),
  ):
    estimates = [entry[name] for entry in entries if entry[name]]
    if estimates:
      _plot_estimates(above, estimates, colour, line)
      ends.append((100 * estimates[-1]['mean'], name, colour))
  for entry in section['accuracies']:
    if entry['name'] == 'Maj1@N':
      height = 100 * entry['mean']
      above.axhline(height, color=COLOURS[0], linewidth=1.0, linestyle=':')
      ends.append((height, 'Maj1@N', COLOURS[0]))
  _style(above, title, '', 'accuracy, %')

  positions = range(len(entries))
  shares = _percent(_column(entries, 'share'))
  below.bar(positions, shares, color=COLOURS[2], width=0.55)
  for position, share in enumerate(shares):
    below.annotate(
      f'{share:.0f}',
      (position, share),
      ha='center',
      va='bottom',
      fontsize=8,
      xytext=(0, 1),
      textcoords='offset points',
    )
  _style(below, '', 'K, largest clusters scored', 'candidates scored, %')
  below.set_ylim(0, 115)
  labels = [*map(str, _column(entries, 'top_clusters'))]
  if labels:
    labels[-1] = f'all ({labels[-1]})'
  below.set_xticks(positions, labels)
  _label_line_ends(above, ends)
  return _to_png(figure)


def plot_accuracies(section: JsonObject, title: str) -> bytes:
  """Plots the accuracy and its interval for each row of the main table."""
  entries = section['accuracies'][::-1]
  figure = Figure(figsize=(7.0, 1.0 + 0.3 * len(entries)), layout='constrained')
  axes = figure.subplots()
  names = []
  for height, entry in enumerate(entries):
    names.append(entry['name'])
    colour = KIND_COLOURS[entry['kind']]
    interval = _percent([entry['low'], entry['high']])
    axes.plot(interval, [height, height], color=colour, linewidth=2)
    axes.plot(100 * entry['mean'], height, 'o', color=colour, markersize=5.5)
  axes.set_yticks(range(len(entries)), names)
  _style(axes, title, 'accuracy, % (with its interval)', '')
  axes.grid(axis='x', **GRID)
  return _to_png(figure)


def _plot_estimates(
  axes: Axes, estimates: Sequence[JsonObject], colour: str, line: str
) -> None:
  """Draws a line with its band at positions 0, 1, ..."""
  positions = range(len(estimates))
  axes.plot(
    positions,
    _percent(_column(estimates, 'mean')),
    color=colour,
    linestyle=line,
    marker='o',
    markersize=3.5,
    linewidth=1.8,
  )
  lows, highs = _column(estimates, 'low'), _column(estimates, 'high')
  _fill_band(axes, positions, lows, highs, colour)


def _column(entries: Sequence[JsonObject], field: str) -> list[float]:
  return [*map(operator.itemgetter(field), entries)]


def _fill_band(
  axes: Axes,
  positions: Sequence[int],
  lows: Sequence[float],
  highs: Sequence[float],
  colour: str,
) -> None:
  axes.fill_between(
    positions,
    _percent(lows),
    _percent(highs),
    color=colour,
    alpha=BAND_OPACITY,
    linewidth=0,
  )


def _style(axes: Axes, title: str, x_label: str, y_label: str) -> None:
  axes.set_title(title, loc='left', fontsize=10, fontweight='bold')
  axes.set_xlabel(x_label)
  axes.set_ylabel(y_label)
  axes.grid(axis='y', **GRID)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)


def _label_line_ends(axes: Axes, ends: Sequence[LineEnd]) -> None:
  """Writes the names of the lines at their right ends, moved apart so that none overlap."""
  if not ends:
    return
  _, top = axes.get_ylim()
  heights = _spread_heights(axes, sorted(ends))
  # Heights only grew upwards: move all down by half of the growth at the top, and below the top.
  shift = (heights[-1] - min(max(ends)[0], top)) / 2
  shift += max(0.0, heights[-1] - shift - top)
  for (value, name, colour), height in zip(sorted(ends), heights):
    axes.annotate(
      f'{name}  {value:.1f}',
      (1.01, height - shift),
      color=colour,
      fontsize=8.5,
      xycoords=('axes fraction', 'data'),
      va='center',
      annotation_clip=False,
    )


def _spread_heights(axes: Axes, ends: Sequence[LineEnd]) -> list[float]:
  low, high = axes.get_ylim()
  step = (high - low) * 0.052
  heights: list[float] = []
  for height, _, _ in ends:
    heights.append(max(height, heights[-1] + step) if heights else height)
  return heights


def _percent(shares: Sequence[float]) -> np.ndarray:
  return 100 * np.asarray(shares)


def _to_png(figure: Figure) -> bytes:
  buffer = io.BytesIO()
  # Without the software's name and version, the same report gives the same bytes.
  figure.savefig(buffer, format='png', dpi=150, metadata={'Software': None})
  return buffer.getvalue()
