"""The contents of report.json: everything about one scored candidate file, and between several.

docs/report.md documents each field. Accuracies are shares in [0, 1].
"""

from collections.abc import Mapping, Sequence
import dataclasses
import re
from typing import Any

import numpy as np

from mathft_jax.data import schema
from mathft_jax.data.schema import CandidateSet
from mathft_jax.evaluation import (
  auc,
  accuracy_at_k,
  rule_results,
  statistics,
  voting,
)

REPORT_VERSION = 1  # of report.json; counts up when a field changes its meaning


@dataclasses.dataclass(frozen=True)
class ReportSettings:
  """How the numbers are computed.

  Attributes:
    baseline: the row that the other rows are compared with.
    confidence: of every interval.
    resamples: bootstrap resamples of the problems.
    draws: random orders of the candidates for the curves that have no formula.
    seed: of the bootstrap and of the draws.
  """

  baseline: str = 'Maj1@N'
  confidence: float = 0.95
  resamples: int = 10_000
  draws: int = 100
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class EvaluatedFile:
  """One candidate file: its problems, and what each rule gets right on them."""

  candidate_sets: tuple[CandidateSet, ...]
  outcomes: tuple[rule_results.RuleResult, ...]
  notes: tuple[str, ...]

  def values(self) -> dict[str, np.ndarray]:
    """Row name -> values_P."""
    return {outcome.name: outcome.values_P for outcome in self.outcomes}


def evaluate_file(
  path: str, rules: Sequence[voting.VotingRule], greedy: str | None = None
) -> EvaluatedFile:
  """Reads a graded file and follows every rule on it; `greedy` is a file of one candidate each."""
  candidate_sets, notes = read_graded_candidates(path)
  greedy_sets = None
  if greedy is not None:
    kept = {each.problem.id for each in candidate_sets}
    greedy_sets = [
      each
      for each in read_graded_candidates(greedy)[0]
      if each.problem.id in kept
    ]
  rows, more_notes = rule_results.evaluate_rules(
    candidate_sets, rules, greedy_sets
  )
  return EvaluatedFile(
    tuple(candidate_sets), tuple(rows), tuple(notes + more_notes)
  )


def read_graded_candidates(path: str) -> tuple[list[CandidateSet], list[str]]:
  """The candidate sets of a graded file, and notes about what was left out of it.

  Problems that could not be graded (answers, but no verdict about any of them: there is no
  reference) are left out and counted in a note. ValueError for a file that was never graded.
  """
  candidate_sets = schema.read_candidate_sets(path)
  ids = [each.problem.id for each in candidate_sets]
  if not ids or len(set(ids)) < len(ids):
    twice = (
      sorted({id_ for id_ in ids if ids.count(id_) > 1})[:3] if ids else []
    )
    raise ValueError(
      f'{path}: {len(ids)} problems, repeated ids {twice}; wanted at least one '
      'problem, each on one line with all its candidates.'
    )
  candidates = [c for each in candidate_sets for c in each.candidates]
  unclustered = all(
    c.cluster is None for c in candidates
  )  # also where nobody has an answer
  if all(c.is_correct is None for c in candidates) or (
    unclustered and any(c.is_correct for c in candidates)
  ):
    raise ValueError(
      f'{path}: none of {len(candidates)} candidates has "is_correct" and "cluster";'
      ' run grade on the file first.'
    )
  graded = [each for each in candidate_sets if not _without_verdict(each)]
  left_out = len(candidate_sets) - len(graded)
  note = f'{left_out} problems are left out: no reference to grade their candidates by.'
  return graded, [note] if left_out else []


def _without_verdict(candidate_set: CandidateSet) -> bool:
  """Whether nobody can say if a candidate is right; where none has an answer, all are wrong."""
  if any(c.is_correct is not None for c in candidate_set.candidates):
    return False
  problem = candidate_set.problem
  has_reference = problem.answer is not None or bool(problem.solution)
  return not has_reference or any(
    c.cluster is not None for c in candidate_set.candidates
  )


