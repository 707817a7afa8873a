"""Pages of reports in headless Chromium: filters, keys, marks, hostile text, no console errors.

Without Chromium the tests are skipped. Screenshots are written to the folder that the environment
variable MATHFT_SCREENSHOTS names, else to a temporary one.
"""

import dataclasses
import json
import os
import pathlib
import time
from unittest import mock

import numpy as np
import pytest

from benchmarks import headless_chromium
from mathft_jax import compare, evaluate
from mathft_jax.data import schema
from mathft_jax.evaluation import evaluated_file, rule_results, voting
from mathft_jax.evaluation.report import candidate_pages
from mathft_jax.monitoring import run_page
from tests.evaluation.candidates import no_plots

pytestmark = pytest.mark.skipif(
  headless_chromium.find_chromium() is None,
  reason='no Chromium found (Debian: apt-get install chromium)',
)
READY = 'document.body.dataset.ready === "true"'
RULES = voting.paper_rules(2, 2)
QUICK = {'resamples': 50, 'draws': 2, 'print_tables': False}
ATTACK = 'window.attacked = 1'
HOSTILE = [
  f'<script>{ATTACK}</script>',
  f'<img src=x onerror="{ATTACK}">',
  f'</script><script>{ATTACK}</script>',
  f'"><svg onload="{ATTACK}">',
  f'$\\href{{javascript:{ATTACK}}}{{x}}$ $\\includegraphics{{http://127.0.0.1:9/x.png}}$',
  f'$\\htmlStyle{{color:red}}{{x}}$ $\\url{{javascript:{ATTACK}}}$',
  '$\\def\\a{\\a\\a}\\a$ and $' + '{' * 3000,
  '\u202etxt\x1b[31m\x00 \u2028 ${x}',
  '__proto__',
]


def problem_set(number, answers, scores, **fields):
  """A graded problem whose candidates state these answers; None is none."""
  names = [answer for answer in dict.fromkeys(answers) if answer]
  candidates = []
  for answer, score in zip(answers, scores):
    text = f'So ${number}^2$ is odd. The answer is \\boxed{{{answer}}}.'
    if answer is None:
      text = 'I do not know'
    candidates.append(
      schema.Candidate(
        text,
        answer=answer,
        how=answer and 'box',
        is_correct=answer == '7',
        cluster=names.index(answer) if answer else None,
        score=score,
        log_prob=score - 1,
        finished=answer is not None,
      )
    )
  problem = schema.Problem(
    f'p{number}', f'What is $x_{number}$?', 'It is 7.', '7', **fields
  )
  return schema.CandidateSet(problem, tuple(candidates))


def sets_of_report():
  """Majority right, majority wrong and scores right, nothing right, and no answers."""
  kinds = [
    (('7', '7', '8'), (0.9, 0.8, 0.1)),
    (('8', '8', '7'), (0.1, 0.2, 0.9)),
    (('8', '9', '8'), (0.5, 0.5, 0.5)),
    (('7', None, None), (0.5, 0.1, 0.1)),
  ]
  sets = []
  for number in range(24):
    answers, scores = kinds[number % 4]
    subject = 'Algebra' if number < 12 else 'Geometry'
    sets.append(
      problem_set(
        number, answers, scores, subject=subject, level=f'Level {number % 3}'
      )
    )
  return sets


@pytest.fixture(scope='module')
def browser():
  with headless_chromium.Browser() as running:
    yield running


@pytest.fixture(scope='module')
def screenshots(tmp_path_factory):
  named = os.environ.get('MATHFT_SCREENSHOTS')
  return pathlib.Path(named or tmp_path_factory.mktemp('screenshots'))


@pytest.fixture(scope='module')
def report(tmp_path_factory):
  """Folder of a report on scored candidates."""
  folder = tmp_path_factory.mktemp('run') / 'report'
  path = schema.write_jsonl(folder.parent / 'scored.jsonl', sets_of_report())
  evaluate.evaluate(folder, candidates=path, rules=RULES, **QUICK)
  return folder


