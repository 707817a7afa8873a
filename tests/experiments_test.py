"""Tests of experiments: inputs of declared stages, seeds, and tables over reports."""

import dataclasses
import json

import pytest

from mathft_jax import experiments
from mathft_jax.data import schema
from mathft_jax.evaluation.report.experiment_tables import (
  AUC_COLUMN,
  Experiment,
)


@dataclasses.dataclass(frozen=True)
class Verdicts:
  """Stands in for examples of graded candidates."""

  candidates: str


@dataclasses.dataclass(frozen=True)
class Mixed:
  """Stands in for a mixture of examples."""

  examples: tuple


def recorder(calls, name='output'):
  """A program with a seed that records its inputs and writes one file."""

  def program(workdir, *, seed, **inputs):
    path = workdir / name
    if not path.exists():
      workdir.mkdir(parents=True)
      path.write_text('')
      calls.append((workdir.name, seed, inputs))
    return path

  return program


def test_names_of_stages_stand_for_outputs_and_files(tmp_path):
  calls = []
  program = recorder(calls)
  stages = {
    'first': (program, {}),
    'second': (program, {'init_from': 'first'}),
    'third': (program, {'candidates': 'second/graded/graded.jsonl'}),
    'fourth': (
      program,
      {'examples': Mixed((Verdicts('second'), Mixed((Verdicts('first'),))))},
    ),
  }
  for _ in range(2):  # the second time, all stages are complete
    experiments.experiments(tmp_path, stages=stages, seeds=(5,))
  first, second = tmp_path / 'first/output', tmp_path / 'second/output'
  assert calls == [
    ('first', 5, {}),
    ('second', 5, {'init_from': first}),
    ('third', 5, {'candidates': tmp_path / 'second/graded/graded.jsonl'}),
    (
      'fourth',
      5,
      {
        'examples': Mixed(
          (Verdicts(str(second)), Mixed((Verdicts(str(first)),)))
        )
      },
    ),
  ]


def test_a_program_without_a_seed_gets_none(tmp_path):
  def grade(workdir):
    return workdir / 'graded'

  path = experiments.experiments(tmp_path, stages={'grade': (grade, {})})
  assert path == tmp_path


@pytest.mark.parametrize(
  'inputs',
  [
    {'init_from': 'later'},
    {'init_from': 'frist/file'},
    {'examples': Mixed((Verdicts('later'),))},
  ],
)
def test_an_input_must_name_an_earlier_stage(tmp_path, inputs):
  calls = []
  stages = {
    'first': (recorder(calls), {}),
    'second': (recorder(calls), inputs),
    'later': (recorder(calls), {}),
  }
  with pytest.raises(ValueError, match=r"'second'.*no earlier stage.*'first'"):
    experiments.experiments(tmp_path, stages=stages)
  assert not calls


@pytest.mark.parametrize(
  'rows, label, message',
  [
    ({'A': 'missing'}, 'A', "of stage 'missing'"),
    ({'A': 'a'}, 'B', "names the row 'B'"),
  ],
)
def test_a_wrong_table_is_an_error_before_any_stage(
  tmp_path, rows, label, message
):
  calls = []
  experiment = Experiment(
    rows=rows,
    columns=('Maj1@N',),
    differences=((label, 'Maj1@N', 'A', 'Maj1@N'),),
  )
  with pytest.raises(ValueError, match=message):
    experiments.experiments(
      tmp_path,
      stages={'a': (recorder(calls), {})},
      tables_by_title={'T': experiment},
    )
  assert not calls


def reporting(correct_by_rule, auc=None, num_problems=10):
  """A program that writes a report; of each rule the first problems are solved, plus the seed."""

  def program(workdir, *, seed):
    folder = workdir / 'report'
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(num_problems):
      solved = {}
      for rule, count in correct_by_rule.items():
        solved[rule] = float(index < count + seed)
      records.append({'file': 'graded', 'id': str(index), 'correct': solved})
    schema.write_jsonl(folder / 'outcomes.jsonl', records)
    within = auc and {'mean': auc, 'low': 0.5, 'high': 1.0, 'n': 8}
    section = {'auc': {'score': within and {'within': within}}}
    path = folder / 'report.json'
    path.write_text(json.dumps({'files': {'graded': section}}))
    return path

  return program


