import pytest

from mathft_jax.data import own_solutions, schema
from mathft_jax.data.own_solutions import OwnSolutionSelection

PROBLEM = schema.Problem('a', 'Q?', 'reference', split='train')
# text, is_correct, cluster, score
ROWS = [
  ('2 + 2 = 4, so 4', True, 0, 0.6),
  ('It is 5', False, 1, 0.9),
  ('2 + 2 = 4, so 4', True, 0, 0.6),
  ('Clearly 2 + 2 = 4 and thus 4', True, 0, 0.7),
  ('2 * 2 = 4', True, 0, 0.2),
  ('no answer', False, None, None),
]


@pytest.fixture
def path(tmp_path):
  candidates = tuple(
    schema.Candidate(text, is_correct=right, cluster=cluster, score=score)
    for text, right, cluster, score in ROWS
  )
  unsolved = schema.Problem('b', 'Q?', split='train')
  sets = [
    schema.CandidateSet(PROBLEM, candidates),
    schema.CandidateSet(unsolved, (schema.Candidate('?', is_correct=False),)),
  ]
  return str(schema.write_jsonl(tmp_path / 'graded.jsonl', sets))


def select(path, **fields):
  selection = OwnSolutionSelection(**fields)
  made = own_solutions.select_own_solutions(selection, path, 'train')
  assert {problem.question for problem in made} == {'Q?'}
  return [problem.solution for problem in made]


def test_by_label_each_distinct_correct_text_is_selected_in_sampling_order(
  path,
):
  assert select(path) == [ROWS[0][0], ROWS[3][0], ROWS[4][0]]
  assert select(path, max_per_problem=2) == [ROWS[0][0], ROWS[3][0]]


def test_by_score_the_highest_come_first_and_labels_do_not_count(path):
  assert select(path, choose='score') == [
    ROWS[1][0],
    ROWS[3][0],
    ROWS[0][0],
  ]
  assert select(path, choose='score', min_score=0.8) == [ROWS[1][0]]


def test_by_agreement_the_largest_cluster_is_selected_if_it_is_large_enough(
  path,
):
  chosen = select(path, choose='agreement', min_agreement=4 / 6)
  assert chosen == [ROWS[0][0], ROWS[3][0], ROWS[4][0]]
  with pytest.raises(ValueError, match='no candidate is selected'):
    select(path, choose='agreement', min_agreement=0.7)


def test_derivations_differ_by_their_numbers_and_operators(path):
  chosen = select(path, distinct='derivation')
  assert chosen == [ROWS[0][0], ROWS[4][0]]
  same = own_solutions.derivation_key('We add: 2 + 2 = 4.')
  assert same == own_solutions.derivation_key('2+2=4')
  assert same != own_solutions.derivation_key('2*2=4')


def test_cut_solutions_are_not_selected(tmp_path):
  cut = schema.Candidate('4', is_correct=True, finished=False)
  whole = schema.Candidate('2+2=4', is_correct=True, finished=True)
  path = schema.write_jsonl(
    tmp_path / 'graded.jsonl', [schema.CandidateSet(PROBLEM, (cut, whole))]
  )
  assert select(str(path)) == ['2+2=4']


@pytest.mark.parametrize(
  'choose, field, program',
  [
    ('label', 'is_correct', 'grade'),
    ('score', 'score', 'score'),
    ('agreement', 'cluster', 'grade'),
  ],
)
def test_a_file_without_the_field_names_the_program(
  tmp_path, choose, field, program
):
  path = schema.write_jsonl(
    tmp_path / 'candidates.jsonl',
    [schema.CandidateSet(PROBLEM, (schema.Candidate('4'),))],
  )
  with pytest.raises(ValueError, match=f'`{field}`.*Run {program}'):
    select(str(path), choose=choose)


@pytest.mark.parametrize(
  'fields', [{'choose': 'best'}, {'distinct': 'all'}, {'max_per_problem': 0}]
)
def test_unknown_choices_are_refused_with_the_field(fields):
  with pytest.raises(ValueError, match=f'Selection.{next(iter(fields))} is'):
    OwnSolutionSelection(**fields)
