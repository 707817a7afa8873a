"""Eight pretend CPU devices for every test, and the optional folder of real data."""

import os
import pathlib

os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import pytest  # noqa: E402 (jax must find the flags above when a test imports it)

REPOSITORY = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """The folder with real MATH, PRM800K, GSM8K and samples; tests that need it are extra."""
  folder = pathlib.Path(os.environ.get('MATHFT_DATA', REPOSITORY.parent / 'shared' / 'data'))
  if not (folder / 'math').is_dir():
    pytest.skip(f'no real data in {folder}: set MATHFT_DATA to a folder that has math/, gsm8k/, ...')
  return folder
