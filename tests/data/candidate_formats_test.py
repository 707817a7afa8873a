"""Made-up rows of each format of other programs become candidate sets; real sample files, too."""

import json

import pytest

from benchmarks import real_samples
from mathft_jax import export_candidates, grade, import_candidates
from mathft_jax.data import (
  candidate_formats,
  candidate_mapping,
  schema,
)

CHOICES = [
  {
    'index': 0,
    'message': {'role': 'assistant', 'content': 'It is \\boxed{2}'},
    'logprobs': {
      'content': [
        {'token': 'It', 'logprob': -0.5, 'top_logprobs': []},
        {'token': ' is', 'logprob': -0.25, 'top_logprobs': []},
      ]
    },
    'finish_reason': 'stop',
  },
  {
    'index': 1,
    'message': {
      'role': 'assistant',
      'content': None,
      'reasoning_content': 'Hm, 3',
    },
    'logprobs': None,
    'finish_reason': 'length',
  },
]
OPENAI = [
  schema.Candidate('It is \\boxed{2}', log_prob=-0.75, finished=True),
  schema.Candidate('<think>Hm, 3</think>', finished=False),
]
NEMO = {'problem': '1 + 1?', 'expected_answer': '2', 'generation': 'It is 2'}
LM_EVAL = {
  'doc_id': 0,
  'doc': {'question': '1 + 1?', 'answer': 'Add.\n#### 2'},
  'target': 'Add.\n#### 2',
  'arguments': {'gen_args_0': {'arg_0': 'Q: 1 + 1?', 'arg_1': {}}},
  'resps': [['It is 2', 'It is 3']],
  'filtered_resps': ['2', '3'],
  'exact_match': 1.0,
  'doc_hash': 'd',
}
PROBLEM = schema.Problem('p', '1 + 1?', answer='2')
# format -> (records, problem, candidates)
ROWS = {
  'openai': (
    [{'custom_id': 'p', 'object': 'chat.completion', 'choices': CHOICES}],
    PROBLEM,
    OPENAI,
  ),
  'openai batch': (
    [
      {
        'id': 'b',
        'custom_id': 'p',
        'response': {'status_code': 200, 'body': {'choices': CHOICES}},
        'error': None,
      },
      {'id': 'c', 'custom_id': 'q', 'response': None, 'error': {'code': 'x'}},
    ],
    PROBLEM,
    OPENAI,
  ),
  'openai completions': (
    [
      {
        'custom_id': 'p',
        'choices': [
          {
            'text': 'It is 2',
            'logprobs': {'token_logprobs': [None, -1.5]},
            'finish_reason': 'stop',
          }
        ],
      }
    ],
    PROBLEM,
    [schema.Candidate('It is 2', log_prob=-1.5, finished=True)],
  ),
  'vllm': (
    [
      {
        'request_id': 'p',
        'prompt': 'Problem: 1 + 1?',
        'outputs': [
          {
            'index': 0,
            'text': 'It is 2',
            'token_ids': [5, 6],
            'cumulative_logprob': -2.5,
            'finish_reason': 'stop',
          }
        ],
      }
    ],
    PROBLEM,
    [schema.Candidate('It is 2', log_prob=-2.5, finished=True)],
  ),
  'lm_eval': (
    [LM_EVAL | {'filter': name} for name in ('strict', 'flexible')],
    schema.Problem('0', '1 + 1?', answer='2', solution='Add.\n#### 2'),
    [schema.Candidate('It is 2'), schema.Candidate('It is 3')],
  ),
  'nemo_skills': (
    [NEMO | {'symbolic_correct': True}, NEMO | {'symbolic_correct': False}],
    schema.Problem('c.jsonl:1', '1 + 1?', answer='2'),
    [
      schema.Candidate('It is 2', is_correct=True),
      schema.Candidate('It is 2', is_correct=False),
    ],
  ),
  'search_and_learn': (
    [
      {
        'problem': '1 + 1?',
        'solution': 'So \\boxed{2}',
        'answer': '2',
        'subject': 'Algebra',
        'level': 1,
        'unique_id': 'p',
        'completions': ['It is 2', 'It is 3'],
        'scores': [[0.5, 0.75], [0.25]],
        'agg_scores': [0.75, 0.25],
        'completion_tokens': [4, 4],
        'pred': '2',
      }
    ],
    schema.Problem('p', '1 + 1?', 'So \\boxed{2}', '2', 'Algebra', '1'),
    [
      schema.Candidate('It is 2', score=0.75),
      schema.Candidate('It is 3', score=0.25),
    ],
  ),
  'openr1': (
    [
      {
        'problem': '1 + 1?',
        'solution': 'Short.',
        'answer': '2',
        'problem_type': 'Algebra',
        'uuid': 'p',
        'generations': ['It is 2', 'It is 3'],
        'correctness_math_verify': [True, False],
        'correctness_llama': None,
        'finish_reasons': ['stop', 'length'],
      }
    ],
    schema.Problem('p', '1 + 1?', 'Short.', '2', 'Algebra'),
    [
      schema.Candidate('It is 2', finished=True, is_correct=True),
      schema.Candidate('It is 3', finished=False, is_correct=False),
    ],
  ),
  'math_shepherd': (
    [
      {
        'input': '1 + 1? Step 1: Add. ки\nStep 2: The answer is: 2 ки',
        'label': f'1 + 1? Step 1: Add. +\nStep 2: The answer is: 2 {mark}',
        'task': 'GSM8K',
      }
      for mark in '+-'
    ],
    schema.Problem('c.jsonl:1', '1 + 1?', subject='GSM8K'),
    [
      schema.Candidate(
        'Step 1: Add.\nStep 2: The answer is: 2', is_correct=is_correct
      )
      for is_correct in (True, False)
    ],
  ),
  'lines': (
    [
      {'problem_id': 'p', 'text': 'It is 2', 'log_prob': -1.0},
      {'problem_id': 'p', 'text': 'It is 3'},
    ],
    PROBLEM,
    [schema.Candidate('It is 2', log_prob=-1.0), schema.Candidate('It is 3')],
  ),
}


