"""Selects solutions that a model sampled itself, to fine-tune on them.

Rejection-sampling fine-tuning (Yuan et al., 2023) and ReST-EM (Singh et al., 2024) keep the correct
candidates. Without labels, the candidates with a high score, or those whose answer most candidates
agree on, can be kept. The log counts what was selected.
"""

from collections.abc import Sequence
import dataclasses
import logging
import re
from typing import Literal, get_args

from mathft_jax.data import candidate_selection, problem_sources
from mathft_jax.data.schema import Candidate, CandidateSet, Problem

Choice = Literal['label', 'score', 'agreement']
Distinct = Literal['text', 'derivation']
_NUMBER_OR_OPERATOR = re.compile(r'\d+(?:[.,]\d+)*|[-+*/^=<>]')


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnSolutionSelection:
  """Which candidates of a problem become solutions to learn.

  Attributes:
    choose: 'label': candidates with `is_correct`, in sampling order; 'score': those with a score of
      at least `min_score`, highest first; 'agreement': the largest cluster of equivalent answers,
      if it has at least the share `min_agreement` of the problem's candidates. The last two use no
      reference answer.
    min_score: S_cls in [0, 1], or the score of another reward model.
    min_agreement: share of all candidates of the problem, in [0, 1].
    max_per_problem: maximum number of solutions of one problem.
    distinct: 'text': each text once per problem; 'derivation': of solutions with the same sequence
      of numbers and operators only the first, whatever words are between them.
    limit: maximum number of (problem, solution) pairs, chosen by a hash of the problem id; None
      means all.
  """

  choose: Choice = 'label'
  min_score: float = 0.5
  min_agreement: float = 0.5
  max_per_problem: int = 4
  distinct: Distinct = 'text'
  limit: int | None = None

  def __post_init__(self):
    if self.choose not in get_args(Choice):
      raise ValueError(
        f'{type(self).__name__}.choose is {self.choose!r}; it must be one of {get_args(Choice)}.'
      )
    if self.distinct not in get_args(Distinct):
      raise ValueError(
        f'{type(self).__name__}.distinct is {self.distinct!r}; it must be one of '
        f'{get_args(Distinct)}.'
      )
    if self.max_per_problem < 1:
      raise ValueError(
        f'{type(self).__name__}.max_per_problem is {self.max_per_problem}; it must be at least 1.'
      )


def select_own_solutions(
  selection: OwnSolutionSelection, path: str, split: str
) -> list[Problem]:
  """Returns one problem for each selected solution, with it as its `solution`.

  Args:
    selection: which candidates to select.
    path: jsonl file of graded candidates; scored ones if `choose` is 'score'.
    split: 'train', 'validation' or 'test'. If no problem of the file has a split, all are used.

  Raises:
    ValueError: the file has no field that `choose` reads, or no solution is selected.
  """
  field = {'label': 'is_correct', 'score': 'score', 'agreement': 'cluster'}
  problems = []
  num_sets, num_without = 0, 0
  has_field = False
  for candidate_set in candidate_selection.candidate_sets_of_split(path, split):
    num_sets += 1
    has_field = has_field or _has_field(candidate_set, field[selection.choose])
    chosen = _choose(selection, candidate_set)
    solutions = _distinct_solutions(selection, chosen)
    num_without += not solutions
    for solution in solutions:
      problems.append(
        dataclasses.replace(candidate_set.problem, solution=solution)
      )

  _check_has_field(selection, has_field, field[selection.choose], path)
  logging.info(
    '%s, split %s: %d own solutions by %s of %d problems; %d problems have none',
    path,
    split,
    len(problems),
    selection.choose,
    num_sets,
    num_without,
  )
  if not problems:
    raise ValueError(
      f'{path}, split {split!r}: no candidate is selected by {selection}. Lower the threshold, or '
      'sample more candidates.'
    )
  return problem_sources.subsample_problems(problems, selection.limit)


def derivation_key(solution: str) -> tuple[str, ...]:
  """Returns the numbers and operators of a text in their order, without the words."""
  return tuple(_NUMBER_OR_OPERATOR.findall(solution))


def _has_field(candidate_set: CandidateSet, name: str) -> bool:
  """Returns whether a candidate of the problem has the field."""
  for candidate in candidate_set.candidates:
    if getattr(candidate, name) is not None:
      return True
  return False


def _check_has_field(
  selection: OwnSolutionSelection, has_field: bool, name: str, path: str
) -> None:
  """Raises ValueError if no candidate of the file has the field that `choose` reads."""
  program = {'label': 'grade', 'score': 'score', 'agreement': 'grade'}
  if not has_field:
    raise ValueError(
      f'{path}: no candidate has `{name}`, which choose={selection.choose!r} reads. Run '
      f'{program[selection.choose]} on the file.'
    )


def _choose(
  selection: OwnSolutionSelection, candidate_set: CandidateSet
) -> list[Candidate]:
  """Returns the candidates that may become solutions, the preferred ones first."""
  candidates = candidate_set.candidates
  if selection.choose == 'label':
    return [c for c in candidates if c.is_correct]

  if selection.choose == 'score':
    scored = [
      (candidate.score, candidate)
      for candidate in candidates
      if candidate.score is not None and candidate.score >= selection.min_score
    ]
    scored.sort(key=lambda pair: -pair[0])
    return [candidate for _, candidate in scored]

  clusters = candidate_set.clusters()
  if not clusters:
    return []
  share = len(clusters[0]) / len(candidates)
  if share < selection.min_agreement:
    return []
  return [candidates[index] for index in clusters[0]]


def _distinct_solutions(
  selection: OwnSolutionSelection, candidates: Sequence[Candidate]
) -> list[str]:
  """Returns the first `max_per_problem` distinct solutions that were not cut."""
  solution_by_key: dict[object, str] = {}
  for candidate in candidates:
    if candidate.finished is False:
      continue
    key: object = candidate.solution
    if selection.distinct == 'derivation':
      key = derivation_key(candidate.solution)
    solution_by_key.setdefault(key, candidate.solution)
  return list(solution_by_key.values())[: selection.max_per_problem]
