"""Grades candidate sets: final answer, correctness and cluster of every candidate."""

import collections
from collections.abc import Sequence
import dataclasses

from mathft_jax import grading
from mathft_jax.data import schema
from mathft_jax.grading import worker_pool

# The final answers of the candidates of one problem.
FinalAnswers = list[grading.FinalAnswer | None]
KeyTable = dict[str | None, grading.AnswerKeys]


def grader_and_version() -> str:
  """Returns the name and version of the grader, as stored with graded candidates."""
  return f'{grading.GRADER_NAME} {grading.GRADER_VERSION}'


def reference_answer(problem: schema.Problem) -> str | None:
  """Returns the `answer` of a problem, else the final answer of its `solution`, else None."""
  return problem.answer or grading.extract_answer(problem.solution)


def grade_candidate_sets(
  sets: Sequence[schema.CandidateSet],
  pool: worker_pool.WorkerPool | None,
  deadline_s: float,
) -> tuple[list[schema.CandidateSet], collections.Counter[str]]:
  """Returns the sets with `answer`, `is_correct`, `cluster` and `grader`, and counts.

  Args:
    sets: candidate sets; earlier grades are replaced.
    pool: workers that compute the keys of the answers; None computes them in this process.
    deadline_s: seconds for each answer in a worker. An answer that exceeds a limit gets no key.

  Returns:
    The graded sets and the counts of the report.
  """
  answers = []
  for unit in sets:
    solutions = [candidate.solution for candidate in unit.candidates]
    answers.append(list(map(grading.find_final_answer, solutions)))
  keys = _answer_keys(sets, answers, pool, deadline_s)

  graded = []
  counts = collections.Counter(problems=len(sets))
  for unit, unit_answers in zip(sets, answers):
    graded_unit = _grade_set(unit, unit_answers, keys)
    _count(graded_unit, unit_answers, counts)
    graded.append(graded_unit)
  return graded, counts


def _answer_keys(
  sets: Sequence[schema.CandidateSet],
  answers: Sequence[FinalAnswers],
  pool: worker_pool.WorkerPool | None,
  deadline_s: float,
) -> KeyTable:
  """Returns the keys of all answers and references; without an answer the key is None."""
  texts = set()
  for unit, unit_answers in zip(sets, answers):
    texts.add(reference_answer(unit.problem))
    texts.update(answer.text for answer in unit_answers if answer)
  texts.discard(None)
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
  unit: schema.CandidateSet, final_answers: FinalAnswers, keys: KeyTable
) -> schema.CandidateSet:
  reference = reference_answer(unit.problem)
  answers = [answer.text if answer else None for answer in final_answers]
  reference_keys = keys[reference]
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
        cluster=labels[index],
        is_correct=is_correct,
      )
    )
  return dataclasses.replace(
    unit, candidates=tuple(candidates), grader=grader_and_version()
  )


def _count(
  unit: schema.CandidateSet,
  answers: FinalAnswers,
  counts: collections.Counter[str],
) -> None:
  """Adds the counts of one graded problem."""
  num_correct = num_unreadable = 0
  for candidate, answer in zip(unit.candidates, answers):
    num_correct += bool(candidate.is_correct)
    num_unreadable += answer is not None and candidate.cluster is None
    counts[f'answer by {answer.method}' if answer else 'no answer'] += 1
  counts['problems without reference'] += reference_answer(unit.problem) is None
  counts['candidates'] += len(answers)
  counts['clusters'] += len(unit.clusters())
  counts['correct'] += num_correct
  counts['answers that cannot be read'] += num_unreadable
