"""Plots of one candidate file of a report, as SVG bytes.

  images = plots_of_section(section, confidence=0.95)     # {'accuracies': b'<svg ...', ...}

A plot that has nothing to show is absent: without scores there are no plots of cost and
calibration.
"""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mathft_jax.evaluation.report import adaptive_samples
from mathft_jax.evaluation.report import plot_style as style
from mathft_jax.evaluation.report.stored_numbers import JsonObject

MAX_GROUPS = 24  # of a plot by subject or level, the largest
MAX_PANELS = 4  # of a plot by subject or level


def plots_of_section(
  section: JsonObject, confidence: float
) -> dict[str, bytes]:
  """Returns the plots of one file by name; `confidence` is that of all intervals."""
  made = {
    'accuracies': plot_accuracies(section),
    'accuracy_against_k': plot_accuracy_against_k(section, confidence),
    'cost_against_clusters': plot_cost_against_clusters(section, confidence),
    'adaptive': plot_adaptive(section, confidence),
    'calibration': plot_calibration(section),
    'by_level': plot_groups(section, section['by_level']),
    'by_subject': plot_groups(section, section['by_subject']),
  }
  return {name: image for name, image in made.items() if image}


def plot_accuracies(section: JsonObject) -> bytes:
  """Plots the accuracy and its interval for each row of the main table."""
  entries = section['accuracies'][::-1]

  def draw(figure: Figure) -> None:
    axes = figure.subplots()
    kinds = {}
    for height, entry in enumerate(entries):
      kind = entry['kind']
      kinds[kind] = None
      colour, marker = style.KIND_COLOURS[kind], style.KIND_MARKERS[kind]
      style.draw_interval(axes, entry, height, colour, marker)
      axes.annotate(
        f'{100 * entry["mean"]:.1f}',
        (1.01, height),
        xycoords=('axes fraction', 'data'),
        va='center',
        fontsize=8,
        color=colour,
      )
    axes.set_yticks(
      range(len(entries)), [style.label(each['name']) for each in entries]
    )
    axes.set_xlabel('accuracy, % (with its interval)')
    axes.grid(axis='x')
    keys = []
    for kind in reversed(kinds):
      colour, marker = style.KIND_COLOURS[kind], style.KIND_MARKERS[kind]
      keys.append(style.line_key(kind, colour, marker=marker))
    style.add_legend(figure, keys)

  return style.render_svg(6.4, 1.2 + 0.27 * len(entries), draw)


def plot_accuracy_against_k(section: JsonObject, confidence: float) -> bytes:
  """Plots the expected accuracy with k samples per problem: a panel with a band for each rule.

  The other rules are light grey lines in each panel, so no curve hides another.
  """
  ks, curves = section['curves']['k'], section['curves']['rules']
  kinds = {entry['name']: entry['kind'] for entry in section['accuracies']}
  ceilings = [name for name in curves if kinds.get(name) == 'ceiling']
  rules = [name for name in curves if name not in ceilings]
  if not rules or len(ks) < 2:
    return b''

  def draw(figure: Figure) -> None:
    panels = style.make_panels(figure, len(rules))
    for axes, rule in zip(panels, rules):
      for other in rules:
        axes.plot(
          ks, style.percent(curves[other]['mean']), color=style.LIGHT_GREY
        )
      for ceiling in ceilings:
        mean = style.percent(curves[ceiling]['mean'])
        axes.plot(ks, mean, color=style.GREY, linestyle='--')
      curve = curves[rule]
      style.draw_band(axes, ks, curve['low'], curve['high'], style.BLUE)
      mean = style.percent(curve['mean'])
      axes.plot(ks, mean, color=style.BLUE, marker='o', markersize=4)
      style.set_k_axis(axes, ks, 'k, samples per problem')
      axes.set_title(style.label(rule.replace('@N', '@k')))
    for axes, rule in zip(panels, rules):
      axes.set_ylabel('accuracy, %')
      axes.label_outer()
      last = 100 * curves[rule]['mean'][-1]
      ends = [style.LineEnd(last, f'{last:.1f}', style.BLUE)]
      for ceiling in ceilings[-1:]:
        top = 100 * curves[ceiling]['mean'][-1]
        ends.append(style.LineEnd(top, f'{top:.1f}', style.GREY))
      style.label_line_ends(axes, ends)
    keys = [
      style.line_key('rule of the panel', style.BLUE, marker='o'),
      style.band_key(f'its {confidence:.0%} interval', style.BLUE),
    ]
    if len(rules) > 1:
      keys.append(style.line_key('other rules', style.LIGHT_GREY))
    if ceilings:
      names = style.label(' and '.join(ceilings).replace('@N', '@k'))
      keys.append(style.line_key(f'{names} (ceiling)', style.GREY, '--'))
    style.add_legend(figure, keys)

  return style.render_svg(*style.panels_size(len(rules)), draw)


