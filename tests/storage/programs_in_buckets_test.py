"""Programs whose every path is in a bucket, gin file included; and what they refuse at first."""

import importlib.util
import json

from etils import epath
import pytest

from mathft_jax import convert, evaluate, grade, recipe, sweep
from mathft_jax.config import entry_point
from mathft_jax.data import schema, tokenizer_files
from mathft_jax.dials import dial_problems
from mathft_jax.evaluation import voting
from mathft_jax.inference import resumable_output

pytestmark = pytest.mark.usefixtures('quick_compiles')
SMALL = """
from __gin__ import dynamic_registration
from mathft_jax import evaluate
from mathft_jax import recipe
from mathft_jax import train
from mathft_jax.data import examples
from mathft_jax.dials import dial_problems
from mathft_jax.training import optimizers
from mathft_jax.training import train_config

include 'recipes/tiny_cpu.gin'

SOLUTIONS = {'fine': @fine/examples.SolutionExamples()}
COMPARED_STYLES = ('fine', 'fine')
VERDICTS = {'margin': @margin/examples.VerdictExamples()}
FEW_SHOT = {}
CURVE_PROBLEMS = 2
NUM_DECODES = 4
NUM_TRAIN_DECODES = 4
DECODE_BATCH_SIZE = 8
SCORE_BATCH_SIZE = 8
BATCH_SIZE = 8
dial_problems.DialProblems:
  num_train = 16
  num_validation = 2
  num_test = 6
  turn_range = (2, 6)  # of which the base solves some
recipe.Stages:
  scr = {'margin': @scr_margin/train.train}
  ssft_again = None
  control = None
  score_by_likelihood = None
optimizers.Cosine.warmup_steps = 1
ssft/train.train.train_steps = 2
scr_margin/train.train.train_steps = 2
train_config.LoopConfig.tensorboard = False
scr_margin/train_config.LoopConfig.eval_period = None  # too few problems for validation verdicts
evaluate.evaluate:
  resamples = 50
  draws = 2
"""


def run(program, *arguments):
  return entry_point.main(program, [program.__name__, *arguments])


@pytest.fixture
def weights(bucket):
  """The path of the weights that the tiny recipe starts from."""
  return str(
    epath.Path(dial_problems.base_weights_path()).copy(
      f'{bucket[0]}/base.safetensors'
    )
  )


@pytest.mark.slow
def test_a_recipe_in_a_bucket_makes_what_it_makes_on_a_disk(
  bucket, weights, tmp_path, bucket_server, capsys
):
  config = epath.Path(f'{bucket[0]}/small.gin')
  config.write_text(SMALL)
  begin = [f'--gin_file={config}', f'--gin.INITIAL_CHECKPOINT_PATH={weights}']
  assert run(recipe.recipe, *begin, f'--gin.MODEL_DIR={bucket[0]}/run') == 0, (
    capsys.readouterr()
  )
  assert run(recipe.recipe, *begin, f'--gin.MODEL_DIR={tmp_path}') == 0
  made = {
    name.removeprefix('run/') for name in bucket[1] if name.startswith('run/')
  }
  here = {
    str(path.relative_to(tmp_path))
    for path in tmp_path.rglob('*')
    if path.is_file()
  }
  outputs = {name for name in here if 'checkpoints' not in name}
  assert outputs == {name for name in made if 'checkpoints' not in name}
  assert {name.rpartition('.')[2] for name in outputs} >= {
    'jsonl',
    'json',
    'md',
    'html',
    'svg',
  }
  for name in outputs:
    if name.endswith(
      ('candidates.jsonl', 'graded.jsonl', 'scored.jsonl', 'tables.md')
    ):
      assert (
        bucket[1][f'run/{name}'].content == (tmp_path / name).read_bytes()
      ), name
  before = dict(bucket[1])
  assert run(recipe.recipe, *begin, f'--gin.MODEL_DIR={bucket[0]}/run') == 0
  again = {name for name in bucket[1] if bucket[1][name] != before.get(name)}
  assert again <= {
    'run/config.gin',
    'run/tables.md',
    'run/tables.json',
    'run/costs.md',
    'run/costs.json',
  }


def test_a_config_that_is_not_in_the_bucket_is_named(bucket, capsys):
  assert run(recipe.recipe, f'--gin_file={bucket[0]}/none.gin') == 2
  assert f'No gin file {bucket[0]}/none.gin.' in capsys.readouterr().err


