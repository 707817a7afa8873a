"""Pairs of answers by kind, in pairs.tsv: under `# kind: equal` or `# kind: different`, one a line."""

import pathlib

import pytest

from mathft_jax import grading


def _pairs():
  """(kind, verdict) -> the pairs under that heading."""
  groups = {}
  for line in (
    (pathlib.Path(__file__).parent / 'pairs.tsv')
    .read_text(encoding='utf-8')
    .splitlines()
  ):
    if line.startswith('# '):
      kind, verdict = line[2:].split(': ')
      pairs = groups.setdefault((kind, verdict), [])
    else:
      pairs.append(tuple(line.split('\t')))
  return groups


PAIRS = _pairs()


@pytest.mark.parametrize(
  'kind', [kind for kind, verdict in PAIRS if verdict == 'equal']
)
def test_spellings_of_one_answer_are_equal(kind):
  pairs = PAIRS[kind, 'equal']
  assert [pair for pair in pairs if not grading.is_equivalent(*pair)] == []


@pytest.mark.parametrize(
  'kind', [kind for kind, verdict in PAIRS if verdict == 'different']
)
def test_different_answers_are_different(kind):
  pairs = PAIRS[kind, 'different']
  assert [pair for pair in pairs if grading.is_equivalent(*pair)] == []


def test_each_kind_has_pairs_of_both_verdicts():
  kinds = {kind for kind, _ in PAIRS} - {'malformed'}
  missing = {
    (kind, verdict) for kind in kinds for verdict in ('equal', 'different')
  } - PAIRS.keys()
  assert (
    not missing and len(kinds) > 25 and sum(map(len, PAIRS.values())) > 1000
  )
