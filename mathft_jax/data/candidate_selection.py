"""Which graded candidates of a problem an evaluator is trained on.

The paper draws 64 candidates a problem and builds 10 examples for the margin loss; how is open, so
all of it is a field of `Draw`, and what each field left out is counted in the log.
"""

from collections import Counter
import dataclasses
import logging

import numpy as np

from mathft_jax.data import schema

LabelledCandidate = tuple[schema.Problem, schema.Candidate, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CandidateSelection:
  """How candidates become examples.

  Attributes:
    examples_per_problem: pairs when `paired`, else single candidates; fewer where a problem has
      fewer. 10 is the paper's, for the margin loss.
    paired: (correct, incorrect) pairs of the same problem, or candidates on their own.
    deduplicate: each text counts once a problem (ours; 64 samples hold many repeats).
    balance: of candidates on their own: 'equal' numbers of both kinds, or 'natural', as sampled.
    single_class_problems: what happens to a problem that has only correct or only incorrect candidates: 'skip';
      'keep' what there is (only candidates on their own); 'reference' takes the reference solution
      as the correct candidate when there is none, and skips when there is no incorrect one.
    seed: of the draw.
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
        f"{self}: wanted balance 'equal' or 'natural', single_class_problems 'skip', 'reference' "
        "or, with paired=False, 'keep'."
      )


def select_candidates(
  rule: CandidateSelection, path: str, split: str
) -> list[LabelledCandidate]:
  """(problem, candidate, is_correct) of a file's problems of a split; a pair is two neighbours.

  A file of which no problem names a split serves every split. Independent of the order of problems
  in the file, up to the order of the result.
  """
  examples, counts = [], Counter()
  for candidate_set in read_candidate_sets_of_split(path, split):
    kinds = _kinds(candidate_set, rule, counts)
    if kinds is not None:
      seed = [rule.seed, *candidate_set.problem.id.encode('utf-8')]
      chosen = _choose(kinds, rule, np.random.default_rng(seed))
      counts['examples'] += len(chosen)
      counts['of correct candidates'] += sum(
        is_correct for _, is_correct in chosen
      )
      examples.extend((candidate_set.problem, *labelled) for labelled in chosen)
  logging.info(
    '%s, split %s: %s',
    path,
    split,
    ', '.join(f'{count} {name}' for name, count in counts.items()),
  )
  if not counts['judged']:
    raise ValueError(
      f'{path}, split {split!r}: no candidate has `is_correct`; run grade on it.'
    )
  if not examples:
    raise ValueError(
      f'{path}, split {split!r}: no example can be built ({dict(counts)}); wanted '
      'problems with correct and incorrect candidates, or another Draw.single_class_problems.'
    )
  return examples


def read_candidate_sets_of_split(
  path: str, split: str
) -> list[schema.CandidateSet]:
  """The candidate sets of a file's problems of `split`; all, where no problem names a split."""
  sets = schema.read_candidate_sets(path)
  splits = Counter(candidate_set.problem.split for candidate_set in sets)
  if set(splits) <= {''}:
    return sets
  if split not in splits:
    raise ValueError(
      f'{path}: no problem of split {split!r}; it has {dict(splits)}.'
    )
  return [
    candidate_set
    for candidate_set in sets
    if candidate_set.problem.split == split
  ]


def _kinds(
  candidate_set: schema.CandidateSet, rule: CandidateSelection, counts: Counter
) -> tuple[list[schema.Candidate], ...] | None:
  """The incorrect and the correct candidates to choose from; None where the problem is skipped."""
  judged = [c for c in candidate_set.candidates if c.is_correct is not None]
  counts['problems'] += 1
  counts['candidates'] += len(candidate_set.candidates)
  counts['judged'] += len(judged)
  if rule.deduplicate:
    texts = {candidate.solution: candidate for candidate in reversed(judged)}
    counts['repeated texts left out'] += len(judged) - len(texts)
    judged = [
      candidate
      for candidate in judged
      if texts[candidate.solution] is candidate
    ]
  kinds = tuple(
    [c for c in judged if c.is_correct is kind] for kind in (False, True)
  )
  return _both_kinds(candidate_set.problem, kinds, rule, counts)


def _both_kinds(
  problem: schema.Problem,
  kinds: tuple[list[schema.Candidate], ...],
  rule: CandidateSelection,
  counts: Counter,
) -> tuple[list[schema.Candidate], ...] | None:
  if all(kinds):
    return kinds
  only = (
    'only correct'
    if kinds[1]
    else 'only incorrect'
    if kinds[0]
    else 'no judged'
  )
  if (
    rule.single_class_problems == 'reference' and kinds[0] and problem.solution
  ):
    counts[f'with {only} candidates: reference solution taken'] += 1
    return kinds[0], [schema.Candidate(problem.solution, is_correct=True)]
  if rule.single_class_problems == 'keep' and any(kinds):
    counts[f'with {only} candidates: kept'] += 1
    return kinds
  counts[f'with {only} candidates: skipped'] += 1
  return None


def _choose(
  kinds: tuple[list[schema.Candidate], ...],
  rule: CandidateSelection,
  random: np.random.Generator,
) -> list[tuple[schema.Candidate, int]]:
  kinds = [[kind[i] for i in random.permutation(len(kind))] for kind in kinds]
  incorrect, correct = kinds
  if rule.paired:
    pairs = pair_candidates_evenly(
      len(correct), len(incorrect), rule.examples_per_problem
    )
    return [
      labelled
      for i, j in pairs
      for labelled in ((correct[i], 1), (incorrect[j], 0))
    ]
  labelled = [(candidate, kind) for kind in (1, 0) for candidate in kinds[kind]]
  if rule.balance == 'equal' and all(kinds):
    each = min(rule.examples_per_problem // 2, len(correct), len(incorrect))
    labelled = [
      (candidate, kind) for kind in (1, 0) for candidate in kinds[kind][:each]
    ]
  order = random.permutation(len(labelled))[: rule.examples_per_problem]
  return [labelled[i] for i in order]


def pair_candidates_evenly(
  rows: int, columns: int, limit: int
) -> list[tuple[int, int]]:
  """Up to `limit` different pairs (i, j), using every i and every j as evenly as can be.

  Pair k is (k mod rows, (k + k // lcm) mod columns): down the diagonals of a rows x columns table,
  the next one when one closes.
  """
  lcm = int(np.lcm(rows, columns))
  return [
    (k % rows, (k + k // lcm) % columns)
    for k in range(min(limit, rows * columns))
  ]
