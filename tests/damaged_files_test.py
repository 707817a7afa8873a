"""Files that were cut or changed: repaired where that is safe, else named in one line."""

import json

from etils import epath
import pytest

from mathft_jax import evaluate, grade
from mathft_jax.data import schema
from mathft_jax.evaluation import voting
from mathft_jax.grading import graded_parts
from mathft_jax.inference import resumable_output
from mathft_jax.monitoring import metrics


def candidate_sets(count=5):
  sets = []
  for index in range(count):
    problem = schema.Problem(f'p{index}', '1 + 1?', answer='2')
    candidates = (
      schema.Candidate('\\boxed{2}', score=0.5),
      schema.Candidate('\\boxed{3}', score=0.1),
    )
    sets.append(schema.CandidateSet(problem, candidates))
  return sets


def make_output(folder):
  """A finished job of `sample`."""
  job = resumable_output.BatchJob(epath.Path(folder) / 'out.jsonl', {'seed': 1})
  assert not job.is_complete()
  job.begin()
  job.add(candidate_sets())
  job.finish([each.problem.id for each in candidate_sets()])
  assert job.is_complete()
  return job


def is_output(job):
  problems = [each.problem for each in candidate_sets()]
  return resumable_output.is_output_of(job.output, {'seed': 1}, problems)


@pytest.mark.parametrize('cut', ['in a line', 'between lines', 'one character'])
def test_a_finished_output_that_was_cut_or_changed_is_not_used(tmp_path, cut):
  job = make_output(tmp_path)
  assert is_output(job)
  data = job.output.read_bytes()
  if cut == 'one character':
    data = data.replace(b'boxed{3}', b'boxed{2}', 1)
  elif cut == 'in a line':
    data = data[:-20]
  else:
    data = data[: data[:-1].rindex(b'\n') + 1]
  job.output.write_bytes(data)

  assert not is_output(job)
  with pytest.raises(ValueError, match=r'out.jsonl is not the file.*Delete it'):
    job.is_complete()


def test_an_output_of_an_older_version_without_a_digest_is_complete(tmp_path):
  job = make_output(tmp_path)
  path = tmp_path / 'out.settings.json'
  path.write_text('{"seed": 1}')
  assert job.is_complete() and is_output(job)
  job.output.write_bytes(job.output.read_bytes()[:-1])
  with pytest.raises(ValueError, match='is not the file that was written'):
    job.is_complete()


@pytest.mark.parametrize(
  'contents',
  [
    b'',
    b'{"seed": 1',
    b'[]',
    b'null',
    b'\xff\x00',
    b'\x1f\x8b',
    b'{"seed": ' + b'9' * 10_000 + b'}',
    b'[' * 100_000,
  ],
)
def test_damaged_settings_are_named_with_what_to_delete(tmp_path, contents):
  job = make_output(tmp_path)
  (tmp_path / 'out.settings.json').write_bytes(contents)
  assert not is_output(job)
  with pytest.raises(
    ValueError, match=r'out.settings.json is damaged.*Delete it'
  ) as found:
    job.is_complete()
  assert '\n' not in str(found.value)


@pytest.mark.parametrize(
  'contents, words',
  [
    (b'{}', "there: {'seed': None}"),
    (b'{"seed": "1"}', "there: {'seed': '1'}"),
    (b'{"seed": 1, "mesh": []}', "there: {'mesh': []}"),
    (b'{"seed": 1, "output_sha256": 5}', 'is not the file that was written'),
  ],
)
def test_wrong_settings_are_named(tmp_path, contents, words):
  job = make_output(tmp_path)
  (tmp_path / 'out.settings.json').write_bytes(contents)
  assert not is_output(job)
  with pytest.raises(ValueError) as found:
    job.is_complete()
  assert words in str(found.value)
  assert 'elete' in str(found.value)


@pytest.mark.parametrize('contents', [b'', b'{"problem": {"id"', b'\xff\n'])
def test_damaged_parts_are_made_again(tmp_path, contents):
  job = resumable_output.BatchJob(
    epath.Path(tmp_path) / 'out.jsonl', {'seed': 1}
  )
  job.begin()
  job.add(candidate_sets()[:2])
  job.add(candidate_sets()[2:])
  part = tmp_path / 'out.parts' / '000000.0000.jsonl'
  part.write_bytes(contents)
  assert sorted(job.begin()) == ['p2', 'p3', 'p4']
  job.add(candidate_sets()[:2])
  job.finish([each.problem.id for each in candidate_sets()])
  assert schema.read_candidate_sets(job.output) == candidate_sets()


