"""Tests of the programs measure and rerank with stand-in programs."""

import json

from etils import epath
import pytest

from mathft_jax import evaluate, grade, measure, rerank
from mathft_jax.data import schema
from mathft_jax.evaluation import evaluated_file, voting
from mathft_jax.evaluation.report import report_json

RULES = (voting.Majority(), voting.Rerank(), voting.Oracle())
PROBLEMS = [
  schema.Problem(f'test/{i}', f'{i} + 1?', answer=str(i + 1)) for i in range(6)
]


def report(workdir, *, candidates, greedy_candidates):
  return evaluate.evaluate(
    workdir,
    candidates=candidates,
    greedy_candidates=greedy_candidates,
    rules=RULES,
    resamples=50,
    draws=2,
    print_tables=False,
  )


def sampler(answers, calls):
  """Candidates whose answers are off by the given numbers."""

  def call(workdir, *, checkpoint, problems, seed):
    calls.append((workdir.name, checkpoint, seed))
    return schema.write_jsonl(
      workdir / 'candidates.jsonl',
      [
        schema.CandidateSet(
          problem,
          tuple(
            schema.Candidate(f'\\boxed{{{int(problem.answer) + off}}}')
            for off in answers
          ),
        )
        for problem in problems
      ],
    )

  return call


def scorer(calls):
  """Scores that are 1 for correct candidates."""

  def call(workdir, *, checkpoint, candidates):
    calls.append((workdir.name, str(checkpoint)))
    rows = [
      json.loads(line)
      for line in epath.Path(candidates).read_text().splitlines()
    ]
    for row in rows:
      for candidate in row['candidates']:
        candidate['score'] = float(candidate['is_correct'])
    path = workdir / 'scored.jsonl'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path

  return call


def accuracies(path, name):
  found = json.loads(epath.Path(path).read_text())['files'][name]['accuracies']
  return {row['name']: row['mean'] for row in found}


@pytest.fixture
def graded(tmp_path):
  measure.measure(
    tmp_path / 'b',
    checkpoint='b',
    problems=PROBLEMS,
    sample=sampler((1, 1, 0), []),
    sample_greedy=None,
    grade=grade.grade,
    evaluate=report,
  )
  return tmp_path / 'b' / 'graded' / 'graded.jsonl'


def test_a_checkpoint_is_sampled_graded_and_reported_on(tmp_path):
  calls = []
  path = measure.measure(
    tmp_path,
    checkpoint='base',
    problems=PROBLEMS,
    sample=sampler((0, 0, 1), calls),
    sample_greedy=sampler((2,), calls),
    grade=grade.grade,
    evaluate=report,
    seed=3,
  )
  assert calls == [('greedy', 'base', 3), ('candidates', 'base', 3)]
  found = accuracies(path, 'graded')
  assert (found['Maj1@N'], found['Pass@1 (greedy)']) == (1.0, 0.0)


def test_an_evaluator_reranks_another_models_candidates(tmp_path, graded):
  calls = []
  path = rerank.rerank(
    tmp_path / 'a_on_b',
    checkpoint='evaluator',
    candidates=graded,
    score=scorer(calls),
    evaluate=report,
  )
  assert calls == [('scored', 'evaluator')]
  found = accuracies(path, 'scored')
  assert (found['Maj1@N'], found['RR.All']) == (0.0, 1.0)


def test_an_evaluator_is_trained_first_and_judges_several_files(
  tmp_path, graded
):
  calls = []

  def train(workdir, *, init_from):
    calls.append((workdir.name, init_from))
    return workdir / 'checkpoints' / '5'

  path = rerank.rerank(
    tmp_path / 'c',
    checkpoint='ssft',
    candidates={'one': graded, 'two': graded},
    score=scorer(calls),
    evaluate=report,
    train=train,
  )
  evaluator = str(tmp_path / 'c/scr/checkpoints/5')
  assert calls == [
    ('scr', 'ssft'),
    ('scored_one', evaluator),
    ('scored_two', evaluator),
  ]
  assert accuracies(path, 'two')['RR.All'] == 1.0


def test_several_benchmarks_are_measured_in_one_table(tmp_path):
  calls = []

  def sample(workdir, *, num_decodes=2, **inputs):
    return sampler((0, 1, 0, 0)[:num_decodes], calls)(workdir, **inputs)

  def report_without_plots(workdir, *, candidates, greedy_candidates):
    file = evaluated_file.evaluate_file(candidates, RULES, greedy_candidates)
    settings = report_json.ReportSettings('Maj1@N', 0.95, 50, 2, 0)
    section = report_json.make_file_section(file, RULES, settings)
    workdir.mkdir(parents=True)
    path = workdir / 'report.json'
    path.write_text(json.dumps({'files': {'graded': section}}))
    return path

  arguments = {
    'checkpoint': 'base',
    'sample': sample,
    'sample_greedy': sampler((0,), calls),
    'grade': grade.grade,
    'evaluate': report_without_plots,
  }
  path = measure.measure(
    tmp_path,
    problems={'one': PROBLEMS, 'two': PROBLEMS[:3]},
    decodes_by_benchmark={'two': 4},
    **arguments,
  )
  contents = json.loads(path.read_text())
  found = contents['benchmarks']
  assert [entry['candidates_per_problem'] for entry in found.values()] == [2, 4]
  assert found['one']['accuracies']['avg@N']['mean'] == 0.5
  assert found['two']['accuracies']['avg@N']['mean'] == 0.75
  assert found['two']['accuracies']['Pass@1 (greedy)']['low'] < 1
  table = ' '.join((tmp_path / 'benchmarks.md').read_text().split())
  assert '| two | 3 | 4 | 100.0 [' in table
  average = contents['average']['accuracies']['avg@N']
  assert average['mean'] == 0.625 and average['n'] == 9
  assert '| average of 2 | 9 | - | 100.0 [' in table
  assert f'| 62.5 [{100 * average["low"]:.1f}, ' in table
  with pytest.raises(ValueError, match="DECODES_BY_BENCHMARK has 'three'"):
    measure.measure(
      tmp_path,
      problems={'one': PROBLEMS},
      decodes_by_benchmark={'three': 4},
      **arguments,
    )
