"""The numbers of report.json: per candidate file, and differences between files.

  file = evaluated_file.evaluate_file('scored.jsonl', voting.paper_rules())
  section = make_file_section(file, voting.paper_rules(), ReportSettings())

docs/report.md documents each field. Accuracies are shares in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import re

import numpy as np

from mathft_jax.data import answer_shares, label_conflicts
from mathft_jax.data.schema import CandidateSet, Problem
from mathft_jax.evaluation import (
  accuracy_at_k,
  auc,
  calibration,
  rule_results,
  statistics,
  voting,
)
from mathft_jax.evaluation.evaluated_file import EvaluatedFile
from mathft_jax.evaluation.report import adaptive_samples
from mathft_jax.evaluation.report.stored_numbers import JsonObject, to_json

# Of report.json; increases when a field changes its meaning, or the files of a report change.
REPORT_VERSION = 3


@dataclasses.dataclass(frozen=True)
class ReportSettings:
  """How the numbers are computed; stored in report.json under these names.

  Attributes:
    baseline: name of the row that the other rows are compared with.
    confidence: coverage of every interval.
    resamples: bootstrap resamples of the problems.
    draws: random orders of the candidates, for curves over k that have no formula.
    seed: of the bootstrap and of the random orders.
  """

  baseline: str = 'Maj1@N'
  confidence: float = 0.95
  resamples: int = 10_000
  draws: int = 100
  seed: int = 0


def make_file_section(
  file: EvaluatedFile,
  rules: Sequence[voting.VotingRule],
  settings: ReportSettings,
) -> JsonObject:
  """Returns all numbers of one file as plain JSON values."""
  candidate_sets = file.candidate_sets
  curves, curve_notes = _curves(candidate_sets, rules, settings)
  graders = {each.grader for each in candidate_sets if each.grader}
  samples = len(rule_results.all_candidates(candidate_sets))
  return {
    'graders': sorted(graders),
    'statistics': rule_results.candidate_statistics(candidate_sets),
    'notes': [
      *file.notes,
      *curve_notes,
      *_note_scores_outside_unit_interval(candidate_sets),
      *_note_missing_baseline(file, settings),
      *_notes_about_answers(candidate_sets),
    ],
    **_answer_shares(candidate_sets),
    'accuracies': make_accuracy_entries(file.results, settings, samples),
    'differences': _differences(file, settings),
    'auc': {
      'score': _auc(candidate_sets, voting.ranking_key, settings),
      'log_prob': _auc(candidate_sets, lambda c: c.log_prob, settings),
    },
    'score_name': _score_name(candidate_sets),
    'calibration': _calibration(candidate_sets, settings),
    'top_clusters': _top_clusters(candidate_sets, settings),
    'curves': curves,
    'adaptive': adaptive_samples.simulate_adaptive(candidate_sets),
    'by_subject': _groups(file, lambda problem: problem.subject, settings),
    'by_level': _groups(file, lambda problem: problem.level, settings),
  }


def _answer_shares(candidate_sets: Sequence[CandidateSet]) -> JsonObject:
  """Returns how answers were found; nothing for files of graders that do not say it."""
  shares = answer_shares.AnswerShares.of(candidate_sets)
  if answer_shares.UNKNOWN in shares.counts:
    return {}
  return {'answers': {'headline': shares.headline(), 'shares': shares.shares()}}


def _notes_about_answers(candidate_sets: Sequence[CandidateSet]) -> list[str]:
  """Returns notes about unusual shares of methods, and about clusters with two verdicts."""
  notes = []
  shares = answer_shares.AnswerShares.of(candidate_sets)
  if answer_shares.UNKNOWN not in shares.counts:
    notes += shares.warnings()
  conflicts = label_conflicts.find_label_conflicts(candidate_sets)
  if conflicts:
    notes.append(
      f'{len(conflicts)} clusters of equivalent answers have two verdicts, the first in problem '
      f'{conflicts[0].problem}: grade the file with one grader, or look at these labels.'
    )
  return notes


def make_accuracy_entries(
  results: Sequence[rule_results.RuleResult],
  settings: ReportSettings,
  samples: int,
  selected: np.ndarray | slice = slice(None),
) -> list[JsonObject]:
  """Returns name, kind, mean, low, high and n of each result, on the selected problems."""
  entries = []
  for result in results:
    estimate = statistics.mean_with_interval(
      result.values_P[selected], confidence=settings.confidence, samples=samples
    )
    entries.append(
      {'name': result.name, 'kind': result.kind, **to_json(estimate)}
    )
  return entries


def compare_files(
  files: Mapping[str, EvaluatedFile], settings: ReportSettings
) -> list[JsonObject]:
  """Returns paired differences of each file to the first, by row, on the problems of both."""
  (first_name, first), *others = files.items()
  entries = []
  for name, other in others:
    for result, difference in _paired_results(other, first, settings):
      names = {'row': result.name, 'kind': result.kind}
      names |= {'a': name, 'b': first_name}
      entries.append(names | to_json(difference))
  return entries


def _paired_results(
  file: EvaluatedFile, first: EvaluatedFile, settings: ReportSettings
) -> list[tuple[rule_results.RuleResult, statistics.PairedDifference]]:
  """Returns the results that both files have, with their differences on the shared problems."""
  position = {}
  for index, candidate_set in enumerate(first.candidate_sets):
    position[candidate_set.problem.id] = index
  indices, first_indices = [], []
  for index, candidate_set in enumerate(file.candidate_sets):
    if candidate_set.problem.id in position:
      indices.append(index)
      first_indices.append(position[candidate_set.problem.id])
  if not indices:
    return []

  first_values = first.values()
  shared = [result for result in file.results if result.name in first_values]
  values, pairs = {}, []
  for result in shared:
    pair = ('a', result.name), ('b', result.name)
    values[pair[0]] = result.values_P[indices]
    values[pair[1]] = first_values[result.name][first_indices]
    pairs.append(pair)
  return [*zip(shared, _compare_pairs(values, pairs, settings))]


def _differences(
  file: EvaluatedFile, settings: ReportSettings
) -> list[JsonObject]:
  """Returns paired differences of all rows but the ceilings, those to the baseline first."""
  names = [result.name for result in file.results if result.kind != 'ceiling']
  names.sort(key=lambda name: name != settings.baseline)
  pairs = []
  for i, b in enumerate(names):
    pairs += [(a, b) for a in names[i + 1 :]]
  entries = []
  differences = _compare_pairs(file.values(), pairs, settings)
  for (a, b), difference in zip(pairs, differences):
    entries.append({'a': a, 'b': b, **to_json(difference)})
  return entries


def _compare_pairs(
  values: Mapping[statistics.Key, np.ndarray],
  pairs: Sequence[tuple[statistics.Key, statistics.Key]],
  settings: ReportSettings,
) -> list[statistics.PairedDifference]:
  return statistics.paired_differences(
    values,
    pairs,
    seed=settings.seed,
    resamples=settings.resamples,
    confidence=settings.confidence,
  )


def _auc(
  candidate_sets: Sequence[CandidateSet],
  score: auc.ScoreFn,
  settings: ReportSettings,
) -> JsonObject:
  confidence = settings.confidence
  within = auc.mean_auc_within_problems(candidate_sets, score, confidence)
  pooled = auc.pooled_auc(
    candidate_sets, score, confidence=confidence, seed=settings.seed
  )
  return {
    'within': within and to_json(within),
    'pooled': pooled and to_json(pooled),
  }


def _score_name(candidate_sets: Sequence[CandidateSet]) -> str | None:
  """Returns 'S_cls' for scores of the program score, 'score' for any other, None without scores.

  Only the program score writes log-odds beside a score.
  """
  name = None
  for candidate in rule_results.all_candidates(candidate_sets):
    if candidate.log_odds is not None:
      return 'S_cls'
    if candidate.score is not None:
      name = 'score'
  return name


def _calibration(
  candidate_sets: Sequence[CandidateSet], settings: ReportSettings
) -> JsonObject | None:
  """Returns the calibration of the scores; None if they are not in [0, 1]."""
  found = calibration.measure_calibration(
    candidate_sets, confidence=settings.confidence, seed=settings.seed
  )
  if found is None:
    return None
  bins = []
  for each in found.bins:
    limits = {'from': each.low, 'to': each.high, 'candidates': each.candidates}
    mean_score = float(f'{each.mean_score:.6g}')
    bins.append(
      {**limits, 'mean_score': mean_score, 'correct': to_json(each.correct)}
    )
  return {
    'bins': bins,
    'error': to_json(found.error),
    'overconfidence': to_json(found.overconfidence),
  }


def _top_clusters(
  candidate_sets: Sequence[CandidateSet], settings: ReportSettings
) -> list[JsonObject]:
  """Returns accuracy and cost for each number K of scored clusters."""

  def estimate_or_none(values_P: np.ndarray | None) -> JsonObject | None:
    if values_P is None:
      return None
    return to_json(
      statistics.mean_with_interval(values_P, confidence=settings.confidence)
    )

  entries = []
  for result in rule_results.results_by_top_clusters(candidate_sets):
    entries.append(
      {
        'top_clusters': result.top_clusters,
        'share': result.share,
        'share_of_answered': result.share_of_answered,
        'RR.Top-K': estimate_or_none(result.rerank_P),
        'W.RR.Top-K': estimate_or_none(result.weighted_vote_P),
        'MajK@N': estimate_or_none(result.ceiling_P),
      }
    )
  return entries


def _curves(
  candidate_sets: Sequence[CandidateSet],
  rules: Sequence[voting.VotingRule],
  settings: ReportSettings,
) -> tuple[JsonObject, list[str]]:
  """Returns {'k': [...], 'rules': {name: {'mean': [...], 'low': ..., 'high': ...}}}, and notes."""
  sizes = [len(each.candidates) for each in candidate_sets]
  ks = rule_results.powers_of_two_up_to(max(sizes))
  curves, notes, missing = {}, [], []
  if min(sizes) < max(sizes):
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
    else:
      curves[name] = _curve(ks, values_KP, max(sizes), settings.confidence)

  if missing and _known_scores(candidate_sets):
    notes.append(
      f'No curve over k for {", ".join(missing)}: not every answered candidate has a '
      'score, and in fewer samples other clusters are the largest.'
    )
  return {'k': ks, 'rules': curves}, notes


def _curve(
  ks: Sequence[int], values_KP: np.ndarray, num_samples: int, confidence: float
) -> dict[str, list[float]]:
  """Returns the mean and its interval for each k."""
  curve = {'mean': [], 'low': [], 'high': []}
  for k, values_P in zip(ks, values_KP):
    samples = len(values_P) * max(1, num_samples // k)
    point = to_json(
      statistics.mean_with_interval(
        values_P, confidence=confidence, samples=samples
      )
    )
    for field, numbers in curve.items():
      numbers.append(point[field])
  return curve


def _groups(
  file: EvaluatedFile,
  label_of: Callable[[Problem], str],
  settings: ReportSettings,
) -> dict[str, list[JsonObject]]:
  """Returns accuracies by subject or level, in natural order; empty if no problem has one."""
  labels, sizes = [], []
  for candidate_set in file.candidate_sets:
    labels.append(str(label_of(candidate_set.problem) or 'unknown'))
    sizes.append(len(candidate_set.candidates))
  if set(labels) == {'unknown'}:
    return {}
  groups = {}
  for label in sorted(set(labels), key=_natural_sort_key):
    selected_P = np.array(labels) == label
    samples = int(np.array(sizes)[selected_P].sum())
    groups[label] = make_accuracy_entries(
      file.results, settings, samples, selected_P
    )
  return groups


def _natural_sort_key(text: str) -> list[tuple[int, str]]:
  """Returns a key that sorts 'Level 10' after 'Level 2'."""
  key = []
  for part in re.split(r'(\d+)', text):
    key.append((int(part), '') if part.isdigit() else (-1, part))
  return key


def _note_missing_baseline(
  file: EvaluatedFile, settings: ReportSettings
) -> list[str]:
  names = list(file.values())
  if settings.baseline in names:
    return []
  return [
    f'No row is called {settings.baseline!r}, so none is compared with it; rows: {names}.'
  ]


def _note_scores_outside_unit_interval(
  candidate_sets: Sequence[CandidateSet],
) -> list[str]:
  scores = _known_scores(candidate_sets)
  if not scores or (min(scores) >= 0 and max(scores) <= 1):
    return []
  return [
    f'Scores lie in [{min(scores):.4g}, {max(scores):.4g}], not in [0, 1] as S_cls does: '
    're-ranking is well defined, but the weights of W.RR are not probabilities.'
  ]


def _known_scores(candidate_sets: Sequence[CandidateSet]) -> list[float]:
  candidates = rule_results.all_candidates(candidate_sets)
  return [each.score for each in candidates if each.score is not None]
