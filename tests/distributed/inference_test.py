"""Sampling, scoring and grading on several processes write what one process writes."""

import json
import pathlib
import sys

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints
from mathft_jax.data import schema
from mathft_jax.models import transformer

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import inference_program  # noqa: E402 (the program that the processes run)

pytestmark = pytest.mark.slow

SOLUTIONS = ('so \\boxed{4}', 'so \\boxed{4.0}', 'it is \\boxed{5}', 'no idea')


@pytest.fixture(scope='module', name='inputs')
def _inputs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('inputs')
  params = transformer.init_params(inference_program.MODEL, jax.random.key(0))
  eos_id = inference_program.VOCABULARY.eos_id
  # Some candidates end.
  params['embedding'] = params['embedding'].at[eos_id].mul(3)
  checkpoints.save_orbax_checkpoint(
    folder / 'step', params, {'model': inference_program.MODEL}
  )
  checkpoints.save_safetensors(
    folder / 'one.safetensors', params, {'model': inference_program.MODEL}
  )
  rng = np.random.default_rng(0)
  # The first has no candidate.
  schema.write_jsonl(
    folder / 'written.jsonl',
    [
      schema.CandidateSet(
        schema.Problem(f'w{i}', 'why? ' * rng.integers(1, 20), answer='4'),
        tuple(
          schema.Candidate(
            str(rng.choice(SOLUTIONS)),
            is_correct=bool(c % 2),
            cluster=c % 2,
            score=float(rng.random()),
          )
          for c in range(i % 5)
        ),
      )
      for i in range(11)
    ],
  )
  return folder


@pytest.fixture(scope='module', name='run')
def _run(run_processes, inputs):
  """run(workdir, count, work): `inference_program` in `count` processes, four devices in all."""

  def run(workdir, count, work, dies=''):
    return run_processes(
      count,
      4 // count,
      [
        '-m',
        'inference_program',
        f'--gin.inference_program.run.workdir={workdir}',
        f'--gin.inference_program.run.work="{work}"',
        f'--gin.inference_program.run.inputs={inputs}',
        f'--gin.inference_program.run.dies="{dies}"',
        '--heartbeat_timeout_s=10',
      ],
      seconds=500,
      environment={'PYTHONPATH': f'{HERE.parent.parent}:{HERE}'},
    )

  return run


@pytest.fixture(scope='module', name='made')
def _made(run, tmp_path_factory):
  """made[count]: the folder of the work of 1, 2 and 4 processes, and how they ended.

  The sampling of two processes goes on where one was killed, and the other way round.
  """
  folders = {
    count: tmp_path_factory.mktemp(f'of_{count}') for count in (1, 2, 4)
  }
  killed = {
    2: run(folders[2], 1, 'sample', dies='0:1'),
    1: run(folders[1], 2, 'sample', dies='1:1'),
  }
  parts = {
    count: len(list(folders[count].glob('sample/candidates.parts/*.jsonl')))
    for count in killed
  }
  ended = {
    1: run(
      folders[1], 1, 'sample,few,few:2,few:4,score,grade,evaluate,convert'
    ),
    2: run(folders[2], 2, 'sample,few,few:4,score,grade,evaluate,convert'),
    4: run(folders[4], 4, 'sample,few,few:2'),
  }
  for each in (each for group in ended.values() for each in group):
    assert each.status == 0, each.output
  return {'folders': folders, 'killed': killed, 'parts': parts, 'ended': ended}


def same_bytes(made, name, counts):
  contents = set()
  for count in counts:
    folder = made['folders'][count]
    content = (folder / name).read_bytes()
    # The titles of reports name the folder.
    contents.add(content.replace(folder.name.encode(), b'folder'))
  return len(contents) == 1


def candidates(made, name, count):
  sets = schema.read_candidate_sets(
    made['folders'][count] / name / 'candidates.jsonl'
  )
  return [each for unit in sets for each in unit.candidates]


def test_one_two_and_four_processes_write_the_same_candidates(made):
  assert same_bytes(made, 'sample/candidates.jsonl', (1, 2, 4))
  found = candidates(made, 'sample', 4)
  assert len(found) == 63 and {each.finished for each in found} == {True, False}


def test_a_killed_run_goes_on_with_another_number_of_processes(made):
  assert all(
    any(each.status != 0 for each in group) for group in made['killed'].values()
  )
  assert made['parts'][1] >= 1 and made['parts'][2] >= 1
  # And something was left to do.
  assert 'group 1 of 2: ' in made['ended'][2][0].output
  assert not list(made['folders'][1].glob('*/*.parts'))


def test_fewer_problems_than_groups_are_sampled_by_those_that_get_one(made):
  assert same_bytes(made, 'few/candidates.jsonl', (1, 2, 4))
  whole = dict(
    zip(
      [
        (problem.id, c)
        for problem in inference_program.PROBLEMS
        for c in range(3)
      ],
      candidates(made, 'sample', 1),
    )
  )
  few = candidates(made, 'few', 1)
  assert few == [whole[f'p{i}', c] for i in (3, 4, 5) for c in range(3)]


@pytest.mark.parametrize('name, count', [('few_4', 2), ('few_2', 4)])
def test_a_model_that_needs_two_processes_is_sampled_by_groups_of_two(
  made, name, count
):
  """The sums over `model` come in another order between processes: the last bit may differ."""
  here, there = candidates(made, name, 1), candidates(made, name, count)
  assert [each.token_ids for each in here] == [each.token_ids for each in there]
  np.testing.assert_allclose(
    [each.log_prob for each in here],
    [each.log_prob for each in there],
    rtol=1e-6,
  )


def test_two_processes_write_the_same_scores_as_one(made):
  assert same_bytes(made, 'score/scored.jsonl', (1, 2))


@pytest.mark.parametrize(
  'name',
  [
    'graded.jsonl',
    'graded.report.json',
    'disagreements.exact.jsonl',
    'disagreements.previous.jsonl',
  ],
)
def test_two_processes_grade_as_one_and_the_report_counts_both(made, name):
  assert same_bytes(made, f'grade/{name}', (1, 2))
  counts = json.loads(
    (made['folders'][2] / 'grade' / 'graded.report.json').read_text()
  )['counts']
  assert (counts['problems'], counts['candidates']) == (11, 20)


def test_what_is_written_and_printed_once_comes_from_the_first_process(made):
  assert same_bytes(made, 'evaluate/report.md', (1, 2))
  assert same_bytes(made, 'convert/one.safetensors', (1, 2))
  first, second = made['ended'][2]
  assert 'Maj1@' in first.output and 'Maj1@' not in second.output
  assert 'evaluate: ' not in second.output
