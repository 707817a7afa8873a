"""A short form of benchmarks/kill_runs.py: kills, resumes, compares all outputs."""

import os
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).parent.parent


def kill_runs(*flags):
  environment = os.environ | {'XLA_FLAGS': '', 'PYTHONPATH': str(REPOSITORY)}
  done = subprocess.run(
    [sys.executable, '-m', 'benchmarks.kill_runs', *flags],
    cwd=REPOSITORY,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert 'are equal to the undisturbed run.' in done.stdout


@pytest.mark.slow
def test_a_recipe_killed_at_random_moments_ends_with_the_same_bytes():
  kill_runs('--kills=2', '--seed=1')


@pytest.mark.slow
def test_a_recipe_of_two_processes_killed_ends_with_the_same_bytes():
  kill_runs('--kills=1', '--seed=1', '--processes=2')


@pytest.mark.slow
def test_a_training_killed_resumes_on_other_meshes_and_processes():
  kill_runs('--kills=2', '--seed=1', '--meshes')
