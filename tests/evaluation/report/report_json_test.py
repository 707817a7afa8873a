"""The numbers of one file of a report, and the differences between files."""

import numpy as np
import pytest

from mathft_jax.data import schema
from mathft_jax.evaluation import evaluated_file, statistics, voting
from mathft_jax.evaluation.report import report_json
from tests.evaluation.candidates import CORRECT, candidate_set

FEW = report_json.ReportSettings(resamples=200, draws=20)
RULES = voting.paper_rules(2, 2)


def write(path, sets):
  return schema.write_jsonl(path, sets)


def some_sets(seed=0, problems=20, candidates=6):
  rng = np.random.default_rng(seed)
  return [
    candidate_set(
      [
        (str(rng.choice([CORRECT, 'a', 'b'])), float(rng.random()), -1.0)
        for _ in range(candidates)
      ],
      f'p{i}',
      subject='AB'[i % 2],
      level=f'Level {i % 11}',
    )
    for i in range(problems)
  ]


def evaluated(tmp_path, sets, name='scored'):
  return evaluated_file.evaluate_file(
    write(tmp_path / f'{name}.jsonl', sets), RULES
  )


def test_accuracies_are_those_of_the_rules_with_their_intervals(tmp_path):
  sets = some_sets()
  section = report_json.make_file_section(evaluated(tmp_path, sets), RULES, FEW)
  rows = {row['name']: row for row in section['accuracies']}
  for rule in RULES:
    values = [
      bool((choice := rule(each)) and choice.is_correct) for each in sets
    ]
    low, high = statistics.wilson_interval(np.mean(values), 20)
    found = rows[rule.name]
    assert (found['mean'], found['low'], found['high']) == pytest.approx(
      (np.mean(values), low, high), rel=1e-5
    )
    assert found['n'] == 20


def test_groups_partition_the_problems_in_natural_order(tmp_path):
  section = report_json.make_file_section(
    evaluated(tmp_path, some_sets()), RULES, FEW
  )
  assert list(section['by_level']) == [f'Level {i}' for i in range(11)]
  for groups in (section['by_level'], section['by_subject']):
    total = sum(rows[1]['mean'] * rows[1]['n'] for rows in groups.values())
    assert total == pytest.approx(
      section['accuracies'][1]['mean'] * 20, abs=1e-3
    )


def test_levels_may_be_numbers_and_missing(tmp_path):
  sets = [
    candidate_set([(CORRECT, 0.5)], f'p{level}', level=level)
    for level in (10, 2, '')
  ]
  section = report_json.make_file_section(evaluated(tmp_path, sets), RULES, FEW)
  assert list(section['by_level']) == ['2', '10', 'unknown']


def test_files_without_subject_and_level_have_no_groups(tmp_path):
  section = report_json.make_file_section(
    evaluated(tmp_path, [candidate_set([(CORRECT, 0.5)])]), RULES, FEW
  )
  assert section['by_level'] == {} and section['by_subject'] == {}


def test_every_pair_of_rows_but_ceilings_is_tested_the_baseline_first(tmp_path):
  section = report_json.make_file_section(
    evaluated(tmp_path, some_sets()), RULES, FEW
  )
  names = [
    row['name'] for row in section['accuracies'] if row['kind'] != 'ceiling'
  ]
  pairs = [(row['a'], row['b']) for row in section['differences']]
  assert (
    len(set(map(frozenset, pairs)))
    == len(pairs)
    == len(names) * (len(names) - 1) // 2
  )
  assert all(b == 'Maj1@N' for _, b in pairs[: len(names) - 1])


def test_an_unknown_baseline_is_noted(tmp_path):
  section = report_json.make_file_section(
    evaluated(tmp_path, some_sets()),
    RULES,
    report_json.ReportSettings(baseline='Maj1', resamples=10, draws=2),
  )
  assert any("No row is called 'Maj1'" in note for note in section['notes'])


def test_curves_end_near_the_rules_and_start_at_one_sample(tmp_path):
  section = report_json.make_file_section(
    evaluated(tmp_path, some_sets()), RULES, FEW
  )
  curves, rows = (
    section['curves'],
    {row['name']: row for row in section['accuracies']},
  )
  assert curves['k'] == [1, 2, 4, 6] and list(curves['rules']) == [
    rule.name for rule in RULES
  ]
  assert curves['rules']['RR.All']['mean'][-1] == pytest.approx(
    rows['RR.All']['mean']
  )
  assert curves['rules']['Pass@N']['mean'][0] == pytest.approx(
    section['accuracies'][0]['mean']
  )


def test_custom_rules_are_in_every_table_except_the_curves(tmp_path):
  def last_sampled(unit):
    return unit.candidates[-1]

  rules = (*RULES, last_sampled)
  path = write(tmp_path / 'file.jsonl', some_sets())
  section = report_json.make_file_section(
    evaluated_file.evaluate_file(path, rules), rules, FEW
  )
  assert any(row['name'] == 'last_sampled' for row in section['accuracies'])
  assert any('No curve of last_sampled' in note for note in section['notes'])


def test_scores_outside_the_unit_interval_are_noted(tmp_path):
  section = report_json.make_file_section(
    evaluated(tmp_path, [candidate_set([(CORRECT, -3.5)])]), RULES, FEW
  )
  assert any('not in [0, 1]' in note for note in section['notes'])


def test_files_are_compared_on_the_problems_of_both_whatever_their_order(
  tmp_path,
):
  sets = some_sets()
  whole, part = (
    evaluated(tmp_path, sets),
    evaluated(tmp_path, sets[::-1][:15], 'part'),
  )
  rows = report_json.compare_files({'whole': whole, 'part': part}, FEW)
  assert {row['row'] for row in rows} == set(whole.values())
  for row in rows:
    assert (row['a'], row['b'], row['n'], row['mean']) == (
      'part',
      'whole',
      15,
      0.0,
    )


def test_files_without_a_common_problem_are_not_compared(tmp_path):
  one = evaluated(tmp_path, some_sets())
  other = evaluated(tmp_path, [candidate_set([('a', 0.5)], 'x')], 'other')
  assert report_json.compare_files({'one': one, 'other': other}, FEW) == []
