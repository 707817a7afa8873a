import gzip
import hashlib
import logging

import pytest

from mathft_jax.data.tfds import manual_dir


def test_find_jsonl_prefers_plain_files_and_earlier_folders(
  tmp_path,
):
  (tmp_path / 'b').mkdir()
  for name in ('b/x.jsonl', 'b/x.jsonl.gz', 'x.jsonl'):
    (tmp_path / name).write_text('')
  assert (
    manual_dir.find_jsonl(tmp_path, ('a', 'b', '.'), 'x')
    == tmp_path / 'b' / 'x.jsonl'
  )
  assert manual_dir.find_jsonl(tmp_path, ('a', 'b', '.'), 'y') is None


def test_the_published_file_is_recognized_by_its_unpacked_content(
  tmp_path, caplog
):
  caplog.set_level(logging.INFO)
  path = tmp_path / 'x.jsonl.gz'
  path.write_bytes(gzip.compress(b'content'))
  manual_dir.check_published_sha256(
    path, {'x.jsonl': hashlib.sha256(b'content').hexdigest()}
  )
  assert 'the published file' in caplog.text


def test_the_warning_for_another_file_has_both_digests(tmp_path, caplog):
  (tmp_path / 'x.jsonl').write_text('other')
  manual_dir.check_published_sha256(tmp_path / 'x.jsonl', {'x.jsonl': 'abc'})
  assert 'not the published file' in caplog.text and 'abc' in caplog.text
  assert hashlib.sha256(b'other').hexdigest() in caplog.text


def test_the_error_for_a_git_lfs_pointer_says_what_to_do(tmp_path):
  path = tmp_path / 'phase1_train.jsonl'
  path.write_text(
    'version https://git-lfs.github.com/spec/v1\noid sha256:e9da\nsize 7900236\n'
  )
  with pytest.raises(ValueError, match='git lfs pull'):
    manual_dir.check_published_sha256(path, {})
