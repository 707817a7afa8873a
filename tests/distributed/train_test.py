"""Trainings on 1, 2 and 4 processes with the same devices: the same numbers and checkpoints."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest

from mathft_jax import checkpoints
from mathft_jax.models import config as model_config
from mathft_jax.models import transformer

RUNS = 'data,spread,lora@3,lora'
MODEL = model_config.TransformerConfig(
  vocab_size=24, embed_dim=8, num_layers=2, num_heads=2, mlp_dim=16
)
SECONDS = 500  # they need about 20 on an idle core each


def run(run_processes, count, devices, workdir, which, dies=None):
  arguments = [
    '-m',
    'training_program',
    f'--gin.training_program.run.workdir={workdir}',
    f'--gin.training_program.run.which={which}',
    f'--gin.training_program.run.dies={dies}',
    '--heartbeat_timeout_s=10',
  ]
  return run_processes(count, devices, arguments, seconds=SECONDS)


def assert_done(ended):
  for each in ended:
    assert each.status == 0, each.output


def params_of(path):
  """All parameters, in this process's memory."""
  source = checkpoints.open_lazy_params(path)
  return {name: source.read_array(name, None) for name in source.shapes}


def lines(workdir):
  return [
    json.loads(line)
    for line in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]


def assert_same_params(left, right):
  jax.tree.map(np.testing.assert_array_equal, params_of(left), params_of(right))


@pytest.fixture(scope='module')
def on_two(run_processes, tmp_path_factory):
  """The folder of runs on two processes of two devices, and what the processes wrote."""
  folder = tmp_path_factory.mktemp('on_two')
  params = jax.tree.map(
    np.asarray, transformer.init_params(MODEL, jax.random.key(1))
  )
  checkpoints.save_safetensors(
    folder / 'file.safetensors', params, {'model': MODEL}
  )
  checkpoints.export_huggingface(
    folder / 'published',
    checkpoints.open_lazy_params(folder / 'file.safetensors'),
    MODEL,
  )
  ended = run(
    run_processes, 2, 2, folder, f'{RUNS},auto,:file.safetensors,:published'
  )
  assert_done(ended)
  return folder, [each.output for each in ended]


@pytest.fixture(scope='module')
def on_one(run_processes, tmp_path_factory, on_two):
  """The same on one process of four devices, which also reads what two have written."""
  folder = tmp_path_factory.mktemp('on_one')
  shutil.copytree(on_two[0] / 'spread', folder / 'of_two')
  assert_done(run(run_processes, 1, 4, folder, f'{RUNS},:of_two'))
  return folder


@pytest.fixture(scope='module')
def on_four(run_processes, tmp_path_factory, on_two):
  """Some of it on four processes of one device."""
  folder = tmp_path_factory.mktemp('on_four')
  shutil.copytree(on_two[0] / 'spread', folder / 'of_two')
  assert_done(run(run_processes, 4, 1, folder, 'data,spread,:of_two'))
  return folder


@pytest.mark.slow
@pytest.mark.parametrize('name', ['spread', 'lora'])
def test_two_processes_train_like_one_bit_for_bit(on_two, on_one, name):
  assert_same_params(on_two[0] / name, on_one / name)
  for left, right in zip(
    lines(on_two[0] / name), lines(on_one / name), strict=True
  ):
    for number in {'step', 'loss', 'gradient_norm', 'learning_rate'}:
      assert left[number] == right[number]


@pytest.mark.slow
def test_processes_with_different_memory_choose_the_same_rematerialisation(
  on_two,
):
  folder, outputs = on_two
  metadata = checkpoints.read_metadata(folder / 'auto' / 'checkpoints' / '6')
  assert metadata['model']['remat'] == 'full'
  assert 'remat: full chosen' in outputs[0]


@pytest.mark.slow
def test_four_processes_train_like_one_bit_for_bit(on_four, on_one):
  assert_same_params(on_four / 'spread', on_one / 'spread')


@pytest.mark.slow
@pytest.mark.parametrize('several', ['on_two', 'on_four'])
def test_sums_over_four_devices_differ_in_the_last_bits_only(
  several, request, on_two, on_one
):
  """Between processes gloo adds the four gradients in another order than XLA within one."""
  folder = (
    on_two[0] if several == 'on_two' else request.getfixturevalue(several)
  )
  for name, params in params_of(folder / 'data').items():
    np.testing.assert_allclose(
      params, params_of(on_one / 'data')[name], rtol=0, atol=1e-6
    )
  for left, right in zip(
    lines(folder / 'data'), lines(on_one / 'data'), strict=True
  ):
    assert (left['step'], left['split']) == (right['step'], right['split'])
    assert left['loss'] == pytest.approx(right['loss'], rel=1e-6)


@pytest.mark.slow
def test_one_process_writes_and_reports_what_all_have(on_two):
  folder, (first, second) = on_two
  assert [line['step'] for line in lines(folder / 'spread')] == [
    1,
    2,
    3,
    4,
    5,
    6,
  ]
  assert 'train: 6/6 steps' in first and 'train: 6/6' not in second
  assert [path.name for path in folder.glob('config*')] == ['config.gin']


@pytest.mark.slow
def test_the_best_checkpoint_and_the_last_are_kept(on_two, on_one):
  kept = [
    sorted(path.name for path in (folder / 'data/checkpoints').iterdir())
    for folder in (on_two[0], on_one)
  ]
  assert kept[0] == kept[1]


@pytest.mark.slow
@pytest.mark.parametrize('count', [1, 4])
def test_checkpoints_of_two_processes_restore_on_another_number_and_mesh(
  on_two, count, request
):
  folder = request.getfixturevalue('on_one' if count == 1 else 'on_four')
  assert_same_params(folder / f'of_two_again_{count}', on_two[0] / 'spread')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['file.safetensors', 'published'])
def test_files_are_read_by_several_processes(on_two, name):
  assert_same_params(
    on_two[0] / f'{name}_again_2', on_two[0] / 'file.safetensors'
  )


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_processes(
  run_processes, tmp_path
):
  first, second = run(run_processes, 2, 1, tmp_path, 'killed', dies=1)
  assert first.status in (75, -signal.SIGABRT)
  assert second.status == -signal.SIGKILL
  if first.status == 75:
    assert 'Run the same command again to resume.' in first.output
  else:  # jax aborted the process first
    assert 'unhealthy' in first.output or 'heartbeat' in first.output
  assert not (tmp_path / 'killed/checkpoints/6').exists()
  # Under load, the checkpoint of step 2 may not be complete when the process is killed.
  was_saved = any((tmp_path / 'killed' / 'checkpoints').glob('[0-9]*'))
  [ended] = run(run_processes, 1, 2, tmp_path, 'killed,whole,longer@4')
  assert ('Resuming' in ended.output) == was_saved
  ended = run(run_processes, 2, 1, tmp_path, 'longer')
  assert 'Resuming' in ended[0].output
  assert_same_params(tmp_path / 'killed', tmp_path / 'whole')
  assert_same_params(tmp_path / 'longer', tmp_path / 'whole')
  assert [line['step'] for line in lines(tmp_path / 'killed')] == [
    1,
    2,
    3,
    4,
    5,
    6,
  ]
