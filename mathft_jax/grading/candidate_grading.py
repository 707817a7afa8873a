"""Grades candidate sets: final answer, correctness and cluster of every candidate."""

import collections
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
from typing import TypeVar

from mathft_jax import grading
from mathft_jax.data import schema
from mathft_jax.grading import answer_limits, extraction, worker_pool
from mathft_jax.grading import references as references_lib

Hit = tuple[str, str]  # an exceeded limit, and the task as text


@dataclasses.dataclass(frozen=True)
class SolutionText:
  """A solution whose final answer is wanted.

  Attributes:
    solution: the text.
    is_cut: whether it was cut at the length limit.
    search: how the answer is found.
  """

  solution: str
  is_cut: bool
  search: grading.AnswerSearch


@dataclasses.dataclass(frozen=True)
class ReferenceText:
  """A problem whose reference answer is wanted, and how it is found."""

  problem: schema.Problem
  search: grading.AnswerSearch


Text = SolutionText | ReferenceText
_Text = TypeVar('_Text', SolutionText, ReferenceText)


@dataclasses.dataclass(frozen=True)
class GradedText:
  """The answer of a solution or of a reference, with its keys.

  Attributes:
    answer: the final answer; None without one, or if a limit was exceeded.
    keys: the keys of the answer; None in them if it cannot be read.
    limit: the limit of the worker that was exceeded; None for a complete result.
    hits: limits of closed forms that were exceeded on the way.
  """

  answer: grading.FinalAnswer | None = None
  keys: grading.AnswerKeys = grading.AnswerKeys(None)
  limit: str | None = None
  hits: tuple[Hit, ...] = ()


def grader_and_version() -> str:
  """Returns the name and version of the grader, as stored with graded candidates."""
  return f'{grading.GRADER_NAME} {grading.GRADER_VERSION}'


def grade_solution(text: SolutionText) -> GradedText:
  """Returns the final answer of a solution and its keys: the whole work of one candidate."""
  return _with_keys(
    grading.find_final_answer(text.solution, text.search, text.is_cut)
  )


def grade_reference(text: ReferenceText) -> GradedText:
  """Returns the reference answer of a problem and its keys."""
  return _with_keys(references_lib.find_reference(text.problem, text.search))


def _with_keys(answer: grading.FinalAnswer | None) -> GradedText:
  if answer is None:
    return GradedText()
  num_earlier_hits = len(worker_pool.shared_pool_limit_hits())
  keys = grading.answer_keys_of(answer.text)
  hits = worker_pool.shared_pool_limit_hits()[num_earlier_hits:]
  return GradedText(answer, keys, hits=tuple(hits))


def grade_candidate_sets(
  sets: Sequence[schema.CandidateSet],
  pool: worker_pool.WorkerPool | None,
  deadline_s: float,
  search: grading.AnswerSearch = extraction.DEFAULT_SEARCH,
) -> tuple[list[schema.CandidateSet], collections.Counter[str]]:
  """Returns the sets with `answer`, `how`, `is_correct`, `cluster` and `grader`, and counts.

  Args:
    sets: candidate sets; earlier grades are replaced.
    pool: workers that grade the candidates; None grades them in this process.
    deadline_s: seconds for one candidate in a worker, extraction included. A candidate that exceeds
      a limit has no answer and is not correct. If the reference exceeds one, `is_correct` is not
      set.
    search: how final answers are found, those of references, too.

  Returns:
    The graded sets and the counts of the report.
  """
  solutions, references = {}, {}
  for unit in sets:
    references[ReferenceText(unit.problem, search)] = None
    for candidate in unit.candidates:
      solutions[_solution_text(candidate, search)] = None
  grades = _Grades(
    {
      **_grade_texts(grade_reference, list(references), pool, deadline_s),
      **_grade_texts(grade_solution, list(solutions), pool, deadline_s),
    }
  )

  graded = []
  counts = collections.Counter(problems=len(sets))
  for unit in sets:
    reference = grades.find(ReferenceText(unit.problem, search))
    texts = []
    for candidate in unit.candidates:
      texts.append(grades.find(_solution_text(candidate, search)))
    graded_unit = _grade_set(unit, reference, texts, grades)
    _count(graded_unit, reference, texts, counts)
    graded.append(graded_unit)
  return graded, counts