def write(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return str(path)


@pytest.mark.parametrize('name', ROWS)
def test_rows_of_each_format_become_candidate_sets(name, tmp_path):
  rows, problem, candidates = ROWS[name]
  sets = candidate_mapping.read_mapped_candidates(
    write(tmp_path / 'c.jsonl', rows),
    candidate_formats.format_mapping(name.split()[0]),
    candidate_mapping.ProblemLookup([PROBLEM] if problem is PROBLEM else []),
  )
  assert sets == [schema.CandidateSet(problem, tuple(candidates))]


def test_every_format_is_tested():
  assert {name.split()[0] for name in ROWS} == set(candidate_formats.FORMATS)
  with pytest.raises(ValueError, match="CANDIDATE_FORMAT is 'vlm'.*'vllm'"):
    candidate_formats.format_mapping('vlm')


@pytest.mark.parametrize(
  'record, words',
  [
    ({'problem_id': 'x', 'text': 't'}, "id 'x'; none of the 1 problems"),
    ({'problem_id': 'p', 'text': 5}, 'candidate 0: field "solution" is 5'),
    ({'problem_id': 'p', 'text': 't', 'is_correct': 'false'}, "is 'false'"),
    ({'problem_id': 'p', 'text': 't', 'score': '0.9'}, "is '0.9'"),
    ({'problem_id': 'p', 'text': 't', 'log_prob': 1.5}, 'is 1.5'),
    ({'problem_id': 'p', 'text': 't', 'log_prob': [-1.0, 2]}, 'is 2'),
  ],
)
def test_wrong_records_are_refused_with_their_place(tmp_path, record, words):
  path = write(tmp_path / 'c.jsonl', [ROWS['lines'][0][0], record])
  with pytest.raises(ValueError, match=f'c.jsonl:2: .*{words}'):
    candidate_mapping.read_mapped_candidates(
      path,
      candidate_formats.format_mapping('lines'),
      candidate_mapping.ProblemLookup([PROBLEM]),
    )


def read_vllm(path, records, problems):
  return candidate_mapping.read_mapped_candidates(
    write(path, records),
    candidate_formats.format_mapping('vllm'),
    candidate_mapping.ProblemLookup(problems),
  )


def vllm_record(request_id, prompt):
  outputs = [{'text': 'It is 2', 'finish_reason': 'stop'}]
  return {'request_id': request_id, 'prompt': prompt, 'outputs': outputs}


def test_prompts_that_are_questions_find_their_problems(tmp_path):
  # the number of the second request is the id of another problem
  other = schema.Problem('1', '2 + 2?', answer='4')
  records = [vllm_record('0', ' 1 + 1?\n'), vllm_record('1', '1 + 1?')]
  [found] = read_vllm(tmp_path / 'c.jsonl', records, [PROBLEM, other])
  assert found.problem == PROBLEM
  assert len(found.candidates) == 2


def test_errors_of_unknown_problems_have_the_names_of_the_fields(tmp_path):
  records = [vllm_record('0', 'Problem: 1 + 1?')]
  with pytest.raises(
    ValueError,
    match=r"c.jsonl:1: .*id '0'; none of the 1 problems of LOOKUP_PROBLEMS "
    rf".*; their ids: '{PROBLEM.id}'\. .*fields \['outputs', 'prompt', 'request_id'\]; "
    r'read are id: '
    r'"problem_id" or "id" or "request_id"; question: "question" or "problem", '
    r'else "prompt", if it is only the question.*set ID_FIELD',
  ):
    read_vllm(tmp_path / 'c.jsonl', records, [PROBLEM])
  with pytest.raises(
    ValueError, match="id '0' and no question.* --gin.LOOKUP_PROBLEMS=%PROBLEMS"
  ):
    read_vllm(tmp_path / 'c.jsonl', records, [])


def test_another_number_of_labels_than_of_solutions_is_refused(tmp_path):
  row = ROWS['openr1'][0][0] | {'correctness_math_verify': [True]}
  with pytest.raises(ValueError, match='wanted a list of 2 items'):
    candidate_mapping.read_mapped_candidates(
      write(tmp_path / 'c.jsonl', [row]),
      candidate_formats.format_mapping('openr1'),
    )


def test_a_file_without_solutions_is_refused(tmp_path):
  with pytest.raises(
    ValueError, match=r"1 records, none with a solution.*the fields \['id'\]"
  ):
    candidate_mapping.read_mapped_candidates(
      write(tmp_path / 'c.jsonl', [{'id': 'p'}]),
      candidate_formats.format_mapping('openai'),
    )


def test_nan_of_a_parquet_file_is_refused(tmp_path):
  pyarrow = pytest.importorskip('pyarrow')
  from pyarrow import parquet

  rows = [{'problem_id': 'p', 'text': 't', 'log_prob': float('nan')}]
  path = tmp_path / 'c.parquet'
  parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  with pytest.raises(ValueError, match='c.parquet:1: .*"log_prob" is nan'):
    candidate_mapping.read_mapped_candidates(
      path,
      candidate_formats.format_mapping('lines'),
      candidate_mapping.ProblemLookup([PROBLEM]),
    )


@pytest.mark.parametrize('name', ['openr1', 'search_and_learn', 'lines'])
def test_parquet_files_are_read_by_their_columns(name, tmp_path):
  pyarrow = pytest.importorskip('pyarrow')
  from pyarrow import parquet

  rows, problem, candidates = ROWS[name]
  rows = [{**row, 'messages': ['large']} for row in rows]
  path = tmp_path / 'c.parquet'
  parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  mapping = candidate_formats.format_mapping(name)
  assert 'messages' not in (mapping.columns() or ())
  sets = candidate_mapping.read_mapped_candidates(
    path, mapping, candidate_mapping.ProblemLookup([PROBLEM])
  )
  assert len(sets) == 1 and sets[0].candidates == tuple(candidates)


def test_ids_may_end_before_a_mark(tmp_path):
  rows = [{'id': f'p#{n}', 'text': str(n)} for n in range(2)]
  [found] = candidate_mapping.read_mapped_candidates(
    write(tmp_path / 'c.jsonl', rows),
    candidate_mapping.CandidateMapping(id_until='#'),
    candidate_mapping.ProblemLookup([PROBLEM]),
  )
  assert [each.solution for each in found.candidates] == ['0', '1']


REAL = {  # problems and candidates of each
  'gsm8k_openai': (1319, 4),
  'gsm8k_tora-70b': (1319, 1),
  'gsm8k_tora-code-34b': (1319, 1),
  'math_qwen': (50, 8),
  'gsm8k_llama-3.1-8b': (60, 15),
}


@pytest.mark.parametrize('name', REAL)
def test_real_sample_files_are_imported(name, shared_data):
  sets = real_samples.read_samples(shared_data / 'samples', name)
  num_problems, num_candidates = REAL[name]
  assert len(sets) == num_problems
  assert {len(each.candidates) for each in sets} == {num_candidates}
  assert all(each.problem.answer for each in sets)


@pytest.fixture
def graded(tmp_path):
  """A graded file from a file of another program."""
  rows = [ROWS['openr1'][0][0] | {'problem': '1 + 1?'}]
  imported = import_candidates.import_candidates(
    tmp_path / 'imported',
    candidates=write(tmp_path / 'c.jsonl', rows),
    mapping=candidate_formats.format_mapping('openr1'),
  )
  return grade.grade(tmp_path / 'graded', candidates=imported)


def test_pairs_are_exported_for_trl(graded, tmp_path):
  path = export_candidates.export_candidates(
    candidates=graded, output=tmp_path / 'pairs.jsonl'
  )
  assert [row for _, row in schema.read_jsonl(path)] == [
    {'prompt': '1 + 1?', 'chosen': 'It is 2', 'rejected': 'It is 3'}
  ]
  path = export_candidates.export_candidates(
    candidates=graded, output=tmp_path / 'chat.jsonl', conversational=True
  )
  [(_, row)] = schema.read_jsonl(path)
  assert row['chosen'] == [{'role': 'assistant', 'content': 'It is 2'}]
  with pytest.raises(ValueError, match="export is 'pair'"):
    export_candidates.export_candidates(
      candidates=graded, output=tmp_path / 'x', export='pair'
    )


def test_pairs_by_score_need_no_labels(tmp_path):
  candidates = tuple(
    schema.Candidate(str(score), score=score) for score in (0.5, 0.1, 0.9)
  )
  sets = [schema.CandidateSet(PROBLEM, candidates)]
  path = schema.write_jsonl(tmp_path / 'scored.jsonl', sets)

  def export(**fields):
    output = export_candidates.export_candidates(
      candidates=path, output=tmp_path / 'x.jsonl', pairs_by='score', **fields
    )
    return [row for _, row in schema.read_jsonl(output)]

  assert export() == [{'prompt': '1 + 1?', 'chosen': '0.9', 'rejected': '0.1'}]
  with pytest.raises(ValueError, match='none of 1 problems.*more than 0.8'):
    export(min_score_difference=0.8)
  with pytest.raises(ValueError, match="pairs_by is 'scores'"):
    export_candidates.export_candidates(
      candidates=path, output=tmp_path / 'x.jsonl', pairs_by='scores'
    )


def test_candidates_are_exported_as_parquet(graded, tmp_path):
  parquet = pytest.importorskip('pyarrow.parquet')
  path = export_candidates.export_candidates(
    candidates=graded,
    output=tmp_path / 'candidates.parquet',
    export='candidates',
  )
  first, second = parquet.read_table(path).to_pylist()
  assert (first['solution'], first['is_correct']) == ('It is 2', True)
  assert (second['solution'], second['is_correct']) == ('It is 3', False)
  assert first['score'] is None and first['problem_id'] == 'p'
