"""Agreement of the grader with other graders and with the labels of the input."""

import collections
from collections.abc import Sequence
import dataclasses
from typing import Any

from mathft_jax.data import schema
from mathft_jax.grading import (
  candidate_grading,
  other_graders,
  references,
  worker_pool,
)

INPUT_LABELS = 'previous'  # name of the comparison with the input's own labels
NO_RESULT = 'other grader: no result'


@dataclasses.dataclass(frozen=True)
class CandidateWithReference:
  """A candidate of a problem with a reference answer.

  Attributes:
    problem: id of the problem.
    candidate: index in the candidate set.
    reference: reference answer.
    answer: answer of the candidate.
    is_correct: the label.
  """

  problem: str
  candidate: int
  reference: str
  answer: str | None
  is_correct: bool | None


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Counts of the agreement table, and the records of all disagreements."""

  counts: dict[str, int]
  disagreements: list[dict[str, Any]]


def candidates_with_reference(
  sets: Sequence[schema.CandidateSet],
) -> list[CandidateWithReference]:
  """Returns all candidates of problems that have a reference answer."""
  found = []
  for unit in sets:
    reference = references.find_reference(unit.problem)
    if reference is None:
      continue
    for index, candidate in enumerate(unit.candidates):
      found.append(
        CandidateWithReference(
          unit.problem.id,
          index,
          reference.text,
          candidate.answer,
          candidate.is_correct,
        )
      )
  return found


def labels_of_other_grader(
  name: str,
  candidates: Sequence[CandidateWithReference],
  pool: worker_pool.WorkerPool,
  deadline_s: float,
) -> list[bool | None]:
  """Returns the verdict of another grader about each candidate.

  Returns:
    True or False, False without an answer; None if the grader exceeds a limit.
  """
  pairs = set()
  for candidate in candidates:
    if candidate.answer is not None:
      pairs.add((candidate.reference, candidate.answer))
  ordered = sorted(pairs)
  grader = other_graders.OTHER_GRADERS[name]
  results = dict(zip(ordered, pool.map(grader, ordered, deadline_s)))

  labels = []
  for candidate in candidates:
    if candidate.answer is None:
      labels.append(False)
    else:
      labels.append(results[candidate.reference, candidate.answer].value)
  return labels


def compare_labels(
  name: str,
  candidates: Sequence[CandidateWithReference],
  labels: Sequence[bool | None],
) -> Agreement:
  """Returns the agreement of the grader with other labels.

  Args:
    name: the other grader, or INPUT_LABELS; the key of its label in a disagreement.
    candidates: with the labels of the grader.
    labels: other label of each candidate; None for no result.
  """
  counts = collections.Counter()
  disagreements = []
  for candidate, label in zip(candidates, labels):
    counts[_table_row(candidate.is_correct, label)] += 1
    if label is not None and label != candidate.is_correct:
      record = dataclasses.asdict(candidate)
      own_label = record.pop('is_correct')
      record[candidate_grading.grader_and_version()] = own_label
      disagreements.append(record | {name: label})
  return Agreement(counts, disagreements)


def _table_row(own: bool | None, other: bool | None) -> str:
  if other is None:
    return NO_RESULT
  if own == other:
    return 'both correct' if own else 'both wrong'
  return 'correct for us only' if own else 'correct for them only'
