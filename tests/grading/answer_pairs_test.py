"""Tests of answer equivalence on the labelled pairs of answer_pairs.tsv.

A section starts with `# kind: equal` or `# kind: different`; each line has two answers and a tab.
"""

import pathlib

import pytest

from mathft_jax import grading

# Answers without content, which are not equivalent to any answer, not even to themselves.
UNREADABLE = {'\\sqrt{', '\\boxed{}', '()'}


def read_pairs():
  """Returns verdict ('equal' or 'different') -> kind -> pairs."""
  path = pathlib.Path(__file__).parent / 'answer_pairs.tsv'
  pairs_by_verdict = {'equal': {}, 'different': {}}
  pairs = []
  for line in path.read_text(encoding='utf-8').splitlines():
    if line.startswith('# '):
      kind, verdict = line[2:].split(': ')
      pairs = pairs_by_verdict[verdict].setdefault(kind, [])
    else:
      left, right = line.split('\t')
      pairs.append((left, right))
  return pairs_by_verdict


PAIRS = read_pairs()


@pytest.mark.parametrize('kind', PAIRS['equal'])
def test_equal_answers_are_equivalent_in_both_orders(kind):
  wrong = []
  for left, right in PAIRS['equal'][kind]:
    if not grading.is_equivalent(left, right):
      wrong.append((left, right))
    if not grading.is_equivalent(right, left):
      wrong.append((right, left))
  assert wrong == []


@pytest.mark.parametrize('kind', PAIRS['different'])
def test_different_answers_are_not_equivalent_in_either_order(kind):
  wrong = []
  for left, right in PAIRS['different'][kind]:
    if grading.is_equivalent(left, right):
      wrong.append((left, right))
    if grading.is_equivalent(right, left):
      wrong.append((right, left))
  assert wrong == []


@pytest.mark.parametrize('kind', PAIRS['different'])
def test_readable_answers_are_equivalent_to_themselves(kind):
  for pair in PAIRS['different'][kind]:
    for answer in pair:
      is_readable = answer not in UNREADABLE
      assert grading.is_equivalent(answer, answer) == is_readable, answer


def test_each_kind_has_pairs_of_both_verdicts():
  equal, different = PAIRS['equal'], PAIRS['different']
  assert different.keys() - equal.keys() == {'malformed'}
  assert not equal.keys() - different.keys()
  assert len(equal) > 40
  num_pairs = sum(map(len, [*equal.values(), *different.values()]))
  assert num_pairs > 2700
