"""Figures of reports: panels, bands, labels at the ends of lines, and SVG bytes.

The colours are those of Okabe and Ito, which colour-blind people can tell apart. Text of data files
is never read as a formula or as markup.
"""

from collections.abc import Callable, Mapping, Sequence
import io
from typing import Any, Literal, NamedTuple

import matplotlib
from matplotlib import lines, patches, ticker
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # no pyplot: no display, no global state
import numpy as np

from mathft_jax.evaluation.report import tables

# The colour-blind-safe palette of Okabe and Ito.
BLACK, BLUE, SKY = '#000000', '#0072B2', '#56B4E9'
VERMILION, ORANGE, GREEN = '#D55E00', '#E69F00', '#009E73'
PURPLE = '#CC79A7'
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
GREY, LIGHT_GREY = '#767676', '#C4C4C4'
KIND_COLOURS = {
  'sample': BLACK,
  'rule': BLUE,
  'control': VERMILION,
  'ceiling': GREY,
}
KIND_MARKERS = {'sample': 's', 'rule': 'o', 'control': 'D', 'ceiling': '^'}
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')
BAND_OPACITY = 0.2
PANEL_WIDTH, PANEL_HEIGHT = 3.0, 2.5
SETTINGS: dict[Any, Any] = {
  'svg.fonttype': 'none',  # text stays text
  'svg.hashsalt': 'mathft_jax',  # equal reports have equal bytes
  'text.parse_math': False,
  'font.size': 9.0,
  'axes.titlesize': 9.5,
  'axes.titleweight': 'bold',
  'axes.titlelocation': 'left',
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.axisbelow': True,
  'axes.grid': True,
  'axes.grid.axis': 'y',
  'grid.color': '#E4E4E4',
  'grid.linewidth': 0.8,
  'legend.frameon': False,
}
Draw = Callable[[Figure], None]
LineStyle = Literal['-', '--', ':']


class LineEnd(NamedTuple):
  """The label at the right end of a line: its value in %, text and colour."""

  value: float
  text: str
  colour: str


def render_svg(width: float, height: float, draw: Draw) -> bytes:
  """Returns the SVG of a figure of this size in inches."""
  buffer = io.BytesIO()
  with matplotlib.rc_context(SETTINGS):
    figure = Figure(figsize=(width, height), layout='constrained')
    draw(figure)
    # Lay out once: savefig would draw a figure with a layout engine twice.
    engine = figure.get_layout_engine()
    if engine is not None:
      engine.execute(figure)
      figure.set_layout_engine('none')
    # Without date, and name and version of the software, equal reports have equal bytes.
    metadata = {'Date': None, 'Creator': None}
    figure.savefig(buffer, format='svg', metadata=metadata)
  return buffer.getvalue()


def make_panels(figure: Figure, count: int, columns: int = 3) -> list[Axes]:
  """Returns `count` axes in rows of at most `columns`, with a common scale."""
  columns = min(columns, count)
  rows = -(-count // columns)
  axes = figure.subplots(
    rows, columns, sharex=True, sharey=True, squeeze=False
  ).ravel()
  for unused in axes[count:]:
    unused.set_visible(False)
  for above in axes[max(count - columns, 0) : count]:
    above.tick_params(labelbottom=True)
  return [*axes[:count]]


def panels_size(count: int, columns: int = 3) -> tuple[float, float]:
  """Returns width and height of a figure with `count` panels and a legend."""
  columns = min(columns, count)
  rows = -(-count // columns)
  return max(columns * PANEL_WIDTH, 4.2) + 0.4, rows * PANEL_HEIGHT + 0.5


def set_k_axis(axes: Axes, ks: Sequence[int], label: str) -> None:
  """Makes the x axis logarithmic with a tick at each k."""
  if ks and ks[-1] > 1:
    axes.set_xscale('log', base=2)
  axes.set_xticks(ks, [*map(str, ks)])
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.set_xlabel(label)


def draw_band(
  axes: Axes,
  positions: Sequence[float],
  lows: Sequence[float],
  highs: Sequence[float],
  colour: str,
) -> None:
  """Fills the interval around a curve; shares become percent."""
  axes.fill_between(
    positions,
    percent(lows),
    percent(highs),
    color=colour,
    alpha=BAND_OPACITY,
    linewidth=0,
  )


def draw_interval(
  axes: Axes,
  entry: Mapping[str, float],
  height: float,
  colour: str,
  marker: str,
) -> None:
  """Draws an estimate of report.json as a point with a horizontal interval."""
  interval = percent([entry['low'], entry['high']])
  axes.plot(interval, [height, height], color=colour, linewidth=2)
  axes.plot(100 * entry['mean'], height, marker, color=colour, markersize=5.5)


def label_line_ends(axes: Axes, ends: Sequence[LineEnd]) -> None:
  """Writes texts at the right ends of lines, moved apart so that none overlap."""
  if not ends:
    return
  ends = sorted(ends)
  bottom, top = axes.get_ylim()
  inches = axes.bbox.height / axes.figure.dpi
  step = (top - bottom) * 0.155 / max(inches, 0.5)
  heights: list[float] = []
  for end in ends:
    floor = heights[-1] + step if heights else end.value
    heights.append(max(end.value, floor))
  # Heights only grew upwards: move all down by half of the growth at the top, and below the top.
  shift = (heights[-1] - min(ends[-1].value, top)) / 2
  shift += max(0.0, heights[-1] - shift - top)
  for end, height in zip(ends, heights):
    axes.annotate(
      end.text,
      (1.02, height - shift),
      color=end.colour,
      fontsize=8,
      xycoords=('axes fraction', 'data'),
      va='center',
      annotation_clip=False,
    )


def line_key(
  label: str, colour: str, style: LineStyle = '-', marker: str = ''
) -> Artist:
  """Returns the legend entry of a line."""
  return lines.Line2D(
    [], [], color=colour, linestyle=style, marker=marker, label=label
  )


def band_key(label: str, colour: str) -> Artist:
  """Returns the legend entry of a band."""
  return patches.Patch(color=colour, alpha=BAND_OPACITY, label=label)


def add_legend(figure: Figure, keys: Sequence[Artist]) -> None:
  """Adds a legend above all panels."""
  figure.legend(
    handles=[*keys],
    loc='outside upper left',
    ncols=min(len(keys), max(1, int(figure.get_figwidth() / 2.2))),
    fontsize=8,
  )


def percent(shares: Sequence[float]) -> np.ndarray:
  """Returns shares in percent."""
  return 100 * np.asarray(shares, float)


def label(text: str, limit: int = 40) -> str:
  """Returns a name of a data file as text of a plot: without control characters, not too long."""
  shown = tables.show_control_characters(text)
  return shown if len(shown) <= limit else f'{shown[: limit - 1]}…'
