"""Tests of the program evaluate: files, repeated runs, and equal bytes for equal inputs."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pytest

from mathft_jax import evaluate, grading
from mathft_jax.data import schema
from mathft_jax.evaluation import voting
from tests.evaluation.candidates import CORRECT, candidate_set, no_plots

RULES = voting.paper_rules(2, 2)
QUICK = {'resamples': 200, 'draws': 10}
SVG = '{http://www.w3.org/2000/svg}'


def scored_file(path, seed=0, problems=12):
  rng = np.random.default_rng(seed)
  return schema.write_jsonl(
    path,
    [
      candidate_set(
        [
          (str(rng.choice([CORRECT, 'a', 'b'])), float(rng.random()), -1.0)
          for _ in range(5)
        ],
        f'p{i}',
        subject='Algebra',
        level=f'Level {i % 3}',
      )
      for i in range(problems)
    ],
  )


def run(workdir, *, plots=False, **given):
  given = {'rules': RULES, **QUICK, **given}
  if plots:
    return evaluate.evaluate(workdir, **given)
  with mock.patch.object(evaluate.rendering, 'render_plots', no_plots):
    return evaluate.evaluate(workdir, **given)


def test_everything_is_written(tmp_path, capsys):
  path = run(
    tmp_path / 'out',
    plots=True,
    candidates=scored_file(tmp_path / 'scored.jsonl'),
  )
  assert path == tmp_path / 'out' / 'report.json'
  written = {
    str(each.relative_to(path.parent))
    for each in pathlib.Path(path.parent).rglob('*')
  }
  plots = {
    'accuracies',
    'accuracy_against_k',
    'adaptive',
    'cost_against_clusters',
    'calibration',
    'by_level',
  }
  assert written == {
    'report.json',
    'report.md',
    'report.html',
    'outcomes.jsonl',
    'plots',
    *(f'plots/scored.{name}.svg' for name in plots),
    'candidates.html',
    'candidates',
    'candidates/0.index.js',
    'candidates/0.0000.js',
    'candidates/browser.js',
    'candidates/browser.css',
    'candidates/katex.js',
    'candidates/katex.css',
    'candidates/katex.LICENSE',
  }
  markdown = (path.parent / 'report.md').read_text()
  assert (
    '| W.RR.Top-2 ' in markdown
    and '(plots/scored.accuracy_against_k.svg)' in markdown
  )
  html = (path.parent / 'report.html').read_text()
  assert html.count('src="data:image/svg+xml;base64,') == 6
  assert '<script' not in html and 'http:' not in html


def test_the_headline_and_the_main_table_are_printed_in_100_columns(
  tmp_path, capsys
):
  run(tmp_path / 'out', candidates=scored_file(tmp_path / 'scored.jsonl'))
  lines = capsys.readouterr().out.splitlines()
  assert max(map(len, lines)) <= 100 and len(lines) < 40
  text = '\n'.join(lines)
  assert '\n12 problems x 5 candidates\n' in text
  assert 'cut at the length limit         ?  not recorded' in text
  assert '\nW.RR.Top-2 ' in text and '\x1b' not in text
  assert lines[-1].startswith('Report: ') and lines[-1].endswith('report.html')


@pytest.mark.parametrize(
  'version, noted', [(grading.GRADER_VERSION, False), ('0.1', True)]
)
def test_a_file_graded_by_another_version_of_the_grader_is_noted(
  tmp_path, version, noted
):
  path = scored_file(tmp_path / 'scored.jsonl')
  grader = f'{grading.GRADER_NAME} {version}'
  schema.write_jsonl(
    path,
    [
      dataclasses.replace(each, grader=grader)
      for each in schema.read_candidate_sets(path)
    ],
  )
  section = json.loads(run(tmp_path / 'out', candidates=path).read_text())[
    'files'
  ]['scored']
  assert section['graders'] == [grader]
  assert any('run grade again' in note for note in section['notes']) == noted


def test_every_field_of_the_report_is_documented(tmp_path):
  whole = json.loads(
    run(
      tmp_path / 'out',
      candidates={
        name: scored_file(tmp_path / f'{name}.jsonl') for name in 'ab'
      },
    ).read_text()
  )
  section = whole['files']['a']
  fields = {
    *whole,
    *whole['inputs']['a'],
    *whole['settings'],
    *whole['comparisons'][0],
    *section,
    *section['accuracies'][0],
    *section['differences'][0],
    *section['auc'],
    *section['auc']['score'],
    *section['top_clusters'][0],
    *section['curves'],
    *section['calibration'],
    *section['calibration']['bins'][0],
    *section['statistics'],
  } - {'candidates_per_problem_max'}
  documented = (
    pathlib.Path(__file__).parent.parent / 'docs' / 'report.md'
  ).read_text()
  missing = {
    each
    for each in fields
    if f'`{each}`' not in documented and f'"{each}"' not in documented
  }
  assert not missing


def test_plots_are_svg_whose_text_is_text(tmp_path):
  path = run(
    tmp_path / 'out',
    plots=True,
    candidates=scored_file(tmp_path / 'scored.jsonl'),
  )
  for plot in (path.parent / 'plots').iterdir():
    root = ElementTree.parse(plot).getroot()
    texts = [''.join(each.itertext()) for each in root.iter(f'{SVG}text')]
    assert root.tag == f'{SVG}svg' and len(texts) > 10
    assert not [*root.iter(f'{SVG}script')]


def test_outcomes_say_for_each_problem_what_each_rule_got_right(tmp_path):
  candidates = scored_file(tmp_path / 'scored.jsonl')
  path = run(tmp_path / 'out', candidates=candidates)
  rows = [row for _, row in schema.read_jsonl(path.parent / 'outcomes.jsonl')]
  sets = schema.read_candidate_sets(candidates)
  for rule in RULES:
    wanted = [
      float(bool((choice := rule(each)) and choice.is_correct)) for each in sets
    ]
    assert [row['correct'][rule.name] for row in rows] == wanted
  assert [row['id'] for row in rows] == [each.problem.id for each in sets]


def test_the_gin_form_runs_from_the_command_line(tmp_path):
  candidates = scored_file(tmp_path / 'scored.jsonl')
  command = [
    sys.executable,
    '-m',
    'mathft_jax.evaluate',
    '--gin_file=programs/evaluate.gin',
    f'--gin.CANDIDATES={candidates}',
    f'--gin.EVAL_OUTPUT_DIR={tmp_path / "out"}',
    '--gin.TOP_CLUSTERS=2',
    '--gin.TOP_CANDIDATES=2',
  ]
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  whole = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert whole['rules'] == [str(rule) for rule in RULES]
  assert 'candidates/s' in done.stderr


def test_equal_inputs_give_equal_bytes_in_any_folder(tmp_path):
  # The last four folders are the title.
  folders = {place: tmp_path / place / 'a/b/c' for place in ('one', 'two')}
  for folder in folders.values():
    folder.mkdir(parents=True)
    path = scored_file(folder / 'scored.jsonl')
    run(folder / 'out', plots=True, candidates=path)
  for name in (
    'report.json',
    'report.md',
    'report.html',
    'outcomes.jsonl',
    'candidates.html',
    'candidates/0.0000.js',
  ):
    one, two = (
      (folder / 'out' / name).read_bytes() for folder in folders.values()
    )
    assert one == two, name


def test_a_complete_report_is_rewritten_only_for_other_inputs(
  tmp_path, capsys, caplog
):
  caplog.set_level('INFO')
  candidates = scored_file(tmp_path / 'scored.jsonl')
  path = run(tmp_path / 'out', candidates=candidates)
  marked = path.stat().mtime
  (tmp_path / 'out' / 'report.md').unlink()
  first = capsys.readouterr().out
  run(tmp_path / 'out', candidates=candidates)
  assert capsys.readouterr().out == first != ''
  assert (
    path.stat().mtime == marked
    and not (tmp_path / 'out' / 'report.md').exists()
  )
  run(tmp_path / 'out', candidates=candidates, seed=1)
  assert (tmp_path / 'out' / 'report.md').exists()
  assert json.loads(path.read_text())['settings']['seed'] == 1
  assert 'is of other settings and is written again' in caplog.text
  other = scored_file(tmp_path / 'other.jsonl', problems=9)
  run(tmp_path / 'out', candidates=other, seed=1)
  assert (
    json.loads(path.read_text())['files']['other']['statistics']['problems']
    == 9
  )
  assert 'is of other inputs and is written again' in caplog.text


def test_an_interrupted_report_is_not_taken_as_complete(tmp_path, monkeypatch):
  candidates = scored_file(tmp_path / 'scored.jsonl')

  def stop(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(evaluate.rendering, 'render_html', stop)
    with pytest.raises(KeyboardInterrupt):
      run(tmp_path / 'out', candidates=candidates)
  assert not (tmp_path / 'out' / 'report.json').exists()
  assert run(tmp_path / 'out', candidates=candidates).exists()


@pytest.mark.slow
def test_several_files_are_compared_with_the_first(tmp_path, capsys):
  files = {
    'SSFT / fine': scored_file(tmp_path / 'a.jsonl'),
    'SSFT / terse': scored_file(tmp_path / 'b.jsonl', seed=1),
  }
  path = run(tmp_path / 'out', plots=True, candidates=files)
  whole = json.loads(path.read_text())
  assert list(whole['files']) == list(files)
  assert {(row['a'], row['b']) for row in whole['comparisons']} == {
    ('SSFT / terse', 'SSFT / fine')
  }
  shown = capsys.readouterr().out
  assert (
    '\nAll files\n' in shown and 'W.RR: SSFT / terse - SSFT / fine' in shown
  )
  assert len(list((tmp_path / 'out' / 'plots').iterdir())) == 14


def test_greedy_candidates_give_pass_at_1(tmp_path):
  greedy = schema.write_jsonl(
    tmp_path / 'greedy.jsonl',
    [
      candidate_set([(CORRECT if i < 3 else 'a', None)], f'p{i}')
      for i in range(12)
    ],
  )
  path = run(
    tmp_path / 'out',
    candidates=scored_file(tmp_path / 'scored.jsonl'),
    greedy_candidates=greedy,
  )
  first = json.loads(path.read_text())['files']['scored']['accuracies'][0]
  assert (first['name'], first['mean'], first['n']) == (
    'Pass@1 (greedy)',
    0.25,
    12,
  )


@pytest.mark.parametrize(
  'greedy, message',
  [
    ('greedy.jsonl', 'greedy_candidates is one path'),
    ({'c': 'greedy.jsonl'}, r"greedy_candidates names \['c'\]"),
  ],
)
def test_greedy_of_several_files_is_by_name(tmp_path, greedy, message):
  files = {name: scored_file(tmp_path / f'{name}.jsonl') for name in 'ab'}
  with pytest.raises(ValueError, match=message):
    run(tmp_path / 'out', candidates=files, greedy_candidates=greedy)


def test_tables_need_not_be_printed(tmp_path, capsys):
  run(
    tmp_path / 'out',
    candidates=scored_file(tmp_path / 'scored.jsonl'),
    print_tables=False,
  )
  assert capsys.readouterr().out == ''


def test_an_unscored_file_is_reported_without_an_evaluator(tmp_path, caplog):
  graded = schema.write_jsonl(
    tmp_path / 'graded.jsonl',
    [candidate_set([(CORRECT, None), ('a', None)], f'p{i}') for i in range(3)],
  )
  path = run(tmp_path / 'out', candidates=graded)
  section = json.loads(path.read_text())['files']['graded']
  assert 'RR.All' not in {row['name'] for row in section['accuracies']}
  assert (
    'The file is not scored' in caplog.text
    and section['auc']['score']['within'] is None
  )


def test_nothing_has_an_answer(tmp_path):
  sets = [candidate_set([(None, None)] * 2, f'p{i}') for i in range(3)]
  sets.append(candidate_set([('a', 0.5)], 'one'))
  path = run(
    tmp_path / 'out',
    candidates=schema.write_jsonl(tmp_path / 'graded.jsonl', sets),
  )
  rows = json.loads(path.read_text())['files']['graded']['accuracies']
  assert all(row['mean'] == 0 for row in rows)


def test_any_row_of_a_file_is_compared_with_any_row_of_another(tmp_path):
  tuned = scored_file(tmp_path / 'tuned.jsonl', seed=1)
  few_shot = scored_file(tmp_path / 'few_shot.jsonl', seed=2, problems=10)
  path = run(
    tmp_path / 'out',
    candidates={'tuned': tuned, 'few_shot': few_shot},
    compare=('tuned: RR.Top-2 - few_shot: Maj1@5',),
  )
  (entry,) = json.loads(path.read_text())['chosen_differences']
  by_rule = {}
  for file, rule in ((tuned, voting.Rerank(2)), (few_shot, voting.Majority())):
    chosen = [rule(each) for each in schema.read_candidate_sets(file)[:10]]
    by_rule[rule] = sum(bool(each and each.is_correct) for each in chosen)
  a, b = by_rule.values()
  assert entry['n'] == 10 and a != b
  assert entry['mean'] == pytest.approx((a - b) / 10)
  assert entry['a_better'] - entry['b_better'] == a - b
  table = (path.parent / 'report.md').read_text()
  assert '| tuned: RR.Top-2 - few_shot: Maj1@5 ' in table


def test_rows_of_one_file_are_compared_without_its_name(tmp_path):
  path = run(
    tmp_path / 'out',
    candidates=scored_file(tmp_path / 'scored.jsonl'),
    compare=('W.RR - RR.All',),
  )
  report = json.loads(path.read_text())
  (entry,) = report['chosen_differences']
  (same,) = [
    each
    for each in report['files']['scored']['differences']
    if {each['a'], each['b']} == {'W.RR', 'RR.All'}
  ]
  assert abs(entry['mean']) == abs(same['mean']) > 0
  assert entry['p_value'] == same['p_value']


@pytest.mark.parametrize(
  'compare, message',
  [
    ('tuned: RR.All', "wanted 'file: row - file: row'"),
    ('tuned: RR.All - other: Maj1@N', r"\('other', 'Maj1@N'\)"),
    ('tuned: RR.All - few_shot: Maj1@64', "has no row 'Maj1@64'"),
  ],
)
def test_a_wrong_comparison_is_an_error(tmp_path, compare, message):
  files = {
    name: scored_file(tmp_path / f'{name}.jsonl')
    for name in ('tuned', 'few_shot')
  }
  with pytest.raises(ValueError, match=message):
    run(tmp_path / 'out', candidates=files, compare=(compare,))


@pytest.mark.slow
def test_files_named_evaluator_on_generator_form_a_grid(tmp_path, capsys):
  files = {
    name: scored_file(tmp_path / f'{seed}.jsonl', seed)
    for seed, name in enumerate(
      ('small on small', 'large on small', 'large on large')
    )
  }
  run(tmp_path / 'out', candidates=files)
  text = capsys.readouterr().out
  assert 'RR.Top-2: evaluators x generators' in text
  text = (tmp_path / 'out' / 'report.md').read_text()
  header, _, baseline, small, large = text.partition(
    '### RR.All: evaluators x generators\n\n'
  )[2].splitlines()[:5]
  assert 'candidates of small | candidates of large' in ' '.join(header.split())
  accuracies = [
    np.mean(
      [
        voting.Rerank()(each).is_correct
        for each in schema.read_candidate_sets(path)
      ]
    )
    for path in files.values()
  ]
  cells = [row.split('|')[2:4] for row in (small, large)]
  assert cells[0][0].split()[0] == f'{100 * accuracies[0]:.1f}'
  assert cells[0][1].strip() == '-'
  assert cells[1][0].split()[0] == f'{100 * accuracies[1]:.1f}'
  assert cells[1][1].split()[0] == f'{100 * accuracies[2]:.1f}'
  assert 'Maj1@N' in baseline
