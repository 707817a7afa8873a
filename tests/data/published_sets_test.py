"""Made-up rows of each published schema become problems; published benchmarks are read whole."""

import gzip
import json

import pytest

from mathft_jax.data import problem_sources, published_sets, record_files
from mathft_jax.grading import references

USER = {'role': 'user', 'content': '1 + 1?'}
DAPO_START, DAPO_END = published_sets._DAPO_PROMPT

# name -> (rows; the first one is kept, the expected question, solution, answer; the others are not)
ROWS = {
  'numina_math_cot': (
    [
      {
        'source': 'synthetic_math',
        'problem': '1 + 1?',
        'solution': 'It is $\\boxed{2}$.',
        'messages': [USER, {'role': 'assistant', 'content': 'x'}],
      }
    ],
    ('It is $\\boxed{2}$.', '2'),
  ),
  'numina_math_1_5': (
    [
      {
        'problem': '1 + 1?',
        'solution': 'Add.',
        'answer': '2',
        'problem_type': 'Algebra',
        'question_type': 'math-word-problem',
        'source': 'olympiads',
        'synthetic': False,
        'problem_is_valid': valid,
        'solution_is_valid': 'Yes',
      }
      | more
      for valid, more in (
        ('Yes', {}),
        ('Incomplete', {}),
        ('Yes', {'answer': 'proof'}),
        ('Yes', {'answer': 'notfound'}),
        ('Yes', {'answer': None}),
      )
    ],
    ('Add.\nThe final answer is $\\boxed{2}$.', '2'),
  ),
  'open_math_instruct_2': (
    [
      {
        'problem': '1 + 1?',
        'generated_solution': 'So \\boxed{2}',
        'expected_answer': '2',
        'problem_source': 'augmented_math',
      }
    ],
    ('So \\boxed{2}', '2'),
  ),
  'open_math_reasoning': (
    [
      {
        'expected_answer': '2',
        'problem_type': kind,
        'problem_source': 'aops_c6_high_school_olympiads',
        'generation_model': 'DeepSeek-R1',
        'pass_rate_72b_tir': '0.5',
        'problem': '1 + 1?',
        'generated_solution': '<think>Hm.</think>So \\boxed{2}',
        'inference_mode': 'cot',
        'used_in_kaggle': True,
      }
      for kind in ('has_answer_extracted', 'converted_proof')
    ],
    ('<think>Hm.</think>So \\boxed{2}', '2'),
  ),
  'openr1_math_220k': (
    [
      {
        'problem': '1 + 1?',
        'solution': 'short',
        'answer': answer,
        'problem_type': 'Algebra',
        'question_type': 'math-word-problem',
        'source': 'amc_aime',
        'uuid': 'u',
        'is_reasoning_complete': [True, False],
        'generations': ['<think>Hm.</think>\\boxed{2}', '<think>'],
        'correctness_math_verify': [True, False],
        'correctness_llama': None,
        'finish_reasons': None,
        'correctness_count': 1,
        'messages': [
          USER,
          {'role': 'assistant', 'content': '<think>Hm.</think>\\boxed{2}'},
        ],
      }
      for answer in ('2', 'proof')
    ],
    ('<think>Hm.</think>\\boxed{2}', '2'),
  ),
  'meta_math_qa': (
    [
      {
        'type': 'GSM_Rephrased',
        'query': '1 + 1?',
        'original_question': 'What?',
        'response': 'Add.\n#### 2\nThe answer is: 2',
      }
    ],
    ('Add.\n#### 2\nThe answer is: 2', '2'),
  ),
  'dart_math': (
    [{'query': '1 + 1?', 'response': 'So $\\boxed{2}$.'}],
    ('So $\\boxed{2}$.', '2'),
  ),
  'big_math': (
    [
      {
        'problem': '1 + 1?',
        'answer': '2',
        'source': 'orca_math',
        'domain': ['Mathematics -> Algebra'],
        'llama8b_solve_rate': 0.5,
      }
    ],
    ('', '2'),
  ),
  'deep_scaler': (
    [{'problem': '1 + 1?', 'answer': '2', 'solution': 'So \\boxed{2}'}],
    ('So \\boxed{2}', '2'),
  ),
  'dapo_math_17k': (
    [
      {
        'data_source': 'math_dapo',
        'prompt': [
          {'role': 'user', 'content': f'{DAPO_START}1 + 1?{DAPO_END}'}
        ],
        'ability': 'MATH',
        'reward_model': {'ground_truth': '2', 'style': 'rule-lighteval/MATH'},
        'extra_info': {'index': 'd0'},
      }
    ]
    * 3,
    ('', '2'),
  ),
  'math500': (
    [
      {
        'problem': '1 + 1?',
        'solution': 'So \\boxed{2}',
        'answer': '2',
        'subject': 'Algebra',
        'level': 1,
        'unique_id': 'test/algebra/1.json',
      }
    ],
    ('So \\boxed{2}', '2'),
  ),
  'gsm8k': (
    [{'question': '1 + 1?', 'answer': 'Add.\n#### 2'}],
    ('Add.\n#### 2', '2'),
  ),
  'aime24': (
    [{'ID': '2024-I-1', 'Problem': '1 + 1?', 'Solution': '', 'Answer': 2}],
    ('', '2'),
  ),
  'aime25': ([{'question': '1 + 1?', 'answer': '2'}], ('', '2')),
  'aime26': (
    [{'problem_idx': 1, 'answer': 2, 'problem': '1 + 1?', 'problem_type': []}],
    ('', '2'),
  ),
}
# Read whole below, from the published files.
READ_WHOLE = {
  'aime24': ('answer', 30),
  'amc23': ('answer', 40),
  'minerva_math': (None, 272),
  'olympiadbench': ('final_answer', 675),
  'svamp': ('Answer', 1000),
  'asdiv': ('answer', 2215),
  'mawps': ('target', 2065),
}


