"""Tests of sweeps: overlays, failed runs, and the comparison of reports."""

import importlib
import json
import os
import pathlib
import subprocess
import sys

import gin
import pytest

from mathft_jax import sweep
from mathft_jax.config import entry_point
from mathft_jax.data import schema
from mathft_jax.dials import dial_problems
from mathft_jax.evaluation import sweep_comparison

REPOSITORY = pathlib.Path(__file__).parent.parent
QUESTIONS = sorted(
  path.name for path in (REPOSITORY / 'gin_configs' / 'sweeps').iterdir()
)
TRAINED = ['programs/rerank_trained.gin', 'models/tiny.gin', 'data/jsonl.gin']
MEASURED = ['programs/measure.gin', 'models/tiny.gin', 'data/jsonl.gin']
STAGES_OF_MTSF = [
  'recipes/paper/mtsf_of_generator.gin',
  'models/tiny.gin',
]
SSFT_OF_PAPER = ['recipes/paper/ssft_math.gin', 'models/tiny.gin']
SETTINGS_OF_STAGES = ('learning_rate', 'steps', 'batch_size')
BASES = [  # (question, program, files), the bases that docs/configs.md names
  ('solution_style', 'recipe', ['recipes/paper/ssft.gin', 'models/tiny.gin']),
  *(
    (question, 'rerank', ['stages/scr_margin.gin', *TRAINED])
    for question in (
      'margin',
      'verifier_loss',
      'examples_per_problem',
      'learning_rate',
    )
  ),
  ('xent_over', 'rerank', ['stages/scr_xent.gin', *TRAINED]),
  ('mle_weight', 'rerank', ['stages/joint.gin', *TRAINED]),
  *(
    (question, 'measure', MEASURED)
    for question in ('num_decodes', 'temperature', 'demonstrations')
  ),
  (
    'granularity',
    'experiments',
    ['recipes/ssft_of_solutions.gin', 'models/tiny.gin', 'data/jsonl.gin'],
  ),
  ('top_clusters', 'evaluate', ['programs/evaluate.gin']),
  ('verifier_loss', 'experiments', STAGES_OF_MTSF),
  *((f'ssft_{name}', 'recipe', SSFT_OF_PAPER) for name in SETTINGS_OF_STAGES),
  *(
    (f'{stage}_{name}', 'experiments', STAGES_OF_MTSF)
    for stage in ('scr', 'ssft_again')
    for name in SETTINGS_OF_STAGES
  ),
]
MACROS = [
  f'--gin.{name}=x'
  for name in (
    'CANDIDATES',
    'TEST_CANDIDATES',
    'CHECKPOINT_PATH',
    'INITIAL_CHECKPOINT_PATH',
  )
] + [f'--gin.DATA_PATH={__file__}']

TOY = '''
"""A program that writes a report, or fails."""
import dataclasses, json, pathlib

def toy(workdir, *, right: int = 1, fails: bool = False):
  folder = pathlib.Path(workdir) / 'report'
  if fails:
    raise ValueError('as asked')
  folder.mkdir(parents=True, exist_ok=True)
  ids = [str(i) for i in range(10)]
  (folder / 'outcomes.jsonl').write_text(''.join(json.dumps(
      {'file': 'f', 'id': i, 'correct': {'Maj1@N': float(int(i) < right)}}) + '\\n' for i in ids))
  row = dict(name='Maj1@N', kind='rule', mean=right / 10, low=0.0, high=1.0, n=10)
  (folder / 'report.json').write_text(json.dumps(
      {'schema': 'mathft_jax.report', 'files': {'f': {'accuracies': [row]}}}))
  return workdir

if __name__ == '__main__':
  from mathft_jax.config import entry_point
  entry_point.run_program(toy)
'''
HEAD = 'from __gin__ import dynamic_registration\nimport toy\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """An empty current folder with the stand-in program and a question of three answers."""
  (tmp_path / 'toy.py').write_text(TOY)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('PYTHONPATH', f'{tmp_path}{os.pathsep}{REPOSITORY}')
  return tmp_path


def question(folder, name='how_many', **answers):
  (folder / name).mkdir()
  for answer, line in answers.items():
    (folder / name / f'{answer}.gin').write_text(HEAD + line + '\n')
  return name


def run(asked, *base, options=()):
  return sweep.main(
    [
      'sweep',
      f'--question={asked}',
      '--workdir=runs',
      *options,
      '--',
      sys.executable,
      '-m',
      'toy',
      *base,
    ]
  )


def test_every_sweep_has_a_base_command():
  assert {question for question, _, _ in BASES} == set(QUESTIONS)