def address(folder, name='candidates.html', **state):
  query = '&'.join(f'{name}={value}' for name, value in state.items())
  return f'file://{folder}/{name}' + (f'#{query}' if query else '')


def ids_of(page):
  """Ids of the problems that pass the filters."""
  return page.evaluate('shown.map((problem) => problem.id)')


def numbers(kind):
  return [f'p{number}' for number in range(24) if number % 4 == kind]


def test_the_report_page_shows_its_plots_and_loads_without_errors(
  browser, report, screenshots
):
  page = browser.open(address(report, 'report.html'))
  loaded = page.evaluate('[...document.images].map((i) => i.naturalWidth > 99)')
  assert len(loaded) == 7 and all(loaded)
  # Headline and main table are on the first screen.
  assert page.evaluate(
    'document.querySelector("table").getBoundingClientRect().top < 600'
  )
  assert page.problems == []
  page.screenshot(screenshots / 'report.png')


def test_links_of_the_report_open_the_problems_that_they_count(browser, report):
  page = browser.open(address(report, 'report.html'))
  links = page.evaluate(
    '[...document.querySelectorAll("td a")].map((a) => [a.href, a.textContent])'
  )
  assert len(links) > 4
  for link, count in links[:6]:
    opened = browser.open(link, READY)
    assert len(ids_of(opened)) == int(count)


@pytest.mark.parametrize(
  'state, wanted',
  [
    ({}, [f'p{number}' for number in range(24)]),
    (
      {'better': 'scored: W.RR', 'than': 'scored: Maj1@N'},
      numbers(1),
    ),
    ({'than': 'scored: Pass@N'}, numbers(2)),
    ({'which': 'some candidate cut at the length limit'}, numbers(3)),
    ({'which': 'right and wrong candidates', 'subject': 'Geometry'}, None),
    ({'level': 'Level 1', 'q': 'p1'}, ['p1', 'p10', 'p13', 'p16', 'p19']),
    ({'q': 'X_23'}, ['p23']),
  ],
)
def test_filters_of_the_address(browser, report, state, wanted):
  page = browser.open(address(report, **state), READY)
  if wanted is None:
    wanted = [f'p{number}' for number in range(12, 24) if number % 4 != 2]
  assert ids_of(page) == wanted
  assert page.problems == []


def test_keys_and_controls(browser, report, screenshots):
  page = browser.open(address(report), READY)
  current = 'document.querySelector("#problem h2")?.textContent'
  page.wait_until(f'{current} === "p0"')
  for key, id_ in (('j', 'p1'), ('ArrowDown', 'p2'), ('k', 'p1')):
    page.press(key)
    page.wait_until(f'{current} === "{id_}"')
  # Formulas are rendered, and the answer is marked where the grader found it.
  opened = 'document.querySelector(".candidate[open] .body")'
  assert page.evaluate(f'{opened}.querySelectorAll(".katex").length') >= 2
  mark = f'getComputedStyle({opened}.querySelector(".found .fbox"))'
  # KaTeX draws the frame over its content.
  assert page.evaluate(f'{mark}.backgroundColor') == 'rgb(255, 226, 122)'
  assert page.evaluate(f'{mark}.mixBlendMode') == 'multiply'
  page.screenshot(screenshots / 'candidates.png')
  page.press('s')
  page.wait_until(f'{opened}?.querySelector("mark")?.textContent === "8"')
  page.press('o')
  assert (
    page.evaluate('document.querySelectorAll(".candidate[open]").length') == 3
  )
  page.press('/')
  assert page.evaluate('document.activeElement.id') == 'q'
  # Controls change the address, so a reload keeps them.
  page.evaluate(
    'document.getElementById("level").value = "Level 2";'
    'document.getElementById("level").dispatchEvent(new Event("input"))'
  )
  assert len(ids_of(page)) == 8
  assert 'level=Level+2' in page.evaluate('location.hash')
  assert page.problems == []


