"""Tests of accuracy against mean N in a report."""

from mathft_jax.data.schema import Candidate, CandidateSet, Problem
from mathft_jax.evaluation.report import adaptive_samples, plots


def candidate_set(name, clusters):
  candidates = []
  for cluster in clusters:
    candidates.append(
      Candidate(str(cluster), cluster=cluster, is_correct=cluster == 0)
    )
  return CandidateSet(Problem(id=name, question='?'), tuple(candidates))


AGREED = candidate_set('agreed', [0] * 8)
SPLIT = candidate_set('split', [1, 0, 1, 0, 0, 1, 0, 0])


def test_a_decided_vote_needs_fewer_candidates():
  entries = adaptive_samples.simulate_adaptive([AGREED, SPLIT])
  means = [entry['mean_candidates'] for entry in entries]
  assert [entry['confidence'] for entry in entries][-2:] == [0.99, 1.0]
  assert means == sorted(means) and means[-1] == 8
  assert entries[3]['mean_candidates'] == 6.0  # (4 + 8) / 2 at 0.95
  assert entries[-1]['difference']['mean'] == 0
  assert entries[-1]['stopped_share'] == 0


def test_the_table_and_the_plot_have_a_row_for_each_bound():
  section = {'adaptive': adaptive_samples.simulate_adaptive([AGREED, SPLIT])}
  (table,) = adaptive_samples.make_adaptive_tables(section)
  names = [row[0] for row in table.rows]
  assert names == ['0.3', '0.2', '0.1', '0.05', '0.01', 'all N']
  assert table.rows[-1][1] == '8.0'
  assert b'all N' in plots.plot_adaptive(section, 0.95)


def test_one_candidate_a_problem_has_no_curve():
  assert adaptive_samples.simulate_adaptive([candidate_set('one', [0])]) == []
  assert adaptive_samples.make_adaptive_tables({'adaptive': []}) == []
  assert plots.plot_adaptive({'adaptive': []}, 0.95) == b''
