"""Tests of the tables made from report.json."""

import pytest

from mathft_jax.data import schema
from mathft_jax.evaluation import evaluated_file, statistics, voting
from mathft_jax.evaluation.report import (
  headline,
  rendering,
  report_json,
  report_tables,
  tables,
)
from mathft_jax.evaluation.report.tables import escape_markdown
from tests.evaluation.candidates import CORRECT, candidate_set

SETTINGS = report_json.ReportSettings(resamples=300, draws=20)
RULES = voting.paper_rules(top_clusters=1, top_candidates=2)


def section_of(tmp_path, name='scored', wrong=30):
  """On `wrong` of 50 problems the vote is wrong and the scores, not the log-probs, know better."""
  known = [('a', 0.1, -1.0), ('a', 0.2, -1.0), (CORRECT, 0.9, -9.0)]
  plain = [
    (CORRECT, 0.5, -1.0),
    (CORRECT, 0.6, -1.0),
    ('a', 0.4, -2.0),
    (None, None, -5.0),
  ]
  sets = [
    candidate_set(known if i < wrong else plain, str(i), level=f'Level {i % 2}')
    for i in range(50)
  ]
  path = schema.write_jsonl(tmp_path / f'{name}.jsonl', sets)
  return report_json.make_file_section(
    evaluated_file.evaluate_file(path, RULES), RULES, SETTINGS
  )


def rows_of(table):
  return {row[0]: row[1:] for row in table.rows}


def by_title(tables):
  return {table.title: table for table in tables}


@pytest.fixture(scope='module')
def section(tmp_path_factory):
  return section_of(tmp_path_factory.mktemp('section'))


def settings_of(whole=SETTINGS):
  return {'baseline': whole.baseline, 'confidence': whole.confidence}


def test_rules_table_has_intervals_and_differences_to_the_baseline(
  section,
):
  table = report_tables.make_rules_table('name', section, settings_of())
  rows = rows_of(table)
  assert table.title == 'name: n = 50 problems x 3-4 candidates'
  low, high = statistics.wilson_interval(0.4, 50)
  assert rows['Maj1@3-4'] == (
    'rule',
    f'40.0 [{100 * low:.1f}, {100 * high:.1f}]',
    '',
    '',
    '',
    '',
  )
  kind, accuracy, points, counts, p, adjusted = rows['RR.All']
  assert (kind, counts, p, adjusted) == ('rule', '30 / 0', '< 0.001', '< 0.001')
  assert accuracy.startswith('100.0 [') and points.startswith('+60.0 [+')
  assert rows['MajK@3-4, K=1'][0] == 'ceiling' and rows['Pass@3-4'][2] == ''


def test_log_prob_table_has_the_evaluator_first(
  section,
):
  table = by_title(report_tables.make_file_tables('x', section, settings_of()))[
    "score against the generator's own log-probability"
  ]
  rows = rows_of(table)
  assert set(rows) == {
    'RR.All - RR.All by log-prob',
    'W.RR - W.RR by log-prob',
    'W.RR - RR.All by log-prob',
  }
  points, counts, *_ = rows['RR.All - RR.All by log-prob']
  assert counts == '30 / 0'
  mean, low, high = (float(part.strip('[,]')) for part in points.split())
  assert 0 < low < mean == 60.0 < high


def test_cost_and_curves_and_groups_have_their_tables(section):
  made = by_title(report_tables.make_file_tables('x', section, settings_of()))
  # 100 and 150 of 170 candidates.
  assert [row[:3] for row in made['Accuracy and cost against K'].rows] == [
    ('1', '0.59', '0.67'),
    ('2', '0.88', '1.00'),
  ]
  assert made['Accuracy against k'].header == ('k', '1', '2', '4')
  assert rows_of(made['Accuracy against k'])['Pass@k'][-1] == '100.0'
  assert made['By level'].header == ('', 'Level 0', 'Level 1')
  assert (
    rows_of(made['By level'])['n'] == ('25', '25') and 'By subject' not in made
  )
  assert rows_of(made['AUC'])['score'][1] == '50'


