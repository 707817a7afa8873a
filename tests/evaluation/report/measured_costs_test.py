"""Tests of measured cost in reports, and of the table of stages."""

import json

import pytest

from mathft_jax.evaluation.report import measured_costs, stage_cost_table
from mathft_jax.monitoring.stage_cost import StageCost


def estimate(mean):
  return {'mean': mean, 'low': mean, 'high': mean, 'n': 10}


@pytest.fixture
def section():
  curve = {'mean': [0.2, 0.3, 0.5]}
  return {
    'statistics': {'problems': 10},
    'curves': {'k': [1, 2, 4], 'rules': {'Maj1@N': curve, 'W.RR': curve}},
    'top_clusters': [
      {
        'top_clusters': 1,
        'share': 0.25,
        'RR.Top-K': estimate(0.5),
        'W.RR.Top-K': None,
      },
      {
        'top_clusters': 2,
        'share': 0.5,
        'RR.Top-K': estimate(0.6),
        'W.RR.Top-K': None,
      },
    ],
  }


SAMPLE = StageCost(
  program='sample',
  seconds=50,
  compile_seconds=10,
  num_devices=1,
  device_kind='cpu',
)
SCORE = StageCost(program='score', seconds=8)


def test_seconds_scale_with_samples_and_scored_candidates(section):
  cost = measured_costs.describe_cost(
    {'score': SCORE, 'sample': SAMPLE}, section
  )
  assert cost['by_k'] == [
    {'k': 1, 'sampling_s': 1.0, 'scoring_s': 0.2},
    {'k': 2, 'sampling_s': 2.0, 'scoring_s': 0.4},
    {'k': 4, 'sampling_s': 4.0, 'scoring_s': 0.8},
  ]
  assert cost['by_top_clusters'] == [
    {'top_clusters': 1, 'sampling_s': 4.0, 'scoring_s': 0.4},
    {'top_clusters': 2, 'sampling_s': 4.0, 'scoring_s': 0.8},
  ]


def test_the_table_is_sorted_by_seconds(section):
  section['cost'] = measured_costs.describe_cost(
    {'score': SCORE, 'sample': SAMPLE}, section
  )
  (table,) = measured_costs.make_cost_tables(section)
  assert table.rows == (
    ('Maj1@k, k = 1', '1', '20.0'),
    ('W.RR, k = 1', '1.2', '20.0'),
    ('Maj1@k, k = 2', '2', '30.0'),
    ('W.RR, k = 2', '2.4', '30.0'),
    ('Maj1@k, k = 4', '4', '50.0'),
    ('RR.Top-K, K = 1', '4.4', '50.0'),
    ('RR.Top-K, K = 2', '4.8', '60.0'),
    ('W.RR, k = 4', '4.8', '50.0'),
  )
  assert 'sample 50.0 s (10.0 s compilation) on 1 x cpu' in table.note


def test_without_the_cost_of_sampling_there_is_no_table(section):
  section['cost'] = measured_costs.describe_cost({'score': SCORE}, section)
  assert measured_costs.make_cost_tables(section) == []


def test_the_table_of_stages_has_a_sum(tmp_path, capsys):
  for name, seconds in (('ssft', 10.0), ('test/graded', 2.5)):
    (tmp_path / name).mkdir(parents=True)
    cost = {'program': name[:5], 'seconds': seconds, 'tokens_in': 1200}
    (tmp_path / name / 'cost.json').write_text(json.dumps(cost))
  stage_cost_table.write_stage_table(tmp_path)
  assert 'Cost of each stage' in capsys.readouterr().out
  (table,) = json.loads((tmp_path / 'costs.json').read_text())
  assert [row[0] for row in table['rows']] == ['ssft', 'test/graded', 'sum']
  assert table['rows'][-1][2] == '12.5'
  assert table['rows'][-1][5] == '2,400'
  assert (tmp_path / 'costs.md').exists()


def test_a_run_without_costs_has_no_table(tmp_path):
  stage_cost_table.write_stage_table(tmp_path)
  assert not list(tmp_path.iterdir())