def test_a_problem_shows_clusters_scores_and_the_choice_of_each_rule(
  browser, report
):
  page = browser.open(address(report, problem='p1'), READY)
  page.wait_until('document.querySelectorAll(".cluster").length === 2')
  clusters = page.evaluate(
    '[...document.querySelectorAll(".cluster > summary")].map((s) => s.textContent)'
  )
  assert clusters[0].startswith('2 of 3') and 'wrong' in clusters[0]
  assert clusters[1].startswith('1 of 3') and 'sum 0.900' in clusters[1]
  rules = page.evaluate(
    '[...document.querySelectorAll(".rules tbody tr")].map((r) => '
    '[...r.cells].map((c) => c.textContent))'
  )
  by_name = {name: rest for name, *rest in rules}
  assert by_name['Maj1@N'][1:] == ['✗ wrong', '8', 'candidate 0']
  assert by_name['W.RR'][1:] == ['✓ right', '7', 'candidate 2']
  by_log_prob = by_name['RR.All by log-prob']
  assert by_log_prob[1:] == ['✓ right', '7', 'candidate 2']


def test_hostile_text_executes_nothing_and_is_shown(browser, tmp_path):
  candidates = []
  for number, text in enumerate(HOSTILE):
    candidates.append(
      schema.Candidate(
        f'{text} {text}',
        answer=text,
        how='phrase',
        is_correct=False,
        cluster=number,
      )
    )
  sets = []
  for number, text in enumerate(HOSTILE):
    few = candidates if number == 0 else candidates[:1]
    problem = schema.Problem(f'{number} {text}', text, text, text, subject=text)
    sets.append(schema.CandidateSet(problem, tuple(few)))
  path = schema.write_jsonl(tmp_path / 'graded.jsonl', sets)
  files = {HOSTILE[0]: path, HOSTILE[3]: path}
  evaluate.evaluate(
    tmp_path / 'a', candidates=files, rules=RULES[:1], title=HOSTILE[2], **QUICK
  )
  compare.compare(
    tmp_path / 'both',
    reports={HOSTILE[1]: tmp_path / 'a', HOSTILE[8]: tmp_path / 'a'},
  )
  for name in ('a/report.html', 'both/comparison.html'):
    page = browser.open(f'file://{tmp_path}/{name}')
    assert page.problems == [] and page.evaluate('window.attacked') is None
    assert (
      HOSTILE[2] in page.evaluate('document.body.textContent') or 'both' in name
    )
  for name in ('a', 'both'):
    page = browser.open(f'file://{tmp_path}/{name}/candidates.html', READY)
    for index in range(len(sets)):
      page.evaluate(f'select({index}).then(openAll)')
      # Every candidate is rendered and its source shown, too.
      page.evaluate('toggleSource()')
    assert page.problems == [] and page.evaluate('window.attacked') is None
    assert (
      page.evaluate(
        'document.querySelectorAll("#problem script, #problem img").length'
      )
      == 0
    )
    links = page.evaluate(
      'document.querySelectorAll("#problem a[href]").length'
    )
    assert links == 0


def test_curves_of_a_run_with_hostile_names_execute_nothing(browser, tmp_path):
  rows = [
    {'step': step, 'split': HOSTILE[1], HOSTILE[3]: 1.0 / step, 'loss': 0.5}
    for step in range(1, 9)
  ]
  page_path = tmp_path / 'curves.html'
  page_path.write_text(run_page.render_run_page(HOSTILE[0], rows))
  page = browser.open(f'file://{page_path}')
  assert page.problems == [] and page.evaluate('window.attacked') is None
  assert page.evaluate('document.querySelectorAll("polyline").length') == 2
  assert page.evaluate('document.querySelector("h1").textContent') == HOSTILE[0]


