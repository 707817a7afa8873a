"""Warnings about the shares of the methods that found answers."""

import dataclasses
import re

import pytest

from mathft_jax.data import answer_shares
from tests.evaluation.candidates import candidate_set


@pytest.mark.parametrize(
  'num_cut, token_ids, advice',
  [
    (3, (1,) * 96, '75.0% of them were cut .*raise MAX_DECODE_LENGTH .96. of'),
    (3, None, 'raise MAX_DECODE_LENGTH of sample'),
    (2, (1,) * 96, 'see FIND_ANSWERS'),
  ],
)
def test_the_warning_about_missing_answers_names_their_cause(
  num_cut, token_ids, advice
):
  unit = candidate_set([(None, None)] * 4)
  candidates = []
  for number, candidate in enumerate(unit.candidates):
    is_cut = number < num_cut
    candidates.append(
      dataclasses.replace(
        candidate, finished=not is_cut, token_ids=token_ids if is_cut else None
      )
    )
  unit = dataclasses.replace(unit, candidates=tuple(candidates))
  (warning,) = answer_shares.AnswerShares.of([unit]).warnings()
  assert re.search(advice, warning)
  assert warning.startswith('100.0% of the candidates have no answer')
