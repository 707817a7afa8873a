"""Published golds: each has a key of mathematics, or is in golds_in_words.tsv with the reason.

Needs the folder of shared data (MATHFT_DATA).
"""

import gzip
import json
import pathlib

import pytest

from mathft_jax import grading

_FIELDS = {
  'aime24': 'answer',
  'amc23': 'answer',
  'svamp': 'Answer',
  'asdiv': 'answer',
  'mawps': 'target',
  'olympiadbench': 'final_answer',
}
_REASONS = {'word', 'name', 'date', 'prose', 'figure', 'typing error'}


def _read(path):
  with gzip.open(path, 'rt', encoding='utf-8') as stream:
    return list(map(json.loads, stream))


def _golds(data):
  """Yields (set, gold) of all published sets in the data folder."""
  for split in ('train', 'test'):
    for row in _read(data / 'math' / f'{split}.jsonl.gz'):
      if row['answer']:
        yield 'math', row['answer']
  for name, field in _FIELDS.items():
    for row in _read(data / 'benchmarks' / f'{name}.jsonl.gz'):
      values = row[field] if isinstance(row[field], list) else [row[field]]
      for value in values:
        yield name, str(value)
  for row in _read(data / 'benchmarks' / 'minerva_math.jsonl.gz'):
    yield 'minerva_math', grading.extract_answer(row['solution'])


def _words():
  """Returns (set, gold) -> reason of golds that are words."""
  path = pathlib.Path(__file__).parent / 'golds_in_words.tsv'
  words = {}
  for line in path.read_text(encoding='utf-8').splitlines():
    name, gold, reason = line.split('\t')
    words[name, gold] = reason
  return words


def test_reasons_are_known():
  assert set(_words().values()) <= _REASONS


@pytest.mark.parametrize('part', ['math', 'others'])
def test_golds_have_keys_of_mathematics_or_a_reason(shared_data, part):
  words = _words()
  unknown, superfluous = set(), set()
  for name, gold in set(_golds(shared_data)):
    if (name == 'math') != (part == 'math'):
      continue
    key = grading.answer_key(gold)
    is_text = (
      key is None or isinstance(key, tuple) and key[0] in ('text', 'long')
    )
    if is_text and (name, gold) not in words:
      unknown.add((name, gold))
    if not is_text and (name, gold) in words:
      superfluous.add((name, gold))
    assert key is not None, (name, gold)
  assert unknown == superfluous == set()
