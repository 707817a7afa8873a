import logging
import weakref

from hypothesis import given
from hypothesis import strategies as st
import pytest

from mathft_jax.data import candidate_selection, schema


def graded(name, correct, incorrect, split='train', solution='the reference'):
  """A problem with the given numbers of distinct correct and incorrect candidates, shuffled."""
  candidates = [
    schema.Candidate(f'{kind} {index}', is_correct=kind == 'right')
    for index in range(max(correct, incorrect))
    for kind, count in (('right', correct), ('wrong', incorrect))
    if index < count
  ]
  problem = schema.Problem(name, f'What is {name}?', solution, '1', split=split)
  return schema.CandidateSet(problem, tuple(candidates))


@pytest.fixture
def write(tmp_path):
  return lambda *sets: str(schema.write_jsonl(tmp_path / 'graded.jsonl', sets))


def kinds(examples):
  return [is_correct for _, _, is_correct in examples]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 100))
def test_pairs_are_distinct_and_use_all_candidates_equally_often(
  rows, columns, limit
):
  pairs = candidate_selection.pair_candidates_evenly(rows, columns, limit)
  assert len(pairs) == len(set(pairs)) == min(limit, rows * columns)
  for axis, size in enumerate((rows, columns)):
    uses = [sum(pair[axis] == index for pair in pairs) for index in range(size)]
    assert max(uses) - min(uses) <= 1


def test_a_pair_is_a_correct_and_an_incorrect_candidate_of_one_problem(write):
  path = write(graded('a', 3, 4), graded('b', 1, 2))
  examples = candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(examples_per_problem=5),
    path,
    'train',
  )
  assert kinds(examples) == [1, 0] * (5 + 2)
  for (problem, correct, _), (other, incorrect, _) in zip(
    examples[0::2], examples[1::2]
  ):
    assert problem == other
    assert correct.is_correct and not incorrect.is_correct


def test_repeated_texts_are_deduplicated_by_default(write):
  repeated = graded('a', 1, 1)
  path = write(schema.CandidateSet(repeated.problem, repeated.candidates * 3))
  assert (
    len(
      candidate_selection.select_candidates(
        candidate_selection.CandidateSelection(), path, 'train'
      )
    )
    == 2
  )
  assert (
    len(
      candidate_selection.select_candidates(
        candidate_selection.CandidateSelection(deduplicate=False), path, 'train'
      )
    )
    == 2 * 9
  )


def test_single_candidates_are_balanced_or_as_sampled(write):
  path = write(graded('a', 2, 30))
  equal = candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(paired=False), path, 'train'
  )
  assert sorted(kinds(equal)) == [0, 0, 1, 1]
  natural = candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(
      paired=False, balance='natural', examples_per_problem=32
    ),
    path,
    'train',
  )
  assert sum(kinds(natural)) == 2 and len(natural) == 32


def test_single_candidates_are_selected_without_repetition(write):
  path = write(graded('a', 20, 20))
  examples = candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(paired=False), path, 'train'
  )
  assert sum(kinds(examples)) == 5
  assert len({candidate for _, candidate, _ in examples}) == 10


@pytest.mark.parametrize(
  'rule, expected',
  [
    (candidate_selection.CandidateSelection(), ['a', 'a']),
    (
      candidate_selection.CandidateSelection(single_class_problems='reference'),
      ['a', 'a', 'wrong', 'wrong', 'wrong', 'wrong'],
    ),
    (
      candidate_selection.CandidateSelection(
        paired=False, single_class_problems='keep'
      ),
      ['a', 'a', 'right', 'wrong', 'wrong'],
    ),
  ],
)
def test_single_class_problems_are_skipped_kept_or_get_the_reference(
  write, rule, expected
):
  path = write(
    graded('a', 1, 1),
    graded('right', 1, 0),
    graded('wrong', 0, 2),
    graded('none', 0, 0),
  )
  examples = candidate_selection.select_candidates(rule, path, 'train')
  assert sorted(problem.id for problem, _, _ in examples) == expected
  if rule.single_class_problems == 'reference':
    assert examples[2][1].solution == 'the reference' and examples[2][2] == 1


def test_the_log_counts_what_was_left_out(write, caplog):
  caplog.set_level(logging.INFO)
  candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(),
    write(graded('a', 2, 2), graded('b', 3, 0), graded('c', 0, 3)),
    'train',
  )
  for count in (
    '3 problems',
    '10 candidates',
    '1 with only correct candidates: skipped',
    '1 with only incorrect candidates: skipped',
    '8 examples',
    '4 of correct candidates',
  ):
    assert count in caplog.text


