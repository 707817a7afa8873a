"""The program `doctor` from gin files to exit status, lines and JSON."""

import json

from mathft_jax import doctor
from mathft_jax.config import entry_point

RECIPE = [
  '--gin_file=recipes/tiny_cpu.gin',
  '--gin.CHECK_WEIGHTS=False',
  '--gin.dial_problems.DialProblems.num_train=64',
]


def run_doctor(*arguments):
  return entry_point.main(
    doctor.doctor,
    ['doctor', *arguments],
    plain_flags=('json=True',),
    stage_parameters=doctor.PARAMETERS_BY_PROGRAM,
  )


def test_the_first_stage_of_a_recipe_passes(tmp_path, capsys):
  status = run_doctor(*RECIPE, f'--gin.MODEL_DIR={tmp_path}/run')
  lines = capsys.readouterr().out.splitlines()
  assert status == 0 and lines[0] == 'ssft'
  statuses = {line.split()[0] for line in lines[1 : lines.index('')]}
  assert statuses == {'ok', 'skipped'}
  assert any(line.startswith('  trained | A ') for line in lines)
  assert not list(tmp_path.iterdir())


def test_a_failure_is_the_exit_status_and_json_has_everything(tmp_path, capsys):
  status = run_doctor(
    *RECIPE,
    '--json',
    f'--gin.MODEL_DIR={tmp_path}/run',
    '--gin.MAX_LENGTH=40',
  )
  out, err = capsys.readouterr()
  [stage] = json.loads(out)['stages']
  failed = {
    finding['check']: finding
    for finding in stage['findings']
    if finding['status'] == 'failure'
  }
  assert status == 1 and 'failures' in err
  assert set(failed) == {
    'EOS is a trained target',
    'examples longer than a row',
  }
  assert all(finding['action'] for finding in failed.values())


def test_gin_files_without_training_examples_are_refused(capsys):
  status = run_doctor(
    '--gin_file=models/tiny.gin', '--gin_file=programs/sample.gin'
  )
  assert status == 1
  assert 'no training with examples' in capsys.readouterr().err