@pytest.mark.parametrize(
  'asked, program, files',
  BASES,
  ids=[f'{question}-{program}' for question, program, _ in BASES],
)
def test_overlays_make_different_configurations(asked, program, files, capsys):
  if 'paper' in files[0]:
    pytest.importorskip('seqio', reason='the extra [data] is not installed')
  function = getattr(importlib.import_module(f'mathft_jax.{program}'), program)
  given = [
    macro
    for macro in MACROS
    if any(f'%{macro[6:].partition("=")[0]}\n' in text(file) for file in files)
  ]
  seen = set()
  for overlay in sweep.find_overlays(asked):
    argv = [
      program,
      *(f'--gin_file={file}' for file in (*files, overlay)),
      *given,
      f'--gin.{program}.{program}.workdir=runs',
      '--dry_run',
    ]
    assert entry_point.main(function, argv) == 0, capsys.readouterr().err
    seen.add(capsys.readouterr().out)
  gin.clear_config()
  assert len(seen) == len(sweep.find_overlays(asked)) > 1


def text(file):
  """A gin file with those it includes."""
  path = REPOSITORY / 'gin_configs' / file
  lines = path.read_text().splitlines()
  inner = [line.split("'")[1] for line in lines if line.startswith('include ')]
  return '\n'.join([*lines, *map(text, inner)])


def test_runs_in_a_bucket_keep_its_address():
  planned = sweep.plan_runs(
    'margin', 'gs://bucket/margin', ['python', '-m', 'mathft_jax.rerank']
  )
  for run_ in planned:
    assert (
      run_.command[-1]
      == f'--gin.rerank.rerank.workdir=gs://bucket/margin/{run_.name}'
    )


def test_runs_are_sequential_and_their_reports_are_compared(folder, capsys):
  asked = question(
    folder, **{'10': 'toy.toy.right = 9', '2': 'toy.toy.right = 2'}
  )
  assert run(asked) == 0
  said = capsys.readouterr()
  assert said.err.index('= 2 (1 of 2)') < said.err.index('= 10 (2 of 2)')
  rows = [
    line for line in said.out.splitlines() if line.startswith(('2 ', '10'))
  ]
  assert ['20.0 [0.0, 100.0]' in rows[0], '90.0 [0.0, 100.0]' in rows[1]] == [
    True,
    True,
  ]
  assert '+70.0 [+40.0, +100.0]' in rows[2]
  found = json.loads((folder / 'runs' / 'comparison.json').read_text())
  assert found['states'] == {'2': 'done', '10': 'done'}
  assert found['reports'][0]['differences']['10']['Maj1@N']['a_better'] == 7
  ids = [str(number) for number in range(2, 9)]
  changes = found['reports'][0]['changes']['10']['Maj1@N']
  assert changes == {'gained': ids, 'lost': []}
  markdown = (folder / 'runs' / 'comparison.md').read_text()
  assert '+70.0 [+40.0, +100.0]' in markdown
  page = (folder / 'runs' / 'comparison.html').read_text()
  assert 'Maj1@N: 7 gained' in page and 'candidates.html' not in page


def test_a_failed_run_does_not_stop_the_others_and_sets_the_exit_status(
  folder, capsys
):
  asked = question(folder, a='toy.toy.fails = True', b='toy.toy.right = 3')
  assert run(asked) == 1
  said = capsys.readouterr()
  assert 'how_many = a: failed with status 1' in said.out
  assert '30.0 [0.0, 100.0]' in said.out
  (folder / asked / 'a.gin').write_text(HEAD + 'toy.toy.right = 4\n')
  assert run(asked) == 0


def test_equal_configurations_are_an_error_before_any_run(folder, capsys):
  asked = question(folder, a='toy.toy.right = 3', b='toy.toy.right = 4')
  assert run(asked, '--gin.toy.toy.right=5') == 2
  assert 'a and b make the same configuration' in capsys.readouterr().err
  assert not (folder / 'runs').exists()


def test_an_invalid_overlay_is_an_error_before_any_run(folder, capsys):
  asked = question(folder, a='toy.toy.right = 3', b='toy.toy.wrong = 4')
  assert run(asked) == 2
  assert "no parameter 'wrong'" in capsys.readouterr().err
  assert not (folder / 'runs').exists()


def test_printed_commands_can_be_run_and_collected(folder, capsys):
  asked = question(folder, a='toy.toy.right = 3', b='toy.toy.right = 4')
  assert run(asked, options=['--print_commands']) == 0
  commands = capsys.readouterr().out.splitlines()
  assert len(commands) == 2 and not (folder / 'runs').exists()
  subprocess.run(commands[1], shell=True, check=True, capture_output=True)
  assert run(asked, options=['--collect']) == 1
  said = capsys.readouterr().out
  assert 'how_many = a: no report' in said and '40.0 [' in said