def test_runs_are_compared_in_one_page_with_one_browser(
  browser, tmp_path, screenshots
):
  sets = sets_of_report()
  shorter = [
    dataclasses.replace(each, candidates=each.candidates[1:]) for each in sets
  ]
  for run, given in (('all', sets), ('last two', shorter)):
    path = schema.write_jsonl(tmp_path / f'{run}.jsonl', given)
    with mock.patch.object(evaluate.rendering, 'render_plots', no_plots):
      evaluate.evaluate(tmp_path / run, candidates=path, rules=RULES, **QUICK)
  folders = {run: tmp_path / run for run in ('all', 'last two')}
  compare.compare(tmp_path / 'both', reports=folders)
  page = browser.open(address(tmp_path / 'both', 'comparison.html'))
  page.screenshot(screenshots / 'comparison.png')
  links = page.evaluate(
    '[...document.querySelectorAll("td a")].map((a) => a.href)'
  )
  assert page.problems == []
  (lost,) = [each for each in links if 'better=all%3A+Pass%40N' in each]
  opened = browser.open(lost, READY)
  assert ids_of(opened) == numbers(3)
  assert opened.evaluate('document.querySelectorAll(".tab").length') == 2
  record = json.loads((tmp_path / 'both' / 'comparison.json').read_text())
  changes = record['reports'][0]['changes']['last two']['Pass@N']
  assert changes == {'gained': [], 'lost': numbers(3)}
  assert opened.problems == []


@pytest.mark.parametrize(
  'name, ready', [('report.html', 'true'), ('candidates.html', READY)]
)
def test_pages_fit_a_narrow_screen(browser, report, screenshots, name, ready):
  page = browser.open(address(report, name), ready)
  page.resize(400, 800)
  if name == 'candidates.html':
    page.wait_until('document.querySelectorAll(".cluster").length > 0')
    page.evaluate('openAll()')
  page.screenshot(screenshots / f'narrow_{name}.png')
  # Nothing but the boxes of tables and formulas is wider than the screen.
  assert page.evaluate('document.documentElement.scrollWidth') <= 400
  box = '.table' if name == 'report.html' else '.rules-box'
  widths = page.evaluate(
    f'[...document.querySelectorAll("{box}")].map((b) => [b.clientWidth, b.scrollWidth])'
  )
  assert widths and all(visible <= 400 for visible, _ in widths)
  assert any(whole > visible for visible, whole in widths)
  if name == 'report.html':
    path = page.evaluate('document.querySelector(".facts dd").title')
    assert path == '../scored.jsonl'
  assert page.problems == []


def test_curves_fit_a_narrow_screen(browser, tmp_path):
  rows = [{'step': step, 'loss': 1 / step} for step in range(1, 9)]
  path = tmp_path / 'curves.html'
  path.write_text(run_page.render_run_page('/long/path' * 20, rows))
  page = browser.open(f'file://{path}')
  page.resize(360, 800)
  assert page.evaluate('document.documentElement.scrollWidth') <= 360


@pytest.mark.slow
def test_1319_problems_with_64_candidates_open_within_three_seconds(
  browser, tmp_path
):
  text = 'We have $x = \\frac{1}{2}$ and $y^2 = 3$, so $x + y = 4$. ' * 6
  sets = []
  rng = np.random.default_rng(0)
  for number in range(1319):
    answers = [str(answer) for answer in rng.integers(7, 12, 64)]
    unit = problem_set(number, answers, rng.random(64).tolist())
    long = [
      dataclasses.replace(each, solution=f'{text}{each.solution}')
      for each in unit.candidates
    ]
    sets.append(dataclasses.replace(unit, candidates=tuple(long)))
  results, notes = rule_results.evaluate_rules(sets, RULES)
  file = evaluated_file.EvaluatedFile(tuple(sets), tuple(results), tuple(notes))
  candidate_pages.write_candidate_pages(
    tmp_path, 'large', {'scored': file}, RULES, lambda *_: []
  )
  start = time.monotonic()
  page = browser.open(
    address(tmp_path),
    f'{READY} && document.querySelector(".candidate[open] .body") !== null',
  )
  seconds = time.monotonic() - start
  assert seconds < 3
  assert len(ids_of(page)) == 1319
  print(f'opened in {seconds:.2f} s')
