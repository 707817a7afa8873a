"""The program compare: reports of several runs in one page; other tests open it in a browser."""

import json
from unittest import mock

import pytest

from mathft_jax import compare, evaluate
from mathft_jax.data import schema
from mathft_jax.evaluation import evaluated_file, run_description, voting
from tests.evaluation.candidates import CORRECT, candidate_set, no_plots

QUICK = {'resamples': 50, 'draws': 2, 'print_tables': False}


def report(folder, right, rules=(voting.Majority(),), ids=range(6)):
  sets = []
  for number in ids:
    answer = CORRECT if number in right else 'a'
    sets.append(candidate_set([(answer, 0.5)] * 2, f'p{number}'))
  path = schema.write_jsonl(folder / 'graded.jsonl', sets)
  with mock.patch.object(evaluate.rendering, 'render_plots', no_plots):
    evaluate.evaluate(folder / 'report', candidates=path, rules=rules, **QUICK)
  return folder


def test_problems_gained_and_lost_and_rules_of_some_runs(tmp_path, capsys):
  rules = (voting.Majority(), voting.Rerank())
  folders = {
    'first': report(tmp_path / 'a', {0, 1}),
    'second': report(tmp_path / 'b', {1, 2, 3}, rules),
  }
  path = compare.compare(tmp_path / 'both', reports=folders, title='Two runs')
  record = json.loads((tmp_path / 'both' / 'comparison.json').read_text())
  (found,) = record['reports']
  assert found['changes']['second']['Maj1@N'] == {
    'gained': ['p2', 'p3'],
    'lost': ['p0'],
  }
  assert set(found['differences']['second']) == {
    'Maj1@N',
    'Pass@1 (mean of samples)',
  }
  printed = capsys.readouterr().out
  assert f'Comparison: {path}' in printed and ' 2 / 1 ' in printed
  page = path.read_text()
  assert '<title>Two runs</title>' in page and '<td>-</td>' not in page
  assert '<script' not in page and page.count('image/svg+xml') == 2
  assert 'Maj1@N: 2 gained' in page
  assert page.count('ties are split evenly') == 1
  query = 'better=second%3A+Maj1%40N&amp;than=first%3A+Maj1%40N'
  assert f'<a href="candidates.html#{query}">2</a>' in page


def test_reports_on_other_problems_have_no_differences(tmp_path):
  folders = {
    'a': report(tmp_path / 'a', {0}),
    'b': report(tmp_path / 'b', {0}, ids=range(1, 7)),
  }
  compare.compare(tmp_path / 'both', reports=folders)
  text = (tmp_path / 'both' / 'comparison.md').read_text()
  assert 'minus' not in text and '| b ' in text


@pytest.mark.parametrize(
  'names, message',
  [('a', 'at least two folders'), ('ab', 'No report.json in .*b')],
)
def test_missing_reports_are_errors(tmp_path, names, message):
  (tmp_path / 'b').mkdir()
  folders = {name: tmp_path / name for name in names}
  if 'b' in names:
    report(tmp_path / 'a', {0})
  with pytest.raises(ValueError, match=message):
    compare.compare(tmp_path / 'both', reports=folders)


def test_checkpoints_of_a_run_are_found_from_settings_beside_its_files(
  tmp_path,
):
  """sample, grade and score write their settings beside their output."""
  for name, content in {
    'sampled/candidates.settings.json': {'checkpoint': '../ssft/80'},
    'graded/graded.report.json': {
      'settings': {'candidates': 'runs/moved/sampled/candidates.jsonl'}
    },
  }.items():
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
  graded = schema.write_jsonl(
    tmp_path / 'graded/graded.jsonl', [candidate_set([('a', None)])]
  )
  found = run_description.find_checkpoints(graded)
  assert run_description.short_path(found['generator']).endswith('/ssft/80')
  assert run_description.short_path(found['generator'], 2) == '.../ssft/80'
  assert run_description.short_path('/a/b') == 'a/b'
  file = evaluated_file.evaluate_file(graded, [voting.Majority()])
  run = run_description.describe_run(
    tmp_path / 'report', {'graded': graded}, {'graded': file}
  )
  assert run.title.startswith('.../')
  assert run.title.endswith('/report (generator .../ssft/80, 1 problem)')
  assert run.paths == {
    'candidates': '../graded/graded.jsonl',
    'generator': '../ssft/80',
  }

  digest = run_description.digests.content_digest([graded.read_bytes()])
  scored = tmp_path / 'scored' / 'scored.jsonl'
  scored.parent.mkdir()
  settings = {
    'quantity': 'verdict',
    'checkpoint': '../scr/300',
    'candidates': digest,
  }
  scored.with_name('scored.settings.json').write_text(json.dumps(settings))
  found = run_description.find_checkpoints(scored)
  assert list(found) == ['generator', 'evaluator']
  moved = graded.parent.rename(tmp_path / 'test_graded')
  assert list(run_description.find_checkpoints(scored)) == [*found]
  moved.rename(tmp_path / 'graded')
  settings['candidates'] = 'other'
  scored.with_name('scored.settings.json').write_text(json.dumps(settings))
  assert list(run_description.find_checkpoints(scored)) == ['evaluator']


def test_the_step_of_a_checkpoint_is_named_unless_the_path_has_it(tmp_path):
  path = tmp_path / 'candidates.jsonl'
  settings = {'checkpoint': '../mine', 'checkpoint_step': 14}
  beside = tmp_path / 'candidates.settings.json'
  beside.write_text(json.dumps(settings))
  found = run_description.find_checkpoints(path)['generator']
  assert run_description.short_path(found, 1) == '.../mine, step 14'
  settings['checkpoint'] = '../mine/checkpoints/14'
  beside.write_text(json.dumps(settings))
  found = run_description.find_checkpoints(path)['generator']
  assert found.endswith('mine/checkpoints/14')