def make_file_section(
  measured: EvaluatedFile,
  rules: Sequence[voting.VotingRule],
  settings: ReportSettings,
) -> dict[str, Any]:
  """All numbers of one file as plain json values."""
  candidate_sets = measured.candidate_sets
  curve_values, curve_notes = _curves(candidate_sets, rules, settings)
  unit = _scores_outside_unit(candidate_sets)
  statistics_ = rule_results.candidate_statistics(candidate_sets)
  return {
    'graders': sorted({each.grader for each in candidate_sets if each.grader}),
    'statistics': statistics_,
    'notes': [
      *measured.notes,
      *curve_notes,
      *unit,
      *_missing_baseline(measured, settings),
    ],
    'accuracies': make_accuracy_entries(
      measured.outcomes, settings, statistics_['candidates']
    ),
    'differences': _differences(measured, settings),
    'auc': {
      'score': _auc(candidate_sets, lambda c: c.score, settings),
      'log_prob': _auc(candidate_sets, lambda c: c.log_prob, settings),
    },
    'top_clusters': _sweep(candidate_sets, settings),
    'curves': curve_values,
    'by_subject': _groups(measured, lambda problem: problem.subject, settings),
    'by_level': _groups(measured, lambda problem: problem.level, settings),
  }


def make_accuracy_entries(
  rows: Sequence[rule_results.RuleResult],
  settings: ReportSettings,
  samples: int,
  chosen: np.ndarray | slice = slice(None),
) -> list[dict[str, Any]]:
  """A json row per outcome: name, kind, accuracy, low, high, n; of the chosen problems."""
  return [
    {
      'name': row.name,
      'kind': row.kind,
      **_json(
        statistics.estimate_mean(
          row.values_P[chosen], confidence=settings.confidence, samples=samples
        )
      ),
    }
    for row in rows
  ]


def compare_files(
  files: Mapping[str, EvaluatedFile], settings: ReportSettings
) -> list[dict[str, Any]]:
  """Paired differences, row by row, of each file to the first one, on the problems of both."""
  (first_name, first), *others = files.items()
  found = []
  for name, other in others:
    position = {
      each.problem.id: i for i, each in enumerate(first.candidate_sets)
    }
    both = [
      (i, position[each.problem.id])
      for i, each in enumerate(other.candidate_sets)
      if each.problem.id in position
    ]
    shared = [row for row in other.values() if row in first.values()]
    if not both:
      continue
    here, there = map(list, zip(*both))
    values = {('a', row): other.values()[row][here] for row in shared}
    values |= {('b', row): first.values()[row][there] for row in shared}
    differences = statistics.paired_differences(
      values,
      [(('a', row), ('b', row)) for row in shared],
      seed=settings.seed,
      resamples=settings.resamples,
      confidence=settings.confidence,
    )
    kinds = {row.name: row.kind for row in other.outcomes}
    found += [
      {
        'row': row,
        'kind': kinds[row],
        'a': name,
        'b': first_name,
        **_json(difference),
      }
      for row, difference in zip(shared, differences)
    ]
  return found


def _differences(
  measured: EvaluatedFile, settings: ReportSettings
) -> list[dict[str, Any]]:
  """Paired differences between all rows but the ceilings; those to the baseline come first."""
  names = [row.name for row in measured.outcomes if row.kind != 'ceiling']
  names.sort(
    key=lambda name: name != settings.baseline
  )  # stable: the baseline moves to the front
  pairs = [(a, b) for i, b in enumerate(names) for a in names[i + 1 :]]
  found = statistics.paired_differences(
    measured.values(),
    pairs,
    seed=settings.seed,
    resamples=settings.resamples,
    confidence=settings.confidence,
  )
  return [
    {'a': a, 'b': b, **_json(difference)}
    for (a, b), difference in zip(pairs, found)
  ]


def _auc(
  candidate_sets: Sequence[CandidateSet],
  score: auc.ScoreFn,
  settings: ReportSettings,
) -> dict[str, Any]:
  within = auc.mean_auc_within_problems(
    candidate_sets, score, settings.confidence
  )
  pooled = auc.pooled_auc(
    candidate_sets, score, confidence=settings.confidence, seed=settings.seed
  )
  return {
    'within': within and _json(within),
    'pooled': pooled and _json(pooled),
  }


