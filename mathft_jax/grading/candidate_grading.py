"""Grades candidate sets: final answer, correctness and cluster of every candidate."""

import collections
from collections.abc import Sequence
import dataclasses

from mathft_jax import grading
from mathft_jax.data import schema
from mathft_jax.grading import extraction, worker_pool
from mathft_jax.grading import references as references_lib

# The final answers of the candidates of one problem.
FinalAnswers = list[grading.FinalAnswer | None]
KeyTable = dict[str | None, grading.AnswerKeys]


def grader_and_version() -> str:
  """Returns the name and version of the grader, as stored with graded candidates."""
  return f'{grading.GRADER_NAME} {grading.GRADER_VERSION}'


def grade_candidate_sets(
  sets: Sequence[schema.CandidateSet],
  pool: worker_pool.WorkerPool | None,
  deadline_s: float,
  search: grading.AnswerSearch = extraction.DEFAULT_SEARCH,
) -> tuple[list[schema.CandidateSet], collections.Counter[str]]:
  """Returns the sets with `answer`, `how`, `is_correct`, `cluster` and `grader`, and counts.

  Args:
    sets: candidate sets; earlier grades are replaced.
    pool: workers that compute the keys of the answers; None computes them in this process.
    deadline_s: seconds for each answer in a worker. An answer that exceeds a limit gets no key.
    search: how final answers are found, those of references, too.

  Returns:
    The graded sets and the counts of the report.
  """
  answers = [_final_answers(unit, search) for unit in sets]
  references = [
    references_lib.find_reference(unit.problem, search) for unit in sets
  ]
  keys = _answer_keys(references, answers, pool, deadline_s)

  graded = []
  counts = collections.Counter(problems=len(sets))
  for unit, reference, unit_answers in zip(sets, references, answers):
    graded_unit = _grade_set(unit, reference, unit_answers, keys)
    _count(graded_unit, reference, counts)
    graded.append(graded_unit)
  return graded, counts


def _final_answers(
  unit: schema.CandidateSet, search: grading.AnswerSearch
) -> FinalAnswers:
  answers = []
  for candidate in unit.candidates:
    is_cut = candidate.finished is False
    answers.append(
      grading.find_final_answer(candidate.solution, search, is_cut)
    )
  return answers


def _answer_keys(
  references: FinalAnswers,
  answers: Sequence[FinalAnswers],
  pool: worker_pool.WorkerPool | None,
  deadline_s: float,
) -> KeyTable:
  """Returns the keys of all answers and references; without an answer the key is None."""
  texts = {reference.text for reference in references if reference}
  for unit_answers in answers:
    texts.update(answer.text for answer in unit_answers if answer)
  ordered = sorted(texts)

  keys: KeyTable = {None: grading.AnswerKeys(None)}
  if pool is None:
    keys.update(zip(ordered, map(grading.answer_keys_of, ordered)))
    return keys
  results = pool.map(grading.answer_keys_of, ordered, deadline_s)
  for text, result in zip(ordered, results):
    keys[text] = result.value or grading.AnswerKeys(None)
  return keys


def _grade_set(
  unit: schema.CandidateSet,
  reference: grading.FinalAnswer | None,
  final_answers: FinalAnswers,
  keys: KeyTable,
) -> schema.CandidateSet:
  answers = [answer.text if answer else None for answer in final_answers]
  reference_keys = keys[reference.text if reference else None]
  answer_keys = [
    grading.key_for_reference(keys[answer], reference_keys)
    for answer in answers
  ]
  labels = grading.cluster_labels(answer_keys)

  candidates = []
  for index, candidate in enumerate(unit.candidates):
    is_correct = None
    if reference is not None:
      key = answer_keys[index]
      is_correct = key is not None and key == reference_keys.key
    candidates.append(
      dataclasses.replace(
        candidate,
        answer=answers[index],
        how=_method(final_answers[index]),
        cluster=labels[index],
        is_correct=is_correct,
      )
    )
  return dataclasses.replace(
    unit, candidates=tuple(candidates), grader=grader_and_version()
  )


def _method(answer: grading.FinalAnswer | None) -> str | None:
  return answer.method if answer else None


def _count(
  unit: schema.CandidateSet,
  reference: grading.FinalAnswer | None,
  counts: collections.Counter[str],
) -> None:
  """Adds the counts of one graded problem."""
  num_correct = num_unreadable = 0
  for candidate in unit.candidates:
    num_correct += bool(candidate.is_correct)
    num_unreadable += candidate.answer is not None and candidate.cluster is None
    counts[f'answer by {candidate.how}' if candidate.how else 'no answer'] += 1
  counts['problems without reference'] += reference is None
  if reference and reference.method != references_lib.GIVEN:
    counts[f'reference by {reference.method}'] += 1
  counts['candidates'] += len(unit.candidates)
  counts['clusters'] += len(unit.clusters())
  counts['correct'] += num_correct
  counts['answers that cannot be read'] += num_unreadable
