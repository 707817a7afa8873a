"""Tests of `mathft_jax.plan`: estimates of stages from their gin files alone."""

import dataclasses
import json
import types
from typing import NamedTuple, cast

import pytest

from mathft_jax import plan
from mathft_jax.aot import (
  estimates,
  training_estimate,
)
from mathft_jax.config import configured_programs, entry_point
from mathft_jax.data.example_types import SolutionExample
from mathft_jax.models import config as models
from mathft_jax.monitoring import hardware

REMAT = "transformer.TransformerConfig.remat = 'full'"
TRAIN = [
  '--gin_file=models/tiny.gin',
  '--gin_file=stages/ssft.gin',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 64}",
]
INFERENCE = [
  '--gin_file=models/tiny.gin',
  '--gin_file=programs/sample.gin',
  '--gin_file=programs/score.gin',
  '--gin.NUM_DECODES=4',
  '--gin.NUM_TEXTS=4',
  '--gin.TEXT_LENGTH=64',
  '--gin.PROMPT_LENGTH=64',
  '--gin.MAX_DECODE_LENGTH=160',
]


class Result(NamedTuple):
  """Exit status, content of plan.json, and text on stdout and stderr."""

  status: int
  document: dict | None
  stdout: str
  stderr: str


@pytest.fixture
def run_plan(tmp_path, capsys):
  """run_plan(*flags) -> Result."""

  def run(*flags):
    output = tmp_path / 'runs' / 'plan.json'
    status = entry_point.main(
      plan.plan,
      ['plan', f'--gin.PLAN_OUTPUT={output}', *flags],
      stage_parameters=plan.PARAMETERS_BY_PROGRAM,
    )
    captured = capsys.readouterr()
    document = (
      parse_strict_json(output.read_text()) if output.exists() else None
    )
    return Result(status, document, captured.out, captured.err)

  return run


def parse_strict_json(text):
  """Parses JSON; NaN and Infinity, which only Python accepts, are errors."""

  def refuse(number):
    raise ValueError(f'{number} is not JSON')

  return json.loads(text, parse_constant=refuse)


@pytest.mark.usefixtures('libtpu')
def test_training_on_a_tpu_slice(run_plan):
  result = run_plan(
    *TRAIN,
    '--gin.TOPOLOGY=v5e:2x2',
    '--gin.FSDP=True',
    '--gin.BATCH_SIZE=8',
    '--gin.FIND_BATCH=False',
  )
  assert result.status == 0
  (stage,) = result.document['stages']
  assert stage['is_compiled'] and stage['fits'] and stage['mesh'] == [4, 1]
  assert 0 < sum(stage['hbm'].values()) <= 1.001 * stage['used_bytes'] < 2**30

  (step,) = stage['programs']
  # The embedding is also the output layer.
  parameter_flops = 3 * stage['parameters'] * 2 * 8 * 128
  # More than that: attention and the padded vocabulary.
  assert 0.9 * parameter_flops < stage['model_flops'] < 2 * parameter_flops
  assert step['flops'] * 4 >= 0.99 * stage['model_flops']
  assert {each['axes'] for each in step['collectives']} <= {'data', 'none'}
  assert stage['model_flops_utilization'][0] < 1
  assert stage['stage_seconds'][0] == pytest.approx(
    1000 * stage['batch_seconds'][0]
  )
  assert 'fits: ' in result.stdout and 'all-' in result.stdout


