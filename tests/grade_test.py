"""The grading program: grades, reports, comparisons, and when output is kept."""

import json
import pathlib
import time

from etils import epath
import pytest

from mathft_jax import grade, grading
from mathft_jax.data import schema
from mathft_jax.grading import (
  candidate_grading,
  graded_parts,
  grader_agreement,
  references,
  worker_pool,
)


def _candidate_file(tmp_path, *solutions, answer='4'):
  problem = schema.Problem(id='a/1', question='What is $2+2$?', answer=answer)
  candidates = tuple(map(schema.Candidate, solutions))
  return schema.write_jsonl(
    tmp_path / 'candidates.jsonl', [schema.CandidateSet(problem, candidates)]
  )


def _graded(tmp_path, *solutions, answer='4'):
  candidates = _candidate_file(tmp_path, *solutions, answer=answer)
  output = grade.grade(tmp_path / 'graded', candidates=candidates)
  return schema.read_candidate_sets(output)[0].candidates


def _report(tmp_path):
  return json.loads((tmp_path / 'graded' / 'graded.report.json').read_text())


def _disagreements(tmp_path, name):
  lines = (
    (tmp_path / 'graded' / f'disagreements.{name}.jsonl')
    .read_text()
    .splitlines()
  )
  return list(map(json.loads, lines))


def test_every_candidate_gets_answer_correctness_and_cluster(tmp_path):
  graded = _graded(
    tmp_path, 'so \\boxed{5}', 'The answer is 4.0.', 'no idea', '\\boxed{4}'
  )
  assert [c.answer for c in graded] == ['5', '4.0', None, '4']
  assert [c.is_correct for c in graded] == [False, True, False, True]
  assert [c.cluster for c in graded] == [0, 1, None, 1]


def test_without_a_reference_only_clusters_are_set(
  tmp_path,
):
  graded = _graded(tmp_path, '\\boxed{5}', '\\boxed{4}', answer=None)
  assert [(c.is_correct, c.cluster) for c in graded] == [(None, 0), (None, 1)]


def test_grading_again_replaces_older_grades(tmp_path):
  problem = schema.Problem(id='a/1', question='?', answer='4')
  stale = schema.Candidate(
    '\\boxed{4}', answer='9', is_correct=False, cluster=7
  )
  path = schema.write_jsonl(
    tmp_path / 'c.jsonl', [schema.CandidateSet(problem, (stale,))]
  )
  output = grade.grade(tmp_path / 'graded', candidates=path)
  candidate = schema.read_candidate_sets(output)[0].candidates[0]
  assert (candidate.answer, candidate.is_correct, candidate.cluster) == (
    '4',
    True,
    0,
  )


def test_the_report_names_grader_and_version_and_counts(tmp_path):
  _graded(tmp_path, '\\boxed{4}', 'no idea')
  report = _report(tmp_path)
  assert (report['grader'], report['version']) == (
    grading.GRADER_NAME,
    grading.GRADER_VERSION,
  )
  assert report['counts']['candidates'] == 2
  assert report['counts']['no answer'] == 1


def test_complete_output_is_kept_and_a_changed_input_is_graded_again(
  tmp_path,
):
  candidates = _candidate_file(tmp_path, '\\boxed{4}')
  output = pathlib.Path(grade.grade(tmp_path / 'graded', candidates=candidates))
  written = output.stat().st_mtime_ns
  assert grade.grade(tmp_path / 'graded', candidates=candidates) == output
  assert output.stat().st_mtime_ns == written
  _candidate_file(tmp_path, '\\boxed{4}', '\\boxed{5}')
  grade.grade(tmp_path / 'graded', candidates=candidates)
  assert len(schema.read_candidate_sets(output)[0].candidates) == 2


@pytest.mark.parametrize('version', [grading.GRADER_VERSION, 'earlier'])
def test_a_folder_with_grades_of_other_candidates_is_refused(
  tmp_path, version, monkeypatch
):
  first = _candidate_file(tmp_path, '\\boxed{4}')
  with monkeypatch.context() as patch:
    patch.setattr(grading, 'GRADER_VERSION', version)
    output = grade.grade(tmp_path / 'graded', candidates=first)
  written = pathlib.Path(output).read_bytes()
  other = _candidate_file(tmp_path / 'other', '\\boxed{5}')
  with pytest.raises(
    ValueError, match='(?s)other settings:.*there: .*now: .*other'
  ):
    grade.grade(tmp_path / 'graded', candidates=other)
  with pytest.raises(ValueError, match="(?s)'auto'.*now: .*'last_line'"):
    grade.grade(tmp_path / 'graded', candidates=first, find_answers='last_line')
  assert pathlib.Path(output).read_bytes() == written


