"""Descriptions of example sources: equal ones mean equal examples."""

import dataclasses
import json
import os

from mathft_jax.training import example_description


@dataclasses.dataclass(frozen=True)
class Source:
  path: object = 'data/{split}.jsonl'
  limit: int | None = None


def describe(**fields):
  return example_description.describe_examples(Source(**fields))


def test_fields_are_described_at_any_depth():
  fields = describe(path=[Source('a'), {'name': os.path.join}], limit=3)
  assert fields['.path.0.path'] == 'a' and fields['.limit'] == '3'
  assert fields['.path.1.name'].endswith('path.join')
  assert json.loads(json.dumps(fields)) == fields


def test_what_has_no_stable_text_has_no_description():
  assert describe(path=object()) == {}
  assert describe(path=lambda split: []) == {}
  assert describe(path=[].append) == {}


def test_a_long_description_is_a_digest():
  long = describe(path=['x'] * 1000)
  assert set(long) == {'digest'}
  assert long != describe(path=['x'] * 1001)


def test_files_and_folders_that_change_are_noticed(tmp_path):
  file = tmp_path / 'train.jsonl'
  for path in (tmp_path, tmp_path / '{split}.jsonl', tmp_path / '*.jsonl'):
    file.write_text('1')
    before = describe(path=str(path))
    assert describe(path=str(path)) == before
    file.write_text('12')
    after = describe(path=str(path))
    assert example_description.differences(before, after) == (
      'the files have changed'
    )


def test_differences_name_the_fields():
  before, after = describe(limit=1), describe(path='b', limit=2)
  assert example_description.differences(before, after) == (
    'limit: 1 -> 2; path: data/{split}.jsonl -> b'
  )
  assert example_description.differences({}, after) == ''
