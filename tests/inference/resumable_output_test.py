"""Jobs: parts of several processes, folders that not all see, outputs that lack something."""

import json
import types

from etils import epath
import pytest

from mathft_jax.data import schema
from mathft_jax.inference import resumable_output


def sets(*ids):
  return [schema.CandidateSet(schema.Problem(each, '?'), ()) for each in ids]


@pytest.fixture(name='job')
def _job(tmp_path):
  return resumable_output.BatchJob(
    epath.Path(tmp_path) / 'out.jsonl', {'seed': 1}
  )


@pytest.fixture(name='be')
def _be(monkeypatch):
  """be(index, count, first={what: text}): makes this process one of several; `first` is primary."""

  def be(index, count, **first):
    def told(name, text=None):
      return next(
        (said for what, said in first.items() if name.endswith(what)), text
      )

    monkeypatch.setattr(
      resumable_output,
      'processes',
      types.SimpleNamespace(
        process_index=lambda: index,
        process_count=lambda: count,
        is_primary=lambda: index == 0,
        broadcast_from_primary=told,
        run_on_primary=lambda name, work: work() if index == 0 else None,
        wait_at_barrier=lambda name: None,
        wait_until_visible=lambda is_there: is_there(),
      ),
    )

  return be


def test_parts_of_processes_have_names_of_their_own_also_after_a_restart_with_fewer(
  job, be
):
  be(0, 3)
  job.begin()
  for index, count, ids in [
    (0, 3, 'a'),
    (2, 3, 'b'),
    (2, 3, 'c'),
    (0, 1, 'd'),
    (0, 2, 'e'),
    (1, 2, 'f'),
  ]:
    be(index, count)
    job.add(sets(ids))
  be(0, 1)
  assert sorted(job.begin()) == list('abcdef')
  assert schema.read_candidate_sets(job.finish('fedcba')) == sets(*'fedcba')
  assert [
    path.name for path in job.output.parent.iterdir() if path.is_dir()
  ] == []


def test_a_process_that_does_not_see_the_firsts_files_says_so(job, be):
  be(1, 2, parts='of the first')
  with pytest.raises(
    ValueError, match='Process 1 does not see .* a folder that all hosts share'
  ):
    job.begin()


def test_a_process_with_other_settings_than_the_first_is_refused(job, be):
  be(1, 2, complete=json.dumps({'settings': {'seed': 2}, 'complete': False}))
  with pytest.raises(
    ValueError, match="Process 1 .*\n  there: {'seed': 2}\n  now:   {'seed': 1}"
  ):
    job.is_complete()


def test_the_first_process_decides_for_all_whether_the_output_is_there(job, be):
  for said in (True, False):
    be(1, 2, complete=json.dumps({'settings': {'seed': 1}, 'complete': said}))
    assert job.is_complete() is said


@pytest.mark.parametrize('count', [1, 2])
def test_an_output_that_lacks_a_problem_is_not_written(job, be, count):
  be(0, count)
  job.begin()
  job.add(sets('a'))
  with pytest.raises(RuntimeError, match=r"1 problems are missing, \['b'\]"):
    job.finish(['a', 'b'])
  assert not job.output.exists() and sorted(job.begin()) == ['a']


def test_other_weights_are_refused_where_both_are_known(tmp_path):
  output = epath.Path(tmp_path) / 'out.jsonl'

  def job(**weights):
    return resumable_output.BatchJob(output, {'seed': 1, **weights})

  first = job(checkpoint_step=4, checkpoint_weights='ab')
  first.begin()
  first.add(sets('x'))
  first.finish(['x'])
  assert job(checkpoint_step=4, checkpoint_weights='ab').is_complete()
  assert job().is_complete()  # the checkpoint was deleted
  with pytest.raises(ValueError, match=r"there: {'checkpoint_step': 4,"):
    job(checkpoint_step=14, checkpoint_weights='cd').is_complete()
  with pytest.raises(ValueError, match="there: {'checkpoint_weights': 'ab'}"):
    job(checkpoint_step=4, checkpoint_weights='cd').is_complete()
