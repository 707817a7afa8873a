"""Plans of runs on accelerators that nobody owns, from their gin files alone."""

import dataclasses
import json

import pytest

from mathft_jax import plan
from mathft_jax.aot import (
  report,
  roofline,
  sampling_estimate,
  training_estimate,
)
from mathft_jax.config import configured_programs as stages_lib
from mathft_jax.config import entry_point
from mathft_jax.data.example_types import SolutionExample

REMAT = "transformer.TransformerConfig.remat = 'full'"
TRAIN = [
  '--gin_file=models/tiny.gin',
  '--gin_file=stages/ssft.gin',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 64}",
]
INFER = [
  '--gin_file=models/tiny.gin',
  '--gin_file=programs/sample.gin',
  '--gin_file=programs/score.gin',
  '--gin.NUM_DECODES=4',
  '--gin.NUM_TEXTS=4',
  '--gin.TEXT_LENGTH=64',
  '--gin.PROMPT_LENGTH=64',
  '--gin.MAX_DECODE_LENGTH=160',
]


@pytest.fixture
def run(tmp_path, capsys):
  """run(words): (exit status, what was written, what was printed, what was said in the end)."""

  def main(*words):
    output = tmp_path / 'runs' / 'plan.json'
    status = entry_point.main(
      plan.plan,
      ['plan', f'--gin.PLAN_OUTPUT={output}', *words],
      of_stages=plan.PARAMETERS_BY_PROGRAM,
    )
    said = capsys.readouterr()
    return (
      status,
      _strict(output.read_text()) if output.exists() else None,
      said.out,
      said.err,
    )

  return main


def _strict(text):
  """What others than Python read as json: they know no NaN and no Infinity."""

  def refuse(number):
    raise ValueError(f'{number} is no json')

  return json.loads(text, parse_constant=refuse)


@pytest.mark.usefixtures('libtpu')
def test_a_training_on_a_tpu_slice(run):
  status, found, said, _ = run(
    *TRAIN,
    '--gin.TOPOLOGY=v5e:2x2',
    '--gin.FSDP=True',
    '--gin.BATCH_SIZE=8',
    '--gin.FIND_BATCH=False',
  )
  assert status == 0
  (stage,) = found['stages']
  assert stage['is_compiled'] and stage['fits'] and stage['mesh'] == [4, 1]
  assert 0 < sum(stage['hbm'].values()) <= 1.001 * stage['used_bytes'] < 2**30
  (step,) = stage['programs']
  model = 3 * stage['parameters'] * 2 * 8 * 128  # embeddings are the head too
  assert (
    0.9 * model < stage['model_flops'] < 2 * model
  )  # and attention, and the vocabulary's width
  assert step['flops'] * 4 >= 0.99 * stage['model_flops']
  assert {each['axes'] for each in step['collectives']} <= {'data', 'none'}
  assert stage['model_flops_utilization'][0] < 1
  assert stage['stage_seconds'][0] == pytest.approx(
    1000 * stage['batch_seconds'][0]
  )
  assert 'fits: ' in said and 'all-' in said


