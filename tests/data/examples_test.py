import numpy as np
import pytest

from mathft_jax.data import (
  batching,
  example_types,
  examples,
  prompt_templates,
  schema,
  vocabularies,
)

BYTES = vocabularies.ByteVocabulary()
TEMPLATE = prompt_templates.Template()
PROBLEMS = [
  schema.Problem(f'p{i}', f'What is {i}+{i}?', f'It is {2 * i}.', str(2 * i))
  for i in range(5)
]


def problems(split):
  assert split in ('train', 'validation')
  return PROBLEMS


@pytest.fixture
def candidates(tmp_path):
  sets = [
    schema.CandidateSet(
      problem,
      (
        schema.Candidate('wrong', is_correct=False),
        schema.Candidate('right', is_correct=True),
        schema.Candidate('cut', is_correct=False, finished=False),
      ),
    )
    for problem in PROBLEMS
  ]
  return str(schema.write_jsonl(tmp_path / 'graded.jsonl', sets))


def test_a_solution_example_has_the_prompt_and_the_solution_with_eos():
  made = examples.SolutionExamples(problems, TEMPLATE, BYTES)('train')
  assert len(made) == 5
  assert BYTES.decode(made[1].inputs) == 'Problem:\nWhat is 1+1?\n\nSolution:\n'
  assert made[1].targets.tolist() == prompt_templates.encode_solution(
    BYTES, 'It is 2.'
  )


def test_problems_without_a_solution_are_left_out():
  unsolved = schema.Problem('u', 'Why?')
  rule = examples.SolutionExamples(
    lambda split: [*PROBLEMS, unsolved], TEMPLATE, BYTES
  )
  assert len(rule('train')) == 5
  with pytest.raises(ValueError, match='none with a solution'):
    examples.SolutionExamples(lambda split: [unsolved], TEMPLATE, BYTES)(
      'train'
    )


def test_a_verdict_example_is_the_evaluator_prompt_of_its_candidate(candidates):
  rule = examples.VerdictExamples(
    candidates=candidates, template=TEMPLATE, vocabulary=BYTES
  )
  made = rule('train')
  assert rule.group_size == 2 and len(made) == 5 * 2 * 2
  assert [row.is_correct for row in made] == [1, 0] * 10
  assert BYTES.decode(made[0].inputs) == (
    'Here is a math problem: What is 0+0?. Here is a candidate solution: right. '
    'The above candidate solution is'
  )
  assert isinstance(made[0], example_types.VerdictExample)


def test_single_verdict_examples_have_group_size_one(candidates):
  rule = examples.VerdictExamples(
    candidates=candidates,
    template=TEMPLATE,
    vocabulary=BYTES,
    paired=False,
    examples_per_problem=2,
  )
  assert rule.group_size == 1 and len(rule('train')) == 10


def test_a_contrast_pair_has_one_prompt_and_a_cut_candidate_no_eos(
  candidates,
):
  made = examples.ContrastExamples(
    candidates=candidates, template=TEMPLATE, vocabulary=BYTES
  )('train')
  for correct, incorrect in zip(made[0::2], made[1::2]):
    np.testing.assert_array_equal(correct.inputs, incorrect.inputs)
    assert correct.targets.tolist() == prompt_templates.encode_solution(
      BYTES, 'right'
    )
  assert {tuple(row.targets) for row in made[1::2]} == {
    tuple(prompt_templates.encode_solution(BYTES, 'wrong')),
    tuple(BYTES.encode('cut')),
  }


def test_contrast_examples_that_are_not_paired_are_an_error(candidates):
  with pytest.raises(ValueError, match='paired=True'):
    examples.ContrastExamples(
      candidates=candidates, template=TEMPLATE, vocabulary=BYTES, paired=False
    )


def test_preference_examples_have_the_log_probs_of_their_candidates(tmp_path):
  problem = schema.Problem('a', 'What is 1+1?', answer='2')
  path = tmp_path / 'graded.jsonl'
  candidates = (
    schema.Candidate('2', log_prob=-1.5, is_correct=True),
    schema.Candidate('3', log_prob=-2.5, is_correct=False),
    schema.Candidate('4', is_correct=False),
  )

  def make(number):
    candidate_set = schema.CandidateSet(problem, candidates[:number])
    schema.write_jsonl(path, [candidate_set])
    rule = examples.PreferenceExamples(
      candidates=str(path), template=TEMPLATE, vocabulary=BYTES
    )
    return rule('train')

  made = make(2)
  assert [row.reference_log_prob for row in made] == [-1.5, -2.5]
  layout = batching.BatchLayout(batch_size=4, max_length=64, group_size=2)
  (batch,) = batching.eval_batches(made, layout)
  assert batch['reference_log_probs'].tolist() == [-1.5, -2.5, 0, 0]
  with pytest.raises(ValueError, match="'a'.*log_prob.*quantity='log_prob'"):
    make(3)


def test_own_correct_solutions_become_solution_examples(candidates):
  made = examples.OwnSolutionExamples(
    candidates=candidates, template=TEMPLATE, vocabulary=BYTES
  )('train')
  assert len(made) == 5
  assert made[0].targets.tolist() == prompt_templates.encode_solution(
    BYTES, 'right'
  )


def mixed(candidates, rates):
  return examples.MixedExamples(
    (
      examples.VerdictExamples(
        candidates=candidates, template=TEMPLATE, vocabulary=BYTES
      ),
      examples.SolutionExamples(problems, TEMPLATE, BYTES),
    ),
    rates,
  )


def test_mixed_groups_have_every_source_in_fixed_proportion(candidates):
  rule = mixed(candidates, (2, 4))
  made = rule('train')
  assert rule.group_size == 6 and len(made) == 10 * 6
  for start in range(0, len(made), 6):
    assert [
      getattr(row, 'is_correct', None) for row in made[start : start + 6]
    ] == [1, 0] + 4 * [None]


def test_mixed_examples_have_every_example_of_the_longest_source_once(
  candidates,
):
  made = mixed(candidates, (2, 2))('train')
  assert len(made) == 40
  solves = [bytes(row.targets) for row in made if hasattr(row, 'targets')]
  assert len(solves) == 20 and {solves.count(text) for text in set(solves)} == {
    4
  }
  verdicts = sorted(
    bytes(row.inputs) for row in made if hasattr(row, 'is_correct')
  )
  alone = mixed(candidates, (2, 2)).examples[0]('train')
  assert verdicts == sorted(bytes(row.inputs) for row in alone)


def test_every_batch_of_mixed_examples_has_the_same_share_of_verdicts(
  candidates,
):
  rule = mixed(candidates, (2, 2))
  layout = batching.BatchLayout(
    batch_size=8,
    max_length=200,
    group_size=rule.group_size,
    label_words=prompt_templates.make_label_words(TEMPLATE, BYTES),
  )
  stream = batching.train_batches(rule('train'), layout, seed=0)
  for _ in range(7):
    batch = next(stream)
    np.testing.assert_array_equal(batch['verdict_weights'], [1, 1, 0, 0] * 2)
    np.testing.assert_array_equal(batch['is_correct'], [1, 0, 0, 0] * 2)


@pytest.mark.parametrize('rates', [(1, 1), (2,), (2, 0)])
def test_rates_that_split_pairs_are_an_error(candidates, rates):
  with pytest.raises(ValueError, match='multiples of 2'):
    mixed(candidates, rates)