def _sweep(
  candidate_sets: Sequence[CandidateSet], settings: ReportSettings
) -> list[dict[str, Any]]:
  """Accuracy and cost for each number K of scored clusters."""

  def to_json(values_P: np.ndarray | None) -> dict[str, Any] | None:
    if values_P is None:
      return None
    return _json(
      statistics.estimate_mean(values_P, confidence=settings.confidence)
    )

  entries = []
  for result in rule_results.results_by_top_clusters(candidate_sets):
    entries.append(
      {
        'top_clusters': result.top_clusters,
        'share': result.share,
        'share_of_answered': result.share_of_answered,
        'RR.Top-K': to_json(result.rerank_P),
        'W.RR.Top-K': to_json(result.weighted_vote_P),
        'MajK@N': to_json(result.ceiling_P),
      }
    )
  return entries


def _curves(
  candidate_sets: Sequence[CandidateSet],
  rules: Sequence[voting.VotingRule],
  settings: ReportSettings,
) -> tuple[dict[str, Any], list[str]]:
  """{'k': [...], 'rules': {name: {'mean': [...], 'low': [...], 'high': [...]}}}, and notes."""
  most = max(len(each.candidates) for each in candidate_sets)
  ks, found, notes, missing = rule_results.powers_of_two_up_to(most), {}, [], []
  if any(len(each.candidates) < most for each in candidate_sets):
    notes.append(
      'Problems with fewer than k candidates stand in the curves with all they have.'
    )
  for rule in rules:
    name = voting.rule_name(rule)
    try:
      values_KP = accuracy_at_k.rule_accuracy_at_k(
        candidate_sets, rule, ks, draws=settings.draws, seed=settings.seed
      )
    except voting.MissingScoreError:
      missing.append(name)
      continue
    if values_KP is None:
      notes.append(
        f'No curve of {name} over k: only the rules of voting.py have one.'
      )
      continue
    points = [
      _json(
        statistics.estimate_mean(
          values_P,
          confidence=settings.confidence,
          samples=len(values_P) * max(1, most // k),
        )
      )
      for k, values_P in zip(ks, values_KP)
    ]
    found[name] = {
      end: [point[end] for point in points] for end in ('mean', 'low', 'high')
    }
  if missing and any(
    c.score is not None for each in candidate_sets for c in each.candidates
  ):
    notes.append(
      f'No curve over k for {", ".join(missing)}: not every answered candidate has a '
      'score, and in fewer samples other clusters are the largest.'
    )
  return {'k': ks, 'rules': found}, notes


def _groups(
  measured: EvaluatedFile, key, settings: ReportSettings
) -> dict[str, list[dict[str, Any]]]:
  """Accuracies by subject or level, in natural order; empty when no problem has any."""
  labels_P = np.array(
    [str(key(each.problem) or 'unknown') for each in measured.candidate_sets]
  )
  if set(labels_P) == {'unknown'}:
    return {}
  sizes_P = np.array([len(each.candidates) for each in measured.candidate_sets])
  return {
    str(label): make_accuracy_entries(
      measured.outcomes,
      settings,
      int(sizes_P[labels_P == label].sum()),
      labels_P == label,
    )
    for label in sorted(set(labels_P), key=_natural)
  }


def _natural(text: str) -> list:
  """Sort key under which 'Level 10' comes after 'Level 2'."""
  return [
    (int(part), '') if part.isdigit() else (-1, part)
    for part in re.split(r'(\d+)', text)
  ]


def _missing_baseline(
  measured: EvaluatedFile, settings: ReportSettings
) -> list[str]:
  names = list(measured.values())
  if settings.baseline in names:
    return []
  return [
    f'No row is called {settings.baseline!r}, so none is compared with it; rows: {names}.'
  ]


def _scores_outside_unit(candidate_sets: Sequence[CandidateSet]) -> list[str]:
  scores = [
    c.score
    for each in candidate_sets
    for c in each.candidates
    if c.score is not None
  ]
  if not scores or (min(scores) >= 0 and max(scores) <= 1):
    return []
  return [
    f'Scores lie in [{min(scores):.4g}, {max(scores):.4g}], not in [0, 1] as S_cls does: '
    're-ranking is well defined, but the weights of W.RR are not probabilities.'
  ]


def _json(value: Any) -> dict[str, Any]:
  """A dataclass of numbers as a dict, to six digits: the last ones differ between machines."""
  return {
    key: float(f'{number:.6g}') if isinstance(number, float) else number
    for key, number in dataclasses.asdict(value).items()
  }