def plot_cost_against_clusters(section: JsonObject, confidence: float) -> bytes:
  """Plots accuracy and scored share if only K clusters are scored; b'' without scores."""
  entries = section['top_clusters']
  rules = []
  for rule in ('RR.Top-K', 'W.RR.Top-K'):
    if any(entry[rule] for entry in entries):
      rules.append(rule)
  if not rules or len(entries) < 2:
    return b''
  labels = [str(entry['top_clusters']) for entry in entries]
  labels[-1] = f'all ({labels[-1]})'
  vote = _entry_named(section, 'Maj1@N')

  def draw(figure: Figure) -> None:
    panels = [*figure.subplots(1, len(rules) + 1, squeeze=False)[0]]
    for axes, rule in zip(panels, rules):
      _draw_cost(axes, entries, rule, vote)
      axes.sharey(panels[0])
      axes.set_title(rule)
    panels[0].set_ylabel('accuracy, %')
    shares = style.percent([entry['share'] for entry in entries])
    bars = panels[-1].bar(range(len(entries)), shares, color=style.SKY)
    panels[-1].bar_label(bars, fmt='%.0f', fontsize=8)
    panels[-1].set_title('candidates scored, %')
    panels[-1].set_ylim(0, 112)
    for axes in panels:
      axes.set_xticks(range(len(entries)), labels)
      axes.set_xlabel('K, largest clusters scored')
    keys = [
      style.line_key('rule of the panel', style.BLUE, marker='o'),
      style.band_key(f'its {confidence:.0%} interval', style.BLUE),
      style.line_key('MajK@N (ceiling)', style.GREY, '--'),
    ]
    if vote:
      keys.append(style.line_key('Maj1@N', style.BLACK, ':'))
    style.add_legend(figure, keys)

  return style.render_svg(3.2 * (len(rules) + 1), 3.1, draw)


def _draw_cost(
  axes: Axes,
  entries: Sequence[JsonObject],
  rule: str,
  vote: JsonObject | None,
) -> None:
  """Draws a rule, its ceiling and the majority vote against K."""
  ceilings = [100 * entry['MajK@N']['mean'] for entry in entries]
  axes.plot(range(len(entries)), ceilings, color=style.GREY, linestyle='--')
  if vote:
    axes.axhline(100 * vote['mean'], color=style.BLACK, linestyle=':')
  known = [index for index, entry in enumerate(entries) if entry[rule]]
  found = [entries[index][rule] for index in known]
  lows, highs = (
    [each['low'] for each in found],
    [each['high'] for each in found],
  )
  style.draw_band(axes, known, lows, highs, style.BLUE)
  means = [100 * each['mean'] for each in found]
  axes.plot(known, means, color=style.BLUE, marker='o', markersize=4)


def plot_adaptive(section: JsonObject, confidence: float) -> bytes:
  """Plots the accuracy of the vote against mean N; b'' if there is nothing to show."""
  entries = section.get('adaptive', [])
  if len(entries) < 2:
    return b''

  def draw(figure: Figure) -> None:
    axes = figure.subplots()
    means = [entry['mean_candidates'] for entry in entries]
    lows = [entry['accuracy']['low'] for entry in entries]
    highs = [entry['accuracy']['high'] for entry in entries]
    style.draw_band(axes, means, lows, highs, style.BLUE)
    accuracies = [entry['accuracy']['mean'] for entry in entries]
    axes.plot(means, style.percent(accuracies), color=style.BLUE, marker='o')
    for entry in entries:
      name = adaptive_samples.error_bound(entry)
      place = entry['mean_candidates'], 100 * entry['accuracy']['mean']
      axes.annotate(
        name, place, xytext=(0, 6), textcoords='offset points', fontsize=8
      )
    axes.set_xlabel('mean candidates a problem')
    axes.set_ylabel('accuracy of the vote, %')
    keys = [
      style.line_key('error bound of the rule', style.BLUE, marker='o'),
      style.band_key(f'its {confidence:.0%} interval', style.BLUE),
    ]
    style.add_legend(figure, keys)

  return style.render_svg(5.2, 3.4, draw)