def test_a_moved_input_is_the_same_input(tmp_path):
  first = _candidate_file(tmp_path, '\\boxed{4}')
  output = grade.grade(tmp_path / 'graded', candidates=first)
  moved = tmp_path / 'moved.jsonl'
  pathlib.Path(first).rename(moved)
  assert grade.grade(tmp_path / 'graded', candidates=moved) == output


def test_the_output_of_another_version_of_the_grader_is_graded_again(
  tmp_path, monkeypatch
):
  candidates = _candidate_file(tmp_path, '\\boxed{4}')

  def grader():
    output = grade.grade(tmp_path / 'graded', candidates=candidates)
    assert _report(tmp_path)['version'] == grading.GRADER_VERSION
    return schema.read_candidate_sets(output)[0].grader

  assert grader() == f'{grading.GRADER_NAME} {grading.GRADER_VERSION}'
  monkeypatch.setattr(grading, 'GRADER_VERSION', 'next')
  assert grader() == f'{grading.GRADER_NAME} next'


def test_another_grader_has_a_table_and_a_file_of_disagreements(tmp_path):
  candidates = _candidate_file(
    tmp_path, '\\boxed{4}', '\\boxed{4.0}', '\\boxed{5}', 'none'
  )
  grade.grade(
    tmp_path / 'graded', candidates=candidates, compare_with=['exact']
  )
  assert _report(tmp_path)['comparisons']['exact'] == {
    'both correct': 1,
    'both wrong': 2,
    'correct for us only': 1,
  }
  (row,) = _disagreements(tmp_path, 'exact')
  assert row == {
    'problem': 'a/1',
    'candidate': 1,
    'reference': '4',
    'answer': '4.0',
    f'{grading.GRADER_NAME} {grading.GRADER_VERSION}': True,
    'exact': False,
  }


def test_labels_of_the_input_are_compared(tmp_path):
  problem = schema.Problem(id='a/1', question='?', answer='4')
  labelled = (
    schema.Candidate('\\boxed{4}', is_correct=False),
    schema.Candidate('none', is_correct=False),
  )
  path = schema.write_jsonl(
    tmp_path / 'c.jsonl', [schema.CandidateSet(problem, labelled)]
  )
  grade.grade(tmp_path / 'graded', candidates=path)
  assert _report(tmp_path)['comparisons'][grader_agreement.INPUT_LABELS] == {
    'both wrong': 1,
    'correct for us only': 1,
  }
  assert [
    row['candidate']
    for row in _disagreements(tmp_path, grader_agreement.INPUT_LABELS)
  ] == [0]


def test_workers_give_the_same_grades(tmp_path):
  solutions = [
    '\\boxed{4}',
    'The answer is $\\frac{8}{2}$.',
    '\\boxed{9^{9^{9^9}}}',
    'none',
    '\\boxed{x}',
  ]
  here = _graded(tmp_path, *solutions)
  output = grade.grade(
    tmp_path / 'workers',
    candidates=tmp_path / 'candidates.jsonl',
    num_workers=1,
    deadline_s=30.0,
  )
  assert schema.read_candidate_sets(output)[0].candidates == here


def test_a_candidate_that_exceeds_a_limit_is_counted_and_has_no_cluster(
  tmp_path, monkeypatch
):
  # In the worker, time.sleep of a text raises TypeError.
  monkeypatch.setattr(candidate_grading, 'grade_solution', time.sleep)
  candidates = _candidate_file(tmp_path, '\\boxed{4}', '\\boxed{4}')
  output = grade.grade(
    tmp_path / 'graded', candidates=candidates, num_workers=1
  )
  report = _report(tmp_path)
  assert report['limits'] == {'TypeError': 1}
  assert report['counts']['candidates over a limit'] == 2
  candidate = schema.read_candidate_sets(output)[0].candidates[0]
  assert (candidate.cluster, candidate.is_correct) == (None, False)