@pytest.mark.usefixtures('libtpu')
def test_sampling_and_scoring_on_a_tpu_slice(run):
  status, found, _, _ = run(
    *INFER,
    '--gin.TOPOLOGY=v5e:2x2',
    '--gin.DECODE_BATCH_SIZE=8',
    '--gin.NUM_PARTITIONS=2',
    '--gin.FIND_BATCH=False',
  )
  assert status == 0
  sample, score = found['stages']
  assert [each['name'] for each in sample['programs']] == [
    'prefill',
    'decode 160',
    'decode 128',
  ]
  assert sample['mesh'] == score['mesh'] == [2, 2]
  assert sample['hbm']['cache'] > 0
  assert sample['tokens'] == 8 * 4 * 160
  assert sample['batches'] == -(-500 // 8)


@pytest.mark.usefixtures('libtpu')
def test_slices_exchange_over_their_own_network(run):
  status, found, said, _ = run(
    *TRAIN,
    '--gin.TOPOLOGY=v5e:2x2',
    '--gin.DCN_MESH_SHAPE=(2, 1)',
    '--gin.BATCH_SIZE=8',
    '--gin.FIND_BATCH=False',
  )
  assert status == 0
  (stage,) = found['stages']
  assert found['topology'] == '2 slices of v5e:2x2' and stage['mesh'] == [8, 1]
  assert 'slices' in {
    each['axes'] for each in stage['programs'][0]['collectives']
  }
  assert stage['times']['slow'] > 0


@pytest.mark.usefixtures('libtpu')
def test_groups_of_several_slices_know_nothing_of_each_other(run):
  status, found, _, _ = run(
    *INFER[:2],
    *INFER[3:4],
    '--gin.MAX_DECODE_LENGTH=128',
    '--gin.PROMPT_LENGTH=64',
    '--gin.TOPOLOGY=v5e:4x4',
    '--gin.DCN_MESH_SHAPE=(2, 1)',
    '--gin.DECODE_BATCH_SIZE=32',
    '--gin.FIND_BATCH=False',
  )
  assert status == 0
  (stage,) = found['stages']
  assert (
    stage['mesh'][0] * stage['mesh'][1] * stage['groups']
    == stage['num_devices']
    == 32
  )
  assert stage['groups'] == 8 and stage['tokens'] == 32 * 4 * 128
  assert 'slices' not in {
    each['axes']
    for program in stage['programs']
    for each in program['collectives']
  }


@pytest.mark.usefixtures('libtpu')
def test_what_does_not_fit_ends_with_what_would_help(run):
  status, found, said, error = run(
    *TRAIN, '--gin.TOPOLOGY=v5e:2x2', '--gin.BATCH_SIZE=65536'
  )
  assert status == 1
  (stage,) = found['stages']
  assert not stage['fits'] and stage['used_bytes'] > 15.75 * 2**30
  changes = {each['change']: each for each in stage['would_help']}
  assert {
    'FSDP = True',
    REMAT,
    'NUM_MICROBATCHES = 2',
    'BATCH_SIZE = 32768',
  } <= set(changes)
  assert changes[REMAT]['used_bytes'] < stage['used_bytes']
  assert 'DOES NOT FIT' in error and '15.75' in error
  assert any(
    f'{name} (' in error for name, each in changes.items() if each['fits']
  ) or ('Nothing alone suffices' in error)


@pytest.mark.parametrize('topology, devices', [('h100:8', 8), ('cpu:2', 2)])
def test_without_a_compiler_the_work_is_counted(run, topology, devices):
  status, found, said, _ = run(
    *TRAIN, *INFER[1:], f'--gin.TOPOLOGY={topology}', '--gin.BATCH_SIZE=16'
  )
  assert status == 0
  assert [stage['stage'] for stage in found['stages']] == [
    'train',
    'sample',
    'score',
  ]
  train = found['stages'][0]
  assert not train['is_compiled'] and train['num_devices'] == devices
  assert train['programs'][0]['flops'] * devices == pytest.approx(
    train['model_flops'], rel=0.35
  )
  assert ('may fit' in said) == (topology == 'h100:8')
  assert ('hours for 3 stages' in said) == (topology == 'h100:8')
  assert ('not known of train, sample, score' in said) == (topology == 'cpu:2')


def test_a_token_reads_the_room_that_candidates_have_then():
  rooms = [
    128,
    256,
    512,
    768,
  ]  # 128, 128, 256 and 256 tokens are drawn in these
  read = 128 * 128 + 128 * 256 + 256 * 512 + 256 * 768
  assert sampling_estimate._mean_room(rooms) == -(-read // 768)
  assert sampling_estimate._mean_room([160]) == 160


def test_times_of_rooms_between_two_that_are_compiled_lie_on_a_line():
  token = lambda seconds: (
    roofline.ResourceTimes(0, seconds),
    roofline.ResourceTimes(1, 0),
  )
  found = sampling_estimate._decoding(
    {128: token(1.0), 512: token(4.0)}, [128, 256, 512]
  )
  assert found == roofline.ResourceTimes(3, 128 * 1.0 + 128 * 2.0 + 256 * 4.0)


def test_stages_that_share_programs_have_their_own_data(tmp_path, monkeypatch):
  rows = {'few': 10, 'many': 30}
  stages = [
    stages_lib.ConfiguredProgram(
      name,
      'train.train',
      {
        'model': 1,
        'batch_size': 5,
        'max_length': 8,
        'pack': False,
        'train_steps': 7,
        'partitioner': _OneSlice(),
        'examples': lambda split, name=name: (
          rows[name] * [SolutionExample([1], [1, 1])]
        ),
      },
    )
    for name in rows
  ]
  monkeypatch.setattr(plan, 'PLANNERS', {'train.train': _planner})
  output = tmp_path / 'plan.json'
  plan.plan(stages, topology='h100:1', output=output)
  found = json.loads(output.read_text())['stages']
  assert [
    (each['stage'], each['epoch_tokens'], each['epoch_batches'])
    for each in found
  ] == [
    ('few', 30, 2),
    ('many', 90, 6),
  ]


@dataclasses.dataclass(frozen=True)
class _OneSlice:
  num_slices: int = 1


def _planner(stage, arguments, place):
  return report.StageEstimate(
    stage=stage,
    program='train',
    settings={},
    mesh=(1, 1),
    groups=1,
    num_devices=1,
    parameters=1,
    fits=True,
    used_bytes=1,
    hbm={},
    is_compiled=False,
    **training_estimate.epoch_size(arguments),
  )


def test_a_recipe_has_a_plan_of_each_stage_that_differs(run):
  status, found, _, _ = run(
    '--gin_file=recipes/tiny_cpu.gin', '--gin.TOPOLOGY=cpu:1'
  )
  assert status == 0
  batches = {stage['stage']: stage['batches'] for stage in found['stages']}
  assert batches == {
    'ssft': 80,
    'ssft_again': 80,
    'control': 380,
    'scr_margin': 300,
    'scr_xent': 300,
    'training_problems': -(-12_000 // 64),
    'greedy': 8,
    'sample': 8,
    'score': 8,
    'likelihood': 8,
  }
  assert (
    found['stages'][0]['epoch_tokens'] is None
  )  # the recipe hands the data over


def test_an_epoch_is_counted_where_the_data_is_here(run, tmp_path):
  status, found, _, _ = run(
    '--gin_file=models/dials.gin',
    '--gin_file=data/generated.gin',
    '--gin_file=stages/ssft.gin',
    '--gin.TOPOLOGY=cpu:1',
    '--gin.MAX_LENGTH=64',
  )
  assert status == 0
  assert found['stages'][0]['epoch_tokens'] > 1000


@pytest.mark.parametrize(
  'words, message',
  [
    (
      ['--gin_file=models/tiny.gin', '--gin.TOPOLOGY=v5e:2x2'],
      'configure no training',
    ),
    ([*TRAIN, '--gin.TOPOLOGY=v5p:4x4'], 'wanted 3 numbers'),
    ([*TRAIN, '--gin.TOPOLOGY=v9:4x4'], 'v5p:4x4x4'),
    (['--gin_file=stages/ssft.gin', '--gin.TOPOLOGY=v5e:2x2'], 'MODEL'),
    (TRAIN, 'TOPOLOGY'),
    (
      [*TRAIN, '--gin.TOPOLOGY=cpu:1', '--gin.PLAN_OUTPUT=/dev/null/plan.json'],
      'PLAN_OUTPUT',
    ),
    (
      [*TRAIN, '--gin.TOPOLOGY=cpu:1', '--gin.PLAN_OUTPUT=/'],
      'which is a folder',
    ),
    ([*TRAIN, '--gin.TOPOLOGY=cpu:3', '--gin.BATCH_SIZE=8'], 'batch_size'),
  ],
)
def test_mistakes_are_said_before_anything_is_compiled(run, words, message):
  status, found, _, error = run(*words)
  assert status in (1, 2) and message in error and 'Traceback' not in error
