"""Selects the graded candidates that an evaluator is trained on.

The paper draws 64 candidates per problem and builds 10 examples for the margin loss; it does not
say how. Every choice is a field of `CandidateSelection`. The log counts what each field left out.
"""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import logging
from typing import NamedTuple

import numpy as np

from mathft_jax.data import schema
from mathft_jax.data.schema import Candidate, CandidateSet, Problem

_CORRECT = 'correct'  # of the judged ones


class LabelledCandidate(NamedTuple):
  """A selected candidate with its problem and its label (1 if correct, else 0)."""

  problem: Problem
  candidate: Candidate
  is_correct: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateSelection:
  """How the candidates of a problem become examples.

  Attributes:
    examples_per_problem: number of pairs if `paired`, else of single candidates; fewer if a
      problem has fewer. 10 is the paper's value for the margin loss.
    paired: select (correct, incorrect) pairs of the same problem instead of single candidates.
    deduplicate: use each text once per problem; 64 samples have many repeats.
    balance: of single candidates: 'equal' numbers of both classes, or 'natural', as sampled.
    single_class_problems: what to do with problems that have only correct or only incorrect
      candidates. 'skip' skips them. 'keep' uses the candidates (only if not `paired`). 'reference'
      takes the reference solution as the correct candidate if there is none, and skips the problem
      if there is no incorrect one.
    seed: seed of the selection.
  """

  examples_per_problem: int = 10
  paired: bool = True
  deduplicate: bool = True
  balance: str = 'equal'
  single_class_problems: str = 'skip'
  seed: int = 0

  def __post_init__(self):
    if (
      self.balance not in ('equal', 'natural')
      or self.single_class_problems not in ('skip', 'keep', 'reference')
      or (self.paired and self.single_class_problems == 'keep')
    ):
      raise ValueError(
        f"{self}: balance must be 'equal' or 'natural', single_class_problems 'skip', "
        "'reference' or, with paired=False, 'keep'."
      )


def select_candidates(
  selection: CandidateSelection, path: str, split: str
) -> list[LabelledCandidate]:
  """Returns the selected candidates of a file's problems; a pair is two neighbours.

  See `selected_by_problem` for the arguments and errors.
  """
  selected = []
  for chosen in selected_by_problem(selection, path, split):
    selected += chosen
  return selected


def selected_by_problem(
  selection: CandidateSelection, path: str, split: str
) -> Iterator[list[LabelledCandidate]]:
  """Yields the selected candidates of each problem that has some; a pair is two neighbours.

  The file is read one problem at a time, so its candidates are not held in memory. The selection
  does not depend on the order of problems in the file; the order of the result does.

  Args:
    selection: which candidates to select.
    path: jsonl file of graded candidates.
    split: 'train', 'validation' or 'test'. If no problem of the file has a split, all are used.

  Raises:
    ValueError: the file is not graded, or no example can be built; after the last problem.
  """
  counts = Counter()
  for candidate_set in candidate_sets_of_split(path, split):
    problem = candidate_set.problem
    graded = _graded_candidates(candidate_set, selection, counts)
    correct = [c for c in graded if c.is_correct is True]
    incorrect = [c for c in graded if c.is_correct is False]
    if not (correct and incorrect):
      correct, incorrect = _handle_single_class(
        problem, correct, incorrect, selection, counts
      )
    if correct or incorrect:
      chosen = _choose(problem, correct, incorrect, selection)
      counts['examples'] += len(chosen)
      counts['of correct candidates'] += sum(each.is_correct for each in chosen)
      yield chosen

  summary = [f'{count} {name}' for name, count in counts.items()]
  logging.info('%s, split %s: %s', path, split, ', '.join(summary))
  if not counts['judged']:
    raise ValueError(
      f'{path}, split {split!r}: no candidate has `is_correct`. Run grade on the file.'
    )
  if not counts['examples']:
    raise ValueError(
      f'{path}, split {split!r}: no example can be built: {counts[_CORRECT]} of '
      f'{counts["judged"]} graded candidates are correct; wanted problems with correct and '
      f'incorrect candidates. {_other_rules(selection, counts)}'
    )


def _other_rules(selection: CandidateSelection, counts: Counter) -> str:
  """Returns which other values of `single_class_problems` use more problems."""
  rules = {
    'keep': 'uses their candidates as they are',
    'reference': 'takes the reference solution of a problem as its correct candidate',
  }
  if counts[_CORRECT] in (0, counts['judged']):
    rules['keep'] += ', here all of one class'
  if selection.paired:
    del rules['keep']
  rules.pop(selection.single_class_problems, None)
  texts = [f'--gin.ONE_KIND={rule} {text}' for rule, text in rules.items()]
  sampled = 'Sample more candidates of each problem'
  if not texts:
    return f'{sampled}.'
  return f'{sampled}; or {", ".join(texts)}.'