def test_a_reference_that_exceeds_a_limit_leaves_correctness_unknown(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(candidate_grading, 'grade_reference', time.sleep)
  candidates = _candidate_file(tmp_path, '\\boxed{4}')
  output = grade.grade(
    tmp_path / 'graded', candidates=candidates, num_workers=1
  )
  candidate = schema.read_candidate_sets(output)[0].candidates[0]
  assert (candidate.cluster, candidate.is_correct) == (0, None)
  counts = _report(tmp_path)['counts']
  assert counts['problems whose reference is over a limit'] == 1
  assert 'problems without reference' not in counts


def test_extraction_is_under_the_limits_of_the_worker(tmp_path):
  candidates = _candidate_file(tmp_path, '\\boxed{4}' + ' ' * 3_000_000)
  output = grade.grade(
    tmp_path / 'graded', candidates=candidates, num_workers=1, deadline_s=1e-4
  )
  assert _report(tmp_path)['limits'].keys() == {'deadline'}
  candidate = schema.read_candidate_sets(output)[0].candidates[0]
  # The label is absent if the reference exceeded the deadline, too.
  assert candidate.answer is None and not candidate.is_correct


def test_limits_of_earlier_runs_are_not_counted(tmp_path):
  worker_pool.shared_pool().run(time.sleep, 'no number', 10.0)
  _graded(tmp_path, '\\boxed{4}')
  assert _report(tmp_path)['limits'] == {}


def test_results_of_two_processes_are_merged(tmp_path):
  sets = [
    schema.CandidateSet(schema.Problem(f'p{i}', '?'), ()) for i in range(3)
  ]

  def disagreement(i):
    return {'problem': f'p{i}', 'candidate': 0, 'exact': True}

  no_result = {grader_agreement.NO_RESULT: 1}
  parts = [
    graded_parts.Part(
      sets[::2],
      {'problems': 2, 'correct': 0},
      [('deadline', 'key 1'), ('died', 'key 1')],
      {'exact': {'both wrong': 2}, grader_agreement.INPUT_LABELS: no_result},
      {
        'exact': [disagreement(0), disagreement(2)],
        grader_agreement.INPUT_LABELS: [],
      },
    ),
    graded_parts.Part(
      sets[1::2],
      {'problems': 1, 'correct': 0},
      [['deadline', 'key 1']],
      {
        'exact': {'both wrong': 1, 'both correct': 1},
        grader_agreement.INPUT_LABELS: no_result,
      },
      {'exact': [disagreement(1)], grader_agreement.INPUT_LABELS: []},
    ),
  ]
  output = epath.Path(tmp_path) / 'graded' / 'graded.jsonl'
  grade._write_output(output, {'compare_with': {}}, sets, parts)
  report = _report(tmp_path)
  assert schema.read_candidate_sets(output) == sets
  assert report['counts'] == {'problems': 3, 'correct': 0}
  assert report['limits'] == {'deadline': 1, 'died': 1}
  assert report['comparisons'] == {
    'exact': {'both correct': 1, 'both wrong': 3}
  }
  assert [row['problem'] for row in _disagreements(tmp_path, 'exact')] == [
    'p0',
    'p1',
    'p2',
  ]


def test_an_unknown_grader_is_an_error_that_lists_the_known_ones(
  tmp_path,
):
  candidates = _candidate_file(tmp_path, '\\boxed{4}')
  with pytest.raises(ValueError, match="'nonsense'.*exact.*math-verify"):
    grade.grade(
      tmp_path / 'graded', candidates=candidates, compare_with=['nonsense']
    )


@pytest.mark.parametrize('text', ['{"id": 1}\n', 'nonsense\n'])
def test_a_file_without_candidates_is_an_error_that_names_the_line(
  tmp_path, text
):
  path = tmp_path / 'candidates.jsonl'
  path.write_text(text)
  with pytest.raises(ValueError, match='candidates.jsonl:1'):
    grade.grade(tmp_path / 'graded', candidates=path)


def test_the_headline_has_accuracy_and_shares_of_the_methods(
  tmp_path, capsys, caplog
):
  _graded(tmp_path, '\\boxed{4}', 'The answer is 4.', 'So 4 remain.', 'None.')
  headline = _report(tmp_path)['headline']
  assert headline == (
    '75.0% correct; 4 candidates, answers by box 25.0%, phrase 25.0%, '
    'final_sentence 25.0%, no answer 25.0%; not known how many were cut'
  )
  printed = capsys.readouterr().out
  assert printed.splitlines()[0].endswith(headline)
  assert 'WARNING: 25.0% of the candidates have no answer' in printed
  assert (
    '25.0% of the candidates have no answer' not in caplog.text
  )  # only once


def test_each_candidate_says_how_its_answer_was_found(tmp_path):
  graded = _graded(tmp_path, '\\boxed{4}', 'So 4 remain.', 'None.')
  assert [each.how for each in graded] == ['box', 'final_sentence', None]


def test_only_announced_answers_count_if_wanted(tmp_path):
  candidates = _candidate_file(tmp_path, 'The answer is 4.', 'So 4 remain.')
  output = grade.grade(
    tmp_path / 'graded', candidates=candidates, find_answers='announced'
  )
  graded = schema.read_candidate_sets(output)[0].candidates
  assert [each.answer for each in graded] == ['4', None]


@pytest.mark.parametrize(
  'answer, solution, reference, method',
  [
    ('4', '', '4', 'given'),
    (r'x \neq 3', '', r'x \neq 3', 'given'),
    ('The answer is 4.', '', '4', 'phrase'),
    ('2 + 2 = 4 apples\n#### 4', '', '4', 'hash'),
    ('So we get $2 + 2 = \\boxed{4}$.', '', '4', 'box'),
    (None, 'The roots are $\\boxed{4}$ and $\\boxed{5}$.', '4, 5', 'boxes'),
    ('5', 'The roots are $\\boxed{4}$ and $\\boxed{5}$.', '4, 5', 'boxes'),
    (None, 'There are $\\boxed{}$ primes among the 12.', None, None),
    (
      'She sold 48 clips in April and half as many in May, so she sold 48 + 24 = 72 clips.',
      '',
      '72',
      'final_sentence',
    ),
  ],
)
def test_references_are_read_like_answers(answer, solution, reference, method):
  problem = schema.Problem('a', '?', solution=solution, answer=answer)
  found = references.find_reference(problem)
  assert (found and found.text, found and found.method) == (reference, method)


def test_clusters_with_two_verdicts_in_the_input_are_reported(tmp_path):
  problem = schema.Problem(id='a/1', question='?')
  labelled = (
    schema.Candidate('\\boxed{4}', is_correct=True),
    schema.Candidate('\\boxed{4.0}', is_correct=False),
    schema.Candidate('\\boxed{5}', is_correct=False),
  )
  path = schema.write_jsonl(
    tmp_path / 'c.jsonl', [schema.CandidateSet(problem, labelled)]
  )
  grade.grade(tmp_path / 'graded', candidates=path)
  [conflict] = [
    json.loads(line)
    for line in (tmp_path / 'graded' / 'two_verdicts.jsonl').open()
  ]
  assert conflict == {
    'problem': 'a/1',
    'cluster': 0,
    'correct': ['4'],
    'wrong': ['4.0'],
  }
  assert 'two verdicts' in _report(tmp_path)['warnings'][-1]


def test_limits_of_length_and_depth_are_counted_by_kind(tmp_path):
  _graded(
    tmp_path,
    '\\boxed{' + '1+' * 1500 + '1}',
    '\\boxed{' + '(' * 60 + '1' + ')' * 60 + '}',
    '\\boxed{4}',
  )
  assert _report(tmp_path)['limits'] == {'depth': 1, 'length': 1}


def test_a_text_that_cannot_be_written_is_refused_with_file_and_line(tmp_path):
  path = tmp_path / 'c.jsonl'
  good = '{"problem": {"id": "a", "question": "?"}, "candidates": []}\n'
  bad = good.replace('[]', '[{"solution": "4"}, {"solution": "\\ud800"}]')
  path.write_text(good + '\n' + bad)
  with pytest.raises(ValueError, match=r'c\.jsonl:3: the text .* surrogate'):
    grade.grade(tmp_path / 'graded', candidates=path)