def test_several_files_share_one_grid(tmp_path, section):
  other = section_of(tmp_path, 'other', wrong=10)
  whole = {
    'files': {'a': section, 'b': other},
    'comparisons': [],
    'settings': settings_of(),
  }
  (grid,) = report_tables.make_overall_tables(whole)
  assert grid.header[:3] == ('', 'Pass@1 (mean of samples)', 'Maj1@N')
  assert [row[0] for row in grid.rows] == ['a', 'b'] and grid.rows[1][
    -1
  ] == '50'
  assert (
    report_tables.make_overall_tables({**whole, 'files': {'a': section}}) == []
  )


def test_sample_description_counts_unanswered_problems(section):
  text = report_tables.describe_candidate_statistics(section)
  assert (
    '50 problems x 3-4 candidates: 88.2% of the candidates have an answer'
    in text
  )
  assert '0 problems have no answer at all' in text


def test_rules_that_some_files_lack_are_in_a_table_of_the_others(
  tmp_path, section
):
  unscored = [
    candidate_set([(CORRECT, None), ('a', None)], str(i)) for i in 'xy'
  ]
  path = schema.write_jsonl(tmp_path / 'graded.jsonl', unscored)
  other = report_json.make_file_section(
    evaluated_file.evaluate_file(path, RULES), RULES, SETTINGS
  )
  whole = {
    'files': {'scored': section, 'graded': other},
    'comparisons': [],
    'settings': settings_of(),
  }
  every, some = report_tables.make_overall_tables(whole)
  assert [row[0] for row in every.rows] == ['scored', 'graded']
  assert 'RR.All' not in every.header and 'Maj1@N' in every.header
  assert [row[0] for row in some.rows] == ['scored'] and 'RR.All' in some.header
  titles = by_title(report_tables.make_file_tables('x', other, settings_of()))
  assert titles['Ceiling against K'].header[-1] == 'MajK@N'
  cells = [
    cell for table in titles.values() for row in table.rows for cell in row
  ]
  assert '-' not in cells


def test_markdown_and_html_hold_every_table_and_image(section):
  whole = {
    'files': {'a <b>': section},
    'comparisons': [],
    'settings': settings_of(),
  }
  images = rendering.PlotImages({}, {'a <b>': {'accuracies': b'<svg/>'}})
  run = headline.RunDescription('<i>title', {'generator': '<u>'})
  markdown, html = (
    rendering.render_markdown(whole, images, run),
    rendering.render_html(whole, images, run, 'candidates.html'),
  )
  for table in report_tables.make_file_tables('', section, settings_of()):
    assert f'### {escape_markdown(table.title)}' in markdown
    assert f'<h3>{tables.escape_html(table.title)}</h3>' in html
  assert '(plots/a_b.accuracies.svg)' in markdown and 'base64,PHN2Zy8+' in html
  for text in ('<i>title', '<u>'):
    assert text not in html and tables.escape_html(text) in html
  better = 'better=a+%3Cb%3E%3A+RR.All&amp;than=a+%3Cb%3E%3A+Maj1%40N'
  assert f'<a href="candidates.html#{better}">30</a> / 0' in html


def test_shares_without_answer_and_cut_are_figures_of_the_headline(section):
  figures = {each.label: each for each in headline.headline_figures(section)}
  assert figures['no answer found'].value == '11.8%'
  assert figures['no answer found'].is_warning
  assert figures['cut at the length limit'].interval == 'not recorded'
  assert figures['Maj1@3-4'].value == '40.0%'
  cut = {**section, 'statistics': {**section['statistics'], 'finished': 0.9}}
  figure = headline.headline_figures(cut)[-1]
  assert (figure.value, figure.is_warning) == ('10.0%', True)
