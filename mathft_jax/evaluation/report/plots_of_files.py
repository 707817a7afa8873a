"""Plots of several candidate files, or runs, over one another, as SVG bytes.

images = plots_of_files(sections, confidence=0.95)     # sections by name of the file or run
"""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mathft_jax.evaluation.report import plot_style as style
from mathft_jax.evaluation.report.stored_numbers import JsonObject

MAX_FILES = 14  # of a plot; more lines cannot be told apart
Sections = Mapping[str, JsonObject]


def plots_of_files(sections: Sections, confidence: float) -> dict[str, bytes]:
  """Returns the plots by name; none for one file.

  Args:
    sections: by name of the file, `accuracies` and `curves` as in report.json.
    confidence: of all intervals.
  """
  shown = dict([*sections.items()][:MAX_FILES])
  if len(shown) < 2:
    return {}
  made = {
    'files.accuracies': plot_accuracies(shown),
    'files.accuracy_against_k': plot_accuracy_against_k(shown, confidence),
  }
  return {name: image for name, image in made.items() if image}


def plot_accuracies(sections: Sections) -> bytes:
  """Plots the accuracy of each row: a point with an interval for each file."""
  rows: dict[str, None] = {}
  for section in sections.values():
    for entry in section['accuracies']:
      if entry['kind'] != 'control':
        rows[entry['name']] = None
  names = [*rows][::-1]
  spacing = 0.8 / len(sections)

  def draw(figure: Figure) -> None:
    axes = figure.subplots()
    for number, section in enumerate(sections.values()):
      colour, marker, _ = _look(number)
      for entry in section['accuracies']:
        if entry['name'] in rows:
          height = names.index(entry['name']) + 0.4 - spacing * (number + 0.5)
          style.draw_interval(axes, entry, height, colour, marker)
    axes.set_yticks(range(len(names)), [*map(style.label, names)])
    axes.set_xlabel('accuracy, % (with its interval)')
    axes.grid(axis='x')
    style.add_legend(figure, _keys([*sections]))

  height = 1.2 + len(names) * max(0.3, 0.14 * len(sections))
  return style.render_svg(7.4, height, draw)


def plot_accuracy_against_k(sections: Sections, confidence: float) -> bytes:
  """Plots the accuracy with k samples: a panel for each rule, a line with a band for each file."""
  rules: dict[str, list[str]] = {}
  for file, section in sections.items():
    curves = section.get('curves', {'k': [], 'rules': {}})
    for rule in curves['rules'] if len(curves['k']) > 1 else []:
      rules.setdefault(rule, []).append(file)
  if not rules:
    return b''
  files = [*sections]

  def draw(figure: Figure) -> None:
    panels = style.make_panels(figure, len(rules))
    longest: list[int] = []
    for section in sections.values():
      ks = section.get('curves', {'k': []})['k']
      longest = max(longest, ks, key=len)
    for axes, (rule, with_rule) in zip(panels, rules.items()):
      for file in with_rule:
        _draw_curve(axes, sections[file]['curves'], rule, files.index(file))
      style.set_k_axis(axes, longest, 'k, samples per problem')
      axes.set_title(style.label(rule.replace('@N', '@k')))
    for axes, (rule, with_rule) in zip(panels, rules.items()):
      axes.set_ylabel('accuracy, %')
      axes.label_outer()
      ends = []
      for file in with_rule:
        last = 100 * sections[file]['curves']['rules'][rule]['mean'][-1]
        colour = _look(files.index(file))[0]
        ends.append(style.LineEnd(last, f'{last:.1f}', colour))
      style.label_line_ends(axes, ends)
    band = style.band_key(f'{confidence:.0%} interval', style.GREY)
    style.add_legend(figure, [*_keys(files), band])

  width, height = style.panels_size(len(rules))
  return style.render_svg(width, height + 0.2 * (len(files) // 4), draw)


def _draw_curve(axes: Axes, curves: JsonObject, rule: str, number: int) -> None:
  """Draws the curve of a file with its band."""
  colour, marker, line = _look(number)
  curve = curves['rules'][rule]
  style.draw_band(axes, curves['k'], curve['low'], curve['high'], colour)
  axes.plot(
    curves['k'],
    style.percent(curve['mean']),
    color=colour,
    marker=marker,
    linestyle=line,
    markersize=4,
  )


def _look(number: int) -> tuple[str, str, style.LineStyle]:
  """Returns colour, marker and line of a file; they repeat after MAX_FILES files."""
  index = number % len(style.COLOURS)
  line = '-' if number < len(style.COLOURS) else ':'
  return style.COLOURS[index], style.MARKERS[index], line


def _keys(files: Sequence[str]) -> list[Artist]:
  keys = []
  for number, file in enumerate(files):
    colour, marker, line = _look(number)
    keys.append(style.line_key(style.label(file), colour, line, marker))
  return keys