def row(text, *starts):
  """The cells of the only line whose first cells are the given ones."""
  lines = []
  for line in text.splitlines():
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    if tuple(cells[: len(starts)]) == starts:
      lines.append(cells[len(starts) :])
  assert len(lines) == 1, (starts, lines)
  return lines[0]


def test_tables_have_a_column_per_seed_and_paired_differences(tmp_path):
  experiment = Experiment(
    rows={'plain': 'vote', 'scored': 'rerank'},
    columns=('Maj1@N', 'RR.All', AUC_COLUMN),
    differences=(
      ('scored', 'RR.All', 'plain', 'Maj1@N'),
      ('scored', 'W.RR', 'plain', 'Maj1@N'),
      ('plain', 'Maj1@N', 'scored', 'Maj1@N'),
    ),
    note='What was trained.',
  )
  path = experiments.experiments(
    tmp_path,
    stages={
      'vote': (reporting({'Maj1@N': 2}), {}),
      'rerank': (
        reporting({'Maj1@N': 2, 'RR.All': 9, 'W.RR': 8}, auc=0.9),
        {},
      ),
    },
    tables_by_title={'Re-ranking': experiment},
    seeds=(0, 1),
  )
  assert (tmp_path / 'seed_1' / 'rerank' / 'report' / 'report.json').exists()
  text = path.read_text()
  assert 'What was trained.' in text
  first, second, mean = row(text, 'plain', 'Maj1@N')
  assert first.startswith('20.0 [') and second.startswith('30.0 [')
  assert mean == '25.0'
  assert row(text, 'scored', AUC_COLUMN)[0] == '90.0 [50.0, 100.0]'
  assert '| plain' in text and 'plain | RR.All' not in text
  # McNemar's p is 2 / 2**7; the largest of three is multiplied by 3 (Holm).
  first, _, *rest = row(text, 'scored: RR.All - plain: Maj1@N')
  assert first.startswith('+70.0 [+40.0, +100.0]')
  assert rest == ['+70.0', '0.047, 0.047', '2 of 2', '0 of 2']
  # 2 / 2**6, multiplied by 2: the interval alone excludes zero.
  first, _, *rest = row(text, 'scored: W.RR - plain: Maj1@N')
  assert first.startswith('+60.0 [+30.0, +90.0]')
  assert rest == ['+60.0', '0.062, 0.062', '0 of 2', '0 of 2']
  cells = row(text, 'Maj1@N: plain - scored')
  assert cells[2:] == ['+0.0', '1.000, 1.000', '0 of 2', '0 of 2']


def test_a_difference_of_a_row_that_a_report_lacks_names_its_rows(tmp_path):
  experiment = Experiment(
    rows={'plain': 'vote'},
    columns=('Maj1@N',),
    differences=(('plain', 'RR.All', 'plain', 'Maj1@N'),),
  )
  with pytest.raises(ValueError, match=r"no row 'RR.All'; its rows.*'Maj1@N'"):
    experiments.experiments(
      tmp_path,
      stages={'vote': (reporting({'Maj1@N': 2}), {})},
      tables_by_title={'T': experiment},
    )


def test_reports_about_other_problems_are_not_compared(tmp_path):
  experiment = Experiment(
    rows={'a': 'a', 'b': 'b'},
    columns=('Maj1@N',),
    differences=(('a', 'Maj1@N', 'b', 'Maj1@N'),),
  )
  with pytest.raises(ValueError, match='different problems'):
    experiments.experiments(
      tmp_path,
      stages={
        'a': (reporting({'Maj1@N': 2}), {}),
        'b': (reporting({'Maj1@N': 2}, num_problems=9), {}),
      },
      tables_by_title={'T': experiment},
    )
