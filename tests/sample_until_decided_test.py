"""Tests of adaptive N: rounds of samples until the vote of each problem is decided."""

import functools

import pytest

from mathft_jax import sample_until_decided as program
from mathft_jax.data import schema
from mathft_jax.data.schema import Candidate, CandidateSet, Problem
from mathft_jax.evaluation.stopping_rules import BetaStoppingRule
from mathft_jax.monitoring.stage_cost import StageCost, StageMeter, read_cost

ANSWERS = {
  'agreed': 'aaaaaaaaaaaaaaaa',
  'late': 'abbaaaaaaaaaaaaa',
  'split': 'abababababababab',
}
PROBLEMS = [Problem(id=name, question='?') for name in ANSWERS]


@pytest.fixture
def rounds():
  """(first sample, number of candidates, problems) of each call of the stand-in of `sample`."""
  return []


def stand_in_sample(
  rounds, workdir, *, problems, num_decodes, first_sample, **_
):
  path = workdir / 'candidates.jsonl'
  with StageMeter(workdir, 'sample') as meter:
    meter.add(tokens_out=num_decodes * len(problems))
  rounds.append((first_sample, num_decodes, [p.id for p in problems]))
  sets = []
  for problem in problems:
    answers = ANSWERS[problem.id][first_sample : first_sample + num_decodes]
    sets.append(CandidateSet(problem, tuple(map(Candidate, answers))))
  schema.write_jsonl(path, sets)
  return path


def stand_in_grade(workdir, *, candidates):
  graded = []
  for each in schema.read_candidate_sets(candidates):
    labelled = []
    for candidate in each.candidates:
      cluster = 'ab'.index(candidate.solution)
      labelled.append(Candidate(candidate.solution, cluster=cluster))
    graded.append(CandidateSet(each.problem, tuple(labelled)))
  workdir.mkdir(parents=True, exist_ok=True)
  schema.write_jsonl(workdir / 'graded.jsonl', graded)
  return workdir / 'graded.jsonl'


def run(tmp_path, rounds, **changed):
  arguments = dict(
    checkpoint='c',
    problems=lambda split: PROBLEMS,
    sample=functools.partial(stand_in_sample, rounds),
    grade=stand_in_grade,
    rule=BetaStoppingRule(0.95),
    max_candidates=12,
  )
  path = program.sample_until_decided(tmp_path, **(arguments | changed))
  return {
    each.problem.id: ''.join(c.solution for c in each.candidates)
    for each in schema.read_candidate_sets(path)
  }


def test_only_undecided_problems_are_sampled_further(tmp_path, rounds):
  found = run(tmp_path, rounds)
  assert rounds == [
    (0, 4, ['agreed', 'late', 'split']),
    (4, 4, ['late', 'split']),
    (8, 4, ['late', 'split']),
  ]
  assert found == {
    'agreed': 'aaaa',
    'late': ANSWERS['late'][:12],
    'split': ANSWERS['split'][:12],
  }


def test_the_largest_number_of_candidates_is_never_exceeded(tmp_path, rounds):
  found = run(tmp_path, rounds, max_candidates=5, first_candidates=3)
  assert [len(answers) for answers in found.values()] == [5, 5, 5]
  assert [call[:2] for call in rounds] == [(0, 3), (3, 2)]


def test_the_cost_is_that_of_all_rounds(tmp_path, rounds):
  run(tmp_path, rounds)
  cost = read_cost(tmp_path / 'candidates')
  assert isinstance(cost, StageCost)
  assert (cost.tokens_out, cost.starts) == (4 * 3 + 4 * 2 + 4 * 2, 3)


def test_a_first_round_above_n_is_an_error(tmp_path, rounds):
  with pytest.raises(ValueError, match='first_candidates is 13'):
    run(tmp_path, rounds, first_candidates=13)