def plot_calibration(section: JsonObject) -> bytes:
  """Plots the share of correct candidates against their score; b'' without scores in [0, 1]."""
  found = section.get('calibration')
  if not found:
    return b''
  bins = found['bins']

  def draw(figure: Figure) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 100], [0, 100], color=style.GREY, linestyle='--')
    for each in bins:
      position, correct = 100 * each['mean_score'], each['correct']
      interval = style.percent([correct['low'], correct['high']])
      above.plot([position, position], interval, color=style.BLUE)
    positions = style.percent([each['mean_score'] for each in bins])
    shares = style.percent([each['correct']['mean'] for each in bins])
    above.plot(positions, shares, color=style.BLUE, marker='o', markersize=5)
    above.set_ylabel('correct candidates, %')
    above.set_ylim(-3, 103)
    centres = [50 * (each['from'] + each['to']) for each in bins]
    counts = [each['candidates'] for each in bins]
    below.bar(centres, counts, width=9, color=style.SKY)
    below.set_ylabel('candidates')
    below.set_xlim(-2, 102)
    below.set_xlabel(f'{section["score_name"]}, %')
    keys = [
      style.line_key(
        'bins of the score, with intervals', style.BLUE, marker='o'
      ),
      style.line_key('calibrated', style.GREY, '--'),
    ]
    style.add_legend(figure, keys)

  return style.render_svg(5.2, 4.6, draw)


def plot_groups(
  section: JsonObject, groups: Mapping[str, Sequence[JsonObject]]
) -> bytes:
  """Plots accuracies by subject or level, a panel for each of a few rows; b'' for one group."""
  largest = sorted(groups, key=lambda label: -groups[label][0]['n'])
  kept = set(largest[:MAX_GROUPS])
  labels = [label for label in groups if label in kept][::-1]
  names = _names_for_groups(section)
  if len(labels) < 2:
    return b''

  def draw(figure: Figure) -> None:
    panels = style.make_panels(figure, len(names), columns=len(names))
    for axes, name in zip(panels, names):
      for height, label in enumerate(labels):
        for entry in groups[label]:
          if entry['name'] == name:
            style.draw_interval(axes, entry, height, style.BLUE, 'o')
      total = _entry_named(section, name)
      if total:
        axes.axvline(100 * total['mean'], color=style.GREY, linestyle=':')
      axes.set_title(style.label(name))
      axes.set_xlabel('accuracy, %')
      axes.grid(axis='x')
    sizes = [
      f'{style.label(each, 30)} (n={groups[each][0]["n"]})' for each in labels
    ]
    panels[0].set_yticks(range(len(labels)), sizes)
    style.add_legend(
      figure,
      [
        style.line_key('group, with its interval', style.BLUE, marker='o'),
        style.line_key('all problems', style.GREY, ':'),
      ],
    )

  width = 2.2 * len(names) + 1.6
  return style.render_svg(width, 1.3 + 0.28 * len(labels), draw)


def _names_for_groups(section: JsonObject) -> list[str]:
  """Returns the rows that a plot by subject or level shows, at most MAX_PANELS."""
  names = [entry['name'] for entry in section['accuracies']]
  chosen = names[:1]
  for wanted in ('Maj1@N', 'RR.Top-', 'RR.All', 'W.RR', 'Pass@N'):
    matching = [name for name in names if name.startswith(wanted)]
    chosen += [name for name in matching[:1] if name not in chosen]
  if len(chosen) > MAX_PANELS and 'RR.All' in chosen:
    chosen.remove('RR.All')
  return [*chosen[: MAX_PANELS - 1], chosen[-1]][: len(chosen)]


def _entry_named(section: JsonObject, name: str) -> JsonObject | None:
  for entry in section['accuracies']:
    if entry['name'] == name:
      return entry
  return None