def test_a_selection_depends_on_seed_and_problem_only(
  write,
):
  a, b = graded('a', 20, 20), graded('b', 20, 20)
  together = candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(), write(b, a), 'train'
  )
  alone = candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(), write(a), 'train'
  )
  assert [example for example in together if example[0].id == 'a'] == alone
  assert (
    candidate_selection.select_candidates(
      candidate_selection.CandidateSelection(seed=1), write(a), 'train'
    )
    != alone
  )


def test_two_problems_have_different_selections(write):
  examples = candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(),
    write(graded('a', 20, 20), graded('b', 20, 20)),
    'train',
  )
  chosen = [
    [c.solution for p, c, _ in examples if p.id == name] for name in 'ab'
  ]
  assert chosen[0] != chosen[1]


def test_only_problems_of_the_split_are_used(write):
  path = write(
    graded('a', 1, 1, split='train'), graded('b', 1, 1, split='validation')
  )
  assert {
    p.id
    for p, _, _ in candidate_selection.select_candidates(
      candidate_selection.CandidateSelection(), path, 'validation'
    )
  } == {'b'}
  with pytest.raises(
    ValueError,
    match="no problem of split 'test'; problems by split: .*'train': 1.*"
    '--gin.SPLIT=test',
  ):
    candidate_selection.select_candidates(
      candidate_selection.CandidateSelection(), path, 'test'
    )


def test_a_file_without_splits_is_used_for_every_split(write):
  path = write(graded('a', 1, 1, split=''))
  assert (
    len(
      candidate_selection.select_candidates(
        candidate_selection.CandidateSelection(), path, 'validation'
      )
    )
    == 2
  )


@pytest.mark.parametrize('splits', [('', 'train'), ('train', '')])
def test_a_file_with_splits_in_some_problems_only_is_refused(write, splits):
  sets = [graded(str(n), 1, 1, split=split) for n, split in enumerate(splits)]
  with pytest.raises(
    ValueError, match=r"problem '1': split is .*in all problems or in none"
  ):
    candidate_selection.select_candidates(
      candidate_selection.CandidateSelection(), write(*sets), 'train'
    )


def test_the_problems_of_a_file_are_not_held(write, monkeypatch):
  path = write(*(graded(f'p{n}', 2, 2) for n in range(9)))
  read = []
  to_set = schema._to_candidate_set

  def record(where, row):
    candidate_set = to_set(where, row)
    read.append(weakref.ref(candidate_set))
    return candidate_set

  monkeypatch.setattr(schema, '_to_candidate_set', record)
  selection = candidate_selection.CandidateSelection()
  num_held = []
  for _ in candidate_selection.selected_by_problem(selection, path, 'train'):
    num_held.append(sum(each() is not None for each in read))
  assert num_held == [1] * 9


def test_a_file_that_is_not_graded_is_an_error(write):
  problem = graded('a', 0, 0).problem
  path = write(schema.CandidateSet(problem, (schema.Candidate('x'),)))
  with pytest.raises(
    ValueError, match='no candidate has `is_correct`. Run grade'
  ):
    candidate_selection.select_candidates(
      candidate_selection.CandidateSelection(), path, 'train'
    )


def test_ungraded_candidates_are_left_out_and_counted(write, caplog):
  caplog.set_level(logging.INFO)
  a = graded('a', 1, 1)
  unknown = schema.CandidateSet(
    a.problem, (schema.Candidate('unknown'), *a.candidates)
  )
  no_reference = schema.CandidateSet(
    graded('b', 0, 0).problem, (schema.Candidate('x'),)
  )
  examples = candidate_selection.select_candidates(
    candidate_selection.CandidateSelection(),
    write(unknown, no_reference),
    'train',
  )
  assert [candidate.solution for _, candidate, _ in examples] == [
    'right 0',
    'wrong 0',
  ]
  assert '4 candidates, 2 judged' in caplog.text
  assert '1 with no judged candidates: skipped' in caplog.text


@pytest.mark.parametrize(
  'paired, rules',
  [(True, ['ONE_KIND=reference']), (False, ['ONE_KIND=keep', 'ONE_KIND=ref'])],
)
def test_a_file_that_gives_no_example_is_an_error(write, paired, rules):
  with pytest.raises(ValueError, match='no example can be built') as caught:
    candidate_selection.select_candidates(
      candidate_selection.CandidateSelection(paired=paired),
      write(graded('a', 0, 3)),
      'train',
    )
  message = str(caught.value)
  assert '0 of 3 graded candidates are correct' in message
  assert all(f'--gin.{rule}' in message for rule in rules)
  assert ('ONE_KIND=keep' in message) != paired
  assert ('here all of one class' in message) != paired


@pytest.mark.parametrize(
  'fields',
  [
    {'balance': 'half'},
    {'single_class_problems': 'drop'},
    {'paired': True, 'single_class_problems': 'keep'},
  ],
)
def test_invalid_fields_are_an_error(fields):
  with pytest.raises(ValueError, match='balance must be'):
    candidate_selection.CandidateSelection(**fields)
