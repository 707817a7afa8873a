"""Tests of table cells, and of tables as Markdown and HTML."""

import numpy as np
import pytest

from mathft_jax.evaluation import statistics
from mathft_jax.evaluation.report import tables

RIGHT_WRONG = np.repeat([1.0, 0.0], [281, 219])  # 56.2 %


def test_accuracy_cells_are_percent_with_wilson_interval_and_n():
  table = tables.make_accuracy_table(
    'T', {'fine': {'Maj1': RIGHT_WRONG}, 'terse': {'RR': RIGHT_WRONG[:9]}}
  )
  low, high = statistics.wilson_interval(281 / 500, 500)
  assert table.header == ('', 'Maj1', 'RR', 'n')
  assert table.rows[0] == (
    'fine',
    f'56.2 [{100 * low:.1f}, {100 * high:.1f}]',
    '-',
    '500',
  )
  assert table.rows[1][1] == '-' and table.rows[1][3] == '9'


def test_difference_rows_say_points_counts_p_and_n():
  a_P, b_P = np.repeat([1.0, 0.0], [60, 40]), np.repeat([1.0, 0.0], [40, 60])
  table = tables.make_difference_table(
    'T', {'a - b': (a_P, b_P), 'a - a': (a_P, a_P)}, seed=1
  )
  found = statistics.paired_difference(a_P, b_P, seed=1)
  assert table.rows[0] == (
    'a - b',
    tables.format_points(found),
    '20 / 0',
    '< 0.001',
    '< 0.001',
    '100',
  )
  assert table.rows[0][1].startswith('+20.0 [+1')
  assert table.rows[1] == (
    'a - a',
    '+0.0 [+0.0, +0.0]',
    '0 / 0',
    '1.000',
    '1.000',
    '100',
  )


def test_a_difference_that_rounds_to_zero_has_no_negative_zero():
  tiny = statistics.PairedDifference(
    -0.0001, -0.0002, 0.0001, 500, 0, 0, 1.0, 'mcnemar'
  )
  assert tables.format_points(tiny) == '+0.0 [+0.0, +0.0]'


@pytest.mark.parametrize(
  'p, wanted',
  [(0.0, '< 0.001'), (0.0009, '< 0.001'), (0.0314, '0.031'), (1.0, '1.000')],
)
def test_p_values(p, wanted):
  assert tables.format_p_value(p) == wanted


def test_seeds_are_all_shown():
  table = tables.make_seeds_table('T', {'W.RR': [0.5, 0.75, 0.4]}, [0, 1, 2])
  assert table.rows == (
    ('W.RR', '50.0', '75.0', '40.0', '55.0', '40.0 .. 75.0'),
  )


def test_markdown_is_aligned_and_escapes_bars():
  text = tables.table_to_markdown(
    tables.Table('Title', ('', 'n'), (('a|b', '5'), ('c', '500')), 'A note.')
  )
  assert text == (
    '### Title\n\n|      |   n |\n|------|----:|\n| a\\|b |   5 |\n| c    | 500 |\n\nA note.\n'
  )


def test_html_escapes_text():
  text = tables.table_to_html(
    tables.Table('T', ('', 'p'), (('<script>', '< 0.001'),))
  )
  assert '<script>' not in text and '<td>&lt; 0.001</td>' in text
