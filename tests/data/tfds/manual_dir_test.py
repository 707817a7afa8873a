import gzip
import hashlib
import logging

import pytest

from mathft_jax.data.tfds import manual_dir


def test_a_plain_file_is_taken_before_a_gzipped_one_and_folders_in_their_order(
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


def test_the_published_file_is_known_by_its_unpacked_content(tmp_path, caplog):
  caplog.set_level(logging.INFO)
  path = tmp_path / 'x.jsonl.gz'
  path.write_bytes(gzip.compress(b'content'))
  manual_dir.check_published_sha256(
    path, {'x.jsonl': hashlib.sha256(b'content').hexdigest()}
  )
  assert 'the published file' in caplog.text


def test_another_file_of_that_name_is_warned_of_with_both_digests(
  tmp_path, caplog
):
  (tmp_path / 'x.jsonl').write_text('other')
  manual_dir.check_published_sha256(tmp_path / 'x.jsonl', {'x.jsonl': 'abc'})
  assert 'not the published file' in caplog.text and 'abc' in caplog.text
  assert hashlib.sha256(b'other').hexdigest() in caplog.text


def test_a_git_lfs_pointer_is_an_error_that_says_what_to_do(tmp_path):
  path = tmp_path / 'phase1_train.jsonl'
  path.write_text(
    'version https://git-lfs.github.com/spec/v1\noid sha256:e9da\nsize 7900236\n'
  )
  with pytest.raises(ValueError, match='git lfs pull'):
    manual_dir.check_published_sha256(path, {})
