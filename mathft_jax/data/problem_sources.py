"""Problems from plain files: the user's own jsonl, and solutions that a model got right.

A source is a frozen dataclass that is called with the name of a split ('train', 'validation',
'test') and returns its problems in a fixed order.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import logging
from typing import Any

from etils import epath

from mathft_jax.data import boxed_answers, candidate_selection, schema

ProblemSource = Callable[[str], Sequence[schema.Problem]]


@dataclasses.dataclass(frozen=True)
class JsonlProblems:
  """Problems of jsonl files with rows like `{"problem": ..., "solution": ..., "answer": ...}`.

  Also read: `question` for `problem`, `unique_id` for `id`, `type` for `subject`, and files that
  `records` writes. A row without `id` is known by its file and line; one without `answer` by the
  last `\\boxed{}` of its solution.

  Attributes:
    path: a file, `.jsonl` or `.jsonl.gz`; `{split}` in it is replaced. Of a file for all splits, a
      row's own `split` says where it belongs; rows without one are 'train'.
    validation_fraction: share of the 'train' rows that becomes 'validation', by a hash of the id; for
      files without a validation split.
    limit: take so many problems only, chosen by a hash of the id.
  """

  path: str
  validation_fraction: float = 0.0
  limit: int | None = None

  def __call__(self, split: str) -> list[schema.Problem]:
    problems = [
      problem for problem in self._problems(split) if problem.split == split
    ]
    if not problems:
      raise ValueError(
        f'{self.path}: no problem of split {split!r}. Put {{split}} into the path, a "split" '
        'into each row, or bind validation_fraction to cut validation from training problems.'
      )
    logging.info('%s: %d problems of split %s', self.path, len(problems), split)
    return subsample_problems(problems, self.limit)

  def _problems(self, split: str) -> list[schema.Problem]:
    per_split = '{split}' in self.path
    shared = per_split and split == 'validation' and self.validation_fraction
    path = epath.Path(
      self.path.replace('{split}', 'train' if shared else split)
    )
    if not path.exists():
      raise ValueError(
        f'{path}: no such file; it was to hold the problems of split {split!r}.'
      )
    default = 'train' if shared or not per_split else split
    problems = [
      problem_from_json(row, where, path.name, default)
      for where, row in schema.read_jsonl(path)
    ]
    return [self._cut(problem) for problem in problems]

  def _cut(self, problem: schema.Problem) -> schema.Problem:
    if (
      problem.split == 'train'
      and hash_to_unit_interval(problem.id) < self.validation_fraction
    ):
      return dataclasses.replace(problem, split='validation')
    return problem


@dataclasses.dataclass(frozen=True)
class CorrectCandidateProblems:
  """Problems whose solutions are correct candidates: each text once, up to `max_per_problem`.

  For a language-modelling term beside the evaluator's loss, and for rejection-sampling fine-tuning.
  """

  candidates: str
  max_per_problem: int = 4
  limit: int | None = None

  def __call__(self, split: str) -> list[schema.Problem]:
    problems, unsolved = [], 0
    for candidate_set in candidate_selection.read_candidate_sets_of_split(
      self.candidates, split
    ):
      texts = dict.fromkeys(
        c.solution for c in candidate_set.candidates if c.is_correct
      )
      unsolved += not texts
      problems.extend(
        dataclasses.replace(candidate_set.problem, solution=text)
        for text in list(texts)[: self.max_per_problem]
      )
    logging.info(
      '%s, split %s: %d correct solutions; %d problems have none',
      self.candidates,
      split,
      len(problems),
      unsolved,
    )
    return subsample_problems(problems, self.limit)


@dataclasses.dataclass(frozen=True)
class ConcatenatedProblems:
  """The problems of several sources, one after the other: both solution styles, say."""

  sources: tuple[ProblemSource, ...]

  def __post_init__(self):
    object.__setattr__(self, 'sources', tuple(self.sources))

  def __call__(self, split: str) -> list[schema.Problem]:
    return [problem for source in self.sources for problem in source(split)]


def select_demonstrations(
  problems: ProblemSource, count: int = 4, split: str = 'train'
) -> tuple[tuple[str, str], ...]:
  """Demonstrations for `Template.shots`: pairs of (question, solution), chosen by a hash of the id.

  The source decides on the style of the solutions, MATH's or PRM800K's.
  """
  solved = [problem for problem in problems(split) if problem.solution]
  if len(solved) < count:
    raise ValueError(
      f'{count} demonstrations wanted, {len(solved)} solved problems in {split!r}.'
    )
  return tuple(
    (problem.question, problem.solution)
    for problem in subsample_problems(solved, count)
  )


def problem_from_json(
  row: Mapping[str, Any], where: str, name: str, split: str
) -> schema.Problem:
  """A problem from a json row; ValueError with `where` (file:line) when it has no text."""
  question = row.get('question', row.get('problem'))
  if not isinstance(question, str) or not question.strip():
    raise ValueError(
      f'{where}: fields {sorted(row)}; wanted "problem" (or "question"), a text.'
    )
  solution = row.get('solution') or ''
  answer = row.get('answer')
  line = where.rpartition(':')[2]
  return schema.Problem(
    id=str(row.get('id', row.get('unique_id')) or f'{name}:{line}'),
    question=question,
    solution=solution,
    answer=boxed_answers.last_boxed_answer(solution)
    if answer in (None, '')
    else str(answer),
    subject=str(row.get('subject') or row.get('type') or ''),
    level=str(row.get('level') or ''),
    split=str(row.get('split') or split),
  )


def subsample_problems(
  problems: Sequence[schema.Problem], limit: int | None
) -> list[schema.Problem]:
  """At most `limit` problems in their order, the same ones whatever stands beside them."""
  if limit is None or limit >= len(problems):
    return list(problems)
  chosen = sorted(
    range(len(problems)),
    key=lambda i: (hash_to_unit_interval(problems[i].id), i),
  )[:limit]
  return [problems[i] for i in sorted(chosen)]


def hash_to_unit_interval(text: str) -> float:
  """A number in [0, 1) that depends on the text alone: the head of its sha256."""
  return (
    int.from_bytes(hashlib.sha256(text.encode('utf-8')).digest()[:8], 'big')
    / 2**64
  )