def limit_hits(
  sets: Sequence[schema.CandidateSet],
) -> list[tuple[str, str]]:
  """Returns (limit, answer) of each distinct answer that exceeds a limit of length or depth."""
  answers = {each.answer for unit in sets for each in unit.candidates}
  hits = []
  for answer in sorted(filter(None, answers)):
    limit = answer_limits.exceeded_limit(answer)
    if limit:
      digest = hashlib.blake2b(answer.encode('utf-8', 'replace'), digest_size=8)
      hits.append((limit, f'{answer[:80]!r} {digest.hexdigest()}'))
  return hits


def _solution_text(
  candidate: schema.Candidate, search: grading.AnswerSearch
) -> SolutionText:
  return SolutionText(candidate.solution, candidate.finished is False, search)


class _Grades:
  """The graded texts of a file.

  An answer has the same keys in the whole file, also if several workers computed it and one of
  them was stopped on the way.
  """

  def __init__(self, graded: Mapping[Text, GradedText]):
    self._graded = graded
    self._keys: dict[str, grading.AnswerKeys] = {}
    for text in sorted(graded.values(), key=_has_hits):
      if text.answer is not None:
        self._keys.setdefault(text.answer.text, text.keys)

  def find(self, text: Text) -> GradedText:
    """Returns the graded text."""
    return self._graded[text]

  def keys(self, graded: GradedText) -> grading.AnswerKeys:
    """Returns the keys of a graded text."""
    if graded.answer is None:
      return grading.AnswerKeys(None)
    return self._keys[graded.answer.text]


def _has_hits(graded: GradedText) -> bool:
  return bool(graded.hits)


def _grade_texts(
  function: Callable[[_Text], GradedText],
  texts: Sequence[_Text],
  pool: worker_pool.WorkerPool | None,
  deadline_s: float,
) -> dict[_Text, GradedText]:
  """Returns `function(text)` by text, in workers under limits if there is a pool."""
  if pool is None:
    return dict(zip(texts, map(function, texts)))
  graded = {}
  for text, result in zip(texts, pool.map(function, texts, deadline_s)):
    graded[text] = result.value or GradedText(limit=result.limit)
    pool.record_hits(graded[text].hits)
  return graded


def _grade_set(
  unit: schema.CandidateSet,
  reference: GradedText,
  texts: Sequence[GradedText],
  grades: _Grades,
) -> schema.CandidateSet:
  reference_keys = grades.keys(reference)
  keys = []
  for text in texts:
    keys.append(grading.key_for_reference(grades.keys(text), reference_keys))
  labels = grading.cluster_labels(keys)

  candidates = []
  for index, candidate in enumerate(unit.candidates):
    is_correct = None
    if reference.answer is not None:
      key = keys[index]
      is_correct = key is not None and key == reference_keys.key
    answer = texts[index].answer
    candidates.append(
      dataclasses.replace(
        candidate,
        answer=answer.text if answer else None,
        how=answer.method if answer else None,
        cluster=labels[index],
        is_correct=is_correct,
      )
    )
  return dataclasses.replace(
    unit, candidates=tuple(candidates), grader=grader_and_version()
  )


def _count(
  unit: schema.CandidateSet,
  reference: GradedText,
  texts: Sequence[GradedText],
  counts: collections.Counter[str],
) -> None:
  """Adds the counts of one graded problem."""
  num_correct = num_unreadable = 0
  for candidate, text in zip(unit.candidates, texts):
    num_correct += bool(candidate.is_correct)
    num_unreadable += candidate.answer is not None and candidate.cluster is None
    if text.limit:
      counts['candidates over a limit'] += 1
    else:
      how = f'answer by {candidate.how}' if candidate.how else 'no answer'
      counts[how] += 1
  if reference.limit:
    counts['problems whose reference is over a limit'] += 1
  else:
    counts['problems without reference'] += reference.answer is None
  if reference.answer and reference.answer.method != references_lib.GIVEN:
    counts[f'reference by {reference.answer.method}'] += 1
  counts['candidates'] += len(unit.candidates)
  counts['clusters'] += len(unit.clusters())
  counts['correct'] += num_correct
  counts['answers that cannot be read'] += num_unreadable
