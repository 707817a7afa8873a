"""Local and remote paths, and atomic writes, without a network."""

import gzip
import os

from etils import epath
import pytest

from mathft_jax.data import schema
from mathft_jax.storage import atomic_files, local_and_remote_paths


def test_relative_and_absolute_paths(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert (
    local_and_remote_paths.relative_path('runs/x', tmp_path / 'y')
    == '../runs/x'
  )
  assert (
    local_and_remote_paths.relative_path('gs://a/x', tmp_path) == 'gs://a/x'
  )
  assert local_and_remote_paths.relative_path('x', 'gs://a/y') == 'x'
  assert local_and_remote_paths.absolute_path('runs/x') == epath.Path(
    tmp_path / 'runs/x'
  )
  assert str(local_and_remote_paths.absolute_path('gs://a/x')) == 'gs://a/x'


def test_files_are_found_by_name_in_all_subfolders(tmp_path):
  for folder in ('b', 'a/deep', 'c'):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / 'report.json').write_text('')
  (tmp_path / 'c' / 'other.json').write_text('')
  found = local_and_remote_paths.find_files(tmp_path, 'report.json')
  assert found == [
    epath.Path(tmp_path / folder / 'report.json')
    for folder in ('a/deep', 'b', 'c')
  ]
  assert (
    local_and_remote_paths.find_files(tmp_path / 'none', 'report.json') == []
  )


def test_an_atomic_write_creates_folders_and_replaces_a_file(tmp_path):
  path = tmp_path / 'new/folder/a.txt'
  assert atomic_files.write_text_atomically(path, 'old') == epath.Path(path)
  atomic_files.write_text_atomically(path, 'nü\n')
  assert path.read_bytes() == 'nü\n'.encode()
  assert os.listdir(path.parent) == ['a.txt']


@pytest.mark.parametrize('name', ['a.jsonl', 'a.jsonl.gz'])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, name):
  path = tmp_path / name
  schema.write_jsonl(path, [{'x': 1}])

  def records():
    yield {'x': 2}
    raise KeyError('stop')

  with pytest.raises(KeyError):
    schema.write_jsonl(path, records())
  data = path.read_bytes()
  assert (
    gzip.decompress(data) if name.endswith('gz') else data
  ) == b'{"x": 1}\n'