def metric_steps(folder):
  path = folder / 'metrics.jsonl'
  return [json.loads(line)['step'] for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(
  'last', [b'{"step": 3, "lo', b'{"ste}', b'\xff\xfe', b'3']
)
def test_the_last_line_of_metrics_may_be_cut(tmp_path, last):
  lines = b'{"step": 1, "split": "train"}\n{"step": 2, "split": "train"}\n'
  (tmp_path / 'metrics.jsonl').write_bytes(lines + last)
  with metrics.MetricWriter(tmp_path, start_step=9, tensorboard=False):
    pass
  assert metric_steps(tmp_path) == [1, 2]


@pytest.mark.parametrize(
  'damaged', [b'{"step": 1, "spl', b'\xff', b'{}', b'[]']
)
def test_another_damaged_line_of_metrics_is_named(tmp_path, damaged):
  lines = b'{"step": 0}\n' + damaged + b'\n{"step": 2}\n'
  (tmp_path / 'metrics.jsonl').write_bytes(lines)
  with pytest.raises(ValueError, match=r'metrics.jsonl:2 is damaged.*Delete'):
    metrics.MetricWriter(tmp_path, start_step=9, tensorboard=False)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == lines


def graded(tmp_path, count=5):
  path = schema.write_jsonl(tmp_path / 'in.jsonl', candidate_sets(count))
  return grade.grade(tmp_path / 'graded', candidates=path)


@pytest.mark.parametrize('name', ['graded.jsonl', 'graded.report.json'])
@pytest.mark.parametrize('contents', [b'', b'{"settings": ', b'[]', b'\xff'])
def test_damaged_graded_files_are_made_again(tmp_path, name, contents):
  output = graded(tmp_path)
  path = output.parent / name
  whole = path.read_bytes()
  path.write_bytes(contents)
  graded(tmp_path)
  assert path.read_bytes() == whole


@pytest.mark.slow
def test_a_damaged_report_is_made_again(tmp_path):
  output = graded(tmp_path)

  def report():
    return evaluate.evaluate(
      tmp_path / 'report',
      candidates=output,
      rules=[voting.Majority()],
      resamples=20,
      draws=2,
      print_tables=False,
    )

  path = report()
  whole = path.read_bytes()
  for contents in (b'', b'{"schema": ', b'[]', b'\xff'):
    path.write_bytes(contents)
    report()
    assert path.read_bytes() == whole, contents


class Stopped(BaseException):
  """Stands for a kill."""


@pytest.mark.parametrize('damage', [False, True])
def test_grade_keeps_what_is_finished(tmp_path, monkeypatch, damage):
  monkeypatch.setattr(graded_parts, 'CHUNK', 2)
  whole = graded(tmp_path / 'whole')
  real, chunks = grade._grade_part, []

  def stop_in_the_third(sets, *arguments):
    chunks.append([each.problem.id for each in sets])
    if len(chunks) == 3:
      raise Stopped
    return real(sets, *arguments)

  monkeypatch.setattr(grade, '_grade_part', stop_in_the_third)
  with pytest.raises(Stopped):
    graded(tmp_path / 'stopped')
  if damage:
    part = tmp_path / 'stopped/graded/graded.parts/0000.000000.jsonl'
    part.write_bytes(part.read_bytes()[:-9])
  resumed = graded(tmp_path / 'stopped')

  again = [['p0', 'p1']] if damage else []
  assert chunks == [['p0', 'p1'], ['p2', 'p3'], ['p4'], *again, ['p4']]
  assert resumed.read_bytes() == whole.read_bytes()
  assert not (resumed.parent / 'graded.parts').exists()
  reports = []
  for output in (whole, resumed):
    report = json.loads((output.parent / 'graded.report.json').read_text())
    del report['settings']
    reports.append(report)
  assert reports[0] == reports[1]
