"""A bucket on this machine for every test, reached by the clients that reach Google's."""

import importlib.util
import os
import pathlib
import sys
import uuid

import pytest

HERE = pathlib.Path(__file__).parent
NEEDED = ('gcsfs', 'google.cloud.storage')


def _missing(name: str) -> bool:
  try:
    return importlib.util.find_spec(name) is None
  except ModuleNotFoundError:
    return True


@pytest.fixture(scope='session')
def bucket_server():
  """(store, environment of its clients); one for all tests, as clients remember their server."""
  if missing := [name for name in NEEDED if _missing(name)]:
    pytest.skip(
      f'{", ".join(missing)} not installed: pip install mathft_jax[gcs]'
    )
  sys.path.insert(0, str(HERE))
  import fake_gcs

  import mathft_jax  # noqa: F401 (sets which client is used, before the client is imported)

  store = fake_gcs.Store()
  with fake_gcs.serving(store) as environment:
    os.environ.update(environment)
    yield store, environment
  sys.path.remove(str(HERE))


@pytest.fixture
def bucket(bucket_server):
  """(the address of a new bucket, its objects by name)."""
  store, _ = bucket_server
  name = f'bucket-{uuid.uuid4().hex[:8]}'
  store.buckets[name] = {}
  yield f'gs://{name}', store.buckets[name]
  store.watch = lambda method, object_name: None
  del store.buckets[name]
