"""Reading graded candidate files."""

import pytest

from mathft_jax.data import schema
from mathft_jax.data.schema import Candidate, CandidateSet, Problem
from mathft_jax.evaluation import evaluated_file, voting
from tests.evaluation.candidates import CORRECT, candidate_set


@pytest.mark.parametrize(
  'sets, message',
  [
    ([], 'no records'),
    (
      [candidate_set([('a', 0.1)])] * 2,
      r'field "problem.id" is .p. .*wanted another id',
    ),
    (
      [CandidateSet(Problem('p', 'q'), (Candidate('text'),))],
      'run grade on the file first',
    ),
    (
      [CandidateSet(Problem('p', 'q'), (Candidate('text', is_correct=True),))],
      'run grade',
    ),
  ],
)
def test_ungraded_files_are_an_error(tmp_path, sets, message):
  with pytest.raises(ValueError, match=message):
    evaluated_file.read_gradable_sets_and_notes(
      schema.write_jsonl(tmp_path / 'file.jsonl', sets)
    )


def test_candidates_without_any_answer_are_wrong(tmp_path):
  sets = [
    CandidateSet(Problem('p', 'q'), (Candidate('text', is_correct=False),))
  ]
  assert evaluated_file.read_gradable_sets_and_notes(
    schema.write_jsonl(tmp_path / 'file.jsonl', sets)
  ) == (
    sets,
    [],
  )


def test_problems_without_reference_are_omitted_and_counted(tmp_path):
  ungraded = CandidateSet(
    Problem('u', 'q'), (Candidate('text', answer='4', cluster=0),)
  )
  answerless = CandidateSet(Problem('w', 'q', answer='4'), (Candidate('text'),))
  path = schema.write_jsonl(
    tmp_path / 'file.jsonl',
    [candidate_set([(CORRECT, 0.1)]), ungraded, answerless],
  )
  sets, notes = evaluated_file.read_gradable_sets_and_notes(path)
  assert [each.problem.id for each in sets] == ['p', 'w']
  assert notes == [
    '1 problems are left out: no reference to grade their candidates by.'
  ]


@pytest.mark.parametrize(
  'candidates, kept', [(4, False), (8, False), (9, True)]
)
def test_rows_whose_limit_is_no_limit_are_left_out(tmp_path, candidates, kept):
  rows = [(CORRECT, 0.25), ('a', 0.5), (None, None)]
  sets = [candidate_set((rows * 3)[:candidates])]
  path = schema.write_jsonl(tmp_path / 'scored.jsonl', sets)
  rules = voting.paper_rules()
  file = evaluated_file.evaluate_file(path, rules)
  shown, shown_rules = evaluated_file.without_repeated_rows(file, rules)
  left_out = {
    'RR.Top-8',
    'W.RR.Top-8',
    'Maj1.Top8',
    'MajK@N, K=8',
    'RR.Top-8 by chance',
  }
  found = set(file.values()) - set(shown.values())
  assert left_out <= set(file.values())
  assert found == (set() if kept else left_out)
  assert len(shown_rules) == (8 if kept else 4)
  again, _ = evaluated_file.without_repeated_rows(file, rules, 'RR.Top-8')
  assert 'RR.Top-8' in again.values()
