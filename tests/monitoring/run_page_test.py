"""The page of a run: curves, escapes, odd values."""

import re
from xml.etree import ElementTree

from mathft_jax.monitoring import run_page

ROWS = [
  {'step': 10, 'split': 'train', 'loss': 2.0, 'learning_rate': 1e-5},
  {'step': 20, 'split': 'train', 'loss': 1.0, 'learning_rate': 1e-5},
  {'step': 20, 'split': 'validation', 'loss': 1.5},
]


def svgs(page):
  return [
    ElementTree.fromstring(text) for text in re.findall('<svg.*?</svg>', page)
  ]


def test_each_metric_has_a_figure_with_a_line_for_each_split():
  loss, rate = svgs(run_page.render_run_page('run', ROWS))
  assert (loss.get('aria-label'), rate.get('aria-label')) == (
    'loss',
    'learning_rate',
  )
  train, validation = loss.findall('polyline')
  heights = [float(p.split(',')[1]) for p in train.get('points').split()]
  assert heights[0] < heights[1]  # the loss falls; y grows downwards
  assert len(validation.get('points').split()) == 1
  assert len(rate.findall('polyline')) == 1


def test_the_page_loads_nothing_and_escapes_names():
  rows = [{'step': 1, 'split': '<b>', '<script>alert(1)</script>': 1.0}]
  page = run_page.render_run_page('a <img src=x>', rows)
  assert '<script' not in page and '<img' not in page and '<b>' not in page
  assert not re.search(r'src=|href=|@import|url\(', page.replace('src=x', ''))


def test_values_that_are_no_numbers_are_left_out():
  rows = [
    {
      'step': 1,
      'split': 'train',
      'loss': float('nan'),
      'name': 'x',
      'flag': True,
    },
    {'step': 2, 'split': 'train', 'loss': float('inf')},
    {'step': None, 'loss': 1.0},
    {'step': 3, 'split': 'train', 'loss': 4.0},
  ]
  curves = run_page.collect_curves(rows)
  assert curves == {'loss': {'train': [run_page.Point(3.0, 4.0)]}}
  assert len(svgs(run_page.render_run_page('run', rows))) == 1
  assert 'Step 0.' in run_page.render_run_page('run', [])


def test_long_curves_are_thinned_to_means_that_end_at_the_last_point():
  points = [run_page.Point(step, float(step % 2)) for step in range(10_000)]
  thinned = run_page.thin(points)
  assert len(thinned) <= run_page.MAX_POINTS and thinned[-1] == points[-1]
  assert all(abs(point.value - 0.5) < 0.1 for point in thinned[:-1])


def test_ticks_are_round_numbers():
  assert run_page.ticks(0, 100) == [0, 50, 100]
  assert run_page.ticks(1.1, 2.9) == [1.5, 2.0, 2.5]
  assert run_page.ticks(3, 3) == [3]
