"""Records are read as they were written; errors have file and line."""

import dataclasses
import gzip

import pytest

from mathft_jax.data import record_fields, schema

PROBLEM = schema.Problem(id='a/1', question='What is $2+2$?', answer='4')


def test_candidate_sets_are_read_as_written(tmp_path):
  candidates = (
    schema.Candidate(
      'so \\boxed{4}', token_ids=(1, 2), log_prob=-1.5, cluster=0
    ),
    schema.Candidate('π?', is_correct=False),
  )
  sets = [schema.CandidateSet(PROBLEM, candidates)]
  path = schema.write_jsonl(tmp_path / 'c.jsonl', sets)
  assert schema.read_candidate_sets(path) == sets


@pytest.mark.parametrize(
  'kind, checks',
  [
    (schema.Candidate, record_fields.CANDIDATE_FIELDS),
    (schema.Problem, record_fields.PROBLEM_FIELDS),
  ],
)
def test_every_field_is_checked_and_read(kind, checks):
  """A field without a check is dropped by the reader."""
  assert {field.name for field in dataclasses.fields(kind)} == set(checks)


def test_an_empty_solution_is_accepted(tmp_path):
  sets = [schema.CandidateSet(PROBLEM, (schema.Candidate(''),))]
  path = schema.write_jsonl(tmp_path / 'c.jsonl', sets)
  assert schema.read_candidate_sets(path) == sets


def test_gzipped_files_are_read(tmp_path):
  with gzip.open(tmp_path / 'p.jsonl.gz', 'wt') as stream:
    stream.write(schema.to_json_line(PROBLEM) + '\n\n')
  assert schema.read_problems(tmp_path / 'p.jsonl.gz') == [PROBLEM]


def test_files_with_suffix_gz_are_gzipped(tmp_path):
  path = schema.write_jsonl(tmp_path / 'p.jsonl.gz', [PROBLEM])
  assert (
    gzip.decompress(path.read_bytes()).decode()
    == schema.to_json_line(PROBLEM) + '\n'
  )
  assert schema.read_problems(path) == [PROBLEM]


def test_unknown_fields_are_dropped(tmp_path):
  path = tmp_path / 'c.jsonl'
  path.write_text(
    '{"problem": {"id": "1", "question": "q"}, "model": "m",'
    ' "candidates": [{"solution": "s", "rm_score": 2}]}'
  )
  assert schema.read_candidate_sets(path)[0].candidates == (
    schema.Candidate('s'),
  )


def test_clusters_are_sorted_by_size_then_first_appearance():
  labels = [0, 1, 2, 1, 2, None]
  candidates = tuple(schema.Candidate('s', cluster=label) for label in labels)
  assert schema.CandidateSet(PROBLEM, candidates).clusters() == [
    (1, 3),
    (2, 4),
    (0,),
  ]


@pytest.mark.parametrize(
  'line, complaint',
  [
    ('{"problem": ', 'c.jsonl:2: not json'),
    ('[1]', r'c.jsonl:2: \[1\] \(a list\)'),
    ('{"id": "1"}', 'wanted "problem"'),
    (
      '{"problem": {"id": "1"}, "candidates": []}',
      'c.jsonl:2: problem: field "question" is null; wanted text',
    ),
    (
      '{"problem": {"id": "1", "question": "q"}, "candidates": [{}]}',
      'candidate 0: field "solution" is null; wanted text',
    ),
  ],
)
def test_errors_for_bad_records_have_file_and_line(tmp_path, line, complaint):
  path = tmp_path / 'c.jsonl'
  path.write_text('\n' + line)
  with pytest.raises(ValueError, match=complaint):
    schema.read_candidate_sets(path)


def test_the_error_for_invalid_utf_8_has_file_and_line(tmp_path):
  path = tmp_path / 'c.jsonl'
  path.write_bytes('\n{"id": "ü"}'.encode('latin-1'))
  with pytest.raises(ValueError, match='c.jsonl:2: not json'):
    schema.read_problems(path)


def test_a_failed_write_leaves_no_file(tmp_path):
  def rows():
    yield PROBLEM
    raise RuntimeError('stopped')

  with pytest.raises(RuntimeError):
    schema.write_jsonl(tmp_path / 'p.jsonl', rows())
  assert not (tmp_path / 'p.jsonl').exists()


def test_the_error_for_a_folder_names_the_candidate_file_in_it(tmp_path):
  schema.write_jsonl(tmp_path / 'graded.jsonl', [])
  with pytest.raises(ValueError, match=r'a folder; .*contains .*/graded.jsonl'):
    schema.read_candidate_sets(tmp_path)