def candidate_sets_of_split(path: str, split: str) -> Iterator[CandidateSet]:
  """Yields the candidate sets of a split, one at a time; all sets if no problem has a split.

  Raises:
    ValueError: some problems have a split and others have none, or none is of this split; after
      the last set.
  """
  sizes = Counter()
  for candidate_set in schema.iterate_candidate_sets(path):
    problem = candidate_set.problem
    sizes[problem.split] += 1
    if '' in sizes and len(sizes) > 1:
      raise ValueError(
        f'{path}, problem {problem.id!r}: split is {problem.split!r}; earlier problems: '
        f'{dict(sizes - Counter([problem.split]))}. Wanted a "split" in all problems or in none.'
      )
    if problem.split in ('', split):
      yield candidate_set

  if '' not in sizes and split not in sizes:
    raise ValueError(
      f'{path}: no problem of split {split!r}; problems by split: {dict(sizes)}. Training needs '
      f'candidates of its own split: run sample with --gin.SPLIT={split}, and grade. To export '
      f'these, set --gin.SPLIT={next(iter(sizes))}.'
    )


def _graded_candidates(
  candidate_set: CandidateSet,
  selection: CandidateSelection,
  counts: Counter,
) -> list[Candidate]:
  """Returns the graded candidates, without repeated texts if they are deduplicated."""
  graded = [c for c in candidate_set.candidates if c.is_correct is not None]
  counts['problems'] += 1
  counts['candidates'] += len(candidate_set.candidates)
  counts['judged'] += len(graded)
  counts[_CORRECT] += sum(c.is_correct is True for c in graded)
  if not selection.deduplicate:
    return graded

  distinct = {}
  for candidate in graded:
    distinct.setdefault(candidate.solution, candidate)
  counts['repeated texts left out'] += len(graded) - len(distinct)
  return list(distinct.values())


def _handle_single_class(
  problem: Problem,
  correct: list[Candidate],
  incorrect: list[Candidate],
  selection: CandidateSelection,
  counts: Counter,
) -> tuple[list[Candidate], list[Candidate]]:
  """Returns the (correct, incorrect) candidates to use; none if the problem is skipped."""
  found = 'no judged'
  if correct:
    found = 'only correct'
  elif incorrect:
    found = 'only incorrect'

  rule, outcome = selection.single_class_problems, 'skipped'
  if rule == 'reference' and incorrect and problem.solution:
    outcome = 'reference solution taken'
    correct = [Candidate(problem.solution, is_correct=True)]
  elif rule == 'keep' and (correct or incorrect):
    outcome = 'kept'
  else:
    correct, incorrect = [], []
  counts[f'with {found} candidates: {outcome}'] += 1
  return correct, incorrect


def _choose(
  problem: Problem,
  correct: list[Candidate],
  incorrect: list[Candidate],
  selection: CandidateSelection,
) -> list[LabelledCandidate]:
  """Returns the selected candidates of one problem, at random by seed and problem id."""
  rng = np.random.default_rng([selection.seed, *problem.id.encode('utf-8')])
  incorrect = _shuffle(incorrect, rng)
  correct = _shuffle(correct, rng)
  limit = selection.examples_per_problem

  if selection.paired:
    pairs = []
    for i, j in pair_candidates_evenly(len(correct), len(incorrect), limit):
      pairs.append(LabelledCandidate(problem, correct[i], 1))
      pairs.append(LabelledCandidate(problem, incorrect[j], 0))
    return pairs

  if selection.balance == 'equal' and incorrect and correct:
    num_each = min(limit // 2, len(correct), len(incorrect))
    correct, incorrect = correct[:num_each], incorrect[:num_each]
  labelled = [LabelledCandidate(problem, c, 1) for c in correct]
  labelled += [LabelledCandidate(problem, c, 0) for c in incorrect]
  return _shuffle(labelled, rng)[:limit]


def _shuffle(items: list, rng: np.random.Generator) -> list:
  return [items[index] for index in rng.permutation(len(items))]


def pair_candidates_evenly(
  num_correct: int, num_incorrect: int, limit: int
) -> list[tuple[int, int]]:
  """Returns up to `limit` different pairs (i, j) that use every i and every j equally often.

  Pair k is (k mod num_correct, (k + k // lcm) mod num_incorrect): it walks down the diagonals of a
  num_correct x num_incorrect table, and starts the next diagonal when one is complete.
  """
  lcm = int(np.lcm(num_correct, num_incorrect))
  pairs = []
  for k in range(min(limit, num_correct * num_incorrect)):
    pairs.append((k % num_correct, (k + k // lcm) % num_incorrect))
  return pairs