@pytest.mark.usefixtures('libtpu')
def test_sampling_and_scoring_on_a_tpu_slice(run_plan):
  result = run_plan(
    *INFERENCE,
    '--gin.TOPOLOGY=v5e:2x2',
    '--gin.DECODE_BATCH_SIZE=8',
    '--gin.NUM_PARTITIONS=2',
    '--gin.FIND_BATCH=False',
  )
  assert result.status == 0
  sample, score = result.document['stages']
  assert [each['name'] for each in sample['programs']] == [
    'prefill',
    'decode 16 tokens',
  ]
  assert sample['mesh'] == score['mesh'] == [2, 2]
  assert sample['hbm']['cache'] > 0
  assert sample['tokens'] == 8 * 4 * 160
  assert sample['batches'] == -(-500 // 8)


@pytest.mark.usefixtures('libtpu')
def test_slices_exchange_over_the_data_center_network(run_plan):
  result = run_plan(
    *TRAIN,
    '--gin.TOPOLOGY=v5e:2x2',
    '--gin.DCN_MESH_SHAPE=(2, 1)',
    '--gin.BATCH_SIZE=8',
    '--gin.FIND_BATCH=False',
  )
  assert result.status == 0
  (stage,) = result.document['stages']
  assert result.document['topology'] == '2 slices of v5e:2x2'
  assert stage['mesh'] == [8, 1]
  axes = {each['axes'] for each in stage['programs'][0]['collectives']}
  assert 'slices' in axes
  assert stage['times']['slow'] > 0


@pytest.mark.usefixtures('libtpu')
def test_replica_groups_of_several_slices_do_not_communicate(run_plan):
  result = run_plan(
    *INFERENCE[:2],
    *INFERENCE[3:4],
    '--gin.MAX_DECODE_LENGTH=128',
    '--gin.PROMPT_LENGTH=64',
    '--gin.TOPOLOGY=v5e:4x4',
    '--gin.DCN_MESH_SHAPE=(2, 1)',
    '--gin.DECODE_BATCH_SIZE=32',
    '--gin.FIND_BATCH=False',
  )
  assert result.status == 0
  (stage,) = result.document['stages']
  data, model = stage['mesh']
  assert data * model * stage['groups'] == stage['num_devices'] == 32
  assert stage['groups'] == 8 and stage['tokens'] == 32 * 4 * 128
  for program in stage['programs']:
    for collective in program['collectives']:
      assert collective['axes'] != 'slices'


@pytest.mark.usefixtures('libtpu')
def test_a_stage_that_does_not_fit_lists_changes_that_save_memory(run_plan):
  # libtpu refuses a program that does not fit within a second; one that fits takes much longer.
  result = run_plan(
    *TRAIN,
    '--gin.TOPOLOGY=v5e:2x2',
    '--gin.BATCH_SIZE=131072',
    '--gin.ICI_MESH_SHAPE=(4, 1)',
  )
  assert result.status == 1
  (stage,) = result.document['stages']
  assert not stage['fits'] and stage['used_bytes'] > 15.75 * 2**30
  changes = {each['change']: each for each in stage['would_help']}
  expected = {
    'FSDP = True',
    REMAT,
    'NUM_MICROBATCHES = 2',
    'BATCH_SIZE = 65536',
  }
  assert expected <= set(changes)
  assert changes[REMAT]['used_bytes'] < stage['used_bytes']
  assert 'DOES NOT FIT' in result.stderr and '15.75' in result.stderr
  sufficient = [name for name, each in changes.items() if each['fits']]
  assert any(f'{name} (' in result.stderr for name in sufficient) or (
    'No single change makes it fit' in result.stderr
  )


@pytest.mark.parametrize('topology, devices', [('h100:8', 8), ('cpu:2', 2)])
def test_without_a_compiler_the_traced_costs_are_counted(
  run_plan, topology, devices
):
  result = run_plan(
    *TRAIN,
    *INFERENCE[1:],
    f'--gin.TOPOLOGY={topology}',
    '--gin.BATCH_SIZE=16',
    '--gin.NUM_PROBLEMS=16',
  )
  assert result.status == 0
  stages = result.document['stages']
  assert [each['stage'] for each in stages] == ['train', 'sample', 'score']
  train = stages[0]
  assert not train['is_compiled'] and train['num_devices'] == devices
  assert train['programs'][0]['flops'] * devices == pytest.approx(
    train['model_flops'], rel=0.35
  )
  is_gpu = topology == 'h100:8'
  assert ['best_rate' in stage for stage in stages] == [False, is_gpu, is_gpu]
  assert ('may fit' in result.stdout) == is_gpu
  assert ('hours for 3 stages' in result.stdout) == is_gpu
  assert ('not known for train, sample, score' in result.stdout) != is_gpu


def test_automatic_rematerialisation_is_planned_as_train_chooses(
  monkeypatch, capsys
):
  chip = hardware.CHIPS['v5e']
  shares = {'none': 1.5, 'dots': 0.97, 'save_qkv_out': 0.8, 'full': 0.1}

  def fake_estimate(stage, arguments, target):
    remat = arguments['model'].remat
    used = shares[remat] * chip.hbm_bytes
    estimate = estimate_without_compiling(stage, {'batch_size': 1}, target)
    return dataclasses.replace(
      estimate,
      settings={'remat': remat},
      used_bytes=used,
      fits=used <= chip.hbm_bytes,
      is_compiled=True,
    )

  monkeypatch.setattr(training_estimate, '_estimate_with_remat', fake_estimate)
  model = models.TransformerConfig(
    vocab_size=8,
    embed_dim=8,
    num_layers=1,
    num_heads=1,
    mlp_dim=8,
    remat='auto',
  )
  target = types.SimpleNamespace(chip=chip)
  estimate = training_estimate.estimate_training(
    's', {'model': model}, cast(plan.PlanTarget, target)
  )
  # 'dots' fits, but leaves less than 10% free.
  assert estimate.settings['remat'] == 'save_qkv_out'
  printed = capsys.readouterr().out
  assert 'remat none: DOES NOT FIT' in printed and 'remat dots' in printed


@dataclasses.dataclass(frozen=True)
class OneSlice:
  num_slices: int = 1


def estimate_without_compiling(stage, arguments, target):
  return estimates.StageEstimate(
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


def test_stages_that_share_programs_have_their_own_data(tmp_path, monkeypatch):
  def stage(name, num_examples):
    example = SolutionExample([1], [1, 1])
    arguments = {
      'model': 1,
      'batch_size': 5,
      'max_length': 8,
      'pack': False,
      'train_steps': 7,
      'partitioner': OneSlice(),
      'examples': lambda split: num_examples * [example],
    }
    return configured_programs.ConfiguredProgram(name, 'train.train', arguments)

  planner = plan.Planner(
    estimate_without_compiling, training_estimate.num_train_steps
  )
  monkeypatch.setattr(plan, 'PLANNERS', {'train.train': planner})
  output = tmp_path / 'plan.json'
  plan.plan(
    [stage('few', 10), stage('many', 30)], topology='h100:1', output=output
  )
  few, many = json.loads(output.read_text())['stages']
  assert (few['stage'], few['epoch_tokens'], few['epoch_batches']) == (
    'few',
    30,
    2,
  )
  assert (many['stage'], many['epoch_tokens'], many['epoch_batches']) == (
    'many',
    90,
    6,
  )


def test_each_stage_of_a_recipe_is_planned(run_plan):
  result = run_plan('--gin_file=recipes/tiny_cpu.gin', '--gin.TOPOLOGY=cpu:1')
  assert result.status == 0
  stages = result.document['stages']
  assert {stage['stage']: stage['batches'] for stage in stages} == {
    'ssft': 80,
    'ssft_again': 80,
    'control': 380,
    'scr_margin': 300,
    'scr_xent': 300,
    'scr_margin_mixed': 300,
    'scr_xent_mixed': 300,
    'training_problems': -(-12_000 // 64),
    'greedy': 8,
    'sample': 8,
    'few_shot_terse': 8,
    'few_shot_fine': 8,
    'greedy/few_shot_terse': 8,
    'greedy/few_shot_fine': 8,
    'score': 8,
    'likelihood': 8,
  }
  # The recipe passes the examples when it runs.
  assert stages[0]['epoch_tokens'] is None


def test_the_epoch_is_counted_if_the_data_is_available(run_plan):
  result = run_plan(
    '--gin_file=models/dials.gin',
    '--gin_file=data/generated.gin',
    '--gin_file=stages/ssft.gin',
    '--gin.TOPOLOGY=cpu:1',
    '--gin.MAX_LENGTH=64',
  )
  assert result.status == 0
  assert result.document['stages'][0]['epoch_tokens'] > 1000


@pytest.mark.parametrize(
  'flags, message',
  [
    (
      ['--gin_file=models/tiny.gin', '--gin.TOPOLOGY=v5e:2x2'],
      'configure no training',
    ),
    ([*TRAIN, '--gin.TOPOLOGY=v5p:4x4'], 'must have 3 numbers'),
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
def test_wrong_settings_are_refused_before_compilation(
  run_plan, flags, message
):
  result = run_plan(*flags)
  assert result.status in (1, 2)
  assert message in result.stderr and 'Traceback' not in result.stderr