def test_only_the_sweep_of_process_0_writes_the_comparison(folder, monkeypatch):
  asked = question(folder, a='toy.toy.right = 3')
  assert run(asked) == 0
  made = folder / 'runs' / 'comparison.md'
  made.unlink()
  flags = ['--coordinator_address=localhost:1', '--process_count=2']
  assert (
    run(asked, *flags, '--process_index=1', options=['--collect']) == 0
    and not made.exists()
  )
  assert run(asked, *flags, '--process_index', '1', options=['--collect']) == 0
  assert not made.exists()
  monkeypatch.setenv('SLURM_PROCID', '1')
  assert run(asked, options=['--collect']) == 0 and not made.exists()
  assert (
    run(asked, *flags, '--process_index=0', options=['--collect']) == 0
    and made.exists()
  )


@pytest.mark.parametrize(
  'argv, message',
  [
    (
      ['--question=margins', '--workdir=x', '--', 'mathft_jax.train'],
      'Did you mean margin?',
    ),
    (['--question=margin', '--workdir=x'], 'No base command'),
    (
      ['--question=margin', '--workdir=x', '--', 'train'],
      'mathft_jax.<program>',
    ),
  ],
)
def test_wrong_command_lines_are_errors_with_a_hint(argv, message, capsys):
  assert sweep.main(['sweep', *argv]) == 2
  assert message in capsys.readouterr().err


def test_reports_of_other_problems_have_no_differences(tmp_path):
  for name, ids in (('a', 'xy'), ('b', 'xz')):
    report = tmp_path / name / 'report'
    report.mkdir(parents=True)
    row = dict(name='Maj1@N', kind='rule', mean=0.5, low=0.1, high=0.9, n=2)
    (report / 'report.json').write_text(
      json.dumps(
        {'schema': 'mathft_jax.report', 'files': {'f': {'accuracies': [row]}}}
      )
    )
    schema.write_jsonl(
      report / 'outcomes.jsonl',
      [
        {'file': 'f', 'id': i, 'correct': {'Maj1@N': float(i == 'x')}}
        for i in ids
      ],
    )
  (found,) = sweep_comparison.compare_reports(
    {name: tmp_path / name for name in 'ab'}
  )
  assert set(found.rows) == {'a', 'b'} and not found.differences


@pytest.mark.slow
def test_a_real_evaluator_and_report_are_swept(tmp_path, monkeypatch, capsys):
  problems = dial_problems.DialProblems(
    num_train=1, num_validation=1, num_test=6, turn_range=(1, 2), style='fine'
  )('test')
  wrong = [*problems[1:], problems[0]]
  path = schema.write_jsonl(
    tmp_path / 'graded.jsonl',
    [
      schema.CandidateSet(
        problem,
        (
          schema.Candidate(
            other.solution, answer=other.answer, is_correct=False, cluster=0
          ),
          schema.Candidate(
            problem.solution, answer=problem.answer, is_correct=True, cluster=1
          ),
        ),
      )
      for problem, other in zip(problems, wrong)
    ],
  )
  monkeypatch.setenv('PYTHONPATH', str(REPOSITORY))
  # One device is quicker than eight pretended ones.
  flags = os.environ['XLA_FLAGS']
  monkeypatch.setenv(
    'XLA_FLAGS', f'{flags} --xla_force_host_platform_device_count=1'
  )
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'quantity').mkdir()
  for quantity in ('verdict', 'likelihood'):
    (tmp_path / 'quantity' / f'{quantity}.gin').write_text(
      f'from __gin__ import dynamic_registration\nQUANTITY = {quantity!r}\n'
    )
  weights = REPOSITORY / 'mathft_jax' / 'dials' / 'base_weights.safetensors'
  status = sweep.main(
    [
      'sweep',
      '--question=quantity',
      '--workdir=runs',
      '--',
      sys.executable,
      '-m',
      'mathft_jax.rerank',
      '--gin_file=programs/rerank.gin',
      '--gin_file=models/dials.gin',
      f'--gin.CHECKPOINT_PATH={weights}',
      f'--gin.TEST_CANDIDATES={path}',
      '--gin.SCORE_BATCH_SIZE=8',
    ]
  )
  assert status == 0, capsys.readouterr().err
  rows = json.loads((tmp_path / 'runs' / 'comparison.json').read_text())[
    'reports'
  ][0]['rows']
  assert list(rows) == ['likelihood', 'verdict']
  assert rows['verdict']['Maj1@N']['mean'] == 0.0
  # A base that solves small turns.
  assert rows['likelihood']['RR.All']['mean'] == 1.0