@pytest.mark.parametrize(
  'state, reason',
  [
    ('missing', 'FileNotFoundError'),
    ('read only', 'does not have storage.objects.create'),
  ],
)
def test_a_workdir_that_cannot_be_written_is_refused_before_any_work(
  bucket, bucket_server, state, reason, tmp_path, capsys
):
  workdir = (
    f'{bucket[0]}/run' if state == 'read only' else 'gs://no-such-bucket/run'
  )
  bucket_server[0].read_only.add(bucket[0].removeprefix('gs://'))
  candidates = str(tmp_path / 'never_read.jsonl')
  status = run(
    grade.grade,
    f'--gin.grade.grade.workdir={workdir}',
    f'--gin.grade.grade.candidates={candidates}',
  )
  told = capsys.readouterr().err
  assert (
    status == 1 and f'{workdir} cannot be written' in told and reason in told
  )
  assert (
    'gcloud auth application-default login' in told and 'Traceback' not in told
  )
  with pytest.raises(ValueError, match='cannot be written'):
    convert.convert(
      checkpoint=dial_problems.base_weights_path(),
      output=f'{workdir}.safetensors',
    )
  assert (
    sweep.main(
      [
        'sweep',
        '--question=margin',
        f'--workdir={workdir}',
        '--collect',
        '--',
        'python',
        '-m',
        'mathft_jax.rerank',
      ]
    )
    == 2
  )


def test_without_the_client_the_line_that_installs_it_is_told(
  monkeypatch, capsys
):
  real = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name, *rest: None if name == 'gcsfs' else real(name, *rest),
  )
  status = run(
    grade.grade,
    '--gin.grade.grade.workdir=here',
    '--gin.grade.grade.candidates=gs://mine/x.jsonl',
    '--dry_run',
  )
  assert status == 0
  assert (
    run(
      grade.grade,
      '--gin.grade.grade.workdir=gs://mine/graded',
      '--gin.grade.grade.candidates=x.jsonl',
    )
    == 1
  )
  assert run(recipe.recipe, '--gin_file=gs://mine/x.gin') == 2
  assert capsys.readouterr().err.count("pip install 'mathft_jax[gcs]'") == 2


def test_reports_in_a_bucket_are_compared(bucket, capsys):
  for name, right in (('small', 1), ('large', 3)):
    candidates = schema.write_jsonl(
      f'{bucket[0]}/{name}.jsonl',
      [
        schema.CandidateSet(
          schema.Problem(str(i), f'{i}?', answer='1'),
          (schema.Candidate('1', answer='1', is_correct=i < right, cluster=0),),
        )
        for i in range(4)
      ],
    )
    evaluate.evaluate(
      f'{bucket[0]}/sweep/{name}/report',
      candidates=candidates,
      rules=(voting.Majority(),),
      resamples=20,
      draws=2,
      print_tables=False,
    )
  planned = [
    sweep.SweepRun(name, epath.Path(f'{bucket[0]}/sweep/{name}'), ('run', name))
    for name in ('small', 'large', 'missing')
  ]
  assert sweep.write_comparison('size', f'{bucket[0]}/sweep', planned, {}) == 1
  found = json.loads(bucket[1]['sweep/comparison.json'].content)
  assert found['states'] == {
    'small': 'done',
    'large': 'done',
    'missing': 'no report',
  }
  [report] = found['reports']
  assert report['label'] == 'report'
  assert report['rows']['large']['Maj1@N']['mean'] == 0.75
  assert 'size: report' in bucket[1]['sweep/comparison.md'].content.decode()


def test_a_job_in_a_bucket_goes_on_after_a_stop(bucket):
  sets = [
    schema.CandidateSet(
      schema.Problem(str(i), f'{i}?'), (schema.Candidate('x'),)
    )
    for i in range(20)
  ]
  job = resumable_output.BatchJob(
    epath.Path(bucket[0]) / 'run' / 'candidates.jsonl', {'seed': 0}
  )
  assert not job.is_complete() and job.begin() == {}
  for each in sets[:18]:
    job.add([each])
  again = resumable_output.BatchJob(job.output, {'seed': 0})
  assert not again.is_complete() and set(again.begin()) == {
    str(i) for i in range(18)
  }
  again.add(sets[18:])
  again.finish([each.problem.id for each in sets])
  assert schema.read_candidate_sets(job.output) == sets
  assert sorted(bucket[1]) == [
    'run/candidates.jsonl',
    'run/candidates.settings.json',
  ]
  with pytest.raises(ValueError, match='created with other settings'):
    resumable_output.BatchJob(job.output, {'seed': 1}).is_complete()


@pytest.mark.parametrize('name', ['rows.jsonl', 'rows.jsonl.gz'])
def test_a_file_of_records_appears_whole_or_not_at_all(bucket, name):
  def rows(stop):
    yield {'id': '1', 'text': 'é' * 1000}
    if stop:
      raise KeyboardInterrupt
    yield {'id': '2'}

  path = f'{bucket[0]}/{name}'
  with pytest.raises(KeyboardInterrupt):
    schema.write_jsonl(path, rows(True))
  assert name not in bucket[1]
  schema.write_jsonl(path, rows(False))
  assert [row['id'] for _, row in schema.read_jsonl(path)] == ['1', '2']
  assert list(bucket[1]) == [name]


def test_tokenizers_are_read_from_a_bucket(bucket, tokenizer_paths):
  for kind, path in tokenizer_paths.items():
    copied = epath.Path(path).copy(f'{bucket[0]}/{kind}/{path.name}')
    for place in (copied, copied.parent):
      assert (
        tokenizer_files.load_tokenizer(place).digest
        == tokenizer_files.load_tokenizer(path).digest
      )