def write(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return str(path)


@pytest.mark.parametrize('name', ROWS)
def test_rows_of_the_published_schema_become_problems(name, tmp_path):
  rows, (solution, answer) = ROWS[name]
  source = problem_sources.JsonlProblems(
    write(tmp_path / 'p.jsonl', rows),
    mapping=published_sets.published_mapping(name),
  )
  problems = source('train')
  assert [
    (problem.question, problem.solution, problem.answer) for problem in problems
  ] == [('1 + 1?', solution, answer)]


def test_every_name_is_tested():
  names = {*published_sets.TRAINING_SETS, *published_sets.BENCHMARKS}
  assert names == {*ROWS, *READ_WHOLE}


def test_an_unknown_name_is_refused_with_all_names():
  with pytest.raises(ValueError, match="DATA_SET is 'gsm'.*'gsm8k'"):
    published_sets.published_mapping('gsm')


def raw_golds(path, field):
  golds = set()
  with gzip.open(path, 'rt', encoding='utf-8') as stream:
    for line in stream:
      value = json.loads(line)[field]
      value = value[0] if isinstance(value, list) else value
      golds.add(str(value).strip().removesuffix('.0'))
  return golds


@pytest.mark.parametrize('name', READ_WHOLE)
def test_published_benchmarks_are_read_whole(name, shared_data):
  """All rows and golds; tests/grading/golds_test.py checks that the grader reads each gold."""
  field, count = READ_WHOLE[name]
  folder = shared_data / 'benchmarks'
  [source] = published_sets.benchmark_sources(str(folder), (name,)).values()
  problems = source('test')
  assert len(problems) == count == len({problem.id for problem in problems})
  assert all(map(references.find_reference, problems))
  if field is not None:
    found = {str(problem.answer).removesuffix('.0') for problem in problems}
    assert found == raw_golds(folder / f'{name}.jsonl.gz', field)


def test_published_math500_and_gsm8k_are_read_whole(shared_data):
  for path, name, count in (
    ('math/split_lightman/test500.jsonl.gz', 'math500', 500),
    ('gsm8k/test.jsonl.gz', 'gsm8k', 1319),
  ):
    source = problem_sources.JsonlProblems(
      str(shared_data / path), mapping=published_sets.published_mapping(name)
    )
    problems = source('train')
    assert len(problems) == count
    assert all(map(references.find_reference, problems))


def test_published_json_files_are_read_whole(shared_data):
  folder = shared_data / 'benchmarks'
  svamp = problem_sources.JsonlProblems(
    str(folder / 'svamp_original.json.gz'),
    mapping=published_sets.published_mapping('svamp'),
  )('train')
  assert len(svamp) == 1000
  assert svamp[0].question.startswith('Each pack of dvds costs 76 dollars.')
  assert svamp[0].answer == '51'


def test_published_csv_files_are_read_whole(shared_data):
  """Their questions have `number0` for numbers, so they are no problems yet."""
  for name, count in (('asdiv_a', 979), ('mawps', 1537)):
    path = shared_data / 'benchmarks' / f'{name}_fold0_train.csv.gz'
    records = [record for _, record in record_files.read_records(path)]
    assert len(records) == count
    assert all(each['Question'] and each['Answer'] for each in records)


def test_a_missing_benchmark_file_is_named(tmp_path):
  with pytest.raises(ValueError, match="no file of the benchmark 'aime24'"):
    published_sets.benchmark_sources(str(tmp_path), ('aime24',))
  with pytest.raises(ValueError, match="BENCHMARKS has 'aime'"):
    published_sets.benchmark_sources(str(tmp_path), ('aime',))
